"""The contrastive loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from jaxtyping import Float


def contrastive_loss(
    images: Float[torch.Tensor, "n d"], texts: Float[torch.Tensor, "n d"], scale: Float[torch.Tensor, ""]
) -> Float[torch.Tensor, ""]:
    """Symmetric InfoNCE in nats: how well each image picks its own text out of the batch, and each text its own image.

    Radford et al. 2021 (CLIP), figure 3. Rows are unit vectors, row i of the one belongs to row i of the other; `scale`
    is the inverse temperature. log(n) is chance; 0 is perfect.
    """
    import torch
    from torch.nn.functional import cross_entropy

    logits = scale * images @ texts.T
    own = torch.arange(len(images), device=images.device)
    return (cross_entropy(logits, own) + cross_entropy(logits.T, own)) / 2
