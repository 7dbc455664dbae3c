"""Taxonomy: the taxa that records name, told apart where only their names are alike, and the way down to the likeliest.

Two records carry the same taxon where rank and name are equal and no higher rank that both name differs. So homonyms
stay apart (the bird and the plant *Oenanthe*), and a lineage with holes joins its taxon and is filled from it. Where a
lineage with holes fits several homonyms, it stays a taxon of its own. Ranks are never counted by position.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from indexer.terms import RANKS

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from jaxtyping import Bool, Float64, Int64

N_RANKS = len(RANKS)
NO_TAXON = -1
UNPLACED = ("", "incertae sedis")
"""Names that name no taxon, in lower case: what is "of uncertain seat" has only that in common."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Taxonomy:
    """The taxa of some records.

    Attributes:
        names: of each taxon.
        ranks: its place in `indexer.terms.RANKS`.
        lineages: the different lineages that records have, kingdom to species, as taxa; -1 where a rank is not known.
        of_records: the lineage of each record.
    """

    names: tuple[str, ...]
    ranks: Int64[np.ndarray, " t"]
    lineages: Int64[np.ndarray, "l 7"]
    of_records: Int64[np.ndarray, " n"]

    def find_named(self, name: str) -> Int64[np.ndarray, " m"]:
        """The taxa of that name, whatever their rank and case."""
        import numpy as np

        wanted = name.strip().casefold()
        return np.array([taxon for taxon, found in enumerate(self.names) if found.casefold() == wanted], np.int64)


@dataclass(frozen=True, kw_only=True, eq=False)
class Descent:
    """The way from the root to the heaviest taxon, for each question.

    Attributes:
        path: the taxon at each rank, -1 where the way leads past a rank or ends above it.
        shares: of all votes, those for that taxon, in [0, 1]; 0 where there is none.
    """

    path: Int64[np.ndarray, "e 7"]
    shares: Float64[np.ndarray, "e 7"]


def deepest_taxa(lineages: Int64[np.ndarray, "l 7"]) -> Int64[np.ndarray, " l"]:
    """The last taxon of each lineage; -1 where it names none."""
    import numpy as np

    depth = np.where(lineages >= 0, np.arange(1, N_RANKS + 1), 0).max(axis=1, initial=0)
    found: Int64[np.ndarray, " l"] = np.where(
        depth > 0, lineages[np.arange(len(lineages)), np.maximum(depth - 1, 0)], NO_TAXON
    )
    return found


def find_leaves(lineages: Int64[np.ndarray, "l 7"]) -> Int64[np.ndarray, " f"]:
    """The places of the lineages whose last taxon has no other below it; one, the fullest, for each such taxon."""
    import numpy as np

    deepest = deepest_taxa(lineages)
    above = lineages[(lineages >= 0) & (lineages != deepest[:, None])]
    is_leaf = (deepest >= 0) & ~np.isin(deepest, above)
    order = np.lexsort((-(lineages >= 0).sum(axis=1), deepest))
    order = order[is_leaf[order]]
    first: Int64[np.ndarray, " f"] = np.sort(order[np.unique(deepest[order], return_index=True)[1]])
    return first


def build_taxonomy(records: pa.Table) -> Taxonomy:
    """The taxa of a table of records, from those of its columns that are ranks; empty cells and "incertae sedis" name
    nothing."""
    import numpy as np

    codes, names = _encode_ranks(records)
    distinct, of_records = np.unique(codes, axis=0, return_inverse=True)
    lineages = np.full(distinct.shape, NO_TAXON, np.int64)
    counts = np.bincount(of_records.reshape(-1), minlength=len(distinct))
    taxon_names: list[str] = []
    taxon_ranks: list[int] = []
    for rank in range(N_RANKS):
        named = np.flatnonzero(distinct[:, rank] >= 0)
        contexts, back = np.unique(
            np.column_stack([distinct[named, rank], lineages[named, :rank]]), axis=0, return_inverse=True
        )
        back = back.reshape(-1)
        weights = np.bincount(back, counts[named], minlength=len(contexts))
        taxa, filled = _tell_apart(contexts, weights)
        lineages[named, :rank] = filled[back]
        lineages[named, rank] = taxa[back] + len(taxon_names)
        of_taxon = np.unique(taxa, return_index=True)[1]
        taxon_names += [names[rank][contexts[place, 0]] for place in of_taxon]
        taxon_ranks += [rank] * len(of_taxon)
    filled_lineages, renumbered = np.unique(lineages, axis=0, return_inverse=True)
    return Taxonomy(
        names=tuple(taxon_names),
        ranks=np.array(taxon_ranks, np.int64),
        lineages=filled_lineages,
        of_records=renumbered.reshape(-1)[of_records.reshape(-1)],
    )


