"""What a run would take."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from indexer.errors import InputError
from tests.training.tiny_runs import make_config, write_species_tar
from training.plans import Plan, draw_less, plan_run, say_bytes
from training.settings import TrainingConfig, override_config


@pytest.fixture(scope="module")
def config(tiny_encoder: str, tmp_path_factory: pytest.TempPathFactory) -> TrainingConfig:
    return make_config(write_species_tar(tmp_path_factory.mktemp("tars") / "species.tar"), tiny_encoder)


@pytest.fixture(scope="module")
def plan(config: TrainingConfig) -> Plan:
    return plan_run(config)


def test_a_plan_counts_pictures_steps_and_weights(plan: Plan, config: TrainingConfig) -> None:
    assert (plan.n_training, plan.n_validation, plan.n_species) == (72, 24, 12)
    assert plan.config.n_steps == 12
    lines = plan.describe().splitlines()
    assert lines[0] == "work: 12 steps of 8 pictures, 1.3 passes over the data"
    assert lines[1].endswith("72 pictures of 12 species to learn from, 24 to measure on, split by occurrence")
    assert f"{plan.n_weights:,} weights, {plan.n_learning:,} of them learn" in lines[2]
    assert "precision: fp32, because" in plan.describe()
    assert list(Path(config.data.source).parent.glob("run*")) == []


def test_memory_follows_from_the_weights_and_the_pictures_at_once(plan: Plan, config: TrainingConfig) -> None:
    need = plan.memory
    assert (need.weights, need.gradients, need.optimiser) == tuple(
        n * each for n, each in ((plan.n_weights, 4), (plan.n_learning, 4), (plan.n_learning, 8))
    )
    halves = plan_run(override_config(config, {"engine.micro_batch": 4}))
    assert halves.n_parts == 2
    assert halves.memory.activations == pytest.approx(need.activations / 2, rel=0.1)


def test_activations_are_those_of_a_layer_that_can_be_counted_by_hand(config: TrainingConfig) -> None:
    """What LayerNorm, attention and the MLP of ViT blocks keep lies between 12 and 40 numbers a token and width."""
    need = plan_run(override_config(config, {"engine.batch_size": 4})).memory
    tokens, width, layers = 4 * (16 + 1), 64, 2
    assert 12 < need.activations / (4 * tokens * width * layers) < 60


def test_frozen_weights_need_no_gradient(config: TrainingConfig, plan: Plan) -> None:
    frozen = plan_run(override_config(config, {"model.freeze_text": True, "engine.n_samples": 8}))
    assert frozen.n_learning < plan.n_learning
    assert frozen.memory.gradients == 4 * frozen.n_learning


def test_slow_loading_decides_the_time_and_is_said(plan: Plan) -> None:
    slow = replace(plan, step_seconds=0.1, loading_rate=10.0)
    assert slow.seconds == pytest.approx(12 * 0.8)
    assert "10 pictures/s are read and framed, 80 are needed; raise data.n_workers to 8" in slow.describe()
    fast = replace(plan, step_seconds=0.1, loading_rate=1000.0)
    assert fast.seconds == pytest.approx(1.2)
    assert "raise" not in fast.describe()


def test_a_plan_refuses_what_the_run_would_refuse(config: TrainingConfig) -> None:
    with pytest.raises(InputError, match=r"engine.batch_size = 16: the training part holds 12 species"):
        plan_run(override_config(config, {"engine.batch_size": 16}))
    with pytest.raises(InputError, match="exists and is not a run; choose a new folder"):
        plan_run(config, out=Path(config.data.source).parent)


@pytest.mark.parametrize(
    ("changes", "n_drawn", "share"),
    [
        ({}, 432, 0.0),
        ({"engine.batch_size": 1000}, 1000, 0.0),
        ({"synthetic.n_images": 400}, 360, 0.0),
        ({"synthetic.n_images": 216}, 216, 0.0),
        ({"data.split_by": "species"}, 960, 0.1),
        ({"data.split_by": "species", "synthetic.n_images": 500}, 500, 0.1),
    ],
)
def test_a_plan_draws_few_pictures_and_never_more_than_the_run(
    changes: dict[str, Any], n_drawn: int, share: float
) -> None:
    drawn = draw_less(override_config(TrainingConfig(), changes))
    assert (drawn.synthetic.n_images, drawn.data.validation_share) == (n_drawn, share)


def test_real_data_are_planned_whole(config: TrainingConfig) -> None:
    assert draw_less(config) == config


def test_a_plan_tells_the_learning_rate_and_why(plan: Plan) -> None:
    assert plan.describe().splitlines()[-1] == "learning rate: 0.001, because it was asked for"


def test_bytes_are_said_as_a_person_says_them() -> None:
    assert [say_bytes(n) for n in (12, 4_300, 512_000_000, 78_000_000_000)] == ["12 B", "4.3 kB", "512 MB", "78 GB"]
