"""A butterfly from above, or its caterpillar from the side."""

from __future__ import annotations

import math

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
from training.synthetic.traits import ButterflyTraits, Pattern

INK: Colour = (34, 28, 26)
DRY: Colour = (158, 126, 88)
MALE_SHEEN: Colour = (74, 92, 190)
FEMALE_BAND: Colour = (226, 178, 122)


def draw_butterfly(traits: ButterflyTraits, state: State) -> Figure:
    """The butterfly with spread wings, about 2 wide; a caterpillar where the state is a larva."""
    strength = 1.1 if state.is_male else 0.9
    ground, second, accent = (
        darken(tint.moved(chroma=strength).to_colour(), traits.darkness * share)
        for tint, share in ((traits.coat.ground, 1.0), (traits.coat.second, 1.0), (traits.coat.accent, 0.0))
    )
    if state.is_young:
        return _draw_caterpillar(traits, (ground, second, accent))
    if state.season == "dry season":
        ground, second, accent = mix(ground, DRY, 0.34), mix(second, DRY, 0.34), mix(accent, DRY, 0.2)
    shapes: list[Shape] = []
    for side in (-1, 1):
        shapes += _hind_wing(traits, state, side, (second, accent))
    for side in (-1, 1):
        shapes += _fore_wing(traits, state, side, (ground, accent))
    return Figure(shapes=(*shapes, *_trunk(traits, state)))


def _mirror(points: list[tuple[float, float]], side: int) -> list[tuple[float, float]]:
    return [(side * x, y) for x, y in points]


def _shrink(outline: Points, centre: tuple[float, float], share: float) -> Points:
    shrunk: Points = np.asarray(centre) + (outline - centre) * (1 - share)
    return shrunk


def _spot_size(traits: ButterflyTraits, state: State) -> float:
    return traits.eyespot_size * (1.7 if state.season == "wet season" else 0.7)


def _eyespot(centre: tuple[float, float], size: float, ring: Colour) -> list[Shape]:
    return [disc(centre, size, ring), disc(centre, size * 0.68, INK), disc(centre, size * 0.24, (250, 250, 246))]


def _hind_wing(traits: ButterflyTraits, state: State, side: int, colours: tuple[Colour, Colour]) -> list[Shape]:
    second, accent = colours
    size, tail = traits.hindwing_size, max(0.0, traits.tail_length)
    outline = smooth_loop(
        _mirror(
            [
                (0.04, 0.0),
                (0.55 * size, -0.02),
                (0.80 * size, 0.28 * size),
                (0.64 * size, 0.66 * size),
                (0.44 * size, 0.76 * size + tail),
                (0.32 * size, 0.74 * size),
                (0.08, 0.48 * size),
            ],
            side,
        )
    )
    centre = (side * 0.32 * size, 0.30 * size)
    if traits.scallop > 0.03:
        wave = 1 + traits.scallop * np.sin(np.arange(len(outline)) * 1.6)
        outline = np.asarray(centre) + (outline - centre) * wave[:, None]
    edge = darken(second, 0.62)
    inner = _shrink(outline, centre, 1.5 * traits.border_width)
    veins = [
        stroke([(side * 0.06, 0.06), (side * x * size, y * size)], darken(second, 0.3), 0.014)
        for x, y in ((0.8, 0.2), (0.7, 0.6), (0.4, 0.8))
    ]
    shapes = [fill(outline, edge, inside=[fill(inner, second, shading=0.2, inside=veins)])]
    spot = _spot_size(traits, state)
    for k in range(traits.n_spots):
        shapes += _eyespot(
            (side * (0.62 - 0.12 * k) * size, (0.24 + 0.13 * k) * size), spot * 0.8, lighten(accent, 0.2)
        )
    return shapes


