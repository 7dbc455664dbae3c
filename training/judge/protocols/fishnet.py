"""FishNet: which of nine habitats and ways of feeding a fish has (Khan et al. 2023, ICCV), 94,532 photographs.

Layout (samuelstevens/biobench:src/biobench/fishnet/download.py; the columns are those of
faixan-khan/FishNet:anns/test.csv)::

    train.csv, test.csv      image, Folder, FeedingPath (pelagic or benthic), and 0 or 1 in Tropical, Temperate,
                             Subtropical, Boreal, Polar, freshwater, saltwater, brackish
    Image_Library/<Folder>/<image>

The tables may lie in `anns/`, as in the repository.

Protocol of BioCLIP 2 (Imageomics/bioclip-2:src/evaluation/fishnet.py): rows with an empty label are left out (75,631 to
learn from, 18,901 asked), a head per run (`attribute_heads`), learning rate 1e-4; a picture counts where all nine
labels are right; mean of three runs. Intervals resample genera (column `Genus`, or families by `Folder` where a table
has none), for the labels are those of the kind and not of the picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from indexer.errors import SourceError
from training.judge.bootstrap import Resampling, estimate_mean
from training.judge.naming import EncodeTexts
from training.judge.protocols.attribute_heads import THRESHOLD, HeadSettings, predict_with_head
from training.judge.protocols.base import Effort, JudgeProtocol, make_figure, read_csv, require, require_columns
from training.judge.protocols.pictures import Pictures, require_pictures

if TYPE_CHECKING:
    from jaxtyping import Bool, Float32, Float64, Int64

    from training.judge.figures import Figure

FEEDING = "FeedingPath"
FEEDING_VALUES = {"pelagic": True, "benthic": False}
LABELS = (FEEDING, "Tropical", "Temperate", "Subtropical", "Boreal", "Polar", "freshwater", "saltwater", "brackish")
LEARNING_RATE = 1e-4
LAYOUT = "train.csv and test.csv (or anns/ with them) and Image_Library/"


@dataclass(frozen=True, kw_only=True)
class FishNetTask:
    """Fish with nine labels each; the first `n_train` are those to learn from.

    Attributes:
        groups: The genus of each fish, as a number.
    """

    pictures: Pictures
    labels: Bool[np.ndarray, "n 9"]
    groups: Int64[np.ndarray, " n"]
    n_train: int

    def judge(self, vectors: Float32[np.ndarray, "n d"], encode_texts: EncodeTexts, effort: Effort) -> list[Figure]:
        """How often all nine are right, and each of them, as means over the runs."""
        truth = self.labels[self.n_train :]
        right = np.zeros(truth.shape)
        all_right = np.zeros(len(truth))
        for run in range(effort.n_runs):
            settings = HeadSettings(learning_rate=LEARNING_RATE, n_epochs=effort.n_epochs, seed=effort.seed + run)
            logits = predict_with_head(
                vectors[: self.n_train], self.labels[: self.n_train], vectors[self.n_train :], settings
            )
            agrees = (logits > THRESHOLD) == truth
            right += agrees / effort.n_runs
            all_right += agrees.all(axis=1) / effort.n_runs
        return self._report(all_right, right, effort)

    def _report(
        self, all_right: Float64[np.ndarray, " m"], right: Float64[np.ndarray, "m 9"], effort: Effort
    ) -> list[Figure]:
        truth = self.labels[self.n_train :]
        resampling = Resampling(self.groups[self.n_train :], n_draws=effort.n_resamples, seed=effort.seed)
        usual, single = find_usual(self.labels[: self.n_train])
        whole = make_figure(
            "FishNet",
            "all nine right",
            estimate_mean(all_right, resampling),
            chance=float((truth == usual).all(axis=1).mean()),
            n=len(truth),
            n_groups=resampling.n_groups,
            is_headline=True,
        )
        parts = [
            make_figure(
                "FishNet",
                "right",
                estimate_mean(right[:, place], resampling),
                detail=label,
                chance=float((truth[:, place] == single[place]).mean()),
                n=len(truth),
                n_groups=resampling.n_groups,
            )
            for place, label in enumerate(LABELS)
        ]
        return [whole, *parts]


def find_usual(labels: Bool[np.ndarray, "n l"]) -> tuple[Bool[np.ndarray, " l"], Bool[np.ndarray, " l"]]:
    """The commonest combination of labels, and the commoner value of each: what one answers without looking."""
    combinations, counts = np.unique(labels, axis=0, return_counts=True)
    return combinations[counts.argmax()], labels.mean(axis=0) > 0.5


def load_fishnet(folder: Path) -> FishNetTask:
    """The two tables and their pictures.

    Raises:
        SourceError: the folder lacks something, or a label is not one of those known.
    """
    tables = folder / "anns" if (folder / "anns" / "test.csv").is_file() else folder
    require(tables, ("train.csv", "test.csv"), benchmark="FishNet", layout=LAYOUT)
    require(folder, ("Image_Library",), benchmark="FishNet", layout=LAYOUT)
    train, test = (_read_part(folder, tables / f"{part}.csv") for part in ("train", "test"))
    genera = [*train.genera, *test.genera]
    return FishNetTask(
        pictures=require_pictures([*train.paths, *test.paths], where=folder, benchmark="FishNet"),
        labels=np.concatenate([train.labels, test.labels]),
        groups=np.unique(genera, return_inverse=True)[1].astype(np.int64),
        n_train=len(train.paths),
    )


@dataclass(frozen=True, kw_only=True)
class _Part:
    """The rows of one table that have all nine labels."""

    paths: list[Path]
    labels: Bool[np.ndarray, "n 9"]
    genera: list[str]


def _read_part(folder: Path, path: Path) -> _Part:
    table = read_csv(path)
    require_columns(table, (*LABELS, "image", "Folder"), where=path)
    cells = np.array([table[label].to_pylist() for label in LABELS], dtype=object).reshape(len(LABELS), -1)
    kept: Int64[np.ndarray, " k"] = np.flatnonzero((cells != "").all(axis=0))
    if not len(kept):
        raise SourceError(f"{path}: no row has all of {', '.join(LABELS)}; take the table as it was published.")
    labels = np.array([[_read_label(cells[i, row], path) for i in range(len(LABELS))] for row in kept])
    images, folders = table["image"].to_pylist(), table["Folder"].to_pylist()
    genera = table["Genus"].to_pylist() if "Genus" in table.column_names else folders
    root = folder / "Image_Library"
    return _Part(
        paths=[root / folders[row] / images[row].rpartition("/")[2] for row in kept],
        labels=labels,
        genera=[genera[row] or folders[row] for row in kept],
    )


def _read_label(cell: str, path: Path) -> bool:
    if cell in FEEDING_VALUES:
        return FEEDING_VALUES[cell]
    if cell.removesuffix(".0") in ("0", "1"):
        return cell[0] == "1"
    raise SourceError(
        f"{path}: '{cell}' is no label; use 0, 1, pelagic or benthic. Take the table as it was published."
    )


FISHNET = JudgeProtocol(
    name="fishnet",
    title="FishNet",
    layout=LAYOUT,
    measures="share of fish of which all nine labels of habitat and feeding are predicted right",
    load=load_fishnet,
)
