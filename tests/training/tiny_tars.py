"""Tars in TreeOfLife's layout, written by webdataset itself, and a server that hands them out."""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image


def encode_jpeg(colour: tuple[int, int, int], side: int = 16) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (side, side), colour).save(file, "JPEG", quality=95)
    return file.getvalue()


def mean_colour(pixels: UInt8[np.ndarray, "h w 3"]) -> tuple[int, ...]:
    return tuple(int(value) for value in pixels.reshape(-1, 3).mean(axis=0).round())


def write_bioclip_texts(ranks: Sequence[str], common: str | None) -> dict[str, str]:
    """The ten texts of make_wds_reproduce.py; of empty ranks nothing is written, as there."""
    names = ("kingdom", "phylum", "class", "order", "family", "genus", "species")
    taxonomic = " ".join(name for name in ranks if name)
    tagged = " ".join(f"{rank} {name}" for rank, name in zip(names, ranks, strict=True) if name)
    scientific = " ".join(name for name in ranks[-2:] if name).capitalize()
    said = common or scientific or taxonomic
    return {
        "scientific_name.txt": scientific,
        "taxonomic_name.txt": taxonomic,
        "common_name.txt": said,
        "sci.txt": f"a photo of {scientific}.",
        "com.txt": f"a photo of {said}.",
        "taxon.txt": f"a photo of {taxonomic}.",
        "taxonTag.txt": f"a photo of {tagged}.",
        "sci_com.txt": f"a photo of {scientific} with common name {said}.",
        "taxon_com.txt": f"a photo of {taxonomic} with common name {said}.",
        "taxonTag_com.txt": f"a photo of {tagged} with common name {said}.",
    }


def write_tar(path: Path, samples: Mapping[str, Mapping[str, Any]]) -> Path:
    """A tar by webdataset's own writer; a sample is a key and the content per extension."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import webdataset  # type: ignore[import-untyped]
    with webdataset.TarWriter(str(path)) as sink:
        for key, parts in samples.items():
            sink.write({"__key__": key} | {name: _encode(part) for name, part in parts.items()})
    return path


def _encode(part: str | bytes) -> Any:
    return part.encode() if isinstance(part, str) else part


@dataclass(kw_only=True)
class TarServer:
    """What was asked of the server, how often it hangs up in the middle of a file, and the statuses that it gives."""

    url: str
    gets: list[str] = field(default_factory=list)
    cuts: int = 0
    statuses: list[int] = field(default_factory=list)


@contextmanager
def serve_folder(folder: Path) -> Iterator[TarServer]:
    told = TarServer(url="")

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None: ...

        def do_HEAD(self) -> None:
            if told.statuses:
                self.send_error(told.statuses[0])
                return
            super().do_HEAD()

        def do_GET(self) -> None:
            told.gets.append(self.path)
            if told.statuses:
                self.send_error(told.statuses.pop(0))
                return
            if told.cuts:
                told.cuts -= 1
                content = (folder / self.path.lstrip("/")).read_bytes()
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content[: len(content) // 2])
                self.close_connection = True
                return
            super().do_GET()

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    told.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield told
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