def _fore_wing(traits: ButterflyTraits, state: State, side: int, colours: tuple[Colour, Colour]) -> list[Shape]:
    ground, accent = colours
    width = 0.92 * traits.forewing_size * traits.wing_aspect**0.5
    height = 0.82 * traits.forewing_size / traits.wing_aspect**0.5
    outline = smooth_loop(
        _mirror(
            [
                (0.03, -0.12),
                (0.35 * width, -0.75 * height),
                (0.98 * width, -1.12 * height),
                (1.05 * width, -0.85 * height),
                (0.82 * width, -0.12 * height),
                (0.55 * width, 0.12 * height),
                (0.05, 0.12),
            ],
            side,
        )
    )
    centre = (side * 0.47 * width, -0.42 * height)
    edge = darken(ground, 0.65)
    inner = _shrink(outline, centre, 1.35 * traits.border_width)
    left, right = sorted((0.0, side * 1.05 * width))
    inside = mark_box(traits.coat, (left, -1.12 * height, right, 0.15 * height), accent)
    inside += [
        stroke([(side * 0.05, -0.08), (side * x * width, y * height)], darken(ground, 0.3), 0.014)
        for x, y in ((1.0, -1.0), (1.0, -0.6), (0.8, -0.1))
    ]
    patch = ellipse((side * 0.33 * width, -0.26 * height), 0.30 * width, 0.26 * height)
    sexed = fill(patch, MALE_SHEEN if state.is_male else FEMALE_BAND, shading=0.3)
    apex = [fill(ellipse((side * width, -1.0 * height), 0.26, 0.24), edge)] if traits.has_dark_apex else []
    shapes = [fill(outline, edge, inside=[fill(inner, ground, shading=0.2, inside=inside), *apex, sexed])]
    return shapes + _eyespot(
        (side * 0.74 * width, -0.74 * height), _spot_size(traits, state) * 0.85, lighten(accent, 0.2)
    )


def _trunk(traits: ButterflyTraits, state: State) -> list[Shape]:
    width = traits.body_width * (1.0 if state.is_male else 1.15)
    feelers = [
        shape
        for side in (-1, 1)
        for shape in (
            stroke(smooth_path([(side * 0.02, -0.38), (side * 0.10, -0.62), (side * 0.24, -0.80)]), INK, 0.022),
            disc((side * 0.24, -0.80), 0.03, INK),
        )
    ]
    return [
        *feelers,
        fill(ellipse((0, 0.06), width, 0.42), (58, 46, 40), shading=0.4),
        disc((0, -0.37), width * 1.05, (46, 38, 34)),
    ]


def _draw_caterpillar(traits: ButterflyTraits, colours: tuple[Colour, Colour, Colour]) -> Figure:
    ground, second, accent = colours
    n = 8
    half = 1.1 - 0.24 * traits.wing_aspect
    centres = [(half * (2 * i / (n - 1) - 1), 0.10 * math.sin(1.1 * i)) for i in range(n)]
    shapes = [stroke([(x, y + 0.16), (x + 0.02, y + 0.34)], darken(ground, 0.55), 0.07) for x, y in centres[1:]]
    tail, horn = -half - 0.02, 0.16 + 0.45 * max(traits.tail_length, 0.0)
    path = smooth_path([(tail, -0.1), (tail - 0.1, -0.28), (tail - 0.12 - horn * 0.5, -0.22 - horn)])
    shapes.append(stroke(path, darken(second, 0.3), 0.06))
    reach = _girth(traits) + 0.04 + 1.2 * traits.border_width
    shapes += [
        stroke([(x, y), (x + lean, y - reach)], darken(second, 0.3), 0.036)
        for x, y in centres
        for lean in (-0.08, 0.0, 0.08)
    ]
    for i, centre in enumerate(centres):
        shapes.append(_segment(traits, centre, ground if i % 2 == 0 else second, accent))
    head = (centres[-1][0] + 0.22, centres[-1][1] - 0.02)
    shapes += [
        stroke(smooth_path([head, (head[0] + 0.12, head[1] - 0.26), (head[0] + 0.22, head[1] - 0.32)]), INK, 0.03),
        fill(ellipse(head, 0.20, 0.21), lighten(accent, 0.1), shading=0.3),
        disc((head[0] + 0.09, head[1] - 0.04), 0.045, INK),
    ]
    return Figure(shapes=tuple(shapes))


def _girth(traits: ButterflyTraits) -> float:
    """Half the height of a caterpillar, which is stout where the butterfly's body is."""
    return 0.10 + 2.1 * traits.body_width


def _segment(traits: ButterflyTraits, centre: tuple[float, float], colour: Colour, accent: Colour) -> Shape:
    x, y = centre
    marks: list[Shape] = []
    if traits.coat.pattern is Pattern.STRIPED:
        marks.append(fill([(x - 0.3, y + 0.0), (x + 0.3, y + 0.0), (x + 0.3, y + 0.10), (x - 0.3, y + 0.10)], accent))
    if traits.coat.pattern is Pattern.BARRED:
        marks.append(fill([(x - 0.05, y - 0.3), (x + 0.05, y - 0.3), (x + 0.05, y + 0.3), (x - 0.05, y + 0.3)], accent))
    marks += [
        disc((x, y - 0.06), 0.05 + traits.eyespot_size * 0.5, accent),
        disc((x, y - 0.06), traits.eyespot_size * 0.4, INK),
    ]
    return fill(ellipse(centre, 0.20, _girth(traits)), colour, shading=0.45, inside=marks)
