"""Vectors whose structure is known because it was put there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from explorer.geometry.states import States, gather_states
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


@dataclass(frozen=True, kw_only=True)
class Images:
    """Images of occurrences of species that show two states, in batches."""

    vectors: np.ndarray
    species: np.ndarray
    genera: np.ndarray
    states: np.ndarray
    occurrences: np.ndarray
    batches: np.ndarray

    @property
    def contrast(self) -> Contrast:
        return Contrast(column="sex", names=("female", "male"), codes=self.states)

    def gather(self, *, n_each: int = 2, by_batch: bool = False, seed: int = 0) -> States:
        states = gather_states(
            self.vectors,
            self.species,
            self.states,
            occurrences=self.occurrences,
            batches=self.batches if by_batch else None,
            genera=self.genera,
            n_each=n_each,
            seed=seed,
        )
        assert states is not None
        return states


def plant_images(
    seed: int,
    *,
    n_genera: int = 12,
    n_per_genus: int = 2,
    n_each: int = 8,
    d: int = 10,
    step: float = 0.0,
    shared: float = 1.0,
    shared_in_genus: bool = False,
    second_share: float = 0.5,
    is_paired: bool = False,
    most_images: int = 1,
    batch: float = 0.0,
) -> Images:
    """As `plant`, but of images: an occurrence (variance 1 in all dimensions) has one or many that are alike.

    Args:
        seed: Fixes all.
        n_genera, n_per_genus, n_each: Genera, species in each, occurrences of each.
        d: Dimensions, 8 or more; species differ in the first 4.
        step: Length of the step from the first state to the second.
        shared: Share of its square along one direction; the rest has a direction of the species' own.
        shared_in_genus: Whether the species of a genus have that other direction in common.
        second_share: Share of occurrences with the second state; each species has two of either at least.
        is_paired: Each occurrence shows both states, which then differ by noise of variance 1/2 each.
        most_images: Images of an occurrence, 1 … this many.
        batch: How far the second of two batches moves vectors; it holds 4 of 5 occurrences of the second state, and 1
            of 5 of the first.
    """
    rng = np.random.default_rng([seed, 99])
    n_species = n_genera * n_per_genus
    species = np.repeat(np.arange(n_species), n_each)
    genus_of = np.repeat(np.arange(n_genera), n_per_genus)
    rows = rng.normal(size=(len(species), d))
    rows[:, :4] += 2 * rng.normal(size=(n_species, 4))[species]
    states = (rng.random(len(species)) < second_share).astype(np.int64)
    place = np.arange(len(species)) % n_each
    states[place < 4] = place[place < 4] % 2
    occurrences = np.arange(len(species))
    if is_paired:
        rows, species, occurrences = np.repeat(rows, 2, axis=0), np.repeat(species, 2), np.repeat(occurrences, 2)
        rows += np.sqrt(0.5) * rng.normal(size=rows.shape)
        states = np.arange(len(species)) % 2
    own = rng.normal(size=(n_genera, d))[genus_of] if shared_in_genus else rng.normal(size=(n_species, d))
    own /= np.linalg.norm(own, axis=1, keepdims=True)
    steps = np.sqrt(1 - shared) * own
    steps[:, 5] += np.sqrt(shared)
    rows += step * states[:, None] * steps[species]
    batches = (rng.random(len(species)) < np.where(states == 1, 0.8, 0.2)).astype(np.int64)
    if is_paired:
        batches = np.zeros_like(states)
    rows[:, 6] += batch * batches
    images = np.repeat(np.arange(len(rows)), rng.integers(1, most_images + 1, len(rows)))
    turn = np.linalg.qr(rng.normal(size=(d, d)))[0]
    order = rng.permutation(images)
    return Images(
        vectors=(rows @ turn)[order],
        species=species[order],
        genera=genus_of[species][order],
        states=states[order],
        occurrences=occurrences[order],
        batches=batches[order],
    )
