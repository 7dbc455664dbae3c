"""Axes: the direction from one group of records to another, free of taxonomy as far as the records allow."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from jaxtyping import Float32, Float64, Int64

from explorer.geometry.finding import Estimate, Finding, Side, Skipped, Used, conclude
from explorer.geometry.grouping import UNKNOWN, Units, assign_folds, collapse_occurrences, recode
from explorer.geometry.two_groups import (
    MIN_FOLDS,
    N_FOLDS,
    TwoGroups,
    estimate_area,
    hold_out,
    judge_scores,
    weigh_strata,
    weigh_units,
)
from indexer.errors import QueryError
from indexer.terms import RANKS

MIN_TAXA = MIN_FOLDS
"""Taxa that must show both groups before the axis is taken inside them."""
MAX_UNITS = 20_000
"""Of more, a random part is used for the null."""
AREA = "axis_auc"


class Level(StrEnum):
    """Inside which taxa the two groups are compared; the finest that enough taxa allow is the freest of taxonomy.

    `NONE`: the groups are compared as they are, species by species where these are known. `OCCURRENCES`: as they are,
    occurrence by occurrence, as of a few records that a person picked.
    """

    SPECIES = "species"
    GENUS = "genus"
    FAMILY = "family"
    NONE = "none"
    OCCURRENCES = "occurrences"


TAXON_LEVELS = (Level.SPECIES, Level.GENUS, Level.FAMILY)
_PLURALS = {Level.SPECIES: "species", Level.GENUS: "genera", Level.FAMILY: "families"}


@dataclass(frozen=True, kw_only=True, eq=False)
class AxisUnits:
    """What the axis is fitted on: one row per occurrence and group, or from the genus up per species and group.

    Attributes:
        level: Inside which taxa the groups are compared.
        rows: The units' vectors, about their mean.
        values: Group of each, 0 or 1.
        owners: The occurrence or species of each; units that share one are not independent.
        strata: Taxon at that level, coded from 0 without gaps; 0 everywhere without one.
        n_records: Records in the units.
        left_out: Records of either group that are not: without a name at that level, or in a taxon with one group.
        owns_species: Whether the units are species.
    """

    level: Level
    rows: Float64[np.ndarray, "m d"]
    values: Int64[np.ndarray, " m"]
    owners: Int64[np.ndarray, " m"]
    strata: Int64[np.ndarray, " m"]
    n_records: int
    left_out: int
    owns_species: bool

    @property
    def n_strata(self) -> int:
        """How many taxa show both groups; 1 without a level."""
        return int(self.strata.max(initial=-1)) + 1


def gather_units(
    vectors: Float32[np.ndarray, "n d"],
    occurrences: Int64[np.ndarray, " n"],
    lineages: Int64[np.ndarray, "n 7"],
    values: Int64[np.ndarray, " n"],
    *,
    level: Level | None = None,
) -> AxisUnits:
    """The units of two groups.

    Args:
        vectors: One row per record.
        occurrences: A code per record.
        lineages: Its taxon at each rank, kingdom to species; -1 where it is not known.
        values: Its group, 0 or 1; -1 where it is in neither.
        level: Inside which taxa to compare; by default the species if three show both groups, else the genus, else the
            family. Where none is shown by three, the one or two species that do; else the groups as they are.

    Raises:
        QueryError: a group has no record, or no taxon at the level shows both.
    """
    for value, name in ((0, "from"), (1, "to")):
        if not (values == value).any():
            raise QueryError(
                f"axis: no record is in the group {name!r}, so there is no direction. Change its condition."
            )
    chosen = level or _choose_level(lineages, values)
    return _gather_at(chosen, vectors, occurrences, lineages, values)


def _choose_level(lineages: Int64[np.ndarray, "n 7"], values: Int64[np.ndarray, " n"]) -> Level:
    shown = {level: len(_find_shared(_taxa_at(lineages, level), values)) for level in TAXON_LEVELS}
    enough = [level for level in TAXON_LEVELS if shown[level] >= MIN_TAXA]
    if enough:
        return enough[0]
    return Level.SPECIES if shown[Level.SPECIES] else Level.NONE


def _taxa_at(lineages: Int64[np.ndarray, "n 7"], level: Level) -> Int64[np.ndarray, " n"]:
    return lineages[:, RANKS.index(level)]


def _find_shared(taxa: Int64[np.ndarray, " n"], values: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " t"]:
    """The taxa that show both groups."""
    first, second = (np.unique(taxa[(values == value) & (taxa >= 0)]) for value in (0, 1))
    shared: Int64[np.ndarray, " t"] = np.intersect1d(first, second, assume_unique=True)
    return shared


def _gather_at(
    level: Level,
    vectors: Float32[np.ndarray, "n d"],
    occurrences: Int64[np.ndarray, " n"],
    lineages: Int64[np.ndarray, "n 7"],
    values: Int64[np.ndarray, " n"],
) -> AxisUnits:
    species = _taxa_at(lineages, Level.SPECIES)
    in_group = values >= 0
    owns_species = level in (Level.GENUS, Level.FAMILY) or (
        level is Level.NONE and all((species[values == value] >= 0).any() for value in (0, 1))
    )
    strata = _taxa_at(lineages, level) if level in TAXON_LEVELS else np.zeros(len(values), np.int64)
    kept = in_group & (species >= 0) if owns_species else in_group
    shared = _find_shared(np.where(kept, strata, UNKNOWN), values)
    kept = kept & np.isin(strata, shared)
    if not len(shared):
        raise QueryError(
            f"axis: no {level} has records of both groups, so no direction inside {_PLURALS[level]} can be taken. "
            "Take a higher level, or none."
        )
    units = collapse_occurrences(vectors[kept], occurrences[kept], values[kept], species[kept])
    owners = units.occurrences
    strata_of = _spread(strata[kept], units)
    if owns_species:
        species_units = collapse_occurrences(units.vectors, recode(units.species), units.values, strata_of)
        units, owners, strata_of = species_units, species_units.occurrences, species_units.species
    rows = units.vectors.astype(np.float64)
    assert units.values is not None
    return AxisUnits(
        level=level,
        rows=rows - rows.mean(axis=0),
        values=units.values,
        owners=owners,
        strata=recode(strata_of),
        n_records=int(kept.sum()),
        left_out=int((in_group & ~kept).sum()),
        owns_species=owns_species,
    )


def _spread(codes: Int64[np.ndarray, " n"], units: Units) -> Int64[np.ndarray, " m"]:
    """The code of each unit, all of whose records share it."""
    spread = np.empty(len(units), np.int64)
    spread[units.of_records] = codes
    return spread


def fit_direction(units: AxisUnits) -> Float64[np.ndarray, " d"]:
    """The unit vector from the first group to the second.

    It is the mean, over the taxa of the level, of the step between the two group means inside each, so that what sets
    the taxa apart is not in it; the weights are those of `two_groups.weigh_strata`.

    Raises:
        QueryError: the groups have the same mean.
    """
    factors = weigh_units(units.values[None], units.strata, weigh_strata(units.values, units.strata))
    direction: Float64[np.ndarray, " d"] = factors[0] @ units.rows
    length = float(np.linalg.norm(direction))
    if not length > 1e-9:
        raise QueryError("axis: both groups have the same mean vector, so there is no direction. Change a condition.")
    return direction / length


GROUPS = ("the first group", "the second group")


def measure_axis(
    units: AxisUnits, name: str, *, ends: tuple[str, str] = GROUPS, n_shuffles: int = 199, seed: int = 0
) -> Finding | Skipped:
    """Whether the direction holds where it was not fitted: the area under the ROC curve, pairs compared inside taxa.

    Held out are whole taxa of the level, folds of them where there are more than 8; where only one or two species show
    both groups, occurrences of these; without a level, species, or occurrences where no species is known. Shuffles move
    the groups among the units of a taxon, and between the two sides of an occurrence (or species) that has both.
    Without a level species are not shuffled: that would call any taxonomic difference a finding.

    Args:
        units: What the axis is fitted on; of more than 20,000 a random part is used.
        name: Of the axis.
        ends: What the groups are, for the reading.
        n_shuffles: Of the null.
        seed: Fixes shuffles and folds.
    """
    kept = limit_units(units, seed)
    groups = arrange_groups(kept, seed)
    if groups is None:
        return Skipped(statistic=AREA, column=name, reason=explain_too_few(kept))
    shuffles = 0 if _has_no_null(kept) else n_shuffles
    estimate = estimate_area(groups, hold_out(groups, n_shuffles=shuffles, seed=seed))
    return _conclude(kept, groups, estimate, (name, ends), "Fitted on other {others}, the axis")


def judge_direction(
    units: AxisUnits,
    direction: Float64[np.ndarray, " d"],
    name: str,
    *,
    ends: tuple[str, str] = GROUPS,
    n_shuffles: int = 199,
    seed: int = 0,
) -> Finding | Skipped:
    """As `measure_axis`, of a direction that these groups had no part in, as that of a pair of texts."""
    kept = limit_units(units, seed)
    groups = arrange_groups(kept, seed)
    if groups is None:
        return Skipped(statistic=AREA, column=name, reason=explain_too_few(kept))
    shuffles = 0 if _has_no_null(kept) else n_shuffles
    scores = (kept.rows @ direction).round(9)
    estimate = judge_scores(groups, scores, n_shuffles=shuffles, seed=seed)
    return _conclude(kept, groups, estimate, (name, ends), "The axis, in which these groups had no part,")


def arrange_groups(units: AxisUnits, seed: int) -> TwoGroups | None:
    """Folds and what may be shuffled; None where fewer than three folds can be made."""
    owners = recode(units.owners * max(units.n_strata, 1) + units.strata)
    if units.level in TAXON_LEVELS and units.n_strata >= MIN_FOLDS:
        strata, whole = units.strata, True
        folds = assign_folds(strata, min(N_FOLDS, units.n_strata))
    else:
        dealt = _deal_folds(owners, units, seed)
        if dealt is None:
            return None
        folds, whole = dealt, False
        strata = recode(units.strata * N_FOLDS + folds)
    has_both = np.isin(owners, _find_shared(owners, units.values))
    return TwoGroups(
        rows=units.rows,
        values=units.values,
        strata=strata,
        folds=folds,
        swaps=recode(np.where(has_both, strata.max() + 1 + owners, strata)),
        has_whole_strata=whole,
    )


def _deal_folds(owners: Int64[np.ndarray, " m"], units: AxisUnits, seed: int) -> Int64[np.ndarray, " m"] | None:
    """Folds that keep an owner's units together, and that have both groups of every stratum."""
    n_folds = min(N_FOLDS, *(len(np.unique(owners[units.values == value])) for value in (0, 1)))
    for stratum in range(units.n_strata):
        here = units.strata == stratum
        n_folds = min(n_folds, *(len(np.unique(owners[here & (units.values == value)])) for value in (0, 1)))
    if n_folds < MIN_FOLDS:
        return None
    rng = np.random.default_rng([seed, len(owners)])
    n_owners = int(owners.max()) + 1
    has = [np.bincount(owners[units.values == value], minlength=n_owners) > 0 for value in (0, 1)]
    first = np.unique(owners, return_index=True)[1]
    # Those with both groups in the middle: each group is then a run, and dealing a run in turn reaches every fold.
    kinds = np.select([has[0] & ~has[1], has[0] & has[1]], [0, 1], 2)
    order = np.lexsort((rng.random(n_owners), kinds, units.strata[first]))
    folds = np.empty(n_owners, np.int64)
    folds[order] = np.arange(n_owners) % n_folds
    dealt: Int64[np.ndarray, " m"] = folds[owners]
    return dealt


