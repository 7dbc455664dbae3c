"""One picture of one individual: background, pose and light, which say nothing about the species or its ecology."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from training.synthetic.drawing.birds import draw_bird
from training.synthetic.drawing.butterflies import draw_butterfly
from training.synthetic.drawing.colours import Colour, Tint
from training.synthetic.drawing.fishes import draw_fish
from training.synthetic.drawing.leaves import draw_leaf
from training.synthetic.drawing.outlines import Figure
from training.synthetic.drawing.paint import Placement, cast_shadow, measure_scale, paint_figure, place_points
from training.synthetic.ecology import BodyPlan
from training.synthetic.traits import BirdTraits, ButterflyTraits, FishTraits, LeafTraits, describe_traits

if TYPE_CHECKING:
    from training.synthetic.individuals import Individual
    from training.synthetic.phylogeny import Species
    from training.synthetic.states import State
    from training.synthetic.traits import Traits

MARGIN = 0.035
"""Share of the frame that every body keeps clear of its edges."""

SURROUNDINGS: dict[BodyPlan, tuple[tuple[float, float, float], ...]] = {
    BodyPlan.BIRD: (
        (0.80, 0.04, 235),
        (0.66, 0.06, 135),
        (0.52, 0.05, 120),
        (0.82, 0.04, 85),
        (0.60, 0.05, 70),
        (0.74, 0.05, 200),
    ),
    BodyPlan.FISH: (
        (0.52, 0.06, 220),
        (0.64, 0.07, 200),
        (0.44, 0.05, 180),
        (0.76, 0.05, 210),
        (0.36, 0.05, 240),
        (0.60, 0.05, 150),
    ),
    BodyPlan.BUTTERFLY: (
        (0.64, 0.08, 128),
        (0.72, 0.07, 110),
        (0.50, 0.06, 140),
        (0.80, 0.05, 100),
        (0.70, 0.05, 330),
        (0.78, 0.04, 230),
    ),
    BodyPlan.LEAF: (
        (0.92, 0.015, 90),
        (0.86, 0.025, 80),
        (0.58, 0.05, 60),
        (0.46, 0.04, 55),
        (0.80, 0.03, 230),
        (0.70, 0.02, 260),
    ),
}
"""Lightness, chroma and hue of the backgrounds; every one serves all species of its body plan alike."""
TURNS = {BodyPlan.BIRD: 0.15, BodyPlan.FISH: 0.20, BodyPlan.BUTTERFLY: 0.40, BodyPlan.LEAF: 0.55}
"""Standard deviation of the turn in the plane, in radians."""


@dataclass(frozen=True, kw_only=True)
class Pose:
    """How the body lies in the frame.

    Attributes:
        turn: Clockwise, in radians.
        is_mirrored: True for a body that faces left.
        squeeze: Share of its width that a slight turn away from the viewer leaves, in (0, 1].
        extent: Share of the frame that the longer side of its box fills, in (0, 1 - 2 * MARGIN].
        shift: Place across and down, from -1 (against the margin) to 1.
    """

    turn: float = 0.0
    is_mirrored: bool = False
    squeeze: float = 1.0
    extent: float = 0.86
    shift: tuple[float, float] = (0.0, 0.0)


def draw_picture(individual: Individual, rng: np.random.Generator, *, side: int) -> Image.Image:
    """A picture of the individual in a random pose, place and light, side x side pixels.

    It is painted at twice the size and reduced; all lengths and the grain follow the frame, so that a large picture
    squashed to 96 px looks like a smaller one squashed to it.
    """
    plan = individual.species.plan
    figure = draw_figure(individual.traits, individual.state)
    pose = draw_pose(plan, rng)
    picture = paint_background(plan, rng, side=2 * side)
    placement = place_figure(figure, pose, side=2 * side)
    if figure.foot is not None:
        _paint_branch(picture, figure.foot, placement, rng)
    cast_shadow(picture, figure, placement, strength=0.18 if plan is BodyPlan.FISH else 0.38)
    paint_figure(picture, figure, placement)
    return _light(picture.reduce(2), rng)


def draw_plate(species: Species, state: State, *, side: int) -> Image.Image:
    """A plain picture of a typical individual on pale paper, as in a field guide."""
    figure = draw_figure(describe_traits(species), state)
    picture = Image.new("RGB", (2 * side, 2 * side), (238, 236, 228))
    paint_figure(picture, figure, place_figure(figure, Pose(), side=2 * side))
    return picture.reduce(2)


def draw_figure(traits: Traits, state: State) -> Figure:
    """The body with these traits in this state."""
    match traits:
        case BirdTraits():
            return draw_bird(traits, state)
        case FishTraits():
            return draw_fish(traits, state)
        case ButterflyTraits():
            return draw_butterfly(traits, state)
        case LeafTraits():
            return draw_leaf(traits, state)


def draw_pose(plan: BodyPlan, rng: np.random.Generator) -> Pose:
    """A random pose."""
    return Pose(
        turn=float(rng.normal(0, TURNS[plan])),
        is_mirrored=bool(rng.random() < 0.5),
        squeeze=float(rng.uniform(0.9, 1.0)),
        extent=float(rng.uniform(0.78, 0.93)),
        shift=(float(rng.uniform(-0.85, 0.85)), float(rng.uniform(-0.85, 0.85))),
    )


def place_figure(figure: Figure, pose: Pose, *, side: int) -> Placement:
    """The map from the body's coordinates into a frame of side x side pixels that keeps all of it inside."""
    cos, sin = math.cos(pose.turn), math.sin(pose.turn)
    turn = np.array([[cos, -sin], [sin, cos]]) @ np.diag([-pose.squeeze if pose.is_mirrored else pose.squeeze, 1.0])
    low, high = measure_extent(figure, np.concatenate([turn, np.zeros((2, 1))], axis=1))
    scale = pose.extent / max(high - low)
    slack = np.maximum(0.5 - MARGIN - 0.5 * scale * (high - low), 0.0)
    centre = 0.5 + slack * np.asarray(pose.shift)
    shift = centre - scale * (low + high) / 2
    return np.concatenate([turn * scale, shift[:, None]], axis=1) * side


