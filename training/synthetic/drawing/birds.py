"""A perched bird seen from the side, facing right."""

from __future__ import annotations

import numpy as np

from training.synthetic.drawing.colours import Colour, Tint, darken, lighten, mix
from training.synthetic.drawing.outlines import Figure, Shape, disc, ellipse, fill, smooth_loop, smooth_path, stroke
from training.synthetic.drawing.patterns import mark_box
from training.synthetic.states import State
from training.synthetic.traits import BirdTraits

INK: Colour = (38, 32, 30)
LEG: Colour = (92, 74, 60)
DOWN: Colour = (188, 172, 150)
BREEDING_BEAK: Colour = (232, 150, 48)
BREEDING_BREAST: Colour = (196, 78, 54)
PLAIN_BREAST: Colour = (226, 222, 210)
FEMALE_HOOD: Colour = (146, 106, 74)
EYEBROW: Colour = (244, 238, 222)


def draw_bird(traits: BirdTraits, state: State) -> Figure:
    """The bird as shapes, about 2.6 long, standing at its `foot`."""
    half = 0.58 * traits.body_length * (0.9 if state.is_young else 1.0)
    radius = 0.32 * traits.head_size * (1.08 if state.is_young else 1.0)
    head = (half * 0.74, -0.30 - 0.64 * radius)
    ground, second, accent = _plumage(traits, state)
    shapes = [
        *_legs(traits),
        *_tail(traits, state, half, second),
        _body(traits, state, half, ground, accent),
        *_crest(traits, state, head, radius, second),
        *_beak(traits, state, head, radius),
        *_head(traits, state, head, radius, (ground, second)),
        *_wing(traits, state, half, (second, accent)),
    ]
    return Figure(shapes=tuple(shapes), foot=(0.08, 0.41 * traits.body_depth + traits.leg_length))


def _plumage(traits: BirdTraits, state: State) -> tuple[Colour, Colour, Colour]:
    strength = 0.6 if state.is_young else 1.2 if state.is_male else 0.75
    ground, second, accent = (tint.moved(chroma=strength).to_colour() for tint in _tints(traits))
    if state.is_young:
        return mix(ground, DOWN, 0.24), mix(second, DOWN, 0.24), mix(accent, DOWN, 0.2)
    return ground, second if state.is_male else mix(second, FEMALE_HOOD, 0.3), accent


def _tints(traits: BirdTraits) -> tuple[Tint, Tint, Tint]:
    return traits.coat.ground, traits.coat.second, traits.coat.accent


def _legs(traits: BirdTraits) -> list[Shape]:
    bottom = 0.39 * traits.body_depth + traits.leg_length
    legs = [stroke([(x, 0.22), (x + 0.03, bottom)], LEG, 0.06) for x in (-0.04, 0.16)]
    toes = [stroke([(x - 0.06, bottom + 0.015), (x + 0.13, bottom + 0.015)], LEG, 0.06) for x in (-0.02, 0.18)]
    return legs + toes


def _tail(traits: BirdTraits, state: State, half: float, colour: Colour) -> list[Shape]:
    length = traits.tail_length * (0.7 if state.is_young else 1.1 if state.is_male else 1.0)
    end = -half * 0.9 - length
    outer = smooth_loop(
        [(-half * 0.6, -0.14), (end, 0.02), (end - 0.05, 0.13), (end + 0.04, 0.22), (-half * 0.6, 0.2)], steps=5
    )
    feathers = [
        stroke([(-half * 0.8, 0.02 + 0.05 * i), (end, 0.05 + 0.06 * i)], darken(colour, 0.35), 0.016) for i in range(3)
    ]
    return [fill(outer, darken(colour, 0.12), inside=feathers)]


def _body(traits: BirdTraits, state: State, half: float, ground: Colour, accent: Colour) -> Shape:
    deep = traits.body_depth
    outline = smooth_loop(
        [
            (half, -0.16),
            (half * 0.86, 0.16 * deep),
            (0.12, 0.41 * deep),
            (-half * 0.7, 0.26 * deep),
            (-half * 1.02, 0.02),
            (-half * 0.4, -0.24 * deep),
            (half * 0.42, -0.5),
        ]
    )
    inside = [fill(ellipse((0.16, 0.40 * deep), half * 0.95, 0.36 * deep), lighten(ground, 0.62))]
    inside += mark_box(traits.coat, (-half, -0.5, half, 0.5), accent)
    if state.is_young:
        inside += [
            disc((-half + 0.19 * i + 0.09 * (j % 2), -0.02 + 0.13 * j), 0.036, (112, 92, 74))
            for i in range(8)
            for j in range(4)
        ]
    if not state.is_young:
        breast = BREEDING_BREAST if state.season == "breeding" else PLAIN_BREAST
        inside.append(fill(ellipse((half * 0.72, 0.06), 0.40, 0.40), breast))
    return fill(outline, ground, shading=0.5, inside=inside)


