"""Tokenizers that are wholly described by their ``tokenizer.json``, read without importing transformers (1 s)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from jaxtyping import Int64


class PlainTokenizer:
    """What `open_clip.tokenizer.HFTokenizer` gives for a tokenizer of the class PreTrainedTokenizerFast."""

    def __init__(self, folder: Path, *, context_length: int, clean: Callable[[str], str]) -> None:
        from tokenizers import Tokenizer

        self.context_length = context_length
        self._clean = clean
        self._uncut = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._cut = Tokenizer.from_file(str(folder / "tokenizer.json"))
        padding = _read_settings(folder)["pad_token"]
        self._cut.enable_truncation(context_length)
        self._cut.enable_padding(length=context_length, pad_id=self._cut.token_to_id(padding) or 0, pad_token=padding)

    def __call__(self, texts: list[str]) -> Int64[torch.Tensor, "n c"]:
        """The token ids, cut or padded to the context."""
        import torch

        encodings = self._cut.encode_batch([self._clean(text) for text in texts])
        return torch.tensor([encoding.ids for encoding in encodings])

    def count(self, text: str) -> int:
        """How many tokens the text has, uncut."""
        return len(self._uncut.encode(self._clean(text)).ids)


def is_plain(folder: Path, text_cfg: Mapping[str, Any]) -> bool:
    """Whether a model's tokenizer needs nothing but its ``tokenizer.json``."""
    if text_cfg.get("tokenizer_mode") or text_cfg.get("tokenizer_kwargs", {}).keys() - {"clean"}:
        return False
    if not (folder / "tokenizer.json").is_file() or not (folder / "tokenizer_config.json").is_file():
        return False
    settings = _read_settings(folder)
    is_generic = settings.get("tokenizer_class") == "PreTrainedTokenizerFast"
    return is_generic and isinstance(settings.get("pad_token"), str) and "padding_side" not in settings


def _read_settings(folder: Path) -> dict[str, Any]:
    settings: dict[str, Any] = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    return settings
