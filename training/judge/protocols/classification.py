"""Naming sets of pictures: without examples, and after one and five of them, as BioCLIP and BioCLIP 2 are judged.

Source: Imageomics/bioclip-2:src/evaluation/zero_shot_iid.py, few_shot.py and data.py, slurm/eval.sh. Classes are the
different class texts of a set. Zero-shot: texts of all templates are embedded, averaged and brought to unit length,
top-1 and top-5 accuracy. Few-shot: SimpleShot of 1 and 5 examples, 5 folds, every other picture of the set asked.

Differences: a class without a picture more than there are shots takes no part in that figure (the released code stops
there, or asks nothing of it); the draws are numpy's, not those of Python's `random`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from training.judge.bootstrap import Resampling, estimate_mean
from training.judge.few_shot import judge_few_shot
from training.judge.metrics import measure_top_k
from training.judge.naming import EncodeTexts, encode_classes
from training.judge.protocols.base import Effort, average_estimates, make_figure
from training.judge.protocols.pictures import Pictures

if TYPE_CHECKING:
    from jaxtyping import Float32, Int64

    from training.judge.figures import Figure

N_SHOTS = (1, 5)


@dataclass(frozen=True, kw_only=True)
class NamingSet:
    """Pictures and the text of the class of each.

    Attributes:
        name: In the table.
        start: Position of its first picture among the task's; its pictures follow one another.
        texts: The class text of each picture, as it goes into the templates.
    """

    name: str
    start: int
    texts: tuple[str, ...]

    def number_classes(self) -> tuple[Int64[np.ndarray, " n"], list[str]]:
        """The class of each picture, and the classes in the order in which they first come up."""
        places = {text: place for place, text in enumerate(dict.fromkeys(self.texts))}
        return np.array([places[text] for text in self.texts], np.int64), list(places)


@dataclass(frozen=True, kw_only=True)
class NamingTask:
    """One or more sets, each with its own classes; over several sets the mean is given, each set counting the same."""

    pictures: Pictures
    sets: tuple[NamingSet, ...]
    mean: str | None = None
    """What the mean over the sets is called; None where there is none."""

    def judge(self, vectors: Float32[np.ndarray, "n d"], encode_texts: EncodeTexts, effort: Effort) -> list[Figure]:
        """Top-1 and top-5 without examples, top-1 after one and five, per set and as the mean over the sets."""
        figures: list[Figure] = []
        for part in self.sets:
            own = vectors[part.start : part.start + len(part.texts)]
            figures += _judge_set(part, own, encode_texts, effort, is_headline=self.mean is None)
        return figures if self.mean is None else [*figures, *_average(self.mean, figures)]


def _judge_set(
    part: NamingSet,
    vectors: Float32[np.ndarray, "n d"],
    encode_texts: EncodeTexts,
    effort: Effort,
    *,
    is_headline: bool,
) -> Iterator[Figure]:
    labels, classes = part.number_classes()
    own = np.arange(len(labels))
    resampling = Resampling(own, n_draws=effort.n_resamples, seed=effort.seed)
    scores = vectors @ encode_classes(classes, encode_texts, templates=effort.templates).T
    for k in (1, 5):
        yield make_figure(
            part.name,
            f"top-{k}",
            estimate_mean(measure_top_k(scores, labels, min(k, len(classes))), resampling),
            detail="zero-shot",
            chance=min(k / len(classes), 1),
            n=len(labels),
            n_classes=len(classes),
            is_headline=is_headline and k == 1,
        )
    for n_shots in N_SHOTS:
        result = judge_few_shot(vectors, labels, own, n_shots=n_shots, n_folds=effort.n_folds, seed=effort.seed)
        yield make_figure(
            part.name,
            "top-1",
            estimate_mean(result.by_fold, resampling),
            detail=f"{n_shots}-shot",
            chance=result.chance if len(result.classes) else None,
            n=int(np.isfinite(result.correct).sum()),
            n_classes=len(result.classes),
            is_headline=is_headline,
        )


def _average(name: str, figures: Sequence[Figure]) -> Iterator[Figure]:
    for measure, detail in dict.fromkeys((figure.measure, figure.detail) for figure in figures):
        alike = [figure for figure in figures if (figure.measure, figure.detail) == (measure, detail)]
        chances = [figure.chance for figure in alike if figure.chance is not None]
        yield make_figure(
            name,
            measure,
            average_estimates([figure.estimate for figure in alike]),
            detail=detail,
            chance=float(np.mean(chances)) if len(chances) == len(alike) else None,
            n=sum(figure.n for figure in alike),
            is_headline=measure == "top-1",
        )
