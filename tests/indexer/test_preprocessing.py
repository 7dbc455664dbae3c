from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from indexer.errors import EncoderError
from indexer.images import read_image
from indexer.preprocessing import Interpolation, Preprocessing, ResizeMode, normalise_batch, resize_pixels

PLAIN = Preprocessing(
    size=224,
    resize=ResizeMode.CROP,
    interpolation=Interpolation.BICUBIC,
    mean=(0.0, 0.0, 0.0),
    std=(1.0, 1.0, 1.0),
)
OPEN_CLIP_MODES = ["squash", "shortest", "longest"]


class HorizontalFirst(Image.Image):
    """An image that Pillow 13 resizes in the order of Pillow 12: it takes some vertically first."""

    def resize(self, size: Any, resample: int | None = None, *_: Any, **__: Any) -> Image.Image:
        return super().resize((size[0], self.height), resample).resize(size, resample)


def open_clip_square(pixels: np.ndarray, cfg: dict[str, Any]) -> np.ndarray:
    """What open_clip's own transform makes of an image, in 0-255."""
    from open_clip.transform import PreprocessCfg, image_transform_v2

    unnormalised = PreprocessCfg(**cfg | {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)})
    transform: Callable[[Image.Image], torch.Tensor] = image_transform_v2(unnormalised, is_train=False)
    image = Image.fromarray(pixels)
    image.__class__ = HorizontalFirst
    return np.asarray(transform(image).mul(255).round())


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3)).astype(np.uint8)


def levels_apart(pixels: np.ndarray, cfg: dict[str, Any]) -> np.ndarray:
    ours = resize_pixels(pixels, Preprocessing.from_open_clip(cfg))
    theirs = open_clip_square(pixels, cfg)
    assert ours.dtype == np.uint8
    assert ours.shape == theirs.shape
    apart: np.ndarray = np.abs(ours - theirs)
    return apart


@pytest.mark.parametrize("mode", OPEN_CLIP_MODES)
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize(
    "shape", [(375, 500), (501, 333), (224, 224), (225, 223), (290, 701), (700, 300), (1, 9), (768, 1023)]
)
def test_noise_is_at_most_one_level_from_open_clips_own(mode: str, interpolation: str, shape: tuple[int, int]) -> None:
    cfg = {"size": 224, "resize_mode": mode, "interpolation": interpolation, "fill_color": 7}
    assert levels_apart(noise(*shape), cfg).max() <= 1


@pytest.mark.parametrize("mode", OPEN_CLIP_MODES)
@pytest.mark.parametrize("size", [96, 256, 384])
def test_other_sizes_agree_with_open_clip_too(mode: str, size: int) -> None:
    assert levels_apart(noise(433, 517), {"size": size, "resize_mode": mode}).max() <= 1


@pytest.mark.parametrize("mode", OPEN_CLIP_MODES)
@pytest.mark.parametrize("shape", [(31, 47), (97, 640), (60, 50)])
def test_enlarged_noise_is_two_levels_off_in_hardly_a_value(mode: str, shape: tuple[int, int]) -> None:
    apart = levels_apart(noise(*shape), {"size": 224, "resize_mode": mode})
    assert apart.max() <= 2
    assert (apart > 1).mean() < 1e-4


@pytest.mark.parametrize("mode", OPEN_CLIP_MODES)
def test_real_images_agree_with_open_clip_from_the_file_on(mode: str, shared_data: Path) -> None:
    cfg: dict[str, Any] = {"size": 224, "resize_mode": mode}
    files = [
        *sorted((shared_data / "images" / "animals").iterdir())[::20],
        *sorted((shared_data / "images" / "heliconius").iterdir())[::100],
        shared_data / "awkward_images" / "american_black_bear.jpg",
    ]
    squares = [resize_pixels(read_image(file).pixels, Preprocessing.from_open_clip(cfg)) for file in files]
    theirs = [open_clip_square(np.asarray(Image.open(file).convert("RGB")), cfg) for file in files]
    apart = np.abs(np.stack(squares) - np.stack(theirs))
    assert apart.max() <= 2
    assert (apart > 1).mean() < 1e-5


def test_a_squashed_image_keeps_its_borders() -> None:
    pixels = np.zeros((100, 400, 3), np.uint8)
    pixels[:, 200:] = 255
    square = resize_pixels(pixels, replace(PLAIN, resize=ResizeMode.SQUASH))
    assert (square[:, :, :108] == 0).all()
    assert (square[:, :, 116:] == 255).all()


def test_a_crop_keeps_only_the_centre() -> None:
    pixels = np.zeros((224, 448, 3), np.uint8)
    pixels[:, 112:336] = 255
    assert (resize_pixels(pixels, PLAIN) == 255).all()


def test_the_longest_side_is_fitted_and_the_rest_filled() -> None:
    square = resize_pixels(np.full((224, 112, 3), 200, np.uint8), replace(PLAIN, resize=ResizeMode.LONGEST, fill=9))
    assert (square[:, :, :56] == 9).all()
    assert (square[:, :, 56:168] == 200).all()
    assert (square[:, :, 168:] == 9).all()


@pytest.mark.parametrize("resize", list(ResizeMode))
@pytest.mark.parametrize("shape", [(1, 60_000), (60_000, 1)])
def test_a_sliver_becomes_a_square_without_a_giant_between(resize: ResizeMode, shape: tuple[int, int]) -> None:
    square = resize_pixels(np.full((*shape, 3), 77, np.uint8), replace(PLAIN, resize=resize))
    assert square.shape == (3, 224, 224)
    assert square.max() == 77


