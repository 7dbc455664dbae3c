"""Calibration of a space: its narrow cone opened, so that the nearest images are nearest for a reason.

The vectors of an encoder lie in a narrow cone around a few wide directions (design fact 2): any two images look alike,
and some (hubs) look like everything. A calibrated vector is `W (x - mean)`, scaled to unit length, with
`W = ((C + c I) / c) ** -1/4`, C the covariance and c its mean eigenvalue: each direction is scaled by its singular
value to the power -0.5, as far as it stands out of the mean. It is kept only where it helps (`calibrating`).

W is of full rank, and the length that is scaled away is kept. So the raw cosine of any query is still had from the
calibrated vectors: `q x = q mean + length * (W^-1 q) z`. That is how texts are asked: every way that was tried to bring
them into the calibrated space found less than the raw cosine does (`benchmarks/calibration.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from indexer.errors import CorpusError

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float16, Float32, Float64, Int64


class Similarity(StrEnum):
    """Which cosine compares images."""

    RAW = "raw"
    CALIBRATED = "calibrated"


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """A way from raw vectors to calibrated ones, and back.

    Attributes:
        mean: of the raw vectors.
        transform: symmetric, of full rank.
    """

    mean: Float32[np.ndarray, " d"]
    transform: Float32[np.ndarray, "d d"]

    @cached_property
    def _inverse(self) -> Float64[np.ndarray, "d d"]:
        import numpy as np

        inverse: Float64[np.ndarray, "d d"] = np.linalg.inv(self.transform.astype(np.float64))
        return inverse

    def apply(
        self, vectors: Float32[np.ndarray, "n d"]
    ) -> tuple[Float32[np.ndarray, "n d"], Float32[np.ndarray, " n"]]:
        """The calibrated vectors of raw ones, of unit length, and the lengths they had before.

        A vector that is the mean itself has no direction: it gets the first axis, and length 0.
        """
        import numpy as np

        moved = (vectors - self.mean) @ self.transform
        lengths = np.linalg.norm(moved, axis=1)
        is_mean = lengths < 1e-6
        moved[is_mean] = np.eye(1, moved.shape[1], dtype=np.float32)
        moved /= np.where(is_mean, 1, lengths)[:, None]
        return moved, np.where(is_mean, 0, lengths).astype(np.float32)

    def translate(
        self, queries: Float32[np.ndarray, "q d"]
    ) -> tuple[Float32[np.ndarray, "q d"], Float32[np.ndarray, " q"]]:
        """Directions and offsets that give raw scores: `offset + length * (direction @ calibrated vector)`."""
        import numpy as np

        return (queries @ self._inverse).astype(np.float32), (queries @ self.mean).astype(np.float32)

    def restore(self, scaled: Float32[np.ndarray, "n d"]) -> Float32[np.ndarray, "n d"]:
        """The raw vectors of calibrated ones at their former lengths (`RawVectors`)."""
        import numpy as np

        return np.asarray(scaled @ self._inverse + self.mean, np.float32)

    def write(self, path: Path) -> None:
        """Store it as a NumPy archive (`.npz`) of `mean` and `transform`, both float32."""
        import numpy as np

        with path.open("wb") as file:
            np.savez(file, mean=self.mean, transform=self.transform)


def open_calibration(path: Path) -> Calibration:
    """The calibration that `write` stored; CorpusError where the file is not one."""
    from zipfile import BadZipFile

    import numpy as np

    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            mean, transform = stored["mean"], stored["transform"]
    except (ValueError, KeyError, OSError, EOFError, BadZipFile) as error:
        raise CorpusError(
            f"{path}: not a calibration ({type(error).__name__}: {error}). "
            "Run `morphospace index` again to build the index anew."
        ) from error
    if transform.shape != (len(mean), len(mean)):
        raise CorpusError(
            f"{path}: a transform of shape {transform.shape} with a mean of {len(mean)} values. "
            "Run `morphospace index` again to build the index anew."
        )
    return Calibration(mean=mean, transform=transform)


@dataclass(frozen=True)
class RawVectors:
    """Calibrated vectors read at their former lengths, so that `translate`'s directions score them as the raw ones.

    Is indexed as the array that it stands for.
    """

    vectors: Float16[np.ndarray, "n d"]
    lengths: Float32[np.ndarray, " n"]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the array."""
        return self.vectors.shape

    def __len__(self) -> int:
        return len(self.vectors)

    def part(self, at: slice | Int64[np.ndarray, " m"]) -> RawVectors:
        """Some of them: where they lie for a slice, fetched for places."""
        import numpy as np

        vectors = self.vectors[at] if isinstance(at, slice) else np.take(self.vectors, at, axis=0)
        return RawVectors(vectors, self.lengths[at])

    def __getitem__(self, at: Any) -> Float32[np.ndarray, ...]:
        import numpy as np

        scaled: Float32[np.ndarray, ...] = np.asarray(self.vectors[at], np.float32) * self.lengths[at][..., None]
        return scaled


def has_spread(vectors: Float32[np.ndarray, "n d"]) -> bool:
    """Whether the vectors are not all one, so that a calibration can be estimated."""
    return len(vectors) > 1 and float(vectors.var(axis=0).sum()) > 1e-8


def estimate_calibration(vectors: Float32[np.ndarray, "n d"]) -> Calibration:
    """The calibration of a sample that has a spread (`has_spread`), by the formula of this module's first lines."""
    import numpy as np

    mean = vectors.mean(axis=0, dtype=np.float64)
    centred = vectors - mean
    values, axes = np.linalg.eigh(centred.T @ centred / len(vectors))
    values = np.maximum(values, 0)
    scale = ((values + values.mean()) / values.mean()) ** -0.25
    return Calibration(mean=mean.astype(np.float32), transform=((axes * scale) @ axes.T).astype(np.float32))
