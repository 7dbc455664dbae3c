"""The small heads that FishNet and AwA2 train on frozen vectors to predict yes-or-no labels.

Design: linear to 512, dropout of one half, linear to the labels, and nothing non-linear between them; Adam, learning
rate halved every 20 passes, batches of 256, binary cross-entropy (Imageomics/bioclip-2:src/evaluation/fishnet.py and
awa2.py, after faixan-khan/FishNet:anns/main_v2.py; rates and 50 passes from shakesBeardZ/biolcip-2:slurm/eval_other.sh,
a copy of a file of theirs that is not in the index).

A label is predicted where its *logit* exceeds 0.5, so from a probability of 0.62 on: that is what all three codes do.

Differences:
    - The released code leaves dropout on while it tests. Here it is off.
    - It feeds raw features; Morphospace's vectors have unit length. They are brought to the mean length of BioCLIP 2's
      raw features, 49 (measured on 1,030 of TreeOfLife-200M: 49.2 with a standard deviation of 6.4), which keeps the
      published learning rates meaningful; what the length itself says is lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch
    from jaxtyping import Bool, Float32

N_HIDDEN = 512
DROPOUT = 0.5
BATCH_SIZE = 256
STEP = 20
"""Passes after which the learning rate is halved."""
LENGTH = 49.0
THRESHOLD = 0.5
"""Of the logit, as released."""


@dataclass(frozen=True, kw_only=True)
class HeadSettings:
    """How a head is trained: the rate of Adam, passes over the data, the seed of weights, dropout and order."""

    learning_rate: float
    n_epochs: int
    seed: int


def predict_with_head(
    vectors: Float32[np.ndarray, "n d"],
    labels: Bool[np.ndarray, "n l"],
    asked: Float32[np.ndarray, "m d"],
    settings: HeadSettings,
) -> Float32[np.ndarray, "m l"]:
    """The logits of `asked` after a head has learned `labels` from `vectors`; the same for the same seed.

    torch's own random state is left as it was.
    """
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        head = torch.nn.Sequential(
            torch.nn.Linear(vectors.shape[1], N_HIDDEN),
            torch.nn.Dropout(DROPOUT),
            torch.nn.Linear(N_HIDDEN, labels.shape[1]),
        )
        _train(head, _scale(vectors), torch.from_numpy(labels.astype(np.float32)), settings)
    head.eval()
    with torch.inference_mode():
        logits: Float32[np.ndarray, "m l"] = head(_scale(asked)).numpy()
    return logits


def _train(
    head: torch.nn.Module,
    vectors: Float32[torch.Tensor, "n d"],
    labels: Float32[torch.Tensor, "n l"],
    settings: HeadSettings,
) -> None:
    import torch

    optimiser = torch.optim.Adam(head.parameters(), lr=settings.learning_rate)
    scheduler = torch.optim.lr_scheduler.StepLR(optimiser, step_size=STEP, gamma=0.5)
    for _ in range(settings.n_epochs):
        for batch in torch.split(torch.randperm(len(vectors)), BATCH_SIZE):
            loss = torch.nn.functional.binary_cross_entropy_with_logits(head(vectors[batch]), labels[batch])
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
        scheduler.step()


def _scale(vectors: Float32[np.ndarray, "n d"]) -> Float32[torch.Tensor, "n d"]:
    import torch

    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return torch.from_numpy((LENGTH * vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32))
