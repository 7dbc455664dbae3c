from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants

from benchmarks.random_encoder import write_random_encoder
from indexer.encoders import describe_download, find_pretrained, load_encoder
from indexer.encoding import count_tokens
from indexer.errors import EncoderError
from indexer.model_names import parse_model_name
from indexer.plain_tokenizer import PlainTokenizer, is_plain
from tests.indexer.loopback_hub import COMMIT, LoopbackHub, serve_hub
from tests.indexer.tiny_encoders import TINY_VIT, write_tiny_encoder

MODEL = "hf-hub:imageomics/bioclip-tiny"
WEIGHTS = "open_clip_model.safetensors"


@pytest.fixture(scope="module")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_encoder(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def hub(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    """A hub that holds the tiny model as two repositories; huggingface_hub is turned to it."""
    with serve_hub() as hub:
        hub.publish("imageomics/bioclip-tiny", tiny_folder)
        hub.publish("somebody/clip-tiny", tiny_folder)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        # huggingface_hub reads its environment when it is imported.
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
        yield hub


def test_the_size_of_a_download_is_said_before_it_starts(hub: LoopbackHub, tiny_folder: Path, tmp_path: Path) -> None:
    said: list[tuple[str, int]] = []
    n_bytes = (tiny_folder / WEIGHTS).stat().st_size
    planned = describe_download(MODEL, cache_dir=tmp_path)
    assert planned is not None
    assert planned.n_bytes == n_bytes
    load_encoder(MODEL, cache_dir=tmp_path, announce=lambda text: said.append((text, hub.bytes_sent)))
    announcement, sent_before = said[0]
    assert re.fullmatch(rf"{MODEL}: 3\.\d+ MB to download from the model hub, kept .* afterwards", announcement)
    assert sent_before < n_bytes


def test_a_downloaded_model_is_loaded_from_the_cache_when_the_hub_is_gone(
    hub: LoopbackHub, tiny_folder: Path, tmp_path: Path
) -> None:
    first = load_encoder(MODEL, cache_dir=tmp_path)
    hub.stop()
    asked_before = len(hub.requests)
    assert describe_download(MODEL, cache_dir=tmp_path) is None
    again = load_encoder(MODEL, cache_dir=tmp_path)
    assert again.spec == first.spec
    assert len(hub.requests) == asked_before
    np.testing.assert_array_equal(again.encode_texts(["a moth"]), first.encode_texts(["a moth"]))


def test_the_spec_of_a_hub_model_names_its_commit_and_the_sha256_of_its_weights(
    hub: LoopbackHub, tiny_folder: Path, tmp_path: Path
) -> None:
    spec = load_encoder(f"{MODEL}@v1", cache_dir=tmp_path).spec
    assert spec.model == f"{MODEL}@v1"
    assert spec.revision == COMMIT
    assert spec.weights_digest == load_encoder(str(tiny_folder)).spec.weights_digest


def test_the_bioclip_family_squashes_where_the_same_weights_elsewhere_crop(hub: LoopbackHub, tmp_path: Path) -> None:
    bioclip = load_encoder(MODEL, cache_dir=tmp_path).spec
    other = load_encoder("hf-hub:somebody/clip-tiny", cache_dir=tmp_path).spec
    assert (bioclip.preprocessing.resize, bioclip.preprocessing.interpolation) == ("squash", "bicubic")
    assert other.preprocessing.resize == "crop"
    assert bioclip.weights_digest == other.weights_digest
    assert bioclip.fingerprint != other.fingerprint


def test_without_network_and_cache_the_error_names_the_bundled_model(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.stop()
    with pytest.raises(EncoderError, match=r"not in the hub cache, and .* cannot be reached .*--model bundled"):
        load_encoder(MODEL, cache_dir=tmp_path)


def test_offline_mode_asks_nobody(hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(EncoderError, match=r"HF_HUB_OFFLINE is set.*--model bundled"):
        load_encoder(MODEL, cache_dir=tmp_path)
    assert hub.requests == []


def test_a_repository_that_does_not_exist_is_named(hub: LoopbackHub, tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match=r"hf-hub:imageomics/bioclop: the model hub has no such repository"):
        load_encoder("hf-hub:imageomics/bioclop", cache_dir=tmp_path)


def test_a_revision_that_does_not_exist_is_named(hub: LoopbackHub, tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match=r"the repository has no revision 'v9'"):
        load_encoder(f"{MODEL}@v9", cache_dir=tmp_path)


def test_a_repository_without_an_open_clip_model_is_refused(hub: LoopbackHub, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text("{}")
    hub.publish("somebody/bert", tmp_path / "other")
    with pytest.raises(EncoderError, match=r"somebody/bert: not a model that open_clip can load"):
        load_encoder("hf-hub:somebody/bert", cache_dir=tmp_path / "cache")


def test_a_download_that_is_cut_off_once_goes_on_where_it_stopped(
    hub: LoopbackHub, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 2**16)
    hub.cuts = 1
    load_encoder(MODEL, cache_dir=tmp_path)
    assert sum(f"GET /imageomics/bioclip-tiny/resolve/main/{WEIGHTS}" in request for request in hub.requests) == 2
    assert hub.bytes_sent < 1.1 * (tiny_folder / WEIGHTS).stat().st_size


def test_a_truncated_download_is_an_error_and_leaves_no_model_behind(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.distort = lambda body: body[: len(body) // 2]
    with pytest.raises(EncoderError, match=r"the download broke off .*Run it again"):
        load_encoder(MODEL, cache_dir=tmp_path)
    hub.distort = lambda body: body
    assert load_encoder(MODEL, cache_dir=tmp_path).encode_texts(["a moth"]).shape == (1, 16)


def test_a_damaged_download_is_removed(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.distort = lambda body: body[:-1] + bytes([body[-1] ^ 1])
    with pytest.raises(EncoderError, match=rf"{WEIGHTS} arrived damaged"):
        load_encoder(MODEL, cache_dir=tmp_path)
    hub.distort = lambda body: body
    assert load_encoder(MODEL, cache_dir=tmp_path).spec.revision == COMMIT


def test_the_short_name_of_a_model_leads_to_its_repository(hub: LoopbackHub, tiny_folder: Path, tmp_path: Path) -> None:
    hub.publish("imageomics/bioclip-2", tiny_folder)
    spec = load_encoder("bioclip-2", cache_dir=tmp_path).spec
    assert spec.model == "hf-hub:imageomics/bioclip-2"
    assert spec.preprocessing.resize == "squash"


def test_a_pretrained_tag_of_open_clip_comes_from_its_repository_with_the_activation_of_its_weights(
    hub: LoopbackHub, tmp_path: Path
) -> None:
    hub.publish("timm/vit_base_patch32_clip_224.openai", tmp_path)
    (tmp_path / WEIGHTS).write_bytes(bytes(605 * 10**4))
    planned = describe_download("ViT-B-32/openai", cache_dir=tmp_path / "cache")
    assert planned is not None
    assert str(planned).startswith("ViT-B-32/openai: 6.05 MB to download")
    entry = find_pretrained(parse_model_name("ViT-B-32/openai"))
    assert entry is not None
    assert entry.config["model_cfg"]["quick_gelu"] is True


# A setting that only transformers reads makes the second model's tokenizer load through it.
@pytest.mark.parametrize("settings", [{}, {"strip_sep_token": False}], ids=["plain", "transformers"])
def test_a_tokenizer_is_fetched_with_its_model_and_read_without_the_hub(
    hub: LoopbackHub, tiny_folder: Path, tmp_path: Path, settings: dict[str, bool]
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_folder, folder)
    _write_word_tokenizer(folder, ["moth", "bird", "wing"])
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["model_cfg"]["text_cfg"] |= {"hf_tokenizer_name": "somebody/words", "tokenizer_kwargs": settings}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    hub.publish("somebody/words", folder)
    first = load_encoder("hf-hub:somebody/words", cache_dir=tmp_path / "cache").encode_texts(["moth wing", "bird"])
    hub.stop()
    said: list[str] = []
    encoder = load_encoder("hf-hub:somebody/words", cache_dir=tmp_path / "cache", announce=said.append)
    np.testing.assert_array_equal(encoder.encode_texts(["moth wing", "bird"]), first)
    encoder.encode_texts(["moth " * 40])
    assert said[-1].startswith("1 of 1 texts exceed the 16 tokens")


def test_a_plain_tokenizer_gives_the_tokens_that_transformers_gives(tmp_path: Path) -> None:
    from open_clip.tokenizer import HFTokenizer, get_clean_fn

    _write_word_tokenizer(tmp_path, ["moth", "bird", "wing"])
    assert is_plain(tmp_path, {})
    texts = ["moth  wing", "a bird", "", "moth " * 40]
    ours = PlainTokenizer(tmp_path, context_length=16, clean=get_clean_fn("whitespace"))
    theirs = HFTokenizer(str(tmp_path), context_length=16)
    np.testing.assert_array_equal(ours(texts), theirs(texts))
    assert [ours.count(text) for text in texts] == [count_tokens(theirs, text) for text in texts]


def test_a_text_tower_from_transformers_is_built_without_the_hub(hub: LoopbackHub, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    _write_word_tokenizer(folder, ["moth", "bird", "wing"])
    sizes = {"vocab_size": 8, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", "intermediate_size": 16, **sizes}))
    text_cfg = {"hf_model_name": str(folder), "hf_model_pretrained": False, "context_length": 16}
    write_random_encoder({**TINY_VIT, "custom_text": True, "text_cfg": text_cfg}, folder)
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["model_cfg"]["text_cfg"] |= {"hf_model_name": "somebody/bert", "hf_tokenizer_name": "somebody/bert"}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    hub.publish("somebody/bert", folder)
    first = load_encoder("hf-hub:somebody/bert", cache_dir=tmp_path / "cache").encode_texts(["moth wing", "bird"])
    hub.stop()
    again = load_encoder("hf-hub:somebody/bert", cache_dir=tmp_path / "cache").encode_texts(["moth wing", "bird"])
    np.testing.assert_array_equal(again, first)
    assert float(first[0] @ first[1]) < 0.999


def test_the_environment_alone_turns_a_fresh_process_to_another_hub(hub: LoopbackHub, tmp_path: Path) -> None:
    script = f"from indexer.encoders import load_encoder; print(load_encoder('{MODEL}').encode_texts(['a moth']).shape)"
    environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == "(1, 16)\n", done.stderr


def _write_word_tokenizer(folder: Path, words: list[str]) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    vocabulary = {word: token for token, word in enumerate(["[PAD]", "[UNK]", "[BOS]", "[EOS]", *words])}
    frame = [("[BOS]", 2), ("[EOS]", 3)]
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="[BOS] $A [EOS]", special_tokens=frame)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]", "unk_token": "[UNK]"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
