"""Linear probes: can a straight cut through the space tell the values of a column apart, on pictures left out?

Logistic regression on standardised vectors (scikit-learn), its strength chosen inside the training folds, as CLIP is
probed (Radford et al. 2021, appendix A.3, with fewer strengths). Folds never divide a group, so that a probe is asked
about occurrences, or species, that it has not learned from.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float32, Float64, Int64

N_FOLDS = 5
STRENGTHS = (0.001, 0.01, 0.1)
"""Inverse penalties to choose from, on standardised vectors."""
MAX_ITERATIONS = 500


@dataclass(frozen=True, kw_only=True)
class Probe:
    """How a probe did on what it had not learned from.

    Attributes:
        correct: 1 where the picture's label was read right, 0 where not; nan where it was not asked.
        classes: labels that take part: those found in at least two groups.
    """

    correct: Float64[np.ndarray, " n"]
    classes: Int64[np.ndarray, " c"]

    @property
    def chance(self) -> float:
        """Balanced accuracy that guessing gets."""
        return 1 / len(self.classes) if len(self.classes) else float("nan")


def probe_labels(
    vectors: Float32[np.ndarray, "n d"],
    labels: Int64[np.ndarray, " n"],
    groups: Int64[np.ndarray, " n"],
    *,
    n_folds: int = N_FOLDS,
    seed: int = 0,
) -> Probe:
    """Logistic regression in grouped folds; the same folds for the same labels, groups and seed.

    The classes weigh the same in the fit, whatever their sizes: read `correct` as balanced accuracy.

    Args:
        vectors: unit vectors.
        labels: class of each picture; negative takes no part.
        groups: what stays in one fold: occurrence, species or genus.
        n_folds: folds; fewer where no class has that many groups.
        seed: of the folds.
    """
    classes = _list_probed(labels, groups)
    correct = np.full(len(labels), np.nan)
    places = np.flatnonzero(np.isin(labels, classes))
    if len(classes) >= 2:
        rows, answers, own = vectors[places].astype(np.float64), labels[places], groups[places]
        for learned, asked in _split(answers, own, n_folds=n_folds, seed=seed):
            reader = _fit_best(rows[learned], answers[learned], own[learned], seed=seed)
            correct[places[asked]] = reader.predict(rows[asked]) == answers[asked]
    return Probe(correct=correct, classes=classes)


def _list_probed(labels: Int64[np.ndarray, " n"], groups: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " c"]:
    from training.judge.few_shot import list_classes

    return list_classes(labels, groups, n_shots=1)


def _split(
    labels: Int64[np.ndarray, " n"], groups: Int64[np.ndarray, " n"], *, n_folds: int, seed: int
) -> list[tuple[Int64[np.ndarray, " a"], Int64[np.ndarray, " b"]]]:
    """Grouped folds that keep the classes' shares: places learned from and places asked about.

    Folds whose learning part lacks a second class are passed over.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    pairs = np.unique(np.stack([labels, groups], axis=1), axis=0)
    most = int(np.unique(pairs[:, 0], return_counts=True)[1].max())
    splitter = StratifiedGroupKFold(min(n_folds, most), shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # It warns of classes with fewer groups than folds; such a class is only absent from some folds.
        warnings.filterwarnings("ignore", message="The least populated class", category=UserWarning)
        folds = list(splitter.split(labels[:, None], labels, groups))
    return [(learned, asked) for learned, asked in folds if len(np.unique(labels[learned])) >= 2 and len(asked)]


def _fit_best(
    rows: Float64[np.ndarray, "n d"], labels: Int64[np.ndarray, " n"], groups: Int64[np.ndarray, " n"], *, seed: int
) -> Any:
    """The probe at the strength that does best on a quarter of these groups, fitted on all of them."""
    held = np.random.default_rng(seed).permutation(np.unique(groups))
    asked = np.isin(groups, held[: len(held) // 4])
    if not asked.any() or len(np.unique(labels[~asked])) < 2:
        return _fit(rows, labels, STRENGTHS[1])
    readers = [_fit(rows[~asked], labels[~asked], strength) for strength in STRENGTHS]
    scores = [_balance(reader.predict(rows[asked]), labels[asked]) for reader in readers]
    return _fit(rows, labels, STRENGTHS[int(np.argmax(scores))])


def _balance(guesses: Int64[np.ndarray, " n"], labels: Int64[np.ndarray, " n"]) -> float:
    return float(np.mean([np.mean(guesses[labels == label] == label) for label in np.unique(labels)]))


def _fit(rows: Float64[np.ndarray, "n d"], labels: Int64[np.ndarray, " n"], strength: float) -> Any:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    logistic = LogisticRegression(C=strength, class_weight="balanced", max_iter=MAX_ITERATIONS)
    with warnings.catch_warnings():
        # After 500 steps the cut hardly moves, and the judgement is made on pictures left out in any case.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return make_pipeline(StandardScaler(), logistic).fit(rows, labels)
