"""AwA2: which of 85 attributes animals have of kinds that the head has never seen (Xian et al. 2019, TPAMI).

Layout as published (cvml.ista.ac.at/AwA2; a tree of it stands in a README of a copy, and the first three files in
../shared/data/traits/awa2)::

    classes.txt                   "     1\tantelope", 50 kinds
    predicates.txt                "     1\tblack", 85 attributes
    predicate-matrix-binary.txt   50 lines of 85 zeros and ones
    trainclasses.txt, testclasses.txt   40 and 10 kinds, one a line
    JPEGImages/<kind>/<picture>

Protocol of BioCLIP 2 (Imageomics/bioclip-2:src/evaluation/awa2.py): a head per run (`attribute_heads`), learning rate
1e-5, asked about the pictures of the ten test kinds, F1 per attribute, mean of three runs.

Differences: the released code passes `labels=np.unique(y_true)`, which is [0, 1], to scikit-learn's `f1_score`. For a
table of labels these are places of columns, so its "macro-F1" is the mean over the first two attributes, black and
white. Both are given here: `macro-F1` over all attributes that a picture asked about has, and `F1 of black and white`,
to be held against published figures. Intervals resample kinds, for all pictures of a kind have the same labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from indexer.errors import SourceError
from training.judge.bootstrap import Resampling, Statistic, centre_draws, summarise_draws
from training.judge.naming import EncodeTexts
from training.judge.protocols.attribute_heads import THRESHOLD, HeadSettings, predict_with_head
from training.judge.protocols.base import Effort, JudgeProtocol, make_figure, require
from training.judge.protocols.pictures import Pictures, list_images, require_pictures

if TYPE_CHECKING:
    from jaxtyping import Bool, Float32, Float64, Int64

    from training.judge.bootstrap import Estimate
    from training.judge.figures import Figure

LEARNING_RATE = 1e-5
N_RELEASED = 2
"""Attributes that the released code counts."""
LAYOUT = (
    "classes.txt, predicates.txt, predicate-matrix-binary.txt, trainclasses.txt, testclasses.txt and JPEGImages/, "
    "as Animals_with_Attributes2 unpacks"
)
FILES = (
    *("classes.txt", "predicates.txt", "predicate-matrix-binary.txt"),
    *("trainclasses.txt", "testclasses.txt", "JPEGImages"),
)


@dataclass(frozen=True, kw_only=True)
class Attributes:
    """Which kind has which attribute."""

    kinds: tuple[str, ...]
    names: tuple[str, ...]
    matrix: Bool[np.ndarray, "k a"]


@dataclass(frozen=True, kw_only=True)
class AwA2Task:
    """Pictures of animals; the first `n_train` are of the kinds to learn from.

    Attributes:
        kinds: The kind of each picture, as a row of the matrix.
    """

    pictures: Pictures
    attributes: Attributes
    kinds: Int64[np.ndarray, " n"]
    n_train: int

    def judge(self, vectors: Float32[np.ndarray, "n d"], encode_texts: EncodeTexts, effort: Effort) -> list[Figure]:
        """Macro-F1 over the attributes, and over the two that the released code counts."""
        labels = self.attributes.matrix[self.kinds]
        truth = labels[self.n_train :]
        runs = []
        for run in range(effort.n_runs):
            settings = HeadSettings(learning_rate=LEARNING_RATE, n_epochs=effort.n_epochs, seed=effort.seed + run)
            logits = predict_with_head(
                vectors[: self.n_train], labels[: self.n_train], vectors[self.n_train :], settings
            )
            runs.append(logits > THRESHOLD)
        asked = self.kinds[self.n_train :]
        resampling = Resampling(asked, n_draws=effort.n_resamples, seed=effort.seed)
        known = truth.any(axis=0)
        released = np.arange(truth.shape[1]) < N_RELEASED
        names = " and ".join(self.attributes.names[:N_RELEASED])
        return [
            _make_figure("macro-F1", runs, truth, resampling, columns=known, n_kinds=len(np.unique(asked))),
            _make_figure(f"F1 of {names}", runs, truth, resampling, columns=released, n_kinds=len(np.unique(asked))),
        ]


def _make_figure(
    measure: str,
    runs: list[Bool[np.ndarray, "m a"]],
    truth: Bool[np.ndarray, "m a"],
    resampling: Resampling,
    *,
    columns: Bool[np.ndarray, " a"],
    n_kinds: int,
) -> Figure:
    return make_figure(
        "AwA2",
        measure,
        estimate_macro_f1([run[:, columns] for run in runs], truth[:, columns], resampling),
        chance=float(measure_macro_f1(np.ones_like(truth[:, columns]), truth[:, columns])),
        n=len(truth),
        n_groups=n_kinds,
        n_classes=int(columns.sum()),
        is_headline=measure == "macro-F1",
    )


def measure_macro_f1(predicted: Bool[np.ndarray, "m a"], truth: Bool[np.ndarray, "m a"]) -> float:
    """The mean over columns of 2 TP / (2 TP + FP + FN); 0 where a column is neither there nor predicted."""
    both = (predicted & truth).sum(axis=0)
    sizes = predicted.sum(axis=0) + truth.sum(axis=0)
    return float(np.mean(2 * both / np.maximum(sizes, 1)))


def estimate_macro_f1(
    runs: list[Bool[np.ndarray, "m a"]], truth: Bool[np.ndarray, "m a"], resampling: Resampling
) -> Estimate:
    """The mean of the runs' macro-F1, with an interval over the groups of the resampling.

    An attribute that no group of a resample has is left out of its mean, for there is nothing of it to be found there;
    the draws are centred on the value.
    """
    estimates = [resampling.estimate(_weighted_macro_f1(run, truth, resampling)) for run in runs]
    value = float(np.mean([estimate.value for estimate in estimates]))
    draws = np.mean([estimate.draws for estimate in estimates], axis=0)
    return centre_draws(summarise_draws(value, draws, n_groups=resampling.n_groups))


def _weighted_macro_f1(
    predicted: Bool[np.ndarray, "m a"], truth: Bool[np.ndarray, "m a"], resampling: Resampling
) -> Statistic:
    both, either, held = (
        _sum_groups(table.astype(float), resampling)
        for table in (predicted & truth, predicted.astype(int) + truth.astype(int), truth)
    )
    # Where no picture at all has an attribute, it counts as 0, as in `measure_macro_f1`.
    is_nowhere = ~truth.any(axis=0)

    def measure(weights: Float32[np.ndarray, "b g"]) -> Float64[np.ndarray, " b"]:
        counts = (weights @ held > 0) | is_nowhere
        has_any = counts & (weights @ either > 0)
        shares = np.divide(2 * (weights @ both), weights @ either, out=np.zeros(counts.shape), where=has_any)
        means: Float64[np.ndarray, " b"] = shares.sum(axis=1) / np.maximum(counts.sum(axis=1), 1)
        return means

    return measure


def _sum_groups(table: Float64[np.ndarray, "m a"], resampling: Resampling) -> Float64[np.ndarray, "g a"]:
    sums = np.zeros((resampling.n_groups, table.shape[1]))
    np.add.at(sums, resampling.groups, table)
    return sums


def load_awa2(folder: Path) -> AwA2Task:
    """The pictures of the kinds to learn from, then of those asked about.

    Raises:
        SourceError: the folder lacks something, or its tables do not fit each other.
    """
    require(folder, FILES, benchmark="AwA2", layout=LAYOUT)
    attributes = read_attributes(folder)
    (train_paths, train), (test_paths, test) = (
        _list_part(folder, folder / f"{part}classes.txt", attributes) for part in ("train", "test")
    )
    return AwA2Task(
        pictures=require_pictures([*train_paths, *test_paths], where=folder, benchmark="AwA2"),
        attributes=attributes,
        kinds=np.array([*train, *test], np.int64),
        n_train=len(train),
    )


def read_attributes(folder: Path) -> Attributes:
    """The table of kinds and attributes.

    Raises:
        SourceError: the table is not as large as the lists of its rows and columns.
    """
    kinds, names = (_read_names(folder / file) for file in FILES[:2])
    lines = (folder / FILES[2]).read_text(encoding="utf-8").split("\n")
    rows = [[cell == "1" for cell in line.split()] for line in lines if line.strip()]
    if len(rows) != len(kinds) or any(len(row) != len(names) for row in rows):
        raise SourceError(
            f"{folder / FILES[2]}: {len(rows)} rows of {len(rows[0]) if rows else 0}; classes.txt and predicates.txt "
            f"ask for {len(kinds)} rows of {len(names)}. Take the files of one release."
        )
    return Attributes(kinds=kinds, names=names, matrix=np.array(rows))


def _read_names(path: Path) -> tuple[str, ...]:
    """The last word of each line: with a number before it, as published, or without."""
    return tuple(line.split()[-1] for line in path.read_text(encoding="utf-8").splitlines() if line.strip())


def _list_part(folder: Path, path: Path, attributes: Attributes) -> tuple[list[Path], list[int]]:
    paths: list[Path] = []
    kinds: list[int] = []
    for kind in _read_names(path):
        images = folder / "JPEGImages" / kind
        if kind not in attributes.kinds or not images.is_dir():
            raise SourceError(
                f"{path}: '{kind}' is not in classes.txt, or has no folder JPEGImages/{kind}; {LAYOUT} are needed. "
                "Unpack the whole data set there."
            )
        files = list_images(images)
        paths += files
        kinds += [attributes.kinds.index(kind)] * len(files)
    return paths, kinds


AWA2 = JudgeProtocol(
    name="awa2",
    title="AwA2",
    layout=LAYOUT,
    measures="macro-F1 of attributes predicted for kinds never seen",
    load=load_awa2,
)
