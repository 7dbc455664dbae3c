"""Contrasts: how far apart two sets of records are in a space."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from explorer.geometry.axes import (
    TAXON_LEVELS,
    AxisUnits,
    Level,
    arrange_groups,
    explain_too_few,
    gather_units,
    limit_units,
)
from explorer.geometry.finding import Estimate, Finding, Side, Skipped, Used, conclude
from explorer.geometry.grouping import Units, centre_in_groups, collapse_occurrences, recode, shuffle_in_groups
from explorer.geometry.two_groups import TwoGroups, estimate_area, estimate_effect, hold_out
from indexer.errors import QueryError

AREA, EFFECT = "contrast_auc", "contrast_effect"
_CHUNK = 100


@dataclass(frozen=True, kw_only=True, eq=False)
class Sets:
    """Two sets of records, put together by occurrence.

    Attributes:
        units: One row per occurrence and set.
        swaps: Inside which the sets may be shuffled: the occurrences that are in one set, or the one that is in both.
        records: Places of the records in them.
    """

    units: Units
    swaps: Int64[np.ndarray, " m"]
    records: Int64[np.ndarray, " n"]

    @property
    def is_second(self) -> Bool[np.ndarray, " m"]:
        """Whether a unit is of the second set."""
        assert self.units.values is not None
        second: Bool[np.ndarray, " m"] = self.units.values == 1
        return second

    def shuffle(self, n_shuffles: int, seed: int) -> Iterator[Float64[np.ndarray, "c m"]]:
        """Shuffled sets, 1 for the second, some at a time."""
        rng = np.random.default_rng([seed, len(self.swaps)])
        truth = self.is_second.astype(np.float64)
        for start in range(0, n_shuffles, _CHUNK):
            n = min(_CHUNK, n_shuffles - start)
            yield truth[shuffle_in_groups(self.swaps, n_shuffles=n, rng=rng)]


def gather_sets(
    vectors: Float32[np.ndarray, "n d"], occurrences: Int64[np.ndarray, " n"], values: Int64[np.ndarray, " n"]
) -> Sets:
    """The two sets by occurrence.

    Args:
        vectors: One row per record.
        occurrences: A code per record.
        values: 0 for the first set, 1 for the second, -1 for neither.

    Raises:
        QueryError: a set is empty.
    """
    for value, name in ((0, "first"), (1, "second")):
        if not (values == value).any():
            raise QueryError(f"contrast: no record is in the {name} set. Change its condition.")
    records = np.flatnonzero(values >= 0)
    units = collapse_occurrences(
        vectors[records], occurrences[records], values[records], np.zeros(len(records), np.int64)
    )
    counts = np.bincount(units.occurrences)
    swaps = np.where(counts[units.occurrences] > 1, units.occurrences, -1)
    return Sets(units=units, swaps=recode(swaps), records=records)


def compare_sets(
    vectors: Float32[np.ndarray, "n d"],
    occurrences: Int64[np.ndarray, " n"],
    lineages: Int64[np.ndarray, "n 7"],
    values: Int64[np.ndarray, " n"],
    *,
    inside_species: bool = False,
    n_shuffles: int = 199,
    seed: int = 0,
) -> tuple[Finding | Skipped, ...]:
    """How far apart two sets are in the whole space, along a discriminant fitted on other records.

    The first is the area under the ROC curve, the second Cohen's d along the same direction: Fisher's linear
    discriminant with a shrunk covariance (`two_groups.hold_out`), fitted without the occurrences that it places.
    Inside species, both sets are compared within each species that is in both, and species are held out whole.

    Args:
        vectors: One row per record.
        occurrences: A code per record.
        lineages: Its taxon at each rank, kingdom to species; -1 where it is not known.
        values: 0 for the first set, 1 for the second, -1 for neither.
        inside_species: Whether to take out what sets the species apart.
        n_shuffles: Of the sets, occurrence by occurrence; inside species within each.
        seed: Fixes shuffles and folds.

    Raises:
        QueryError: a set is empty.
    """
    statistics = [f"{name}_inside_species" if inside_species else name for name in (AREA, EFFECT)]
    if inside_species and not _share_species(lineages, values):
        reason = "no species is in both sets"
        return tuple(Skipped(statistic=name, column="", reason=reason) for name in statistics)
    level = Level.SPECIES if inside_species else Level.OCCURRENCES
    units = limit_units(gather_units(vectors, occurrences, lineages, values, level=level), seed)
    units = replace(units, rows=centre_in_groups(units.rows, units.strata))
    groups = arrange_groups(units, seed)
    if groups is None:
        reason = explain_too_few(units)
        return tuple(Skipped(statistic=name, column="", reason=reason) for name in statistics)
    found = hold_out(groups, is_whitened=True, n_shuffles=n_shuffles, seed=seed)
    estimates = (estimate_area(groups, found), estimate_effect(groups, found))
    return _conclude(units, groups, estimates, statistics)


def _share_species(lineages: Int64[np.ndarray, "n 7"], values: Int64[np.ndarray, " n"]) -> bool:
    shown = [set(lineages[(values == value) & (lineages[:, -1] >= 0), -1].tolist()) for value in (0, 1)]
    return bool(shown[0] & shown[1])


def _conclude(
    units: AxisUnits, groups: TwoGroups, estimates: Sequence[Estimate], statistics: Sequence[str]
) -> tuple[Finding, ...]:
    inside = " of the same species" if units.level in TAXON_LEVELS else ""
    others = "species" if groups.has_whole_strata else "occurrences"
    warning = "" if inside else "; it says that the sets differ, not why: their species may differ"
    sentences = (
        f"A discriminant fitted on other {others} ranks an occurrence of the second set above one{inside} of the first "
        f"with this chance: {{}}{warning}.",
        f"Along a discriminant fitted on other {others} the sets lie apart by this many of their standard deviations"
        f"{' inside species' if inside else ''} (Cohen's d): {{}}.",
    )
    n_groups = units.n_strata if groups.has_whole_strata else len(np.unique(units.owners))
    used = Used(n=units.n_records, n_groups=n_groups, left_out=units.left_out)
    ranges = ((0.5, (0.0, 1.0)), (0.0, (-np.inf, np.inf)))
    return tuple(
        conclude(
            estimate,
            name=(statistic, ""),
            chance=chance,
            side=Side.GREATER,
            bounds=bounds,
            used=used,
            say=sentence.format,
        )
        for estimate, statistic, sentence, (chance, bounds) in zip(
            estimates, statistics, sentences, ranges, strict=True
        )
    )
