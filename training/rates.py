"""The learning rate, where the settings leave its choice open."""

from __future__ import annotations

from dataclasses import replace

from indexer.devices import Choice
from training.settings import SMALL, TrainingConfig

SMALL_RATE, RANDOM_RATE, PRETRAINED_RATE, ADAPTER_RATE = 2e-3, 5e-4, 1e-5, 1e-4
"""Peaks for "small", for other random weights, for weights that have learned, and for these with LoRA."""


def settle_rate(config: TrainingConfig) -> tuple[TrainingConfig, Choice]:
    """The settings with the learning rate that a run takes, and why; see `OptimiserConfig.learning_rate`.

    The same settings always come to the same rate, so that a run that goes on finds its own again.
    """
    rate, reason = _choose_rate(config)
    n_warmup = config.optimiser.n_warmup_steps
    if n_warmup >= config.n_steps:
        reason += (
            f"; never reached, for it rises over {n_warmup:,} steps (optimiser.n_warmup_steps) of {config.n_steps:,}"
        )
    settled = replace(config, optimiser=replace(config.optimiser, learning_rate=rate))
    return settled, Choice(value=f"{rate:g}", reason=reason)


def _choose_rate(config: TrainingConfig) -> tuple[float, str]:
    from training.towers import is_random

    start = config.model.start
    if config.optimiser.learning_rate:
        return config.optimiser.learning_rate, "it was asked for"
    if start == SMALL:
        return SMALL_RATE, "the small architecture starts from random weights"
    if is_random(start):
        return RANDOM_RATE, f"{start} starts from random weights"
    if config.model.lora_rank:
        return ADAPTER_RATE, f"low-rank updates of {start} learn, which has learned before"
    return PRETRAINED_RATE, f"{start} has learned before, and a higher rate would undo it"
