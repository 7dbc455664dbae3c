"""Herbarium19: sorting herbarium sheets into 683 species of which half have never been named (Tan et al. 2019).

Layout as published (visipedia/herbarium_comp:2019/README_2019.md): `small-train/<category>/<id>.jpg`, of which the
protocol uses this part alone. The list of known and new classes is `herbarium_19_class_splits.pkl`
(sgvaze/generalized-category-discovery:data/ssb_splits), with the keys Old and New; put it beside small-train/. Without
it half of the classes are drawn as that repository's data/herbarium_19.py draws them when run alone; whether it is the
same half could not be checked.

Protocol of BioCLIP 2 (Imageomics/bioclip-2:src/evaluation/herbarium19.py): generalised category discovery (Vaze et al.
2022, CVPR). 80 % of the pictures of the known classes are labelled, all others are to be sorted, by k-means with as
many clusters as there are classes that holds the labelled ones fast (`cluster_with_labels`, 10 rounds). Clusters are
matched with classes one to one, so that most pictures are right, among pictures of known classes and, apart from it,
among those of new ones; accuracy over both. Three runs.

A cluster may so be matched once among the known and once among the new; Vaze et al.'s own accuracy for all matches once
(their equation 5) and is given as `one matching`. An empty cluster keeps its centre (there it turns into nan).
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from indexer.errors import SourceError
from training.judge.bootstrap import Resampling, estimate_mean
from training.judge.naming import EncodeTexts
from training.judge.protocols.base import Effort, JudgeProtocol, make_figure, require
from training.judge.protocols.pictures import Pictures, list_classes, list_images, require_pictures

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jaxtyping import Bool, Float32, Float64, Int64

    from training.judge.figures import Figure

FOLDER = "small-train"
SPLITS = "herbarium_19_class_splits.pkl"
LAYOUT = f"{FOLDER}/<category>/, and {SPLITS} for the published choice of known classes"
LABELLED_SHARE = 0.8
N_ROUNDS = 10
TOLERANCE = 1e-4
BLOCK = 4096
"""Pictures whose distances to the centres are held at once."""


@dataclass(frozen=True, kw_only=True)
class HerbariumTask:
    """Sheets with their species.

    Attributes:
        labels: Class of each sheet: 0 to `n_known` - 1 are known, the others new.
        is_labelled: Whether its label is given; never for a new class.
    """

    pictures: Pictures
    labels: Int64[np.ndarray, " n"]
    is_labelled: Bool[np.ndarray, " n"]
    n_known: int

    def judge(self, vectors: Float32[np.ndarray, "n d"], encode_texts: EncodeTexts, effort: Effort) -> list[Figure]:
        """Accuracy over the sheets to be sorted, over those of known and of new classes, as means over the runs."""
        n_classes = int(self.labels.max()) + 1
        asked = self.labels[~self.is_labelled]
        known = asked < self.n_known
        apart, once = np.zeros(len(asked)), np.zeros(len(asked))
        for run in range(effort.n_runs):
            clusters = cluster_with_labels(
                vectors[self.is_labelled],
                self.labels[self.is_labelled],
                vectors[~self.is_labelled],
                n_clusters=n_classes,
                seed=effort.seed + run,
            )
            for part in (known, ~known):
                apart[part] += match_clusters(clusters[part], asked[part]) / effort.n_runs
            once += match_clusters(clusters, asked) / effort.n_runs
        parts = {"": known | ~known, "known species": known, "new species": ~known}
        figures = [_make_figure(apart[part], effort, n_classes, detail=name) for name, part in parts.items()]
        return [*figures, _make_figure(once, effort, n_classes, detail="one matching")]


def _make_figure(correct: Float64[np.ndarray, " m"], effort: Effort, n_classes: int, *, detail: str) -> Figure:
    resampling = Resampling(np.arange(len(correct)), n_draws=effort.n_resamples, seed=effort.seed)
    return make_figure(
        "Herbarium19",
        "accuracy",
        estimate_mean(correct, resampling),
        detail=detail,
        # A random sorting is matched better than 1 / n_classes, by how much depends on the sizes of the classes.
        chance=None,
        n=len(correct),
        n_classes=n_classes,
        is_headline=not detail,
    )


def match_clusters(clusters: Int64[np.ndarray, " n"], labels: Int64[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
    """Whether each picture's cluster is matched with its class, under the one-to-one matching with most such pictures.

    Kuhn 1955. Of several best matchings one is taken.
    """
    from scipy.optimize import linear_sum_assignment

    if not len(labels):
        return np.empty(0, bool)
    size = int(max(clusters.max(), labels.max())) + 1
    counts = np.zeros((size, size), np.int64)
    np.add.at(counts, (clusters, labels), 1)
    matched = linear_sum_assignment(counts, maximize=True)[1]
    right: Bool[np.ndarray, " n"] = matched[clusters] == labels
    return right


def cluster_with_labels(
    labelled: Float32[np.ndarray, "l d"],
    labels: Int64[np.ndarray, " l"],
    others: Float32[np.ndarray, "n d"],
    *,
    n_clusters: int,
    seed: int,
) -> Int64[np.ndarray, " n"]:
    """The cluster of each of `others` by semi-supervised k-means (Vaze et al. 2022, section 3.2).

    The first centres are the means of the labelled classes, in ascending order, the further ones are drawn from
    `others` by k-means++ (Arthur & Vassilvitskii 2007). Labelled vectors stay in the cluster of their class; the
    sorting with the least inertia is kept
    (sgvaze/generalized-category-discovery:methods/clustering/faster_mix_k_means_pytorch.py).
    """
    classes, codes = np.unique(labels, return_inverse=True)
    centres = _average(labelled.astype(np.float64), codes, np.zeros((len(classes), labelled.shape[1])))
    centres = _draw_centres(others, centres, n_clusters=n_clusters, rng=np.random.default_rng(seed))
    everything = np.concatenate([labelled, others]).astype(np.float64)
    best, least = np.zeros(len(others), np.int64), np.inf
    for _ in range(N_ROUNDS):
        distances, clusters = _find_nearest(others, centres)
        inertia = distances.sum() + ((labelled - centres[codes]) ** 2).sum()
        if inertia < least:
            best, least = clusters, inertia
        former, centres = centres, _average(everything, np.concatenate([codes, clusters]), centres)
        if np.linalg.norm(centres - former, axis=1).sum() ** 2 < TOLERANCE:
            break
    return best


def _average(
    vectors: Float64[np.ndarray, "n d"], clusters: Int64[np.ndarray, " n"], centres: Float64[np.ndarray, "k d"]
) -> Float64[np.ndarray, "k d"]:
    """The mean of each cluster; an empty one keeps its centre."""
    from scipy.sparse import csr_matrix

    sizes = np.bincount(clusters, minlength=len(centres))
    members = csr_matrix(
        (np.ones(len(clusters)), (clusters, np.arange(len(clusters)))), shape=(len(centres), len(vectors))
    )
    means: Float64[np.ndarray, "k d"] = (members @ vectors) / np.maximum(sizes, 1)[:, None]
    return np.where(sizes[:, None] > 0, means, centres)


def _draw_centres(
    vectors: Float32[np.ndarray, "n d"],
    centres: Float64[np.ndarray, "k d"],
    *,
    n_clusters: int,
    rng: np.random.Generator,
) -> Float64[np.ndarray, "c d"]:
    """The centres and further ones, each a vector drawn with a chance in proportion to its squared distance to them."""
    distances = _find_nearest(vectors, centres)[0]
    drawn = list(centres)
    while len(drawn) < n_clusters:
        total = distances.sum()
        chances = distances / total if total > 0 else None
        drawn.append(vectors[rng.choice(len(vectors), p=chances)].astype(np.float64))
        distances = np.minimum(distances, ((vectors - drawn[-1]) ** 2).sum(axis=1))
    return np.stack(drawn)


def _find_nearest(
    vectors: Float32[np.ndarray, "n d"], centres: Float64[np.ndarray, "k d"]
) -> tuple[Float64[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
    """The squared distance to the nearest centre, and which it is."""
    distances, nearest = np.empty(len(vectors)), np.empty(len(vectors), np.int64)
    for rows, block in _blocks(vectors):
        # Not summed before the comparison: |v|² is the same for every centre.
        scores = (centres**2).sum(axis=1) - 2 * block @ centres.T
        nearest[rows] = scores.argmin(axis=1)
        distances[rows] = scores.min(axis=1) + (block**2).sum(axis=1)
    return np.maximum(distances, 0), nearest


def _blocks(vectors: Float32[np.ndarray, "n d"]) -> Iterator[tuple[slice, Float64[np.ndarray, "b d"]]]:
    for start in range(0, len(vectors), BLOCK):
        rows = slice(start, start + BLOCK)
        yield rows, vectors[rows].astype(np.float64)


def load_herbarium19(folder: Path) -> HerbariumTask:
    """The sheets of small-train/, with the labels that are given.

    Raises:
        SourceError: the folder lacks something, or the split does not fit its classes.
    """
    require(folder, (FOLDER,), benchmark="Herbarium19", layout=LAYOUT)
    folders = list_classes(folder / FOLDER)
    if len(folders) < 2:
        raise SourceError(
            f"{folder / FOLDER}: {len(folders)} class folders; Herbarium19 has 683. Unpack all of it there."
        )
    known = read_known(folder / SPLITS, len(folders))
    order = [*known, *(place for place in range(len(folders)) if place not in set(known))]
    label_of = {place: label for label, place in enumerate(order)}
    found = [(path, label_of[place]) for place, own in enumerate(folders) for path in list_images(own)]
    labels = np.array([label for _, label in found], np.int64)
    return HerbariumTask(
        pictures=require_pictures([path for path, _ in found], where=folder, benchmark="Herbarium19"),
        labels=labels,
        is_labelled=choose_labelled(labels < len(known)),
        n_known=len(known),
    )


def choose_labelled(is_known: Bool[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
    """80 % of the pictures of known classes, as `subsample_instances` of the released code draws them with seed 0."""
    candidates = np.flatnonzero(is_known)
    n_labelled = int(LABELLED_SHARE * len(candidates))
    chosen = np.random.RandomState(0).choice(len(candidates), replace=False, size=n_labelled)
    labelled = np.zeros(len(is_known), bool)
    labelled[candidates[chosen]] = True
    return labelled


def read_known(path: Path, n_classes: int) -> list[int]:
    """The known classes, by the places of their folders sorted as text; half of all by draw where there is no file.

    Raises:
        SourceError: the file holds something else, or other classes.
    """
    if not path.is_file():
        drawn = np.random.RandomState(0).choice(n_classes, size=n_classes // 2, replace=False)
        return [int(place) for place in drawn]
    try:
        with path.open("rb") as file:
            splits = _SplitsUnpickler(file).load()
        known, new = ([int(place) for place in splits[key]] for key in ("Old", "New"))
    except (pickle.UnpicklingError, KeyError, TypeError, ValueError, EOFError, AttributeError) as error:
        raise SourceError(f"{path}: not the list of classes it should be ({error}). Download it again.") from error
    if sorted([*known, *new]) != list(range(n_classes)):
        raise SourceError(
            f"{path}: names {len(known)} known and {len(new)} new classes; {FOLDER}/ has {n_classes}. "
            "Unpack all of it there."
        )
    return known


class _SplitsUnpickler(pickle.Unpickler):
    """Reads lists, dictionaries and numpy's numbers, and nothing that could run code."""

    ALLOWED = frozenset(
        (module, name)
        for module in ("numpy", "numpy.core.multiarray", "numpy._core.multiarray", "builtins")
        for name in ("dtype", "ndarray", "scalar", "_reconstruct", "range", "set")
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return super().find_class(module, name)


HERBARIUM19 = JudgeProtocol(
    name="herbarium19",
    title="Herbarium19",
    layout=LAYOUT,
    measures="accuracy of sorting sheets into known and new species, over all, known and new ones",
    load=load_herbarium19,
)
