"""The nearest records of other occurrences, of some records or of all.

Records of one occurrence are photographs of the same individual or event: that they lie together says nothing about a
space. So a record's own occurrence never answers, and every other one answers once, with its nearest record.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Int64

N_EXACT = 20_000
"""Records up to which every pair is compared where the neighbours of all are asked for."""
CELL_SIZE = 100
N_CELLS_SEARCHED = 32
N_PRINCIPAL = 192
N_CHECKED = 300
"""Records whose neighbours are found both ways, to measure what the cells miss."""
_BLOCK_VALUES = 2**24
_LEAST_CHUNK = 4
_SPARE = 4


@dataclass(frozen=True, kw_only=True, eq=False)
class Neighbours:
    """The nearest records of other occurrences, nearest first, one for each occurrence.

    Attributes:
        places: of the neighbours among all records; -1 where there are no more.
        scores: cosines; -inf where there is no neighbour.
        recall: 1 where every pair was compared; else the share of the true neighbours that was found, measured on
            random records.
    """

    places: Int64[np.ndarray, "q k"]
    scores: Float32[np.ndarray, "q k"]
    recall: float = 1.0


def centre_vectors(vectors: Float[np.ndarray, "n d"]) -> Float32[np.ndarray, "n d"]:
    """The vectors less their mean, of unit length again; one that lies in the mean itself stays 0."""
    centred = np.asarray(vectors - vectors.mean(axis=0, dtype=np.float64).astype(np.float32), dtype=np.float32)
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    centred /= np.where(lengths > 1e-6, lengths, np.inf)
    return centred


def pick_records(occurrences: Int64[np.ndarray, " n"], *, n_most: int, seed: int) -> Int64[np.ndarray, " m"]:
    """One random record of each of at most `n_most` random occurrences, ascending."""
    rng = np.random.default_rng([seed, 11])
    shuffled = rng.permutation(len(occurrences))
    first = shuffled[np.unique(occurrences[shuffled], return_index=True)[1]]
    chosen: Int64[np.ndarray, " m"] = np.sort(rng.permutation(first)[:n_most])
    return chosen


def find_neighbours(
    vectors: Float[np.ndarray, "n d"],
    occurrences: Int64[np.ndarray, " n"],
    queries: Int64[np.ndarray, " q"],
    *,
    k: int,
) -> Neighbours:
    """The neighbours of some records among all, by comparing every pair.

    Args:
        vectors: Of unit length, so that products are cosines.
        occurrences: A code per record.
        queries: Places of the records that are asked about.
        k: Occurrences wanted.
    """
    rows = np.asarray(vectors, dtype=np.float32)
    found = _hold(len(queries), k)
    for start, stop in _blocks(len(queries), len(rows)):
        asked = queries[start:stop]
        found.places[start:stop], found.scores[start:stop] = _search(
            rows[asked], occurrences[asked], rows, occurrences, k
        )
    return found


def find_all_neighbours(
    vectors: Float[np.ndarray, "n d"], occurrences: Int64[np.ndarray, " n"], *, k: int, seed: int = 0
) -> Neighbours:
    """The neighbours of every record; beyond 20,000 records those in the nearest cells alone.

    The cells are those of a k-means clustering, the principal components of the vectors are compared first and the
    cosines then computed in full. `Neighbours.recall` says what that misses.

    Args:
        vectors: Of unit length.
        occurrences: A code per record.
        k: Occurrences wanted.
        seed: Fixes the cells.
    """
    rows = np.asarray(vectors, dtype=np.float32)
    everything = np.arange(len(rows))
    if len(rows) <= N_EXACT:
        return find_neighbours(rows, occurrences, everything, k=k)
    found = _search_cells(rows, occurrences, k, seed)
    checked = pick_records(occurrences, n_most=N_CHECKED, seed=seed)
    exact = find_neighbours(rows, occurrences, checked, k=k)
    true = occurrences[exact.places][:, :, None] == occurrences[found.places[checked]][:, None, :]
    there = exact.places >= 0
    return Neighbours(
        places=found.places, scores=found.scores, recall=float(true.any(axis=2)[there].sum() / max(1, there.sum()))
    )


def sum_rows(rows: Float32[np.ndarray, "n d"], codes: Int64[np.ndarray, " n"], n: int) -> Float32[np.ndarray, "g d"]:
    """The sum of each of n groups' rows, in their own precision."""
    from scipy.sparse import csr_matrix

    chosen = csr_matrix((np.ones(len(codes), dtype=np.float32), (codes, np.arange(len(codes)))), shape=(n, len(codes)))
    sums: Float32[np.ndarray, "g d"] = chosen @ rows
    return sums


