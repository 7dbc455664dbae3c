"""The contrastive losses: how well pictures and texts find each other in a batch.

All are symmetric and in nats, and share one rule: with `leave_out_fits` a text that fits a picture without being one of
its positives is left out of the sums, neither drawn to it nor pushed away, since a text like "a juvenile bird" fits
many pictures of a batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from training.settings import LossConfig, LossKind

if TYPE_CHECKING:
    import torch
    from jaxtyping import Bool, Float, Int64

    from training.examples import Loss, Pairs

SPECIES = 6
"""Place in the seven ranks."""


def make_loss(config: LossConfig) -> Loss:
    """The loss that the settings ask for.

    `infonce`: symmetric cross-entropy over the batch; Radford et al. 2021 (CLIP), figure 3, as BioCLIP 2 has it. log(m)
    of m rows is chance, 0 is perfect.

    `multi_positive`: all pairs of one species are positives, and -log softmax is averaged over them; Khosla et al. 2020
    (SupCon), equation 2. Any text of the species counts, also one that tells a state the picture is not in.

    `siglip`: each pair by itself, as fitting or not; Zhai et al. 2023, algorithm 1, with its bias.

    `hierarchical`: the weighted mean over the ranks of `multi_positive` with the taxa of that rank as positives; a row
    without a name at a rank has its own text alone there.
    """

    def judge(pairs: Pairs) -> Float[torch.Tensor, ""]:
        import torch

        device = pairs.images.device.type
        with torch.autocast(device, enabled=False):
            return _LOSSES[config.kind](pairs, config)

    return judge


def find_fits(facts: Int64[torch.Tensor, "n f"], claims: Int64[torch.Tensor, "m q"]) -> Bool[torch.Tensor, "n m"]:
    """Which text (column) fits which picture (row): all its claims are among the picture's facts.

    Codes above 0 count, 0 fills up. A text of which no claim is known fits none. Takes a byte per pair, and a byte per
    picture and different claim.
    """
    import torch

    fits = (claims > 0).any(dim=1).repeat(len(facts), 1)
    if not claims.numel():
        return fits
    codes, places = torch.unique(claims, return_inverse=True)
    found = torch.searchsorted(codes, facts).clamp(max=len(codes) - 1)
    nowhere = len(codes)
    holds = torch.zeros(len(facts), nowhere + 1, dtype=torch.bool, device=facts.device)
    holds.scatter_(1, found.where(codes[found] == facts, nowhere), True)
    holds[:, :nowhere] |= codes == 0
    for place in places.unbind(dim=1):
        fits &= holds[:, place]
    return fits


class _Direction(NamedTuple):
    """Logits of own rows against all columns, and which of these texts and pictures fit (None: nobody asks)."""

    logits: Float[torch.Tensor, "n m"]
    fits: Bool[torch.Tensor, "n m"] | None


def _infonce(pairs: Pairs, config: LossConfig) -> Float[torch.Tensor, ""]:
    return _mean_over_directions(_compare_both(pairs, config), _find_own(pairs))


def _multi_positive(pairs: Pairs, config: LossConfig) -> Float[torch.Tensor, ""]:
    return _mean_over_directions(_compare_both(pairs, config), _find_relatives(pairs, SPECIES))


def _hierarchical(pairs: Pairs, config: LossConfig) -> Float[torch.Tensor, ""]:
    import torch

    directions = _compare_both(pairs, config)
    weighed = [(rank, weight) for rank, weight in enumerate(config.rank_weights) if weight]
    losses = [weight * _mean_over_directions(directions, _find_relatives(pairs, rank)) for rank, weight in weighed]
    return torch.stack(losses).sum() / sum(weight for _, weight in weighed)


def _siglip(pairs: Pairs, config: LossConfig) -> Float[torch.Tensor, ""]:
    """One direction says it all: over all processes, each pair stands in one row of pictures."""
    import torch
    from torch.nn.functional import logsigmoid

    own = _find_own(pairs)
    logits = _compare(pairs.images, pairs.all_texts, pairs.scale) + pairs.bias
    losses = -logsigmoid(torch.where(own, logits, -logits))
    if config.leave_out_fits:
        losses = losses.masked_fill(find_fits(pairs.facts, pairs.all_claims) & ~own, 0.0)
    return losses.sum() / len(pairs.images)


def _compare_both(pairs: Pairs, config: LossConfig) -> tuple[_Direction, _Direction]:
    """Pictures against all texts, and texts against all pictures."""
    forth = _compare(pairs.images, pairs.all_texts, pairs.scale)
    back = _compare(pairs.texts, pairs.all_images, pairs.scale)
    if not config.leave_out_fits:
        return _Direction(forth, None), _Direction(back, None)
    fits = find_fits(pairs.facts, pairs.all_claims)
    is_whole = len(pairs.images) == len(pairs.all_images)
    back_fits = fits.T if is_whole else find_fits(pairs.all_facts, pairs.claims).T
    return _Direction(forth, fits), _Direction(back, back_fits)


def _mean_over_directions(
    directions: tuple[_Direction, _Direction], positives: Bool[torch.Tensor, "n m"]
) -> Float[torch.Tensor, ""]:
    """SupCon's L_out (Khosla et al. 2020, equation 2), both ways; with one positive a row, cross-entropy."""
    import torch

    losses = []
    for logits, fits in directions:
        kept = logits if fits is None else logits.masked_fill(fits & ~positives, float("-inf"))
        chances = kept.log_softmax(dim=1).masked_fill(~positives, 0.0)
        losses.append(-(chances.sum(dim=1) / positives.sum(dim=1)).mean())
    return torch.stack(losses).mean()


def _compare(
    rows: Float[torch.Tensor, "n d"], columns: Float[torch.Tensor, "m d"], scale: Float[torch.Tensor, ""]
) -> Float[torch.Tensor, "n m"]:
    """Scaled cosines; half precision is widened first, as its steps are coarse after the scale of up to 100."""
    import torch

    wide = torch.promote_types(rows.dtype, torch.float32)
    return scale.to(wide) * (rows.to(wide) @ columns.to(wide).T)


def _find_own(pairs: Pairs) -> Bool[torch.Tensor, "n m"]:
    import torch

    own = torch.zeros(len(pairs.images), len(pairs.all_images), dtype=torch.bool, device=pairs.images.device)
    own.diagonal(pairs.first).fill_(True)
    return own


def _find_relatives(pairs: Pairs, rank: int) -> Bool[torch.Tensor, "n m"]:
    taxa, all_taxa = pairs.lineage[:, rank], pairs.all_lineage[:, rank]
    shared = (taxa[:, None] == all_taxa[None, :]) & (taxa > 0)[:, None]
    return shared | _find_own(pairs)


_LOSSES = {
    LossKind.INFONCE: _infonce,
    LossKind.MULTI_POSITIVE: _multi_positive,
    LossKind.SIGLIP: _siglip,
    LossKind.HIERARCHICAL: _hierarchical,
}
