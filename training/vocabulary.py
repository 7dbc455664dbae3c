"""The encoder's own small vocabulary: byte-pair codes learned from the training texts, kept as Hugging Face files."""

from __future__ import annotations

import json
import string
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SPECIALS = ("[PAD]", "[UNK]", "[BOS]", "[EOS]")
PAD_ID, EOS_ID = 0, 3


def train_vocabulary(texts: Iterable[str], *, size: int) -> Tokenizer:
    """A lower-casing byte-pair tokenizer of at most `size` codes that frames every text with [BOS] and [EOS].

    The start of a word is marked by a character of its own, not the end by a suffix: with a suffix the trainer numbers
    the codes in the order of a hash map, which differs between runs.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Metaspace()])
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=list(SPECIALS),
        initial_alphabet=list(string.ascii_lowercase + string.digits),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[BOS] $A [EOS]", special_tokens=[("[BOS]", 2), ("[EOS]", EOS_ID)]
    )
    return tokenizer


def write_vocabulary(tokenizer: Tokenizer, folder: Path, *, context_length: int) -> None:
    """Writes `tokenizer.json` and `tokenizer_config.json`, from which AutoTokenizer makes the same codes."""
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    names = dict(zip(("pad_token", "unk_token", "bos_token", "eos_token"), SPECIALS, strict=True))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", **names, "model_max_length": context_length}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
