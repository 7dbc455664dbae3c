"""Preprocessing: how the pixels of an image become the square that an encoder was trained on.

Squash or crop matters: the vectors differ, so the space stores which (BioCLIP's shards were squashed).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeVar

from indexer.errors import EncoderError

if TYPE_CHECKING:
    import numpy as np
    import torch
    from jaxtyping import Float, UInt8

Value = TypeVar("Value")

OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)
"""CLIP's channel statistics (Radford et al. 2021), which open_clip takes where a model names none."""

MAX_ASPECT = 64
"""Longer slivers are cut to this aspect about their centre before a crop, which would else take gigabytes."""


class ResizeMode(StrEnum):
    """How an image of any aspect fills a square."""

    SQUASH = "squash"
    """Both sides are resized, the aspect is lost."""
    CROP = "crop"
    """The shortest side is resized, the centre is cut out (open_clip's ``shortest``)."""
    LONGEST = "longest"
    """The longest side is resized, the rest is filled."""


class Interpolation(StrEnum):
    """How pixels between pixels are made; always antialiased."""

    BICUBIC = "bicubic"
    BILINEAR = "bilinear"


# open_clip's "random" concerns training only; at inference it means bicubic.
_OPEN_CLIP_RESIZE = {"squash": ResizeMode.SQUASH, "shortest": ResizeMode.CROP, "longest": ResizeMode.LONGEST}
_OPEN_CLIP_INTERPOLATION = {
    "bicubic": Interpolation.BICUBIC,
    "bilinear": Interpolation.BILINEAR,
    "random": Interpolation.BICUBIC,
}


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """What happens to an image between its file and an encoder; part of the encoder spec."""

    size: int
    """Side of the square, in pixels."""
    resize: ResizeMode
    interpolation: Interpolation
    mean: tuple[float, float, float]
    """Per channel, of pixels in [0, 1], as is the standard deviation."""
    std: tuple[float, float, float]
    fill: int = 0
    """Grey value in [0, 255] beside the image under `ResizeMode.LONGEST`."""

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON types."""
        return asdict(self) | {"mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Preprocessing:
        """The preprocessing that `to_json` wrote.

        Raises:
            EncoderError: a field is missing or has a value that is not known.
        """
        missing = {"size", "resize", "interpolation", "mean", "std", "fill"} - fields.keys()
        if missing:
            raise EncoderError(f"preprocessing: {', '.join(sorted(missing))} is missing.")
        return cls(
            size=_side(fields["size"]),
            resize=_choice("resize", fields["resize"], {str(mode): mode for mode in ResizeMode}),
            interpolation=_choice("interpolation", fields["interpolation"], {str(way): way for way in Interpolation}),
            mean=_channels("mean", fields["mean"]),
            std=_channels("std", fields["std"]),
            fill=_grey(fields["fill"]),
        )

    @classmethod
    def from_open_clip(cls, preprocess_cfg: Mapping[str, Any]) -> Preprocessing:
        """The preprocessing that open_clip would use for inference under its ``preprocess_cfg``.

        Keys that are missing or None take open_clip's own defaults (`open_clip.transform.PreprocessCfg`).

        Raises:
            EncoderError: the model wants something that is not a square RGB image.
        """
        given = {key: value for key, value in preprocess_cfg.items() if value is not None}
        _choice("mode", given.get("mode", "RGB"), {"RGB": "RGB"})
        return cls(
            size=_side(given.get("size", 224)),
            resize=_choice("resize_mode", given.get("resize_mode", "shortest"), _OPEN_CLIP_RESIZE),
            interpolation=_choice("interpolation", given.get("interpolation", "bicubic"), _OPEN_CLIP_INTERPOLATION),
            mean=_channels("mean", given.get("mean", OPENAI_MEAN)),
            std=_channels("std", given.get("std", OPENAI_STD)),
            fill=_grey(given.get("fill_color", 0)),
        )


def resize_pixels(pixels: UInt8[np.ndarray, "h w 3"], preprocessing: Preprocessing) -> UInt8[np.ndarray, "3 s s"]:
    """The image as the encoder's square, still 8-bit: at most 1/255 from open_clip's own transform.

    Exceptions: 4 values in a million of real photographs differ by 2/255. Pillow 13 and later resize an image whose
    height shrinks more than its width vertically first; the encoders were trained, and this function stays, with
    horizontally first (Pillow pull request 9549; up to 17/255 on tall photographs that are squashed). Slivers longer
    than `MAX_ASPECT` are cut before a crop.
    """
    image = _as_batch(pixels)
    match preprocessing.resize:
        case ResizeMode.SQUASH:
            square = _resize(image, (preprocessing.size, preprocessing.size), preprocessing.interpolation)
        case ResizeMode.CROP:
            square = _crop(image, preprocessing)
        case ResizeMode.LONGEST:
            square = _pad(image, preprocessing)
    planar: UInt8[np.ndarray, "3 s s"] = square[0].contiguous().numpy()
    return planar


def shrink_pixels(pixels: UInt8[np.ndarray, "h w 3"], side: int) -> UInt8[np.ndarray, "h2 w2 3"]:
    """The image with its longest side at most `side` pixels, antialiased; smaller images as they are."""
    height, width, _ = pixels.shape
    scale = min(1.0, side / max(height, width))
    shape = (max(1, round(height * scale)), max(1, round(width * scale)))
    small = _resize(_as_batch(pixels), shape, Interpolation.BILINEAR)
    shrunk: UInt8[np.ndarray, "h2 w2 3"] = small[0].permute(1, 2, 0).contiguous().numpy()
    return shrunk


def normalise_batch(
    batch: UInt8[torch.Tensor, "n 3 s s"], preprocessing: Preprocessing, dtype: torch.dtype
) -> Float[torch.Tensor, "n 3 s s"]:
    """The batch with each channel's mean taken off and divided by its deviation, where the batch lies.

    Computed in float32 and rounded once to `dtype`.
    """
    import torch

    mean, std = (
        torch.tensor(channels, dtype=torch.float32, device=batch.device).view(3, 1, 1)
        for channels in (preprocessing.mean, preprocessing.std)
    )
    return batch.mul(1 / (255 * std)).sub_(mean / std).to(dtype)


def _as_batch(pixels: UInt8[np.ndarray, "h w 3"]) -> UInt8[torch.Tensor, "1 3 h w"]:
    import numpy as np
    import torch

    # Batched before it is permuted, so that torch sees channels last and takes its vectorised way.
    return torch.from_numpy(np.require(pixels, requirements=["C", "W"])[None]).permute(0, 3, 1, 2)


def _resize(
    image: UInt8[torch.Tensor, "1 3 h w"], shape: tuple[int, int], interpolation: Interpolation
) -> UInt8[torch.Tensor, "1 3 h2 w2"]:
    """The image in another size; what torchvision's v2 transform calls, whose import takes 4.5 CPU seconds."""
    from torch.nn.functional import interpolate

    if image.shape[2:] == shape:
        return image
    return interpolate(image, size=shape, mode=str(interpolation), align_corners=False, antialias=True)


