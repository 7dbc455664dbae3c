"""Removal as a user asks for it: which records go, or come back, and what is said of it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import TYPE_CHECKING

from explorer.filters import Filter, match_records
from indexer.corpus import Corpus
from indexer.errors import QueryError
from indexer.removals import remove_records, restore_records

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Int64


def remove_matching(
    corpus: Corpus, *, record_ids: Sequence[str], where: str | None, taxon: str | None, reason: str
) -> str:
    """Hide the records that meet all conditions, and say how many; QueryError where none is given or none matches."""
    rows = _find(corpus, record_ids, Filter(where=where, taxon=taxon))
    if rows is None:
        raise QueryError(
            f"{corpus.name}: no condition says which records are to be removed; --record-id, --where and --taxon are "
            "allowed. Give one."
        )
    if not len(rows):
        raise QueryError(f"{corpus.name}: no record meets all of these conditions; nothing was removed. Loosen them.")
    n_removed = remove_records(corpus, rows, reason=reason)
    before = f" ({len(rows) - n_removed:,} were before)" if n_removed < len(rows) else ""
    return (
        f"{corpus.path}: {n_removed:,} records removed{before}, {corpus.count_records():,} are left; "
        f"bring them back with: morphospace remove {corpus.path} --undo"
    )


def restore_matching(corpus: Corpus, *, record_ids: Sequence[str], where: str | None, taxon: str | None) -> str:
    """Bring back the removed records that meet all conditions, or every one where none is given; says how many."""
    rows = _find(corpus, record_ids, Filter(where=where, taxon=taxon))
    n_restored = restore_records(corpus, corpus.removed_rows() if rows is None else rows)
    left = len(corpus.removed_rows())
    return f"{corpus.path}: {n_restored:,} records brought back, {left:,} stay removed"


def _find(corpus: Corpus, record_ids: Sequence[str], record_filter: Filter) -> Int64[np.ndarray, " n"] | None:
    """The rows, removed or not, that meet every condition; None where there is no condition."""
    import numpy as np

    found = [] if record_filter.is_empty else [match_records(corpus, record_filter)]
    if record_ids:
        found.append(np.array([corpus.find_row(record_id) for record_id in record_ids], np.int64))
    return reduce(np.intersect1d, found[1:], np.unique(found[0])) if found else None
