"""Trains an encoder on the synthetic tree of life."""

from __future__ import annotations

import dataclasses
import json
import math
import platform
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from training.batches import draw_batches
from training.losses import contrastive_loss
from training.phylogeny import Species, grow_tree
from training.pictures import PictureSet, Stream, draw_set, list_sitters
from training.progress import LossReport, Progress, keep_loss, keep_quiet
from training.settings import TrainingConfig
from training.states import draw_state
from training.texts import match_captions, write_caption
from training.towers import Towers, build_towers, normalise_pixels, write_towers
from training.vocabulary import train_vocabulary

if TYPE_CHECKING:
    import torch
    from jaxtyping import Bool, Float32, UInt8
    from tokenizers import Tokenizer

MAX_SHIFT = 4
"""Pixels by which a training picture is moved at random."""
MAX_SCALE = 100.0
"""Largest inverse temperature, as in CLIP."""
N_VOCABULARY_TEXTS = 40_000
REPORT_EVERY = 10


@dataclass(frozen=True, kw_only=True)
class TrainingReport:
    """What a training run did.

    Attributes:
        folder: Where the encoder lies.
        n_steps: Steps taken.
        n_samples: Pictures shown.
        losses: Mean loss of every tenth of the run, in nats; log(batch size) is chance.
        seconds: Seconds by stage.
        n_parameters: Weights of both towers.
    """

    folder: Path
    n_steps: int
    n_samples: int
    losses: tuple[float, ...]
    seconds: dict[str, float]
    n_parameters: int


@dataclass(frozen=True, kw_only=True)
class _Run:
    n_steps: int
    losses: list[float]
    seconds: float


def train_encoder(
    config: TrainingConfig, out: Path, *, progress: Progress | None = None, tell_loss: LossReport | None = None
) -> TrainingReport:
    """Draws the pictures, trains both towers, and writes the encoder with its settings to the folder `out`.

    The folder then holds what open_clip loads as `local-dir:OUT`, the resolved settings (`training_config.json`) and
    what the run did (`training_report.json`). The same settings, machine and library versions give the same weights.

    Raises:
        InputError: A setting is out of its range.
    """
    import torch

    report = progress or keep_quiet
    started = time.perf_counter()
    torch.set_num_threads(config.n_threads)
    torch.manual_seed(config.seed)
    species = grow_tree(config.tree_seed)
    seen = [one for one in species if not one.held_out]
    sitters = list_sitters(seen, config.n_images, seed=config.seed, stream=Stream.TRAINING)
    pictures = draw_set(sitters, side=config.image_side, n_processes=config.n_threads, progress=report)
    drawn = time.perf_counter()
    towers = build_towers(config, learn_vocabulary(seen, config))
    run = fit_towers(towers, pictures, species, config, progress=report, tell_loss=tell_loss or keep_loss)
    write_towers(towers, out)
    seconds = {"drawing": drawn - started, "training": run.seconds}
    return _write_report(towers, run, config, out, seconds)


def learn_vocabulary(species: list[Species], config: TrainingConfig) -> Tokenizer:
    """A vocabulary for the captions that these settings write."""
    rng = np.random.default_rng([config.seed, 10])
    chosen = (species[i % len(species)] for i in range(N_VOCABULARY_TEXTS))
    shares = {"state_share": config.state_share, "higher_share": config.higher_share}
    captions = [write_caption(one, draw_state(one.plan, rng), rng, **shares).text for one in chosen]
    return train_vocabulary(captions, size=config.vocabulary_size)


