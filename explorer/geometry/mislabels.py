"""Records whose neighbours disagree with the taxon that they carry, with odds learned from the other records.

The vote is that of `explorer.votes`: the nearest other occurrences, weighed by a softmax whose sharpness is tuned, and
the heaviest lineage. What share of the votes is worth comes from `explorer.reliability`: on up to 2,000 occurrences,
how often does an answer of that share agree with the label? A record is asked about only at ranks where its own taxon
has two more occurrences at least: one without peers cannot be confirmed by anybody.

The odds against a label are those of the neighbours' answer. Labels that are wrong are among those that the odds were
learned from; where a share e of all labels is wrong at random, no odds much above 1 / e can be found. And odds are not
proof: where co-mimics or sister species look alike, the neighbours are wrong as often as the calibration says.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from explorer.geometry.neighbours import Neighbours, pick_records
from explorer.reliability import LEAST_ANSWERS, Answers, RankReliability, fit_ranks, rate_answers
from explorer.taxonomy import Descent, Taxonomy
from explorer.votes import Ballot, Voter, Votes, VotingRule, tune_rule
from indexer.terms import RANKS

LEAST_ODDS = 9.0
"""Of such answers nine in ten are right. From odds of 4 on, a tenth to a third more of swapped labels were found among
real photographs, and twice as many labels denied that nobody had swapped."""
N_ASKED = 2_000
N_TUNED = 1_000
MIN_PEERS = 2
"""Further occurrences of a taxon that must be there for a record's label to be judged."""


