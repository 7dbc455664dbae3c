"""Small towers of every kind that open_clip builds, for tests of what learns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.random_encoder import write_random_encoder
from tests.indexer.tiny_encoders import TEXT_CFG, TINY_RESNET, TINY_TIMM, TINY_VIT
from training.settings import SMALL, ModelConfig, SmallConfig
from training.towers import Towers, open_towers

if TYPE_CHECKING:
    import torch
    from jaxtyping import Int64, UInt8

TINY = SmallConfig(
    image_side=32, image_width=8, text_width=32, n_text_layers=1, vocabulary_size=200, dimension=16, context_length=12
)
TINY_SIGLIP: dict[str, Any] = {
    "embed_dim": 64,
    "init_logit_bias": -10,
    "custom_text": True,
    "vision_cfg": {"image_size": 160, "timm_model_name": "test_vit", "timm_pool": "map", "timm_proj": "none"},
    "text_cfg": {**TEXT_CFG, "no_causal_mask": True, "proj_bias": True, "pool_type": "last"},
}
KINDS = {"vit": TINY_VIT, "resnet": TINY_RESNET, "timm": TINY_TIMM, "siglip": TINY_SIGLIP}
"""Model configurations: open_clip's own towers, a convolutional one of timm's, and one that ends as SigLIP does."""
TEXTS = ["a photo of a juvenile bird.", "Animalia Chordata Aves Passeriformes Corvidae Corvus corax", "a red moth"] * 3


def build_small(seed: int = 0, small: SmallConfig = TINY) -> Towers:
    """The architecture "small", tiny."""
    import torch

    torch.manual_seed(seed)
    return open_towers(ModelConfig(start=SMALL), small, texts=TEXTS, announce=lambda _line: None)


def write_kind(kind: str, folder: Path) -> Path:
    """A random model of a kind in `folder`, with preprocessing of its own; gives the folder back."""
    write_random_encoder(KINDS[kind], folder, seed=3)
    path = folder / "open_clip_config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.3] * 3}}))
    return folder


def write_bert(folder: Path) -> Path:
    """A tiny ViT beside a BERT of transformers with its own words, whose name the hub would have to know."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = sorted({word for text in TEXTS for word in text.rstrip(".").split()})
    vocabulary = {word: code for code, word in enumerate(["[PAD]", "[UNK]", "[BOS]", "[EOS]", *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    frame = [("[BOS]", 2), ("[EOS]", 3)]
    tokenizer.post_processor = processors.TemplateProcessing(single="[BOS] $A [EOS]", special_tokens=frame)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]", "unk_token": "[UNK]"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    sizes = {"vocab_size": len(vocabulary), "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    bert = {"model_type": "bert", "intermediate_size": 16, "pad_token_id": 0, **sizes}
    (folder / "config.json").write_text(json.dumps(bert))
    text_cfg = {"hf_model_name": str(folder), "hf_model_pretrained": False, "context_length": 16}
    write_random_encoder({**TINY_VIT, "custom_text": True, "text_cfg": text_cfg}, folder)
    path = folder / "open_clip_config.json"
    config = json.loads(path.read_text())
    config["model_cfg"]["text_cfg"] |= {"hf_model_name": "somebody/bert", "hf_tokenizer_name": "somebody/bert"}
    path.write_text(json.dumps(config))
    return folder


def open_kind(kind: str, folder: Path) -> Towers:
    """The towers of such a model."""
    return open_folder(write_kind(kind, folder))


def open_folder(folder: Path) -> Towers:
    """The towers of the model in a folder."""
    return open_towers(ModelConfig(start=f"local-dir:{folder}"), TINY, texts=None, announce=lambda _line: None)


def draw_pixels(n: int, side: int, seed: int = 0) -> UInt8[np.ndarray, "n s s 3"]:
    """Random pictures."""
    return np.random.default_rng(seed).integers(0, 256, (n, side, side, 3), dtype=np.uint8)


def draw_batch(
    towers: Towers, n: int = 3, seed: int = 0
) -> tuple[UInt8[torch.Tensor, "n 3 s s"], Int64[torch.Tensor, "n c"]]:
    """Random pictures and texts as a learner takes them."""
    import torch

    pixels = torch.from_numpy(draw_pixels(n, towers.image_side, seed)).permute(0, 3, 1, 2)
    return pixels, towers.tokenise(TEXTS[:n])
