"""Figures of learning from examples: SimpleShot after a few of them, and linear probes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from indexer.terms import RANKS
from training.judge.bootstrap import Resampling, estimate_class_mean
from training.judge.few_shot import judge_few_shot
from training.judge.figures import Ask, Task
from training.judge.linear_probe import probe_labels
from training.judge.naming_figures import BALANCED, EVEN, TOP_1

if TYPE_CHECKING:
    from jaxtyping import Int64

    from training.judge.case import Case
    from training.judge.collection import Question
    from training.judge.figures import Figure

OTHER_OCCURRENCES, OTHER_SPECIES = "other occurrences", "other species"


def name_after_examples(case: Case, question: Question, *, n_shots: int) -> Iterator[Figure]:
    """Naming after a few examples per class; see `training.judge.few_shot`."""
    settings = case.settings
    result = judge_few_shot(
        case.vectors,
        question.labels,
        case.collection.occurrences,
        n_shots=n_shots,
        n_folds=settings.n_folds,
        seed=settings.seed,
    )
    what = f"{n_shots} example{'s' if n_shots > 1 else ''}"
    n_classes, n_all = len(result.classes), len(question.names)
    if n_classes < n_all:
        subject = _say_missing(n_classes, n_all)
        why = f"they have fewer than {n_shots + 1} occurrences, which examples and a picture to be named take"
        case.leave_out(f"{subject} of {question.label} when named after {what}", _add_alone(why, n_classes))
    if n_classes < 2:
        return
    ask = Ask(
        task=Task.FEW_SHOT,
        label=question.label,
        measure=TOP_1,
        detail=what,
        chance=result.chance,
        n_classes=n_classes,
    )
    yield case.count_mean(ask, result.by_fold)
    even = replace(ask, measure=EVEN, is_headline=True)
    yield case.count_even(even, result.by_fold, question.labels)


def _say_missing(n_classes: int, n_all: int) -> str:
    return f"All {n_all:,} classes" if n_classes < 2 else f"{n_all - n_classes:,} of {n_all:,} classes"


def _add_alone(why: str, n_classes: int) -> str:
    return f"{why}, but for one, and two are needed" if n_classes == 1 else why


def probe(case: Case, question: Question) -> Iterator[Figure]:
    """A linear probe asked about other occurrences; of a column also about other species.

    What a probe was not fitted on is what its interval resamples: where all pictures of a species have one value, they
    are one piece of evidence, however many there are.
    """
    n_classes, most = len(question.names), case.settings.max_probe_classes
    if n_classes > most:
        why = f"it has {n_classes:,} classes; a probe is fitted for up to {most}"
        case.leave_out(f"Linear probe of {question.label}", why)
        return
    yield from _probe_apart(case, question, case.collection.occurrences, detail=OTHER_OCCURRENCES)
    if question.rank is None:
        species = case.collection.ask_rank(len(RANKS) - 1).labels
        known = replace(question, labels=np.where(species >= 0, question.labels, -1))
        yield from _probe_apart(case, known, species, detail=OTHER_SPECIES)


def _probe_apart(case: Case, question: Question, groups: Int64[np.ndarray, " n"], *, detail: str) -> Iterator[Figure]:
    settings = case.settings
    result = probe_labels(case.vectors, question.labels, groups, n_folds=settings.n_folds, seed=settings.seed)
    n_classes, n_all = len(result.classes), len(question.names)
    if n_classes < n_all:
        subject = _say_missing(n_classes, n_all)
        why = _add_alone(f"they are found in fewer than two {detail.removeprefix('other ')}", n_classes)
        case.leave_out(f"{subject} of {question.label} in the linear probe on {detail}", why)
    if n_classes < 2:
        return
    n_groups = len(np.unique(groups[np.isfinite(result.correct)]))
    ask = Ask(
        task=Task.PROBE,
        label=question.label,
        measure=BALANCED,
        detail=f"on {detail}" if detail == OTHER_OCCURRENCES else f"on {detail} (of {n_groups:,})",
        chance=result.chance,
        n_classes=n_classes,
        is_headline=True,
    )
    resampling = Resampling(groups, n_draws=settings.n_draws, seed=settings.seed)
    yield case.answer(ask, estimate_class_mean(result.correct, question.labels, resampling), result.correct)
