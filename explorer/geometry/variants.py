"""States inside species, as life stage and sex: how far apart, in which direction, and whether other genera show it.

Fisher ratio and share in the span follow section 5.4 of the BioCLIP 2 paper (Gu et al. 2025) by name; its formulas
could not be verified, no code of theirs computes them, and those here are ours. Every statistic takes occurrences, so
that one with many images counts once, and most take batches, inside which alone states are then compared (see
`explorer.geometry.states`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Int64

from explorer.geometry.finding import Estimate, Finding, Side, Used, conclude, find_error, find_ratio
from explorer.geometry.grouping import (
    UNKNOWN,
    Units,
    assign_blocks,
    assign_folds,
    code_names,
    collapse_occurrences,
    recode,
    shuffle_in_groups,
)
from explorer.geometry.probing import N_FOLDS, read_held_out
from explorer.geometry.species_span import (
    MIN_SPECIES,
    N_BLOCKS,
    count_dimensions,
    find_span,
    has_species_for,
    hold_out_blocks,
    list_spans,
)
from explorer.geometry.states import States, gather_states, measure_squares, read_values
from explorer.geometry.steps import StepsInside, average_steps, gather_middles, square_steps

MIN_GENERA = 2 * N_FOLDS
MIN_RECORDS = 10
"""Occurrences of either state that a probe needs."""
MOST_REST = 4
"""Values of a column that are each compared with the rest."""


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """Two states of a column.

    Attributes:
        column: The column; "lifeStage: larva" where one value is compared with the rest.
        names: The two values, the rarer one last; "not larva" stands for the rest.
        codes: 0 or 1 per record; -1 where the record has neither.
    """

    column: str
    names: tuple[str, str]
    codes: Int64[np.ndarray, " n"]


def choose_contrast(
    column: str,
    values: Sequence[str | None],
    species: Int64[np.ndarray, " n"],
    occurrences: Int64[np.ndarray, " n"] | None = None,
) -> Contrast | None:
    """The two values of the column that the most species show both of, at least twice each; None where none does.

    Args:
        column: Its name.
        values: One per record.
        species: A code per record; those below 0 do not count.
        occurrences: A code per record: twice then means in two occurrences; by default each record is its own.
    """
    codes = code_names(values)
    names = sorted({value for value in values if value})
    if len(names) < 2:
        return None
    table = _count_occurrences(codes, species, occurrences, len(names))
    shown = (table >= 2).astype(np.int64)
    both = np.triu(shown.T @ shown, k=1)
    if not both.any():
        return None
    pair = np.unravel_index(both.argmax(), both.shape)
    first, second = sorted((int(place) for place in pair), key=lambda place: -int(table[:, place].sum()))
    contrast = np.select([codes == first, codes == second], [0, 1], UNKNOWN).astype(np.int64)
    return Contrast(column=column, names=(names[first], names[second]), codes=contrast)


def list_contrasts(
    column: str,
    values: Sequence[str | None],
    species: Int64[np.ndarray, " n"],
    occurrences: Int64[np.ndarray, " n"] | None = None,
) -> tuple[Contrast, ...]:
    """The contrast of `choose_contrast`, and of a column with more than two values each of the four commonest alone.

    Such a value is compared with all others that the column names; records without a value stay out.
    """
    best = choose_contrast(column, values, species, occurrences)
    if best is None:
        return ()
    codes = code_names(values)
    names = sorted({value for value in values if value})
    if len(names) == 2:
        return (best,)
    totals = _count_occurrences(codes, species, occurrences, len(names)).sum(axis=0)
    commonest = np.argsort(-totals, kind="stable")[:MOST_REST]
    return best, *(
        Contrast(
            column=f"{column}: {names[place]}",
            names=(f"not {names[place]}", names[place]),
            codes=np.where(codes < 0, UNKNOWN, codes == place).astype(np.int64),
        )
        for place in commonest
    )


def _count_occurrences(
    codes: Int64[np.ndarray, " n"],
    species: Int64[np.ndarray, " n"],
    occurrences: Int64[np.ndarray, " n"] | None,
    n_names: int,
) -> Int64[np.ndarray, "s v"]:
    """Occurrences of each species that show each value."""
    known = (codes >= 0) & (species >= 0)
    whole = np.arange(len(codes)) if occurrences is None else occurrences
    seen = np.unique(np.column_stack([whole, species, codes])[known], axis=0)
    table = np.zeros((int(species.max(initial=0)) + 1, n_names), dtype=np.int64)
    np.add.at(table, (seen[:, 1], seen[:, 2]), 1)
    return table


def measure_separation(
    vectors: Float[np.ndarray, "n d"],
    species: Int64[np.ndarray, " n"],
    contrast: Contrast,
    *,
    occurrences: Int64[np.ndarray, " n"] | None = None,
    batches: Int64[np.ndarray, " n"] | None = None,
    n_shuffles: int = 199,
    seed: int = 0,
) -> Finding | None:
    """Fisher's discriminant ratio of the two states inside species.

    Per species |m_a - m_b|² less its sampling noise, over tr S_a + tr S_b (Gu et al. 2025 name the ratio; a formula of
    theirs is not known to us); the mean of the first over the mean of the second, so that species with two records of a
    state do not blow it up. 0 where the states do not differ. Shuffles move the states among the occurrences of a
    species (and batch), or inside occurrences that show both.

    Args:
        vectors: One row per record.
        species: A code per record; those below 0 are left out.
        contrast: The two states.
        occurrences: A code per record, 0 or more; by default each record is its own.
        batches: A code per record, -1 where it is not known: states are compared inside batches of a species alone.
        n_shuffles: 0 for no null.
        seed: Fixes the shuffles, and the draw where there are more than 20,000 occurrences.

    Returns:
        None where fewer than 8 species have two occurrences of either state.
    """
    states = gather_states(vectors, species, contrast.codes, occurrences=occurrences, batches=batches, seed=seed)
    return None if states is None else separate_states(states, contrast, n_shuffles=n_shuffles, seed=seed)


def separate_states(states: States, contrast: Contrast, *, n_shuffles: int = 199, seed: int = 0) -> Finding | None:
    """The finding of `measure_separation` for states that are gathered already."""
    if states.n_species < MIN_SPECIES:
        return None
    shuffles = states.shuffle(n_shuffles, seed)
    squared, variances = measure_squares(states, np.vstack([states.values[None], states.values[shuffles]]))
    blocks = assign_blocks(states.n_species, N_BLOCKS)
    without = [
        find_ratio(squared[0, blocks != block].sum(), variances[0, blocks != block].sum())
        for block in range(int(blocks.max()) + 1)
    ]
    ratios = np.array([find_ratio(*parts) for parts in zip(squared.sum(axis=1), variances.sum(axis=1), strict=True)])
    estimate = Estimate(
        value=float(ratios[0]), error=find_error(np.array(without)), degrees=len(without) - 1, shuffled=ratios[1:]
    )

    def say(numbers: str) -> str:
        return (
            f"Inside species, {contrast.names[1]} and {contrast.names[0]} lie apart by this multiple of their own "
            f"spread (Fisher ratio, squared): {numbers}{states.note}."
        )

    return conclude(
        estimate,
        name=("fisher", contrast.column),
        chance=0.0,
        side=Side.GREATER,
        bounds=(-np.inf, np.inf),
        used=states.used,
        say=say,
    )


def measure_direction(
    vectors: Float[np.ndarray, "n d"],
    species: Int64[np.ndarray, " n"],
    contrast: Contrast,
    *,
    occurrences: Int64[np.ndarray, " n"] | None = None,
    batches: Int64[np.ndarray, " n"] | None = None,
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

    Args:
        vectors: One row per record.
        species: A code per record; those below 0 are left out.
        contrast: The two states.
        occurrences: As for `measure_separation`; so are `batches`, `n_shuffles` and `seed`.
        batches: A step is then the mean over a species' batches.
        n_dimensions: k; by default as many as hold 90 % of the variance between species (at most 256).
        n_shuffles: 0 for no null.
        seed: Fixes the shuffles.

    Returns:
        None where fewer than 8 species have two occurrences of either state, or too few for the dimensions asked for
        (`species_span.has_species_for`).
    """
    states = gather_states(vectors, species, contrast.codes, occurrences=occurrences, batches=batches, seed=seed)
    if states is None:
        return None
    return direct_states(states, contrast, n_dimensions=n_dimensions, n_shuffles=n_shuffles, seed=seed)


