"""The training's step loop against a bare loop on tensors in memory, and against open_clip's own training program.

    .venv/bin/python -m benchmarks.training
    .venv/bin/python -m benchmarks.training --only bare --model small

Bare: within one true run of `train_encoder` on drawn pictures, every few steps are followed by as many of a bare
loop: forward, loss, backward and optimiser on one batch that lies in memory, with the same towers. The true loop reads,
varies and stacks pictures, writes and codes captions, hashes facts, leaves out fitting pairs, cuts gradients, exchanges
nothing, and writes metrics. Goal: 0.9 of the bare loop's pictures per second.

open_clip: the same JPEGs (ours in a tar, theirs in a CSV), the same model with random weights, batch, threads, crop
and number format, as two programs in turn; pictures per second of the steps after the first line of the log, without
start-up. Goal: above 1.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.training_pictures import write_pictures

if TYPE_CHECKING:
    from training.settings import TrainingConfig

SMALL_VIT: dict[str, Any] = {
    "embed_dim": 256,
    "vision_cfg": {"image_size": 224, "layers": 6, "width": 384, "head_width": 64, "patch_size": 32},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 256, "heads": 4, "layers": 4},
}
"""A ViT-B-32 of half its depth and width."""
NAME = "benchmark-vit-32"
LOG_EVERY = 4


def compare_bare(config: TrainingConfig, *, n_rounds: int, n_steps: int, folder: Path) -> list[tuple[float, float]]:
    """Pictures per second of the true loop and of the bare one, for every round but the first, which warms up."""
    from training.engine import train_encoder
    from training.settings import override_config

    config = override_config(
        config,
        {
            "engine.n_samples": (n_rounds + 1) * n_steps * config.engine.batch_size,
            "engine.report_every": n_steps,
            "engine.checkpoint_every": 0,
        },
    )
    bare = BareLoop(config)
    rates: list[float] = []
    train_encoder(config, folder, tell_loss=lambda _step, _loss: rates.append(bare.run(n_steps)))
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return list(zip([line["samples_per_second"] for line in lines], rates, strict=True))[1:]


class BareLoop:
    """Forward, loss, backward and optimiser on one batch in memory."""

    def __init__(self, config: TrainingConfig) -> None:
        import torch

        from training.learner import make_learner
        from training.material import load_steps, open_material
        from training.processes import choose_machine
        from training.progress import keep_quiet
        from training.steps import make_optimiser

        material = open_material(config, run=None, announce=lambda _line: None, progress=keep_quiet)
        self._device = torch.device(choose_machine(config.engine).accelerator.value)
        batches = load_steps(material, config)
        batch = next(batches)
        batches.close()
        learner = make_learner(material.towers, config).train().to(self._device)
        self._model = learner.model
        self._pixels = learner.normalise_pixels(batch.pixels.to(self._device))
        self._codes = batch.codes.to(self._device)
        self._optimiser = make_optimiser(learner, config)

    def run(self, n_steps: int) -> float:
        """Pictures per second of so many steps."""
        started = time.perf_counter()
        for _ in range(n_steps):
            self._step()
        return n_steps * len(self._pixels) / (time.perf_counter() - started)

    def _step(self) -> None:
        import torch
        from torch.nn import functional

        self._optimiser.zero_grad(set_to_none=True)
        images = functional.normalize(self._model.encode_image(self._pixels), dim=-1)
        texts = functional.normalize(self._model.encode_text(self._codes), dim=-1)
        logits = self._model.logit_scale.exp() * images @ texts.T
        own = torch.arange(len(logits), device=logits.device)
        loss = (functional.cross_entropy(logits, own) + functional.cross_entropy(logits.T, own)) / 2
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimiser.step()


def compare_open_clip(
    folder: Path, *, n_pictures: int, batch_size: int, n_rounds: int, n_threads: int
) -> list[tuple[float, float]]:
    """Pictures per second of our program and of open_clip's, for every round."""
    tar, table = write_pictures(folder / "pictures", n=n_pictures, side=256)
    architecture = folder / f"{NAME}.json"
    architecture.write_text(json.dumps(SMALL_VIT))
    settings = [
        *(f"data.source={tar}", f"data.cache={folder / 'cache'}", "data.validation_share=0", "data.sampling=natural"),
        *(
            "data.unique_species=false",
            "data.mirror=false",
            "data.max_shift=0.0",
            "data.light=0.0",
            "data.min_crop=0.9",
        ),
        *(f"engine.n_samples={n_pictures}", f"engine.batch_size={batch_size}", "engine.checkpoint_every=0"),
        *(f"engine.report_every={LOG_EVERY}", f"engine.n_threads={n_threads}", "engine.precision=fp32"),
        *("captions.trait_share=0.0", "captions.higher_share=0.0", "loss.leave_out_fits=false", "data.measure=[]"),
    ]
    theirs = [
        *("--train-data", str(table), "--csv-separator", ",", "--csv-img-key", "file", "--csv-caption-key", "caption"),
        *("--model", NAME, "--batch-size", str(batch_size), "--epochs", "1", "--warmup", "3", "--lr", "2e-3"),
        *("--precision", "fp32", "--device", "cpu", "--workers", "1", "--grad-clip-norm", "1.0"),
        *("--log-every-n-steps", str(LOG_EVERY), "--save-frequency", "0", "--logs", str(folder / "logs")),
    ]
    rounds = []
    for i in range(n_rounds):
        ours = _run_ours(architecture, settings, folder / f"run-{i}")
        rounds.append((ours, _run_theirs(architecture, theirs, n_threads)))
    return rounds


