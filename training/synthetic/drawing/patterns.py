"""Bars, stripes and spots over a box of the body."""

from __future__ import annotations

from training.synthetic.drawing.colours import Colour
from training.synthetic.drawing.outlines import Shape, disc, fill
from training.synthetic.traits import Coat, Pattern

Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""


def mark_box(coat: Coat, box: Box, colour: Colour) -> list[Shape]:
    """The marks of the coat's pattern over the box, to be clipped inside an outline; none for a plain coat."""
    if coat.pattern is Pattern.BARRED:
        return _bars(coat, box, colour)
    if coat.pattern is Pattern.STRIPED:
        return _stripes(coat, box, colour)
    if coat.pattern is Pattern.SPOTTED:
        return _spots(coat, box, colour)
    return []


def _bars(coat: Coat, box: Box, colour: Colour) -> list[Shape]:
    left, top, right, bottom = box
    pitch = (right - left) / coat.n_marks
    half = pitch * coat.mark_width / 2
    centres = [left + pitch * (i + 0.5) for i in range(coat.n_marks)]
    return [
        fill([(x - half, top), (x + half, top), (x + half * 0.7, bottom), (x - half * 0.7, bottom)], colour)
        for x in centres
    ]


def _stripes(coat: Coat, box: Box, colour: Colour) -> list[Shape]:
    left, top, right, bottom = box
    n = max(2, coat.n_marks - 1)
    pitch = (bottom - top) / n
    half = pitch * coat.mark_width / 2
    centres = [top + pitch * (i + 0.5) for i in range(n)]
    return [fill([(left, y - half), (right, y - half), (right, y + half), (left, y + half)], colour) for y in centres]


def _spots(coat: Coat, box: Box, colour: Colour) -> list[Shape]:
    left, top, right, bottom = box
    columns, rows = coat.n_marks + 1, max(2, coat.n_marks - 2)
    width, height = (right - left) / columns, (bottom - top) / rows
    radius = 0.5 * coat.mark_width * min(width, height) + 0.015
    return [
        disc((left + width * (i + 0.25 + 0.5 * (j % 2)), top + height * (j + 0.5)), radius, colour)
        for i in range(columns)
        for j in range(rows)
    ]