def limit_units(units: AxisUnits, seed: int) -> AxisUnits:
    """The units of as many owners as the null can be computed of, drawn at random."""
    n = len(units.values)
    if n <= MAX_UNITS:
        return units
    n_owners = int(units.owners.max()) + 1
    drawn = np.random.default_rng(seed).permutation(n_owners) < n_owners * MAX_UNITS // n
    kept = drawn[units.owners]
    kept &= np.isin(units.strata, _find_shared(np.where(kept, units.strata, UNKNOWN), units.values))
    share = float(kept.mean())
    n_records = round(units.n_records * share)
    return replace(
        units,
        rows=units.rows[kept],
        values=units.values[kept],
        owners=recode(units.owners[kept]),
        strata=recode(units.strata[kept]),
        n_records=n_records,
        left_out=units.left_out + units.n_records - n_records,
    )


def _has_no_null(units: AxisUnits) -> bool:
    return units.level is Level.NONE and units.owns_species


def explain_too_few(units: AxisUnits) -> str:
    """Why no fold can be held out, as `Skipped` has it."""
    what = "species" if units.owns_species else "occurrences"
    counts = [len(np.unique(units.owners[units.values == value])) for value in (0, 1)]
    where = "" if units.level in (Level.NONE, Level.OCCURRENCES) else f" of each {units.level} that shows both groups"
    return (
        f"the groups have {counts[0]:,} and {counts[1]:,} {what}; {MIN_FOLDS} of either{where} are needed, so "
        "that some can be held out"
    )


