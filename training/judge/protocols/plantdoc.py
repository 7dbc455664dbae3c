"""PlantDoc: 2,598 photographs of leaves from the web, of 27 or 28 crops and diseases (Singh et al. 2020, CoDS-COMAD).

Layout as published (pratikkayal/PlantDoc-Dataset): `train/<class>/<picture>` and `test/<class>/<picture>`.

Protocol of BioCLIP 2 (Imageomics/bioclip-2:src/evaluation/plantdoc.py): SimpleShot with one training picture per class,
all test pictures asked, five draws, mean accuracy.

Difference: "Tomato two spotted spider mites leaf" has two training pictures and no test picture. The released code
numbers the classes of train/ and test/ apart, each by their sorted folders, so that "grape leaf" and "grape leaf black
rot", which come after it, never count as right. Here classes are matched by name.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from indexer.errors import SourceError
from training.judge.bootstrap import Resampling, estimate_mean
from training.judge.few_shot import score_by_means
from training.judge.metrics import measure_top_k
from training.judge.naming import EncodeTexts
from training.judge.protocols.base import Effort, JudgeProtocol, make_figure, require
from training.judge.protocols.pictures import Pictures, list_classes, list_images, require_pictures

if TYPE_CHECKING:
    from jaxtyping import Float32, Int64

    from training.judge.figures import Figure

LAYOUT = "train/<class>/ and test/<class>/, as in the repository"


@dataclass(frozen=True, kw_only=True)
class PlantDocTask:
    """Leaves with their classes; the first `n_train` are those to choose the examples from."""

    pictures: Pictures
    labels: Int64[np.ndarray, " n"]
    n_train: int

    def judge(self, vectors: Float32[np.ndarray, "n d"], encode_texts: EncodeTexts, effort: Effort) -> list[Figure]:
        """Accuracy after one example of each class, as the mean over the draws."""
        train, asked = self.labels[: self.n_train], self.labels[self.n_train :]
        classes = np.unique(train)
        answers = np.searchsorted(classes, asked)
        correct = np.zeros(len(asked))
        for fold in range(effort.n_folds):
            shown = choose_examples(train, seed=effort.seed + fold)
            scores = score_by_means(vectors[shown], train[shown], vectors[self.n_train :])
            correct += measure_top_k(scores, answers, 1) / effort.n_folds
        resampling = Resampling(np.arange(len(asked)), n_draws=effort.n_resamples, seed=effort.seed)
        return [
            make_figure(
                "PlantDoc",
                "top-1",
                estimate_mean(correct, resampling),
                detail="1-shot",
                chance=1 / len(classes),
                n=len(asked),
                n_classes=len(classes),
                is_headline=True,
            )
        ]


def choose_examples(labels: Int64[np.ndarray, " n"], *, seed: int) -> Int64[np.ndarray, " c"]:
    """One position of each label, at random, in the order of the labels."""
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    _, first = np.unique(labels[shuffled], return_index=True)
    chosen: Int64[np.ndarray, " c"] = shuffled[first]
    return chosen


def load_plantdoc(folder: Path) -> PlantDocTask:
    """The pictures of train/, then of test/.

    Raises:
        SourceError: the folder lacks something, or test/ has a class that train/ has not.
    """
    require(folder, ("train", "test"), benchmark="PlantDoc", layout=LAYOUT)
    names = [path.name for path in list_classes(folder / "train")]
    strange = [path.name for path in list_classes(folder / "test") if path.name not in names]
    if strange or not names:
        raise SourceError(
            f"{folder}: train/ has {len(names)} classes, and lacks {', '.join(strange) or 'all'} of test/; "
            f"PlantDoc needs {LAYOUT}. Unpack the whole data set there."
        )
    parts = [_list_part(folder / part, names) for part in ("train", "test")]
    if not all(paths for paths, _ in parts):
        raise SourceError(f"{folder}: train/ or test/ holds no pictures; PlantDoc needs {LAYOUT}.")
    return PlantDocTask(
        pictures=require_pictures([path for paths, _ in parts for path in paths], where=folder, benchmark="PlantDoc"),
        labels=np.array([label for _, labels in parts for label in labels], np.int64),
        n_train=len(parts[0][0]),
    )


def _list_part(folder: Path, names: list[str]) -> tuple[list[Path], list[int]]:
    found = [(path, names.index(own.name)) for own in list_classes(folder) for path in list_images(own)]
    return [path for path, _ in found], [label for _, label in found]


PLANTDOC = JudgeProtocol(
    name="plantdoc",
    title="PlantDoc",
    layout=LAYOUT,
    measures="accuracy after one example of each class, mean of five draws",
    load=load_plantdoc,
)
