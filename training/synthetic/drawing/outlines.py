"""Curves and shapes in the organism's own coordinates.

x points to its front or right, y downwards; 1 is about half a body length.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from training.synthetic.drawing.colours import Colour

Points = Float64[np.ndarray, "n 2"]


@dataclass(frozen=True, kw_only=True)
class Shape:
    """One thing to paint: a filled outline, or a stroke where `width` > 0, with more shapes clipped inside it.

    Attributes:
        points: Outline or path.
        colour: Paint.
        width: Width of a stroke in the same units as the points; 0 fills the outline.
        shading: 0-1, how strongly light from above rounds the shape.
        inside: Shapes painted over it, cut off at its outline.
    """

    points: Points
    colour: Colour
    width: float = 0.0
    shading: float = 0.0
    inside: tuple[Shape, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A whole organism, back to front; `foot` is the point it stands on, None where it stands on nothing."""

    shapes: tuple[Shape, ...]
    foot: tuple[float, float] | None = None


def fill(
    points: Sequence[tuple[float, float]] | Points,
    colour: Colour,
    *,
    shading: float = 0.0,
    inside: Sequence[Shape] = (),
) -> Shape:
    """A filled outline."""
    return Shape(points=np.asarray(points, dtype=np.float64), colour=colour, shading=shading, inside=tuple(inside))


def stroke(points: Sequence[tuple[float, float]] | Points, colour: Colour, width: float) -> Shape:
    """A line of the given width."""
    return Shape(points=np.asarray(points, dtype=np.float64), colour=colour, width=width)


def disc(centre: tuple[float, float], radius: float, colour: Colour) -> Shape:
    """A filled circle."""
    return fill(ellipse(centre, radius, radius, n=20), colour)


def ellipse(centre: tuple[float, float], radius_x: float, radius_y: float, *, turn: float = 0.0, n: int = 36) -> Points:
    """An ellipse of n points, turned by `turn` radians."""
    angles = np.linspace(0, 2 * np.pi, n, endpoint=False)
    points = np.stack([radius_x * np.cos(angles), radius_y * np.sin(angles)], axis=1)
    cos, sin = math.cos(turn), math.sin(turn)
    turned: Points = points @ np.array([[cos, sin], [-sin, cos]]) + np.asarray(centre)
    return turned


def smooth_loop(corners: Sequence[tuple[float, float]], *, steps: int = 6) -> Points:
    """A closed Catmull-Rom curve through the corners, `steps` points from each to the next."""
    knots = np.asarray(corners, dtype=np.float64)
    t = np.linspace(0, 1, steps, endpoint=False)[:, None]
    n = len(knots)
    return np.concatenate(
        [_segment(knots[i - 1], knots[i], knots[(i + 1) % n], knots[(i + 2) % n], t) for i in range(n)]
    )


def smooth_path(corners: Sequence[tuple[float, float]], *, steps: int = 6) -> Points:
    """An open Catmull-Rom curve through the corners."""
    knots = np.asarray([corners[0], *corners, corners[-1]], dtype=np.float64)
    t = np.linspace(0, 1, steps, endpoint=False)[:, None]
    parts = [_segment(knots[i - 1], knots[i], knots[i + 1], knots[i + 2], t) for i in range(1, len(knots) - 2)]
    return np.concatenate([*parts, knots[-1:]])


def _segment(before: Points, start: Points, end: Points, after: Points, t: Float64[np.ndarray, "s 1"]) -> Points:
    linear = end - before
    square = 2 * before - 5 * start + 4 * end - after
    cube = -before + 3 * start - 3 * end + after
    curve: Points = 0.5 * (2 * start + linear * t + square * t**2 + cube * t**3)
    return curve