@dataclass(frozen=True, kw_only=True)
class Mislabel:
    """A record whose neighbours say something else.

    Attributes:
        place: The record.
        rank: The rank, as a place in `RANKS`, at which they are surest that it is something else.
        own: The taxon that it carries there.
        answer: The taxon of the neighbours.
        share: Of the votes, those for the answer.
        odds: That the answer is right, against 1.
        evidence: Places of the neighbours that carry the answer, nearest first.
        n_asked: Neighbours that had a vote.
    """

    place: int
    rank: int
    own: int
    answer: int
    share: float
    odds: float
    evidence: tuple[int, ...]
    n_asked: int


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What the neighbours say of all labels.

    Attributes:
        mislabels: Those with the least odds or more, the greatest odds first.
        ranks: How reliable the answers are, for each rank that could be calibrated.
        n_judged: Records whose label could be judged.
    """

    mislabels: tuple[Mislabel, ...]
    ranks: dict[str, RankReliability]
    n_judged: int


def judge_labels(
    neighbours: Neighbours,
    taxonomy: Taxonomy,
    occurrences: Int64[np.ndarray, " n"],
    *,
    least_odds: float = LEAST_ODDS,
    seed: int = 0,
) -> Judgement | str:
    """The labels that neighbours speak against, or why none can be judged.

    Args:
        neighbours: Of every record.
        taxonomy: Of these records.
        occurrences: A code per record.
        least_odds: To be listed.
        seed: Fixes which records the odds are learned from.
    """
    lineages: Int64[np.ndarray, "n 7"] = taxonomy.lineages[taxonomy.of_records]
    own = _keep_judged(lineages, occurrences)
    judged = np.flatnonzero((own >= 0).any(axis=1) & (neighbours.places[:, 0] >= 0))
    if len(np.unique(occurrences[judged])) < LEAST_ANSWERS:
        return (
            f"{len(np.unique(occurrences[judged]))} occurrences have a taxon with {MIN_PEERS} more of it, and "
            f"{LEAST_ANSWERS} are needed to learn the odds from"
        )
    ballot = _call(neighbours, taxonomy)
    asked = judged[pick_records(occurrences[judged], n_most=N_ASKED, seed=seed)]
    rule = tune_rule(ballot.select(asked[:N_TUNED]), own[asked[:N_TUNED]])
    ranks = _fit(ballot, rule, own, asked, seed)
    doubtful = judged[_doubt(ballot.votes[Voter.NEIGHBOURS], rule.sharpness[Voter.NEIGHBOURS], taxonomy, own)[judged]]
    votes = ballot.select(doubtful)
    descent = votes.count(rule)
    confidence = rate_answers(descent, _closeness(votes), ranks)
    found = _list_mislabels(doubtful, own, descent, _find_odds(confidence, ranks), lineages, neighbours)
    kept = sorted((one for one in found if one.odds >= least_odds), key=lambda one: (-one.odds, -one.share, one.place))
    return Judgement(mislabels=tuple(kept), ranks=ranks, n_judged=len(judged))


def _keep_judged(lineages: Int64[np.ndarray, "n 7"], occurrences: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, "n 7"]:
    """The lineages with -1 where too few other occurrences share the taxon."""
    own = lineages.copy()
    for rank in range(lineages.shape[1]):
        counts = count_occurrences(lineages[:, rank], occurrences, int(lineages.max(initial=0)) + 1)
        own[counts[lineages[:, rank]] <= MIN_PEERS, rank] = -1
        own[lineages[:, rank] < 0, rank] = -1
    return own


def count_occurrences(
    taxa: Int64[np.ndarray, " n"], occurrences: Int64[np.ndarray, " n"], n_taxa: int
) -> Int64[np.ndarray, " t"]:
    """How many occurrences have records of each taxon; records with -1 count nowhere."""
    named = taxa >= 0
    width = int(occurrences.max(initial=0)) + 1
    pairs = np.unique(taxa[named] * width + occurrences[named])
    return np.bincount(pairs // width, minlength=n_taxa)


def _call(neighbours: Neighbours, taxonomy: Taxonomy) -> Ballot:
    votes = Votes(lineages=taxonomy.of_records[neighbours.places], scores=neighbours.scores)
    return Ballot(taxonomy=taxonomy, votes={Voter.NEIGHBOURS: votes})


def _closeness(ballot: Ballot) -> Float64[np.ndarray, "e v"]:
    return np.stack([votes.closeness() for votes in ballot.votes.values()], axis=1)


def _fit(
    ballot: Ballot, rule: VotingRule, own: Int64[np.ndarray, "n 7"], asked: Int64[np.ndarray, " a"], seed: int
) -> dict[str, RankReliability]:
    votes = ballot.select(asked)
    answers = Answers(
        descent=votes.count(rule),
        closeness=_closeness(votes),
        own=own[asked],
        weights=np.ones(len(asked)),
        groups=np.arange(len(asked)),
    )
    return fit_ranks(answers, seed=seed)


def _doubt(votes: Votes, sharpness: float, taxonomy: Taxonomy, own: Int64[np.ndarray, "n 7"]) -> Bool[np.ndarray, " n"]:
    """Records with more votes for other taxa than for their own at a rank that is judged; no other is ever denied."""
    lead = np.zeros(own.shape)
    for lineages, weights in zip(votes.lineages.T, votes.weigh(sharpness).T, strict=True):
        other = taxonomy.lineages[lineages]
        lead += np.where(other < 0, 0, np.where(other == own, 1, -1)) * weights[:, None]
    return np.asarray(((own >= 0) & (lead < 0)).any(axis=1))


def _find_odds(confidence: Float64[np.ndarray, "e 7"], ranks: dict[str, RankReliability]) -> Float64[np.ndarray, "e 7"]:
    """c / (1 - c), no greater than the surest tenth of the known answers bears out (Laplace's rule of succession)."""
    least_doubt = np.array([_find_least_doubt(ranks[rank]) if rank in ranks else np.nan for rank in RANKS])
    doubt = np.maximum(1 - confidence, least_doubt)
    odds: Float64[np.ndarray, "e 7"] = (1 - doubt) / doubt
    return odds


def _find_least_doubt(reliability: RankReliability) -> float:
    surest = reliability.curve[-1]
    n = surest.weight * reliability.n
    return ((1 - surest.right) * n + 1) / (n + 2)


def _list_mislabels(
    doubtful: Int64[np.ndarray, " e"],
    own: Int64[np.ndarray, "n 7"],
    descent: Descent,
    odds: Float64[np.ndarray, "e 7"],
    lineages: Int64[np.ndarray, "n 7"],
    neighbours: Neighbours,
) -> list[Mislabel]:
    differs = (own[doubtful] >= 0) & (descent.path >= 0) & (descent.path != own[doubtful])
    against = np.where(differs & np.isfinite(odds), odds, 0)
    found = []
    for place in np.flatnonzero(against.any(axis=1)):
        record, rank = int(doubtful[place]), int(against[place].argmax())
        answer = int(descent.path[place, rank])
        voters = neighbours.places[record][neighbours.places[record] >= 0]
        found.append(
            Mislabel(
                place=record,
                rank=rank,
                own=int(own[record, rank]),
                answer=answer,
                share=float(descent.shares[place, rank]),
                odds=float(against[place, rank]),
                evidence=tuple(voters[lineages[voters, rank] == answer].tolist()),
                n_asked=len(voters),
            )
        )
    return found
