"""Large batches on small memory: GradCache, the gradient of a contrastive loss in parts of the batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from training.examples import Batch, Features

if TYPE_CHECKING:
    from jaxtyping import Float
    from lightning_fabric import Fabric

    from training.gathering import Judge, Verdict

_RandomState = tuple[torch.Tensor, torch.Tensor | None]


def backpropagate(fabric: Fabric, learner: Any, judge: Judge, batch: Batch, *, n_parts: int = 1) -> Verdict:
    """The verdict on a batch, with its gradient added to the learner's weights; in parts where `n_parts` is above 1.

    With parts this is GradCache (Gao et al. 2021, arXiv 2101.06983, section 3.2): the features of all parts without a
    graph, the loss on all of them and its gradient by the features, then each part again with a graph, through which
    that gradient is sent. Memory is that of one part plus all features; the time is a forward pass more. The result is
    that of the whole batch at once, to rounding: dropout draws the same numbers in both passes, and processes exchange
    gradients once. Towers with batch norm see the statistics of a part instead of the batch's, as in any accumulation.
    """
    if n_parts == 1:
        verdict = judge(_run(learner, batch), batch)
        fabric.backward(verdict.total)
        return verdict
    parts = split_batch(batch, n_parts)
    states, features = _read_features(learner, parts)
    verdict = judge(features, batch)
    fabric.backward(verdict.total)
    for i, (part, state) in enumerate(zip(parts, states, strict=True)):
        with fabric.no_backward_sync(learner, enabled=i < n_parts - 1):
            _set_random_state(state, part.pixels.device)
            fabric.backward(_weigh(_run(learner, part), _take_gradients(features, i, n_parts)))
    return verdict


def split_batch(batch: Batch, n_parts: int) -> list[Batch]:
    """The rows of a batch in `n_parts` parts of nearly the same size, the replay's rows alike."""
    columns: list[Any] = [[None] * n_parts if rows is None else rows.tensor_split(n_parts) for rows in batch]
    return [Batch(*column) for column in zip(*columns, strict=True)]


def _run(learner: Any, batch: Batch) -> Features:
    features: Features = learner(batch.pixels, batch.codes, batch.replay_pixels, batch.replay_codes)
    return features


def _read_features(learner: Any, parts: Sequence[Batch]) -> tuple[list[_RandomState], Features]:
    """The random state that each part began with, and the features of all parts as leaves of a new graph."""
    states, found = [], []
    with torch.no_grad(), _keep_statistics(learner):
        for part in parts:
            states.append(_get_random_state(part.pixels.device))
            found.append(_run(learner, part))
    columns: list[Any] = [
        None if values[0] is None else torch.cat(values) if values[0].ndim else values[0].clone()
        for values in zip(*found, strict=True)
    ]
    leaves: list[Any] = [None if rows is None else rows.requires_grad_() for rows in columns]
    return states, Features(*leaves)


def _take_gradients(features: Features, place: int, n_parts: int) -> list[torch.Tensor | None]:
    """The gradients of the loss by the features of one part; all parts share equally in those of scale and bias."""
    gradients = [None if values is None else values.grad for values in features]
    return [
        None if one is None else (one.tensor_split(n_parts)[place] if one.ndim else one / n_parts) for one in gradients
    ]


def _weigh(features: Features, gradients: Sequence[torch.Tensor | None]) -> Float[torch.Tensor, ""]:
    """A sum whose gradient by the weights is that of the loss (the paper's surrogate)."""
    sums = [
        (values * gradient).sum()
        for values, gradient in zip(features, gradients, strict=True)
        if values is not None and gradient is not None
    ]
    return torch.stack(sums).sum()


@contextmanager
def _keep_statistics(learner: Any) -> Iterator[None]:
    """Batch norms compute as ever, but the pass does not count in their running statistics."""
    norms = [module for module in learner.modules() if isinstance(module, _BatchNorm)]
    former = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, former, strict=True):
            norm.momentum = momentum


def _get_random_state(device: torch.device) -> _RandomState:
    own = None if device.type == "cpu" else torch.get_device_module(device).get_rng_state()
    return torch.get_rng_state(), own


def _set_random_state(state: _RandomState, device: torch.device) -> None:
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.get_device_module(device).set_rng_state(state[1])
