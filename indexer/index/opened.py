"""The opened index of a space: searched by many threads, never changed, whatever jobs do meanwhile."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from indexer.errors import CorpusError
from indexer.index.calibration import Calibration, RawVectors, Similarity
from indexer.index.facts import IndexFacts, Modality
from indexer.index.lists import load_faiss, read_lists
from indexer.index.planning import Plan, is_dense, plan_reach, plan_scan, plan_search
from indexer.index.refining import refine_until_sure
from indexer.index.scanning import cut, scan, scan_above, scan_places, view_vectors, widen
from indexer.index.selections import Selection, Spans, merge_spans, select_positions, select_spans
from indexer.index.storage import (
    CALIBRATION,
    CODES,
    LENGTHS,
    TAXA,
    StoredIndex,
    read_index,
    say_how_to_rebuild,
)

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from jaxtyping import Bool, Float16, Float32, Int64

    from indexer.corpus import Space

_OPENING_TRIES = 5
_KEPT_TAXA = 16


@dataclass(frozen=True, kw_only=True)
class Neighbours:
    """The nearest rows of each query, best first; -1 (score nan) where fewer than k rows could be found.

    Attributes:
        rows: records.
        scores: cosines.
        is_exact: whether every row that may answer was compared with every query.
        recall: of the search: 1 where it is exact; the recall@10 that was measured when the index was built where it is
            not; None where none was measured, as under a filter.
        plan: how the search was answered.
    """

    rows: Int64[np.ndarray, "q k"]
    scores: Float32[np.ndarray, "q k"]
    is_exact: bool
    recall: float | None
    plan: Plan


class VectorIndex:
    """An opened index.

    Attributes:
        facts: what is known of it.
        rows: the row at each position.
        digest: of all its files.
        calibration: of its vectors; None where they are those that the encoder made.
    """

    def __init__(
        self,
        stored: StoredIndex,
        *,
        vectors: Float16[np.ndarray, "n d"],
        rows: Int64[np.ndarray, " n"],
        taxa: bytes,
        lists: Any | None,
        lengths: Float32[np.ndarray, " n"] | None,
        calibration: Calibration | None,
    ) -> None:
        self.facts: IndexFacts = stored.facts
        self.digest = stored.digest
        self.rows = rows
        self.calibration = calibration
        self._vectors = vectors
        self._lengths = lengths
        self._taxa = taxa
        self._lists: Any = lists
        self._last_live: tuple[Any, Selection] | None = None
        self._taxon_rows: dict[str, Int64[np.ndarray, " m"]] = {}

    @cached_property
    def taxa(self) -> pa.Table:
        """Where each taxon stands: `rank`, `name`, `start`, `stop` (positions, stop excluded), sorted by name."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        return pq.read_table(pa.BufferReader(self._taxa))

    def find_taxon(self, name: str) -> tuple[tuple[int, int], ...]:
        """The ranges of positions whose records carry a name at any rank, in whatever case; none where it is unknown.

        Names are scientific or vernacular. Homonyms are all found.
        """
        import pyarrow.compute as pc

        lines = self.taxa.filter(pc.equal(self._taxon_keys, name.strip().lower()))
        spans = zip(lines.column("start").to_pylist(), lines.column("stop").to_pylist(), strict=True)
        return merge_spans(spans)

    @cached_property
    def _taxon_keys(self) -> Any:
        import pyarrow.compute as pc

        return pc.utf8_lower(self.taxa.column("name"))

    def rows_of_taxon(self, name: str) -> Int64[np.ndarray, " m"]:
        """The rows whose records carry a name at any rank (`find_taxon`), ascending; kept for the next time."""
        import numpy as np

        key = name.strip().lower()
        rows = self._taxon_rows.get(key)
        if rows is None:
            rows = np.sort(self.rows[select_spans(self.find_taxon(key), self.facts.n).positions])
            rows.setflags(write=False)
            if len(self._taxon_rows) >= _KEPT_TAXA:
                self._taxon_rows.clear()
            self._taxon_rows[key] = rows
        return rows

    def vectors_at(self, rows: Int64[np.ndarray, " m"]) -> Float32[np.ndarray, "m d"]:
        """The vectors of rows as they are indexed, in the order asked for; CorpusError for a row it does not hold."""
        import numpy as np

        positions = self._positions_of(np.asarray(rows, np.int64))
        if (positions < 0).any():
            raise CorpusError(
                f"row {np.asarray(rows)[positions < 0][0]} is not in the index. Run `morphospace index` again."
            )
        return widen(np.take(self._vectors, positions, axis=0))

    def search(
        self,
        queries: Float32[np.ndarray, "q d"],
        k: int,
        *,
        allowed: Int64[np.ndarray, " m"] | None = None,
        span: Spans | None = None,
        hidden: Int64[np.ndarray, " h"] | None = None,
        modality: Modality = Modality.IMAGE,
        similarity: Similarity = Similarity.RAW,
    ) -> Neighbours:
        """The k nearest rows of each query by cosine; always k of them, or all that may answer where they are fewer.

        Args:
            queries: of unit length.
            k: wanted; columns beyond the number of vectors in the index are left out.
            allowed: rows that alone may answer, ascending; rows that the index does not hold are passed over.
            span: ranges of positions that alone may answer (`find_taxon`); with `allowed` both must hold.
            hidden: rows that may not answer, ascending. Give the same array again for as long as it stays the same.
            modality: what the queries were made from.
            similarity: which cosine; without a calibration both are the same. Queries are the encoder's vectors
                either way.
        """
        values, queries, offsets = self._prepare(queries, similarity)
        is_measured = not isinstance(values, RawVectors) or modality is Modality.TEXT
        # The lists are tuned to raw similarity for texts alone, which are never asked by another.
        modality = Modality.TEXT if isinstance(values, RawVectors) else modality
        width = min(k, max(self.facts.n, 1))
        selection = self._select(allowed, span, hidden)
        plan = plan_search(self.facts, selection, is_filtered=allowed is not None or span is not None, k=width)
        if plan is Plan.LISTS:
            found = self._search_lists(values, queries, width, selection, modality)
        elif plan is Plan.FILTERED_LISTS:
            found = self._search_filtered(values, queries, width, selection, modality)
        else:
            found = (*self._scan(values, queries, width, selection), True)
        scores, positions, is_exact = found
        scores = scores + offsets[:, None]
        has_recall = plan is Plan.LISTS and is_measured
        recall = 1.0 if is_exact else self.facts.recall_of(modality) if has_recall else None
        return self._finish(scores, positions, width, is_exact=is_exact, recall=recall, plan=plan)

    def search_above(
        self,
        query: Float32[np.ndarray, " d"],
        score: float,
        *,
        allowed: Int64[np.ndarray, " m"] | None = None,
        span: Spans | None = None,
        hidden: Int64[np.ndarray, " h"] | None = None,
        similarity: Similarity = Similarity.RAW,
    ) -> Neighbours:
        """All rows that score at least that with one query, best first: every row that may answer is compared.

        Arguments are those of `search`. The result has one line.
        """
        import numpy as np

        values, queries, offsets = self._prepare(query[None], similarity)
        query, least = queries[0], score - float(offsets[0])
        selection = self._select(allowed, span, hidden)
        if selection.spans is None:
            scores, found = scan_above(cut(values, selection.positions), query, least)
            found = selection.positions[found]
        else:
            parts = [
                (start, scan_above(cut(values, slice(start, stop)), query, least)) for start, stop in selection.spans
            ]
            scores = np.concatenate([np.empty(0, np.float32), *(part[0] for _, part in parts)])
            found = np.concatenate([np.empty(0, np.int64), *(part[1] + start for start, part in parts)])
        scores = scores + offsets[0]
        order = np.argsort(-scores, kind="stable")
        plan = plan_scan(selection, is_filtered=allowed is not None or span is not None)
        return self._finish(scores[None, order], found[None, order], len(order), is_exact=True, recall=1.0, plan=plan)

    def _prepare(
        self, queries: Float32[np.ndarray, "q d"], similarity: Similarity
    ) -> tuple[Float16[np.ndarray, "n d"] | RawVectors, Float32[np.ndarray, "q d"], Float32[np.ndarray, " q"]]:
        """What the queries are compared with, the directions to do it with, and what is to be added to the scores."""
        import numpy as np

        queries = np.ascontiguousarray(queries, np.float32)
        if self.calibration is None or self._lengths is None:
            return self._vectors, queries, np.zeros(len(queries), np.float32)
        if similarity is Similarity.CALIBRATED:
            return self._vectors, self.calibration.apply(queries)[0], np.zeros(len(queries), np.float32)
        directions, offsets = self.calibration.translate(queries)
        return RawVectors(self._vectors, self._lengths), directions, offsets

    def _finish(
        self,
        scores: Float32[np.ndarray, "q m"],
        positions: Int64[np.ndarray, "q m"],
        width: int,
        *,
        is_exact: bool,
        recall: float | None,
        plan: Plan,
    ) -> Neighbours:
        """Positions as rows, filled up to the width."""
        import numpy as np

        shape = len(positions), width
        rows, filled = np.full(shape, -1, np.int64), np.full(shape, np.nan, np.float32)
        n_found = min(positions.shape[1], width)
        is_found = positions[:, :n_found] >= 0
        rows[:, :n_found][is_found] = self.rows[positions[:, :n_found][is_found]]
        filled[:, :n_found][is_found] = scores[:, :n_found][is_found]
        return Neighbours(rows=rows, scores=filled, is_exact=is_exact, recall=recall, plan=plan)

    def _scan(
        self,
        values: Float16[np.ndarray, "n d"] | RawVectors,
        queries: Float32[np.ndarray, "q d"],
        k: int,
        selection: Selection,
    ) -> tuple[Float32[np.ndarray, "q m"], Int64[np.ndarray, "q m"]]:
        """Exact scores and positions of the best of a selection."""
        import numpy as np

        if selection.spans is None:
            return scan_places(
                values, selection.positions, queries, k, is_dense=is_dense(selection, self.facts.dimension)
            )
        parts = [(start, scan(cut(values, slice(start, stop)), queries, k)) for start, stop in selection.spans]
        if len(parts) == 1:
            start, (scores, places) = parts[0]
            return scores, places + start
        empty = np.empty((len(queries), 0))
        scores = np.concatenate([empty.astype(np.float32), *(part[0] for _, part in parts)], axis=1)
        places = np.concatenate([empty.astype(np.int64), *(part[1] + start for start, part in parts)], axis=1)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(scores, order, axis=1), np.take_along_axis(places, order, axis=1)

    def _search_lists(
        self,
        values: Float16[np.ndarray, "n d"] | RawVectors,
        queries: Float32[np.ndarray, "q d"],
        k: int,
        selection: Selection,
        modality: Modality,
    ) -> tuple[Float32[np.ndarray, "q m"], Int64[np.ndarray, "q m"], bool]:
        """The lists searched as they were tuned; a query that found too few is compared with everything."""
        faiss = load_faiss()

        settings = self.facts.settings_for(modality)
        selector, keep_alive = selection.selector if selection.n < self.facts.n else (None, None)
        parameters = faiss.SearchParametersIVF(nprobe=settings.n_probe, sel=selector)
        factor = max(1.0, min(settings.refine_factor, selection.n / k))
        if isinstance(values, RawVectors):
            _, candidates = self._lists.search(queries, int(factor * k), params=parameters)
            scores, positions = _compare(values, queries, candidates, k)
        else:
            parameters = faiss.IndexRefineSearchParameters(k_factor=factor, base_index_params=parameters)
            scores, positions = self._refined.search(queries, k, params=parameters)
        del keep_alive
        is_short = (positions >= 0).sum(axis=1) < min(k, selection.n)
        self._scan_some(is_short, values, queries, selection, scores, positions)
        return scores, positions, bool(is_short.all())

    def _search_filtered(
        self,
        values: Float16[np.ndarray, "n d"] | RawVectors,
        queries: Float32[np.ndarray, "q d"],
        k: int,
        selection: Selection,
        modality: Modality,
    ) -> tuple[Float32[np.ndarray, "q k"], Int64[np.ndarray, "q k"], bool]:
        """Lists visited until enough allowed codes were seen; a query whose answer is not sure is scanned."""
        import numpy as np

        faiss = load_faiss()

        reach = plan_reach(self.facts, selection.n, k, modality)
        selector, keep_alive = selection.selector
        parameters = faiss.SearchParametersIVF(
            nprobe=self.facts.n_lists, max_codes=reach.max_codes, ensure_topk_full=True, sel=selector
        )
        estimates, candidates = self._lists.search(queries, reach.n_candidates, params=parameters)
        del keep_alive
        if isinstance(values, RawVectors):
            estimates, candidates = _order_as_raw(values, estimates, candidates)
        scores, positions = np.full((len(queries), k), np.nan, np.float32), np.full((len(queries), k), -1, np.int64)
        is_unsure = np.ones(len(queries), bool)
        for i, query in enumerate(queries):
            found, where, is_sure = refine_until_sure(values, query, candidates[i], estimates[i], k)
            scores[i, : len(found)], positions[i, : len(where)] = found, where
            is_unsure[i] = not is_sure
        self._scan_some(is_unsure, values, queries, selection, scores, positions)
        return scores, positions, bool(is_unsure.all())

    def _scan_some(
        self,
        is_asked: Bool[np.ndarray, " q"],
        values: Float16[np.ndarray, "n d"] | RawVectors,
        queries: Float32[np.ndarray, "q d"],
        selection: Selection,
        scores: Float32[np.ndarray, "q k"],
        positions: Int64[np.ndarray, "q k"],
    ) -> None:
        """Put the exact answer to some of the queries into place."""
        if not is_asked.any():
            return
        found, where = self._scan(values, queries[is_asked], positions.shape[1], selection)
        positions[is_asked] = -1
        scores[is_asked, : found.shape[1]], positions[is_asked, : where.shape[1]] = found, where

    @cached_property
    def _refined(self) -> Any:
        """The lists, whose candidates are compared with the vectors where these lie."""
        faiss = load_faiss()

        refined = faiss.IndexRefine(self._lists, self._view)
        refined.own_fields = refined.own_refine_index = False
        return refined

    @cached_property
    def _view(self) -> Any:
        return view_vectors(self._vectors)

    def _select(
        self,
        allowed: Int64[np.ndarray, " m"] | None,
        span: Spans | None,
        hidden: Int64[np.ndarray, " h"] | None,
    ) -> Selection:
        """The positions that may answer."""
        import numpy as np

        n = self.facts.n
        if allowed is None and span is None:
            return self._select_live(hidden)
        selection = select_spans(span, n) if span is not None else None
        if allowed is not None:
            positions = self._positions_of(np.asarray(allowed, np.int64))
            positions = positions[positions >= 0]
            if selection is not None:
                positions = np.intersect1d(positions, selection.positions, assume_unique=True)
            selection = select_positions(positions, n)
        assert selection is not None
        return selection.without(self._held_positions(hidden)) if hidden is not None and len(hidden) else selection

    def _select_live(self, hidden: Int64[np.ndarray, " h"] | None) -> Selection:
        """Everything but the hidden rows; kept until other ones are hidden, because it takes a walk over everything."""
        last = self._last_live
        if last is not None and last[0] is hidden:
            return last[1]
        selection = select_spans([(0, self.facts.n)], self.facts.n)
        if hidden is not None and len(hidden):
            selection = selection.without(self._held_positions(hidden))
        self._last_live = hidden, selection
        return selection

    def _held_positions(self, rows: Int64[np.ndarray, " h"]) -> Int64[np.ndarray, " m"]:
        """The positions, ascending, of those of the rows that the index holds."""
        import numpy as np

        positions = self._positions_of(np.asarray(rows, np.int64))
        return np.sort(positions[positions >= 0])

    def _positions_of(self, rows: Int64[np.ndarray, " m"]) -> Int64[np.ndarray, " m"]:
        """The position of each row; -1 for one that the index does not hold."""
        import numpy as np

        places = self._position_of_row
        is_known = (rows >= 0) & (rows < len(places))
        found: Int64[np.ndarray, " m"] = np.where(is_known, places[np.where(is_known, rows, 0)], -1)
        return found

    @cached_property
    def _position_of_row(self) -> Int64[np.ndarray, " r"]:
        import numpy as np

        places = np.full(int(self.rows.max(initial=0)) + 1, -1)
        places[self.rows] = np.arange(len(self.rows))
        return places


