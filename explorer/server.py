"""Starting the app: one Streamlit server, bound to loopback unless told otherwise."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from indexer.corpus import Corpus
from indexer.errors import InputError

CORPUS_VARIABLE = "MORPHOSPACE_CORPUS"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
STOPPED = (0, -signal.SIGINT, 128 + signal.SIGINT, -signal.SIGTERM, 128 + signal.SIGTERM)
"""Exit statuses of a server that somebody stopped."""
UPLOAD_LIMIT_MB = 100
THEME = {
    "base": "light",
    "primaryColor": "#1F6F54",
    "backgroundColor": "#FFFFFF",
    "secondaryBackgroundColor": "#F5F5F2",
    "textColor": "#22241F",
    "borderColor": "#DEDEDA",
    "baseFontSize": "15",
    "baseRadius": "6px",
    "headingFontSizes": '["1.6rem", "1.35rem", "1.15rem"]',
    "showWidgetBorder": "true",
}


def server_command(*, port: int, address: str, open_browser: bool) -> list[str]:
    """The command of the server.

    Usage statistics and the prompt for an e-mail address are off. On loopback only requests that name this machine
    are answered, so that no web page can reach the app under a name of its own (DNS rebinding).
    """
    main = Path(__file__).parent / "app" / "main.py"
    options = {
        "server.port": str(port),
        "server.address": address,
        "server.headless": str(not open_browser).lower(),
        "server.maxUploadSize": str(UPLOAD_LIMIT_MB),
        "server.fileWatcherType": "none",
        "server.showEmailPrompt": "false",
        "browser.gatherUsageStats": "false",
        "client.toolbarMode": "minimal",
        "client.showErrorDetails": "full",
    }
    flags = [f"--{name}={value}" for name, value in options.items()]
    if address in LOOPBACK:
        flags += [f"--server.allowedHosts={host}" for host in LOOPBACK]
    flags += [f"--theme.{name}={value}" for name, value in THEME.items()]
    return [sys.executable, "-m", "streamlit", "run", str(main), *flags]


def serve_app(corpus: Corpus, *, port: int, address: str, open_browser: bool) -> None:
    """Serve the app for one corpus until it is stopped; InputError where the server breaks off, as on a busy port."""
    command = server_command(port=port, address=address, open_browser=open_browser)
    environment = {**os.environ, CORPUS_VARIABLE: str(corpus.path.resolve())}
    try:
        status = subprocess.run(command, env=environment, check=False).returncode
    except KeyboardInterrupt:
        return
    if status not in STOPPED:
        raise InputError(
            f"--port {port}: the app's server did not start or broke off (status {status}, see above). "
            "If the port is taken, choose another with --port."
        )
