"""JPEGs to measure with: as large, as detailed and as slow to decode as photographs, and the same on every machine."""

from __future__ import annotations

import io
from pathlib import Path

N_PICTURES = 48


def synthesise_jpegs(width: int, height: int, n: int) -> list[bytes]:
    """JPEGs (quality 88) whose spectrum falls as 1/f, about as large in bytes as photographs of that size."""
    return [_synthesise_jpeg(width, height, seed) for seed in range(n)]


def write_jpegs(folder: Path, n: int, *, width: int = 500, height: int = 375) -> list[Path]:
    """Files of n different contents; beyond `N_PICTURES` the picture repeats, with other bytes behind its end."""
    pictures = synthesise_jpegs(width, height, min(n, N_PICTURES))
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{i:06}.jpg" for i in range(n)]
    for i, path in enumerate(paths):
        path.write_bytes(pictures[i % N_PICTURES] + str(i).encode())
    return paths


def _synthesise_jpeg(width: int, height: int, seed: int) -> bytes:
    import numpy as np
    from PIL import Image

    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None])
    frequency[0, 0] = np.inf
    spectra = np.fft.fft2(np.random.default_rng(seed).standard_normal((4, height, width)))
    light, *colours = np.fft.ifft2(spectra / frequency).real
    channels = np.stack([light + colour / 3 for colour in colours], axis=-1)
    pixels = (128 + 22 * channels / channels.std()).clip(0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=88)
    return file.getvalue()
