"""Votes: what speaks for which taxa, before any of it is calibrated.

Neighbours vote for their own lineage, one vote for each occurrence; names vote for theirs, as zero-shot classification
does (Radford et al. 2021, section 3.1.2). Either way a vote weighs exp(sharpness * cosine), so that all of them are a
softmax, which is summed up the ranks as pybioclip sums it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from explorer.taxonomy import N_RANKS, NO_TAXON, Descent, Taxonomy, descend

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float32, Float64, Int64

N_NEIGHBOURS = 20
"""Occurrences that vote."""
N_NAMES = 64
"""Names that vote; what a softmax gives to those beyond is lost in rounding."""
SHARPNESS = (5.0, 10.0, 20.0, 40.0, 80.0, 160.0)
"""Inverse temperatures that are tried. CLIP's own is 100."""
MIXTURES = (0.2, 0.35, 0.5, 0.65, 0.8)
"""Shares of all votes that are tried for the names, where both vote."""
_BLOCK = 512
_LEAST_MASS = 1e-3


class Voter(StrEnum):
    """Who votes."""

    NEIGHBOURS = "neighbours"
    NAMES = "names"


class Method(StrEnum):
    """What answers."""

    NEIGHBOURS = "neighbours"
    NAMES = "names"
    BOTH = "both"

    def voters(self) -> tuple[Voter, ...]:
        """Who votes."""
        return tuple(Voter) if self is Method.BOTH else (Voter(self.value),)


@dataclass(frozen=True, kw_only=True, eq=False)
class Votes:
    """The voters of each question, nearest first.

    Attributes:
        lineages: place of each voter's lineage in `Taxonomy.lineages`.
        scores: cosine of question and voter; -inf fills up.
    """

    lineages: Int64[np.ndarray, "e m"]
    scores: Float32[np.ndarray, "e m"]

    def closeness(self) -> Float64[np.ndarray, " e"]:
        """The nearest voter's score; -1, the least there is, where nobody votes."""
        import numpy as np

        best: Float64[np.ndarray, " e"] = np.maximum(self.scores.max(axis=1, initial=-1), -1).astype(np.float64)
        return best

    def weigh(self, sharpness: float) -> Float64[np.ndarray, "e m"]:
        """The weight of each voter; they add up to 1 for every question that anybody votes on."""
        import numpy as np

        shifted = self.scores.astype(np.float64) - self.closeness()[:, None]
        weights = np.where(np.isfinite(shifted), np.exp(sharpness * np.minimum(shifted, 0)), 0)
        total = weights.sum(axis=1, keepdims=True)
        normalised: Float64[np.ndarray, "e m"] = weights / np.where(total > 0, total, 1)
        return normalised

    def select(self, questions: Int64[np.ndarray, " s"]) -> Votes:
        """The votes on some of the questions."""
        return Votes(lineages=self.lineages[questions], scores=self.scores[questions])


@dataclass(frozen=True, kw_only=True)
class VotingRule:
    """How votes are weighed.

    Attributes:
        sharpness: of each voter that there is.
        name_share: share of all votes that names have where both vote; 0 or 1 where one does.
    """

    sharpness: Mapping[Voter, float]
    name_share: float

    def share_of(self, voter: Voter) -> float:
        """The share of all votes that a voter has."""
        return self.name_share if voter is Voter.NAMES else 1 - self.name_share


