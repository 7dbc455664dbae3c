"""Starting the app: one Streamlit server, bound to loopback unless told otherwise."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from indexer.corpus import Corpus

CORPUS_VARIABLE = "MORPHOSPACE_CORPUS"


def server_command(*, port: int, address: str, open_browser: bool) -> list[str]:
    """The command of the server. Usage statistics are off, uploads are limited to one photograph's size (MB)."""
    main = Path(__file__).parent / "app" / "main.py"
    options = {
        "server.port": str(port),
        "server.address": address,
        "server.headless": str(not open_browser).lower(),
        "server.maxUploadSize": "100",
        "server.fileWatcherType": "none",
        "browser.gatherUsageStats": "false",
        "client.toolbarMode": "minimal",
        "client.showErrorDetails": "full",
    }
    flags = [f"--{name}={value}" for name, value in options.items()]
    return [sys.executable, "-m", "streamlit", "run", str(main), *flags]


def serve_app(corpus: Corpus, *, port: int, address: str, open_browser: bool) -> None:
    """Serve the app for one corpus until it is stopped."""
    command = server_command(port=port, address=address, open_browser=open_browser)
    environment = {**os.environ, CORPUS_VARIABLE: str(corpus.path.resolve())}
    subprocess.run(command, env=environment, check=True)