def fit_towers(
    towers: Towers,
    pictures: PictureSet,
    species: tuple[Species, ...],
    config: TrainingConfig,
    *,
    progress: Progress,
    tell_loss: LossReport,
) -> _Run:
    """Trains the towers in place on the pictures."""
    import torch

    rng = np.random.default_rng([config.seed, 11])
    batches = draw_batches(pictures.numbers, batch_size=config.batch_size, rng=rng)
    batch_size = min(config.batch_size, len(np.unique(pictures.numbers)))
    n_steps = max(1, config.n_samples // batch_size)
    pixels = torch.from_numpy(pictures.pixels).permute(0, 3, 1, 2)
    optimiser = _make_optimiser(towers.model, config)
    shares = {"state_share": config.state_share, "higher_share": config.higher_share}
    losses: list[float] = []
    towers.model.train()
    started = time.perf_counter()
    for step in range(n_steps):
        share_done = _share_done(step, n_steps, started, config)
        if share_done >= 1:
            break
        batch = next(batches)
        shown, states = [species[pictures.numbers[i]] for i in batch], [pictures.states[i] for i in batch]
        captions = [write_caption(one, state, rng, **shares) for one, state in zip(shown, states, strict=True)]
        matches = torch.from_numpy(match_captions(captions, shown, states))
        _set_rate(optimiser, config, step, share_done)
        inputs = (augment_pixels(pixels[batch], rng), [caption.text for caption in captions], matches)
        losses.append(_take_step(towers, optimiser, inputs, config))
        if step % REPORT_EVERY == 0 or step == n_steps - 1:
            progress("training", step + 1, n_steps)
            tell_loss(step + 1, float(np.mean(losses[-50:])))
    return _Run(n_steps=len(losses), losses=losses, seconds=time.perf_counter() - started)


def augment_pixels(
    pixels: UInt8[torch.Tensor, "n 3 s s"], rng: np.random.Generator
) -> Float32[torch.Tensor, "n 3 s s"]:
    """The pictures mirrored, moved and lit at random, ready for the image tower."""
    import torch
    from torch.nn.functional import pad

    n, _, side, _ = pixels.shape
    wide = pad(pixels.float(), (MAX_SHIFT,) * 4, mode="replicate")
    moved = torch.empty(pixels.shape)
    for i, (top, left, mirrored) in enumerate(rng.integers((2 * MAX_SHIFT + 1, 2 * MAX_SHIFT + 1, 2), size=(n, 3))):
        view = wide[i, :, top : top + side, left : left + side]
        moved[i] = view.flip(-1) if mirrored else view
    light = rng.uniform(0.85, 1.15, (n, 1, 1, 1)) * rng.uniform(0.95, 1.05, (n, 3, 1, 1))
    return normalise_pixels(moved * torch.from_numpy(light.astype(np.float32)))


def _take_step(
    towers: Towers,
    optimiser: torch.optim.Optimizer,
    inputs: tuple[Float32[torch.Tensor, "n 3 s s"], list[str], Bool[torch.Tensor, "n n"]],
    config: TrainingConfig,
) -> float:
    import torch

    model = towers.model
    pixels, captions, matches = inputs
    with torch.autocast("cpu", torch.bfloat16, enabled=config.use_bf16):
        images = model.encode_image(pixels)
    images = torch.nn.functional.normalize(images.float(), dim=-1)
    texts = model.encode_text(towers.encode_codes(captions), normalize=True)
    loss = contrastive_loss(images, texts, model.logit_scale.exp(), matches)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimiser.step()
    with torch.no_grad():
        model.logit_scale.clamp_(0, math.log(MAX_SCALE))
    return float(loss.detach())


def _make_optimiser(model: Any, config: TrainingConfig) -> torch.optim.Optimizer:
    import torch

    matrices = [weight for weight in model.parameters() if weight.ndim > 1]
    others = [weight for weight in model.parameters() if weight.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.98), eps=1e-6)


def _share_done(step: int, n_steps: int, started: float, config: TrainingConfig) -> float:
    if config.minutes is None:
        return step / n_steps
    return max(step / n_steps, (time.perf_counter() - started) / (60 * config.minutes))


def _set_rate(optimiser: torch.optim.Optimizer, config: TrainingConfig, step: int, share_done: float) -> None:
    warmup = min(1.0, (step + 1) / max(1, config.n_warmup_steps))
    rate = config.learning_rate * warmup * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * share_done)))
    for group in optimiser.param_groups:
        group["lr"] = rate


def _write_report(
    towers: Towers, run: _Run, config: TrainingConfig, out: Path, seconds: dict[str, float]
) -> TrainingReport:
    parts = np.array_split(np.asarray(run.losses), min(10, len(run.losses)))
    report = TrainingReport(
        folder=out,
        n_steps=run.n_steps,
        n_samples=run.n_steps * config.batch_size,
        losses=tuple(round(float(part.mean()), 4) for part in parts),
        seconds={name: round(value, 1) for name, value in seconds.items()},
        n_parameters=sum(weight.numel() for weight in towers.model.parameters()),
    )
    said = {
        **dataclasses.asdict(report),
        "folder": out.name,
        "machine": platform.machine(),
        "python": platform.python_version(),
    }
    (out / "training_report.json").write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")
    (out / "training_config.json").write_text(json.dumps(dataclasses.asdict(config), indent=2) + "\n", encoding="utf-8")
    return report
