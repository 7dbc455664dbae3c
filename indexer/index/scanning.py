"""Exact comparison of queries with float16 vectors, read where they lie: mapped from disk, never held in float32."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from indexer.index.calibration import RawVectors
from indexer.index.lists import load_faiss

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Bool, Float16, Float32, Int64

FEW_QUERIES = 4
"""Up to here each query is compared by itself; beyond, whole blocks are multiplied, which costs the widening once."""

BLOCK = 2_048
"""Vectors that are held in float32 at a time: 6 MiB at 768 dimensions."""


def view_vectors(values: Float16[np.ndarray, "n d"]) -> Any:
    """A FAISS index over an array as it lies in memory (or is mapped into it), without a copy; ids are places.

    FAISS's Python module offers no constructor of a view, but the fields of one. The index keeps the array alive.
    """
    import numpy as np

    faiss = load_faiss()

    n, dimension = values.shape
    index = faiss.IndexScalarQuantizer(dimension, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    flat = values.view(np.uint8).reshape(-1)
    codes, address = index.codes, faiss.swig_ptr(flat)
    codes.is_owned = False
    codes.view_data = codes.c_ptr = address
    codes.view_size = codes.c_size = flat.size
    index.ntotal = n
    index.referenced_objects = [flat]
    return index


def cut(
    values: Float16[np.ndarray, "n d"] | RawVectors, at: slice | Int64[np.ndarray, " m"]
) -> Float16[np.ndarray, "m d"] | RawVectors:
    """Some of the vectors: where they lie for a slice, fetched for places."""
    import numpy as np

    if isinstance(values, RawVectors):
        return values.part(at)
    return values[at] if isinstance(at, slice) else np.take(values, at, axis=0)


def scan(
    values: Float16[np.ndarray, "n d"] | RawVectors, queries: Float32[np.ndarray, "q d"], k: int
) -> tuple[Float32[np.ndarray, "q k"], Int64[np.ndarray, "q k"]]:
    """Scores and places of the k best of all vectors, best first; fewer columns where there are fewer vectors."""
    k = min(k, len(values))
    if not k:
        return _nothing(len(queries))
    if len(queries) <= FEW_QUERIES and not isinstance(values, RawVectors):
        scores, places = view_vectors(values).search(queries, k)
        return scores, places
    return _scan_blocks(values, None, queries, k)


def scan_places(
    values: Float16[np.ndarray, "n d"] | RawVectors,
    places: Int64[np.ndarray, " m"],
    queries: Float32[np.ndarray, "q d"],
    k: int,
    *,
    is_dense: bool,
) -> tuple[Float32[np.ndarray, "q k"], Int64[np.ndarray, "q k"]]:
    """Like `scan`, over the vectors at some places alone.

    Args:
        values: all vectors.
        places: ascending.
        queries: what is compared.
        k: wanted of each.
        is_dense: whether a walk over all vectors with a bitmap is cheaper than fetching those at the places.
    """
    import numpy as np

    k = min(k, len(places))
    if not k:
        return _nothing(len(queries))
    if len(queries) > FEW_QUERIES or isinstance(values, RawVectors):
        return _scan_blocks(values, places, queries, k)
    if not is_dense:
        scores, found = view_vectors(np.take(values, places, axis=0)).search(queries, k)
        return scores, places[found]
    faiss = load_faiss()

    bitmap = pack_places(places, len(values))
    selector = faiss.IDSelectorBitmap(bitmap)
    scores, found = view_vectors(values).search(queries, k, params=faiss.SearchParameters(sel=selector))
    return scores, found


def scan_above(
    values: Float16[np.ndarray, "n d"] | RawVectors, query: Float32[np.ndarray, " d"], score: float
) -> tuple[Float32[np.ndarray, " m"], Int64[np.ndarray, " m"]]:
    """Scores and places of all vectors that score at least that, in the order of places."""
    import numpy as np

    if not len(values):
        return np.empty(0, np.float32), np.empty(0, np.int64)
    if isinstance(values, RawVectors):
        return _scan_above_blocks(values, query, score)
    below = float(np.nextafter(np.float32(score), np.float32(-np.inf)))  # FAISS gives what is strictly above
    _, scores, places = view_vectors(values).range_search(query[None], below)
    order = np.argsort(places)
    return scores[order], places[order]


def _scan_above_blocks(
    values: RawVectors, query: Float32[np.ndarray, " d"], score: float
) -> tuple[Float32[np.ndarray, " m"], Int64[np.ndarray, " m"]]:
    import numpy as np

    scores = np.concatenate([_widen(values, slice(i, i + BLOCK)) @ query for i in range(0, len(values), BLOCK)])
    places = np.flatnonzero(scores >= score)
    return scores[places], places


def _widen(
    values: Float16[np.ndarray, "n d"] | RawVectors, at: slice | Int64[np.ndarray, " m"]
) -> Float32[np.ndarray, "m d"]:
    """Some of the vectors in float32."""
    part = cut(values, at)
    if not isinstance(part, RawVectors):
        return widen(part)
    wide = widen(part.vectors)
    wide *= part.lengths[:, None]
    return wide


def widen(values: Float16[np.ndarray, "n d"]) -> Float32[np.ndarray, "n d"]:
    """The same numbers in float32; finite ones only. Three times as fast as numpy's cast, which goes one by one.

    The bits of a half, moved into those of a float, stand for the number times 2**-112, subnormal ones included.
    """
    import numpy as np

    bits = values.view(np.int16).astype(np.int32)
    bits <<= 13
    bits &= np.int32(-0x70002000)  # the sign, and the 15 bits of exponent and fraction
    wide = bits.view(np.float32)
    wide *= np.float32(2.0**112)
    return wide


def pack_places(places: Int64[np.ndarray, " m"], n: int) -> Any:
    """The places as a bitmap over n, as `IDSelectorBitmap` reads it."""
    import numpy as np

    mask: Bool[np.ndarray, " n"] = np.zeros(n, bool)
    mask[places] = True
    return np.packbits(mask, bitorder="little")


def _scan_blocks(
    values: Float16[np.ndarray, "n d"] | RawVectors,
    places: Int64[np.ndarray, " m"] | None,
    queries: Float32[np.ndarray, "q d"],
    k: int,
) -> tuple[Float32[np.ndarray, "q k"], Int64[np.ndarray, "q k"]]:
    """Block by block in float32, the best of each block merged; of all vectors where no places are given."""
    faiss = load_faiss()

    heap = faiss.ResultHeap(len(queries), k, keep_max=True)
    n = len(values) if places is None else len(places)
    for start in range(0, n, BLOCK):
        stop = min(start + BLOCK, n)
        block = _widen(values, slice(start, stop) if places is None else places[start:stop])
        scores, found = faiss.knn(queries, block, min(k, stop - start), metric=faiss.METRIC_INNER_PRODUCT)
        heap.add_result(scores, found + start if places is None else places[found + start])
    heap.finalize()
    return heap.D, heap.I


def _nothing(n_queries: int) -> tuple[Float32[np.ndarray, "q 0"], Int64[np.ndarray, "q 0"]]:
    import numpy as np

    return np.empty((n_queries, 0), np.float32), np.empty((n_queries, 0), np.int64)
