"""Which weights move: towers frozen but for their last groups, low-rank updates instead of matrices."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from indexer.errors import InputError
from training.settings import ModelConfig

if TYPE_CHECKING:
    import torch

PROJECTORS = ("proj", "attnpool.c_proj", "head.proj", "head.mlp", "head.pool.proj")
"""Names of the last map of open_clip's image towers: ViT, ModifiedResNet, and three heads around timm's."""
_TEXT_PROJECTORS = ("text_projection", "proj")
_BLOCK = re.compile(r"(?:^|\.)(?:resblocks|blocks?|layers?)\.(\d+)\.|^layer(\d+)\.")
_STEM = re.compile(
    r"^(?:token|positional|class)_embedding|^cls_emb$|(?:^|\.)embeddings\.|shared\.|^conv\d|^bn\d|^ln_pre"
)


def adapt_model(model: Any, config: ModelConfig) -> None:
    """Freezes both towers, gives the image tower low-rank updates, and trades time for memory, as the settings say.

    Changes the open_clip model in place. The groups of a tower are, from its end: the projection; the last block with
    what comes after it; each block before; what comes before the blocks (Zhai et al. 2022, LiT, for frozen towers).
    Those of a timm tower, before its projection, are timm's own. With low-rank updates (Hu et al. 2022) and an image
    tower that is not frozen, its projection learns in full.

    Raises:
        InputError: the tower has fewer groups than are asked for, nothing that a low-rank update fits, or no way to
            recompute its activations.
    """
    _adapt_image_tower(model.visual, config)
    if config.freeze_text:
        weights = list_text_weights(model)
        free = _take_last(_group_by_block(weights, _TEXT_PROJECTORS), config.unfreeze_text, "unfreeze_text")
        _free_only(weights.values(), free)
    if config.checkpoint_activations:
        _checkpoint_activations(model, config)


def count_parameters(module: torch.nn.Module) -> tuple[int, int]:
    """How many numbers the weights of a module are, and how many of them learn."""
    weights = list(module.parameters())
    return sum(weight.numel() for weight in weights), sum(weight.numel() for weight in weights if weight.requires_grad)


def merge_adapters(model: Any) -> Any:
    """A copy of the model with its low-rank updates added to its weights; the model itself where it has none."""
    if not any(".lora_A." in name for name, _ in model.named_parameters()):
        return model
    from peft.tuners.tuners_utils import BaseTunerLayer

    merged = deepcopy(model)
    while adapter := next(((name, m) for name, m in merged.named_modules() if isinstance(m, BaseTunerLayer)), None):
        name, layer = adapter
        layer.merge()
        parent, _, child = name.rpartition(".")
        setattr(merged.get_submodule(parent), child, layer.get_base_layer())
    return merged


def find_projector(visual: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
    """The weights of an image tower's last map, by name; none where it ends without one, as SigLIP's does."""
    weights = dict(visual.named_parameters())
    for place in PROJECTORS:
        found = {name: weight for name, weight in weights.items() if _lies_in(name, (place,))}
        if found:
            return found
    return {}


def list_text_weights(model: Any) -> dict[str, torch.nn.Parameter]:
    """The weights of the text tower, by name."""
    if hasattr(model, "text"):
        return dict(model.text.named_parameters())
    others = ("visual.", "logit_")
    return {name: weight for name, weight in model.named_parameters() if not name.startswith(others)}


def _adapt_image_tower(visual: torch.nn.Module, config: ModelConfig) -> None:
    if config.freeze_image:
        free = _take_last(_group_image_weights(visual), config.unfreeze_image, "unfreeze_image")
    elif config.lora_rank:
        free = list(find_projector(visual).values())
    else:
        return
    if config.lora_rank:
        _add_adapters(visual, config, leave={id(weight) for weight in free})
    else:
        _free_only(visual.parameters(), free)
    for weight in free:
        weight.requires_grad_(True)


def _add_adapters(visual: torch.nn.Module, config: ModelConfig, *, leave: set[int]) -> None:
    """Adds low-rank updates to matrices and kernels, but for those to `leave`, and freezes all that was there.

    Of a torch attention, queries, keys and values get one, the output none: peft 0.21 counts that one twice
    (its pull request 3774). Kernels of one channel each and those a layer standardises are left too, as are the
    matrices of ModifiedResNet's attention pool, which no layer applies.
    """
    from peft import LoraConfig, inject_adapter_in_model
    from torch import nn

    layers, attentions = [], []
    for name, module in visual.named_modules():
        if isinstance(getattr(module, "in_proj_weight", None), nn.Parameter):
            attentions += [f"{name}.in_proj_weight"] if id(module.in_proj_weight) not in leave else []
        elif type(module) in (nn.Linear, nn.Conv2d) and id(module.weight) not in leave:
            is_depthwise = getattr(module, "groups", 1) > 1
            if not is_depthwise and not _STEM.search(f"{name}.") and not name.startswith("attnpool."):
                layers.append(name)
    if not layers and not attentions:
        raise InputError(
            f"model.lora_rank = {config.lora_rank}: no layer of the image tower takes a low-rank update; "
            "set it to 0, and freeze_image = true with a few unfreeze_image to train little."
        )
    exactly = "|".join(map(re.escape, layers))
    # A scaling of 1: the update is the product of its two factors, whatever the rank.
    settings = LoraConfig(
        r=config.lora_rank, lora_alpha=config.lora_rank, target_modules=exactly, target_parameters=attentions
    )
    inject_adapter_in_model(settings, visual)


def _group_image_weights(visual: Any) -> list[list[torch.nn.Parameter]]:
    if not hasattr(visual, "trunk"):
        return _group_by_block(dict(visual.named_parameters()), PROJECTORS)
    from timm.models import group_parameters

    trunk, head = visual.trunk, list(visual.head.parameters())
    names: Mapping[int, Sequence[str]] = group_parameters(trunk, trunk.group_matcher())
    groups = [[trunk.get_parameter(name) for name in names[i]] for i in sorted(names)]
    return [*groups, head] if head else groups


def _group_by_block(
    weights: Mapping[str, torch.nn.Parameter], projectors: tuple[str, ...]
) -> list[list[torch.nn.Parameter]]:
    """The weights that may learn, from what comes before the blocks to the projection."""
    blocks = {name: int(found[1] or found[2]) for name in weights if (found := _BLOCK.search(name))}
    numbers = sorted(set(blocks.values()))
    groups: list[list[torch.nn.Parameter]] = [[] for _ in range(len(numbers) + 2)]
    for name, weight in weights.items():
        if _lies_in(name, projectors):
            place = len(numbers) + 1
        elif name in blocks:
            place = numbers.index(blocks[name]) + 1
        else:
            place = 0 if _STEM.search(name) else len(numbers)
        if weight.requires_grad:
            groups[place].append(weight)
    return [group for group in groups if group]


def _take_last(groups: list[list[torch.nn.Parameter]], n: int, setting: str) -> list[torch.nn.Parameter]:
    if n > len(groups):
        raise InputError(
            f"model.{setting} = {n}: the tower has {len(groups)} groups; use at most that many, or do not freeze it."
        )
    return [weight for group in groups[len(groups) - n :] for weight in group]


def _free_only(weights: Iterable[torch.nn.Parameter], free: list[torch.nn.Parameter]) -> None:
    for weight in weights:
        weight.requires_grad_(False)
    for weight in free:
        weight.requires_grad_(True)


def _checkpoint_activations(model: Any, config: ModelConfig) -> None:
    tower = getattr(model.visual, "trunk", model.visual)
    can_recompute = hasattr(tower, "set_grad_checkpointing") and not hasattr(tower, "attnpool")
    try:
        # Asked of the tower itself, for open_clip only logs a refusal of timm's, and its ModifiedResNet does nothing.
        if can_recompute:
            tower.set_grad_checkpointing(True)
    except (AssertionError, NotImplementedError):
        can_recompute = False
    if not can_recompute:
        raise InputError(
            f"model.checkpoint_activations: the image tower of '{config.start}' cannot recompute its activations; "
            "set it to false, and engine.micro_batch to fewer pictures to save memory."
        )
    text = getattr(model, "text", model).transformer
    if hasattr(text, "activation_checkpointing_enable"):
        text.activation_checkpointing_enable()  # the name that transformers has since its version 5
    else:
        text.grad_checkpointing = True


def _lies_in(name: str, places: tuple[str, ...]) -> bool:
    return any(f"{name}.".startswith(f"{place}.") for place in places)
