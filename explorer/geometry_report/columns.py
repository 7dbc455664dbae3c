"""Which columns are measured: inside species, where they vary there, or between species, where they do not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from explorer.geometry.emergence import read_numbers
from explorer.geometry.finding import Skipped
from explorer.geometry.grouping import code_names
from explorer.geometry.species_span import MIN_SPECIES
from explorer.geometry.variants import choose_contrast

if TYPE_CHECKING:
    from jaxtyping import Int64

VARIANT_COLUMNS = (
    *("sex", "lifeStage", "view", "season", "caste", "morph", "form", "reproductiveCondition", "health"),
    *("plumage", "phenotype", "side"),
)
ECOLOGY_COLUMNS = (
    *("habitat", "diet", "trophicLevel", "trophicNiche", "lifestyle", "primaryLifestyle", "migration", "biome"),
    *("activity", "pollinator", "foragingStratum"),
)
MAX_VALUES = 12
"""Of a column that is chosen unasked, when it is looked at inside species."""
AGREEMENT = 0.8
"""Mean share of a species' records that carry its commonest value, from which on a column belongs to the species."""


@dataclass(frozen=True, kw_only=True)
class ColumnPlan:
    """Columns by where they are measured.

    Attributes:
        within: Those whose values occur inside the same species.
        between: Those that are numbers, or about the same in all records of a species.
        unfit: Those asked for that are neither, with the reason.
        joined: Columns of the trait table.
    """

    within: tuple[str, ...]
    between: tuple[str, ...]
    unfit: tuple[Skipped, ...]
    joined: tuple[str, ...] = ()


def list_candidates(names: Sequence[str]) -> tuple[str, ...]:
    """The columns of a corpus that are looked at where none is asked for."""
    return tuple(name for name in (*VARIANT_COLUMNS, *ECOLOGY_COLUMNS) if name in names)


def plan_columns(
    columns: dict[str, list[str | None]], species: Int64[np.ndarray, " n"], *, are_asked: bool
) -> ColumnPlan:
    """Where each column is measured; one that varies both ways is measured both ways.

    Args:
        columns: Name → value of each record.
        species: A code per record; below 0 where it is not known.
        are_asked: Whether the user named them: then one that fits nowhere is said to be unfit.
    """
    within, between, unfit = [], [], []
    for name, values in columns.items():
        n_values = len({value for value in values if value})
        is_within = n_values <= MAX_VALUES or are_asked
        if is_within and _varies_within(name, values, species):
            within.append(name)
        if n_values > 1 and _belongs_to_species(values, species):
            between.append(name)
        if are_asked and name not in (*within, *between):
            unfit.append(Skipped(statistic="all statistics", column=name, reason=_say_unfit(n_values)))
    return ColumnPlan(within=tuple(within), between=tuple(between), unfit=tuple(unfit))


def measure_agreement(values: Sequence[str | None], species: Int64[np.ndarray, " n"]) -> float:
    """Mean over species of the share of the records with a value that carry the species' commonest; 0 without any."""
    codes = code_names(values)
    known = (codes >= 0) & (species >= 0)
    if not known.any():
        return 0.0
    pairs, counts = np.unique(np.stack([species[known], codes[known]]), axis=1, return_counts=True)
    most, totals = np.zeros(int(species.max()) + 1), np.zeros(int(species.max()) + 1)
    np.maximum.at(most, pairs[0], counts)
    np.add.at(totals, pairs[0], counts)
    return float((most[totals > 0] / totals[totals > 0]).mean())


def _varies_within(name: str, values: list[str | None], species: Int64[np.ndarray, " n"]) -> bool:
    if read_numbers(values) is not None:
        return False
    contrast = choose_contrast(name, values, species)
    if contrast is None:
        return False
    first, second = (np.unique(species[(contrast.codes == state) & (species >= 0)]) for state in (0, 1))
    return len(np.intersect1d(first, second)) >= MIN_SPECIES


def _belongs_to_species(values: list[str | None], species: Int64[np.ndarray, " n"]) -> bool:
    return read_numbers(values) is not None or measure_agreement(values, species) >= AGREEMENT


def _say_unfit(n_values: int) -> str:
    if n_values < 2:
        return f"it has {n_values} different values; 2 are needed"
    return (
        f"fewer than {MIN_SPECIES} species show two of its values at least twice each, so that it cannot be compared "
        f"inside species, and species agree on less than {AGREEMENT:.0%} of their records, so that it is no trait of "
        "species either"
    )
