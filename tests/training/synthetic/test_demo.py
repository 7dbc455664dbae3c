"""The demo collection."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from PIL import Image

from training.synthetic.demo import COLUMNS, draw_demo
from training.synthetic.ecology import list_ecology_words


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_demo(tmp_path_factory.mktemp("demo"), n_images=90, seed=5)


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_record_has_its_own_picture(demo: Path) -> None:
    rows = read_rows(demo)
    assert len(rows) == len({row["file"] for row in rows}) == 90
    assert {path.relative_to(demo.parent).as_posix() for path in demo.parent.rglob("*.jpg")} == {
        row["file"] for row in rows
    }
    with Image.open(demo.parent / rows[0]["file"]) as picture:
        assert picture.size == (256, 256)


def test_some_occurrences_own_several_pictures_of_one_individual(demo: Path) -> None:
    rows = read_rows(demo)
    occurrences = {row["occurrenceID"] for row in rows}
    assert 50 < len(occurrences) < 85
    own = {tuple(value for column, value in row.items() if column != "file") for row in rows}
    assert len(own) == len(occurrences)


def test_the_records_have_darwin_core_columns_and_sensible_values(demo: Path) -> None:
    rows = read_rows(demo)
    assert tuple(rows[0]) == COLUMNS
    for row in rows:
        assert row["species"] == row["scientificName"]
        assert row["species"].startswith(row["genus"] + " ")
        assert row["lifeStage"] in {"adult", "juvenile", "larva"}
        assert row["sex"] in {"male", "female", ""}
        assert -90 < float(row["decimalLatitude"]) < 90
        assert -180 < float(row["decimalLongitude"]) < 180
        assert bool(row["beakDepth"]) == (row["class"] == "Aves")
        assert bool(row["diet"]) == (row["kingdom"] == "Animalia")
        assert row["license"] == "CC0-1.0"
    assert {row["seenInTraining"] for row in rows} == {"yes", "no"}


def test_the_hidden_ecology_stands_in_its_own_columns_alone(demo: Path) -> None:
    for row in read_rows(demo):
        assert row["habitat"] in list_ecology_words()
        others = " ".join(value for column, value in row.items() if column not in ("habitat", "diet"))
        assert not list_ecology_words() & set(others.lower().split())


def test_the_same_seed_gives_the_same_records(demo: Path, tmp_path: Path) -> None:
    again = draw_demo(tmp_path, n_images=90, seed=5)
    assert again.read_bytes() == demo.read_bytes()
    first = read_rows(demo)[0]["file"]
    assert (tmp_path / first).read_bytes() == (demo.parent / first).read_bytes()
