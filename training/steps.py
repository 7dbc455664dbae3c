"""One step of the training: forward, loss, backward, optimiser.

This module imports torch; import it inside functions.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from indexer.errors import InputError
from training.cached_gradients import backpropagate
from training.gathering import Judge
from training.losses import make_loss
from training.settings import LossConfig, LossKind, TrainingConfig

if TYPE_CHECKING:
    from jaxtyping import Float
    from lightning_fabric import Fabric

    from training.examples import Batch, Features
    from training.gathering import Verdict
    from training.learner import Learner

LOWEST_RATE = 0.01
"""Where the cosine ends, as a share of the peak."""


class Taken(NamedTuple):
    """What one step gave, on the device: this process's losses in nats, and the gradient's length before it was cut.

    `replay_loss` is nan where there is no replay.
    """

    loss: Float[torch.Tensor, ""]
    replay_loss: Float[torch.Tensor, ""]
    gradient_norm: Float[torch.Tensor, ""]


class Stepper:
    """A learner with its optimiser, set up on the devices of `fabric`.

    Attributes:
        learner: What learns, itself and not the wrapper that exchanges gradients.
        optimiser: AdamW (Loshchilov & Hutter 2019); matrices decay, gains, biases and temperature do not.
    """

    def __init__(self, fabric: Fabric, learner: Learner, config: TrainingConfig) -> None:
        """Moves the learner to its device.

        Raises:
            InputError: The replay's batch is too small to be cut into as many parts as biology's.
            ValueError: The learning rate was left to be chosen; see `training.rates`.
        """
        if not config.optimiser.learning_rate:
            raise ValueError("the learning rate is not settled; see training.rates.settle_rate")
        self._fabric = fabric
        self._config = config
        self._at_once = config.engine.micro_batch or config.engine.batch_size // fabric.world_size
        _check_replay(config, self.n_parts * fabric.world_size)
        self.learner = learner.train()
        self.optimiser = make_optimiser(learner, config)
        self._module, self._wrapped = fabric.setup(learner, self.optimiser)
        self._weights = [weight for weight in learner.parameters() if weight.requires_grad]
        self._judge = Judge(make_loss(config.loss), make_loss(_choose_replay_loss(config.loss)), config.replay.weight)

    @property
    def n_parts(self) -> int:
        """Parts of this process's share of a batch; above 1 gradients are cached (GradCache)."""
        return math.ceil(self._config.engine.batch_size // self._fabric.world_size / self._at_once)

    def take_step(self, batch: Batch, step: int) -> Taken:
        """Learns from this process's share of the batch of step `step`, counted from 0.

        Raises:
            InputError: The device's memory does not hold it.
        """
        rate = find_rate(step, self._config)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad(set_to_none=True)
        try:
            verdict = self._backpropagate(self._fabric.to_device(batch))
            norm = torch.nn.utils.clip_grad_norm_(self._weights, self._config.optimiser.max_gradient_norm)
            self._wrapped.step()
        except torch.OutOfMemoryError as error:
            raise InputError(
                f"engine.micro_batch = {self._config.engine.micro_batch}: the memory of {self.device} does not hold "
                f"{min(self._at_once, len(batch.pixels))} pictures at once. Set engine.micro_batch to fewer, or "
                "model.checkpoint_activations = true."
            ) from error
        self.learner.clamp()
        replay = torch.full_like(verdict.loss, math.nan) if verdict.replay is None else verdict.replay
        return Taken(verdict.loss.detach(), replay.detach(), norm)

    def look(self, batch: Batch) -> Features:
        """The features of a batch, with the graph that leads to the weights."""
        there = self._fabric.to_device(batch)
        features: Features = self._module(there.pixels, there.codes, there.replay_pixels, there.replay_codes)
        return features

    def _backpropagate(self, batch: Batch) -> Verdict:
        n_parts = math.ceil(len(batch.pixels) / self._at_once)
        return backpropagate(self._fabric, self._module, self._judge, batch, n_parts=n_parts)

    @property
    def device(self) -> torch.device:
        """Where this process computes."""
        return self._fabric.device


def make_optimiser(learner: torch.nn.Module, config: TrainingConfig) -> torch.optim.AdamW:
    """AdamW over the weights that learn."""
    weights = [weight for weight in learner.parameters() if weight.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [weight for weight in weights if weight.ndim > 1], "weight_decay": config.optimiser.weight_decay},
        {"params": [weight for weight in weights if weight.ndim <= 1], "weight_decay": 0.0},
    ]
    betas = (0.9, config.optimiser.beta2)
    return torch.optim.AdamW(groups, lr=config.optimiser.learning_rate, betas=betas, eps=1e-6, fused=True)


def find_rate(step: int, config: TrainingConfig) -> float:
    """The learning rate of step `step`, counted from 0: a rise over the first steps, under a cosine over the run."""
    rise = min(1.0, (step + 1) / max(1, config.optimiser.n_warmup_steps))
    cosine = (1 + math.cos(math.pi * step / config.n_steps)) / 2
    return config.optimiser.learning_rate * rise * (LOWEST_RATE + (1 - LOWEST_RATE) * cosine)


def _check_replay(config: TrainingConfig, n_parts: int) -> None:
    if config.replay.source and config.replay.batch_size < n_parts:
        raise InputError(
            f"replay.batch_size = {config.replay.batch_size}: cannot be cut into {n_parts} parts as the batch is by "
            f"engine.micro_batch and the processes; use at least {n_parts}, or a larger engine.micro_batch."
        )


def _choose_replay_loss(loss: LossConfig) -> LossConfig:
    """General captions name no taxon and no facts: the plain loss of the same family."""
    kind = LossKind.SIGLIP if loss.kind is LossKind.SIGLIP else LossKind.INFONCE
    return replace(loss, kind=kind, leave_out_fits=False)
