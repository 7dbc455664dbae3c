"""What learns: the towers with the loss's temperature and bias, and a projector of its own for the replay.

This module imports torch; import it inside functions.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from indexer.errors import InputError
from training.adaptation import adapt_model, find_projector
from training.examples import Features
from training.settings import LossKind, TrainingConfig
from training.towers import Towers, choose_layout

if TYPE_CHECKING:
    from jaxtyping import Float32, Int64, UInt8

MAX_SCALE = 100.0
"""Largest inverse temperature (Radford et al. 2021, section 2.5)."""
SIGLIP_SCALE, SIGLIP_BIAS = 10.0, -10.0
"""Where temperature and bias start together (Zhai et al. 2023, section 3.2)."""
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
_BATCH_NORMS = (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d, torch.nn.SyncBatchNorm)


def make_learner(towers: Towers, config: TrainingConfig) -> Learner:
    """The learner of a run: weights frozen or adapted as `config.model` says, loss and replay provided for.

    Changes `towers.model` in place. Where the sigmoid loss meets a model without a bias, temperature and bias start
    anew, as Zhai et al. start them: with CLIP's temperature nearly every pair would count as a match.

    Raises:
        InputError: the image tower cannot be frozen in groups, adapted, or given a second projector.
    """
    adapt_model(towers.model, config.model)
    has_sigmoid = config.loss.kind is LossKind.SIGLIP
    if has_sigmoid and towers.model.logit_bias is None:
        towers.model.logit_bias = torch.nn.Parameter(torch.full_like(towers.model.logit_scale, SIGLIP_BIAS))
        torch.nn.init.constant_(towers.model.logit_scale, math.log(SIGLIP_SCALE))
    own_projector = bool(config.replay.source) and config.replay.own_projector
    return Learner(towers, has_bias=has_sigmoid, own_projector=own_projector)


class Learner(torch.nn.Module):
    """Pixels and codes in, unit vectors out; wraps the very model that `towers` has.

    Replay pictures go through the same image tower and, if asked for, through a projector of their own, a copy of
    biology's to begin with (BioCLIP 2, Gu et al. 2025, section 3). They are normalised by the statistics of their own
    batch where the tower has batch norm, and leave the running statistics, which are exported, to biology.
    """

    _factor: torch.Tensor
    _offset: torch.Tensor

    def __init__(self, towers: Towers, *, has_bias: bool, own_projector: bool) -> None:
        super().__init__()
        self.model = towers.model
        self.replay_projector = _copy_projector(towers) if own_projector else torch.nn.ParameterDict()
        self._has_bias = has_bias
        if self.model.logit_bias is not None and not has_bias:
            self.model.logit_bias.requires_grad_(False)
        self._layout = choose_layout(self.model)
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in _channels(towers))
        self.register_buffer("_factor", 1 / (255 * std), persistent=False)
        self.register_buffer("_offset", mean / std, persistent=False)

    def forward(
        self,
        pixels: UInt8[torch.Tensor, "n 3 s s"],
        codes: Int64[torch.Tensor, "n c"],
        replay_pixels: UInt8[torch.Tensor, "r 3 s s"] | None = None,
        replay_codes: Int64[torch.Tensor, "r c"] | None = None,
    ) -> Features:
        """The vectors of a batch, in float32, with the loss's scalars."""
        scale = self.model.logit_scale.float().exp().reshape(())
        features = Features(
            images=_unit_rows(self.model.visual(self.normalise_pixels(pixels))),
            texts=_unit_rows(self.model.encode_text(codes)),
            scale=scale,
            bias=self.model.logit_bias.float().reshape(()) if self._has_bias else torch.zeros_like(scale),
        )
        if replay_pixels is None or replay_codes is None:
            return features
        return features._replace(
            replay_images=_unit_rows(self._see_replay(self.normalise_pixels(replay_pixels))),
            replay_texts=_unit_rows(self.model.encode_text(replay_codes)),
        )

    def normalise_pixels(self, pixels: UInt8[torch.Tensor, "n 3 s s"]) -> Float32[torch.Tensor, "n 3 s s"]:
        """The pixels as the image tower takes them."""
        return pixels.mul(self._factor).sub_(self._offset).contiguous(memory_format=self._layout)

    def clamp(self) -> None:
        """Keeps the inverse temperature between 1 and `MAX_SCALE`; call it after each step of the optimiser."""
        with torch.no_grad():
            self.model.logit_scale.clamp_(0, math.log(MAX_SCALE))

    def train(self, mode: bool = True) -> Learner:
        """Training mode for what learns: batch norms and towers that are frozen keep to their statistics."""
        super().train(mode)
        towers = (self.model.visual, getattr(self.model, "text", None))
        for module in self.model.modules():
            if (module in towers or isinstance(module, _BATCH_NORMS)) and _is_frozen(module):
                module.eval()
        return self

    def _see_replay(self, inputs: Float32[torch.Tensor, "r 3 s s"]) -> torch.Tensor:
        visual = self.model.visual
        swapped: dict[str, torch.Tensor] = {name.replace("/", "."): w for name, w in self.replay_projector.items()}
        for name, buffer in visual.named_buffers():
            if name.endswith(_STATISTICS):
                swapped[name] = buffer.clone()
        seen: torch.Tensor = torch.func.functional_call(visual, swapped, (inputs,))
        return seen


def _copy_projector(towers: Towers) -> torch.nn.ParameterDict:
    """The weights of the image tower's projector, by name, with "/" for the dots that torch forbids in a name."""
    weights = find_projector(towers.model.visual)
    if weights:
        return torch.nn.ParameterDict(
            {name.replace(".", "/"): torch.nn.Parameter(weight.detach().clone()) for name, weight in weights.items()}
        )
    raise InputError(
        f"model.start = '{towers.start}': its image tower ends without a projection that the replay could have one "
        "of its own beside. Set replay.own_projector = false."
    )


def _channels(towers: Towers) -> tuple[Any, Any]:
    return towers.preprocessing.mean, towers.preprocessing.std


def _unit_rows(features: torch.Tensor) -> Float32[torch.Tensor, "n d"]:
    return functional.normalize(features.float(), dim=-1)


def _is_frozen(module: torch.nn.Module) -> bool:
    free = [weight.requires_grad for weight in module.parameters()]
    return bool(free) and not any(free)