def _conclude(
    units: AxisUnits, groups: TwoGroups, estimate: Estimate, name: tuple[str, tuple[str, str]], opening: str
) -> Finding:
    what, others, limit = _describe_units(units, groups, name[1])
    n_groups = units.n_strata if groups.has_whole_strata else len(np.unique(units.owners))

    def say(numbers: str) -> str:
        return f"{opening.format(others=others)} puts {what} with this chance: {numbers}{limit}."

    return conclude(
        estimate,
        name=(AREA, name[0]),
        chance=0.5,
        side=Side.GREATER,
        bounds=(0, 1),
        used=Used(n=units.n_records, n_groups=n_groups, left_out=units.left_out),
        say=say,
    )


def _describe_units(units: AxisUnits, groups: TwoGroups, ends: tuple[str, str]) -> tuple[str, str, str]:
    """What is compared, what was held out, and what that does not show."""
    unit = "a species" if units.owns_species else "an occurrence"
    pair = f"{unit} of {ends[1]} above one of {ends[0]}"
    if units.level in TAXON_LEVELS and groups.has_whole_strata:
        return f"{pair} in the same {units.level}", _PLURALS[units.level], ""
    if units.level in TAXON_LEVELS:
        shown = f"{units.n_strata} {units.level if units.n_strata == 1 else _PLURALS[units.level]}"
        what = "species" if units.owns_species else "occurrences"
        limit = f"; both groups are shown by {shown} alone, so this does not say whether others share the axis"
        return f"{pair} in the same {units.level}", f"{what} of the same {units.level}", limit
    if units.level is Level.OCCURRENCES:
        return pair, "occurrences", "; this says that they differ, not why"
    if units.owns_species:
        limit = "; they are not compared inside any taxon, so kinship alone may set them apart, and no p is given"
        return pair, "species", limit
    return pair, "occurrences", ""