def measure_extent(figure: Figure, placement: Placement) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper corner of the box around the placed figure, strokes with their width."""
    scale = measure_scale(placement)
    lows, highs = [], []
    for shape in figure.shapes:
        points = place_points(shape.points, placement)
        lows.append(points.min(axis=0) - scale * shape.width / 2)
        highs.append(points.max(axis=0) + scale * shape.width / 2)
    return np.min(lows, axis=0), np.max(highs, axis=0)


def paint_background(plan: BodyPlan, rng: np.random.Generator, *, side: int) -> Image.Image:
    """Out-of-focus surroundings: a plain wall, a soft gradient, or blurred patches of two colours."""
    first, second = _choose_surrounding(plan, rng), _choose_surrounding(plan, rng)
    kind = rng.random()
    if kind < 0.2:
        return Image.new("RGB", (side, side), first)
    if kind < 0.45:
        near = np.asarray([first, second], dtype=np.uint8)[:, None]
        return Image.fromarray(np.concatenate([near, near], axis=1)).resize((side, side), Image.Resampling.BILINEAR)
    n = int(rng.integers(3, 8))
    share = rng.random((n, n, 1)) * 0.9
    patches = np.asarray(first) * (1 - share) + np.asarray(second) * share + rng.normal(0, 5, (n, n, 1))
    soft = Image.fromarray(np.clip(patches, 0, 255).astype(np.uint8)).resize((64, 64), Image.Resampling.BICUBIC)
    picture = soft.resize((side, side), Image.Resampling.BILINEAR)
    if kind > 0.75:
        _paint_bokeh(picture, second, rng)
    return picture


def _choose_surrounding(plan: BodyPlan, rng: np.random.Generator) -> Colour:
    choices = SURROUNDINGS[plan]
    lightness, chroma, hue = choices[int(rng.integers(len(choices)))]
    tint = Tint(lightness=lightness, chroma=chroma, hue=hue)
    return tint.moved(
        hue=float(rng.normal(0, 12)), lightness=float(rng.normal(0, 0.05)), chroma=float(rng.uniform(0.5, 1.1))
    ).to_colour()


def _paint_bokeh(picture: Image.Image, colour: Colour, rng: np.random.Generator) -> None:
    small = Image.new("L", (64, 64), 0)
    pencil = ImageDraw.Draw(small)
    for _ in range(int(rng.integers(4, 12))):
        x, y, radius = rng.uniform(0, 64), rng.uniform(0, 64), rng.uniform(2, 7)
        pencil.ellipse([x - radius, y - radius, x + radius, y + radius], fill=int(rng.uniform(50, 130)))
    mask = small.filter(ImageFilter.BoxBlur(1.0)).resize(picture.size, Image.Resampling.BILINEAR)
    light: Colour = (min(255, colour[0] + 45), min(255, colour[1] + 45), min(255, colour[2] + 38))
    picture.paste(light, (0, 0), mask)


def _paint_branch(
    picture: Image.Image, foot: tuple[float, float], placement: Placement, rng: np.random.Generator
) -> None:
    x, y = place_points(np.asarray([foot]), placement)[0]
    side = picture.width
    slope = float(rng.normal(0, 0.10))
    width = max(2, int(side * rng.uniform(0.018, 0.034)))
    bark = Tint(lightness=float(rng.uniform(0.30, 0.48)), chroma=0.03, hue=float(rng.uniform(45, 80))).to_colour()
    y += width / 2
    ImageDraw.Draw(picture).line(
        [(-side, y - slope * (x + side)), (2 * side, y + slope * (2 * side - x))], fill=bark, width=width
    )


def _light(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    side = picture.width
    warmth = rng.normal(0, 0.025)
    tint = rng.uniform(0.84, 1.12) * np.array([1 + warmth, 1.0, 1 - warmth])
    grain = Image.fromarray(rng.normal(128, rng.uniform(1, 6), (96, 96)).clip(0, 255).astype(np.uint8)).resize(
        (side, side)
    )
    pixels = np.asarray(picture, dtype=np.float32) * tint.astype(np.float32) + (
        np.asarray(grain, dtype=np.float32)[:, :, None] - 128
    )
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
