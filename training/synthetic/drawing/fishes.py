"""A fish seen from the side, facing right."""

from __future__ import annotations

import numpy as np

from training.synthetic.drawing.colours import Colour, darken, lighten, mix
from training.synthetic.drawing.outlines import (
    Figure,
    Points,
    Shape,
    disc,
    ellipse,
    fill,
    smooth_loop,
    smooth_path,
    stroke,
)
from training.synthetic.drawing.patterns import mark_box
from training.synthetic.states import State
from training.synthetic.traits import FishTraits

INK: Colour = (26, 24, 26)
SILVER: Colour = (196, 200, 198)
MALE_FIN: Colour = (222, 132, 58)
BREEDING_BELLY: Colour = (190, 66, 62)
PLAIN_BELLY: Colour = (228, 230, 222)
FEMALE_FIN: Colour = (214, 222, 226)


def draw_fish(traits: FishTraits, state: State) -> Figure:
    """The fish as shapes, about 2.5 long."""
    length = 0.98 * (0.88 if state.is_young else 1.0)
    depth = traits.body_depth * (1.12 if state.is_young else 1.0) * 0.95
    strength = 0.65 if state.is_young else 1.15 if state.is_male else 0.85
    ground, second, accent = (
        tint.moved(chroma=strength).to_colour() for tint in (traits.coat.ground, traits.coat.second, traits.coat.accent)
    )
    if state.is_young:
        ground, second, accent = mix(ground, SILVER, 0.25), mix(second, SILVER, 0.25), mix(accent, SILVER, 0.2)
    fin = second if state.is_young else MALE_FIN if state.is_male else mix(second, FEMALE_FIN, 0.6)
    shapes = [
        *_fins(traits, state, (length, depth), fin),
        _body(traits, state, (length, depth), (ground, accent)),
        *_marks(traits, (length, depth)),
        *_head(traits, state, (length, depth), ground),
        fill(_side_fin(length, traits.head_length), fin, shading=0.2),
    ]
    return Figure(shapes=tuple(shapes))


def _profile(length: float, depth: float, back_height: float) -> Points:
    u = np.linspace(0, 1, 26)
    half = u**0.55 * (1 - u) ** 0.85
    half = np.maximum(half / half.max(), 0.15 * (u > 0.5))
    x = length - 2 * length * u
    top, bottom = (np.stack([x, share * depth * half], axis=1) for share in (-back_height, 1 - back_height))
    return np.concatenate([top, bottom[::-1]])


def _fins(traits: FishTraits, state: State, size: tuple[float, float], fin: Colour) -> list[Shape]:
    length, depth = size
    end, spread = -length - traits.tail_length, 0.32 + 0.40 * max(traits.tail_fork, 0.0)
    notch = end + traits.tail_length * traits.tail_fork
    tail = [
        (-length * 0.84, -0.07),
        (end + 0.08, -spread),
        (end, -spread),
        (notch, 0.0),
        (end, spread),
        (end + 0.08, spread),
        (-length * 0.84, 0.07),
    ]
    tail_rays = [
        stroke([(-length * 0.9, 0.03 * i), (end, spread * i / 3)], darken(fin, 0.28), 0.016) for i in range(-3, 4)
    ]
    height = traits.fin_height * (1.2 if state.is_male else 1.0) * (0.9 if state.is_young else 1.0)
    back = 0.34 - 1.25 * traits.fin_length
    top, bottom = traits.back_height * depth, (1 - traits.back_height) * depth
    dorsal = smooth_path(
        [
            (0.42, -top * 0.76),
            (0.16, -top * 0.92 - height),
            (back * 0.6, -top * 0.80 - height * 0.62),
            (back, -top * 0.32),
        ]
    )
    rays = [
        stroke([(x, -top * 0.4), (x - 0.14, -top * 0.90 - height)], darken(fin, 0.28), 0.016)
        for x in np.linspace(0.34, back, 6)
    ]
    anal = [(-0.05, bottom * 0.72), (-0.32, bottom * 0.72 + traits.anal_fin), (-0.58, bottom * 0.34)]
    return [fill(tail, fin, inside=tail_rays), fill(dorsal, fin, inside=rays), fill(anal, fin)]


def _body(traits: FishTraits, state: State, size: tuple[float, float], colours: tuple[Colour, Colour]) -> Shape:
    length, depth = size
    ground, accent = colours
    inside = mark_box(traits.coat, (-length * 0.95, -depth * 0.55, length * 0.55, depth * 0.55), accent)
    if state.is_young:
        inside += [fill(ellipse((-0.66 + 0.27 * i, 0.0), 0.06, depth * 0.30, n=14), (92, 92, 84)) for i in range(5)]
    dark = darken(ground, 0.62 * traits.countershading)
    back = [(-length, -depth), (length, -depth), (length, -depth * 0.25), (-length, -depth * 0.12)]
    if traits.countershading > 0.05:
        inside.append(fill(back, dark))
    if not state.is_young:
        belly, edge = BREEDING_BELLY if state.season == "breeding" else PLAIN_BELLY, depth * (0.60 - traits.back_height)
        inside.append(fill(smooth_loop([(0.66, edge + 0.04), (-0.55, edge), (-0.55, depth), (0.66, depth)]), belly))
    return fill(_profile(length, depth, traits.back_height), ground, shading=0.45, inside=inside)


def _marks(traits: FishTraits, size: tuple[float, float]) -> list[Shape]:
    if not traits.has_tail_spot:
        return []
    centre = (-size[0] * 0.74, 0.0)
    return [disc(centre, 0.12, (238, 232, 214)), disc(centre, 0.082, INK)]


def _head(traits: FishTraits, state: State, size: tuple[float, float], ground: Colour) -> list[Shape]:
    length, depth = size
    gill = length - 2 * length * traits.head_length
    gape = traits.mouth_size * (0.92 if state.is_young else 1.0)
    corner = (length - 0.16 - gape * 0.62, 0.07 + gape * 0.10)
    jaw = (length + 0.03, 0.05 + gape * 0.52)
    inside_mouth = [(length + 0.03, -0.01), corner, jaw]
    lower = smooth_path(
        [jaw, (corner[0] + gape * 0.3, jaw[1] * 0.85 + 0.05), (corner[0] - 0.06, corner[1] + 0.14), corner]
    )
    eye = (length - 0.30 - 0.30 * traits.head_length, -depth * 0.14)
    radius = traits.eye_size * (1.2 if state.is_young else 1.0) * 1.2
    return [
        stroke(
            smooth_path([(gill, -depth * 0.30), (gill - 0.09, 0.0), (gill, depth * 0.30)]), darken(ground, 0.4), 0.03
        ),
        fill(np.concatenate([lower, [jaw]]), darken(ground, 0.12)),
        fill(inside_mouth, (74, 32, 32)),
        stroke([corner, (length + 0.02, -0.01)], darken(ground, 0.55), 0.03),
        stroke([corner, jaw], darken(ground, 0.45), 0.03),
        disc(eye, radius, lighten(ground, 0.8)),
        disc(eye, radius * 0.6, INK),
        disc((eye[0] + radius * 0.2, eye[1] - radius * 0.22), radius * 0.18, (255, 255, 255)),
    ]


def _side_fin(length: float, head_length: float) -> Points:
    gill = length - 2 * length * head_length
    return smooth_loop([(gill - 0.06, 0.06), (gill - 0.44, 0.02), (gill - 0.40, 0.20), (gill - 0.16, 0.17)], steps=4)
