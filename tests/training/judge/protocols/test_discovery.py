"""Herbarium19 and PlantDoc: sorting into known and new classes, and naming after one example."""

from __future__ import annotations

import io
import itertools
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from indexer.errors import SourceError
from training.judge.protocols import Effort
from training.judge.protocols.herbarium19 import (
    SPLITS,
    HerbariumTask,
    choose_labelled,
    cluster_with_labels,
    load_herbarium19,
    match_clusters,
    read_known,
)
from training.judge.protocols.pictures import FilePictures
from training.judge.protocols.plantdoc import PlantDocTask, choose_examples, load_plantdoc


def say_nothing(texts: list[str]) -> Any:
    raise AssertionError(f"asked for {texts}")


def put(path: Path, *, red: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (red, 0, 0)).save(path)


def test_clusters_are_matched_with_classes_so_that_most_are_right() -> None:
    """Cluster 0 holds classes 1 1 0, cluster 1 holds 0 0, cluster 2 holds 1: 4 of 6 by the best matching."""
    clusters, labels = np.array([0, 0, 0, 1, 1, 2]), np.array([1, 1, 0, 0, 0, 1])
    assert match_clusters(clusters, labels).tolist() == [True, True, False, True, True, False]
    best = max(
        sum(order[cluster] == label for cluster, label in zip(clusters, labels, strict=True))
        for order in itertools.permutations(range(3))
    )
    assert match_clusters(clusters, labels).sum() == best
    assert match_clusters(clusters[:0], labels[:0]).shape == (0,)


def draw_clouds(n_each: int, *, seed: int = 0) -> tuple[Any, Any]:
    """Four far-off clouds of unit vectors."""
    labels = np.repeat(np.arange(4), n_each)
    noise = np.random.default_rng(seed).normal(scale=0.05, size=(len(labels), 4))
    vectors = (np.eye(4)[labels] + noise).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True), labels


def test_known_clusters_keep_their_labels_and_new_ones_are_found() -> None:
    vectors, labels = draw_clouds(20)
    is_labelled = (labels < 2) & (np.arange(80) % 20 < 15)
    clusters = cluster_with_labels(
        vectors[is_labelled], labels[is_labelled], vectors[~is_labelled], n_clusters=4, seed=0
    )
    asked = labels[~is_labelled]
    assert np.array_equal(clusters[asked < 2], asked[asked < 2])
    assert len(set(clusters[asked == 2].tolist())) == len(set(clusters[asked == 3].tolist())) == 1
    assert match_clusters(clusters, asked).all()


def test_labelled_pictures_never_leave_their_cluster() -> None:
    """The labelled mean stays between two points of class 0, though k-means alone would part them."""
    labelled, labels = np.array([[-1, 0], [1, 0]], np.float32), np.array([0, 0])
    others = np.array([[-1, 0.1], [1, 0.1], [0, 5], [0, 5.2]], np.float32)
    clusters = cluster_with_labels(labelled, labels, others, n_clusters=2, seed=0)
    assert clusters.tolist() == [0, 0, 1, 1]


def test_herbarium_figures_of_a_perfect_and_a_mixed_space() -> None:
    vectors, labels = draw_clouds(10)
    task = HerbariumTask(
        pictures=FilePictures((Path("x"),) * 40), labels=labels, is_labelled=choose_labelled(labels < 2), n_known=2
    )
    assert task.is_labelled.sum() == 16
    figures = task.judge(vectors, say_nothing, Effort(n_runs=2, n_resamples=20))
    assert {figure.detail: figure.estimate.value for figure in figures} == {
        **{"": 1, "known species": 1},
        **{"new species": 1, "one matching": 1},
    }
    assert [figure.n for figure in figures] == [24, 4, 20, 24]
    mixed = np.tile(vectors[:1], (40, 1))
    assert task.judge(mixed, say_nothing, Effort(n_runs=1, n_resamples=20))[2].estimate.value == 0.5


def write_herbarium(folder: Path, n_classes: int = 12) -> Path:
    for label in range(n_classes):
        for sheet in range(5):
            put(folder / "small-train" / str(label) / f"{sheet:05d}.jpg", red=label * 20)
    return folder


