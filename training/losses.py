"""The contrastive loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from jaxtyping import Bool, Float


def contrastive_loss(
    images: Float[torch.Tensor, "n d"],
    texts: Float[torch.Tensor, "n d"],
    scale: Float[torch.Tensor, ""],
    matches: Bool[torch.Tensor, "n n"],
) -> Float[torch.Tensor, ""]:
    """Symmetric InfoNCE in nats: how well each image picks its own text out of the batch, and each text its own image.

    Radford et al. 2021 (CLIP), figure 3. Rows are unit vectors, row i of the one belongs to row i of the other; `scale`
    is the inverse temperature. Where `matches` is true, text (column) and picture (row) fit each other although they
    are not each other's own; such pairs are left out of the sums, neither drawn together nor pushed apart, since a text
    like "a juvenile bird" fits many pictures of a batch. Without matches, log(n) is chance; 0 is perfect.
    """
    import torch
    from torch.nn.functional import cross_entropy

    own = torch.arange(len(images), device=images.device)
    others = matches & (own[:, None] != own[None, :])
    logits = (scale * images @ texts.T).masked_fill(others, float("-inf"))
    return (cross_entropy(logits, own) + cross_entropy(logits.T, own)) / 2
