"""States inside species, as life stage and sex: how far apart, in which direction, and whether it is shared."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from explorer.geometry.finding import Estimate, Finding, Side, Used, conclude, find_error, find_ratio
from explorer.geometry.grouping import (
    UNKNOWN,
    assign_blocks,
    assign_folds,
    code_names,
    keep_contrasted,
    recode,
    shuffle_in_groups,
    sum_groups,
)
from explorer.geometry.probing import N_FOLDS, read_held_out
from explorer.geometry.species_span import (
    MIN_SPECIES,
    N_BLOCKS,
    Scatter,
    count_dimensions,
    find_span,
    has_species_for,
    hold_out_blocks,
    measure_inside,
)

MIN_GENERA = 2 * N_FOLDS
MIN_RECORDS = 10
"""Records of either state that a probe needs."""


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """Two states of a column.

    Attributes:
        column: The column.
        names: The two values, the rarer one last.
        codes: 0 or 1 per record; -1 where the record has neither.
    """

    column: str
    names: tuple[str, str]
    codes: Int64[np.ndarray, " n"]


def choose_contrast(column: str, values: Sequence[str | None], species: Int64[np.ndarray, " n"]) -> Contrast | None:
    """The two values of the column that the most species show both of, at least twice each; None where none does."""
    codes = code_names(values)
    names = sorted({value for value in values if value})
    if len(names) < 2:
        return None
    known = (codes >= 0) & (species >= 0)
    table = np.zeros((int(species.max(initial=0)) + 1, len(names)), dtype=np.int64)
    np.add.at(table, (species[known], codes[known]), 1)
    shown = (table >= 2).astype(np.int64)
    both = np.triu(shown.T @ shown, k=1)
    if not both.any():
        return None
    pair = np.unravel_index(both.argmax(), both.shape)
    first, second = sorted((int(place) for place in pair), key=lambda place: -int(table[:, place].sum()))
    contrast = np.select([codes == first, codes == second], [0, 1], UNKNOWN).astype(np.int64)
    return Contrast(column=column, names=(names[first], names[second]), codes=contrast)


@dataclass(frozen=True, kw_only=True)
class _Cells:
    """Records of species that show both states: means and scatters of each species' two cells."""

    means: Float64[np.ndarray, "g 2 d"]
    counts: Int64[np.ndarray, "g 2"]
    inside: Float64[np.ndarray, "g 2"]

    @property
    def steps(self) -> Float64[np.ndarray, "g d"]:
        """From the first state's mean to the second's, per species."""
        steps: Float64[np.ndarray, "g d"] = self.means[:, 1] - self.means[:, 0]
        return steps

    def measure_parts(self) -> tuple[Float64[np.ndarray, " g"], Float64[np.ndarray, " g"]]:
        """Per species the squared step without its sampling noise, and the summed variances of the two cells."""
        variances = self.inside / (self.counts - 1)
        squared = (self.steps**2).sum(axis=1) - (variances / self.counts).sum(axis=1)
        return squared, variances.sum(axis=1)


def _gather_cells(
    rows: Float64[np.ndarray, "n d"],
    squares: Float64[np.ndarray, " n"],
    species: Int64[np.ndarray, " n"],
    values: Int64[np.ndarray, " n"],
) -> _Cells:
    n_cells = 2 * (int(species.max()) + 1)
    cells = 2 * species + values
    counts = np.bincount(cells, minlength=n_cells)
    means = sum_groups(rows, cells, n_cells) / counts[:, None]
    inside = np.bincount(cells, weights=squares, minlength=n_cells) - counts * (means**2).sum(axis=1)
    return _Cells(means=means.reshape(-1, 2, rows.shape[1]), counts=counts.reshape(-1, 2), inside=inside.reshape(-1, 2))


