"""Which pictures meet in one training step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Int64


def draw_batches(
    numbers: Int64[np.ndarray, " n"], *, batch_size: int, rng: np.random.Generator
) -> Iterator[Int64[np.ndarray, " b"]]:
    """Endless batches of places in `numbers`, no species twice in a batch.

    In the prototype such batches beat plain ones (zero-shot species 0.30 against 0.27 after 51,000 samples): a name is
    then never a negative for another picture of its own species. Each species gives its pictures in turn, in an order
    that is shuffled anew when they run out. A batch is smaller than asked where there are fewer species.
    """
    species = np.unique(numbers)
    decks = {int(number): _deal(np.flatnonzero(numbers == number), rng) for number in species}
    size = min(batch_size, len(species))
    while True:
        chosen = rng.choice(species, size=size, replace=False)
        yield np.array([next(decks[int(number)]) for number in chosen], dtype=np.int64)


def _deal(places: Int64[np.ndarray, " p"], rng: np.random.Generator) -> Iterator[int]:
    while True:
        yield from rng.permutation(places).tolist()
