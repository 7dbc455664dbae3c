"""The indexing job against what it cannot do without, and against the loop that is usually written instead.

    .venv/bin/python benchmarks/job.py

All three sides embed the same JPEGs, as long as photographs of 500 pixels, with ViT-B-32 (random weights):

- job: `indexer.job.index_images` without a map: files read and checked, digests, decoding, thumbnails, forward passes,
  records and vectors stored, index built. Measured from its first image to its end; what comes before it is
  the same for any number of images (imports, model) or small (listing), and is printed beside it.
- bare: each file decoded and resized by the same libraries, and the same encoder's forward pass in the same precision
  and batch size. No checks, no thumbnails, no storage, no model load, nothing at the same time as something else.
- loop: Pillow and open_clip's own transform in a torch DataLoader, one worker process per core, and open_clip's
  `encode_image` in fp32. Nothing stored, no model load.

CPU time is that of the process, its threads and its children. On every side OpenMP's threads sleep while they wait for
each other (OMP_WAIT_POLICY=passive); else they would burn CPU time for as long as anything else holds a core, which
doubles the bare side on a busy machine and not the job, whose many threads make OpenMP stop spinning by itself.
Rounds are interleaved; medians, and the spread of the ratios over the rounds. Goals: job at most 1.05 times bare; loop
at least 3 times job where the processor has bf16 matrix units.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.jpegs import write_jpegs
from benchmarks.random_encoder import write_random_encoder

ARCHITECTURE = "ViT-B-32"
LOOP_BATCH = 32


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Seconds of the processor, and of the clock."""

    cpu: float
    wall: float

    def __sub__(self, other: Cost) -> Cost:
        return Cost(cpu=self.cpu - other.cpu, wall=self.wall - other.wall)

    def per(self, n: int) -> Cost:
        """The share of one of n images."""
        return Cost(cpu=self.cpu / n, wall=self.wall / n)


def read_clocks() -> Cost:
    """The time until now, of this process with its threads and its finished children."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return Cost(cpu=sum(usage.ru_utime + usage.ru_stime for usage in used), wall=time.perf_counter())


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What every side is given."""

    files: Sequence[Path]
    model: str
    precision: str
    n_threads: int


def run_job(setting: Setting, corpus: Path) -> tuple[Cost, Cost]:
    """The cost of a job from its first image to its end, and of what comes before."""
    from indexer.job import IndexSettings, Listener, index_images

    first: list[Cost] = []
    listener = Listener(
        announce=lambda line: None, start=lambda n: first.append(read_clocks()), advance=lambda embedded, refused: None
    )
    settings = IndexSettings(
        source=setting.files[0].parent,
        corpus=corpus,
        model=setting.model,
        device="cpu",
        precision=setting.precision,
        n_workers=setting.n_threads,
        with_map=False,
    )
    before = read_clocks()
    report = index_images(settings, listener)
    after = read_clocks()
    if report.n_embedded != len(setting.files):
        raise SystemExit(f"{report.n_embedded} of {len(setting.files)} images were embedded")
    return after - first[0], first[0] - before


