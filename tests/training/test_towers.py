"""Opening towers: new, of a named architecture, pretrained, or of a former run."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from indexer.errors import InputError
from indexer.preprocessing import ResizeMode
from tests.indexer.tiny_encoders import TINY_VIT
from tests.training.tiny_towers import (
    KINDS,
    TEXTS,
    TINY,
    TINY_SIGLIP,
    build_small,
    draw_pixels,
    open_kind,
    write_kind,
)
from training.settings import ModelConfig
from training.towers import Towers, evaluating, open_towers


def open_named(start: str) -> Towers:
    return open_towers(ModelConfig(start=start), TINY, texts=None, announce=lambda _line: None)


@pytest.fixture
def architectures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose configurations open_clip knows by name, until the test ends."""
    from open_clip import factory

    monkeypatch.setattr(factory, "_MODEL_CONFIGS", dict(factory._MODEL_CONFIGS))
    for name, config in {
        "ViT-tiny": TINY_VIT,
        "ViT-wide": {**TINY_VIT, "vision_cfg": {**TINY_VIT["vision_cfg"], "image_size": [32, 64]}},
        "ViT-tiny-SigLIP": {**TINY_SIGLIP, "text_cfg": {**TINY_SIGLIP["text_cfg"], "hf_tokenizer_name": "no/words"}},
        "coca-tiny": {**TINY_VIT, "multimodal_cfg": {"width": 16, "context_length": 16, "heads": 2, "layers": 1}},
    }.items():
        factory._MODEL_CONFIGS[name] = config
    return tmp_path


def test_the_small_towers_follow_the_seed() -> None:
    first, same, other = build_small(0), build_small(0), build_small(1)
    pixels = draw_pixels(5, first.image_side)
    vectors = first.encode_pixels(pixels)
    np.testing.assert_array_equal(vectors, same.encode_pixels(pixels))
    np.testing.assert_array_equal(first.encode_texts(TEXTS), same.encode_texts(TEXTS))
    assert abs(vectors - other.encode_pixels(pixels)).max() > 0.01
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert (first.image_side, first.dimension) == (32, 16)
    assert vectors.dtype == np.float32


def test_a_vector_does_not_depend_on_its_batch_nor_change_the_model() -> None:
    towers = build_small()
    pixels = draw_pixels(300, towers.image_side)
    before = {name: value.clone() for name, value in towers.model.state_dict().items()}
    vectors = towers.encode_pixels(pixels)
    np.testing.assert_allclose(vectors[[1, 299]], towers.encode_pixels(pixels[[1, 299]]), atol=1e-6)
    assert all((before[name] == value).all() for name, value in towers.model.state_dict().items())
    assert towers.model.training
    assert towers.encode_pixels(pixels[:0]).shape == (0, 16)
    assert towers.encode_texts([]).shape == (0, 16)


def test_modules_are_in_the_mode_they_were_in_after_an_evaluation() -> None:
    model = build_small().model
    model.visual.layer2.eval()
    modes = [module.training for module in model.modules()]
    with evaluating(model):
        assert not any(module.training for module in model.modules())
    assert [module.training for module in model.modules()] == modes


def test_words_go_to_other_processes() -> None:
    towers = build_small()
    sent = pickle.loads(pickle.dumps(towers.tokenise))
    codes = sent(tuple(TEXTS))
    assert codes.shape == (9, 12)
    assert codes.tolist() == towers.tokenise(TEXTS).tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_pretrained_towers_give_the_vectors_of_stock_open_clip(kind: str, tmp_path: Path) -> None:
    import open_clip
    import torch

    towers = open_kind(kind, tmp_path)
    theirs = open_clip.create_model(f"local-dir:{tmp_path}").eval()
    pixels = draw_pixels(3, towers.image_side)
    inputs = (torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 - 0.5) / 0.3
    with torch.inference_mode():
        images = theirs.encode_image(inputs, normalize=True).numpy()
        texts = theirs.encode_text(open_clip.get_tokenizer(f"local-dir:{tmp_path}")(TEXTS), normalize=True).numpy()
    np.testing.assert_allclose(towers.encode_pixels(pixels), images, atol=2e-6)
    np.testing.assert_allclose(towers.encode_texts(TEXTS), texts, atol=2e-6)
    assert towers.preprocessing.resize is ResizeMode.CROP
    assert towers.model.training
    assert all(weight.requires_grad for weight in towers.model.parameters())


def test_training_does_not_write_into_the_file_it_started_from(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    file = write_kind("vit", tmp_path) / "open_clip_model.safetensors"
    save_file({name: value.half() for name, value in load_file(file).items()}, file)
    before = file.read_bytes()
    towers = open_named(str(tmp_path))
    with torch.no_grad():
        for weight in towers.model.parameters():
            assert weight.dtype == torch.float32
            weight.add_(1)
    assert file.read_bytes() == before


def test_a_former_run_is_named_by_its_folder(tmp_path: Path) -> None:
    write_kind("vit", tmp_path / "run" / "encoder")
    shutil.copytree(tmp_path / "run" / "encoder", tmp_path / "copy")
    former, copy = open_named(str(tmp_path / "run")), open_named(str(tmp_path / "copy"))
    np.testing.assert_array_equal(former.encode_texts(TEXTS), copy.encode_texts(TEXTS))


def test_the_bundled_encoder_can_be_gone_on_with() -> None:
    towers = open_named("bundled")
    assert set(towers.text_files) == {"tokenizer.json", "tokenizer_config.json"}
    assert towers.preprocessing.resize is ResizeMode.SQUASH


def test_an_architecture_of_open_clip_starts_with_random_weights(architectures: Path) -> None:
    import torch

    said: list[str] = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        towers = open_towers(ModelConfig(start="ViT-tiny"), TINY, texts=None, announce=said.append)
        said.append(str(towers.encode_texts(["a moth"])[0, :3]))
    assert said[1] == said[3] != said[5]
    assert said[0].startswith("ViT-tiny: 9")
    assert said[0].endswith("weights, 32 px, 16 dimensions")
    assert towers.preprocessing.resize is ResizeMode.SQUASH
    assert towers.text_files == {}


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ("ViT-tinny", r"model.start = 'ViT-tinny': there is no such model.* Did you mean 'ViT-tiny'\?"),
        ("smal", r"Did you mean 'small'\?"),
        ("ViT-B-32/laion2b", r"model.start = .*: no such pretrained model; the tags of ViT-B-32 are"),
        ("runs/none", r"model.start = 'runs/none': .*no architecture 'runs'"),
        ("local-dir:/no/such", r"/no/such is not a folder"),
        ("hf-hub:no/such", r"not in the hub cache, and the model hub cannot be reached"),
        ("ViT-wide", r"its input of \[32, 64\] pixels is no square"),
        ("coca-tiny", r"this is a CoCa, whose caption writer would not be trained"),
        ("ViT-tiny-SigLIP", r"its tokenizer no/words cannot be had .* Connect once to download it"),
    ],
)
def test_a_start_that_cannot_be_used_is_answered_with_what_to_do(start: str, message: str, architectures: Path) -> None:
    with pytest.raises(InputError, match=message):
        open_named(start)


def test_a_damaged_former_run_is_named(tmp_path: Path) -> None:
    encoder = write_kind("vit", tmp_path / "encoder")
    weights = encoder / "open_clip_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(InputError, match="the weights are damaged or cut off"):
        open_named(str(tmp_path))
    assert json.loads((encoder / "open_clip_config.json").read_text())["model_cfg"] == TINY_VIT
