"""Whether the intervals of axes and contrasts cover, and their nulls reject, as often as they say.

Run: python -m benchmarks.geometry_axes [simulations]
Prints a line per case: share of 95 % intervals that hold the mean over all simulations, or of p at most 0.05.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np

from explorer.geometry.axes import gather_units, measure_axis
from explorer.geometry.axis_ranking import measure_taxonomy
from explorer.geometry.contrast import compare_sets
from explorer.geometry.finding import Finding, Skipped

Draw = Callable[[int], Finding | Skipped]


def draw_axis(
    seed: int,
    *,
    n_genera: int = 12,
    n_per_genus: int = 4,
    n_each: int = 10,
    step: float = 0.0,
    own_step: float = 0.0,
    shares: tuple[float, ...] = (0.4,),
    n_images: int = 1,
    batch: float = 0.0,
    between: bool = False,
    n_shuffles: int = 0,
) -> Finding | Skipped:
    """Validate the axis of a simulated column.

    Args:
        seed: Fixes all.
        n_genera, n_per_genus, n_each: Genera, species in each, occurrences of each.
        step: Of the second group along one direction that all species share.
        own_step: Standard deviation, per dimension, of what each species adds to its own step.
        shares: Of the second group; a species has one of them, by its number.
        n_images: Images of an occurrence at most, alike but for a little noise.
        batch: What moves the records of a genus (all groups alike), along the direction of the step.
        between: The column is of the species, and species of a genus may differ in it.
        n_shuffles: Of the null.
    """
    rng, d = np.random.default_rng(seed), 16
    n_species = n_genera * n_per_genus
    species = np.repeat(np.arange(n_species), n_each)
    genera = species // n_per_genus
    values = (rng.random(len(species)) < np.array(shares)[species % len(shares)]).astype(np.int64)
    if between:
        values = (rng.random(n_species) < 0.4).astype(np.int64)[species]
    steps = own_step * rng.normal(size=(n_species, d))
    steps[:, 5] += step
    rows = rng.normal(size=(len(species), d)) + 2 * rng.normal(size=(n_species, d))[species] * (np.arange(d) < 4)
    rows += values[:, None] * steps[species]
    rows[:, 5] += batch * rng.normal(size=n_genera)[genera]
    images = np.repeat(np.arange(len(rows)), rng.integers(1, n_images + 1, len(rows)))
    vectors = rows[images] + 0.1 * rng.normal(size=(len(images), d))
    lineages = np.full((len(images), 7), -1, dtype=np.int64)
    lineages[:, 6], lineages[:, 5] = species[images] + n_genera, genera[images]
    units = gather_units(vectors.astype(np.float32), images, lineages, values[images])
    return measure_axis(units, "simulated", n_shuffles=n_shuffles, seed=seed)


def draw_taxonomy(seed: int, *, between: float, counts: tuple[int, ...], n_species: int = 30) -> Finding | Skipped:
    """The share of variance between species, of which `between` is the truth."""
    rng = np.random.default_rng(seed)
    species = np.repeat(np.arange(n_species), np.resize(counts, n_species))
    positions = np.sqrt(between) * rng.normal(size=n_species)[species]
    positions += np.sqrt(1 - between) * rng.normal(size=len(species))
    return measure_taxonomy(positions, np.arange(len(species)), species, "simulated")


def draw_contrast(
    seed: int, *, n: tuple[int, int] = (60, 60), step: float = 0.0, n_images: int = 1, n_shuffles: int = 0, which: int
) -> Finding | Skipped:
    """The held-out area (0) or effect (1) of two sets of occurrences of a corpus without names."""
    rng, d = np.random.default_rng(seed), 24
    values = np.repeat([0, 1], n)
    rows = rng.normal(size=(len(values), d)) * np.linspace(0.3, 2, d)
    rows[:, 0] += 0.3 * step * values
    images = np.repeat(np.arange(len(rows)), rng.integers(1, n_images + 1, len(rows)))
    vectors = (rows[images] + 0.05 * rng.normal(size=(len(images), d))).astype(np.float32)
    nameless = np.full((len(images), 7), -1, dtype=np.int64)
    return compare_sets(vectors, images, nameless, values[images], n_shuffles=n_shuffles, seed=seed)[which]


COVERED: dict[str, tuple[Draw, float | None]] = {
    "axis, 48 species, strong": (lambda seed: draw_axis(seed, step=1.0), None),
    "axis, 48 species, weak": (lambda seed: draw_axis(seed, step=0.5), None),
    "axis, species differ in the step": (lambda seed: draw_axis(seed, step=0.8, own_step=0.4), None),
    "axis, 9 species": (lambda seed: draw_axis(seed, step=1.0, n_genera=3, n_per_genus=3), None),
    "axis, unbalanced": (lambda seed: draw_axis(seed, step=1.0, shares=(0.15, 0.5, 0.85)), None),
    "axis, many images": (lambda seed: draw_axis(seed, step=0.8, n_images=8), None),
    "axis, one species": (lambda seed: draw_axis(seed, step=1.0, n_genera=1, n_per_genus=1, n_each=60), None),
    "axis, inside genera": (lambda seed: draw_axis(seed, step=1.5, n_genera=20, n_each=3, between=True), None),
    "taxonomy, even": (lambda seed: draw_taxonomy(seed, between=0.5, counts=(6,)), 0.5),
    "taxonomy, uneven": (lambda seed: draw_taxonomy(seed, between=0.3, counts=(1, 2, 4, 20)), 0.3),
    "contrast area": (lambda seed: draw_contrast(seed, step=1.5, which=0), None),
    "contrast effect": (lambda seed: draw_contrast(seed, step=1.5, which=1), None),
    "contrast area, 15 and 150": (lambda seed: draw_contrast(seed, n=(15, 150), step=2.0, which=0), None),
}
REJECTED: dict[str, Draw] = {
    "axis": lambda seed: draw_axis(seed, n_shuffles=199),
    "axis, many images": lambda seed: draw_axis(seed, n_images=8, n_shuffles=199),
    "axis, unbalanced": lambda seed: draw_axis(seed, shares=(0.15, 0.5, 0.85), n_shuffles=199),
    "axis, genera moved along it": lambda seed: draw_axis(seed, batch=2.0, n_shuffles=199),
    "axis, one species": lambda seed: draw_axis(seed, n_genera=1, n_per_genus=1, n_each=60, n_shuffles=199),
    "axis, inside genera": lambda seed: draw_axis(seed, n_genera=20, n_each=3, between=True, batch=2.0, n_shuffles=199),
    "contrast area": lambda seed: draw_contrast(seed, n_shuffles=199, which=0),
    "contrast area, many images": lambda seed: draw_contrast(seed, n=(20, 40), n_images=9, n_shuffles=199, which=0),
}


def main(n: int) -> None:
    """Print every case."""
    for name, (draw, truth) in COVERED.items():
        found = [one for one in map(draw, range(n)) if isinstance(one, Finding)]
        mean = float(np.mean([one.value for one in found])) if truth is None else truth
        covered = np.mean([one.low <= mean <= one.high for one in found])
        print(f"covers  {name}: {covered:.3f} of {len(found)} (mean {mean:.3f})", flush=True)
    for name, null in REJECTED.items():
        found = [one for one in map(null, range(n)) if isinstance(one, Finding)]
        rejected = np.mean([one.p <= 0.05 for one in found])
        print(f"rejects {name}: {rejected:.3f} of {len(found)}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 400)
