"""The table and the data of `benchmarks.bundled`."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from benchmarks.bundled import NOTE, measure_facts, read_scores, tell_scores, write_table
from benchmarks.scaling import read_longer
from training.synthetic.trial import Facts, Score

NAN = math.nan


def score(name: str, value: float, *, p: float = NAN, chance: float = 0.1) -> Score:
    return Score(name=name, value=value, low=value - 0.1, high=value + 0.1, chance=chance, n=72, p=p)


SCORES = {
    "oracle, tree 0": (score("stage_auc", 0.9),),
    "oracle, tree 1": (score("stage_auc", 0.8),),
    "seed0": (score("stage_auc", 0.75, p=0.005), score("p20 a bird", NAN), score("ecology_rho_bird", 0.5)),
}


def test_scores_are_the_same_after_being_written_and_read() -> None:
    told = json.loads(json.dumps(tell_scores(SCORES), allow_nan=False))
    assert tell_scores(read_scores(told)) == told
    read = read_scores(told)["seed0"]
    assert [one.name for one in read] == ["stage_auc", "p20 a bird", "ecology_rho_bird"]
    assert read[0].value == 0.75
    assert math.isnan(read[1].value)


def test_controls_on_several_trees_share_a_column_that_names_the_trees() -> None:
    lines = write_table(SCORES).splitlines()
    assert lines[0] == "| figure | chance | oracle, trees 0 / 1 | seed0 |"
    assert lines[2] == (
        "| life stage, probe fitted on other genera (AUC) | 0.1 | 0.90 [0.80, 1.00] / 0.80 [0.70, 0.90] "
        "| 0.75 [0.65, 0.85], p 0.005 |"
    )
    assert lines[3].startswith("| ecology, bird (ρ) | 0.1 | – / – | 0.50")
    assert lines[4] == "| “a bird”, first 20 hits | 0.1 | – / – | – |"
    assert lines[-1] == NOTE


def test_shares_show_their_own_chance_where_it_differs_and_no_p() -> None:
    scores = {
        "oracle, tree 0": (score("stage_direction_share", 0.1, p=0.005, chance=0.2),),
        "seed0": (score("stage_direction_share", 0.5, p=0.005, chance=0.0625), score("sex_fisher", 1.0, p=0.005)),
    }
    lines = write_table(scores).splitlines()
    assert lines[2].endswith("| – | 0.10 [0.00, 0.20] (0.20) | 0.50 [0.40, 0.60] (0.06) |")
    assert lines[3].endswith("| 1.00 [0.90, 1.10], p 0.005 |")


def test_the_plot_takes_the_trained_encoders_out_of_the_data(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    assert read_longer(path) == {}
    path.write_text(json.dumps(tell_scores(SCORES)))
    assert {who: figures["stage_auc"]["value"] for who, figures in read_longer(path).items()} == {"seed0": 0.75}


def test_a_span_is_shown_without_the_p_that_would_be_misread() -> None:
    rng = np.random.default_rng(0)
    species = np.repeat(np.arange(48), 4)
    facts = Facts(
        species=species,
        genera=species // 2,
        plans=("bird",) * len(species),
        life_stages=("adult", "adult", "juvenile", "juvenile") * 48,
        sexes=(None,) * len(species),
        ecology=rng.normal(size=(48, 2))[species],
    )
    found = {one.name: one for one in measure_facts(rng.normal(size=(len(species), 16)), facts, n_shuffles=3)}
    assert math.isnan(found["span10_share"].p)
    assert math.isfinite(found["span10_share"].null_low)
    assert math.isfinite(found["stage_auc"].p)
    assert found["stage_auc"].value == pytest.approx(0.5, abs=0.15)
    assert {"ecology_rho", "ecology_species_rho", "ecology_rho_bird"} <= set(found)
    assert "span32_share" not in found
