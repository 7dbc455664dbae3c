"""Traits of species: read from a table of their own and joined by name, or gathered from the records of a corpus."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Float64, Int64

from explorer.geometry.grouping import UNKNOWN, average_groups, code_names, recode
from explorer.geometry.name_matching import Match, MatchRule, NameMatching, Suggestion, match_names
from indexer.cells import read_cells, read_text
from indexer.errors import InputError
from indexer.names import read_binomial
from indexer.tables import read_table

N_SHOWN = 5
"""Names that a reading gives as examples."""

Values = tuple[str | float | None, ...]


class TraitKind(StrEnum):
    """What the values of a trait are."""

    NUMERIC = "numeric"
    CATEGORICAL = "categorical"


@dataclass(frozen=True, kw_only=True)
class TraitTable:
    """A table with a row per species, or several.

    Attributes:
        path: Where it was read.
        name_column: The column that names the species.
        names: Of each row, as written.
        columns: The other columns: numbers or text, None where a cell is empty.
        notes: What a person should know of the reading.
    """

    path: Path
    name_column: str
    names: tuple[str, ...]
    columns: Mapping[str, Values]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Trait:
    """One value per species.

    Attributes:
        column: The column it comes from.
        kind: Whether the values are numbers.
        numbers: Per species, nan where unknown; all nan for categories.
        codes: Per species the place in `names`, -1 where unknown; all -1 for numbers.
        names: Of the categories.
        purity: For values of records, the share of the occurrences that carry their species' value, species counted
            alike; 1 for a table of species and for numbers. A low one says that the column is none of species.
    """

    column: str
    kind: TraitKind
    numbers: Float64[np.ndarray, " g"]
    codes: Int64[np.ndarray, " g"]
    names: tuple[str, ...] = ()
    purity: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Repeated:
    """A species that the table names more than once, with different values.

    Attributes:
        species: As the corpus writes it.
        n_rows: Rows of the table that name it.
        columns: Those in which the rows differ.
    """

    species: str
    n_rows: int
    columns: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class TraitJoin:
    """A trait table joined to the species of a corpus.

    Attributes:
        values: Per column one value for each species, None where it has none. Of several rows: the mean of numbers,
            the commonest text, None where two are as common.
        matched: The species that were found, and how.
        unmatched: Those that were not.
        doubtful: Names that may be meant; none of them was joined.
        repeated: Species whose rows differ.
        n_unused: Names in the table that no species of the corpus has.
        reading: Sentences for a person.
    """

    values: Mapping[str, Values]
    matched: tuple[Match, ...]
    unmatched: tuple[str, ...]
    doubtful: tuple[Suggestion, ...]
    repeated: tuple[Repeated, ...]
    n_unused: int
    reading: str

    def find_trait(self, column: str) -> Trait:
        """One column as a trait of the species, in their order.

        Raises:
            InputError: The table has no such column.
        """
        if column not in self.values:
            raise InputError(
                f"trait table: no column '{column}'; its columns are {', '.join(self.values)}. Name one of them."
            )
        return make_trait(column, self.values[column])


def read_trait_table(path: Path, *, name_column: str | None = None) -> TraitTable:
    """A trait table in CSV, TSV or Parquet.

    The species' names are read from `name_column`; by default from the column with the most cells that begin with a
    binomial, or end with one in brackets, the first of equals. A column is of numbers where every cell that is not
    empty is one (`indexer.cells`).

    Raises:
        InputError: The table cannot be read, lacks that column, or no column of it names species.
    """
    raw = read_table(path)
    texts = {name: read_text(cells, "species").to_pylist() for name, cells in raw.columns.items()}
    chosen = name_column if name_column is not None else _find_name_column(texts)
    if chosen is None or chosen not in texts:
        wrong = (
            f"no column '{name_column}'" if name_column is not None else "no column in which most cells name a species"
        )
        raise InputError(
            f"{path}: {wrong}; names are written as 'Parus major', and the columns are {', '.join(texts)}. "
            "Say which one names the species."
        )
    kept = [name is not None for name in texts[chosen]]
    others = {name: name for name in raw.columns if name != chosen}
    cells = read_cells(raw, others) if others else {}
    n_empty = kept.count(False)
    notes = (*raw.notes, *([f"{path.name}: {n_empty:,} rows name no species"] if n_empty else []))
    return TraitTable(
        path=path,
        name_column=chosen,
        names=tuple(name for name in texts[chosen] if name is not None),
        columns={name: _read_values(cells[name], kept) for name in others},
        notes=notes,
    )


def _find_name_column(texts: Mapping[str, list[str | None]]) -> str | None:
    shares = {name: _count_binomials(cells) / max(1, len(cells)) for name, cells in texts.items()}
    best = max(shares, key=lambda name: shares[name], default=None)
    return best if best is not None and shares[best] >= 0.5 else None


def _count_binomials(cells: Sequence[str | None]) -> int:
    """Cells that name a species, each distinct text read once."""
    counts = Counter(cell for cell in cells if cell is not None)
    return sum(n for text, n in counts.items() if _is_species(text))


def _is_species(text: str) -> bool:
    name = text.replace("_", " ")
    return read_binomial(name) is not None or (
        name.endswith(")") and read_binomial(name.rpartition("(")[2].rstrip(")")) is not None
    )


def _read_values(cells: pa.ChunkedArray, kept: Sequence[bool]) -> Values:
    is_number = pa.types.is_integer(cells.type) or pa.types.is_floating(cells.type)
    values = cells.cast(pa.float64(), safe=False).to_pylist() if is_number else cells.cast(pa.string()).to_pylist()
    return tuple(value for value, keep in zip(values, kept, strict=True) if keep)


def join_traits(names: Sequence[str], table: TraitTable) -> TraitJoin:
    """The table's values for these species, and everything about the join that a person should check.

    Args:
        names: Of the species, in the order that the values are to have; "" for one without a name.
        table: The traits.
    """
    matching = match_names([name for name in names if name], table.names)
    rows_of: dict[str, list[int]] = defaultdict(list)
    for row, name in enumerate(table.names):
        rows_of[name].append(row)
    rows = {name: [row for found in match.found for row in rows_of[found]] for name, match in matching.matches.items()}
    values = {
        column: tuple(_agree([cells[row] for row in rows.get(name, ())]) for name in names)
        for column, cells in table.columns.items()
    }
    repeated = tuple(
        found for name, places in rows.items() if len(places) > 1 and (found := _find_repeated(name, places, table))
    )
    used = {found for match in matching.matches.values() for found in match.found}
    return TraitJoin(
        values=values,
        matched=tuple(matching.matches.values()),
        unmatched=matching.unmatched,
        doubtful=matching.doubtful,
        repeated=repeated,
        n_unused=len(set(table.names) - used),
        reading=_read_join(matching, table, repeated),
    )


def _agree(values: Sequence[str | float | None]) -> str | float | None:
    """The mean of numbers, the commonest text; None where there is none, or two are as common."""
    known = [value for value in values if value is not None]
    numbers = [value for value in known if isinstance(value, float)]
    if not known:
        return None
    if numbers:
        return float(np.mean(numbers))
    return _find_commonest([str(value) for value in known])


def _find_commonest(texts: Sequence[str]) -> str | None:
    commonest = Counter(texts).most_common(2)
    return None if len(commonest) > 1 and commonest[0][1] == commonest[1][1] else commonest[0][0]


def _find_repeated(name: str, rows: Sequence[int], table: TraitTable) -> Repeated | None:
    differing = tuple(
        column for column, cells in table.columns.items() if len({cells[row] for row in rows} - {None}) > 1
    )
    return Repeated(species=name, n_rows=len(rows), columns=differing) if differing else None


def _read_join(matching: NameMatching, table: TraitTable, repeated: Sequence[Repeated]) -> str:
    n = len(matching.matches) + len(matching.unmatched)
    rules = [f"{count:,} {_say_rule(rule)}" for rule, count in matching.count_rules().items()]
    parts = [
        f"{len(matching.matches):,} of {n:,} species were found in {table.path.name} (column {table.name_column})"
        + (f": {', '.join(rules)}." if rules else "."),
        "The table's own synonyms are not followed.",
    ]
    if matching.unmatched:
        parts.append(f"Not found: {_list_some(matching.unmatched)}.")
    if matching.doubtful:
        shown = [f"{one.species} ({one.candidate}?)" for one in matching.doubtful]
        parts.append(f"Resembling names were not joined; judge them: {_list_some(shown)}.")
    if repeated:
        shown = [one.species for one in repeated]
        parts.append(
            f"{len(repeated):,} species have several rows that differ; their mean or commonest value is used: "
            f"{_list_some(shown)}."
        )
    return " ".join(parts)


def _say_rule(rule: MatchRule) -> str:
    return {
        MatchRule.EXACT: "written alike",
        MatchRule.SPELLING: "but for case, spaces or underscores",
        MatchRule.AUTHORITY: "but for the authority",
        MatchRule.BRACKETS: "by the name in brackets",
    }[rule]


def _list_some(names: Sequence[str]) -> str:
    more = f" and {len(names) - N_SHOWN:,} more" if len(names) > N_SHOWN else ""
    return ", ".join(names[:N_SHOWN]) + more


def make_trait(column: str, values: Sequence[str | float | None], *, purity: float = 1.0) -> Trait:
    """The values as a trait: numbers where all are numbers and more than two differ, else categories.

    Text that is a number counts as one, so that a column of a corpus, which is text, reads as the table would.
    """
    numbers = _read_numbers(values)
    if numbers is not None and _has_three(numbers):
        return _make_numeric(column, numbers)
    texts = [None if value is None or value != value else _write_category(value) for value in values]
    return Trait(
        column=column,
        kind=TraitKind.CATEGORICAL,
        numbers=np.full(len(values), np.nan),
        codes=code_names(texts),
        names=tuple(sorted({text for text in texts if text})),
        purity=purity,
    )


def _make_numeric(column: str, numbers: Float64[np.ndarray, " g"]) -> Trait:
    unknown = np.full(len(numbers), UNKNOWN, dtype=np.int64)
    return Trait(column=column, kind=TraitKind.NUMERIC, numbers=numbers, codes=unknown)


def _has_three(numbers: Float64[np.ndarray, " g"]) -> bool:
    return len(np.unique(numbers[np.isfinite(numbers)])) > 2


def _write_category(value: str | float) -> str:
    return f"{value:g}" if isinstance(value, float) else value.strip()


def _read_numbers(values: Sequence[str | float | None]) -> Float64[np.ndarray, " g"] | None:
    """The values as numbers, nan where there is none; None where a value is not a finite number."""
    numbers = np.full(len(values), np.nan)
    for place, value in enumerate(values):
        if value is None or value in ("", "NA", "nan") or value != value:
            continue
        try:
            numbers[place] = float(value)
        except ValueError:
            return None
        if not np.isfinite(numbers[place]):
            return None
    return numbers


def gather_trait(
    column: str,
    values: Sequence[str | None],
    species: Int64[np.ndarray, " n"],
    occurrences: Int64[np.ndarray, " n"],
    *,
    n_species: int,
) -> Trait:
    """A column of records as a trait of species: the mean of numbers, the commonest text.

    Every occurrence counts once for each of the values that its records carry, however many images it has. A species
    whose two commonest values are as common has none.

    Args:
        column: Its name.
        values: Per record, None where it is empty.
        species: Per record the place of its species, 0 … `n_species` - 1; below 0 where it has none.
        occurrences: A code per record.
        n_species: How many species there are.
    """
    numbers = _read_numbers([value if place >= 0 else None for value, place in zip(values, species, strict=True)])
    if numbers is not None and _has_three(numbers):
        known = np.isfinite(numbers)
        means = _average_occurrences(numbers[known], species[known], occurrences[known], n_species)
        return _make_numeric(column, means)
    of_species: list[list[str]] = [[] for _ in range(n_species)]
    seen = {
        (int(place), int(occurrence), value.strip())
        for value, place, occurrence in zip(values, species, occurrences, strict=True)
        if value and value.strip() and place >= 0
    }
    for place, _, text in sorted(seen):
        of_species[place].append(text)
    chosen = [_find_commonest(texts) if texts else None for texts in of_species]
    shares = [texts.count(one) / len(texts) for texts, one in zip(of_species, chosen, strict=True) if one]
    return make_trait(column, chosen, purity=float(np.mean(shares)) if shares else 1.0)


def _average_occurrences(
    numbers: Float64[np.ndarray, " m"],
    species: Int64[np.ndarray, " m"],
    occurrences: Int64[np.ndarray, " m"],
    n_species: int,
) -> Float64[np.ndarray, " g"]:
    """The mean of each species' occurrences; nan where it has none."""
    keys = recode(recode(occurrences) * n_species + species)
    places = np.empty(int(keys.max()) + 1, dtype=np.int64)
    places[keys] = species
    of_occurrences = average_groups(numbers[:, None], keys)[:, 0]
    counts = np.bincount(places, minlength=n_species)
    sums = np.bincount(places, weights=of_occurrences, minlength=n_species)
    means: Float64[np.ndarray, " g"] = np.divide(sums, counts, out=np.full(n_species, np.nan), where=counts > 0)
    return means
