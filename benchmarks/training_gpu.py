"""Training on a GPU: pictures per second, memory, share of the GPU's own matrix rate, and time spent waiting for data.

    .venv/bin/python -m benchmarks.training_gpu
    .venv/bin/python -m benchmarks.training_gpu --only ViT-L-14 --workers 12

For ViT-B-16 and ViT-L-14 with random weights in bf16: true runs of `train_encoder` on JPEGs in a tar. The matrix rate
is measured on the spot as the best of large bf16 products; the share of it counts the operations of the layers'
matrices, two per weight and token forwards and four backwards, and those of attention, as the PaLM paper's appendix B
does, without the loss. Waiting is the share of the time in which the loop had no batch. GradCache: a batch of 8,192 in
micro-batches. Goals on an H200: ViT-L-14 at least 550 pictures/s, ViT-B-16 2,500, waiting at most 3 %.

Exits with 2 where torch finds no CUDA device.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.training_pictures import write_pictures

if TYPE_CHECKING:
    import torch

N_PICTURES = 8192
N_WARMUP = 2
REPORT_EVERY = 5


@dataclass(frozen=True, kw_only=True)
class Case:
    """A run to be timed.

    Attributes:
        model: Architecture of open_clip.
        batch: Pictures a step.
        micro: Pictures at once; 0 for the whole batch.
        n_steps: Steps in all.
        goal: Pictures per second; 0 for none.
    """

    model: str
    batch: int
    micro: int
    n_steps: int
    goal: int


CASES = (
    Case(model="ViT-B-16", batch=1024, micro=0, n_steps=40, goal=2500),
    Case(model="ViT-L-14", batch=512, micro=0, n_steps=40, goal=550),
    Case(model="ViT-B-16", batch=8192, micro=1024, n_steps=10, goal=0),
    Case(model="ViT-L-14", batch=8192, micro=512, n_steps=10, goal=0),
)


def time_case(case: Case, tar: Path, folder: Path, *, n_workers: int, matrix_rate: float) -> str:
    """Trains, and says what was measured."""
    import torch

    from training.engine import train_encoder
    from training.settings import TrainingConfig, override_config

    every = REPORT_EVERY if case.n_steps > 2 * REPORT_EVERY else 1
    changes: dict[str, Any] = {
        "data.source": str(tar),
        "data.cache": str(folder / "cache"),
        "data.validation_share": 0.0,
        "data.unique_species": False,
        "data.sampling": "natural",
        "data.min_crop": 0.9,
        "data.n_workers": n_workers,
        "model.start": case.model,
        "optimiser.learning_rate": 1e-5,
        "engine.n_samples": case.batch * case.n_steps,
        "engine.batch_size": case.batch,
        "engine.micro_batch": case.micro,
        "engine.report_every": every,
        "engine.checkpoint_every": 0,
        "engine.accelerator": "cuda",
        "engine.precision": "bf16",
    }
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    run = folder / f"{case.model}-{case.batch}"
    train_encoder(override_config(TrainingConfig(), changes), run)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()][N_WARMUP:]
    rate = statistics.median(line["samples_per_second"] for line in lines)
    waiting = statistics.median(line["data_share"] for line in lines)
    work = count_operations(case.model) * (4 / 3 if case.micro else 1)
    goal = f" (goal {case.goal:,})" if case.goal else ""
    cached = f" in parts of {case.micro:,} (GradCache)" if case.micro else ""
    return (
        f"{case.model}, batch {case.batch:,}{cached}: {rate:,.0f} pictures/s{goal}, "
        f"{torch.cuda.max_memory_allocated() / 1e9:.1f} GB at most, {work * rate / 1e12:,.0f} TFLOP/s = "
        f"{work * rate / matrix_rate:.0%} of the matrix rate, waiting for data {waiting:.1%} (goal 3 %)"
    )


def count_operations(model: str) -> float:
    """Floating point operations of a training step per picture and text, forwards and backwards."""
    import open_clip

    config = open_clip.get_model_config(model)
    vision, text = config["vision_cfg"], config["text_cfg"]
    patches = (vision["image_size"] // vision["patch_size"]) ** 2
    forwards = count_transformer(vision["layers"], vision["width"], patches + 1)
    forwards += 2 * patches * 3 * vision["patch_size"] ** 2 * vision["width"]
    forwards += count_transformer(text["layers"], text["width"], text["context_length"])
    return float(3 * forwards)


def count_transformer(n_layers: int, width: int, n_tokens: int) -> float:
    """Operations of one forward pass: 12 width² weights a layer, and attention's two products over all tokens."""
    return n_layers * (2 * 12 * width**2 * n_tokens + 2 * 2 * n_tokens**2 * width)


def measure_matrix_rate(device: torch.device) -> float:
    """Best operations per second of bf16 products of 8,192 x 8,192 matrices."""
    import torch

    side = 8192
    left, right = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    best = 0.0
    for _ in range(5):
        torch.cuda.synchronize()
        started = time.perf_counter()
        for _ in range(20):
            left @ right
        torch.cuda.synchronize()
        best = max(best, 20 * 2 * side**3 / (time.perf_counter() - started))
    return best


def main() -> None:
    """Prints a line per case."""
    import torch

    parser = argparse.ArgumentParser(description="Training on a GPU: rate, memory, share of the matrix rate, waiting.")
    parser.add_argument("--only", choices=sorted({case.model for case in CASES}), help="one of the models")
    parser.add_argument("--workers", type=int, default=12, help="processes that decode (default: 12)")
    chosen = parser.parse_args()
    if not torch.cuda.is_available():
        print(
            "benchmarks.training_gpu: torch finds no CUDA device here; run it on a machine with a GPU.", file=sys.stderr
        )
        raise SystemExit(2)
    matrix_rate = measure_matrix_rate(torch.device("cuda"))
    print(f"{torch.cuda.get_device_name()}: bf16 products at {matrix_rate / 1e12:,.0f} TFLOP/s", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tar, _ = write_pictures(folder / "pictures", n=N_PICTURES, side=256)
        for case in CASES:
            if chosen.only in (None, case.model):
                print(time_case(case, tar, folder, n_workers=chosen.workers, matrix_rate=matrix_rate), flush=True)


if __name__ == "__main__":
    main()
