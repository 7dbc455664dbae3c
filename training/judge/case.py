"""One encoder before one collection: what every part of an evaluation needs, and how it counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from training.examples import SEPARATOR
from training.judge.bootstrap import N_DRAWS, Resampling, estimate_class_mean, estimate_mean
from training.judge.collection import MAX_VALUES, Collection, Question
from training.judge.few_shot import N_FOLDS
from training.judge.figures import Ask, Figure, Omission
from training.judge.naming import TEMPLATES, EncodeTexts, encode_classes

if TYPE_CHECKING:
    from jaxtyping import Float32, Float64, Int64

    from training.judge.bootstrap import Estimate


@dataclass(frozen=True, kw_only=True)
class JudgeSettings:
    """How encoders are judged.

    Attributes:
        templates: sentences around names, see `training.judge.naming`.
        shots: examples per class.
        n_folds: draws of examples, and folds of the probes.
        n_draws: resamples of the occurrences.
        max_probe_classes: classes for which a linear probe is still fitted.
        seed: of examples, folds and resamples.
    """

    templates: tuple[str, ...] = TEMPLATES
    shots: tuple[int, ...] = (1, 5)
    n_folds: int = N_FOLDS
    n_draws: int = N_DRAWS
    max_probe_classes: int = 100
    seed: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """One encoder's vectors of a collection, and its way with texts.

    Attributes:
        vectors: unit vectors of the pictures.
        encode_texts: unit vectors of texts.
        collection: the pictures.
        settings: how they are judged.
        omissions: what was not measured, added to as the evaluation goes.
    """

    vectors: Float32[np.ndarray, "n d"]
    encode_texts: EncodeTexts
    collection: Collection
    settings: JudgeSettings
    omissions: list[Omission] = field(default_factory=list)
    _known: dict[str, Float32[np.ndarray, " d"]] = field(default_factory=dict)

    @cached_property
    def resampling(self) -> Resampling:
        """The draws that all figures share."""
        return Resampling(self.collection.occurrences, n_draws=self.settings.n_draws, seed=self.settings.seed)

    def leave_out(self, what: str, why: str) -> None:
        """Note what is not measured."""
        self.omissions.append(Omission(what=what, why=why))

    def ask_rank(self, rank: int) -> Question | None:
        """The rank as a question; None, noted, where it has no two taxa."""
        question = self.collection.ask_rank(rank)
        if len(question.names) < 2:
            why = f"all are {question.names[0]}" if question.names else "no record names it"
            self.leave_out(f"Rank {question.label}", f"{why}; two taxa at least are needed")
            return None
        n_unnamed = int((question.labels < 0).sum())
        if n_unnamed:
            self.leave_out(f"{n_unnamed:,} pictures at rank {question.label}", "their records do not name it")
        return question

    def ask_column(self, column: str) -> Question | None:
        """The column as a question; None, noted, where its values make no classes."""
        question = self.collection.ask_column(column)
        n = len(question.names)
        if n < 2:
            why = f"all are '{question.names[0]}'" if n else "no record has a value"
            self.leave_out(f"Column {column}", f"{why}; two values at least are needed")
            return None
        if n > MAX_VALUES:
            why = f"it has {n:,} different values; up to {MAX_VALUES} are taken as classes"
            self.leave_out(f"Column {column}", why)
            return None
        n_empty = int((question.labels < 0).sum())
        if n_empty:
            self.leave_out(f"{n_empty:,} pictures for column {column}", "their records have no value there")
        return question

    def answer(self, ask: Ask, estimate: Estimate, counts: Float64[np.ndarray, "n ..."]) -> Figure:
        """The figure; all of a picture's `counts` are nan where it does not count."""
        counted = np.isfinite(counts).reshape(len(counts), -1).any(axis=1)
        n_occurrences = len(np.unique(self.collection.occurrences[counted]))
        return Figure.of(ask, estimate, n=int(counted.sum()), n_occurrences=n_occurrences)

    def count_mean(self, ask: Ask, values: Float64[np.ndarray, "n ..."], *, most: float = 1.0) -> Figure:
        """The mean over pictures, and over looks at them, of values from 0 to `most`."""
        return self.answer(ask, estimate_mean(values, self.resampling, most=most), values)

    def count_even(self, ask: Ask, values: Float64[np.ndarray, "n ..."], labels: Int64[np.ndarray, " n"]) -> Figure:
        """The mean over classes of their means."""
        return self.answer(ask, estimate_class_mean(values, labels, self.resampling), values)

    def encode_names(self, names: Sequence[str]) -> Float32[np.ndarray, "c d"]:
        """A unit vector for each name in the templates."""
        return encode_classes(names, self._encode_once, templates=self.settings.templates)

    def _encode_once(self, texts: list[str]) -> Float32[np.ndarray, "n d"]:
        new = [text for text in texts if text not in self._known]
        if new:
            self._known.update(zip(new, self.encode_texts(new), strict=True))
        return np.stack([self._known[text] for text in texts])

    def encode_values(self, question: Question) -> Float32[np.ndarray, "c d"]:
        """A unit vector for each value of a column; a cell of several values is the mean of theirs."""
        parts = [[part.strip() for part in name.split(SEPARATOR)] for name in question.names]
        vectors = self.encode_names([part for own in parts for part in own])
        owners = np.repeat(np.arange(len(parts)), [len(own) for own in parts])
        means = np.stack([vectors[owners == place].mean(axis=0) for place in range(len(parts))])
        unit: Float32[np.ndarray, "c d"] = means / np.linalg.norm(means, axis=1, keepdims=True)
        return unit
