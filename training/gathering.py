"""Features of all processes, gathered with their gradient, and the pairs that a loss judges."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.distributed as dist

from training.examples import Pairs

if TYPE_CHECKING:
    from jaxtyping import Float, Int64, Shaped

    from training.examples import Batch, Features, Loss


class Verdict(NamedTuple):
    """What a batch costs: the sum that is minimised, and its parts, in nats; `replay` is None where there is none."""

    total: Float[torch.Tensor, ""]
    loss: Float[torch.Tensor, ""]
    replay: Float[torch.Tensor, ""] | None


class Judge:
    """The losses of the biology and of the replay stream over the batch of all processes.

    Each process judges its own rows against those of all (local loss with gathered features, as open_clip's
    `--local-loss --gather-with-grad`): the mean over the processes is the loss of the whole batch, and since
    distributed data parallel takes the mean of the gradients, so is the gradient.
    """

    def __init__(self, loss: Loss, replay_loss: Loss, replay_weight: float) -> None:
        self._loss = loss
        self._replay_loss = replay_loss
        self._replay_weight = replay_weight

    def __call__(self, features: Features, batch: Batch) -> Verdict:
        """The verdict on this process's rows, differentiable in the features."""
        loss = self._loss(gather_pairs(features, batch))
        # Distributed data parallel waits for a gradient of every weight, of a bias that no loss reads too.
        total = loss + 0.0 * (features.scale + features.bias)
        if features.replay_images is None or features.replay_texts is None:
            return Verdict(total, loss, None)
        replay = self._replay_loss(_pair_replay(features, features.replay_images, features.replay_texts))
        return Verdict(total + self._replay_weight * replay, loss, replay)


class _Codes(NamedTuple):
    lineage: Int64[torch.Tensor, "n 7"]
    facts: Int64[torch.Tensor, "n f"]
    claims: Int64[torch.Tensor, "n q"]


def gather_pairs(features: Features, batch: Batch) -> Pairs:
    """The pictures and texts of a batch as pairs: this process's rows, and those of all in the global order."""
    own = _Codes(batch.lineage, batch.facts, batch.claims)
    widths = [rows.shape[1] for rows in own]
    gathered = _Codes(*torch.split(gather_rows(torch.cat(own, dim=1)), widths, dim=1))
    return _pair_up(features, features.images, features.texts, own, gathered)


def _pair_replay(features: Features, images: Float[torch.Tensor, "r d"], texts: Float[torch.Tensor, "r d"]) -> Pairs:
    """General pairs have no taxon and no facts, so that nothing but a pair's own caption fits it."""
    n_all = len(images) * count_processes()
    own, everyone = (
        _Codes(*(torch.zeros((n, width), dtype=torch.int64, device=images.device) for width in (7, 1, 1)))
        for n in (len(images), n_all)
    )
    return _pair_up(features, images, texts, own, everyone)


def _pair_up(
    features: Features,
    images: Float[torch.Tensor, "n d"],
    texts: Float[torch.Tensor, "n d"],
    own: _Codes,
    everyone: _Codes,
) -> Pairs:
    all_images, all_texts = images, texts
    if count_processes() > 1:
        vectors = gather_rows(torch.cat((images, texts), dim=1))
        all_images, all_texts = vectors.chunk(2, dim=1)
    return Pairs(
        images=images,
        texts=texts,
        all_images=all_images,
        all_texts=all_texts,
        first=len(images) * find_rank(),
        scale=features.scale,
        bias=features.bias,
        lineage=own.lineage,
        all_lineage=everyone.lineage,
        facts=own.facts,
        all_facts=everyone.facts,
        claims=own.claims,
        all_claims=everyone.claims,
    )


def gather_rows(rows: Shaped[torch.Tensor, "n d"]) -> Shaped[torch.Tensor, "m d"]:
    """The rows of all processes, in the order of their ranks; every process must bring equally many.

    The gradient flows back to the process that a row came from, summed over all processes. With one process the rows
    come back as they are.
    """
    if count_processes() == 1:
        return rows
    gathered: Shaped[torch.Tensor, "m d"] = _GatherRows.apply(rows)
    return gathered


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor) -> torch.Tensor:
        ctx.n_rows = len(rows)
        gathered = rows.new_empty((len(rows) * dist.get_world_size(), *rows.shape[1:]))
        dist.all_gather_into_tensor(gathered, rows.contiguous())
        return gathered

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        total = gradients[0].contiguous()
        dist.all_reduce(total)
        return total[ctx.n_rows * dist.get_rank() :][: ctx.n_rows]


def share_buffers(model: torch.nn.Module) -> None:
    """Gives every process the buffers of the first: statistics of batch norm, which each takes from its own rows.

    Every process must call it.
    """
    if count_processes() > 1:
        for buffer in model.buffers():
            dist.broadcast(buffer, src=0)


def count_processes() -> int:
    """Processes that train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def find_rank() -> int:
    """This process's place among them, from 0."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0