def measure_separation(
    vectors: Float64[np.ndarray, "n d"],
    species: Int64[np.ndarray, " n"],
    contrast: Contrast,
    *,
    n_shuffles: int = 199,
    seed: int = 0,
) -> Finding | None:
    """Fisher's discriminant ratio of the two states inside species.

    Per species |m_a - m_b|² less its sampling noise, over tr S_a + tr S_b (Gu et al. 2025 name the ratio; a formula of
    theirs is not known to us); the mean of the first over the mean of the second, so that species with two records of a
    state do not blow it up. 0 where the states do not differ. Shuffles move the states among the records of a species.

    Returns:
        None where fewer than 8 species have two records of either state.
    """
    kept = keep_contrasted(species, contrast.codes, n_each=2)
    if len(np.unique(species[kept])) < MIN_SPECIES:
        return None
    rows = np.asarray(vectors[kept], dtype=np.float64)
    codes, values = recode(species[kept]), contrast.codes[kept]
    rows = rows - rows.mean(axis=0)
    squares = (rows**2).sum(axis=1)
    squared, variances = _gather_cells(rows, squares, codes, values).measure_parts()
    shuffled = []
    for places in shuffle_in_groups(codes, n_shuffles=n_shuffles, rng=np.random.default_rng(seed)):
        parts = _gather_cells(rows, squares, codes, values[places]).measure_parts()
        shuffled.append(find_ratio(parts[0].sum(), parts[1].sum()))
    blocks = assign_blocks(len(squared), N_BLOCKS)
    kept_sums = [(squared[blocks != b].sum(), variances[blocks != b].sum()) for b in range(int(blocks.max()) + 1)]
    estimate = Estimate(
        value=find_ratio(squared.sum(), variances.sum()),
        error=find_error(np.array([find_ratio(above, below) for above, below in kept_sums])),
        degrees=len(kept_sums) - 1,
        shuffled=np.array(shuffled),
    )

    def say(numbers: str) -> str:
        return (
            f"Inside species, {contrast.names[1]} and {contrast.names[0]} lie apart by this multiple of their own "
            f"spread (Fisher ratio, squared): {numbers}."
        )

    used = Used(n=len(rows), n_groups=len(squared), left_out=int((~kept).sum()))
    return conclude(
        estimate,
        name=("fisher", contrast.column),
        chance=0.0,
        side=Side.GREATER,
        bounds=(-np.inf, np.inf),
        used=used,
        say=say,
    )


def measure_direction(
    vectors: Float64[np.ndarray, "n d"],
    species: Int64[np.ndarray, " n"],
    contrast: Contrast,
    *,
    n_dimensions: int | None = None,
    n_shuffles: int = 199,
    seed: int = 0,
) -> Finding | None:
    """Share of the step from one state to the other, species by species, that lies inside the span of the species.

    sum_s |V' d_s|² / sum_s |d_s|², both less the sampling noise of the step d_s, so that small samples may give a value
    a little outside [0, 1]; nan where the noise alone is as long as the steps.
    V spans the means of other species, each state counted alike, so that unequal shares of the states do not pose as a
    difference between species; see `species_span`. p compares the share of the steps as they are, in the span of all
    species, with that of states shuffled inside species, whose steps are noise alone: a small p says that the step is
    more orthogonal to the species than the rest of the variation inside them.

    Returns:
        None where fewer than 8 species have two records of either state, or too few for the dimensions asked for
        (`species_span.has_species_for`).
    """
    kept = keep_contrasted(species, contrast.codes, n_each=2)
    n_species, d = len(np.unique(species[kept])), vectors.shape[1]
    if n_species < MIN_SPECIES or (n_dimensions and not has_species_for(min(n_dimensions, d), n_species)):
        return None
    rows = np.asarray(vectors[kept], dtype=np.float64)
    rows = rows - rows.mean(axis=0)
    codes, values = recode(species[kept]), contrast.codes[kept]
    cells = _gather_cells(rows, (rows**2).sum(axis=1), codes, values)
    scatter = _gather_scatter(rows, codes, values, cells)
    between = scatter.between(scatter.all_blocks)
    k = min(n_dimensions or count_dimensions(between), d)
    basis = find_span(between, k)
    value, error = hold_out_blocks(scatter, k, _StepsInside(cells=cells, scatter=scatter))
    estimate = Estimate(
        value=value,
        error=error,
        degrees=len(scatter.inside) - 1,
        shuffled=_shuffle_steps(rows, codes, values, basis, n_shuffles=n_shuffles, seed=seed),
        seen=_share(cells.steps, basis),
    )

    warning = (
        "; p asks whether the step is more orthogonal to the species than the rest of the variation inside them"
        if math.isfinite(estimate.find_p(Side.LESS))
        else ""
    )

    def say(numbers: str) -> str:
        return (
            f"Of the step from {contrast.names[0]} to {contrast.names[1]} inside species this share lies in the {k} "
            f"directions (of {d}) in which other species differ: {numbers}; a direction at random has "
            f"{k / d:.2f}{warning}."
        )

    used = Used(n=len(rows), n_groups=len(cells.counts), left_out=int((~kept).sum()))
    return conclude(
        estimate,
        name=(f"direction{n_dimensions or ''}_share", contrast.column),
        chance=k / d,
        side=Side.LESS,
        bounds=(-np.inf, np.inf),
        used=used,
        say=say,
    )


