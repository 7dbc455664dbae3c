"""NeWT: two-way questions answered by support vector machines."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from indexer.errors import SourceError
from training.judge.protocols import Effort
from training.judge.protocols.newt import NewtTask, load_newt, search_machine
from training.judge.protocols.pictures import FilePictures

COLUMNS = ("id", "task_cluster", "task_subcluster", "task", "label", "text_label", "split", "height", "width")


def say_nothing(texts: list[str]) -> Any:
    raise AssertionError(f"asked for {texts}")


def write_newt(folder: Path) -> Path:
    """Two tasks, as published: one with a subcluster, one without."""
    (folder / "newt2021_images").mkdir(exist_ok=True)
    with (folder / "newt2021_labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for task, cluster, sub in (("ml_age_dunlin", "appearance", "age"), ("ml_tag_nest", "context", "")):
            for split in ("train", "test"):
                for label in (0, 1):
                    name = f"{task}-{split}-{label}"
                    writer.writerow([name, cluster, sub, task, label, "neg", split, 8, 8])
                    Image.new("RGB", (8, 8), (label * 255, 0, 0)).save(folder / "newt2021_images" / f"{name}.jpg")
    return folder


def test_newt_is_read_as_published(tmp_path: Path) -> None:
    task = load_newt(write_newt(tmp_path))
    assert task.tasks == ("ml_age_dunlin",) * 4 + ("ml_tag_nest",) * 4
    assert task.clusters[4] == "context"
    assert task.labels.tolist() == [False, True] * 4
    assert task.is_train.tolist() == [True, True, False, False] * 2
    assert task.pictures.read(3)[0, 0, 0] > 250


def test_newt_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"newt2021_labels\.csv, newt2021_images are missing"):
        load_newt(tmp_path)
    write_newt(tmp_path)
    table = tmp_path / "newt2021_labels.csv"
    table.write_text(table.read_text().replace("test", "train"))
    (tmp_path / "newt2021_images").rename(tmp_path / "kept")
    (tmp_path / "newt2021_images").mkdir()
    with pytest.raises(SourceError, match="8 of 8 pictures of NeWT are not there"):
        load_newt(tmp_path)
    write_newt(tmp_path)
    table.write_text("\n".join(line for line in table.read_text().split("\n") if "nest-test" not in line))
    with pytest.raises(SourceError, match="task 'ml_tag_nest' lacks training pictures of an answer, or test pictures"):
        load_newt(tmp_path)


def make_task(tasks: list[str], labels: list[int], is_train: list[bool]) -> NewtTask:
    return NewtTask(
        pictures=FilePictures((Path("x"),) * len(tasks)),
        tasks=tuple(tasks),
        clusters=tuple("age" if task == "a" else "health" for task in tasks),
        labels=np.array(labels, bool),
        is_train=np.array(is_train),
    )


def test_every_test_picture_counts_the_same_whatever_its_task() -> None:
    """Task a: 1 of 1 right; task b: 1 of 3. The mean over pictures is 1/2, that over tasks would be 2/3."""
    task = make_task(["a"] * 3 + ["b"] * 5, [0, 1, 1, 0, 1, 1, 0, 0], [True, True, False, True, True] + [False] * 3)
    figures = task.report(
        task.answer(
            np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32),
            lambda learned, labels, asked, seed: np.ones(len(asked), bool),
            Effort(n_runs=2),
        ),
        Effort(n_resamples=20),
    )
    assert [(figure.detail, figure.estimate.value, figure.n) for figure in figures] == [
        ("", 0.5, 4),
        ("age", 1, 1),
        ("health", pytest.approx(1 / 3), 3),
    ]
    assert figures[0].chance == 0.5


def test_vectors_are_centred_by_the_training_pictures_of_their_own_task() -> None:
    task = make_task(["a"] * 3 + ["b"] * 3, [0, 1, 1, 0, 1, 1], [True, True, False] * 2)
    vectors = np.array([[1, 0], [0, 1], [1, 1], [5, 0], [5, 2], [6, 1]], np.float32)
    seen = []

    def classify(learned: Any, labels: Any, asked: Any, seed: int) -> Any:
        seen.append((learned, asked))
        return np.ones(len(asked), bool)

    task.answer(vectors, classify, Effort(n_runs=1))
    root = np.sqrt(0.5)
    np.testing.assert_allclose(seen[0][0], [[root, -root], [-root, root]], atol=1e-6)
    np.testing.assert_allclose(seen[1][0], [[0, -1], [0, 1]], atol=1e-6)
    np.testing.assert_allclose(seen[1][1], [[1, 0]], atol=1e-6)


def test_the_search_answers_a_separable_question_and_repeats_itself() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 2 == 0
    vectors = (rng.normal(size=(60, 6)) + 3 * labels[:, None]).astype(np.float32)
    task = NewtTask(
        pictures=FilePictures((Path("x"),) * 60),
        tasks=("a",) * 60,
        clusters=("age",) * 60,
        labels=labels,
        is_train=np.arange(60) < 40,
    )
    effort = Effort(n_draws=4, n_runs=1, n_resamples=20)
    whole = task.judge(vectors, say_nothing, effort)[0]
    assert whole.estimate.value >= 0.95
    first, again = (
        search_machine(vectors[:40], labels[:40], vectors[40:], seed=1, n_draws=3, n_jobs=1) for _ in range(2)
    )
    assert np.array_equal(first, again)