OURS = """
import sys
from pathlib import Path
import open_clip, tomllib
open_clip.add_model_config(sys.argv[1])
from training.engine import train_encoder
from training.settings import TrainingConfig, override_config
changes = {}
for pair in sys.argv[3:]:
    name, _, value = pair.partition("=")
    try:
        changes[name] = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        changes[name] = value
train_encoder(override_config(TrainingConfig(), changes), Path(sys.argv[2]))
"""
THEIRS = """
import sys
import open_clip, torch
open_clip.add_model_config(sys.argv[1])
torch.set_num_threads(int(sys.argv[2]))
from open_clip_train.main import main
main(sys.argv[3:])
"""


def _run_ours(architecture: Path, settings: list[str], run: Path) -> float:
    _run(OURS, [str(architecture), str(run), f"model.start={NAME}", *settings])
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return statistics.median(float(line["samples_per_second"]) for line in lines[1:])


def _run_theirs(architecture: Path, arguments: list[str], n_threads: int) -> float:
    said = _run(THEIRS, [str(architecture), str(n_threads), *arguments])
    seconds = [float(found) for found in re.findall(r"Batch \(t\): ([\d.]+)", said)][1:]
    batch_size = int(arguments[arguments.index("--batch-size") + 1])
    return batch_size / statistics.median(seconds)


def _run(program: str, arguments: list[str]) -> str:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise SystemExit(done.stdout[-2000:] + done.stderr[-4000:])
    return done.stdout + done.stderr


def report(name: str, rounds: list[tuple[float, float]]) -> str:
    """One line of figures: medians, and the ratio of each round."""
    ours, theirs = (statistics.median(rates) for rates in zip(*rounds, strict=True))
    ratios = [our / their for our, their in rounds]
    return (
        f"{name}: {ours:,.1f} pictures/s against {theirs:,.1f}; ratio {statistics.median(ratios):.3f} "
        f"({min(ratios):.3f}-{max(ratios):.3f}, {len(ratios)} rounds)"
    )


def main() -> None:
    """Prints the ratios."""
    from training.settings import SMALL, TrainingConfig, override_config

    parser = argparse.ArgumentParser(description="The training against a bare loop and against open_clip's program.")
    parser.add_argument("--only", choices=("bare", "open_clip"), help="one of the two comparisons")
    parser.add_argument("--model", default=SMALL, help="what the bare comparison trains (default: small)")
    parser.add_argument("--batch", type=int, default=128, help="pictures a step of the bare comparison (default: 128)")
    parser.add_argument("--steps", type=int, default=10, help="steps of a round of the bare comparison (default: 10)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds (default: 5)")
    parser.add_argument("--pictures", type=int, default=864, help="JPEGs of the other comparison (default: 864)")
    parser.add_argument("--open-clip-batch", type=int, default=32, help="its pictures a step (default: 32)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of each program (default: all cores)")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if chosen.only != "open_clip":
            changes = {"data.cache": str(folder / "cache"), "synthetic.n_images": 432, "model.start": chosen.model}
            config = override_config(
                TrainingConfig(), {**changes, "engine.batch_size": chosen.batch, "engine.n_threads": chosen.threads}
            )
            rounds = compare_bare(config, n_rounds=chosen.rounds, n_steps=chosen.steps, folder=folder / "bare")
            print(
                report(f"train_encoder against a bare loop, {chosen.model}, batch {chosen.batch}", rounds), flush=True
            )
        if chosen.only != "bare":
            rounds = compare_open_clip(
                folder,
                n_pictures=chosen.pictures,
                batch_size=chosen.open_clip_batch,
                n_rounds=chosen.rounds,
                n_threads=chosen.threads,
            )
            print(report(f"train_encoder against open_clip_train, batch {chosen.open_clip_batch}", rounds))


if __name__ == "__main__":
    main()
