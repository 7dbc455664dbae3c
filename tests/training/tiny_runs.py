"""Tiny true runs: tars of coloured pictures in TreeOfLife's layout, and settings that train a tiny ViT on them."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from training.settings import TrainingConfig, override_config

N_SPECIES, N_EACH, SIDE = 12, 8, 32
TAG = (
    "a photo of kingdom Animalia phylum Chordata class Aves order Ordo{0} family Fam{0} genus Genus{0} species unus{1}."
)


def write_tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def write_species_tar(path: Path, *, seed: int = 0) -> Path:
    """Eight pictures each of twelve species in four genera; every species has a colour, and a sex a stripe."""
    rng = np.random.default_rng(seed)
    colours = rng.integers(30, 225, (N_SPECIES, 3))
    members: dict[str, bytes] = {}
    for i in range(N_SPECIES * N_EACH):
        species, sex = i % N_SPECIES, ("male", "female")[i // N_SPECIES % 2]
        members[f"{i:03d}.jpg"] = draw_jpeg(colours[species], rng, has_stripe=sex == "male")
        members[f"{i:03d}.taxonTag.txt"] = TAG.format("aeio"[species // 3], "aei"[species % 3]).encode()
        members[f"{i:03d}.json"] = json.dumps({"occurrenceID": f"o{i}", "sex": sex}).encode()
    return write_tar(path, members)


def write_pairs_tar(path: Path, *, n: int = 48, seed: int = 1) -> Path:
    """General pairs: grey pictures whose caption names their brightness."""
    rng = np.random.default_rng(seed)
    members: dict[str, bytes] = {}
    for i in range(n):
        grey = i % 8
        members[f"{i:03d}.jpg"] = draw_jpeg(np.full(3, 20 + 30 * grey), rng, has_stripe=False)
        members[f"{i:03d}.txt"] = f"a wall of brightness number {grey}".encode()
    return write_tar(path, members)


def draw_jpeg(colour: np.ndarray, rng: np.random.Generator, *, has_stripe: bool) -> bytes:
    pixels = np.clip(colour + rng.normal(0, 12, (SIDE, SIDE, 3)), 0, 255).astype(np.uint8)
    if has_stripe:
        pixels[12:16] = 255
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="JPEG", quality=92)
    return file.getvalue()


def make_config(source: Path, encoder: str, **changes: Any) -> TrainingConfig:
    """Twelve steps of eight pictures; `changes` are settings by their place, with "__" for the dot."""
    base: dict[str, Any] = {
        "data.source": str(source),
        "data.cache": str(source.parent / "cache"),
        "data.validation_share": 0.25,
        "data.measure": ["sex"],
        "model.start": encoder,
        "optimiser.n_warmup_steps": 3,
        "optimiser.learning_rate": 1e-3,
        "engine.n_samples": 96,
        "engine.batch_size": 8,
        "engine.n_threads": 1,
        "engine.checkpoint_every": 4,
        "engine.report_every": 1,
        "engine.accelerator": "cpu",
    }
    return override_config(TrainingConfig(), base | {name.replace("__", "."): value for name, value in changes.items()})
