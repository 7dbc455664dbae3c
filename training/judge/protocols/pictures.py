"""Pictures of a benchmark, read one by one: files in folders, or cells of Parquet files."""

from __future__ import annotations

import bisect
import itertools
import os
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from indexer.errors import SourceError
from training.progress import Progress, keep_quiet

if TYPE_CHECKING:
    from jaxtyping import Float32, UInt8

    from indexer.encoding import Encoder

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
"""Those that torchvision's ImageFolder takes, less .ppm and .pgm."""
AHEAD = 4
"""Batches that are decoded before the encoder has taken them."""


class Pictures(Protocol):
    """Pictures by position; reading is safe from several threads."""

    def __len__(self) -> int:
        """How many there are."""

    def read(self, position: int) -> UInt8[np.ndarray, "h w 3"]:
        """The upright RGB pixels; ImageError names a picture that cannot be read."""


@dataclass(frozen=True)
class FilePictures:
    """Image files."""

    paths: tuple[Path, ...]

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, position: int) -> UInt8[np.ndarray, "h w 3"]:
        """The upright RGB pixels."""
        from indexer.images import read_image

        return read_image(self.paths[position]).pixels


class ParquetPictures:
    """Images as Hugging Face stores them: structs of `bytes` and `path` in one column of several Parquet files.

    Two row groups are held at a time, so that a data set larger than memory can be read in order.
    """

    def __init__(self, files: Sequence[Path], column: str, *, rows: Sequence[int] | None = None) -> None:
        """`rows` chooses rows, counted through all the files; None takes all of them."""
        import pyarrow.parquet

        self._column = column
        self._lock = Lock()
        self._held: dict[int, Any] = {}
        self._groups: list[tuple[Path, int]] = []
        sizes: list[int] = []
        for file in files:
            metadata = pyarrow.parquet.read_metadata(file)
            self._groups += [(file, group) for group in range(metadata.num_row_groups)]
            sizes += [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
        self._starts = [0, *itertools.accumulate(sizes)]
        self._rows = range(self._starts[-1]) if rows is None else list(rows)

    def __len__(self) -> int:
        return len(self._rows)

    def read(self, position: int) -> UInt8[np.ndarray, "h w 3"]:
        """The upright RGB pixels."""
        from indexer.errors import ImageError
        from indexer.images import decode_image

        row = self._rows[position]
        group = bisect.bisect_right(self._starts, row) - 1
        file = self._groups[group][0]
        cell = self._read_cell(group, row - self._starts[group])
        name = f"{file.name}, row {row - self._first_row(file) + 1}"
        if not cell or not cell.get("bytes"):
            raise ImageError(f"{name}: holds no image bytes; download the Parquet files with their images.")
        return decode_image(cell["bytes"], name=name).pixels

    def _read_cell(self, group: int, row: int) -> dict[str, Any] | None:
        import pyarrow.parquet

        with self._lock:
            if group not in self._held:
                file, number = self._groups[group]
                table = pyarrow.parquet.ParquetFile(file).read_row_group(number, columns=[self._column])
                # Two, because the threads that decode stand on both sides of a boundary.
                self._held = {**dict(list(self._held.items())[-1:]), group: table.column(0)}
            cell: dict[str, Any] | None = self._held[group][row].as_py()
            return cell

    def _first_row(self, file: Path) -> int:
        return self._starts[next(place for place, (path, _) in enumerate(self._groups) if path == file)]


def embed_pictures(
    encoder: Encoder, pictures: Pictures, *, progress: Progress = keep_quiet
) -> Float32[np.ndarray, "n d"]:
    """The unit vector of every picture, in order, in batches of the encoder's size.

    Raises:
        ImageError: a picture cannot be read. A benchmark with pictures left out is another benchmark.
        EncoderError: a picture came out as no vector.
    """
    batches: list[Float32[np.ndarray, "b d"]] = []
    waiting: deque[Future[UInt8[np.ndarray, "3 s s"]]] = deque()
    pool = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="decode")
    done = 0
    try:
        for position in range(len(pictures)):
            waiting.append(pool.submit(_prepare, encoder, pictures, position))
            if len(waiting) >= AHEAD * encoder.batch_size:
                batches.append(_encode(encoder, waiting, encoder.batch_size))
                done += len(batches[-1])
                progress("reading and embedding", done, len(pictures))
        while waiting:
            batches.append(_encode(encoder, waiting, encoder.batch_size))
        progress("reading and embedding", len(pictures), len(pictures))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return np.concatenate(batches) if batches else np.empty((0, encoder.spec.dimension), np.float32)


def _prepare(encoder: Encoder, pictures: Pictures, position: int) -> UInt8[np.ndarray, "3 s s"]:
    from indexer.preprocessing import resize_pixels

    return resize_pixels(pictures.read(position), encoder.spec.preprocessing)


def _encode(
    encoder: Encoder, waiting: deque[Future[UInt8[np.ndarray, "3 s s"]]], size: int
) -> Float32[np.ndarray, "b d"]:
    return encoder.encode_pixels(np.stack([waiting.popleft().result() for _ in range(min(size, len(waiting)))]))


def list_classes(folder: Path) -> list[Path]:
    """The sub-folders, in the order in which torchvision's ImageFolder numbers them: by their names as text."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def list_images(folder: Path) -> list[Path]:
    """The image files of a folder, by name; nothing that lies in its sub-folders."""
    return sorted(
        path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
    )


def find_missing(paths: Iterable[Path]) -> list[Path]:
    """The paths of which no file is there."""
    listings: dict[Path, frozenset[str]] = {}

    def is_missing(path: Path) -> bool:
        if path.parent not in listings:
            listings[path.parent] = (
                frozenset(entry.name for entry in path.parent.iterdir()) if path.parent.is_dir() else frozenset()
            )
        return path.name not in listings[path.parent]

    return [path for path in paths if is_missing(path)]


def require_pictures(paths: Sequence[Path], *, where: Path, benchmark: str) -> FilePictures:
    """The files as pictures.

    Raises:
        SourceError: there are none, or files are missing; the message counts them and names the first.
    """
    if not paths:
        raise SourceError(f"{where}: no pictures of {benchmark} are listed; unpack the whole data set there.")
    missing = find_missing(paths)
    if missing:
        raise SourceError(
            f"{where}: {len(missing):,} of {len(paths):,} pictures of {benchmark} are not there, "
            f"{missing[0].relative_to(where)} for one; all of them are needed. Unpack the whole data set there."
        )
    return FilePictures(tuple(paths))
