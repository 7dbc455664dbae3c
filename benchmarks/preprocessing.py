"""Preprocessing against open_clip's own: from the bytes of a JPEG to the encoder's square, one thread.

    .venv/bin/python benchmarks/preprocessing.py

Both sides start from the same bytes in memory. Ours is what a job does for each image: header checked, digest taken,
decoded upright, resized, all in uint8. open_clip's is Pillow plus its transform, which ends normalised in float32, so
our normalisation (once per batch, on the model's device) stands beside it and in the second ratio. The thumbnail,
which open_clip does not make, is timed alone. Rounds are interleaved; CPU time, medians over the rounds.
"""

from __future__ import annotations

import argparse
import io
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from benchmarks.jpegs import synthesise_jpegs

if TYPE_CHECKING:
    import numpy as np
    import torch

    from indexer.preprocessing import Preprocessing

Item = TypeVar("Item")

SIZES = ((500, 375), (1024, 768))
MODES = ("shortest", "squash")
N_BATCH = 32


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """CPU milliseconds per image, and how far the pixels are apart."""

    ours: float
    theirs: float
    ratios: list[float]
    """Theirs over ours, of each round."""
    normalise: float
    thumbnail: float
    levels_apart: np.ndarray
    """Of 255, for every pixel value."""


def compare(files: list[bytes], mode: str, n_rounds: int) -> Comparison:
    """Our preprocessing and open_clip's of the same JPEGs under one of open_clip's resize modes."""
    import numpy as np
    import torch
    from open_clip.transform import PreprocessCfg, image_transform_v2
    from PIL import Image

    from indexer.images import decode_image, make_thumbnail
    from indexer.preprocessing import Preprocessing, normalise_batch, resize_pixels

    preprocessing = Preprocessing.from_open_clip({"resize_mode": mode})
    transform = image_transform_v2(PreprocessCfg(resize_mode=mode), is_train=False)

    def ours(data: bytes) -> np.ndarray:
        return resize_pixels(decode_image(data, name="benchmark").pixels, preprocessing)

    def theirs(data: bytes) -> torch.Tensor:
        square: torch.Tensor = transform(Image.open(io.BytesIO(data)))
        return square

    rounds = [(_cpu_ms(ours, files), _cpu_ms(theirs, files)) for _ in range(n_rounds)]
    batch = torch.from_numpy(np.stack([ours(files[i % len(files)]) for i in range(N_BATCH)]))
    decoded = [decode_image(data, name="benchmark").pixels for data in files]
    return Comparison(
        ours=statistics.median(our_ms for our_ms, _ in rounds),
        theirs=statistics.median(their_ms for _, their_ms in rounds),
        ratios=[their_ms / our_ms for our_ms, their_ms in rounds],
        normalise=_cpu_ms(lambda _: normalise_batch(batch, preprocessing, torch.float32), range(10)) / N_BATCH,
        thumbnail=_cpu_ms(make_thumbnail, decoded),
        levels_apart=np.stack([_levels_apart(ours(data), theirs(data), preprocessing) for data in files]),
    )


def _cpu_ms(work: Callable[[Item], object], items: Sequence[Item]) -> float:
    """CPU milliseconds of this process per item, warm."""
    work(items[0])
    times = []
    for item in items:
        start = time.process_time()
        work(item)
        times.append(time.process_time() - start)
    return 1e3 * statistics.mean(times)


def _levels_apart(ours: np.ndarray, theirs: torch.Tensor, preprocessing: Preprocessing) -> np.ndarray:
    import numpy as np

    mean, std = (np.array(channels)[:, None, None] for channels in (preprocessing.mean, preprocessing.std))
    levels: np.ndarray = np.abs(np.rint((theirs.numpy() * std + mean) * 255) - ours)
    return levels


def report(case: str, comparison: Comparison) -> str:
    """One line of figures."""
    apart, ratios = comparison.levels_apart, comparison.ratios
    with_normalise = comparison.theirs / (comparison.ours + comparison.normalise)
    return (
        f"{case:22} ours {comparison.ours:5.2f} ms   open_clip {comparison.theirs:5.2f} ms   "
        f"ratio {statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})   "
        f"with normalise {comparison.normalise:.2f} ms: {with_normalise:.2f}   "
        f"pixels apart: at most {apart.max():.0f}/255, more than 1 in {(apart > 1).sum()} of {apart.size}   "
        f"thumbnail {comparison.thumbnail:.2f} ms"
    )


def main() -> None:
    """The figures for every size and mode, printed."""
    import torch

    parser = argparse.ArgumentParser(description="Preprocessing against open_clip's own, in CPU ms per image.")
    parser.add_argument("--images", type=int, default=12, help="JPEGs of each size (default: 12)")
    parser.add_argument("--rounds", type=int, default=9, help="interleaved rounds (default: 9)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for width, height in SIZES:
        files = synthesise_jpegs(width, height, arguments.images)
        print(f"{width} x {height}: {statistics.mean(map(len, files)) / 1e3:.0f} kB each; goal at 500 px: ratio >= 2.3")
        for mode in MODES:
            print(report(f"{width} x {height}, {mode}", compare(files, mode, arguments.rounds)))


if __name__ == "__main__":
    main()