def prepare_bare(setting: Setting) -> Callable[[], object]:
    """The bare side, its model loaded and warm."""
    import torch
    from simplejpeg import decode_jpeg
    from torch.nn.functional import interpolate

    from indexer.devices import CPU_BATCH
    from indexer.encoders import load_encoder
    from indexer.preprocessing import normalise_batch

    encoder = load_encoder(setting.model, device="cpu", precision=setting.precision)
    network, preprocessing = _open_clip_model(setting.model)[0], encoder.spec.preprocessing
    dtype = torch.bfloat16 if encoder.spec.precision == "bf16" else torch.float32
    network.to(dtype)
    side = preprocessing.size

    def decode(file: Path) -> torch.Tensor:
        pixels = torch.from_numpy(decode_jpeg(file.read_bytes())[None]).permute(0, 3, 1, 2)
        height, width = pixels.shape[2:]
        shape = (side, side * width // height)  # the files are wider than high
        resized = interpolate(pixels, size=shape, mode="bicubic", align_corners=False, antialias=True)[0]
        return resized[:, :, (shape[1] - side) // 2 :][:, :, :side]

    def embed(files: Sequence[Path]) -> None:
        with torch.inference_mode():
            for start in range(0, len(files), CPU_BATCH):
                batch = torch.stack([decode(file) for file in files[start : start + CPU_BATCH]])
                network.encode_image(normalise_batch(batch, preprocessing, dtype), normalize=True).float().numpy()

    embed(setting.files[:CPU_BATCH])
    return lambda: embed(setting.files)


class OpenedFiles:
    """A data set as torch's DataLoader takes it: each file opened by Pillow and transformed by open_clip."""

    def __init__(self, files: Sequence[Path], transform: Callable[[Any], Any]) -> None:
        self._files = files
        self._transform = transform

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, i: int) -> Any:
        from PIL import Image

        return self._transform(Image.open(self._files[i]).convert("RGB"))


def prepare_loop(setting: Setting) -> Callable[[], object]:
    """The loop of others, its model loaded and warm."""
    import torch
    from torch.utils.data import DataLoader

    network, transform = _open_clip_model(setting.model)

    def embed(files: Sequence[Path]) -> None:
        loader: DataLoader[Any] = DataLoader(
            OpenedFiles(files, transform),  # type: ignore[arg-type]
            batch_size=LOOP_BATCH,
            num_workers=setting.n_threads,
        )
        with torch.inference_mode():
            for batch in loader:
                network.encode_image(batch, normalize=True).numpy()

    embed(setting.files[:LOOP_BATCH])
    return lambda: embed(setting.files)


def _open_clip_model(model: str) -> tuple[Any, Callable[[Any], Any]]:
    import open_clip

    network, _, transform = open_clip.create_model_and_transforms(model)
    return network.eval().requires_grad_(False), transform


def measure(work: Callable[[], object]) -> Cost:
    """The cost of one call."""
    before = read_clocks()
    work()
    return read_clocks() - before


def report(name: str, costs: Sequence[Cost], base: Sequence[Cost]) -> str:
    """One line of the table: medians, and the ratio to another side round by round."""
    cpu, wall = (statistics.median(getattr(cost, clock) for cost in costs) * 1e3 for clock in ("cpu", "wall"))
    ratios = [cost.cpu / other.cpu for cost, other in zip(costs, base, strict=True)]
    spread = f"{statistics.median(ratios):6.3f} ({min(ratios):.3f}-{max(ratios):.3f})"
    return f"{name:6} {cpu:8.1f} ms {wall:8.1f} ms   {spread}"


def compare(setting: Setting, folder: Path, *, n_rounds: int, with_loop: bool) -> tuple[dict[str, list[Cost]], Cost]:
    """Per side its cost per image in each round; and the last job's cost before its first image."""
    n = len(setting.files)
    sides = {"bare": prepare_bare(setting)} | ({"loop": prepare_loop(setting)} if with_loop else {})
    costs: dict[str, list[Cost]] = {name: [] for name in ("job", *sides)}
    for i in range(n_rounds):
        job, before = run_job(setting, folder / f"{i}.corpus")
        costs["job"].append(job.per(n))
        for name, side in sides.items():
            costs[name].append(measure(side).per(n))
    return costs, before


def main() -> None:
    """The table, printed."""
    parser = argparse.ArgumentParser(description="The indexing job against bare decode + forward, and a plain loop.")
    parser.add_argument("--images", type=int, default=512, help="JPEGs (default: 512)")
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds (default: 3)")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="threads (default: one per core)")
    parser.add_argument("--precision", default="auto", choices=["auto", "fp32", "bf16"], help="of job and bare")
    parser.add_argument("--no-loop", action="store_true", help="leave the loop of others out")
    asked = parser.parse_args()
    os.environ["OMP_WAIT_POLICY"] = "passive"  # read once, when torch is first imported

    import torch

    from indexer.devices import choose_precision, find_bf16_units

    torch.set_num_threads(asked.threads)
    precision = choose_precision(asked.precision, "cpu").value
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_random_encoder(ARCHITECTURE, folder / "encoder")
        setting = Setting(
            files=write_jpegs(folder / "images", asked.images),
            model=f"local-dir:{folder / 'encoder'}",
            precision=precision,
            n_threads=asked.threads,
        )
        costs, before = compare(setting, folder, n_rounds=asked.rounds, with_loop=not asked.no_loop)
    print(
        f"{ARCHITECTURE}, {precision}; {asked.images} JPEGs of 500 x 375; {asked.rounds} rounds; "
        f"{asked.threads} threads; bf16 units: {find_bf16_units() or 'none'}; load average {os.getloadavg()[0]:.1f}"
    )
    print("        CPU/image  wall/image   CPU over bare (spread)")
    for name, of_side in costs.items():
        print(report(name, of_side, costs["bare"]))
    if "loop" in costs:
        print(f"CPU of loop over job: {report('loop', costs['loop'], costs['job']).split('ms')[-1].strip()}")
    print(f"before its first image the job takes {before.cpu:.1f} CPU s, for any number of images")


if __name__ == "__main__":
    main()