def _crest(traits: BirdTraits, state: State, head: tuple[float, float], radius: float, colour: Colour) -> list[Shape]:
    if traits.crest <= 0:
        return []
    x, y = head
    height = traits.crest * (0.4 if state.is_young else 1.15 if state.is_male else 0.85)
    tip = (x - radius * 0.9 - 0.30 * height, y - radius - 0.34 * height)
    outline = smooth_loop([(x + 0.12, y - radius * 0.85), tip, (x - radius * 0.95, y - radius * 0.15)], steps=5)
    return [fill(outline, colour)]


def _beak(traits: BirdTraits, state: State, head: tuple[float, float], radius: float) -> list[Shape]:
    x, y = head[0] + radius * 0.72, head[1] + 0.03
    depth = radius * traits.beak_depth
    length = (radius * 0.28 + traits.beak_length) * (0.92 if state.is_young else 1.0)
    tip = (x + length, y + 0.02 + traits.beak_curve)
    colour = BREEDING_BEAK if state.season == "breeding" else (168, 148, 120) if state.is_young else (84, 76, 70)
    upper = smooth_path([(x, y - depth), (x + length * 0.5, y - depth * 0.78), tip])
    lower = smooth_path([tip, (x + length * 0.45, y + depth * 0.72 + traits.beak_curve * 0.4), (x, y + depth)])
    gape = smooth_path([(x, y + 0.01), (x + length * 0.5, y + traits.beak_curve * 0.35), tip])
    return [
        fill(np.concatenate([upper, lower]), colour, shading=0.35),
        stroke(gape, darken(colour, 0.6), 0.022),
    ]


def _head(
    traits: BirdTraits, state: State, head: tuple[float, float], radius: float, colours: tuple[Colour, Colour]
) -> list[Shape]:
    x, y = head
    ground, second = colours
    inside = []
    if traits.has_cap:
        edge = y - radius * 0.22
        cap = lighten(second, 0.3) if state.is_young else second
        inside.append(
            fill(
                [(x - radius, y - radius), (x + radius, y - radius), (x + radius, edge), (x - radius, edge + 0.06)], cap
            )
        )
    if state.is_male:
        inside.append(fill(ellipse((x + radius * 0.35, y + 0.04), radius * 1.0, radius * 0.46), INK))
    if state.sex == "female":
        inside.append(fill(ellipse((x, y), radius * 1.05, radius), FEMALE_HOOD))
        inside.append(fill(ellipse((x + radius * 0.1, y - radius * 0.42), radius * 0.8, radius * 0.2), EYEBROW))
    eye = (x + radius * 0.34, y - 0.03)
    size = 0.066 * (1.3 if state.is_young else 1.0)
    shapes = [fill(ellipse(head, radius, radius * 0.95), ground, shading=0.3, inside=inside)]
    if traits.has_eye_ring or state.is_male or state.is_young:
        shapes.append(disc(eye, size * 1.55, (240, 234, 218)))
    return [*shapes, disc(eye, size, INK), disc((eye[0] + 0.022, eye[1] - 0.024), size * 0.36, (255, 255, 255))]


def _wing(traits: BirdTraits, state: State, half: float, colours: tuple[Colour, Colour]) -> list[Shape]:
    second, accent = colours
    length = traits.wing_length * (0.92 if state.is_young else 1.0)
    broad = (0.9 / length) ** 0.5
    outline = smooth_loop(
        [
            (half * 0.48, -0.20 * broad),
            (half * 0.1, -0.28 * broad),
            (-0.55 * length, -0.12 * broad),
            (-1.02 * length, 0.13),
            (-0.45 * length, 0.20 * broad),
            (half * 0.28, 0.14 * broad),
        ]
    )
    bar = [(-0.10 * length, -0.32), (0.03 * length, -0.32), (-0.12 * length, 0.3), (-0.25 * length, 0.3)]
    feathers = [
        stroke(
            smooth_path([(-0.2 * length, 0.02 + 0.06 * i), (-0.6 * length, 0.06 + 0.045 * i), (-length, 0.13)]),
            darken(second, 0.4),
            0.018,
        )
        for i in range(3)
    ]
    return [fill(outline, second, shading=0.3, inside=[fill(bar, accent), *feathers])]
