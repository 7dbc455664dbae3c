"""What is known of an index: how it was chosen, built, tuned and measured. Stored as `index.json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from indexer.index.background import Background

RECALL_AT = 10
"""Recall is measured among this many nearest neighbours."""

KIND_EXACT = "exact"
KIND_RABITQ = "ivf-rabitq"
"""One bit per dimension; with more bits their number follows, as in `ivf-rabitq4`."""


class Modality(StrEnum):
    """What a query vector was made from. Texts lie apart from the images, so that they are searched more widely."""

    IMAGE = "image"
    TEXT = "text"


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """How an approximate index is searched where no filter narrows the search.

    Attributes:
        n_probe: inverted lists that are visited.
        refine_factor: candidates per hit asked for, whose exact scores are computed.
    """

    n_probe: int
    refine_factor: int


@dataclass(frozen=True, kw_only=True)
class Recall:
    """A measured recall@10.

    Attributes:
        value: share of the true 10 nearest neighbours found, in [0, 1].
        low, high: its 95 % interval over the queries (bootstrap).
        n_queries: queries it was measured on.
        queries: what they were, in words.
    """

    value: float
    low: float
    high: float
    n_queries: int
    queries: str


@dataclass(frozen=True, kw_only=True)
class IndexFacts:
    """What is known of an index.

    Attributes:
        kind: `exact`, `ivf-rabitq`, or `ivf-rabitq<bits>`.
        reason: why that kind was chosen.
        n: vectors in it.
        dimension: of the vectors in it; that of the space.
        n_lists: inverted lists; 0 for an exact index.
        n_bits: bits per dimension of the codes; 0 for an exact index.
        bytes_in_memory: that a reader needs: codes, their ids and centroids, while the vectors stay on disk; for an
            exact index all vectors.
        parameters: how queries of each modality are searched; empty for an exact index.
        recall: measured per modality; a modality is absent where it was not measured, and all are for an exact index,
            whose recall is 1 by construction.
        goal: the recall asked for, in (0, 1].
        background: scores of random pairs, of the vectors as indexed.
        n_ordered: leading positions that are in taxonomic order; the rest was appended later (the tail).
        calibration: what was measured when a calibration was fitted, whether it was kept or not; None where none was
            tried.
        n_trained: vectors that there were when the lists were trained; 0 for an exact index.
        list_imbalance: n_lists * sum(size^2) / n^2, 1 where all lists are of one size; 0 for an exact index.
        trained_imbalance: the same right after training.
        vectors_version: version of `vectors.lance` that it holds.
        built_with: FAISS's version and the device that trained.
    """

    kind: str
    reason: str
    n: int
    dimension: int
    n_lists: int
    n_bits: int
    bytes_in_memory: int
    parameters: Mapping[Modality, SearchSettings]
    recall: Mapping[Modality, Recall]
    goal: float
    background: Background
    n_ordered: int
    calibration: Mapping[str, Any] | None
    n_trained: int
    list_imbalance: float
    trained_imbalance: float
    vectors_version: int
    built_with: str

    @property
    def is_exact(self) -> bool:
        """Whether an unfiltered search compares every vector."""
        return self.kind == KIND_EXACT

    @property
    def n_since_training(self) -> int:
        """Vectors appended after the lists were trained."""
        return self.n - self.n_ordered

    def settings_for(self, modality: Modality) -> SearchSettings:
        """How a query of a modality is searched; KeyError for an exact index, which has no settings."""
        return self.parameters[modality]

    def recall_of(self, modality: Modality) -> float | None:
        """The measured recall@10 of a modality: 1 for an exact index, None where it was not measured."""
        if self.is_exact:
            return 1.0
        found = self.recall.get(modality)
        return found.value if found else None

    def describe_recall(self) -> str:
        """The recall of each modality in one line, e.g. `images 0.9912 (0.9890-0.9931, 500 queries)`."""
        if self.is_exact:
            return "exact"
        parts = []
        for modality in Modality:
            found = self.recall.get(modality)
            said = f"{found.value:.4f} ({found.low:.4f}-{found.high:.4f}, {found.n_queries:,} queries)" if found else ""
            parts.append(f"{modality}s {said or 'not measured'}")
        return f"recall@{RECALL_AT} " + ", ".join(parts)

    def describe_settings(self) -> str:
        """How queries of each modality are searched, in one line; empty for an exact index."""
        return ", ".join(
            f"{modality}s visit {found.n_probe:,} of {self.n_lists:,} lists and refine {found.refine_factor} per hit"
            for modality, found in self.parameters.items()
        )

    def to_json(self) -> dict[str, Any]:
        """The facts as JSON holds them."""
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> IndexFacts:
        """The facts that `to_json` gave; KeyError or TypeError where they are of another form."""
        values = dict(stored)
        background = Background.from_json(values.pop("background"))
        parameters = {Modality(key): SearchSettings(**found) for key, found in values.pop("parameters").items()}
        recall = {Modality(key): Recall(**found) for key, found in values.pop("recall").items()}
        return cls(**values, background=background, parameters=parameters, recall=recall)
