"""Whole evaluations of encoders whose figures a person can foresee, side by side."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from jaxtyping import Float32

from tests.training.judge.spaces import TREE, SpeakingSpace, draw_unit_rows, make_records
from training.judge.case import JudgeSettings
from training.judge.collection import Collection, collect_records
from training.judge.comparison import Comparison, compare_encoders, format_table, list_figures
from training.judge.evaluation import Evaluation, judge_encoder
from training.judge.figures import Figure, Task
from training.judge.plots import draw_comparison
from training.judge.retrieval import MAP

SETTINGS = JudgeSettings(shots=(1,), n_draws=60, n_folds=3, max_probe_classes=2)
WORDS = (*sorted({word for lineage in TREE for name in lineage for word in name.split()}), "male", "female")


@pytest.fixture(scope="module")
def records() -> pa.Table:
    return make_records(48)


@pytest.fixture(scope="module")
def collection(records: pa.Table) -> Collection:
    return collect_records(records, ["sex"], name="crows")


@pytest.fixture(scope="module")
def knowing(records: pa.Table, collection: Collection) -> Evaluation:
    space = SpeakingSpace(WORDS)
    return judge_encoder("knowing", space.show(records), space.encode_texts, collection, SETTINGS)


@pytest.fixture(scope="module")
def blind(collection: Collection) -> Evaluation:
    """The same vector for every picture and every text."""

    def say_one(texts: list[str]) -> Float32[np.ndarray, "n d"]:
        return np.ones((len(texts), 1), np.float32)

    return judge_encoder("blind", np.ones((48, 1), np.float32), say_one, collection, SETTINGS)


@pytest.fixture(scope="module")
def comparison(knowing: Evaluation, blind: Evaluation) -> Comparison:
    return compare_encoders([knowing, blind], on="crows")


def find(evaluation: Evaluation, task: Task, label: str, measure: str, detail: str | None = None) -> Figure:
    return next(
        figure
        for figure in evaluation.figures
        if (figure.task, figure.label, figure.measure) == (task, label, measure) and detail in (None, figure.detail)
    )


def test_an_encoder_that_sees_every_word_is_right_by_name(knowing: Evaluation) -> None:
    named = [figure for figure in knowing.figures if figure.is_headline and figure.task is Task.ZERO_SHOT]
    assert [figure.label for figure in named] == ["species", "genus", "family", "order", "class", "phylum", "sex"]
    found = [figure for figure in knowing.figures if figure.measure == MAP and figure.task is Task.TEXT_SEARCH]
    for figure in (*named, *(figure for figure in found if figure.label != "sex")):
        assert figure.estimate.value == pytest.approx(1), figure.key
    assert find(knowing, Task.HIERARCHY, "species", "ranks off, 0 to 7").estimate.value == 0


def test_an_encoder_that_sees_nothing_gets_chance(blind: Evaluation) -> None:
    for figure in blind.figures:
        if figure.task in (Task.ZERO_SHOT, Task.FEW_SHOT) and "summed" not in figure.detail:
            assert figure.chance is not None
            assert figure.estimate.value == pytest.approx(figure.chance), figure.key
    assert find(blind, Task.PROBE, "sex", "balanced accuracy").estimate.value == pytest.approx(0.5)


def test_every_figure_says_what_it_rests_on(knowing: Evaluation) -> None:
    keys = [figure.key for figure in knowing.figures]
    assert len(keys) == len(set(keys))
    for figure in knowing.figures:
        assert figure.chance is not None
        assert figure.estimate.low <= figure.estimate.value + 1e-9
        assert figure.estimate.value <= figure.estimate.high + 1e-9
        assert 0 < figure.n_occurrences <= figure.n <= 48
    assert {figure.label for figure in knowing.figures} == {
        *("species", "genus", "family", "order", "class", "phylum"),
        "sex",
    }


def test_what_is_not_measured_is_told_with_the_reason(knowing: Evaluation) -> None:
    told = {omission.what: omission.why for omission in knowing.omissions}
    assert told["Rank kingdom"] == "all are Animalia; two taxa at least are needed"
    assert told["1 of 4 species when named by common name"] == "no record gives one"
    assert told["48 pictures are of 24 occurrences"].startswith("they are never split")


def test_the_forms_of_a_name_are_asked_apart(knowing: Evaluation) -> None:
    forms = [figure.detail for figure in knowing.figures if figure.task is Task.ZERO_SHOT and figure.label == "species"]
    assert list(dict.fromkeys(forms)) == [
        *("common name", "scientific name", "all ranks"),
        *("scientific and common name", "all ranks and common name"),
    ]
    common = find(knowing, Task.ZERO_SHOT, "species", "top-1", "common name")
    assert (common.n_classes, common.n) == (3, 36)


def test_two_encoders_are_compared_in_pairs(comparison: Comparison) -> None:
    for row in comparison.headlines():
        known, blind = row.figures
        assert row.differences[0].value == pytest.approx(blind.estimate.value - known.estimate.value)
    key = (Task.ZERO_SHOT, "species", "top-1", "scientific name")
    (species,) = [row for row in comparison.rows if row.figures[0].key == key]
    assert species.differences[0].high < 0


def test_an_encoder_does_not_differ_from_itself(knowing: Evaluation) -> None:
    same = compare_encoders([knowing, knowing], on="crows")
    assert all(row.differences[0].value == np.nan_to_num(row.differences[0].high) == 0 for row in same.rows)


def test_the_table_tells_value_interval_chance_and_n(comparison: Comparison) -> None:
    table = format_table(comparison)
    start = "| species | top-1 | all ranks and common name |"
    (line,) = [line for line in map(_squeeze, table.splitlines()) if line.startswith(start)]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[:3] == ["species", "top-1", "all ranks and common name"]
    assert cells[3] == "1.000 [0.858, 1.000]"
    assert cells[6:] == ["0.250", "48 (24)", "4"]
    assert cells[5].endswith("*")
    assert "Less is better." in table
    assert "- Rank kingdom: all are Animalia; two taxa at least are needed." in table
    assert "Less is better." not in format_table(comparison, comparison.headlines(), explain=False)


def _squeeze(line: str) -> str:
    return " ".join(line.split())


def test_a_probe_on_other_species_resamples_species(records: pa.Table) -> None:
    """All pictures of a species are alike, so that each is read right or wrong as a whole."""
    species = np.arange(96) // 8
    many = pa.table(
        {
            "record_id": [f"r{place}" for place in range(96)],
            "species": [f"Pica s{one}" for one in species],
            "sex": ["male" if one % 2 else "female" for one in species],
        }
    )
    vectors = draw_unit_rows(12, 4, seed=3)[species]
    vectors[:, 0] += (species % 2) * 0.4

    def say(texts: list[str]) -> Float32[np.ndarray, "n d"]:
        return draw_unit_rows(len(texts), 4, seed=0)

    evaluation = judge_encoder("any", vectors, say, collect_records(many, ["sex"], name="crows"), SETTINGS)
    figure = find(evaluation, Task.PROBE, "sex", "balanced accuracy", "on other species (of 12)")
    assert (figure.n, figure.n_occurrences, figure.estimate.n_groups) == (96, 96, 12)
    assert figure.estimate.high - figure.estimate.low > 0.3


def test_of_a_column_with_many_values_the_short_table_shows_the_mean(records: pa.Table) -> None:
    letters = records.append_column("mark", pa.array([f"m{place // 2 % 8}" for place in range(48)]))
    space = SpeakingSpace(WORDS)
    collected = collect_records(letters, ["mark", "sex"], name="crows")
    evaluation = judge_encoder("knowing", space.show(records), space.encode_texts, collected, SETTINGS)
    shown = [one for one in evaluation.figures if one.is_headline and one.task is Task.TEXT_SEARCH]
    assert [one.detail for one in shown if one.label == "mark"] == ["each of its words"]
    assert [one.detail for one in shown if one.label == "sex"] == ["“female”", "“male”"]


def test_a_bar_in_a_name_does_not_break_the_table(knowing: Evaluation) -> None:
    odd = Evaluation(encoder="a|b", figures=knowing.figures, omissions=())
    assert "a\\|b" in format_table(compare_encoders([odd], on="crows"))


def test_the_figures_go_through_json(comparison: Comparison) -> None:
    read = json.loads(json.dumps(list_figures(comparison), allow_nan=False))
    first = read["figures"]["knowing"][0]
    assert set(first) >= {"value", "low", "high", "n", "chance", "n_occurrences"}
    assert len(read["differences"]["blind"]) == len(read["figures"]["blind"]) == len(comparison.rows)
    assert {"what": "Rank kingdom", "why": "all are Animalia; two taxa at least are needed"} in read["left_out"]


def test_the_plot_is_a_picture(comparison: Comparison, tmp_path: Path) -> None:
    draw_comparison(comparison, tmp_path / "figures.png")
    assert (tmp_path / "figures.png").read_bytes().startswith(b"\x89PNG")


def test_noise_is_told_from_knowledge_only_where_there_is_any(collection: Collection, records: pa.Table) -> None:
    heard: dict[str, Float32[np.ndarray, " d"]] = {}

    def say(texts: list[str]) -> Float32[np.ndarray, "n d"]:
        for text in texts:
            heard.setdefault(text, draw_unit_rows(1, 12, seed=len(heard))[0])
        return np.stack([heard[text] for text in texts])

    first, second = (
        judge_encoder(str(seed), draw_unit_rows(48, 12, seed=seed), say, collection, SETTINGS) for seed in (50, 51)
    )
    rows = [row for row in compare_encoders([first, second], on="crows").rows if row.figures[0].task is Task.FEW_SHOT]
    differing = [row for row in rows if row.differences[0].low > 0 or row.differences[0].high < 0]
    assert len(differing) <= len(rows) // 4


def test_a_column_without_classes_is_left_out(records: pa.Table) -> None:
    numbers = records.append_column("length", pa.array([f"{place}.5" for place in range(48)]))
    space = SpeakingSpace(WORDS)
    collected = collect_records(numbers, ["length"], name="crows")
    evaluation = judge_encoder("knowing", space.show(records), space.encode_texts, collected, SETTINGS)
    told = {omission.what: omission.why for omission in evaluation.omissions}
    assert told["Column length"] == "it has 48 different values; up to 30 are taken as classes"
    assert not [figure for figure in evaluation.figures if figure.label == "length"]