@dataclass(frozen=True, kw_only=True, eq=False)
class Ballot:
    """All votes on some questions.

    Attributes:
        taxonomy: what is voted on.
        votes: by voter, of the same questions.
    """

    taxonomy: Taxonomy
    votes: Mapping[Voter, Votes]

    @property
    def n_questions(self) -> int:
        """How many questions are asked."""
        return len(next(iter(self.votes.values())).scores)

    def select(self, questions: Int64[np.ndarray, " s"]) -> Ballot:
        """The votes on some of the questions."""
        return Ballot(
            taxonomy=self.taxonomy, votes={voter: votes.select(questions) for voter, votes in self.votes.items()}
        )

    def count(self, rule: VotingRule) -> Descent:
        """The heaviest lineage of each question, with its share of the votes at each rank."""
        import numpy as np

        paths = [np.full((0, N_RANKS), NO_TAXON, np.int64)]
        shares = [np.zeros((0, N_RANKS))]
        for start in range(0, self.n_questions, _BLOCK):
            part = self.select(np.arange(start, min(start + _BLOCK, self.n_questions)))
            lineages, weights = part._join(rule)
            found = descend(lineages, weights)
            paths.append(found.path)
            shares.append(found.shares)
        return Descent(path=np.concatenate(paths), shares=np.concatenate(shares))

    def measure_own_mass(self, own: Int64[np.ndarray, "e 7"], rule: VotingRule) -> float:
        """The mean log share that the question's own taxa get, over questions and named ranks: 0 at best."""
        import numpy as np

        lineages, weights = self._join(rule)
        mass = np.einsum("em,emr->er", weights, lineages == own[:, None, :])
        logs = np.log(np.maximum(mass[own >= 0], _LEAST_MASS))
        return float(logs.mean()) if len(logs) else 0.0

    def _join(self, rule: VotingRule) -> tuple[Int64[np.ndarray, "e m 7"], Float64[np.ndarray, "e m"]]:
        import numpy as np

        lineages = [self.taxonomy.lineages[votes.lineages] for votes in self.votes.values()]
        weights = [rule.share_of(voter) * votes.weigh(rule.sharpness[voter]) for voter, votes in self.votes.items()]
        return np.concatenate(lineages, axis=1), np.concatenate(weights, axis=1)


def tune_rule(ballot: Ballot, own: Int64[np.ndarray, "e 7"]) -> VotingRule:
    """The weights under which the questions' own taxa get most: a sharpness for each voter alone, then the mixture."""
    alone: dict[Voter, float] = {}
    for voter, votes in ballot.votes.items():
        single = Ballot(taxonomy=ballot.taxonomy, votes={voter: votes})
        rules = [_rule_of(voter, sharpness) for sharpness in SHARPNESS]
        alone[voter] = max(rules, key=lambda rule: single.measure_own_mass(own, rule)).sharpness[voter]
    if len(alone) == 1:
        voter, sharpness = next(iter(alone.items()))
        return _rule_of(voter, sharpness)
    mixtures = [VotingRule(sharpness=alone, name_share=share) for share in MIXTURES]
    return max(mixtures, key=lambda rule: ballot.measure_own_mass(own, rule))


def _rule_of(voter: Voter, sharpness: float) -> VotingRule:
    return VotingRule(sharpness={voter: sharpness}, name_share=float(voter is Voter.NAMES))


def keep_occurrences(
    rows: Int64[np.ndarray, "q m"],
    scores: Float32[np.ndarray, "q m"],
    occurrences: Int64[np.ndarray, " n"],
    k: int,
) -> tuple[Int64[np.ndarray, "q k"], Float32[np.ndarray, "q k"]]:
    """The best row of each of the k nearest occurrences, best first; -1 and -inf fill up.

    Args:
        rows: best first; -1 where there is none.
        scores: of the rows.
        occurrences: number of each row's occurrence.
        k: occurrences wanted.
    """
    import numpy as np

    kept_rows = np.full((len(rows), k), -1, np.int64)
    kept_scores = np.full((len(rows), k), -np.inf, np.float32)
    for place, (own_rows, own_scores) in enumerate(zip(rows, scores, strict=True)):
        there = np.flatnonzero((own_rows >= 0) & np.isfinite(own_scores))
        first = np.sort(np.unique(occurrences[own_rows[there]], return_index=True)[1])[:k]
        kept_rows[place, : len(first)] = own_rows[there[first]]
        kept_scores[place, : len(first)] = own_scores[there[first]]
    return kept_rows, kept_scores


def nearest_names(
    scores: Float32[np.ndarray, "q c"], lineages: Int64[np.ndarray, " c"] | Sequence[int], k: int = N_NAMES
) -> Votes:
    """The votes of the k nearest names.

    Args:
        scores: cosine of each question with each candidate's text; -inf where a candidate may not answer.
        lineages: of the candidates, as places in `Taxonomy.lineages`.
        k: names that vote.
    """
    import numpy as np

    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return Votes(lineages=np.asarray(lineages, np.int64)[order], scores=np.take_along_axis(scores, order, axis=1))
