"""Small models on disk, in open_clip's own layout: random ones, and one whose vectors a person can compute."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.random_encoder import write_random_encoder

TEXT_CFG = {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}

TINY_VIT: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "head_width": 32, "patch_size": 8},
    "text_cfg": TEXT_CFG,
}
TINY_RESNET: dict[str, Any] = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 16, "patch_size": None},
    "text_cfg": TEXT_CFG,
}
TINY_TIMM: dict[str, Any] = {
    "embed_dim": 32,
    "custom_text": True,
    "vision_cfg": {"image_size": 64, "timm_model_name": "test_convnext", "timm_pool": "", "timm_proj": "linear"},
    "text_cfg": TEXT_CFG,
}

COLOURS = {
    "red": (1, -1, -1),
    "green": (-1, 1, -1),
    "blue": (-1, -1, 1),
    "yellow": (1, 1, -1),
    "white": (1, 1, 1),
    "black": (-1, -1, -1),
}
"""Colour words of the colour encoder: red, green and blue from dark (-1) to full (1)."""


def write_tiny_encoder(folder: Path, *, seed: int = 0) -> Path:
    """A random ViT of 32 px and 16 dimensions in `folder` (4 MB); gives the folder back."""
    write_random_encoder(TINY_VIT, folder, seed=seed)
    return folder


def write_colour_encoder(folder: Path) -> Path:
    """A true open_clip ViT whose image vector is the mean colour and whose text vector is that of the colour words.

    Vectors have four components: red, green, blue from -1 to 1, scaled to unit length, and one that only texts
    without a colour word have. "a red bird" lies where "red" and a red square lie;
    "red and white" lies between both.

    How: each channel stands in the stream with its negative beside it, so that layer norm only scales; the
    positions, the query and key weights and the MLPs are zero, so that attention is the mean of all words so far.
    """
    import torch
    from safetensors.torch import load_file, save_file

    width = 8
    config = {
        "embed_dim": 4,
        "vision_cfg": {
            **{"image_size": 32, "layers": 1, "width": width, "head_width": width, "patch_size": 8},
            **{"no_ln_pre": True, "pool_type": "avg", "final_ln_after_pool": True},
        },
        "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": width, "heads": 1, "layers": 1},
    }
    write_random_encoder(config, folder)
    file = folder / "open_clip_model.safetensors"
    weights = {name: torch.zeros_like(tensor) for name, tensor in load_file(file).items()}
    both_signs = torch.cat([torch.eye(4), -torch.eye(4)])
    for prefix, norm in (("visual.", "ln_post"), ("", "ln_final")):
        block = f"{prefix}transformer.resblocks.0."
        weights[f"{block}ln_1.weight"] += 1
        weights[f"{prefix}{norm}.weight"] += 1
        weights[f"{prefix}{norm}.bias"] += 1e-3 * both_signs[:, 3]
    attention = "transformer.resblocks.0.attn."
    weights[f"{attention}in_proj_weight"][2 * width :] = torch.eye(width)
    weights[f"{attention}out_proj.weight"] = torch.eye(width)
    weights["visual.conv1.weight"] += both_signs[:, :3, None, None] / 64
    weights["visual.proj"] = both_signs.clone()
    weights["text_projection"] = both_signs.clone()
    for word, colour in COLOURS.items():
        weights["token_embedding.weight"][_token(word)] = both_signs[:, :3] @ torch.tensor(colour, dtype=torch.float32)
    save_file(weights, file)
    preprocess_cfg = {"mean": [0.5] * 3, "std": [0.5] * 3, "resize_mode": "squash"}
    description = {"model_cfg": config, "preprocess_cfg": preprocess_cfg}
    (folder / "open_clip_config.json").write_text(json.dumps(description), encoding="utf-8")
    return folder


def _token(word: str) -> int:
    import open_clip

    (token,) = open_clip.SimpleTokenizer().encode(word)
    return int(token)
