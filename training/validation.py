"""The validation pictures, encoded at a checkpoint and handed to whoever measures them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from indexer.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jaxtyping import Float32, Int64, UInt8
    from lightning_fabric import Fabric

    from training.examples import Measure
    from training.material import Material

MAX_MEASURED = 20_000
"""Validation pictures that are measured, at most."""
_PER_PART = 256
_N_READERS = 4


def measure_validation(material: Material, fabric: Fabric, measure: Measure) -> Mapping[str, float]:
    """Figures of the validation pictures as the towers see them now; every process must call it, each gets them.

    The pictures are shared out over the processes, seen as at inference, and measured by process 0. All see them with
    the batch norm statistics of process 0, as the exported encoder will. Those that cannot be read are left out and
    counted in the figure `n_unreadable`, which stands only where there are some.
    """
    from training.gathering import share_buffers

    share_buffers(material.towers.model)
    chosen = choose_measured(material.split.validation)
    vectors = _encode_shared(material, fabric, chosen)
    readable = np.isfinite(vectors).all(axis=1)
    found: dict[str, float] = {}
    if fabric.is_global_zero and readable.any():
        found.update(measure(vectors[readable], material.dataset.records.take(chosen[readable])))
    if not readable.all():
        found["n_unreadable"] = float((~readable).sum())
    figures: Mapping[str, float] = fabric.broadcast(found)
    return figures


def choose_measured(validation: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " m"]:
    """The validation pictures themselves, or `MAX_MEASURED` of them spread evenly over their order."""
    if len(validation) <= MAX_MEASURED:
        return validation
    return validation[np.arange(MAX_MEASURED) * len(validation) // MAX_MEASURED]


def _encode_shared(
    material: Material, fabric: Fabric, positions: Int64[np.ndarray, " n"]
) -> Float32[np.ndarray, "n d"]:
    """Vectors of all positions, each process having encoded an equal share; the last one's is filled up."""
    import torch

    from training.gathering import gather_rows

    size = -(-len(positions) // fabric.world_size)
    padded = np.resize(positions, size * fabric.world_size)
    own = encode_positions(material, padded[fabric.global_rank * size :][:size])
    vectors: Float32[np.ndarray, "n d"] = gather_rows(torch.from_numpy(own).to(fabric.device)).cpu().numpy()
    return vectors[: len(positions)]


def encode_positions(material: Material, positions: Int64[np.ndarray, " n"]) -> Float32[np.ndarray, "n d"]:
    """Unit vectors of pictures by their places in the dataset, seen as at inference; nan where one cannot be read."""
    from indexer.preprocessing import resize_pixels

    preprocessing = material.towers.preprocessing
    side = preprocessing.size

    unreadable: set[int] = set()

    def read(position: int) -> UInt8[np.ndarray, "s s 3"]:
        try:
            pixels = material.dataset.read_image(position)
        except InputError:
            unreadable.add(position)
            return np.zeros((side, side, 3), np.uint8)
        return pixels if pixels.shape[:2] == (side, side) else resize_pixels(pixels, preprocessing).transpose(1, 2, 0)

    vectors = []
    with ThreadPoolExecutor(_N_READERS) as readers:
        for first in range(0, len(positions), _PER_PART):
            part = readers.map(read, positions[first : first + _PER_PART].tolist())
            vectors.append(material.towers.encode_pixels(np.stack(list(part))))
    found = np.concatenate(vectors)
    found[np.isin(positions, list(unreadable))] = np.nan
    return found
