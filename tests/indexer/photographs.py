"""Folders of small pictures for jobs to read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from tests.indexer.tiny_encoders import COLOURS


def paint_squares(folder: Path, names: list[str], *, side: int = 40) -> Path:
    """One PNG of a single colour for each name; the colour is the name's first word."""
    for name in names:
        red, green, blue = (127.5 * (value + 1) for value in COLOURS[name.split("_")[0]])
        file = folder / f"{name}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (side, side), (int(red), int(green), int(blue))).save(file)
    return folder


def paint_noise(folder: Path, n: int, *, side: int = 32, seed: int = 0) -> Path:
    """`n` different PNGs of random pixels."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(n):
        Image.fromarray(rng.integers(0, 256, (side, side, 3), np.uint8)).save(folder / f"{number:05d}.png")
    return folder
