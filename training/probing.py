"""A few true steps with what a run would work on, for its time and its memory."""

from __future__ import annotations

import itertools
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

from training.examples import Batch
from training.material import Material, load_steps

if TYPE_CHECKING:
    import torch
    from lightning_fabric import Fabric

    from training.settings import TrainingConfig

N_PROBED = 16
"""Pictures per process of the probing steps."""
N_TIMED = 2
BUDGET = 20.0
"""Seconds that steps of the full size may take; slower ones are reckoned from the probing steps."""
LOSS_ARRAYS = 8
"""Arrays of a process's rows by all rows that the losses keep."""
PASS_AGAIN = 4 / 3
"""What a second forward pass makes of a step's time (backward takes two)."""


class Probe:
    """Takes steps with what a run would work on."""

    def __init__(self, config: TrainingConfig, material: Material, fabric: Fabric) -> None:
        from training.learner import make_learner
        from training.steps import Stepper

        self._config, self._material, self._fabric = config, material, fabric
        self._share = config.engine.batch_size // fabric.world_size
        self._stepper = Stepper(fabric, make_learner(material.towers, config), config)
        self.n_parts = self._stepper.n_parts
        self._at_once = -(-self._share // self.n_parts)
        self.loading_seconds, (self._batch, *_) = self._load(1 + N_TIMED)
        self._small = cut_batch(self._batch, min(N_PROBED, self._at_once))

    def count_weights(self) -> tuple[int, int]:
        """All weights, and those that learn."""
        from training.adaptation import count_parameters

        return count_parameters(self._stepper.learner)

    def time_step(self) -> tuple[float, bool]:
        """Seconds of one step, and whether they were reckoned from small ones."""
        small = self._time(self._small) * self._share / len(self._small.pixels)
        reckoned = self._find_slowest(small * (PASS_AGAIN if self.n_parts > 1 else 1.0))
        if reckoned * (1 + N_TIMED) > BUDGET:
            return reckoned, True
        return self._find_slowest(self._time(self._batch)), False

    def reckon_activations(self) -> int:
        """Bytes that the backward pass needs, in proportion to the pictures from two small forward passes."""
        n = len(self._small.pixels)
        half, whole = self._count_kept(cut_batch(self._small, max(1, n // 2))), self._count_kept(self._small)
        per_picture = (whole - half) / (n - max(1, n // 2)) if n > 1 else whole
        logits = 4 * LOSS_ARRAYS * self._share * self._config.engine.batch_size
        return round(whole + per_picture * (self._at_once - n)) + logits

    def _load(self, n: int) -> tuple[float, list[Batch]]:
        """Seconds that a batch takes to be made once the first one is there, and the first n batches."""
        fabric = self._fabric
        with closing(
            load_steps(self._material, self._config, process=fabric.global_rank, n_processes=fabric.world_size)
        ) as batches:
            loaded = [next(batches)]
            started = time.perf_counter()
            loaded += itertools.islice(batches, n - 1)
            return self._find_slowest((time.perf_counter() - started) / (n - 1)), loaded

    def _time(self, batch: Batch) -> float:
        """Seconds of the faster of two steps, after one that warms up."""
        seconds = []
        for _ in range(1 + N_TIMED):
            started = time.perf_counter()
            self._stepper.take_step(batch, 0).gradient_norm.item()
            seconds.append(time.perf_counter() - started)
        return min(seconds[1:])

    def _find_slowest(self, seconds: float) -> float:
        """The longest time of all processes, so that all decide alike."""
        import torch

        there = torch.tensor(seconds, dtype=torch.float32, device=self._fabric.device)
        slowest: Any = self._fabric.all_reduce(there, reduce_op="max")
        return float(slowest)

    def _count_kept(self, batch: Batch) -> int:
        """Bytes that a forward pass keeps for the backward pass, beside the weights."""
        import torch

        own = {weight.untyped_storage().data_ptr() for weight in self._stepper.learner.parameters()}
        kept: dict[int, int] = {}

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            features = self._stepper.look(batch)
        del features
        return sum(kept.values())


def cut_batch(batch: Batch, n: int) -> Batch:
    """The first n rows of both streams."""
    rows: list[Any] = [None if values is None else values[:n] for values in batch]
    return Batch(*rows)
