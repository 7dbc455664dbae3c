"""Held-out occurrences: questions whose answer is known, asked as if the corpus did not hold them.

Each is asked several times: with its own occurrence left out, as any new photograph of a species that the corpus holds;
and with its whole species left out, its genus, and so on, as a photograph of what the corpus does not hold. How much
each of these counts is the chance that a next record is of a taxon without records: Turing's estimate (Good 1953), the
share of occurrences whose taxon has no other, but at least a floor, because a collection of twenty of each kind has no
such taxon and new kinds are shown to it all the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from explorer.taxonomy import N_RANKS, Taxonomy

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Bool, Float32, Float64, Int64

N_HELD_OUT = 1_000
NOVELTY = 0.1
"""The least chance assumed for a species without records; half of it for its genus, a quarter for its family."""
MOST_NOVELTY = 0.9
SEEN = N_RANKS
"""In place of a rank: nothing about the question is new."""
_PER_VOTE = 8


@dataclass(frozen=True, kw_only=True, eq=False)
class Material:
    """The records that may vote.

    Attributes:
        taxonomy: of all records of the corpus, by row.
        occurrences: number of each record's occurrence, by row.
        rows: that may vote, ascending.
    """

    taxonomy: Taxonomy
    occurrences: Int64[np.ndarray, " n"]
    rows: Int64[np.ndarray, " m"]

    def lineages_of(self, rows: Int64[np.ndarray, " q"]) -> Int64[np.ndarray, "q 7"]:
        """The lineage of each row, as taxa."""
        found: Int64[np.ndarray, "q 7"] = self.taxonomy.lineages[self.taxonomy.of_records[rows]]
        return found

    def asked_ranks(self) -> list[int]:
        """The ranks at which the voting records name two taxa at least, highest first."""
        import numpy as np

        lineages = self.taxonomy.lineages[np.unique(self.taxonomy.of_records[self.rows])]
        return [rank for rank in range(N_RANKS) if len(np.unique(lineages[:, rank][lineages[:, rank] >= 0])) > 1]


@dataclass(frozen=True, kw_only=True, eq=False)
class HeldOut:
    """The questions, and how each is asked.

    Attributes:
        rows: of the records asked about, one for each occurrence.
        levels: what is left out beside the occurrence, level by level, each on top of those before: first nothing
            (`SEEN`), then the taxon at each of these ranks, deepest first.
        question, level: of each example, a place in `rows` and one in `levels`.
        novel_from: the highest rank at which an example's own taxon has no record left; `SEEN` where each has some.
        weights: what each example counts; they add up to 1.
    """

    rows: Int64[np.ndarray, " q"]
    levels: tuple[int, ...]
    question: Int64[np.ndarray, " e"]
    level: Int64[np.ndarray, " e"]
    novel_from: Int64[np.ndarray, " e"]
    weights: Float64[np.ndarray, " e"]


def hold_out(material: Material, *, novelty: float = NOVELTY, n_most: int = N_HELD_OUT, seed: int = 0) -> HeldOut:
    """Random occurrences of the named records that may vote, one record of each, with every way to ask about them."""
    import numpy as np

    rng = np.random.default_rng(seed)
    named = material.rows[(material.lineages_of(material.rows) >= 0).any(axis=1)]
    shuffled = rng.permutation(named)
    first = np.unique(material.occurrences[shuffled], return_index=True)[1]
    rows = np.sort(shuffled[rng.permutation(first)[:n_most]])
    levels = (SEEN, *reversed(material.asked_ranks()))
    question, level, novel_from = _list_examples(material, rows, levels)
    unseen = expect_unseen(material, novelty=novelty)
    return HeldOut(
        rows=rows,
        levels=levels,
        question=question,
        level=level,
        novel_from=novel_from,
        weights=_weigh(novel_from, unseen),
    )


def expect_unseen(material: Material, *, novelty: float) -> dict[int, float]:
    """The chance that a next record's taxon has no record yet, by rank, highest first: never smaller further down."""
    import numpy as np

    lineages = material.lineages_of(material.rows)
    occurrences = material.occurrences[material.rows]
    ranks = material.asked_ranks()
    found: dict[int, float] = {}
    least = 0.0
    for rank in ranks:
        is_named = lineages[:, rank] >= 0
        pairs = np.unique(np.column_stack([lineages[is_named, rank], occurrences[is_named]]), axis=0)
        counts = np.unique(pairs[:, 0], return_counts=True)[1]
        turing = float((counts == 1).sum() / max(len(pairs), 1))
        floor = novelty * 0.5 ** (len(ranks) - 1 - ranks.index(rank))
        least = min(max(least, turing, floor), MOST_NOVELTY)
        found[rank] = least
    return found


def find_left_out(
    material: Material,
    held_out: HeldOut,
    queries: Float32[np.ndarray, "q d"],
    blocks: Iterator[tuple[Int64[np.ndarray, " b"], Float32[np.ndarray, "b d"]]],
    k: int,
) -> tuple[Int64[np.ndarray, "l q m"], Float32[np.ndarray, "l q m"]]:
    """The nearest records of each question at each level, best first, by comparing with every vector once.

    Args:
        material: which records may answer.
        held_out: the questions.
        queries: their unit vectors.
        blocks: rows and unit vectors of records, in any order; those that may not vote are passed over.
        k: occurrences wanted; 8 images for each are kept, so that records with many images leave room for others.

    Returns:
        Rows and scores; -1 and -inf fill up.
    """
    import numpy as np

    n_kept = _PER_VOTE * k
    shape = (len(held_out.levels), len(queries), n_kept)
    rows, scores = np.full(shape, -1, np.int64), np.full(shape, -np.inf, np.float32)
    for found, vectors in blocks:
        may_vote = np.isin(found, material.rows)
        block_rows, block_scores = found[may_vote], queries @ vectors[may_vote].T
        for place, level in enumerate(held_out.levels):
            block_scores[_is_left_out(material, held_out.rows, block_rows, level)] = -np.inf
            _keep_best(rows[place], scores[place], block_rows, block_scores)
    return rows, scores


