"""Puts the shapes of a figure onto a Pillow image."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float64
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from training.synthetic.drawing.colours import Colour
from training.synthetic.drawing.outlines import Figure, Points, Shape

if TYPE_CHECKING:
    from collections.abc import Iterable

Placement = Float64[np.ndarray, "2 3"]
"""Affine map from the organism's coordinates to pixels: two columns turn and scale, the third shifts."""

SHADE: Colour = (20, 18, 34)
SHEEN: Colour = (255, 252, 240)


def paint_figure(picture: Image.Image, figure: Figure, placement: Placement) -> None:
    """Paints the figure over the picture, in place."""
    _paint(picture, figure.shapes, placement, (0, 0))


def cast_shadow(picture: Image.Image, figure: Figure, placement: Placement, *, strength: float) -> None:
    """Paints the figure's soft shadow, a little down and to the right, in place; strength is 0 (none) to 1 (black)."""
    side = picture.width // 4
    shifted = placement / 4
    shifted[:, 2] += 0.022 * side
    mask = Image.new("L", (side, side), 0)
    pencil = ImageDraw.Draw(mask)
    for shape in figure.shapes:
        _draw(pencil, shape, shifted, (0, 0), round(255 * strength))
    soft = mask.filter(ImageFilter.BoxBlur(side * 0.018)).filter(ImageFilter.BoxBlur(side * 0.018))
    picture.paste(SHADE, (0, 0), soft.resize(picture.size, Image.Resampling.BILINEAR))


def place_points(points: Points, placement: Placement) -> Points:
    """The points in pixels."""
    placed: Points = points @ placement[:, :2].T + placement[:, 2]
    return placed


def measure_scale(placement: Placement) -> float:
    """Pixels per unit of the organism's coordinates."""
    return float(abs(np.linalg.det(placement[:, :2])) ** 0.5)


def _paint(picture: Image.Image, shapes: Iterable[Shape], placement: Placement, corner: tuple[int, int]) -> None:
    pencil = ImageDraw.Draw(picture)
    for shape in shapes:
        _draw(pencil, shape, placement, corner, shape.colour)
        if shape.inside or shape.shading:
            _paint_inside(picture, shape, placement, corner)


def _draw(
    pencil: ImageDraw.ImageDraw, shape: Shape, placement: Placement, corner: tuple[int, int], paint: Colour | int
) -> None:
    points = (place_points(shape.points, placement) - corner).ravel().tolist()
    if shape.width > 0:
        pencil.line(points, fill=paint, width=max(1, round(shape.width * measure_scale(placement))), joint="curve")
    else:
        pencil.polygon(points, fill=paint)


def _paint_inside(picture: Image.Image, shape: Shape, placement: Placement, corner: tuple[int, int]) -> None:
    points = place_points(shape.points, placement) - corner
    left, top = (max(0, int(v)) for v in np.floor(points.min(axis=0)))
    right, bottom = (int(v) for v in np.minimum(np.ceil(points.max(axis=0)) + 1, picture.size))
    if right - left < 2 or bottom - top < 2:
        return
    inner = (corner[0] + left, corner[1] + top)
    layer = picture.crop((left, top, right, bottom))
    mask = Image.new("L", layer.size, 0)
    ImageDraw.Draw(mask).polygon((points - (left, top)).ravel().tolist(), fill=255)
    _paint(layer, shape.inside, placement, inner)
    if shape.shading:
        _shade(layer, shape.shading)
    picture.paste(layer, (left, top), mask)


def _shade(layer: Image.Image, strength: float) -> None:
    down = Image.linear_gradient("L")
    for colour, gradient, share in ((SHADE, down, 0.5 * strength), (SHEEN, ImageChops.invert(down), 0.3 * strength)):
        steep = gradient.resize((1, layer.height), Image.Resampling.BILINEAR).point(_list_shares(share))
        layer.paste(colour, (0, 0), steep.resize(layer.size, Image.Resampling.NEAREST))


@functools.cache
def _list_shares(share: float) -> list[int]:
    return [int(share * 255 * (value / 255) ** 2) for value in range(256)]