def _compare(
    values: RawVectors, queries: Float32[np.ndarray, "q d"], candidates: Int64[np.ndarray, "q c"], k: int
) -> tuple[Float32[np.ndarray, "q k"], Int64[np.ndarray, "q k"]]:
    """Exact scores and positions of the best of each query's own candidates; -1 beyond the last."""
    import numpy as np

    scores, positions = np.full((len(queries), k), np.nan, np.float32), np.full((len(queries), k), -1, np.int64)
    for i, found in enumerate(candidates):
        places = np.sort(found[found >= 0])
        best, where = scan_places(values, places, queries[i : i + 1], k, is_dense=False)
        scores[i, : best.shape[1]], positions[i, : where.shape[1]] = best[0], where[0]
    return scores, positions


def _order_as_raw(
    values: RawVectors, estimates: Float32[np.ndarray, "q c"], candidates: Int64[np.ndarray, "q c"]
) -> tuple[Float32[np.ndarray, "q c"], Int64[np.ndarray, "q c"]]:
    """Candidates ordered by what their estimates make of the raw score; -1 stays last."""
    import numpy as np

    scaled = np.where(candidates >= 0, estimates * values.lengths[candidates], -np.inf).astype(np.float32)
    order = np.argsort(-scaled, axis=1, kind="stable")
    return np.take_along_axis(scaled, order, axis=1), np.take_along_axis(candidates, order, axis=1)


