"""INQUIRE-Rerank: average precision of questions about pictures."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from PIL import Image

from indexer.encoders import load_encoder
from indexer.errors import SourceError
from training.judge.metrics import expect_average_precision
from training.judge.protocols import PROTOCOLS, Effort, run_protocol
from training.judge.protocols.inquire import (
    InquireTask,
    Question,
    expect_average_precision_at,
    load_inquire,
)
from training.judge.protocols.pictures import FilePictures

COLOURS = {"red": (250, 5, 5), "blue": (5, 5, 250)}
QUICK = Effort(n_resamples=20)


def paint(colour: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (16, 16), COLOURS[colour]).save(file, "PNG")
    return file.getvalue()


def write_inquire(path: Path, questions: Sequence[tuple[str, str, str, Sequence[tuple[int, str, int]]]]) -> None:
    rows = [
        {
            **{"image": {"bytes": paint(colour), "path": f"{identity}.png"}, "query": text, "relevant": relevant},
            **{"clip_score": 0.2, "inat24_image_id": identity, "inat24_file_name": f"train/{identity}.jpg"},
            **{"supercategory": group, "category": kind, "iconic_group": "Birds"},
        }
        for text, group, kind, pictures in questions
        for identity, colour, relevant in pictures
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pa.Table.from_pylist(rows), path, row_group_size=3)


def make_task(questions: Sequence[tuple[str, str, Sequence[int]]]) -> InquireTask:
    """Questions whose pictures are ordered by their positions under the text vector (1, 0)."""
    made, start = [], 0
    for text, kind, relevant in questions:
        positions = np.arange(start, start + len(relevant))
        start += len(relevant)
        made.append(
            Question(
                text=text,
                supercategory="Behavior",
                category=kind,
                pictures=positions,
                is_relevant=np.array(relevant, bool),
            )
        )
    return InquireTask(pictures=FilePictures((Path("x"),) * start), questions=tuple(made))


def falling_vectors(task: InquireTask) -> Any:
    angles = np.linspace(0, 1.5, len(task.pictures))
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def point_ahead(texts: list[str]) -> Any:
    return np.tile(np.array([[1, 0]], np.float32), (len(texts), 1))


def test_average_precision_of_a_case_done_by_hand() -> None:
    """1 0 1 0: (1 + 2/3) / 2 = 5/6; 0 1 0: 1/2. By category, and as the mean over questions: 2/3."""
    task = make_task([("q", "Feeding", [1, 0, 1, 0]), ("r", "Mating", [0, 1, 0])])
    figures = task.judge(falling_vectors(task), point_ahead, QUICK)
    found = {(figure.measure, figure.detail): figure.estimate.value for figure in figures}
    assert found == pytest.approx(
        {
            ("AP@50", ""): 2 / 3,
            ("AP@50", "Behavior"): 2 / 3,
            ("AP@50", "Behavior: Feeding"): 5 / 6,
            ("AP@50", "Behavior: Mating"): 1 / 2,
            ("AP", ""): 2 / 3,
        }
    )
    assert [figure.n_occurrences for figure in figures] == [2, 2, 1, 1, 2]


def test_only_the_first_fifty_count_and_are_shared_out_among_fifty_or_fewer() -> None:
    """The released formula: scikit-learn's average precision of the first 50, times hits, over min(relevant, 50)."""
    from sklearn.metrics import average_precision_score

    rng = np.random.default_rng(0)
    for share in (0.1, 0.7):
        relevant = (rng.random(100) < share).astype(int)
        task = make_task([("q", "Feeding", relevant.tolist())])
        vectors = falling_vectors(task)
        scores = vectors[:, 0]
        expected = average_precision_score(relevant[:50], scores[:50]) * relevant[:50].sum() / min(relevant.sum(), 50)
        figures = task.judge(vectors, point_ahead, QUICK)
        assert figures[0].estimate.value == pytest.approx(expected)
        assert figures[-1].estimate.value == pytest.approx(average_precision_score(relevant, scores))


@pytest.mark.parametrize(("n_relevant", "k"), [(3, 5), (7, 5), (10, None), (1, 1)])
def test_chance_is_the_mean_over_random_orders(n_relevant: int, k: int | None) -> None:
    rng = np.random.default_rng(0)
    values = []
    for _ in range(4000):
        hits = rng.permutation(10) < n_relevant
        precisions = np.cumsum(hits) / np.arange(1, 11) * hits
        values.append(precisions[:k].sum() / min(n_relevant, k or 10))
    assert expect_average_precision_at(n_relevant, 10, k) == pytest.approx(np.mean(values), abs=0.02)


def test_chance_over_all_pictures_is_bestgens() -> None:
    expected = expect_average_precision(np.array([7.0]), np.array([100.0]))[0]
    assert expect_average_precision_at(7, 100, None) == pytest.approx(float(expected))
    assert np.isnan(expect_average_precision_at(0, 10, None))


def test_a_picture_of_two_questions_is_embedded_once(tmp_path: Path, colour_encoder: str) -> None:
    questions = [
        ("red bird", "Appearance", "Sex", [(7, "blue", 0), (8, "red", 1), (9, "blue", 0)]),
        ("blue bird", "Context", "Water", [(8, "red", 0), (9, "blue", 1), (5, "blue", 1)]),
    ]
    write_inquire(tmp_path / "data" / "test-00000-of-00001.parquet", questions)
    write_inquire(tmp_path / "data" / "validation-00000-of-00001.parquet", questions[:1])
    task = load_inquire(tmp_path)
    assert len(task.pictures) == 4
    assert [question.text for question in task.questions] == ["blue bird", "red bird"]
    assert task.questions[0].pictures.tolist() == [1, 2, 3]
    figures = run_protocol(PROTOCOLS["inquire"], tmp_path, load_encoder(colour_encoder, device="cpu"), effort=QUICK)
    assert [figure.estimate.value for figure in figures] == [1] * 6
    assert figures[0].chance is not None
    assert figures[0].chance < 1


def test_inquire_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"neither test-\*\.parquet nor validation-\*\.parquet"):
        load_inquire(tmp_path)
    image = pa.array([{"bytes": b"", "path": "x"}])
    pyarrow.parquet.write_table(pa.table({"image": image, "query": ["q"]}), tmp_path / "test-0.parquet")
    with pytest.raises(SourceError, match="no column relevant, inat24_image_id, supercategory, category"):
        load_inquire(tmp_path)


@pytest.mark.shared
def test_the_fifty_true_questions_are_reported_by_category(shared_data: Path, tmp_path: Path) -> None:
    with (shared_data / "records" / "inquire_queries_val.csv").open(encoding="utf-8") as file:
        queries = list(csv.DictReader(file))
    pictures = [(place, "red", place % 2) for place in range(4)]
    write_inquire(
        tmp_path / "validation-0.parquet",
        [(row["query_text"], row["supercategory"], row["category"], pictures) for row in queries],
    )
    task = load_inquire(tmp_path)
    assert (len(task.questions), len(task.pictures)) == (50, 4)
    vectors = np.array([[0, 1], [1, 0], [0, 1], [1, 0]], np.float32)
    figures = task.judge(vectors, point_ahead, QUICK)
    details = [figure.detail for figure in figures if figure.measure == "AP@50"]
    assert details[:5] == ["", "Appearance", "Behavior", "Context", "Species"]
    assert "Behavior: Mating, Courtship, Reproduction" in details
    assert all(figure.estimate.value == 1 for figure in figures)
    assert sum(figure.n_occurrences for figure in figures[1:5]) == 50