@dataclass(frozen=True, kw_only=True)
class _StepsInside:
    """The squared steps of a block of species, inside a span and in all, without their sampling noise."""

    cells: _Cells
    scatter: Scatter

    def __call__(self, block: int, basis: Float64[np.ndarray, "d k"]) -> tuple[float, float]:
        chosen = self.scatter.blocks == block
        steps, noise = self.cells.steps[chosen], (1 / self.cells.counts[chosen]).sum()
        within = self.scatter.inside[block] / self.scatter.degrees[block]
        inside = ((steps @ basis) ** 2).sum() - noise * measure_inside(within, basis)
        return float(inside), float((steps**2).sum() - noise * np.trace(within))


def _gather_scatter(
    rows: Float64[np.ndarray, "n d"], species: Int64[np.ndarray, " n"], values: Int64[np.ndarray, " n"], cells: _Cells
) -> Scatter:
    """B from the species' means with both states counted alike, W from inside the cells."""
    blocks = assign_blocks(len(cells.counts), N_BLOCKS)
    n_blocks = int(blocks.max()) + 1
    residuals = rows - cells.means[species, values]
    parts = [residuals[blocks[species] == block] for block in range(n_blocks)]
    return Scatter(
        means=cells.means.mean(axis=1),
        noise=(1 / cells.counts).sum(axis=1) / 4,
        blocks=blocks,
        inside=np.stack([part.T @ part for part in parts]),
        degrees=np.bincount(blocks, weights=(cells.counts - 1).sum(axis=1), minlength=n_blocks).astype(np.int64),
    )


def _shuffle_steps(
    rows: Float64[np.ndarray, "n d"],
    species: Int64[np.ndarray, " n"],
    values: Int64[np.ndarray, " n"],
    basis: Float64[np.ndarray, "d k"],
    *,
    n_shuffles: int,
    seed: int,
) -> Float64[np.ndarray, " p"]:
    squares = (rows**2).sum(axis=1)
    shuffles = shuffle_in_groups(species, n_shuffles=n_shuffles, rng=np.random.default_rng(seed))
    steps = (_gather_cells(rows, squares, species, values[places]).steps for places in shuffles)
    return np.array([_share(one, basis) for one in steps])


def _share(steps: Float64[np.ndarray, "g d"], basis: Float64[np.ndarray, "d k"]) -> float:
    return find_ratio(((steps @ basis) ** 2).sum(), (steps**2).sum())