def direct_states(
    states: States,
    contrast: Contrast,
    *,
    n_dimensions: int | None = None,
    n_shuffles: int = 199,
    seed: int = 0,
) -> Finding | None:
    """The finding of `measure_direction` for states that are gathered already."""
    if states.n_species < MIN_SPECIES:
        return None
    d = states.rows.shape[1]
    if n_dimensions and not has_species_for(min(n_dimensions, d), states.n_species):
        return None
    axes = states.axes
    scatter = gather_middles(states, axes)
    between = scatter.between(scatter.all_blocks)
    k = min(n_dimensions or count_dimensions(between), len(between))
    steps = StepsInside.gather(states, axes, scatter.blocks)
    value, error = hold_out_blocks(list_spans(scatter, k), len(scatter.inside), k, steps)
    seen, shuffled = _shuffle_steps(states, axes @ find_span(between, k), n_shuffles=n_shuffles, seed=seed)
    estimate = Estimate(value=value, error=error, degrees=len(scatter.inside) - 1, shuffled=shuffled, seen=seen)
    return _conclude_direction(estimate, contrast, (n_dimensions, k, d), states.used, states.note)


def _conclude_direction(
    estimate: Estimate, contrast: Contrast, size: tuple[int | None, int, int], used: Used, note: str
) -> Finding:
    asked, k, d = size
    warning = (
        "; p asks whether the step is more orthogonal to the species than the rest of the variation inside them"
        if math.isfinite(estimate.find_p(Side.LESS))
        else ""
    )

    def say(numbers: str) -> str:
        return (
            f"Of the step from {contrast.names[0]} to {contrast.names[1]} inside species this share lies in the {k} "
            f"directions (of {d:,}) in which other species differ: {numbers}; a direction at random has "
            f"{k / d:.2g}{warning}{note}."
        )

    return conclude(
        estimate,
        name=(f"direction{asked or ''}_share", contrast.column),
        chance=k / d,
        side=Side.LESS,
        bounds=(-np.inf, np.inf),
        used=used,
        say=say,
    )


