"""FishNet and AwA2: labels predicted by a small head."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from indexer.errors import SourceError
from training.judge.bootstrap import Resampling
from training.judge.protocols import Effort
from training.judge.protocols.attribute_heads import HeadSettings, predict_with_head
from training.judge.protocols.awa2 import (
    Attributes,
    AwA2Task,
    estimate_macro_f1,
    load_awa2,
    measure_macro_f1,
    read_attributes,
)
from training.judge.protocols.fishnet import LABELS, FishNetTask, find_usual, load_fishnet
from training.judge.protocols.pictures import FilePictures

SETTINGS = HeadSettings(learning_rate=1e-3, n_epochs=30, seed=0)


def say_nothing(texts: list[str]) -> Any:
    raise AssertionError(f"asked for {texts}")


def draw_points(n: int, *, seed: int) -> tuple[Any, Any]:
    """Unit vectors in 8 dimensions, and nine labels that three of their components decide."""
    vectors = np.random.default_rng(seed).normal(size=(n, 8)).astype(np.float32)
    vectors[:, :3] = np.where(vectors[:, :3] > 0, 2, -2)
    labels = np.repeat(vectors[:, :3] > 0, 3, axis=1)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True), labels


def test_a_head_learns_labels_that_the_vectors_hold() -> None:
    (vectors, labels), (asked, truth) = draw_points(400, seed=0), draw_points(100, seed=1)
    logits = predict_with_head(vectors, labels, asked, SETTINGS)
    assert ((logits > 0.5) == truth).mean() > 0.99


def test_a_head_is_the_same_for_the_same_seed_and_leaves_torch_as_it_was() -> None:
    vectors, labels = draw_points(50, seed=0)
    before = torch.random.get_rng_state()
    first, again, other = (
        predict_with_head(vectors, labels, vectors, HeadSettings(learning_rate=1e-3, n_epochs=2, seed=seed))
        for seed in (3, 3, 4)
    )
    assert np.array_equal(first, again)
    assert not np.allclose(first, other)
    assert torch.equal(before, torch.random.get_rng_state())


def write_fishnet(folder: Path, *, tables: str = ".") -> Path:
    """The columns of the published tables, in their order; two rows miss a label."""
    columns = ["", "Unnamed: 0", "species", "image", "SpecCode", "Genus", "source", "Folder", "Troph", *LABELS]
    cells = ["benthic", 1, 1, 1, 0, 0, 0, 1, 0]
    for part, n in (("train", 5), ("test", 3)):
        (folder / tables).mkdir(exist_ok=True)
        with (folder / tables / f"{part}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            for row in range(n):
                image = f"{part}{row}.png"
                own = [*cells[:-1], "" if row == 1 else "1.0"] if row else ["pelagic", *cells[1:]]
                writer.writerow([row, row, "", f"raw/{image}", "", "Aus", "inat", "Sparidae", 3.5, *own])
                path = folder / "Image_Library" / "Sparidae" / image
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (8, 8), (row * 40, 0, 0)).save(path)
    return folder


@pytest.mark.parametrize("tables", [".", "anns"])
def test_fishnet_leaves_rows_without_a_label_out(tmp_path: Path, tables: str) -> None:
    task = load_fishnet(write_fishnet(tmp_path, tables=tables))
    assert (len(task.pictures), task.n_train) == (6, 4)
    assert task.labels[0].tolist() == [True, True, True, True, False, False, False, True, False]
    assert task.labels[1].tolist() == [False, True, True, True, False, False, False, True, True]
    assert task.pictures.read(1)[0, 0].tolist() == [80, 0, 0]


def test_fishnet_resamples_genera_for_fish_of_one_genus_have_the_same_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every second genus is right in full, so that 25 genera say no more than 25 fish."""
    labels = np.zeros((302, 9), bool)
    right = (np.arange(300) // 12) % 2 == 0
    logits = np.where(right, -1.0, 1.0)[:, None].repeat(9, axis=1)
    monkeypatch.setattr("training.judge.protocols.fishnet.predict_with_head", lambda *_: logits)

    def judge(genera: Any) -> Any:
        groups = np.concatenate([[0, 0], genera])
        task = FishNetTask(pictures=FilePictures((Path("x"),) * 302), labels=labels, groups=groups, n_train=2)
        return task.judge(np.zeros((302, 2), np.float32), say_nothing, Effort(n_runs=1, n_resamples=300))[0]

    by_fish, by_genus = judge(np.arange(300)), judge(np.arange(300) // 12)
    assert by_fish.estimate.value == by_genus.estimate.value == pytest.approx(13 / 25)
    assert (by_fish.n_occurrences, by_genus.n, by_genus.n_occurrences) == (300, 300, 25)
    widths = [figure.estimate.high - figure.estimate.low for figure in (by_fish, by_genus)]
    assert widths[1] > 2.5 * widths[0]


def test_fishnet_says_what_is_missing_or_wrong(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"train\.csv, test\.csv are missing; FishNet needs"):
        load_fishnet(tmp_path)
    write_fishnet(tmp_path)
    table = tmp_path / "test.csv"
    table.write_text(table.read_text().replace("pelagic", "abyssal"))
    with pytest.raises(SourceError, match="'abyssal' is no label"):
        load_fishnet(tmp_path)
    (tmp_path / "Image_Library").rename(tmp_path / "pictures")
    with pytest.raises(SourceError, match="Image_Library is missing"):
        load_fishnet(tmp_path)


def test_fishnet_counts_a_fish_only_where_all_nine_are_right(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of four fish asked, one is right in full, one in eight labels, two have a logit of 0.4 where 0.5 is needed."""
    labels = np.zeros((6, 9), bool)
    labels[:, 0] = True
    logits = np.full((4, 9), -1.0)
    logits[:2, 0] = 1
    logits[1, 8] = 1
    logits[2:, 0] = 0.4
    monkeypatch.setattr("training.judge.protocols.fishnet.predict_with_head", lambda *_: logits)
    task = FishNetTask(pictures=FilePictures((Path("x"),) * 6), labels=labels, groups=np.arange(6), n_train=2)
    figures = task.judge(np.zeros((6, 2), np.float32), say_nothing, Effort(n_runs=2, n_resamples=20))
    assert figures[0].estimate.value == 0.25
    assert figures[0].chance == 1
    shares = {figure.detail: figure.estimate.value for figure in figures[1:]}
    assert (shares["FeedingPath"], shares["brackish"], shares["Polar"]) == (0.5, 0.75, 1)


def test_the_usual_answer_is_the_commonest_combination() -> None:
    labels = np.array([[1, 0], [1, 1], [0, 1], [0, 1]], bool)
    usual, single = find_usual(labels)
    assert usual.tolist() == [False, True]
    assert single.tolist() == [False, True]


def test_fishnet_is_solved_where_the_vectors_hold_the_labels() -> None:
    vectors, labels = draw_points(500, seed=2)
    task = FishNetTask(pictures=FilePictures((Path("x"),) * 500), labels=labels, groups=np.arange(500), n_train=400)
    whole, *_ = task.judge(vectors, say_nothing, Effort(n_runs=1, n_epochs=50, n_resamples=50))
    assert whole.estimate.value > 0.6
    assert whole.chance == pytest.approx(1 / 8, abs=0.06)


def write_awa2(folder: Path) -> Path:
    kinds = ["antelope", "grizzly+bear", "killer+whale"]
    rows = ["1 0 1", "1 1 0 ", "0 1 0"]
    (folder / "classes.txt").write_text("".join(f"     {i}\t{kind}\n" for i, kind in enumerate(kinds, start=1)))
    (folder / "predicates.txt").write_text("     1\tblack\n     2\twhite\n     3\thooves\n")
    (folder / "predicate-matrix-binary.txt").write_text("\n".join(rows) + "\n")
    (folder / "trainclasses.txt").write_text("killer+whale\nantelope\n")
    (folder / "testclasses.txt").write_text("grizzly+bear\n")
    for kind in kinds:
        for copy in range(2):
            path = folder / "JPEGImages" / kind / f"{kind}_1000{copy}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8)).save(path)
    return folder


def test_awa2_gives_each_picture_the_attributes_of_its_kind(tmp_path: Path) -> None:
    task = load_awa2(write_awa2(tmp_path))
    assert task.n_train == 4
    assert task.kinds.tolist() == [2, 2, 0, 0, 1, 1]
    assert task.attributes.names == ("black", "white", "hooves")
    assert task.attributes.matrix[task.kinds[4]].tolist() == [True, True, False]


def test_awa2_says_what_does_not_fit(tmp_path: Path) -> None:
    write_awa2(tmp_path)
    (tmp_path / "predicate-matrix-binary.txt").write_text("1 0 1\n1 1 0\n")
    with pytest.raises(SourceError, match=r"2 rows of 3; classes\.txt and predicates\.txt ask for 3 rows of 3"):
        load_awa2(tmp_path)
    write_awa2(tmp_path)
    (tmp_path / "testclasses.txt").write_text("unicorn\n")
    with pytest.raises(SourceError, match=r"'unicorn' is not in classes\.txt"):
        load_awa2(tmp_path)
    (tmp_path / "testclasses.txt").unlink()
    with pytest.raises(SourceError, match=r"testclasses\.txt is missing; AwA2 needs"):
        load_awa2(tmp_path)


def test_macro_f1_is_scikit_learns() -> None:
    from sklearn.metrics import f1_score

    rng = np.random.default_rng(0)
    predicted, truth = rng.random((2, 40, 6)) > 0.6
    predicted[:, 5] = truth[:, 5] = False
    expected = f1_score(truth, predicted, average="macro", zero_division=0)
    assert measure_macro_f1(predicted, truth) == pytest.approx(expected)
    resampling = Resampling(np.repeat(np.arange(10), 4), n_draws=30)
    estimate = estimate_macro_f1([predicted, truth], truth, resampling)
    assert estimate.value == pytest.approx((expected + 5 / 6) / 2)
    assert estimate.low < estimate.value < estimate.high


def test_an_attribute_that_no_kind_of_a_resample_has_is_left_out_of_its_mean() -> None:
    rng = np.random.default_rng(2)
    kinds = np.repeat(np.arange(6), 3)
    truth = (np.arange(6)[:, None] == np.arange(3)[None])[kinds]  # each attribute is one kind's alone
    predicted = truth ^ (rng.random(truth.shape) < 0.2)
    resampling = Resampling(kinds, n_draws=40)
    estimate = estimate_macro_f1([predicted], truth, resampling)
    plain = []
    for own in np.concatenate(list(resampling.blocks())).astype(int):
        rows = np.repeat(np.arange(18), own[kinds])
        held = truth[rows].any(axis=0)
        plain.append(measure_macro_f1(predicted[rows][:, held], truth[rows][:, held]) if held.any() else 0.0)
    np.testing.assert_allclose(estimate.draws, np.array(plain) - np.mean(plain) + estimate.value)


def test_the_released_macro_f1_counts_the_first_two_attributes(monkeypatch: pytest.MonkeyPatch) -> None:
    """scikit-learn takes `labels=[0, 1]` for the places of columns, where labels are a table."""
    from sklearn.metrics import f1_score

    rng = np.random.default_rng(1)
    matrix = rng.random((3, 5)) > 0.4
    kinds = np.array([0, 0, 1, 1, 2, 2])
    predicted = rng.random((4, 5)) > 0.4
    task = AwA2Task(
        pictures=FilePictures((Path("x"),) * 6),
        attributes=Attributes(kinds=("a", "b", "c"), names=("black", "white", "x", "y", "z"), matrix=matrix),
        kinds=kinds,
        n_train=2,
    )
    monkeypatch.setattr("training.judge.protocols.awa2.predict_with_head", lambda *_: np.where(predicted, 1.0, 0.2))
    whole, released = task.judge(np.zeros((6, 2), np.float32), say_nothing, Effort(n_runs=1, n_resamples=20))
    truth = matrix[kinds[2:]]
    expected = f1_score(truth, predicted, average="macro", labels=np.unique(truth), zero_division=0)
    assert released.measure == "F1 of black and white"
    assert released.estimate.value == pytest.approx(expected)
    known = truth.any(axis=0)
    assert whole.estimate.value == pytest.approx(f1_score(truth[:, known], predicted[:, known], average="macro"))
    assert whole.n_occurrences == 2


@pytest.mark.shared
def test_the_true_table_of_attributes_is_read(shared_data: Path) -> None:
    attributes = read_attributes(shared_data / "traits" / "awa2")
    assert attributes.matrix.shape == (50, 85)
    has = {
        kind: set(np.array(attributes.names)[row])
        for kind, row in zip(attributes.kinds, attributes.matrix, strict=True)
    }
    assert {"hooves", "horns", "furry"} <= has["antelope"]
    assert {"swims", "ocean", "water"} <= has["killer+whale"]
    assert "hooves" not in has["grizzly+bear"]