def probe_states(
    vectors: Float64[np.ndarray, "n d"],
    species: Int64[np.ndarray, " n"],
    genera: Int64[np.ndarray, " n"],
    contrast: Contrast,
    *,
    n_shuffles: int = 199,
    seed: int = 0,
) -> Finding | None:
    """Area under the ROC curve of a linear probe for the second state, on genera that the probe never saw.

    Pairs are compared inside a fold only: scores of different ridges have different offsets. Shuffles move the states
    among the records of each species, so that what the species alone tells about the state is in the null. The interval
    leaves out folds of genera in turn, from the fits as well.

    Args:
        vectors: One row per record.
        species: A code per record; those below 0 are left out.
        genera: The same for genera.
        contrast: The two states.
        n_shuffles: 0 for no null.
        seed: Fixes the shuffles.

    Returns:
        None where fewer than 16 genera, or fewer than 10 records of a state, are there.
    """
    estimate = estimate_states(vectors, species, genera, contrast, n_shuffles=n_shuffles, seed=seed)
    if estimate is None:
        return None
    kept = (contrast.codes >= 0) & (species >= 0) & (genera >= 0)
    used = Used(n=int(kept.sum()), n_groups=len(np.unique(genera[kept])), left_out=int((~kept).sum()))
    return conclude_states(estimate, contrast.column, contrast.names, used)


def conclude_states(estimate: Estimate, column: str, names: tuple[str, str], used: Used) -> Finding:
    """The finding of `probe_states` for an estimate, or for the mean of several strata's."""

    def say(numbers: str) -> str:
        return (
            f"A linear probe fitted on other genera ranks a record that is {names[1]} before one that is {names[0]} "
            f"with this chance: {numbers}."
        )

    return conclude(estimate, name=("auc", column), chance=0.5, side=Side.GREATER, bounds=(0, 1), used=used, say=say)


def estimate_states(
    vectors: Float64[np.ndarray, "n d"],
    species: Int64[np.ndarray, " n"],
    genera: Int64[np.ndarray, " n"],
    contrast: Contrast,
    *,
    n_shuffles: int = 199,
    seed: int = 0,
) -> Estimate | None:
    """The estimate behind `probe_states`."""
    kept = (contrast.codes >= 0) & (species >= 0) & (genera >= 0)
    values = contrast.codes[kept]
    groups = recode(genera[kept]) if kept.any() else genera[kept]
    if groups.max(initial=-1) + 1 < MIN_GENERA or min((values == state).sum() for state in (0, 1)) < MIN_RECORDS:
        return None
    rng = np.random.default_rng(seed)
    places = shuffle_in_groups(recode(species[kept]), n_shuffles=n_shuffles, rng=rng)
    truths = np.vstack([values[None], values[places]]).T
    folds = assign_folds(groups, N_FOLDS)
    reading = read_held_out(np.asarray(vectors[kept], dtype=np.float64), truths.astype(np.float64), folds)
    areas = _find_areas(reading.read, truths == 1, folds)
    truth = truths[:, :1] == 1
    without = [
        float(_find_areas(reading.without[fold][folds != fold], truth[folds != fold], folds[folds != fold])[0])
        for fold in range(len(reading.without))
    ]
    return Estimate(
        value=float(areas[0]), error=find_error(np.array(without)), degrees=len(without) - 1, shuffled=areas[1:]
    )


def _find_areas(
    scores: Float64[np.ndarray, "n t"], truths: np.ndarray, folds: Int64[np.ndarray, " n"]
) -> Float64[np.ndarray, " t"]:
    """Share of the pairs inside folds that stand in the right order (Mann-Whitney U), per column."""
    from scipy.stats import rankdata

    wins, pairs = np.zeros(scores.shape[1]), np.zeros(scores.shape[1])
    for fold in np.unique(folds):
        part = folds == fold
        ranks, right = rankdata(scores[part], axis=0), truths[part]
        n_right = right.sum(axis=0)
        wins += (ranks * right).sum(axis=0) - n_right * (n_right + 1) / 2
        pairs += n_right * (part.sum() - n_right)
    areas: Float64[np.ndarray, " t"] = wins / pairs
    return areas
