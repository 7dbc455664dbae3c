"""NeWT: 164 two-way questions on species, age, health, behaviour and context (Van Horn et al. 2021, CVPR).

Layout as published (visipedia/newt:README.md)::

    newt2021_labels.csv   id, task_cluster, task_subcluster (may be empty), task, label (0 or 1), text_label,
                          split (train or test), height, width
    newt2021_images/<id>.jpg

Protocol of BioCLIP 2 (Imageomics/bioclip-2:src/evaluation/newt.py, after samuelstevens/biobench:src/biobench/newt): per
task the mean of its training vectors is taken off, vectors get unit length and each component unit variance, and a
support vector machine is chosen by a random search of 100 draws over C (1e-3 to 10), gamma (1e-4 to 1e-3) and kernel,
with five-fold cross-validation; every test picture counts the same (micro-accuracy); mean of three runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from indexer.errors import SourceError
from training.judge.bootstrap import Resampling, estimate_mean
from training.judge.naming import EncodeTexts
from training.judge.protocols.base import Effort, JudgeProtocol, make_figure, read_csv, require, require_columns
from training.judge.protocols.pictures import Pictures, require_pictures

if TYPE_CHECKING:
    from jaxtyping import Bool, Float32, Float64, Int64

    from training.judge.figures import Figure

LAYOUT = "newt2021_labels.csv and newt2021_images/"
COLUMNS = ("id", "task", "task_cluster", "label", "split")
KERNELS = ("rbf", "linear", "sigmoid", "poly")
C_RANGE = (1e-3, 1e1)
GAMMA_RANGE = (1e-4, 1e-3)

Classify = Callable[
    ["Float32[np.ndarray, 'n d']", "Bool[np.ndarray, ' n']", "Float32[np.ndarray, 'm d']", int],
    "Bool[np.ndarray, ' m']",
]
"""The answers to pictures asked, after learning from others, with a seed."""


@dataclass(frozen=True, kw_only=True)
class NewtTask:
    """Pictures with the question asked of each.

    Attributes:
        tasks, clusters: The question, and what sort it is, of each picture.
        labels: The right answer.
        is_train: Whether it may be learned from.
    """

    pictures: Pictures
    tasks: tuple[str, ...]
    clusters: tuple[str, ...]
    labels: Bool[np.ndarray, " n"]
    is_train: Bool[np.ndarray, " n"]

    def judge(self, vectors: Float32[np.ndarray, "n d"], encode_texts: EncodeTexts, effort: Effort) -> list[Figure]:
        """Share of right answers, over all the test pictures and per cluster."""

        def classify(
            learned: Float32[np.ndarray, "n d"],
            labels: Bool[np.ndarray, " n"],
            asked: Float32[np.ndarray, "m d"],
            seed: int,
        ) -> Bool[np.ndarray, " m"]:
            return search_machine(learned, labels, asked, seed=seed, n_draws=effort.n_draws, n_jobs=effort.n_jobs)

        return self.report(self.answer(vectors, classify, effort), effort)

    def answer(
        self, vectors: Float32[np.ndarray, "n d"], classify: Classify, effort: Effort
    ) -> Float64[np.ndarray, " n"]:
        """Share of the runs in which each test picture is answered right; nan for those to learn from."""
        correct = np.full(len(self.labels), np.nan)
        for train, test in self._split():
            mean = vectors[train].mean(axis=0)
            learned, asked = _unit(vectors[train] - mean), _unit(vectors[test] - mean)
            answers = [
                classify(learned, self.labels[train], asked, effort.seed + run) == self.labels[test]
                for run in range(effort.n_runs)
            ]
            correct[test] = np.mean(answers, axis=0)
        return correct

    def _split(self) -> Iterator[tuple[Int64[np.ndarray, " t"], Int64[np.ndarray, " q"]]]:
        tasks = np.array(self.tasks)
        for task in dict.fromkeys(self.tasks):
            own = tasks == task
            yield np.flatnonzero(own & self.is_train), np.flatnonzero(own & ~self.is_train)

    def _answer_blindly(self) -> Float64[np.ndarray, " n"]:
        """Whether the commoner answer of a task's training pictures is right; one half where both are as common."""
        right = np.full(len(self.labels), np.nan)
        for train, test in self._split():
            share = self.labels[train].mean()
            right[test] = 0.5 if share == 0.5 else self.labels[test] == (share > 0.5)
        return right

    def report(self, correct: Float64[np.ndarray, " n"], effort: Effort) -> list[Figure]:
        """The figures from the share of runs in which each test picture is answered right."""
        blind, clusters = self._answer_blindly(), np.array(self.clusters)
        figures = []
        for name in ("", *sorted(set(self.clusters))):
            own = ~self.is_train & ((clusters == name) if name else True)
            resampling = Resampling(np.arange(own.sum()), n_draws=effort.n_resamples, seed=effort.seed)
            figures.append(
                make_figure(
                    "NeWT",
                    "accuracy",
                    estimate_mean(correct[own], resampling),
                    detail=name,
                    chance=float(blind[own].mean()),
                    n=int(own.sum()),
                    n_classes=2,
                    is_headline=not name,
                )
            )
        return figures


def search_machine(
    vectors: Float32[np.ndarray, "n d"],
    labels: Bool[np.ndarray, " n"],
    asked: Float32[np.ndarray, "m d"],
    *,
    seed: int,
    n_draws: int,
    n_jobs: int,
) -> Bool[np.ndarray, " m"]:
    """The answers of the support vector machine that did best in cross-validation among randomly drawn ones."""
    import scipy.stats
    from sklearn.model_selection import RandomizedSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    search = RandomizedSearchCV(
        make_pipeline(StandardScaler(), SVC()),
        {
            "svc__C": scipy.stats.loguniform(*C_RANGE),
            "svc__kernel": KERNELS,
            "svc__gamma": scipy.stats.loguniform(*GAMMA_RANGE),
        },
        n_iter=n_draws,
        n_jobs=n_jobs,
        random_state=seed,
    )
    answers: Bool[np.ndarray, " m"] = search.fit(vectors, labels).predict(asked)
    return answers


def _unit(vectors: Float32[np.ndarray, "n d"]) -> Float32[np.ndarray, "n d"]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1)


def load_newt(folder: Path) -> NewtTask:
    """The questions and their pictures.

    Raises:
        SourceError: the folder lacks something, or a task lacks training or test pictures of both answers.
    """
    require(folder, ("newt2021_labels.csv", "newt2021_images"), benchmark="NeWT", layout=LAYOUT)
    path = folder / "newt2021_labels.csv"
    table = read_csv(path)
    require_columns(table, COLUMNS, where=path)
    ids, tasks, clusters, labels, splits = (table[column].to_pylist() for column in COLUMNS)
    task = NewtTask(
        pictures=require_pictures(
            [folder / "newt2021_images" / f"{name}.jpg" for name in ids], where=folder, benchmark="NeWT"
        ),
        tasks=tuple(tasks),
        clusters=tuple(clusters),
        labels=np.array([label == "1" for label in labels]),
        is_train=np.array([split == "train" for split in splits]),
    )
    for train, test in task._split():
        if len(set(task.labels[train].tolist())) < 2 or not len(test):
            raise SourceError(
                f"{path}: task '{tasks[[*train, *test][0]]}' lacks training pictures of an answer, or test pictures; "
                "take the table as it was published."
            )
    return task


NEWT = JudgeProtocol(
    name="newt",
    title="NeWT",
    layout=LAYOUT,
    measures="accuracy over the test pictures of 164 two-way questions, and per cluster",
    load=load_newt,
)
