"""Appending to an index without training it again, and the limits beyond which it is built anew."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from indexer.errors import InputError
from indexer.index.choosing import choose_kind
from indexer.index.facts import Modality
from indexer.index.lists import assign_lists, carry_lists, fill_lists, measure_imbalance, read_centroids, read_lists
from indexer.index.storage import CODES
from indexer.index.taxa import order_rows
from indexer.index.tuning import hold_records, measure_recall

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float16, Int64

    from indexer.index.material import Material
    from indexer.index.settings import BuildSettings
    from indexer.index.storage import StoredIndex

TAIL_LIMIT = 0.2
"""Share of records that may have come, or gone, since the index was ordered and trained."""

IMBALANCE_LIMIT = 1.5
"""How many times as uneven as after training the lists may become: that much more a visited list costs."""

RECALL_LOSS_LIMIT = 0.02
"""How much less recall@10 the new records may have as queries than the index states for all."""

LEAST_NEW = 100
"""New records below which their recall says too little."""


@dataclass(frozen=True, kw_only=True)
class Extension:
    """What is kept of an index, and what is appended to it.

    Attributes:
        former: the index as it is.
        kept: its positions that stay, ascending.
        new_rows: rows that are appended, in taxonomic order among themselves.
        n_ordered: kept positions that are in taxonomic order.
    """

    former: StoredIndex
    kept: Int64[np.ndarray, " k"]
    new_rows: Int64[np.ndarray, " m"]
    n_ordered: int

    @property
    def is_empty(self) -> bool:
        """Whether nothing comes and nothing goes, so that only the search is tuned again."""
        return not len(self.new_rows) and len(self.kept) == self.former.facts.n

    @property
    def n(self) -> int:
        """Vectors of the extended index."""
        return len(self.kept) + len(self.new_rows)

    @cached_property
    def rows(self) -> Int64[np.ndarray, " n"]:
        """The row at each position of the extended index."""
        import numpy as np

        return np.concatenate([self.former.load_rows()[self.kept], self.new_rows])


def plan_extension(former: StoredIndex, material: Material, settings: BuildSettings) -> Extension | str:
    """How the index is extended to the vectors there are now, or the reason why it is built anew."""
    import numpy as np

    facts = former.facts
    if facts.is_exact:
        return "an exact index is quickly made"
    if _is_refused(former, material, settings):
        return "another kind of index is needed now"
    rows = former.load_rows()
    kept = np.flatnonzero(np.isin(rows, material.rows))
    new = order_rows(np.setdiff1d(material.rows, rows), material.columns)
    n_ordered = int((kept < facts.n_ordered).sum())
    n_changed = (len(kept) - n_ordered + len(new)) + (facts.n_trained - n_ordered)
    if n_changed > TAIL_LIMIT * facts.n_trained:
        share = n_changed / facts.n_trained
        return f"{share:.0%} of the records came or went since it was trained (limit {TAIL_LIMIT:.0%})"
    return Extension(former=former, kept=kept, new_rows=new, n_ordered=n_ordered)


def _is_refused(former: StoredIndex, material: Material, settings: BuildSettings) -> bool:
    facts = former.facts
    try:
        choice = choose_kind(
            len(material.rows),
            facts.dimension,
            memory=settings.memory,
            n_bits=facts.n_bits,
            exact_up_to=settings.exact_up_to,
        )
    except InputError:
        # Codes of that many bits fit no more; the build itself says so where not even the shortest do.
        return True
    return choice.kind != facts.kind


def extend_lists(extension: Extension, vectors: Float16[np.ndarray, "n d"], device: str) -> Any:
    """The former lists with the kept codes at their new positions and the new vectors added."""
    import numpy as np

    index = read_lists(extension.former.folder / CODES)
    if extension.is_empty:
        return index
    moved = np.full(extension.former.facts.n, -1)
    moved[extension.kept] = np.arange(len(extension.kept))
    carry_lists(index, moved)
    start = len(extension.kept)
    assigned = assign_lists(read_centroids(index), vectors[start:], device=device)
    fill_lists(index, vectors, assigned, start=start)
    return index


def find_drift(extension: Extension, index: Any, vectors: Float16[np.ndarray, "n d"], seed: int) -> str | None:
    """Why the lists fit the vectors no more; None where they still do."""
    facts = extension.former.facts
    imbalance = measure_imbalance(index)
    if imbalance > IMBALANCE_LIMIT * facts.trained_imbalance:
        return f"its lists grew uneven ({imbalance:.2f}, {facts.trained_imbalance:.2f} after training)"
    if len(extension.new_rows) < LEAST_NEW:
        return None
    queries = hold_records(vectors, seed=seed, start=len(extension.kept), described="new records")
    stated = facts.recall[Modality.IMAGE].value
    found = measure_recall(index, queries, facts.parameters[Modality.IMAGE], seed=seed)
    if found.value < stated - RECALL_LOSS_LIMIT and found.high < stated:
        return f"recall@10 of the new records is {found.value:.3f}, where it was {stated:.3f}"
    return None
