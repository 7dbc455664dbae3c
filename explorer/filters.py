"""Filters: which rows a question may be answered with. Applied before the search, never after."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from indexer.corpus import Corpus
from indexer.errors import QueryError
from indexer.removals import without_rows
from indexer.terms import RANKS

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Int64

    from indexer.index.opened import VectorIndex

TAXON_COLUMNS = (*RANKS, "scientificName", "vernacularName")
_DOUBLE_QUOTED = re.compile(r'"([^"]+)"')


@dataclass(frozen=True, kw_only=True)
class ColumnCondition:
    """One column held to some values or to a range.

    Attributes:
        column: name of the column.
        values: allowed values; None where a range is given. The empty text stands for "missing".
        low, high: inclusive bounds in the column's unit; None is unbounded.
        or_missing: whether records without a value meet a range too.
    """

    column: str
    values: tuple[str, ...] | None = None
    low: float | None = None
    high: float | None = None
    or_missing: bool = False

    def to_sql(self) -> str:
        """The condition as Lance reads it."""
        name = quote_name(self.column)
        if self.values is None:
            # Lance compares no fraction with a column of integers, so both sides are made floating.
            number = f"CAST({name} AS DOUBLE)"
            bounds = [f"{number} >= {float(self.low)!r}"] if self.low is not None else []
            bounds += [f"{number} <= {float(self.high)!r}"] if self.high is not None else []
            span = " AND ".join(bounds) or f"{name} IS NOT NULL"
            return f"({span} OR {name} IS NULL)" if self.or_missing else f"({span})"
        listed = [quote_text(value) for value in self.values if value]
        clauses = [f"CAST({name} AS STRING) IN ({', '.join(listed)})"] if listed else []
        clauses += [f"{name} IS NULL"] if "" in self.values else []
        return f"({' OR '.join(clauses)})" if clauses else "false"


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Which records may answer; all conditions must hold.

    Attributes:
        where: an SQL condition over the records' columns.
        taxon: a name at any rank, scientific or vernacular.
        conditions: columns held to values or ranges.
    """

    where: str | None = None
    taxon: str | None = None
    conditions: tuple[ColumnCondition, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether every record may answer."""
        return not (self.where or self.taxon or self.conditions)

    def describe(self) -> str:
        """The filter in one line; empty where every record may answer."""
        parts = [self.where or "", f"taxon {self.taxon}" if self.taxon else ""]
        return "; ".join([part for part in parts if part] + [condition.to_sql() for condition in self.conditions])


EVERY_RECORD = Filter()


def find_rows(
    corpus: Corpus, record_filter: Filter, index: VectorIndex | None = None
) -> Int64[np.ndarray, " n"] | None:
    """The rows that pass the filter, ascending, removed ones apart; None for an empty filter.

    Args:
        corpus: whose records are looked at.
        record_filter: what must hold.
        index: of the space that is searched. With it only rows that it holds are given, and a taxon is answered from
            its order, without a look at the records.

    Raises:
        QueryError: the filter cannot be read, or no record carries the taxon's name.
    """
    if record_filter.is_empty:
        return None
    found = match_records(corpus, record_filter) if index is None else _match_indexed(corpus, record_filter, index)
    rows = without_rows(found, corpus.removed_rows())
    if record_filter.taxon and not len(rows):
        _require_taxon(corpus, record_filter.taxon)
    return rows


def _match_indexed(corpus: Corpus, record_filter: Filter, index: VectorIndex) -> Int64[np.ndarray, " n"]:
    """The rows of an index that pass a filter which is not empty, ascending, removed or not."""
    import numpy as np

    if not record_filter.taxon:
        return np.intersect1d(match_records(corpus, record_filter), index.rows, assume_unique=True)
    _taxon_columns(corpus)
    rows = index.rows_of_taxon(record_filter.taxon)
    others = replace(record_filter, taxon=None)
    if others.is_empty or not len(rows):
        return rows
    return np.intersect1d(match_records(corpus, others), rows, assume_unique=True)


def match_records(corpus: Corpus, record_filter: Filter) -> Int64[np.ndarray, " n"]:
    """The rows, removed or not, that pass a filter which is not empty, ascending; QueryError as in `find_rows`."""
    import numpy as np

    clauses = [condition.to_sql() for condition in record_filter.conditions]
    if record_filter.where:
        clauses.append(f"({_check_where(record_filter.where, corpus.column_types())})")
    if record_filter.taxon:
        clauses.append(_taxon_clause(corpus, record_filter.taxon))
    sql = " AND ".join(clauses)
    try:
        table = corpus.open_records().to_table(columns=["row"], filter=sql)
    except ValueError as error:
        raise QueryError(_explain_sql(sql, str(error), corpus.column_types())) from error
    rows: Int64[np.ndarray, " n"] = np.sort(table.column("row").to_numpy())
    return rows


def quote_name(column: str) -> str:
    """A column's name as SQL reads it, whatever characters it holds."""
    return "`" + column.replace("`", "``") + "`"


def quote_text(value: str) -> str:
    """A text as SQL reads it."""
    return "'" + value.replace("'", "''") + "'"


def _check_where(where: str, columns: Mapping[str, object]) -> str:
    """The condition; QueryError for a column in double quotes, which SQL here reads as a text that never matches."""
    lowered = {name.lower(): name for name in columns}
    outside_texts = re.sub(r"'(?:[^']|'')*'", "''", where)
    for quoted in _DOUBLE_QUOTED.findall(outside_texts):
        if quoted.lower() in lowered:
            raise QueryError(
                f'--where: "{quoted}" in double quotes is a text, not the column; '
                f"write {lowered[quoted.lower()]} or {quote_name(lowered[quoted.lower()])}."
            )
    return where


def _taxon_columns(corpus: Corpus) -> list[str]:
    present = [name for name in TAXON_COLUMNS if name in corpus.column_types()]
    if not present:
        raise QueryError(
            f"{corpus.name}: --taxon needs a column of names ({', '.join(TAXON_COLUMNS)}), and it has none. "
            "Index it with a manifest, or filter with --where."
        )
    return present


def _taxon_clause(corpus: Corpus, taxon: str) -> str:
    name = quote_text(taxon.strip().lower())
    return "(" + " OR ".join(f"lower({quote_name(column)}) = {name}" for column in _taxon_columns(corpus)) + ")"


def _require_taxon(corpus: Corpus, taxon: str) -> None:
    """QueryError, with the nearest names, where no record of the corpus carries the name at all."""
    from difflib import get_close_matches

    columns = _taxon_columns(corpus)
    table = corpus.read_columns(columns)
    names = {str(value) for column in columns for value in table.column(column).unique().to_pylist() if value}
    if taxon.strip().lower() in {name.lower() for name in names}:
        return
    close = get_close_matches(taxon.strip().capitalize(), names, n=3, cutoff=0.6)
    hint = f"Did you mean {' or '.join(close)}?" if close else "`morphospace info` lists the names there are."
    raise QueryError(f"{corpus.name}: no record is named {taxon!r} at any rank, nor by a vernacular name. {hint}")


def _explain_sql(sql: str, error: str, columns: Iterable[str]) -> str:
    unknown = re.search(r"No field named (\S+?)\.", error)
    what = f"no column {unknown.group(1)}" if unknown else error.split(", /")[0].removeprefix("Invalid user input: ")
    listed = ", ".join(name for name in columns)
    return (
        f"filter {sql!r}: {what}; the columns are {listed}. Write e.g. --where \"lifeStage = 'adult' AND year >= 2010\""
    )