def _hold(n: int, k: int) -> Neighbours:
    return Neighbours(places=np.full((n, k), -1, np.int64), scores=np.full((n, k), -np.inf, np.float32))


def _blocks(n_queries: int, n_records: int) -> Iterator[tuple[int, int]]:
    size = max(1, _BLOCK_VALUES // max(1, n_records))
    for start in range(0, n_queries, size):
        yield start, min(start + size, n_queries)


def _search(
    asked: Float32[np.ndarray, "b d"],
    own: Int64[np.ndarray, " b"],
    rows: Float32[np.ndarray, "m d"],
    occurrences: Int64[np.ndarray, " m"],
    k: int,
) -> tuple[Int64[np.ndarray, "b k"], Float32[np.ndarray, "b k"]]:
    """Places among `rows`, and their cosines."""
    scores = asked @ rows.T
    np.putmask(scores, own[:, None] == occurrences[None], -np.inf)
    return _keep_occurrences(scores, occurrences, k)


def _keep_occurrences(
    scores: Float32[np.ndarray, "b m"], occurrences: Int64[np.ndarray, " m"], k: int
) -> tuple[Int64[np.ndarray, "b k"], Float32[np.ndarray, "b k"]]:
    """The best column of each of the k best occurrences of each row."""
    n_fetched = min(scores.shape[1], min(_SPARE, int(np.bincount(occurrences).max())) * k)
    columns = _find_top(scores, n_fetched)
    best = np.take_along_axis(scores, columns, axis=1)
    is_first = _is_first(np.where(np.isfinite(best), occurrences[columns], -1)) & np.isfinite(best)
    order = np.argsort(~is_first, axis=1, kind="stable")[:, :k]
    is_kept = np.take_along_axis(is_first, order, axis=1)
    places, kept = _hold(len(scores), k).places, _hold(len(scores), k).scores
    width = order.shape[1]
    places[:, :width] = np.where(is_kept, np.take_along_axis(columns, order, axis=1), -1)
    kept[:, :width] = np.where(is_kept, np.take_along_axis(best, order, axis=1), -np.inf)
    # An occurrence with many images can fill all that was fetched, while others lie behind it.
    short = np.flatnonzero((is_kept.sum(axis=1) < k) & np.isfinite(best).all(axis=1) & (n_fetched < scores.shape[1]))
    for row in short:
        line = np.argsort(-scores[row], kind="stable")
        line = line[np.isfinite(scores[row, line])]
        line = line[np.sort(np.unique(occurrences[line], return_index=True)[1])[:k]]
        places[row, : len(line)], kept[row, : len(line)] = line, scores[row, line]
    return places, kept


def _find_top(scores: Float32[np.ndarray, "b m"], n: int) -> Int64[np.ndarray, "b n"]:
    """Columns of the n greatest values of each row, greatest first.

    The greatest values lie in the chunks with the greatest maxima, or in what is left over beyond whole chunks.
    """
    size = max(1, int(np.sqrt(scores.shape[1] / max(1, n))))
    n_chunks = scores.shape[1] // size
    if size < _LEAST_CHUNK:
        return _sort_top(scores, n)
    whole = scores[:, : n_chunks * size].reshape(len(scores), size, n_chunks)
    chunks = np.argpartition(-whole.max(axis=1), n - 1, axis=1)[:, :n]
    inside = (chunks[:, :, None] + n_chunks * np.arange(size)).reshape(len(scores), -1)
    beyond = np.broadcast_to(
        np.arange(n_chunks * size, scores.shape[1]), (len(scores), scores.shape[1] - n_chunks * size)
    )
    columns = np.concatenate([inside, beyond], axis=1)
    chosen: Int64[np.ndarray, "b n"] = np.take_along_axis(
        columns, _sort_top(np.take_along_axis(scores, columns, axis=1), n), axis=1
    )
    return chosen


def _sort_top(scores: Float32[np.ndarray, "b m"], n: int) -> Int64[np.ndarray, "b n"]:
    if n < scores.shape[1]:
        chosen = np.argpartition(-scores, n - 1, axis=1)[:, :n]
    else:
        chosen = np.broadcast_to(np.arange(scores.shape[1]), scores.shape)
    order = np.argsort(-np.take_along_axis(scores, chosen, axis=1), axis=1, kind="stable")
    columns: Int64[np.ndarray, "b n"] = np.take_along_axis(chosen, order, axis=1)
    return columns


def _is_first(codes: Int64[np.ndarray, "b m"]) -> np.ndarray:
    """Whether each code is the first of its kind in its row."""
    order = np.argsort(codes, axis=1, kind="stable")
    ordered = np.take_along_axis(codes, order, axis=1)
    is_new = np.ones(codes.shape, dtype=bool)
    is_new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    is_first = np.empty(codes.shape, dtype=bool)
    np.put_along_axis(is_first, order, is_new, axis=1)
    return is_first


def _search_cells(
    rows: Float32[np.ndarray, "n d"], occurrences: Int64[np.ndarray, " n"], k: int, seed: int
) -> Neighbours:
    rng = np.random.default_rng([seed, 12])
    reduced = _reduce(rows, rng)
    centres, cell_of = _assign_cells(reduced, rng)
    order = np.argsort(cell_of, kind="stable")
    starts = np.searchsorted(cell_of[order], np.arange(len(centres) + 1))
    nearest = np.argsort(-(centres @ centres.T), axis=1, kind="stable")[:, :N_CELLS_SEARCHED]
    found = _hold(len(rows), k)
    for cell in range(len(centres)):
        members = order[starts[cell] : starts[cell + 1]]
        pool = np.concatenate([order[starts[one] : starts[one + 1]] for one in nearest[cell]])
        pool_rows, pool_occurrences = reduced[pool], occurrences[pool]
        for start, stop in _blocks(len(members), len(pool)):
            asked = members[start:stop]
            places, scores = _search(reduced[asked], occurrences[asked], pool_rows, pool_occurrences, k)
            found.places[asked] = np.where(places >= 0, pool[places], -1)
            found.scores[asked] = scores
    return _rescore(rows, found)


def _reduce(rows: Float32[np.ndarray, "n d"], rng: np.random.Generator) -> Float32[np.ndarray, "n p"]:
    """The rows in their leading principal directions (about the origin, so that products stay products)."""
    if rows.shape[1] <= N_PRINCIPAL:
        return rows
    part = rows[rng.choice(len(rows), min(len(rows), 10_000), replace=False)]
    basis = np.linalg.eigh((part.T @ part).astype(np.float64))[1][:, -N_PRINCIPAL:]
    reduced: Float32[np.ndarray, "n p"] = rows @ basis.astype(np.float32)
    return reduced


def _assign_cells(
    rows: Float32[np.ndarray, "n p"], rng: np.random.Generator
) -> tuple[Float32[np.ndarray, "c p"], Int64[np.ndarray, " n"]]:
    """Centres of unit length, and each row's nearest: spherical k-means on a part of the rows."""
    n_cells = max(1, len(rows) // CELL_SIZE)
    part = rows[rng.choice(len(rows), min(len(rows), 50 * n_cells), replace=False)]
    centres = part[:n_cells].copy()
    for _ in range(5):
        own = (part @ centres.T).argmax(axis=1)
        sums = sum_rows(part, own, n_cells)
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        centres = np.where(lengths > 0, sums / np.where(lengths > 0, lengths, 1), centres)
    cell_of = np.concatenate(
        [(rows[start:stop] @ centres.T).argmax(axis=1) for start, stop in _blocks(len(rows), n_cells)]
    )
    return centres, cell_of


def _rescore(rows: Float32[np.ndarray, "n d"], found: Neighbours) -> Neighbours:
    """The same neighbours with their cosines in all dimensions, nearest first."""
    k = found.places.shape[1]
    places, scores = found.places.copy(), found.scores.copy()
    for start, stop in _blocks(len(rows), k * rows.shape[1]):
        part = places[start:stop]
        exact = np.einsum("bd,bkd->bk", rows[start:stop], rows[part], optimize=True)
        exact = np.where(part >= 0, exact, -np.inf)
        order = np.argsort(-exact, axis=1, kind="stable")
        places[start:stop] = np.take_along_axis(part, order, axis=1)
        scores[start:stop] = np.take_along_axis(exact, order, axis=1)
    return Neighbours(places=places, scores=scores)
