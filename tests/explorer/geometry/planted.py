"""Vectors whose structure is known because it was put there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from explorer.geometry.variants import Contrast


@dataclass(frozen=True, kw_only=True)
class Planted:
    """Vectors with species, genera, states and an ecology that moves the vectors along a direction of its own."""

    vectors: np.ndarray
    species: np.ndarray
    genera: np.ndarray
    states: np.ndarray
    ecology: np.ndarray

    @property
    def contrast(self) -> Contrast:
        return Contrast(column="lifeStage", names=("adult", "juvenile"), codes=self.states)


def plant(
    seed: int,
    *,
    n_genera: int = 20,
    n_per_genus: int = 3,
    n_each: int = 8,
    d: int = 12,
    step: float = 0.0,
    step_inside: float = 0.0,
    ecology: float = 0.0,
    genus_ecology: float = 0.0,
    stage_share: float | None = 0.4,
) -> Planted:
    """Species differ in the first 4 dimensions (variance 4), records in all (variance 1), turned at random.

    Args:
        seed: Fixes all.
        n_genera, n_per_genus, n_each: Genera, species in each, records of each.
        d: Dimensions, 8 or more.
        step: Length of the step between states.
        step_inside: Share of its square in the span of the species.
        ecology: How far a unit of ecology moves a record, in a direction outside the span.
        genus_ecology: How far a unit of the genus's mean ecology moves it, in another one.
        stage_share: Share of juveniles; None for a share that differs from species to species.
    """
    rng = np.random.default_rng(seed)
    n_species = n_genera * n_per_genus
    species = np.repeat(np.arange(n_species), n_each)
    genus_of = np.repeat(np.arange(n_genera), n_per_genus)
    values = rng.normal(size=n_genera)[genus_of] + rng.normal(size=n_species)
    shares = rng.choice([0.25, 0.75], n_species) if stage_share is None else np.full(n_species, stage_share)
    states = (rng.random(len(species)) < shares[species]).astype(np.int64)
    rows = rng.normal(size=(len(species), d))
    rows[:, :4] += 2 * rng.normal(size=(n_species, 4))[species]
    rows[:, 0] += states * step * np.sqrt(step_inside)
    rows[:, 5] += states * step * np.sqrt(1 - step_inside)
    rows[:, 6] += ecology * values[species]
    rows[:, 7] += genus_ecology * (np.bincount(genus_of, weights=values) / n_per_genus)[genus_of[species]]
    turn = np.linalg.qr(rng.normal(size=(d, d)))[0]
    return Planted(
        vectors=rows @ turn, species=species, genera=genus_of[species], states=states, ecology=values[species][:, None]
    )
