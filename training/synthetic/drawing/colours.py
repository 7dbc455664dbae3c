"""Calm colours, mixed in OKLCH, where equal steps look equal.

Source: Ottosson 2020, "A perceptual color space for image processing".
"""

from __future__ import annotations

import math
from dataclasses import dataclass

Colour = tuple[int, int, int]
"""Red, green and blue, each 0 to 255 (sRGB)."""


@dataclass(frozen=True, kw_only=True)
class Tint:
    """A colour as lightness (0-1), chroma (0 grey to about 0.15 for what nature shows) and hue (degrees)."""

    lightness: float
    chroma: float
    hue: float

    def moved(self, *, hue: float = 0.0, lightness: float = 0.0, chroma: float = 1.0) -> Tint:
        """The tint with its hue and lightness shifted and its chroma multiplied."""
        return Tint(lightness=self.lightness + lightness, chroma=self.chroma * chroma, hue=self.hue + hue)

    def to_colour(self) -> Colour:
        """The nearest colour that a screen shows."""
        a, b = self.chroma * math.cos(math.radians(self.hue)), self.chroma * math.sin(math.radians(self.hue))
        return _to_srgb(min(max(self.lightness, 0.0), 1.0), a, b)


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """The first colour with the given share (0-1) of the second."""
    red, green, blue = (round(x * (1 - share) + y * share) for x, y in zip(first, second, strict=True))
    return red, green, blue


def darken(colour: Colour, share: float) -> Colour:
    """The colour with the given share (0-1) of a warm black."""
    return mix(colour, (28, 22, 18), share)


def lighten(colour: Colour, share: float) -> Colour:
    """The colour with the given share (0-1) of a warm white."""
    return mix(colour, (252, 249, 240), share)


def _to_srgb(lightness: float, a: float, b: float) -> Colour:
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    red = _gamma(4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short)
    green = _gamma(-1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short)
    blue = _gamma(-0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short)
    return red, green, blue


def _gamma(linear: float) -> int:
    clipped = min(max(linear, 0.0), 1.0)
    encoded = 12.92 * clipped if clipped <= 0.0031308 else 1.055 * clipped ** (1 / 2.4) - 0.055
    return round(255 * encoded)