def test_classes_are_numbered_by_their_folders_as_text(tmp_path: Path) -> None:
    """Folders sort as 0 1 10 11 2 …; the file's Old classes are places in that order."""
    write_herbarium(tmp_path)
    splits = {"Old": np.array([2, 4, 0, 1, 3, 5]), "New": [np.int64(place) for place in range(6, 12)]}
    (tmp_path / SPLITS).write_bytes(pickle.dumps(splits))
    task = load_herbarium19(tmp_path)
    assert task.n_known == 6
    first = [int(np.argmax(task.labels == label)) for label in (0, 1)]
    reds = {round(float(task.pictures.read(place)[0, 0, 0]) / 20) for place in first}
    assert reds == {10, 2}
    assert task.is_labelled.sum() == 24
    assert not task.is_labelled[task.labels >= 6].any()


def test_without_the_file_half_of_the_classes_are_drawn(tmp_path: Path) -> None:
    known = read_known(tmp_path / SPLITS, 683)
    assert len(known) == len(set(known)) == 341
    assert known == read_known(tmp_path / SPLITS, 683)


class Trap:
    def __reduce__(self) -> Any:
        return (print, ("run",))


def test_a_file_of_classes_cannot_run_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / SPLITS).write_bytes(pickle.dumps({"Old": Trap(), "New": []}))
    with pytest.raises(SourceError, match=r"asks for builtins\.print"):
        read_known(tmp_path / SPLITS, 2)
    assert capsys.readouterr().out == ""
    file = io.BytesIO()
    pickle.dump({"Old": [0], "New": [1]}, file)
    (tmp_path / SPLITS).write_bytes(file.getvalue())
    with pytest.raises(SourceError, match="names 1 known and 1 new classes; small-train/ has 3"):
        read_known(tmp_path / SPLITS, 3)


def test_herbarium_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="small-train is missing; Herbarium19 needs"):
        load_herbarium19(tmp_path)
    (tmp_path / "small-train").mkdir()
    with pytest.raises(SourceError, match="0 class folders; Herbarium19 has 683"):
        load_herbarium19(tmp_path)


def write_plantdoc(folder: Path) -> Path:
    for name, n_test in (("Apple Scab Leaf", 2), ("Tomato two spotted spider mites leaf", 0), ("grape leaf", 1)):
        for part, n in (("train", 2), ("test", n_test)):
            for copy in range(n):
                put(folder / part / name / f"{copy}.jpg")
    return folder


def test_plantdoc_matches_classes_by_name_where_test_lacks_one(tmp_path: Path) -> None:
    task = load_plantdoc(write_plantdoc(tmp_path))
    assert task.n_train == 6
    assert task.labels.tolist() == [0, 0, 1, 1, 2, 2, 0, 0, 2]


def test_plantdoc_after_one_example_of_each_class() -> None:
    """Both training pictures of a class are alike, so that every draw gives the same: 2 of 3 test pictures right."""
    vectors = np.array([[1, 0], [1, 0], [0, 1], [0, 1], [0.9, 0.1], [0.2, 0.8], [0.8, 0.2]], np.float32)
    task = PlantDocTask(pictures=FilePictures((Path("x"),) * 7), labels=np.array([3, 3, 5, 5, 3, 5, 5]), n_train=4)
    (figure,) = task.judge(vectors, say_nothing, Effort(n_folds=4, n_resamples=20))
    assert figure.estimate.value == pytest.approx(2 / 3)
    assert (figure.chance, figure.n, figure.n_classes) == (0.5, 3, 2)


def test_an_example_of_each_class_is_drawn_evenly() -> None:
    labels = np.array([7, 7, 2, 2])
    draws = np.array([choose_examples(labels, seed=seed) for seed in range(200)])
    assert np.array_equal(labels[draws], np.tile([2, 7], (200, 1)))
    assert 70 < (draws[:, 0] == 2).sum() < 130


def test_plantdoc_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="train, test are missing; PlantDoc needs"):
        load_plantdoc(tmp_path)
    write_plantdoc(tmp_path)
    put(tmp_path / "test" / "Unheard-of leaf" / "0.jpg")
    with pytest.raises(SourceError, match="lacks Unheard-of leaf of test/"):
        load_plantdoc(tmp_path)
