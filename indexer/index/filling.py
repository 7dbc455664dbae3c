"""Filling the lists of an index: all at once here, or part by part elsewhere, merged around the same centroids."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from indexer.index.lists import assign_lists, fill_lists, load_faiss, make_lists, read_centroids

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float16, Float32, Int64, UInt8


class ListFiller(Protocol):
    """Fills an empty index that has its centroids."""

    def __call__(
        self,
        index: Any,
        vectors: Float16[np.ndarray, "n d"],
        assigned: Int64[np.ndarray, " n"] | None,
        *,
        device: str,
    ) -> Int64[np.ndarray, " n"]:
        """Add all vectors under their positions and give back the list of each.

        Args:
            index: as `lists.make_lists` gives it.
            vectors: in index order.
            assigned: the list of each vector where it is known, from lists that were filled around the same centroids.
            device: auto, cpu, cuda or mps; where the nearest centroids are searched.
        """


def fill_here(
    index: Any, vectors: Float16[np.ndarray, "n d"], assigned: Int64[np.ndarray, " n"] | None, *, device: str
) -> Int64[np.ndarray, " n"]:
    """A `ListFiller` that does it in this process."""
    if assigned is None:
        assigned = assign_lists(read_centroids(index), vectors, device=device)
    fill_lists(index, vectors, assigned)
    return assigned


def encode_part(
    centroids: Float32[np.ndarray, "l d"],
    n_bits: int,
    vectors: Float16[np.ndarray, "m d"],
    assigned: Int64[np.ndarray, " m"] | None,
) -> tuple[UInt8[np.ndarray, " b"], Int64[np.ndarray, " m"]]:
    """Lists that hold some of the vectors, in FAISS's own bytes, and the list of each vector.

    Positions are counted from the first of these vectors; `merge_part` moves them to where they belong.
    """
    faiss = load_faiss()

    part = make_lists(centroids, n_bits)
    assigned = fill_here(part, vectors, assigned, device="cpu")
    part.quantizer.reset()  # every part has the same centroids, so that they need not travel
    return faiss.serialize_index(part), assigned


def merge_part(index: Any, part: UInt8[np.ndarray, " b"], start: int) -> None:
    """Add the codes of a part, whose first vector stands at position `start`, to an index with the same centroids.

    Codes are copied as they are, so that the merged index answers as one that was filled at once.
    """
    faiss = load_faiss()

    other = faiss.deserialize_index(part)
    # Not IndexIVF.merge_from: that compares the quantisers, and the parts come without.
    index.invlists.merge_from(other.invlists, start)
    index.ntotal += other.ntotal
