from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from explorer.server import serve_app, server_command
from indexer.corpus import create_corpus
from indexer.errors import InputError

SERVE = """
import signal, sys
from pathlib import Path
from explorer.server import serve_app
from indexer.corpus import open_corpus
signal.signal(signal.SIGINT, signal.default_int_handler)
serve_app(open_corpus(Path(sys.argv[1])), port=int(sys.argv[2]), address="127.0.0.1", open_browser=False)
"""


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


def test_a_busy_port_is_said_and_another_can_be_chosen(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=rf"--port {port}: the app's server did not start.*choose another"):
            serve_app(create_corpus(tmp_path / "a.corpus"), port=port, address="127.0.0.1", open_browser=False)


def test_ctrl_c_ends_the_app_quietly(tmp_path: Path) -> None:
    corpus = create_corpus(tmp_path / "a.corpus")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", SERVE, str(corpus.path), str(port)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as server:
        _wait_for(port)
        os.killpg(server.pid, signal.SIGINT)
        _, complaints = server.communicate(timeout=30)
    assert server.returncode == 0
    assert "Traceback" not in complaints


def _wait_for(port: int) -> None:
    """Until the server answers; a port that is open already does not yet."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with suppress(URLError, ConnectionError), urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=5):
            return
        time.sleep(0.1)
    pytest.fail(f"nothing answers on port {port}")
