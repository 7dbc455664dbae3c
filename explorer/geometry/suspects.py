"""Records that a person should look at: labels that neighbours deny, strangers, copies, species in two clusters.

Everything is judged in centred vectors and from one search for the nearest neighbours. No kind is proof: each suspect
says why it is listed and shows the records that speak against it. What a person decides is kept by `explorer.review`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from jaxtyping import Float32

from explorer.geometry.dip import P_LEAST
from explorer.geometry.duplicates import IDENTICAL, Copies, Duplicates, find_duplicates
from explorer.geometry.finding import Skipped
from explorer.geometry.mislabels import Mislabel, judge_labels
from explorer.geometry.neighbours import Neighbours, centre_vectors, find_all_neighbours
from explorer.geometry.sample import Sample
from explorer.geometry.splits import MIN_OCCURRENCES, Split, find_splits
from explorer.geometry.strangers import MIN_PEERS, Stranger, find_strangers
from explorer.reliability import RankReliability
from indexer.terms import RANKS

K = 10
"""Neighbouring occurrences that are looked at."""
N_EVIDENCE = 6


class SuspectKind(StrEnum):
    """Why a record is listed; in this order."""

    LABEL = "label"
    STRANGER = "stranger"
    DUPLICATE = "duplicate"
    SPLIT = "split"


@dataclass(frozen=True, kw_only=True)
class Suspect:
    """Something to look at.

    Attributes:
        kind: Why.
        subject: What it is about, the same in every run: a `record_id`, the `record_id`s of copies joined by " = ", or
            the name of a species.
        row: A record to show for it.
        taxon: The name that the record carries, at the rank that is in doubt; empty for copies.
        suggestion: The name that its neighbours carry; empty but for labels.
        score: For labels the odds against it; for strangers robust standard deviations; for copies the cosine of
            centred vectors; for split species the dip. Greater is more suspect, within one kind.
        evidence: Rows of records that speak against it: neighbours that carry the suggestion, what is nearest to a
            stranger, the other copies, or records of the larger cluster.
        reading: One sentence.
    """

    kind: SuspectKind
    subject: str
    row: int
    taxon: str
    suggestion: str
    score: float
    evidence: tuple[int, ...]
    reading: str


@dataclass(frozen=True, kw_only=True)
class SuspectQueue:
    """All suspects of one space.

    Attributes:
        space: Its name.
        suspects: By kind, the most suspect first.
        skipped: Kinds that these records do not allow, and why.
        n: Records that were looked at.
        recall: Share of the true neighbours that the search found; 1 where every pair was compared.
        reliability: Of the neighbours' answers by rank, from which the odds follow; empty where labels were not judged.
        duplicate_threshold: Cosine of centred vectors from which records count as copies.
        reading: One sentence.
    """

    space: str
    suspects: tuple[Suspect, ...]
    skipped: tuple[Skipped, ...]
    n: int
    recall: float
    reliability: dict[str, RankReliability]
    duplicate_threshold: float
    reading: str

    def count_kinds(self) -> dict[SuspectKind, int]:
        """How many suspects of each kind there are."""
        counts = Counter(one.kind for one in self.suspects)
        return {kind: counts[kind] for kind in SuspectKind}


def find_suspects(sample: Sample, *, seed: int = 0) -> SuspectQueue:
    """The review queue of a sample.

    A record whose label is denied is not listed as a stranger too.

    Args:
        sample: Its records are searched among themselves.
        seed: Fixes all draws.
    """
    n_occurrences = len(np.unique(sample.occurrences))
    if n_occurrences < MIN_OCCURRENCES:
        reason = f"there are {n_occurrences} occurrences and {MIN_OCCURRENCES} are needed"
        skipped = tuple(Skipped(statistic=f"suspects_{kind}", column="", reason=reason) for kind in SuspectKind)
        return _gather(sample, (), skipped, recall=1.0, reliability={}, threshold=IDENTICAL)
    vectors = centre_vectors(sample.vectors)
    search = _Search(
        sample=sample,
        vectors=vectors,
        neighbours=find_all_neighbours(vectors, sample.occurrences, k=K, seed=seed),
    )
    judgement = judge_labels(search.neighbours, sample.taxonomy, sample.occurrences, seed=seed)
    labels = () if isinstance(judgement, str) else judgement.mislabels
    unjudged = _skip(SuspectKind.LABEL, judgement) if isinstance(judgement, str) else ()
    copies = find_duplicates(search.neighbours, sample.taxa_at("species"))
    strangers, unlike = search.list_strangers({one.place for one in labels})
    splits, unsplit = search.list_splits()
    return _gather(
        sample,
        (*map(search.write_label, labels), *strangers, *search.list_copies(copies), *splits),
        (*unjudged, *unlike, *unsplit),
        recall=search.neighbours.recall,
        reliability={} if isinstance(judgement, str) else judgement.ranks,
        threshold=copies.threshold,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Search:
    """What the kinds of suspects are found in.

    Attributes:
        sample: The records.
        vectors: Centred.
        neighbours: Of every record.
    """

    sample: Sample
    vectors: Float32[np.ndarray, "n d"]
    neighbours: Neighbours

    def write_label(self, found: Mislabel) -> Suspect:
        """A label that is denied."""
        rank, own, answer = RANKS[found.rank], self.sample.name_taxon(found.own), self.sample.name_taxon(found.answer)
        return Suspect(
            kind=SuspectKind.LABEL,
            subject=self._name(found.place),
            row=self._row(found.place),
            taxon=own,
            suggestion=answer,
            score=found.odds,
            evidence=self._rows(found.evidence),
            reading=(
                f"It is labelled {own}, but {len(found.evidence)} of its {found.n_asked} nearest occurrences, with "
                f"{found.share:.0%} of the votes (the nearer count more), are {answer}. Elsewhere such an answer is "
                f"the {rank} of the label {found.odds:,.0f} times for every time that it is not."
            ),
        )

    def list_strangers(self, denied: set[int]) -> tuple[list[Suspect], tuple[Skipped, ...]]:
        """Records unlike their taxon, those apart whose label is denied anyway."""
        sample = self.sample
        found, n_compared = find_strangers(self.vectors, sample.occurrences, sample.lineages, self.neighbours)
        if not n_compared:
            return [], _skip(SuspectKind.STRANGER, f"no taxon has more than {MIN_PEERS} occurrences")
        return [self._write_stranger(one) for one in found if one.place not in denied], ()

    def _write_stranger(self, found: Stranger) -> Suspect:
        taxon = self.sample.name_taxon(int(self.sample.lineages[found.place, found.rank]))
        near = self.neighbours.places[found.place]
        return Suspect(
            kind=SuspectKind.STRANGER,
            subject=self._name(found.place),
            row=self._row(found.place),
            taxon=taxon,
            suggestion="",
            score=found.deviations,
            evidence=self._rows(tuple(near[near >= 0].tolist())),
            reading=(
                f"It is unlike the other {taxon} ({found.deviations:.1f} robust standard deviations below the usual "
                f"likeness), and none of its {int((near >= 0).sum())} nearest occurrences is one: perhaps a label, a "
                "track, an empty frame or another species."
            ),
        )

    def list_copies(self, found: Duplicates) -> list[Suspect]:
        """Groups of near-duplicates."""
        return [self._write_copies(one, found) for one in found.groups]

    def _write_copies(self, found: Copies, among: Duplicates) -> Suspect:
        measured = (
            f"photographs of one species from different occurrences hardly ever reach {among.threshold:.3f} here"
            if among.n_reference
            else f"from {among.threshold:.4f} photographs count as one"
        )
        return Suspect(
            kind=SuspectKind.DUPLICATE,
            subject=" = ".join(self._name(place) for place in found.places),
            row=self._row(found.places[0]),
            taxon="",
            suggestion="",
            score=found.score,
            evidence=self._rows(found.places[1:]),
            reading=(
                f"{len(found.places)} records of different occurrences show nearly the same (cosine of centred vectors "
                f"{found.score:.4f}; {measured})."
            ),
        )

    def list_splits(self) -> tuple[list[Suspect], tuple[Skipped, ...]]:
        """Species in two clusters."""
        species = self.sample.taxa_at("species")
        found, n_tested = find_splits(self.vectors, self.sample.occurrences, species)
        if not n_tested:
            return [], _skip(SuspectKind.SPLIT, f"no species has {MIN_OCCURRENCES} occurrences")
        return [self._write_split(one) for one in found], ()

    def _write_split(self, found: Split) -> Suspect:
        taxon = self.sample.name_taxon(found.species)
        p = f"p = {found.p:.2g}" if found.p > P_LEAST else f"p at most {P_LEAST:g}"
        return Suspect(
            kind=SuspectKind.SPLIT,
            subject=taxon,
            row=self._row(found.smaller[0]),
            taxon=taxon,
            suggestion="",
            score=found.dip,
            evidence=self._rows((*found.smaller[1:], *found.larger)),
            reading=(
                f"The {sum(found.sizes)} occurrences of {taxon} fall in two clusters of {found.sizes[0]} and "
                f"{found.sizes[1]} (dip {found.dip:.3f}, {p}, q = {found.q:.2g}): two forms, two kinds of photographs, "
                "or two species."
            ),
        )

    def _row(self, place: int) -> int:
        return int(self.sample.rows[place])

    def _rows(self, places: Sequence[int]) -> tuple[int, ...]:
        return tuple(self._row(place) for place in places[:N_EVIDENCE])

    def _name(self, place: int) -> str:
        name: str = self.sample.records.column("record_id")[place].as_py()
        return name


def _skip(kind: SuspectKind, reason: str) -> tuple[Skipped, ...]:
    return (Skipped(statistic=f"suspects_{kind}", column="", reason=reason),)


def _gather(
    sample: Sample,
    suspects: tuple[Suspect, ...],
    skipped: tuple[Skipped, ...],
    *,
    recall: float,
    reliability: dict[str, RankReliability],
    threshold: float,
) -> SuspectQueue:
    queue = SuspectQueue(
        space=sample.space,
        suspects=suspects,
        skipped=skipped,
        n=len(sample),
        recall=recall,
        reliability=reliability,
        duplicate_threshold=threshold,
        reading="",
    )
    return replace(queue, reading=_write_reading(queue))


def _write_reading(queue: SuspectQueue) -> str:
    counts = queue.count_kinds()
    parts = [
        _count(counts[SuspectKind.LABEL], "label that its neighbours deny", "labels that their neighbours deny"),
        _count(
            counts[SuspectKind.STRANGER], "image unlike anything in its taxon", "images unlike anything in their taxon"
        ),
        _count(counts[SuspectKind.DUPLICATE], "group", "groups") + " of near-duplicates",
        f"{counts[SuspectKind.SPLIT]:,} species in two clusters",
    ]
    found = "" if queue.recall == 1 else f"; the search finds {queue.recall:.0%} of the true neighbours"
    return f"Of {queue.n:,} records a person should look at {', '.join(parts[:-1])} and {parts[-1]}{found}."


def _count(n: int, one: str, many: str) -> str:
    return f"{n:,} {one if n == 1 else many}"
