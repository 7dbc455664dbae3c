"""The two towers of an encoder: built, kept and loaded by open_clip as it is, with no code of ours in the model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.vocabulary import EOS_ID, PAD_ID, write_vocabulary

if TYPE_CHECKING:
    import numpy as np
    import torch
    from jaxtyping import Float32, Int64, UInt8
    from tokenizers import Tokenizer

    from training.settings import TrainingConfig

MEAN, STD = 0.5, 0.25
"""Per colour channel, of pixels scaled to 0-1."""
ENCODE_BATCH = 256


@dataclass(frozen=True, kw_only=True)
class Towers:
    """An open_clip CLIP model with its vocabulary and its model config."""

    model: Any
    tokenizer: Tokenizer
    model_cfg: dict[str, Any]

    @property
    def context_length(self) -> int:
        """Codes per text."""
        return int(self.model_cfg["text_cfg"]["context_length"])

    def encode_codes(self, texts: Sequence[str]) -> Int64[torch.Tensor, "n c"]:
        """The texts as codes, cut or padded to the context length."""
        import torch

        self.tokenizer.enable_truncation(self.context_length)
        self.tokenizer.enable_padding(pad_id=PAD_ID, pad_token="[PAD]", length=self.context_length)
        return torch.tensor([encoding.ids for encoding in self.tokenizer.encode_batch(list(texts))])

    def encode_texts(self, texts: Sequence[str]) -> Float32[np.ndarray, "n d"]:
        """Unit vectors of the texts."""
        import torch

        self.model.eval()
        with torch.inference_mode():
            vectors: Float32[np.ndarray, "n d"] = self.model.encode_text(
                self.encode_codes(texts), normalize=True
            ).numpy()
        return vectors

    def encode_pixels(self, pixels: UInt8[np.ndarray, "n s s 3"]) -> Float32[np.ndarray, "n d"]:
        """Unit vectors of pictures that have the encoder's input size."""
        import torch

        self.model.eval()
        parts = [torch.from_numpy(pixels[i : i + ENCODE_BATCH]) for i in range(0, len(pixels), ENCODE_BATCH)]
        with torch.inference_mode():
            vectors = [
                self.model.encode_image(normalise_pixels(part.permute(0, 3, 1, 2)), normalize=True) for part in parts
            ]
        return torch.cat(vectors).numpy()


def normalise_pixels(pixels: UInt8[torch.Tensor, "n 3 s s"]) -> Float32[torch.Tensor, "n 3 s s"]:
    """The pixels as the image tower takes them."""
    import torch

    return ((pixels.float() / 255 - MEAN) / STD).contiguous(memory_format=torch.channels_last)


def configure_model(config: TrainingConfig, vocabulary_size: int) -> dict[str, Any]:
    """open_clip's model config for these settings."""
    if config.timm_model is None:
        vision: dict[str, Any] = {"layers": [1, 1, 1, 1], "width": config.image_width, "head_width": 32}
    else:
        vision = {
            "timm_model_name": config.timm_model,
            "timm_model_pretrained": False,
            "timm_pool": "avg",
            "timm_proj": "linear",
        }
    text = {
        "context_length": config.context_length,
        "vocab_size": vocabulary_size,
        "hf_tokenizer_name": "bundled",
        "width": config.text_width,
        "heads": config.text_width // 32,
        "layers": config.n_text_layers,
        "pad_id": PAD_ID,
        "eos_id": EOS_ID,
        "pool_type": "eos",
    }
    return {"embed_dim": config.dimension, "vision_cfg": {"image_size": config.image_side, **vision}, "text_cfg": text}


def build_towers(config: TrainingConfig, tokenizer: Tokenizer) -> Towers:
    """Untrained towers; the weights follow torch's random state."""
    import open_clip
    import torch

    model_cfg = configure_model(config, tokenizer.get_vocab_size())
    model = open_clip.CLIP(**json.loads(json.dumps(model_cfg)))
    return Towers(model=model.to(memory_format=torch.channels_last), tokenizer=tokenizer, model_cfg=model_cfg)


def write_towers(towers: Towers, folder: Path) -> None:
    """Writes what open_clip loads as `local-dir:FOLDER`: float16 weights, config, preprocessing and vocabulary."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    state = {
        name: value.half() if value.is_floating_point() else value for name, value in towers.model.state_dict().items()
    }
    weights = folder / "open_clip_model.safetensors"
    save_file({name: value.contiguous() for name, value in state.items()}, weights)
    weights.chmod(0o644)  # safetensors makes it readable to its owner alone
    preprocess_cfg = {"mean": [MEAN] * 3, "std": [STD] * 3, "interpolation": "bicubic", "resize_mode": "squash"}
    config = {"model_cfg": towers.model_cfg, "preprocess_cfg": preprocess_cfg}
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    write_vocabulary(towers.tokenizer, folder, context_length=towers.context_length)


def load_towers(folder: Path) -> Towers:
    """The towers of a folder that `write_towers` made, loaded by open_clip."""
    import open_clip
    from tokenizers import Tokenizer

    model = open_clip.create_model(f"local-dir:{folder}")
    model_cfg = json.loads((folder / "open_clip_config.json").read_text(encoding="utf-8"))["model_cfg"]
    return Towers(model=model, tokenizer=Tokenizer.from_file(str(folder / "tokenizer.json")), model_cfg=model_cfg)