def test_any_view_of_pixels_can_be_resized() -> None:
    pixels = noise(50, 70)
    mirrored = pixels[:, ::-1]
    mirrored.flags.writeable = False
    np.testing.assert_array_equal(resize_pixels(mirrored, PLAIN), resize_pixels(mirrored.copy(), PLAIN))


def test_a_normalised_batch_has_the_textbook_values() -> None:
    preprocessing = replace(PLAIN, mean=(0.0, 0.5, 1.0), std=(1.0, 0.5, 0.25))
    batch = torch.tensor([0, 51, 255], dtype=torch.uint8).expand(1, 3, 1, 3)
    normalised = normalise_batch(batch, preprocessing, torch.float32)
    expected = [[0.0, 0.2, 1.0], [-1.0, -0.6, 1.0], [-4.0, -3.2, 0.0]]
    torch.testing.assert_close(normalised[0, :, 0], torch.tensor(expected), atol=1e-6, rtol=0)


def test_a_bf16_batch_is_the_float32_batch_rounded_once() -> None:
    preprocessing = Preprocessing.from_open_clip({})
    batch = torch.from_numpy(noise(40, 40)).permute(2, 0, 1)[None]
    rounded = normalise_batch(batch, preprocessing, torch.float32).to(torch.bfloat16)
    assert torch.equal(normalise_batch(batch, preprocessing, torch.bfloat16), rounded)


def test_decoding_resizing_and_normalising_equal_open_clips_transform() -> None:
    from open_clip.transform import PreprocessCfg, image_transform_v2

    cfg = PreprocessCfg(size=64, resize_mode="squash")
    file = io.BytesIO()
    Image.fromarray(noise(80, 99)).save(file, "PNG")
    preprocessing = Preprocessing.from_open_clip(asdict(cfg))
    square = torch.from_numpy(resize_pixels(noise(80, 99), preprocessing))[None]
    ours = normalise_batch(square, preprocessing, torch.float32)[0]
    theirs = image_transform_v2(cfg, is_train=False)(Image.open(file))
    level = 1 / 255 / min(cfg.std)
    assert (ours - theirs).abs().max() <= level * 1.001


def test_what_open_clip_leaves_open_is_filled_with_its_defaults() -> None:
    from open_clip.transform import PreprocessCfg

    assert Preprocessing.from_open_clip({}) == Preprocessing.from_open_clip(asdict(PreprocessCfg()))
    assert Preprocessing.from_open_clip({"mean": None, "resize_mode": None}) == Preprocessing.from_open_clip({})


@pytest.mark.parametrize(("theirs", "ours"), [("squash", "squash"), ("shortest", "crop"), ("longest", "longest")])
def test_open_clips_resize_modes_have_our_names(theirs: str, ours: str) -> None:
    assert Preprocessing.from_open_clip({"resize_mode": theirs}).resize is ResizeMode(ours)


def test_open_clips_random_interpolation_means_bicubic_at_inference() -> None:
    assert Preprocessing.from_open_clip({"interpolation": "random"}).interpolation is Interpolation.BICUBIC


def test_one_mean_stands_for_all_channels_and_one_size_for_both_sides() -> None:
    preprocessing = Preprocessing.from_open_clip({"mean": 0.5, "size": [336, 336]})
    assert (preprocessing.mean, preprocessing.size) == ((0.5, 0.5, 0.5), 336)


@pytest.mark.parametrize(
    ("cfg", "message"),
    [
        ({"resize_mode": "tile"}, "resize_mode 'tile' is not known; use one of squash, shortest, longest"),
        ({"interpolation": "nearest"}, "interpolation 'nearest' is not known; use one of bicubic, bilinear, random"),
        ({"mode": "L"}, "mode 'L' is not known; use one of RGB"),
        ({"size": (224, 336)}, r"size \(224, 336\) is not supported; use the side of a square"),
        ({"size": 0}, "size 0 is not supported"),
        ({"mean": (0.5,)}, "mean .* is not supported; use one number per RGB channel"),
        ({"fill_color": 300}, "fill 300 is not a grey value; use a whole number from 0 to 255"),
    ],
)
def test_a_model_that_wants_something_else_is_refused(cfg: dict[str, Any], message: str) -> None:
    with pytest.raises(EncoderError, match=f"^preprocessing: {message}"):
        Preprocessing.from_open_clip(cfg)


def test_a_preprocessing_survives_json() -> None:
    preprocessing = Preprocessing.from_open_clip({"size": 256, "resize_mode": "longest", "fill_color": 3})
    text = json.dumps(preprocessing.to_json())
    assert Preprocessing.from_json(json.loads(text)) == preprocessing


def test_json_without_a_field_is_refused() -> None:
    fields = PLAIN.to_json()
    del fields["std"], fields["fill"]
    with pytest.raises(EncoderError, match=r"preprocessing: fill, std is missing"):
        Preprocessing.from_json(fields)


def test_json_with_an_unknown_resize_is_refused() -> None:
    with pytest.raises(EncoderError, match="resize 'tile' is not known; use one of squash, crop, longest"):
        Preprocessing.from_json(PLAIN.to_json() | {"resize": "tile"})
