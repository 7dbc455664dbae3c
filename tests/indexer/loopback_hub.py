"""A model hub on 127.0.0.1: the part of the hub's protocol that listing and fetching a model's files speaks."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"

_API = re.compile(r"/api/models/(?P<name>[^/]+/[^/?]+)(/revision/(?P<revision>[^/?]+))?(\?.*)?")
_FILE = re.compile(r"/(?P<name>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<file>[^?]+)(\?.*)?")


class LoopbackHub:
    """The server's content, what was asked of it, and how it misbehaves."""

    def __init__(self) -> None:
        self.url = ""
        self.stop: Callable[[], None] = lambda: None
        self.requests: list[str] = []
        """Method and path of every request, in order."""
        self.bytes_sent = 0
        self.distort: Callable[[bytes], bytes] = lambda body: body
        """Applied to the content of weight files as they are sent, after their size and digest were announced."""
        self.cuts = 0
        """So many times a weight file is cut off in the middle."""
        self._repositories: dict[str, Path] = {}

    def publish(self, name: str, folder: Path) -> None:
        """Serve the files of `folder` as the repository `name`."""
        self._repositories[name] = folder

    def find(self, name: str, revision: str | None) -> Path | str:
        """The folder of a repository, or the hub's code for why there is none."""
        if name not in self._repositories:
            return "RepoNotFound"
        return self._repositories[name] if revision in (None, "main", "v1", COMMIT) else "RevisionNotFound"


@contextmanager
def serve_hub() -> Iterator[LoopbackHub]:
    """A running hub without repositories; its `stop` may be called early, as a network that goes away."""
    hub = LoopbackHub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join()
        hub.stop = lambda: None

    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    hub.stop = stop
    thread.start()
    try:
        yield hub
    finally:
        hub.stop()


class _Handler(BaseHTTPRequestHandler):
    hub: LoopbackHub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the tests read `requests`."""

    def _answer(self) -> None:
        self.hub.requests.append(f"{self.command} {self.path}")
        if asked := _API.fullmatch(self.path):
            self._send_listing(asked["name"], asked["revision"])
        elif asked := _FILE.fullmatch(self.path):
            self._send_file(asked["name"], asked["revision"], asked["file"])
        else:
            self._refuse("EntryNotFound")

    def _refuse(self, code: str) -> None:
        self.send_response(404)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send_listing(self, name: str, revision: str | None) -> None:
        folder = self.hub.find(name, revision)
        if isinstance(folder, str):
            return self._refuse(folder)
        files = [
            {
                "rfilename": file.name,
                "size": file.stat().st_size,
                "blobId": _digest(file)[:40],
                "lfs": _large_file(file),
            }
            for file in sorted(folder.iterdir())
        ]
        body = json.dumps({"_id": "1", "id": name, "sha": COMMIT, "tags": [], "siblings": files}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        return None

    def _send_file(self, name: str, revision: str, file: str) -> None:
        folder = self.hub.find(name, revision)
        if isinstance(folder, str):
            return self._refuse(folder)
        path = folder / file
        if not path.is_file():
            return self._refuse("EntryNotFound")
        return self._send_body(path, path.read_bytes())

    def _send_body(self, path: Path, body: bytes) -> None:
        size = len(body)
        is_weights = path.suffix == ".safetensors"
        if is_weights and self.command == "GET":
            body = self.hub.distort(body)
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{_digest(path)}"')
        self.send_header("X-Linked-Size", str(size))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        if self.command == "GET":
            self._send_bytes(body[start:], is_weights=is_weights)

    def _send_bytes(self, body: bytes, *, is_weights: bool) -> None:
        if is_weights and self.hub.cuts > 0:
            self.hub.cuts -= 1
            body = body[: len(body) // 2]
            self.close_connection = True
        self.hub.bytes_sent += len(body)
        self.wfile.write(body)


def _large_file(file: Path) -> dict[str, Any] | None:
    """What the hub says of a file in git-lfs; None for small ones."""
    if file.suffix != ".safetensors":
        return None
    return {"sha256": _digest(file), "size": file.stat().st_size, "pointerSize": 134}


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
