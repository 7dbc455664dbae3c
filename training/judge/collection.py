"""What an encoder is judged on: pictures with their names, columns and occurrences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from indexer.errors import InputError
from indexer.terms import RANKS
from training.judge.figures import Omission
from training.judge.naming import choose_commonest, number_labels

if TYPE_CHECKING:
    import pyarrow as pa
    from jaxtyping import Int64

MAX_VALUES = 30
"""Different values that a column may have to be asked about."""
VERNACULAR = "vernacularName"


@dataclass(frozen=True, kw_only=True, eq=False)
class Question:
    """A rank or a column, as classes of pictures.

    Attributes:
        label: name of the rank or column.
        labels: class of each picture; -1 where it is not known.
        names: of the classes.
        rank: place among the seven ranks; None for a column.
    """

    label: str
    labels: Int64[np.ndarray, " n"]
    names: tuple[str, ...]
    rank: int | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Collection:
    """Pictures to judge on.

    Attributes:
        name: for messages.
        lineages: seven names per picture, kingdom to species, the last one the binomial; None where not named.
        vernaculars: common names.
        columns: values of the asked columns.
        occurrences: code of each picture's occurrence; pictures with the same bytes share one, whatever their ids say.
        notes: what a reader of the figures should know of these pictures.
    """

    name: str
    lineages: tuple[tuple[str | None, ...], ...]
    vernaculars: tuple[str | None, ...]
    columns: Mapping[str, tuple[str | None, ...]]
    occurrences: Int64[np.ndarray, " n"]
    notes: tuple[Omission, ...] = ()

    def __len__(self) -> int:
        return len(self.lineages)

    @property
    def n_occurrences(self) -> int:
        """How many occurrences the pictures are of."""
        return len(np.unique(self.occurrences))

    def ask_rank(self, rank: int) -> Question:
        """The taxa of a rank as classes; two taxa of one name are one class."""
        labels, names = number_labels(lineage[rank] for lineage in self.lineages)
        return Question(label=RANKS[rank], labels=labels, names=tuple(names), rank=rank)

    def ask_column(self, column: str) -> Question:
        """The values of a column as classes."""
        labels, names = number_labels(self.columns[column])
        return Question(label=column, labels=labels, names=tuple(names))

    def describe_classes(self, question: Question) -> tuple[list[tuple[str | None, ...]], list[str | None]]:
        """The lineage and the common name that most pictures of each class have."""
        n = len(question.names)
        by_rank = [
            choose_commonest(question.labels, [lineage[rank] for lineage in self.lineages], n)
            for rank in range(len(RANKS))
        ]
        common = choose_commonest(question.labels, self.vernaculars, n)
        return list(zip(*by_rank, strict=True)), common


def collect_records(
    records: pa.Table, columns: Sequence[str], *, name: str, notes: Sequence[Omission] = ()
) -> Collection:
    """The pictures that a table of records describes, one row each.

    Args:
        records: `record_id`, and as far as they are known `occurrence_id`, `sha256`, the seven ranks, `vernacularName`
            and the asked columns. Cells that say nothing, as "unknown", are taken as empty.
        columns: columns to ask about.
        name: for messages.
        notes: what is known of them before.

    Raises:
        InputError: a column is not there; nothing names a rank and no column is asked.
    """
    _check_columns(records, columns, name=name)
    n = records.num_rows
    ranks = [_read_text(records, rank) for rank in RANKS]
    if not columns and not any(value for rank in ranks for value in rank):
        raise InputError(f"{name}: no record names a taxon; name a column to ask about, as --column sex.")
    occurrences, found = _find_occurrences(records)
    return Collection(
        name=name,
        lineages=tuple(zip(*ranks, strict=True)) if n else (),
        vernaculars=tuple(_read_text(records, VERNACULAR)),
        columns={column: tuple(_read_text(records, column)) for column in columns},
        occurrences=occurrences,
        notes=(*notes, *found),
    )


def _check_columns(records: pa.Table, columns: Sequence[str], *, name: str) -> None:
    from difflib import get_close_matches

    for column in columns:
        if column not in records.column_names:
            near = get_close_matches(column, records.column_names, n=1)
            hint = f" Did you mean '{near[0]}'?" if near else ""
            allowed = ", ".join(records.column_names)
            raise InputError(f"--column {column}: {name} has no such column; it has {allowed}.{hint}")


def _read_text(records: pa.Table, column: str) -> list[str | None]:
    from training.captions import UNSPOKEN

    if column not in records.column_names:
        return [None] * records.num_rows
    texts = (None if value is None else str(value).strip() for value in records.column(column).to_pylist())
    return [None if text is None or text.lower() in UNSPOKEN else text for text in texts]


def _find_occurrences(records: pa.Table) -> tuple[Int64[np.ndarray, " n"], tuple[Omission, ...]]:
    """The occurrence of each record, those with the same picture made one, and what that tells."""
    ids = records.column("record_id").to_pylist()
    given = records.column("occurrence_id").to_pylist() if "occurrence_id" in records.column_names else ids
    codes, _ = number_labels([own or record for own, record in zip(given, ids, strict=True)])
    digests = records.column("sha256").to_pylist() if "sha256" in records.column_names else ids
    pictures, _ = number_labels([digest or record for digest, record in zip(digests, ids, strict=True)])
    joined = _join(codes, pictures)
    n_pictures, n_occurrences = len(ids), len(np.unique(joined))
    notes = []
    if len(np.unique(pictures)) < n_pictures:
        n_same = n_pictures - len(np.unique(pictures))
        why = "they are taken as one occurrence, so that none is found by its own copy"
        notes.append(Omission(what=f"{n_same:,} pictures have the same bytes as another", why=why))
    if len(np.unique(codes)) == n_pictures:
        why = "if several show one individual, name its occurrenceID in the records, else the figures are too good"
        notes.append(Omission(what="Every record is an occurrence of its own", why=why))
    elif n_occurrences < n_pictures:
        why = "they are never split between examples and questions, and are resampled together"
        notes.append(Omission(what=f"{n_pictures:,} pictures are of {n_occurrences:,} occurrences", why=why))
    return joined, tuple(notes)


def _join(codes: Int64[np.ndarray, " n"], pictures: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
    """Codes under which records are one that share either of the two, also by way of others."""
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import connected_components

    n = len(codes)
    if n == 0:
        return codes
    shape = (int(codes.max()) + 1, int(pictures.max()) + 1)
    links = csr_matrix((np.ones(n), (codes, shape[0] + pictures)), shape=(sum(shape), sum(shape)))
    joined: Int64[np.ndarray, " n"] = connected_components(links, directed=False)[1][codes].astype(np.int64)
    return joined
