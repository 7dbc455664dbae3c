"""A leaf laid flat, its tip up."""

from __future__ import annotations

import numpy as np

from training.synthetic.drawing.colours import Colour, darken, lighten, mix
from training.synthetic.drawing.outlines import Figure, Points, Shape, disc, fill, smooth_path, stroke
from training.synthetic.states import State
from training.synthetic.traits import LeafTraits, Pattern

WAX: Colour = (172, 190, 182)
SPROUT: Colour = (206, 214, 138)
STALK: Colour = (132, 108, 72)


def draw_leaf(traits: LeafTraits, state: State) -> Figure:
    """The leaf as shapes, about 2.3 long: a blade with its veins, and a stalk."""
    blade = _colour_blade(traits, state)
    vein, edge = lighten(blade, 0.42), darken(blade, 0.38)
    right = _half_blade(traits, state)
    outline = np.concatenate([right, (right * [-1, 1])[::-1]])
    inside = [fill(np.concatenate([right, [[0.0, 1.0]]]), darken(blade, 0.12)), *_marks(traits, right, blade)]
    inside += _veins(traits, right, vein)
    if state.season == "autumn":
        inside += [
            disc((0.55 * traits.blade_width * np.sin(2.4 * i + 0.5), 0.75 - 0.24 * i), 0.055, (122, 78, 44))
            for i in range(6)
        ]
    petiole = traits.petiole_length
    return Figure(
        shapes=(
            stroke(smooth_path([(0, 0.96), (0.01, 1 + petiole * 0.5), (0.06, 1 + petiole)]), STALK, 0.055),
            fill(outline, blade, shading=0.25, inside=inside),
            stroke(np.concatenate([outline, outline[:1]]), edge, 0.022),
            stroke([(0, 1.0), (0, -0.86)], vein, 0.036),
        )
    )


def _colour_blade(traits: LeafTraits, state: State) -> Colour:
    green = mix(traits.coat.ground.to_colour(), WAX, 0.65 * traits.waxiness)
    if state.season == "autumn":
        return mix(green, traits.coat.second.to_colour(), 0.78)
    return mix(green, SPROUT, 0.58) if state.is_young else green


def _half_blade(traits: LeafTraits, state: State) -> Points:
    u = np.linspace(0, 1, 120)
    width = u**traits.base_shape * (1 - u) ** traits.tip_shape
    width /= width.max()
    if traits.n_lobes > 0:
        depth = traits.lobe_depth * (0.8 if state.is_young else 1.0)
        width *= 1 - depth * (0.5 + 0.5 * np.cos(2 * np.pi * u * (traits.n_lobes + 1)))
    teeth = traits.tooth_depth * (0.85 if state.is_young else 1.0) * ((u * traits.n_teeth) % 1 - 0.4)
    teeth *= max(traits.blade_width, 0.45) * np.minimum(1, 6 * np.minimum(u, 1 - u))
    half = np.maximum(width * traits.blade_width * (0.92 if state.is_young else 1.0) + teeth, 0.0)
    return np.stack([half, 1 - 2 * u], axis=1)


def _marks(traits: LeafTraits, right: Points, blade: Colour) -> list[Shape]:
    pale = mix(blade, traits.coat.accent.to_colour(), 0.65)
    shapes: list[Shape] = []
    if traits.coat.pattern is Pattern.STRIPED:
        inner = right * [0.42, 1]
        shapes.append(fill(np.concatenate([inner, (inner * [-1, 1])[::-1]]), pale))
    if traits.coat.pattern is Pattern.SPOTTED:
        n = traits.coat.n_marks + 2
        shapes += [
            disc((side * traits.blade_width * (0.25 + 0.2 * (i % 2)), 0.8 - 1.5 * i / n), 0.075, pale)
            for i in range(n)
            for side in (-1, 1)
        ]
    if traits.has_pale_margin:
        shapes += [stroke(right * [side, 1], pale, 0.16) for side in (-1, 1)]
    return shapes


def _veins(traits: LeafTraits, right: Points, colour: Colour) -> list[Shape]:
    reach = float(right[:, 0].max()) * 1.05
    starts = np.linspace(0.82, -0.62, traits.n_veins)
    return [
        stroke(
            smooth_path(
                [(0.0, y), (side * reach * 0.5, y - traits.vein_angle * 0.55), (side * reach, y - traits.vein_angle)]
            ),
            colour,
            0.02,
        )
        for y in starts
        for side in (-1, 1)
    ]