def _crop(image: UInt8[torch.Tensor, "1 3 h w"], preprocessing: Preprocessing) -> UInt8[torch.Tensor, "1 3 s s"]:
    """The image after ``Resize`` and ``CenterCrop``: the longest side cut to a whole number of pixels."""
    limit = MAX_ASPECT * min(image.shape[2:])
    image = _cut_centre(image, *(min(length, limit) for length in image.shape[2:]))
    height, width = image.shape[2:]
    shortest = min(height, width)
    resized = _resize(
        image,
        (int(preprocessing.size * height / shortest), int(preprocessing.size * width / shortest)),
        preprocessing.interpolation,
    )
    return _cut_centre(resized, preprocessing.size, preprocessing.size)


def _cut_centre(image: torch.Tensor, height: int, width: int) -> torch.Tensor:
    top, left = round((image.shape[2] - height) / 2), round((image.shape[3] - width) / 2)
    return image[:, :, top : top + height, left : left + width]


def _pad(image: UInt8[torch.Tensor, "1 3 h w"], preprocessing: Preprocessing) -> UInt8[torch.Tensor, "1 3 s s"]:
    """The image after ``ResizeKeepRatio`` and ``CenterCropOrPad``: sizes rounded, odd pixels right and below."""
    from torch.nn.functional import pad

    ratio = max(image.shape[2:]) / preprocessing.size
    height, width = (max(1, round(length / ratio)) for length in image.shape[2:])
    resized = _resize(image, (height, width), preprocessing.interpolation)
    rows, columns = preprocessing.size - height, preprocessing.size - width
    around = [columns // 2, (columns + 1) // 2, rows // 2, (rows + 1) // 2]
    return pad(resized, around, value=preprocessing.fill)


def _choice(field: str, value: object, known: Mapping[str, Value]) -> Value:
    try:
        return known[str(value)]
    except KeyError:
        raise EncoderError(f"preprocessing: {field} {value!r} is not known; use one of {', '.join(known)}.") from None


def _side(size: Any) -> int:
    sides = list(size) if isinstance(size, (list, tuple)) else [size]
    if len(set(sides)) != 1 or not isinstance(sides[0], int) or sides[0] < 1:
        raise EncoderError(f"preprocessing: size {size!r} is not supported; use the side of a square in pixels.")
    return sides[0]


def _channels(field: str, values: Any) -> tuple[float, float, float]:
    channels = values if isinstance(values, (list, tuple)) else (values,) * 3
    if len(channels) != 3 or not all(isinstance(channel, (int, float)) for channel in channels):
        raise EncoderError(f"preprocessing: {field} {values!r} is not supported; use one number per RGB channel.")
    red, green, blue = map(float, channels)
    return red, green, blue


def _grey(value: Any) -> int:
    if not isinstance(value, int) or not 0 <= value <= 255:
        raise EncoderError(f"preprocessing: fill {value!r} is not a grey value; use a whole number from 0 to 255.")
    return value
