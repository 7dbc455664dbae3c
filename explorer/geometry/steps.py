"""Steps from one state's mean to the other's, species by species, and the middles between them, with their noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from explorer.geometry.grouping import assign_blocks, average_groups, sum_groups
from explorer.geometry.species_span import N_BLOCKS, Scatter, measure_inside, multiply_blocks
from explorer.geometry.states import States, list_by_size, square_sums


@dataclass(frozen=True, kw_only=True, eq=False)
class Means:
    """One vector per species with what its sampling noise is computed from.

    Attributes:
        means: Of the species; the mean over its groups.
        residuals: Of units or pairs.
        species: Of the residuals.
        weights: Of the residuals: their weighted sum of squares is the noise of their species' mean, without bias also
            where species differ in their spread.
        degrees: Of freedom of each species' residuals.
        multiples: The noise of each species' mean as a multiple of a covariance that all share.
    """

    means: Float64[np.ndarray, "s d"]
    residuals: Float64[np.ndarray, "q d"]
    species: Int64[np.ndarray, " q"]
    weights: Float64[np.ndarray, " q"]
    degrees: Int64[np.ndarray, " s"]
    multiples: Float64[np.ndarray, " s"]


def measure_steps(states: States) -> Means:
    """The step from the first state's mean to the second's, per species."""
    if states.pairs is None:
        return _combine_cells(states, states.rows, (-1.0, 1.0))
    first, _ = states.split_pairs()
    return _combine_pairs(states, states.gaps, first)


def measure_middles(states: States, rows: Float64[np.ndarray, "m p"]) -> Means:
    """The mean of each species with both states counted alike, so that unequal shares of them do not move it.

    Args:
        states: Tell which row is which.
        rows: The units in whatever axes are asked for.
    """
    if states.pairs is None:
        return _combine_cells(states, rows, (0.5, 0.5))
    first, second = states.split_pairs()
    return _combine_pairs(states, (rows[first] + rows[second]) / 2, first)


def _combine_cells(states: States, rows: Float64[np.ndarray, "m p"], signs: tuple[float, float]) -> Means:
    cells = 2 * states.groups + states.values
    counts = np.bincount(cells)
    means = average_groups(rows, cells)
    of_groups = signs[0] * means[::2] + signs[1] * means[1::2]
    n_groups = np.bincount(states.species_of_groups)
    # Every cell of a group has at least two units: `gather_states` sees to it.
    noise = signs[1] ** 2 / (counts * (counts - 1) * n_groups[np.repeat(states.species_of_groups, 2)] ** 2)
    shares = signs[1] ** 2 * (1 / counts).reshape(-1, 2).sum(axis=1)
    return Means(
        means=states.average_species(of_groups),
        residuals=rows - means[cells],
        species=states.species,
        weights=noise[cells],
        degrees=_sum_degrees(states, (counts - 1).reshape(-1, 2).sum(axis=1)),
        multiples=np.bincount(states.species_of_groups, weights=shares) / n_groups**2,
    )


def _combine_pairs(states: States, rows: Float64[np.ndarray, "o d"], units: Int64[np.ndarray, " o"]) -> Means:
    groups, species = states.groups[units], states.species[units]
    counts, n_groups = np.bincount(groups), np.bincount(states.species_of_groups)
    means = sum_groups(rows, groups, len(counts)) / counts[:, None]
    return Means(
        means=states.average_species(means),
        residuals=rows - means[groups],
        species=species,
        weights=(1 / (counts * (counts - 1)))[groups] / n_groups[species] ** 2,
        degrees=_sum_degrees(states, counts - 1),
        multiples=np.bincount(states.species_of_groups, weights=1 / counts) / n_groups**2,
    )


def _sum_degrees(states: States, of_groups: Int64[np.ndarray, " g"]) -> Int64[np.ndarray, " s"]:
    return np.bincount(states.species_of_groups, weights=of_groups).astype(np.int64)


def average_steps(
    states: States, values: Int64[np.ndarray, " m"], rows: Float64[np.ndarray, "m k"]
) -> Float64[np.ndarray, "s k"]:
    """Each species' step for an assignment of states, in whatever axes the rows are given."""
    return sum_groups(rows * weigh_units(states, values[None]).T, states.species, states.n_species)


def weigh_units(states: States, values: Int64[np.ndarray, "p m"]) -> Float64[np.ndarray, "p m"]:
    """Weights with which the units of a species add up to its step, for assignments of states."""
    # An assignment leaves every group as many units of either state.
    counts = np.bincount(2 * states.groups + states.values).reshape(-1, 2)[states.groups]
    n_groups = np.bincount(states.species_of_groups)[states.species]
    weights: Float64[np.ndarray, "p m"] = np.where(values == 1, 1 / counts[:, 1], -1 / counts[:, 0]) / n_groups
    return weights


def square_steps(states: States, values: Int64[np.ndarray, "p m"]) -> Float64[np.ndarray, " p"]:
    """The squared lengths of all species' steps, noise and all, summed, for assignments of states."""
    weights = weigh_units(states, values)
    squares = np.zeros(len(values))
    for members in list_by_size(states.species):
        rows = states.rows[members]
        squares += square_sums(rows @ rows.swapaxes(1, 2), weights[:, members]).sum(axis=1)
    return squares


def gather_middles(states: States, axes: Float64[np.ndarray, "d p"]) -> Scatter:
    """B from the species' means with both states counted alike, W from inside the states (or between pairs)."""
    found = measure_middles(states, states.rows @ axes)
    blocks = assign_blocks(states.n_species, N_BLOCKS)
    return Scatter(
        means=found.means,
        noise=found.multiples,
        blocks=blocks,
        inside=multiply_blocks(found.residuals, blocks[found.species]),
        degrees=np.bincount(blocks, weights=found.degrees).astype(np.int64),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class StepsInside:
    """The squared steps of a block of species, inside a span and in all, without their sampling noise.

    Attributes:
        steps: In the axes of the spans, one row per species.
        blocks: Of the species.
        noise: The noise of a block's steps in those axes, summed.
        wholes: The squared length of a block's steps in all of space, less its noise.
    """

    steps: Float64[np.ndarray, "s p"]
    blocks: Int64[np.ndarray, " s"]
    noise: Float64[np.ndarray, "b p p"]
    wholes: Float64[np.ndarray, " b"]

    @classmethod
    def gather(cls, states: States, axes: Float64[np.ndarray, "d p"], blocks: Int64[np.ndarray, " s"]) -> StepsInside:
        """Of these states; blocks of their species."""
        found = measure_steps(states)
        weighted = found.residuals * np.sqrt(found.weights)[:, None]
        lengths = np.bincount(blocks, weights=(found.means**2).sum(axis=1))
        noises = np.bincount(blocks[found.species], weights=(weighted**2).sum(axis=1))
        return cls(
            steps=found.means @ axes,
            blocks=blocks,
            noise=multiply_blocks(weighted @ axes, blocks[found.species]),
            wholes=lengths - noises,
        )

    def __call__(self, block: int, basis: Float64[np.ndarray, "p k"]) -> tuple[float, float]:
        """Of one block, inside a span and in all."""
        inside = ((self.steps[self.blocks == block] @ basis) ** 2).sum() - measure_inside(self.noise[block], basis)
        return float(inside), float(self.wholes[block])