def _shuffle_steps(
    states: States, basis: Float64[np.ndarray, "d k"], *, n_shuffles: int, seed: int
) -> tuple[float, Float64[np.ndarray, " p"]]:
    """The share of the steps as they are, noise and all, and of those between shuffled states."""
    values = np.vstack([states.values[None], states.values[states.shuffle(n_shuffles, seed)]])
    rows = states.rows @ basis
    inside = [(average_steps(states, one, rows) ** 2).sum() for one in values]
    shares = [find_ratio(*parts) for parts in zip(inside, square_steps(states, values), strict=True)]
    return shares[0], np.array(shares[1:])


def probe_states(
    vectors: Float[np.ndarray, "n d"],
    species: Int64[np.ndarray, " n"],
    genera: Int64[np.ndarray, " n"],
    contrast: Contrast,
    *,
    occurrences: Int64[np.ndarray, " n"] | None = None,
    n_shuffles: int = 199,
    seed: int = 0,
) -> Finding | None:
    """Area under the ROC curve of a linear probe for the second state, on genera that the probe never saw.

    Pairs are compared inside a fold only: scores of different ridges have different offsets. Shuffles move the states
    among the occurrences of each species (or inside occurrences that show both), so that what the species alone tells
    about the state is in the null. The interval leaves out folds of genera in turn, from the fits as well.

    Args:
        vectors: One row per record.
        species: A code per record; those below 0 are left out.
        genera: The same for genera.
        contrast: The two states.
        occurrences: A code per record, 0 or more; by default each record is its own.
        n_shuffles: 0 for no null.
        seed: Fixes the shuffles.

    Returns:
        None where fewer than 16 genera, or fewer than 10 occurrences of a state, are there.
    """
    known = _gather_known(vectors, species, genera, contrast, occurrences)
    estimate = _estimate_states(*known, n_shuffles=n_shuffles, seed=seed) if known else None
    if known is None or estimate is None:
        return None
    units, groups = known
    n = int(units.counts.sum())
    used = Used(n=n, n_groups=int(groups.max()) + 1, left_out=len(species) - n)
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
    vectors: Float[np.ndarray, "n d"],
    species: Int64[np.ndarray, " n"],
    genera: Int64[np.ndarray, " n"],
    contrast: Contrast,
    *,
    occurrences: Int64[np.ndarray, " n"] | None = None,
    n_shuffles: int = 199,
    seed: int = 0,
) -> Estimate | None:
    """The estimate behind `probe_states`."""
    known = _gather_known(vectors, species, genera, contrast, occurrences)
    return _estimate_states(*known, n_shuffles=n_shuffles, seed=seed) if known else None


def _gather_known(
    vectors: Float[np.ndarray, "n d"],
    species: Int64[np.ndarray, " n"],
    genera: Int64[np.ndarray, " n"],
    contrast: Contrast,
    occurrences: Int64[np.ndarray, " n"] | None,
) -> tuple[Units, Int64[np.ndarray, " m"]] | None:
    """Units with a state, and their genera; None where there are too few."""
    known = (contrast.codes >= 0) & (species >= 0) & (genera >= 0)
    if not known.any():
        return None
    whole = np.arange(len(species)) if occurrences is None else occurrences
    units = collapse_occurrences(vectors[known], whole[known], contrast.codes[known], species[known])
    genus_of = np.empty(len(units), dtype=np.int64)
    genus_of[units.of_records] = genera[known]
    groups = recode(genus_of)
    counts = np.bincount(read_values(units), minlength=2)
    return (units, groups) if groups.max() + 1 >= MIN_GENERA and counts.min() >= MIN_RECORDS else None


def _estimate_states(units: Units, groups: Int64[np.ndarray, " m"], *, n_shuffles: int, seed: int) -> Estimate:
    values, species = read_values(units), recode(units.species)
    items = recode(units.occurrences * (int(species.max()) + 1) + species)
    # An occurrence that shows both states is shuffled by itself, the others among their species.
    strata = recode(np.where(np.bincount(items)[items] > 1, items, items.max() + 1 + species))
    places = shuffle_in_groups(strata, n_shuffles=n_shuffles, rng=np.random.default_rng(seed))
    truths = np.vstack([values[None], values[places]]).T
    folds = assign_folds(groups, N_FOLDS)
    reading = read_held_out(units.vectors.astype(np.float64), truths.astype(np.float64), folds)
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
