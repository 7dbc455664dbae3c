from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.random_encoder import write_random_encoder
from indexer.devices import choose_batch_size, choose_device, choose_precision, find_bf16_units, weight_type
from indexer.encoder_spec import EncoderSpec, Precision
from indexer.encoders import load_encoder
from indexer.encoding import Encoder
from indexer.errors import EncoderError
from indexer.lean_imports import lean_imports
from indexer.model_names import SHORT_NAMES, bundled_encoder_folder, parse_model_name
from indexer.preprocessing import Interpolation, Preprocessing, ResizeMode, resize_pixels
from indexer.towers import LazyTowers
from tests.indexer.tiny_encoders import (
    COLOURS,
    TINY_RESNET,
    TINY_TIMM,
    TINY_VIT,
    write_colour_encoder,
    write_tiny_encoder,
)

WEIGHTS = "open_clip_model.safetensors"


@pytest.fixture(scope="module")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_encoder(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def colour_encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    return load_encoder(f"local-dir:{write_colour_encoder(tmp_path_factory.mktemp('colour'))}")


def draw_square(red: int, green: int, blue: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.full((40, 60, 3), (red, green, blue), dtype=np.uint8)


def draw_noise(n: int, side: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(7).integers(0, 256, (n, 3, side, side), dtype=np.uint8)


class SmallMemory:
    """Towers that compute the mean colour, on a device that holds a few images only."""

    def __init__(self, n_images: int) -> None:
        self.n_images = n_images

    def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
        if len(pixels) > self.n_images:
            raise torch.OutOfMemoryError(f"tried to allocate {len(pixels)} images")
        return pixels.mean(dim=(2, 3))

    def encode_text(self, tokens: torch.Tensor) -> torch.Tensor:
        return tokens.float()


class Letters:
    """A tokenizer of three letters."""

    context_length = 3

    def __call__(self, texts: list[str]) -> torch.Tensor:
        return torch.tensor([[ord(letter) for letter in text[:3].ljust(3, "\0")] for text in texts])

    def encode(self, text: str) -> list[int]:
        return [ord(letter) for letter in text]


def make_encoder(towers: Any, *, batch_size: int, announce: Callable[[str], None] = print) -> Encoder:
    preprocessing = Preprocessing(
        size=8, resize=ResizeMode.SQUASH, interpolation=Interpolation.BICUBIC, mean=(0, 0, 0), std=(1, 1, 1)
    )
    spec = EncoderSpec(
        model="local-dir:/models/mean",
        revision=None,
        weights_digest="0" * 64,
        architecture_digest="1" * 64,
        preprocessing=preprocessing,
        dimension=3,
        precision=Precision.FP32,
    )
    return Encoder(
        spec=spec, towers=towers, tokenizer=Letters(), device="cpu", batch_size=batch_size, announce=announce
    )


def test_a_red_square_lies_where_the_word_red_lies(colour_encoder: Encoder) -> None:
    images = colour_encoder.encode_images([draw_square(255, 0, 0), draw_square(0, 255, 0), draw_square(255, 255, 0)])
    texts = colour_encoder.encode_texts(["red", "a green bird", "yellow"])
    np.testing.assert_array_equal((images @ texts.T).argmax(axis=1), [0, 1, 2])
    np.testing.assert_allclose((images * texts).sum(axis=1), 1, atol=1e-3)


@pytest.mark.parametrize("word", COLOURS)
def test_the_vector_of_a_colour_word_is_its_colour(colour_encoder: Encoder, word: str) -> None:
    vector = colour_encoder.encode_texts([f"a {word} leaf"])[0]
    np.testing.assert_allclose(vector, [*(np.array(COLOURS[word]) / np.sqrt(3)), 0], atol=5e-3)


def test_vectors_are_float32_of_unit_length(colour_encoder: Encoder) -> None:
    for vectors in (
        colour_encoder.encode_texts(["red", "a bird", ""]),
        colour_encoder.encode_pixels(draw_noise(20, 32)),
    ):
        assert vectors.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_nothing_in_gives_no_rows(colour_encoder: Encoder) -> None:
    assert colour_encoder.encode_pixels(draw_noise(0, 32)).shape == (0, 4)
    assert colour_encoder.encode_texts([]).shape == (0, 4)


def test_pixels_of_another_size_are_refused(colour_encoder: Encoder) -> None:
    with pytest.raises(EncoderError, match=r"pixels of shape \(3, 16, 16\); give \(3, 32, 32\)"):
        colour_encoder.encode_pixels(draw_noise(1, 16))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_bytes_of_a_vector_do_not_depend_on_how_many_images_are_in_the_call(
    tiny_folder: Path, precision: str
) -> None:
    encoder = load_encoder(str(tiny_folder), precision=precision)
    pixels = draw_noise(2 * encoder.batch_size + 3, 32)
    together = encoder.encode_pixels(pixels)
    np.testing.assert_array_equal(encoder.encode_pixels(pixels[:1]), together[:1])
    np.testing.assert_array_equal(encoder.encode_pixels(pixels[-3:]), together[-3:])


def test_a_query_image_differs_from_the_stored_one_by_rounding_only(tiny_folder: Path) -> None:
    encoder = load_encoder(str(tiny_folder), precision="bf16")
    image = np.random.default_rng(3).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    stored = encoder.encode_pixels(resize_pixels(image, encoder.spec.preprocessing)[None])
    assert float((encoder.encode_images([image]) @ stored.T)[0, 0]) > 0.9999


def test_vectors_agree_with_open_clips_own_pipeline(tiny_folder: Path) -> None:
    import open_clip
    from PIL import Image

    image = np.random.default_rng(5).integers(0, 256, (45, 64, 3), dtype=np.uint8)
    theirs, _, transform = open_clip.create_model_and_transforms(f"local-dir:{tiny_folder}")
    tokens = open_clip.get_tokenizer(f"local-dir:{tiny_folder}")(["a small moth"])
    ours = load_encoder(str(tiny_folder), precision="fp32")
    with torch.inference_mode():
        image_vector = theirs.eval().encode_image(transform(Image.fromarray(image))[None], normalize=True)
        text_vector = theirs.encode_text(tokens, normalize=True)
    np.testing.assert_allclose(ours.encode_images([image]), image_vector.numpy(), atol=1e-3)
    np.testing.assert_allclose(ours.encode_texts(["a small moth"]), text_vector.numpy(), atol=1e-6)


@pytest.mark.parametrize("architecture", [TINY_VIT, TINY_RESNET, TINY_TIMM], ids=["vit", "resnet", "timm"])
def test_bf16_weights_keep_the_direction_of_every_vector(architecture: dict[str, Any], tmp_path: Path) -> None:
    write_random_encoder(architecture, tmp_path)
    _spread_batch_norms(tmp_path / WEIGHTS)
    full, short = (load_encoder(str(tmp_path), precision=precision) for precision in ("fp32", "bf16"))
    assert full.spec.fingerprint == short.spec.fingerprint
    pixels = draw_noise(24, full.spec.preprocessing.size)
    texts = ["a bird", "larva on a leaf", "a photo of Parus major."]
    assert (full.encode_pixels(pixels) * short.encode_pixels(pixels)).sum(axis=1).min() > 0.9999
    assert (full.encode_texts(texts) * short.encode_texts(texts)).sum(axis=1).min() > 0.9999


def test_bf16_weights_keep_the_direction_of_vit_b_32() -> None:
    with lean_imports():
        import open_clip

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = open_clip.CLIP(**open_clip.get_model_config("ViT-B-32")).eval().requires_grad_(False)
    pixels = torch.from_numpy(draw_noise(4, 224)).float() / 255 - 0.5
    tokens = open_clip.tokenize(["a photo of a juvenile bird", "Vanessa atalanta"])
    vectors = []
    for dtype in (weight_type(Precision.FP32), weight_type(Precision.BF16)):
        towers = LazyTowers(network, device="cpu", dtype=dtype)
        with torch.inference_mode():
            rows = torch.cat([towers.encode_image(pixels.to(dtype)).float(), towers.encode_text(tokens).float()])
        vectors.append(torch.nn.functional.normalize(rows, dim=1))
    assert (vectors[0] * vectors[1]).sum(dim=1).min() > 0.9999


def test_when_memory_runs_out_the_batch_is_halved_and_no_image_is_lost() -> None:
    said: list[str] = []
    encoder = make_encoder(SmallMemory(4), batch_size=16, announce=said.append)
    pixels = draw_noise(21, 8)
    expected = make_encoder(SmallMemory(100), batch_size=4).encode_pixels(pixels)
    np.testing.assert_array_equal(encoder.encode_pixels(pixels), expected)
    assert encoder.batch_size == 4
    assert said == [f"cpu: out of memory; going on with batches of {size} images" for size in (8, 4)]


def test_an_image_that_never_fits_is_an_error() -> None:
    with pytest.raises(EncoderError, match=r"one image does not fit into the memory of cpu"):
        make_encoder(SmallMemory(0), batch_size=2).encode_pixels(draw_noise(3, 8))


def test_a_vector_of_zeros_is_an_error_that_names_the_image() -> None:
    pixels = draw_noise(6, 8)
    pixels[4] = 0
    with pytest.raises(EncoderError, match=r"image 5 came out as a vector that is zero in fp32"):
        make_encoder(SmallMemory(9), batch_size=2).encode_pixels(pixels)


def test_a_vector_that_is_not_finite_is_an_error() -> None:
    towers = SmallMemory(9)
    towers.encode_text = lambda tokens: tokens.float().log()  # type: ignore[method-assign]
    with pytest.raises(EncoderError, match=r"text 2 came out as a vector that is not finite"):
        make_encoder(towers, batch_size=2).encode_texts(["abc", "a"])


def test_texts_beyond_the_context_are_cut_and_said(tiny_folder: Path) -> None:
    said: list[str] = []
    encoder = load_encoder(str(tiny_folder), announce=said.append)
    vectors = encoder.encode_texts(["moth " * 14, "moth " * 15, "moth"])
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-6)
    assert said[-1].startswith("1 of 3 texts exceed the 16 tokens")


def test_what_was_chosen_is_said_with_its_reason(tiny_folder: Path) -> None:
    said: list[str] = []
    load_encoder(str(tiny_folder), device="cpu", precision="fp32", announce=said.append)
    asked = "because it was asked for"
    assert said == [f"{tiny_folder}: computes on cpu, {asked}; in fp32, {asked}; batches of 16 images"]


def test_automatic_precision_follows_the_hardware() -> None:
    assert choose_precision("auto", "cuda:0").value == "bf16"
    assert choose_precision("auto", "mps").value == "fp32"
    assert choose_precision("auto", "cuda:0", is_convolutional=True).value == "fp32"
    assert choose_precision("auto", "cpu").value == ("bf16" if find_bf16_units() else "fp32")


def test_a_convolutional_tower_stays_in_fp32_unless_asked(tmp_path: Path) -> None:
    write_random_encoder(TINY_RESNET, tmp_path)
    assert load_encoder(str(tmp_path)).spec.precision == "fp32"
    assert load_encoder(str(tmp_path), precision="bf16").spec.precision == "bf16"


def test_unknown_devices_and_precisions_are_refused() -> None:
    with pytest.raises(EncoderError, match=r"--device gpu: no such device; use one of auto, cpu, cuda, mps"):
        choose_device("gpu")
    with pytest.raises(EncoderError, match=r"--precision fp16: not known; use one of auto, fp32, bf16"):
        choose_precision("fp16", "cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(EncoderError, match=r"--device cuda: this machine has no such device"):
        choose_device("cuda")


def test_the_batch_on_a_gpu_shrinks_with_the_size_of_the_image_tower() -> None:
    sizes = {"B": 88_000_000, "L": 304_000_000, "H": 632_000_000}
    assert [choose_batch_size("cuda", n) for n in sizes.values()] == [256, 128, 64]


def test_a_bare_folder_a_local_dir_and_a_copy_are_the_same_encoder(tiny_folder: Path, tmp_path: Path) -> None:
    write_tiny_encoder(tmp_path)
    specs = [load_encoder(name).spec for name in (str(tiny_folder), f"local-dir:{tiny_folder}", str(tmp_path))]
    assert specs[0] == specs[1]
    assert specs[0].model == f"local-dir:{tiny_folder}"
    assert specs[2].fingerprint == specs[0].fingerprint
    assert specs[2] != specs[0]


def test_the_fingerprint_follows_weights_architecture_and_preprocessing_but_not_name_or_precision(
    tiny_folder: Path,
) -> None:
    spec = load_encoder(str(tiny_folder), precision="fp32").spec
    squashed = dataclasses.replace(spec.preprocessing, resize=ResizeMode.SQUASH)
    others: list[dict[str, Any]] = [
        {"weights_digest": "0" * 64},
        {"architecture_digest": "0" * 64},
        {"preprocessing": squashed},
        {"dimension": 17},
    ]
    fingerprints = {dataclasses.replace(spec, **other).fingerprint for other in others}
    assert len(fingerprints | {spec.fingerprint}) == 5
    same = dataclasses.replace(spec, model="hf-hub:a/b", revision="c", precision=Precision.BF16)
    assert same.fingerprint == spec.fingerprint
    assert len(spec.fingerprint) == 16


def test_a_spec_survives_json(tiny_folder: Path) -> None:
    spec = load_encoder(str(tiny_folder)).spec
    assert EncoderSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


def test_a_spec_changed_by_hand_is_refused(tiny_folder: Path) -> None:
    fields = load_encoder(str(tiny_folder)).spec.to_json()
    with pytest.raises(EncoderError, match=r"is not that of its fields"):
        EncoderSpec.from_json({**fields, "dimension": 99})
    with pytest.raises(EncoderError, match=r"'fp8' is not a valid Precision"):
        EncoderSpec.from_json({**fields, "precision": "fp8"})
    with pytest.raises(EncoderError, match=r"dimension is missing"):
        EncoderSpec.from_json({key: fields[key] for key in fields if key != "dimension"})


def test_another_seed_is_another_space(tiny_folder: Path, tmp_path: Path) -> None:
    other = load_encoder(str(write_tiny_encoder(tmp_path, seed=1))).spec
    assert other.fingerprint != load_encoder(str(tiny_folder)).spec.fingerprint


def test_a_torch_checkpoint_gives_the_vectors_of_its_safetensors(tiny_folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    (tmp_path / "open_clip_config.json").write_bytes((tiny_folder / "open_clip_config.json").read_bytes())
    torch.save({"state_dict": load_file(tiny_folder / WEIGHTS)}, tmp_path / "open_clip_pytorch_model.bin")
    texts = ["a moth", "a bird"]
    np.testing.assert_array_equal(
        load_encoder(str(tmp_path)).encode_texts(texts), load_encoder(str(tiny_folder)).encode_texts(texts)
    )


def test_a_checkpoint_that_holds_more_than_weights_is_not_opened(tiny_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "open_clip_config.json").write_bytes((tiny_folder / "open_clip_config.json").read_bytes())
    torch.save({"state_dict": SmallMemory(1)}, tmp_path / "open_clip_pytorch_model.bin")
    with pytest.raises(EncoderError, match=r"not a checkpoint of weights alone, so it is not opened"):
        load_encoder(str(tmp_path))


def test_a_folder_without_weights_is_refused(tiny_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "open_clip_config.json").write_bytes((tiny_folder / "open_clip_config.json").read_bytes())
    with pytest.raises(EncoderError, match=r"a configuration but no weights, and random weights would make a space"):
        load_encoder(str(tmp_path))


def test_weights_that_are_cut_off_are_refused(tiny_folder: Path, tmp_path: Path) -> None:
    write_tiny_encoder(tmp_path)
    whole = (tmp_path / WEIGHTS).read_bytes()
    (tmp_path / WEIGHTS).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(EncoderError, match=r"the weights are damaged or cut off"):
        load_encoder(str(tmp_path))


def test_weights_of_another_architecture_are_refused(tiny_folder: Path, tmp_path: Path) -> None:
    wider = {**TINY_VIT, "embed_dim": 24}
    write_random_encoder(wider, tmp_path)
    (tmp_path / WEIGHTS).write_bytes((tiny_folder / WEIGHTS).read_bytes())
    with pytest.raises(EncoderError, match=r"the weights do not fit the model that the configuration describes"):
        load_encoder(str(tmp_path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"is not the configuration of an open_clip model"),
        ("{}", r"is not the configuration of an open_clip model"),
        ('{"model_cfg": {"embed_dim": 4}}', r"lacks vision_cfg, text_cfg in model_cfg"),
        (
            '{"model_cfg": {"embed_dim": 4, "vision_cfg": {"wdth": 1}, "text_cfg": {}}}',
            r"cannot build this architecture",
        ),
    ],
)
def test_a_configuration_that_describes_no_model_is_refused(
    tiny_folder: Path, tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / WEIGHTS).write_bytes((tiny_folder / WEIGHTS).read_bytes())
    (tmp_path / "open_clip_config.json").write_text(text)
    with pytest.raises(EncoderError, match=message):
        load_encoder(str(tmp_path))


def test_short_names_lead_to_full_ones() -> None:
    resolved = {name: parse_model_name(name).resolved for name in SHORT_NAMES if name != "bundled"}
    assert resolved == {
        "bioclip": "hf-hub:imageomics/bioclip",
        "bioclip-2": "hf-hub:imageomics/bioclip-2",
        "bioclip-2.5": "hf-hub:imageomics/bioclip-2.5-vith14",
        "siglip2": "hf-hub:timm/ViT-SO400M-16-SigLIP2-256",
    }
    assert parse_model_name("hf-hub:imageomics/bioclip-2@v1").resolved == "hf-hub:imageomics/bioclip-2@v1"
    assert parse_model_name("ViT-B-32/laion2b_s34b_b79k").resolved == "ViT-B-32/laion2b_s34b_b79k"


def test_only_hub_models_of_the_family_count_as_bioclip() -> None:
    names = {
        "bioclip": True,
        "bioclip-2.5": True,
        "hf-hub:imageomics/biocap": True,
        "hf-hub:somebody/bioclip": False,
        "hf-hub:imageomics/bioclipper": False,
        "siglip2": False,
    }
    assert {name: parse_model_name(name).is_bioclip for name in names} == names


def test_the_bundled_model_lies_in_the_package_or_the_checkout() -> None:
    folder = bundled_encoder_folder()
    assert folder.name == "bundled"
    assert folder.parent.name in ("indexer", "data")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("bioclip2", r"no model has this name; use bioclip, bioclip-2, .* Did you mean 'bioclip-2'\?"),
        ("hf-hub:bioclip-2", r"'bioclip-2' is not the name of a repository on the model hub"),
        ("local-dir:/no/such/place", r"/no/such/place is not a folder; give a folder that holds an open_clip model"),
        ("ViT-B-32/laion2b", r"no such pretrained model; the tags of ViT-B-32 are openai, .*laion2b_s34b_b79k"),
        ("ViT-B-33/openai", r"open_clip has no architecture 'ViT-B-33' .* Did you mean 'ViT-B-32/openai'\?"),
    ],
)
def test_a_model_that_is_not_known_is_answered_with_what_is(name: str, message: str) -> None:
    with pytest.raises(EncoderError, match=message):
        load_encoder(name)


def test_a_text_is_encoded_without_the_compiler_timm_and_transformers_which_still_work_afterwards(
    tiny_folder: Path, tmp_path: Path
) -> None:
    write_random_encoder(TINY_TIMM, tmp_path)
    script = f"""
import sys
from indexer.encoders import load_encoder
from indexer.lean_imports import lean_imports
load_encoder({str(tiny_folder)!r}).encode_texts(["a moth"])
assert not {{"torch._dynamo", "torch._dynamo.utils", "timm", "transformers"}} & sys.modules.keys()

with lean_imports():
    stand_in = sys.modules["torch._dynamo.utils"]
    from torch._dynamo.utils import counters
assert sys.modules["torch._dynamo.utils"] is not stand_in
assert sys.modules["torch._dynamo.utils"].counters is counters

import numpy as np
image = np.zeros((3, 3, 64, 64), np.uint8)
assert load_encoder({str(tmp_path)!r}).encode_pixels(image).shape == (3, 32)

import torch, torchvision
boxes = torch.tensor([[0.0, 0.0, 0.0, 4.0, 4.0]])
assert torchvision.ops.roi_align(torch.ones(1, 1, 8, 8), boxes, 2).mean() == 1
assert torchvision.ops.roi_align.__globals__["is_compile_supported"]("cpu") in (True, False)
assert torch.compile(lambda x: x + 1, backend="eager")(torch.zeros(1)) == 1
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def _spread_batch_norms(file: Path) -> None:
    """Give batch norms the means and variances that training leaves, where fresh ones have 0 and 1."""
    from safetensors.torch import load_file, save_file

    random = torch.Generator().manual_seed(1)
    weights = load_file(file)
    for name, tensor in weights.items():
        if name.endswith("running_mean"):
            tensor.copy_(torch.randn(tensor.shape, generator=random) / 2)
        if name.endswith("running_var"):
            tensor.copy_(torch.rand(tensor.shape, generator=random) * 2 + 0.1)
    save_file(weights, file)
