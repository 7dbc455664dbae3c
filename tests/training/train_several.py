"""Trains several runs, one after the other, as `morphospace train` does: python -m tests.training.train_several RUN ….

Each RUN is a folder that holds `settings.toml`; the run goes to its folder `run`. One program for all, since the
imports take longer than the steps.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa
    from jaxtyping import Float

    from training.examples import Measure


def main() -> None:
    from explorer.training_run import run_training
    from training.settings import read_config

    for name in sys.argv[1:]:
        config = read_config(Path(name) / "settings.toml")
        run_training(config, Path(name) / "run", measure=add_emergence(config.data.measure))


def add_emergence(columns: tuple[str, ...]) -> Measure:
    """The figures of `measure_vectors` beside those that a run has by itself."""
    from explorer.geometry.emergence import make_measure

    emergence = make_measure(columns, seed=0)
    return lambda vectors, records: {**emergence(vectors, records), **measure_vectors(vectors, records)}


def measure_vectors(vectors: Float[np.ndarray, "n d"], _records: pa.Table) -> Mapping[str, float]:
    """Two figures that move with the vectors of the first and of the second half of the pictures."""
    halves = np.array_split(vectors[:, :8] @ np.arange(1.0, 9.0), 2)
    return {f"half{i}": float(half.mean()) for i, half in enumerate(halves)}


if __name__ == "__main__":
    main()
