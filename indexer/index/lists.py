"""Inverted lists of short codes (IVF with RaBitQ): trained, filled in blocks, carried over. Ids are positions.

The lists follow spherical k-means; codes are RaBitQ (Gao & Long 2024, arXiv:2405.12497; more bits: arXiv:2409.09913).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from indexer.index.matrix import read_blocks

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float16, Float32, Int64

TRAINING_POINTS, ITERATIONS = 32, 6
"""Vectors per list that k-means is trained on, and its rounds: 3.4 CPU-s for 949 lists of 768 dimensions, where 64 and
10 take 11.6 and find as much from two visited lists on (recall@10 0.992 against 0.995, then 0.996 both)."""


def load_faiss() -> Any:
    """FAISS, untyped: its stubs give the C++ signatures, which its Python wrappers do not have."""
    import faiss

    return faiss


def train_centroids(
    vectors: Float16[np.ndarray, "n d"], n_lists: int, *, device: str, seed: int
) -> Float32[np.ndarray, "l d"]:
    """The centroids of the lists, of unit length, from a random sample of the vectors."""
    import numpy as np

    faiss = load_faiss()

    sample = np.random.default_rng(seed).choice(
        len(vectors), min(len(vectors), TRAINING_POINTS * n_lists), replace=False
    )
    points = np.asarray(vectors[np.sort(sample)], np.float32)
    kmeans = faiss.Kmeans(
        vectors.shape[1],
        n_lists,
        niter=ITERATIONS,
        spherical=True,
        seed=seed + 1,
        min_points_per_centroid=1,
        max_points_per_centroid=TRAINING_POINTS,
        gpu=find_device(device) == "cuda",
    )
    kmeans.train(points)
    centroids: Float32[np.ndarray, "l d"] = kmeans.centroids
    return centroids


def make_lists(centroids: Float32[np.ndarray, "l d"], n_bits: int) -> Any:
    """An empty index around given centroids."""
    faiss = load_faiss()

    n_lists, dimension = centroids.shape
    quantizer = faiss.IndexFlatIP(dimension)
    quantizer.add(centroids)
    index = faiss.IndexIVFRaBitQ(quantizer, dimension, n_lists, faiss.METRIC_INNER_PRODUCT, True, n_bits)
    # The quantiser is trained already, so that this only readies the codes.
    index.train(centroids)
    return index


def assign_lists(
    centroids: Float32[np.ndarray, "l d"], vectors: Float16[np.ndarray, "n d"], *, device: str
) -> Int64[np.ndarray, " n"]:
    """The list of each vector, that of its nearest centroid."""
    import numpy as np

    faiss = load_faiss()

    searcher: Any = faiss.IndexFlatIP(centroids.shape[1])
    searcher.add(centroids)
    if find_device(device) == "cuda":
        searcher = faiss.index_cpu_to_all_gpus(searcher)
    assigned = np.empty(len(vectors), np.int64)
    for first, block in read_blocks(vectors):
        assigned[first : first + len(block)] = searcher.search(block, 1)[1][:, 0]
    return assigned


def fill_lists(
    index: Any, vectors: Float16[np.ndarray, "n d"], assigned: Int64[np.ndarray, " m"], *, start: int = 0
) -> None:
    """Add the vectors from position `start` on; `assigned` gives their lists."""
    import numpy as np

    faiss = load_faiss()

    for first, block in read_blocks(vectors, start):
        positions = np.arange(first, first + len(block))
        lists = np.ascontiguousarray(assigned[first - start : first - start + len(block)])
        index.add_core(len(block), *(faiss.swig_ptr(values) for values in (block, positions, lists)))


def carry_lists(index: Any, moved: Int64[np.ndarray, " n"]) -> None:
    """Give every code its new position: `moved[old]`, or -1 for one that is dropped."""
    import numpy as np

    faiss = load_faiss()

    former = index.invlists
    carried = faiss.ArrayInvertedLists(former.nlist, former.code_size)
    n_kept = 0
    for number in range(former.nlist):
        size = former.list_size(number)
        if not size:
            continue
        positions = moved[faiss.rev_swig_ptr(former.get_ids(number), size)]
        codes = faiss.rev_swig_ptr(former.get_codes(number), size * former.code_size).reshape(size, -1)
        kept = positions >= 0
        ids, bytes_kept = np.ascontiguousarray(positions[kept]), np.ascontiguousarray(codes[kept])
        if len(ids):
            carried.add_entries(number, len(ids), faiss.swig_ptr(ids), faiss.swig_ptr(bytes_kept))
            n_kept += len(ids)
    index.replace_invlists(carried, True)
    carried.this.disown()
    index.ntotal = n_kept


def read_centroids(index: Any) -> Float32[np.ndarray, "l d"]:
    """The centroids of a trained index."""
    centroids: Float32[np.ndarray, "l d"] = index.quantizer.reconstruct_n(0, index.nlist)
    return centroids


def measure_imbalance(index: Any) -> float:
    """How uneven the lists are: n_lists * sum(size^2) / n^2, 1 where all are of one size."""
    return float(index.invlists.imbalance_factor())


def write_lists(index: Any, path: Path) -> None:
    """Write the index as FAISS's own file; OSError where the disk is full."""
    faiss = load_faiss()

    # FAISS's own writer does not notice what fails when its buffer is emptied at the end.
    with path.open("wb") as file:
        faiss.write_index(index, faiss.PyCallbackIOWriter(file.write))


def read_lists(path: Path) -> Any:
    """The index that `write_lists` wrote, in memory; RuntimeError where the file is not one."""
    faiss = load_faiss()

    return faiss.read_index(str(path))


def find_device(asked: str) -> str:
    """Where k-means runs: `cuda` where FAISS was built for it, a GPU is there and `asked` allows it; else `cpu`."""
    faiss = load_faiss()

    is_allowed = asked == "auto" or asked.startswith("cuda")
    return "cuda" if is_allowed and hasattr(faiss, "StandardGpuResources") and faiss.get_num_gpus() > 0 else "cpu"


def describe_faiss(device: str) -> str:
    """FAISS's version and where it trained, as in `faiss 1.15.1 on cpu`."""
    faiss = load_faiss()

    return f"faiss {faiss.__version__} on {find_device(device)}"
