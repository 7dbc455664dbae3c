"""The learning rate, where it is left to be chosen."""

from __future__ import annotations

from typing import Any

import pytest

from training.rates import settle_rate
from training.settings import TrainingConfig, override_config


@pytest.mark.parametrize(
    ("changes", "rate", "reason"),
    [
        ({}, 2e-3, "0.002, because the small architecture starts from random weights"),
        ({"model.start": "ViT-B-16"}, 5e-4, "0.0005, because ViT-B-16 starts from random weights"),
        ({"model.start": "ViT-B-16", "model.lora_rank": 4}, 5e-4, "0.0005, because ViT-B-16 starts from random"),
        (
            {"model.start": "hf-hub:imageomics/bioclip-2"},
            1e-5,
            "1e-05, because hf-hub:imageomics/bioclip-2 has learned",
        ),
        ({"model.start": "runs/first"}, 1e-5, "1e-05, because runs/first has learned before"),
        ({"model.start": "runs/first", "model.lora_rank": 4}, 1e-4, "0.0001, because low-rank updates of runs/first"),
        ({"optimiser.learning_rate": 3e-4}, 3e-4, "0.0003, because it was asked for"),
    ],
)
def test_the_rate_follows_from_what_is_trained(changes: dict[str, Any], rate: float, reason: str) -> None:
    config = override_config(TrainingConfig(), changes)
    settled, choice = settle_rate(config)
    assert settled == override_config(config, {"optimiser.learning_rate": rate})
    assert str(choice).startswith(reason)
    assert settle_rate(config) == (settled, choice)


@pytest.mark.parametrize(("n_samples", "is_told"), [(60 * 128, True), (61 * 128, False)])
def test_a_rate_that_is_never_reached_is_told(n_samples: int, is_told: bool) -> None:
    _, choice = settle_rate(override_config(TrainingConfig(), {"engine.n_samples": n_samples}))
    assert ("never reached, for it rises over 60 steps" in str(choice)) == is_told