def open_index(space: Space) -> VectorIndex:
    """The stored index: its vectors mapped, its codes in memory.

    A job may replace the index while it is being opened; then the new one is opened.

    Raises:
        CorpusError: there is none, a file of it is missing, or one is not what the description says.
    """
    for _ in range(_OPENING_TRIES):
        stored = read_index(space)
        try:
            stored.require_whole()
            return _open_stored(stored)
        except FileNotFoundError as error:
            if read_index(space).digest == stored.digest:
                raise CorpusError(
                    f"{error.filename}: the file of the index is missing. {say_how_to_rebuild(space)}"
                ) from error
        except CorpusError:
            # A file that is removed while it is read looks damaged.
            if read_index(space).digest == stored.digest:
                raise
    raise CorpusError(f"{space.name}: its index is being replaced again and again. Try again in a moment.")


def _open_stored(stored: StoredIndex) -> VectorIndex:
    facts = stored.facts
    vectors, rows, lengths = stored.open_vectors(), stored.load_rows(), stored.load_lengths()
    calibration = stored.open_calibration()
    if calibration is not None and (lengths is None or len(calibration.mean) != facts.dimension):
        raise _damaged(stored, CALIBRATION, f"is of {len(calibration.mean)} dimensions, or {LENGTHS} is missing")
    return VectorIndex(
        stored,
        vectors=vectors,
        rows=rows,
        taxa=(stored.folder / TAXA).read_bytes(),
        lists=None if facts.is_exact else _open_lists(stored),
        lengths=lengths,
        calibration=calibration,
    )


def _open_lists(stored: StoredIndex) -> Any:
    facts, file = stored.facts, stored.folder / CODES
    if not file.is_file():
        raise FileNotFoundError(2, "missing", str(file))
    try:
        lists = read_lists(file)
    except RuntimeError as error:
        raise _damaged(stored, CODES, f"is not an index that FAISS reads ({str(error).splitlines()[0]})") from error
    if (lists.ntotal, lists.d, lists.nlist) != (facts.n, facts.dimension, facts.n_lists):
        raise _damaged(
            stored,
            CODES,
            f"holds {lists.ntotal} codes of {lists.d} dimensions in {lists.nlist} lists, "
            f"not {facts.n} of {facts.dimension} in {facts.n_lists}",
        )
    return lists


def _damaged(stored: StoredIndex, name: str, what: str) -> CorpusError:
    return CorpusError(f"{stored.folder / name}: {what}. {say_how_to_rebuild(stored.space)}")
