"""The vectors of an index by position: written block by block, calibrated where the space has a calibration, mapped."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from indexer.index.calibration import Calibration, RawVectors
from indexer.index.storage import CALIBRATION, LENGTHS, VECTORS, StoredIndex

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float16, Float32, Int64

BLOCK = 16_384
"""Vectors that are held in float32 at a time."""


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """The vectors of an index.

    Attributes:
        vectors: of unit length, calibrated if there is a calibration.
        lengths: that calibrated vectors had before they were brought to unit length; None without a calibration.
        calibration: None where the vectors are those that the encoder made.
    """

    vectors: Float16[np.ndarray, "n d"]
    lengths: Float32[np.ndarray, " n"] | None
    calibration: Calibration | None

    @property
    def raw(self) -> Any:
        """The vectors to compare texts with: indexed like `vectors`, and giving the scores of the raw ones."""
        return self.vectors if self.lengths is None else RawVectors(self.vectors, self.lengths)

    def translate_texts(self, texts: Float32[np.ndarray, "q d"]) -> Float32[np.ndarray, "q d"]:
        """The directions that texts ask `raw` with; a constant per text is missing in their scores."""
        return texts if self.calibration is None else self.calibration.translate(texts)[0]


class MatrixWriter:
    """Writes the vectors of an index into its draft. The file is mapped, so that it need not fit into memory.

    OSError where the disk has no room for it.
    """

    def __init__(self, draft: Path, n: int, dimension: int, calibration: Calibration | None) -> None:
        import numpy as np

        self._draft = draft
        self._calibration = calibration
        self._lengths = None if calibration is None else np.zeros(n, np.float32)
        self._vectors: Any
        if n:
            path = draft / VECTORS
            self._vectors = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=(n, dimension))
            _set_space_aside(path)
        else:  # an empty file cannot be mapped
            self._vectors = np.empty((0, dimension), np.float16)

    def put(self, at: Int64[np.ndarray, " b"], raw: Float32[np.ndarray, "b d"]) -> None:
        """Write raw vectors at their positions."""
        if self._calibration is None or self._lengths is None:
            self._vectors[at] = raw
        else:
            self._vectors[at], self._lengths[at] = self._calibration.apply(raw)

    def copy(self, former: Matrix, kept: Int64[np.ndarray, " k"]) -> None:
        """Take over vectors of a former index, calibrated alike, for the first positions."""
        for start in range(0, len(kept), BLOCK):
            block = kept[start : start + BLOCK]
            self._vectors[start : start + len(block)] = former.vectors[block]
            if self._lengths is not None and former.lengths is not None:
                self._lengths[start : start + len(block)] = former.lengths[block]

    def finish(self) -> Matrix:
        """Write what is left to write; the vectors, mapped for reading."""
        import numpy as np

        if self._calibration is not None and self._lengths is not None:
            self._calibration.write(self._draft / CALIBRATION)
            np.save(self._draft / LENGTHS, self._lengths)
        if not len(self._vectors):
            np.save(self._draft / VECTORS, self._vectors)
            return Matrix(vectors=self._vectors, lengths=self._lengths, calibration=self._calibration)
        self._vectors.flush()
        vectors = np.load(self._draft / VECTORS, mmap_mode="r")
        return Matrix(vectors=vectors, lengths=self._lengths, calibration=self._calibration)


def _set_space_aside(path: Path) -> None:
    """Give a file its space now: to write to a mapped file that finds none ends the process with SIGBUS."""
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def open_matrix(stored: StoredIndex) -> Matrix:
    """The vectors of a committed index, mapped; FileNotFoundError where its folder has been replaced since."""
    return Matrix(vectors=stored.open_vectors(), lengths=stored.load_lengths(), calibration=stored.open_calibration())


def read_blocks(vectors: Any, start: int = 0) -> Iterator[tuple[int, Float32[np.ndarray, "b d"]]]:
    """The vectors from position `start` on, in float32, block by block with the position of each block."""
    import numpy as np

    for first in range(start, len(vectors), BLOCK):
        yield first, np.asarray(vectors[first : first + BLOCK], np.float32)