def descend(lineages: Int64[np.ndarray, "e m 7"], weights: Float64[np.ndarray, "e m"]) -> Descent:
    """Follow the heaviest branch down, from the root, as far as any voter names a taxon.

    Each step goes from a taxon to the heaviest of those that its voters name next, whichever ranks these have: a voter
    without family sends its vote from the order straight to the genus. A taxon with more than half of all votes is
    always on the way. Of equally heavy branches the one whose first voter comes first is taken.

    Args:
        lineages: of each question's voters; a voter without any name counts among all votes and for no taxon.
        weights: of the voters, 0 or more; 0 fills up.
    """
    import numpy as np

    n_questions = len(weights)
    path = np.full((n_questions, N_RANKS), NO_TAXON, np.int64)
    shares = np.zeros((n_questions, N_RANKS))
    total = np.maximum(weights.sum(axis=1), np.finfo(float).tiny)
    inside = weights > 0
    reached = np.full(n_questions, -1)
    for _ in range(N_RANKS):
        below = (lineages >= 0) & (np.arange(N_RANKS) > reached[:, None, None]) & inside[:, :, None]
        next_rank = below.argmax(axis=2)
        candidates = np.where(below.any(axis=2), np.take_along_axis(lineages, next_rank[:, :, None], 2)[:, :, 0], -1)
        best, mass = _heaviest(candidates, weights)
        going = np.flatnonzero(best >= 0)
        if not len(going):
            break
        voters = (candidates[going] == best[going, None]).argmax(axis=1)
        reached[going] = next_rank[going, voters]
        path[going, reached[going]] = best[going]
        shares[going, reached[going]] = mass[going] / total[going]
        inside &= (candidates == best[:, None]) & (best >= 0)[:, None]
    return Descent(path=path, shares=shares)


def _heaviest(
    candidates: Int64[np.ndarray, "e m"], weights: Float64[np.ndarray, "e m"]
) -> tuple[Int64[np.ndarray, " e"], Float64[np.ndarray, " e"]]:
    """The heaviest taxon of each question's candidates and its weight; -1 where there is none."""
    import numpy as np

    n_questions = len(candidates)
    questions, voters = np.nonzero(candidates >= 0)
    best = np.full(n_questions, NO_TAXON, np.int64)
    mass = np.zeros(n_questions)
    if not len(questions):
        return best, mass
    taxa = candidates[questions, voters]
    _, first, back = np.unique(questions * (int(taxa.max()) + 1) + taxa, return_index=True, return_inverse=True)
    sums = np.bincount(back.reshape(-1), weights[questions, voters])
    asked = questions[first]
    order = np.lexsort((first, -sums, asked))
    winners = order[np.unique(asked[order], return_index=True)[1]]
    best[asked[winners]] = taxa[first[winners]]
    mass[asked[winners]] = sums[winners]
    return best, mass


def _encode_ranks(records: pa.Table) -> tuple[Int64[np.ndarray, "n 7"], list[list[str]]]:
    """The place of each record's name in the list of names of each rank, -1 where it has none, and those lists."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    codes = np.full((records.num_rows, N_RANKS), NO_TAXON, np.int64)
    names: list[list[str]] = [[] for _ in RANKS]
    for place, rank in enumerate(RANKS):
        if rank not in records.column_names or not records.num_rows:
            continue
        column = pc.utf8_trim_whitespace(records.column(rank).cast(pa.string()).combine_chunks())
        is_named = pc.invert(pc.is_in(pc.utf8_lower(column), value_set=pa.array(UNPLACED)))
        encoded = pc.if_else(is_named, column, None).dictionary_encode()
        codes[:, place] = pc.fill_null(encoded.indices.cast(pa.int64()), NO_TAXON).to_numpy(zero_copy_only=False)
        names[place] = encoded.dictionary.to_pylist()
    return codes, names


def _tell_apart(
    contexts: Int64[np.ndarray, "c 1+r"], weights: Float64[np.ndarray, " c"]
) -> tuple[Int64[np.ndarray, " c"], Int64[np.ndarray, "c r"]]:
    """The taxon of each context (name, then higher taxa) of one rank, and its higher taxa with holes filled.

    Contexts are sorted by name.
    """
    import numpy as np

    taxa = np.zeros(len(contexts), np.int64)
    filled = contexts[:, 1:].copy()
    starts = np.flatnonzero(np.diff(contexts[:, 0], prepend=-1))
    n_taxa = 0
    for start, stop in pairwise([*starts.tolist(), len(contexts)]):
        if stop - start == 1:
            taxa[start], n_taxa = n_taxa, n_taxa + 1
            continue
        own, merged = _join_contexts(contexts[start:stop, 1:], weights[start:stop])
        taxa[start:stop] = n_taxa + own
        filled[start:stop] = merged[own]
        n_taxa += len(merged)
    return taxa, filled


def _join_contexts(
    higher: Int64[np.ndarray, "c r"], weights: Float64[np.ndarray, " c"]
) -> tuple[Int64[np.ndarray, " c"], Int64[np.ndarray, "t r"]]:
    """Contexts of one name joined where they fit: the taxon of each, and the higher taxa of those.

    The fullest context, then the commonest, is placed first.
    """
    import numpy as np

    own = np.zeros(len(higher), np.int64)
    merged: list[Int64[np.ndarray, " r"]] = []
    for place in np.lexsort((-weights, -(higher >= 0).sum(axis=1))).tolist():
        fitting = [taxon for taxon, found in enumerate(merged) if _fits(higher[place], found)]
        if len(fitting) == 1:
            own[place] = fitting[0]
            merged[fitting[0]] = np.maximum(merged[fitting[0]], higher[place])
        else:
            own[place] = len(merged)
            merged.append(higher[place])
    return own, np.stack(merged)


def _fits(first: Int64[np.ndarray, " r"], second: Int64[np.ndarray, " r"]) -> bool:
    return not bool(((first >= 0) & (second >= 0) & (first != second)).any())


def contains_any(
    lineages: Int64[np.ndarray, "l 7"], taxa: Sequence[int] | Int64[np.ndarray, " m"]
) -> Bool[np.ndarray, " l"]:
    """Whether each lineage holds one of the taxa."""
    import numpy as np

    return np.asarray(np.isin(lineages, np.asarray(taxa, np.int64)).any(axis=1))
