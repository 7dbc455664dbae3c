from __future__ import annotations

import pytest

from explorer.server import server_command


def test_the_server_is_private_by_default() -> None:
    command = server_command(port=8501, address="127.0.0.1", open_browser=False)
    for flag in (
        "--server.address=127.0.0.1",
        "--browser.gatherUsageStats=false",
        "--server.showEmailPrompt=false",
        "--server.allowedHosts=127.0.0.1",
        "--server.allowedHosts=localhost",
    ):
        assert flag in command


def test_an_open_address_is_reached_under_any_name() -> None:
    command = server_command(port=8501, address="0.0.0.0", open_browser=True)
    assert "--server.address=0.0.0.0" in command
    assert not any("allowedHosts" in flag for flag in command)


@pytest.mark.parametrize("open_browser", [True, False])
def test_a_browser_opens_only_when_wanted(open_browser: bool) -> None:
    command = server_command(port=8501, address="127.0.0.1", open_browser=open_browser)
    assert f"--server.headless={str(not open_browser).lower()}" in command


def test_streamlit_knows_every_flag() -> None:
    from streamlit import config

    known = set(config.get_config_options(force_reparse=True))
    flags = [flag for flag in server_command(port=1, address="127.0.0.1", open_browser=False) if flag.startswith("--")]
    assert {flag[2:].partition("=")[0] for flag in flags} <= known
