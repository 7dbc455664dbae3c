"""The small encoder's own vocabulary, learned from the training texts."""

from __future__ import annotations

from pathlib import Path

from training.vocabulary import train_vocabulary, write_vocabulary


def test_the_vocabulary_lower_cases_frames_and_loads_as_hugging_face_files(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = train_vocabulary(["a photo of Pica hudsonia.", "a juvenile bird"] * 20, size=150)
    write_vocabulary(tokenizer, tmp_path, context_length=24)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    codes = loaded("A JUVENILE BIRD")["input_ids"]
    assert codes == tokenizer.encode("a juvenile bird").ids
    assert (codes[0], codes[-1]) == (2, 3)
    assert loaded.pad_token_id == 0
    assert 1 not in codes
