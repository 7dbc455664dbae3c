"""How a picture is shown to the encoder while it learns: framed as at inference, then cropped, moved, mirrored and lit.

Every view follows from numbers drawn before, so that it depends on the step and on the place in the batch alone.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from indexer.preprocessing import Preprocessing, ResizeMode, resize_pixels

if TYPE_CHECKING:
    from jaxtyping import Float64, Int64, UInt8, UInt16

    from training.settings import DataConfig

N_DRAWS = 11
"""Uniform numbers in [0, 1) that one view takes."""
MAX_RATIO = 4 / 3
"""Largest ratio of the sides of a random crop, as in `RandomResizedCrop` (Szegedy et al. 2015, section 6)."""
_FRACTION_BITS = 7
"""Of the fixed-point factors of light: 255 x 1.75 x 2^7 still fits into 16 bits."""


@dataclass(frozen=True, kw_only=True)
class View:
    """What is done to one picture.

    Attributes:
        box: Top, left, height and width of the crop, as shares of the frame; None keeps the whole frame.
        rows, columns: Pixels by which the picture is moved down and right; the edges are repeated.
        factors: Light of the values of one row of pixels, in 1/128; None leaves it as it is.
    """

    box: tuple[float, float, float, float] | None
    rows: int
    columns: int
    mirrored: bool
    factors: UInt16[np.ndarray, " s*3"] | None


def make_views(draws: Float64[np.ndarray, "n 11"], data: DataConfig, *, side: int) -> list[View]:
    """One view per row of draws under these settings; the draws of an effect that is switched off are not used."""
    reach = round(data.max_shift * side)
    moves = (np.floor(draws[:, :2] * (2 * reach + 1)).astype(int) - reach).tolist()
    mirrored = ((draws[:, 2] < 0.5) & data.mirror).tolist()
    light = (1 + data.light * (2 * draws[:, 3:4] - 1)) * (1 + data.light / 3 * (2 * draws[:, 4:7] - 1))
    factors = np.tile(np.rint(light * (1 << _FRACTION_BITS)).astype(np.uint16), side)
    return [
        View(
            box=_place_box(draws[i, 7:], data.min_crop) if data.min_crop < 1 else None,
            rows=moves[i][0],
            columns=moves[i][1],
            mirrored=mirrored[i],
            factors=factors[i] if data.light else None,
        )
        for i in range(len(draws))
    ]


def _place_box(draws: Float64[np.ndarray, " 4"], min_crop: float) -> tuple[float, float, float, float]:
    """A box of a uniform area, a log-uniform ratio of sides as far as the frame allows it, at a uniform place."""
    area = min_crop + (1 - min_crop) * float(draws[0])
    ratio = min(MAX_RATIO, 1 / area) ** (2 * float(draws[1]) - 1)
    height, width = (area * ratio) ** 0.5, (area / ratio) ** 0.5
    return (1 - height) * float(draws[2]), (1 - width) * float(draws[3]), height, width


def frame_picture(
    pixels: UInt8[np.ndarray, "h w 3"], preprocessing: Preprocessing, view: View
) -> UInt8[np.ndarray, "s s 3"]:
    """The encoder's square: as at inference, or the view's crop out of what is seen at inference."""
    side = preprocessing.size
    if view.box is None:
        if pixels.shape[:2] == (side, side):
            return pixels
        return resize_pixels(pixels, preprocessing).transpose(1, 2, 0)
    frame = _take_frame(pixels, preprocessing)
    height, width = frame.shape[:2]
    top, left = round(view.box[0] * height), round(view.box[1] * width)
    bottom, right = top + max(1, round(view.box[2] * height)), left + max(1, round(view.box[3] * width))
    squash = replace(preprocessing, resize=ResizeMode.SQUASH)
    return resize_pixels(frame[top:bottom, left:right], squash).transpose(1, 2, 0)


def _take_frame(pixels: UInt8[np.ndarray, "h w 3"], preprocessing: Preprocessing) -> UInt8[np.ndarray, "h2 w2 3"]:
    """What the encoder sees of a picture at inference, at the picture's own resolution."""
    height, width, _ = pixels.shape
    match preprocessing.resize:
        case ResizeMode.SQUASH:
            return pixels
        case ResizeMode.CROP:
            side = min(height, width)
            top, left = (height - side) // 2, (width - side) // 2
            return pixels[top : top + side, left : left + side]
        case ResizeMode.LONGEST:
            side = max(height, width)
            frame = np.full((side, side, 3), preprocessing.fill, dtype=np.uint8)
            top, left = (side - height) // 2, (side - width) // 2
            frame[top : top + height, left : left + width] = pixels
            return frame


def show_picture(square: UInt8[np.ndarray, "s s 3"], view: View, out: UInt8[np.ndarray, "s s 3"]) -> None:
    """Writes the square, mirrored, then moved and lit, into `out`."""
    side = len(square)
    flat, target = square.reshape(side, -1), out.reshape(side, -1)
    if view.rows:
        flat = flat.take(_move(side, view.rows), axis=0)
    if view.columns or view.mirrored:
        flat = flat.take(_move_columns(side, view.columns, view.mirrored), axis=1)
    if view.factors is None:
        target[:] = flat
        return
    lit = np.multiply(flat, view.factors, dtype=np.uint16)
    lit += 1 << (_FRACTION_BITS - 1)
    lit >>= _FRACTION_BITS
    np.minimum(lit, 255, out=target, casting="unsafe")


@functools.cache
def _move(side: int, by: int) -> Int64[np.ndarray, " s"]:
    return np.clip(np.arange(side) - by, 0, side - 1)


@functools.cache
def _move_columns(side: int, by: int, mirrored: bool) -> Int64[np.ndarray, " s*3"]:
    columns = (side - 1 - _move(side, by)) if mirrored else _move(side, by)
    return (columns[:, None] * 3 + np.arange(3)).reshape(-1)
