"""Naming after a few examples: SimpleShot, the nearest mean of the examples after centring.

Wang, Chao, Weinberger & van der Maaten 2019 (arXiv 1911.04623), "CL2N": the mean is taken off, vectors get unit length,
a class is the mean of its examples, and the nearest class by Euclidean distance is the answer. BioCLIP 2's code centres
by the mean of the examples; so do we unless a mean of base pictures is given. The pictures in question never count for
the mean, since a user with one picture has none to average.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from training.judge.metrics import measure_top_k

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jaxtyping import Float, Float32, Float64, Int64

N_FOLDS = 5


@dataclass(frozen=True, kw_only=True)
class Shots:
    """One draw of examples.

    Attributes:
        support: pictures shown, by place; the same number for each class.
        queries: pictures asked, by place: all others of those classes, of occurrences that no example is of.
    """

    support: Int64[np.ndarray, " s"]
    queries: Int64[np.ndarray, " q"]


@dataclass(frozen=True, kw_only=True)
class FewShot:
    """How few-shot naming went.

    Attributes:
        by_fold: 1 where a picture was named right in a fold, 0 where not, nan where it was not asked.
        classes: labels that take part, those with an occurrence more than there are shots.
    """

    by_fold: Float64[np.ndarray, "n f"]
    classes: Int64[np.ndarray, " c"]

    @property
    def correct(self) -> Float64[np.ndarray, " n"]:
        """Share of the folds in which a picture that was asked was named right; nan for one never asked."""
        asked = np.isfinite(self.by_fold).sum(axis=1)
        return np.where(asked > 0, np.nansum(self.by_fold, axis=1) / np.maximum(asked, 1), np.nan)

    @property
    def chance(self) -> float:
        """Share that guessing gets."""
        return 1 / len(self.classes) if len(self.classes) else float("nan")


def judge_few_shot(
    vectors: Float32[np.ndarray, "n d"],
    labels: Int64[np.ndarray, " n"],
    groups: Int64[np.ndarray, " n"],
    *,
    n_shots: int,
    n_folds: int = N_FOLDS,
    seed: int = 0,
) -> FewShot:
    """SimpleShot over several draws of examples; the same draws for the same labels, groups and seed.

    Args:
        vectors: unit vectors.
        labels: class of each picture; negative takes no part.
        groups: occurrence of each picture.
        n_shots: examples per class, each of another occurrence.
        n_folds: draws.
        seed: of the draws.
    """
    classes = list_classes(labels, groups, n_shots=n_shots)
    by_fold = np.full((len(labels), n_folds), np.nan)
    if len(classes) >= 2:
        drawn = draw_shots(labels, groups, n_shots=n_shots, n_folds=n_folds, seed=seed)
        for fold, shots in enumerate(drawn):
            scores = score_by_means(vectors[shots.support], labels[shots.support], vectors[shots.queries])
            answers = np.searchsorted(classes, labels[shots.queries])
            by_fold[shots.queries, fold] = measure_top_k(scores, answers, 1)
    return FewShot(by_fold=by_fold, classes=classes)


def list_classes(
    labels: Int64[np.ndarray, " n"], groups: Int64[np.ndarray, " n"], *, n_shots: int
) -> Int64[np.ndarray, " c"]:
    """The labels with at least one occurrence more than there are shots, ascending."""
    pairs = np.unique(np.stack([labels, groups], axis=1)[labels >= 0], axis=0)
    names, n_groups = np.unique(pairs[:, 0], return_counts=True)
    classes: Int64[np.ndarray, " c"] = names[n_groups > n_shots]
    return classes


def draw_shots(
    labels: Int64[np.ndarray, " n"],
    groups: Int64[np.ndarray, " n"],
    *,
    n_shots: int,
    n_folds: int = N_FOLDS,
    seed: int = 0,
) -> Iterator[Shots]:
    """Draws of examples, one picture of each of `n_shots` occurrences per class; see `Shots`."""
    classes = list_classes(labels, groups, n_shots=n_shots)
    takes_part = np.flatnonzero(np.isin(labels, classes))
    for fold in range(n_folds):
        rng = np.random.default_rng([seed, fold])
        shuffled = takes_part[rng.permutation(len(takes_part))]
        # The first picture of each (class, occurrence) in random order, then the first n_shots of each class.
        first = np.unique(np.stack([labels[shuffled], groups[shuffled]], axis=1), axis=0, return_index=True)[1]
        candidates = shuffled[np.sort(first)]
        support = candidates[_place_in_class(labels[candidates]) < n_shots]
        queries = takes_part[~np.isin(groups[takes_part], groups[support])]
        yield Shots(support=np.sort(support), queries=queries)


def _place_in_class(labels: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
    """How many entries of the same label stand before each."""
    order = np.argsort(labels, kind="stable")
    _, starts, counts = np.unique(labels[order], return_index=True, return_counts=True)
    places = np.empty(len(labels), np.int64)
    places[order] = np.arange(len(labels)) - np.repeat(starts, counts)
    return places


def score_by_means(
    support: Float[np.ndarray, "s d"],
    support_labels: Int64[np.ndarray, " s"],
    queries: Float[np.ndarray, "q d"],
    *,
    centre: Float[np.ndarray, " d"] | None = None,
) -> Float64[np.ndarray, "q c"]:
    """The negative squared distance of each query to the mean of each class, the classes ascending by label.

    Args:
        support: vectors of the examples.
        support_labels: their classes.
        queries: vectors in question.
        centre: taken off every vector first; None takes the mean of the examples.
    """
    centre = support.mean(axis=0) if centre is None else centre
    shown, asked = _centre(support, centre), _centre(queries, centre)
    classes, codes = np.unique(support_labels, return_inverse=True)
    means = np.zeros((len(classes), shown.shape[1]))
    np.add.at(means, codes, shown)
    means /= np.bincount(codes)[:, None]
    scores: Float64[np.ndarray, "q c"] = 2 * asked @ means.T - (means**2).sum(axis=1) - (asked**2).sum(axis=1)[:, None]
    return scores


def _centre(vectors: Float[np.ndarray, "n d"], centre: Float[np.ndarray, " d"]) -> Float64[np.ndarray, "n d"]:
    shifted = vectors.astype(np.float64) - centre
    lengths = np.linalg.norm(shifted, axis=1, keepdims=True)
    unit: Float64[np.ndarray, "n d"] = shifted / np.where(lengths > 0, lengths, 1)
    return unit