def _keep_best(
    rows: Int64[np.ndarray, "q m"],
    scores: Float32[np.ndarray, "q m"],
    block_rows: Int64[np.ndarray, " b"],
    block_scores: Float32[np.ndarray, "q b"],
) -> None:
    """Put the best of a block among the best so far, in place."""
    import numpy as np

    n_kept = rows.shape[1]
    n_taken = min(n_kept, len(block_rows))
    picked = (
        np.argpartition(-block_scores, n_taken - 1, axis=1)[:, :n_taken] if n_taken else np.zeros((len(rows), 0), int)
    )
    both_scores = np.concatenate([scores, np.take_along_axis(block_scores, picked, axis=1)], axis=1)
    both_rows = np.concatenate([rows, block_rows[picked]], axis=1)
    order = np.argsort(-both_scores, axis=1, kind="stable")[:, :n_kept]
    scores[:] = np.take_along_axis(both_scores, order, axis=1)
    rows[:] = np.where(np.isfinite(scores), np.take_along_axis(both_rows, order, axis=1), -1)


def _is_left_out(
    material: Material, asked: Int64[np.ndarray, " q"], rows: Int64[np.ndarray, " b"], level: int
) -> Bool[np.ndarray, "q b"]:
    if level == SEEN:
        same: Bool[np.ndarray, "q b"] = material.occurrences[asked][:, None] == material.occurrences[rows][None]
        return same
    own, other = material.lineages_of(asked)[:, level], material.lineages_of(rows)[:, level]
    alike: Bool[np.ndarray, "q b"] = (own[:, None] == other[None]) & (own >= 0)[:, None]
    return alike


def _list_examples(
    material: Material, rows: Int64[np.ndarray, " q"], levels: Sequence[int]
) -> tuple[Int64[np.ndarray, " e"], Int64[np.ndarray, " e"], Int64[np.ndarray, " e"]]:
    """Question, level and highest novel rank of each example.

    A level that makes nothing more new than the one before, as the genus of an only species, is not asked again.
    """
    import numpy as np

    lineages = material.lineages_of(material.rows)
    counts = np.bincount(lineages[lineages >= 0], minlength=len(material.taxonomy.names))
    own, own_counts = material.lineages_of(rows), _count_own(material, rows)
    total = np.where(own >= 0, counts[own], 0)
    former = np.full(len(rows), -1)
    found = []
    for number, level in enumerate(levels):
        gone = own_counts if level == SEEN else np.maximum(own_counts, total[:, level, None])
        novel_from = _highest_gone((own >= 0) & (total <= gone), sorted(levels[1:]))
        is_named = np.ones(len(rows), bool) if level == SEEN else own[:, level] >= 0
        asked = np.flatnonzero(is_named & (novel_from != former))
        former[is_named] = novel_from[is_named]
        found.append(np.column_stack([asked, np.full(len(asked), number), novel_from[asked]]))
    question, at_level, novel = np.concatenate(found).T
    return question, at_level, novel


def _highest_gone(gone: Bool[np.ndarray, "q 7"], ranks: Sequence[int]) -> Int64[np.ndarray, " q"]:
    import numpy as np

    found = np.full(len(gone), SEEN)
    for rank in reversed(ranks):
        found[gone[:, rank]] = rank
    return found


def _count_own(material: Material, rows: Int64[np.ndarray, " q"]) -> Int64[np.ndarray, "q 7"]:
    """How many voting records of the own occurrence carry the own taxon, at each rank."""
    import numpy as np

    order = np.argsort(material.occurrences[material.rows], kind="stable")
    sorted_rows = material.rows[order]
    numbers = material.occurrences[sorted_rows]
    starts = np.searchsorted(numbers, material.occurrences[rows], side="left")
    stops = np.searchsorted(numbers, material.occurrences[rows], side="right")
    own = material.lineages_of(rows)
    counts = [
        (material.lineages_of(sorted_rows[start:stop]) == lineage).sum(axis=0)
        for start, stop, lineage in zip(starts, stops, own, strict=True)
    ]
    return np.array(counts, np.int64).reshape(len(rows), N_RANKS)


def _weigh(novel_from: Int64[np.ndarray, " e"], unseen: dict[int, float]) -> Float64[np.ndarray, " e"]:
    """Weights under which each kind of example counts as often as it is expected to be met."""
    import numpy as np

    chances, above = {}, 0.0
    for rank, chance in unseen.items():
        chances[rank] = chance - above
        above = chance
    chances[SEEN] = 1 - above
    weights = np.zeros(len(novel_from))
    for kind, chance in chances.items():
        alike = novel_from == kind
        if alike.any():
            weights[alike] = chance / alike.sum()
    total = weights.sum()
    return weights / (total if total > 0 else 1)
