"""Loss, batches, settings and the training loop."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from indexer.errors import InputError
from training.batches import draw_batches
from training.settings import TrainingConfig, read_config

if TYPE_CHECKING:
    from jaxtyping import Float64

TINY = {
    "n_images": 216,
    "n_samples": 20 * 32,
    "batch_size": 32,
    "image_side": 32,
    "image_width": 8,
    "text_width": 32,
    "n_text_layers": 1,
    "vocabulary_size": 400,
    "dimension": 32,
    "n_warmup_steps": 5,
    "n_threads": 1,
}


MATCHES = np.eye(7, dtype=bool)
MATCHES[[0, 0, 3, 6, 5], [1, 4, 2, 0, 6]] = True
"""Rows are pictures, columns texts."""


def plain_loss(images: Float64[np.ndarray, "n d"], texts: Float64[np.ndarray, "n d"], scale: float) -> float:
    """InfoNCE written out pair by pair in float64 (Radford et al. 2021, figure 3), pairs of MATCHES left out."""
    n = len(images)
    total = 0.0
    for i in range(n):
        own = scale * float(images[i] @ texts[i])
        row = [scale * float(images[i] @ texts[j]) for j in range(n) if j == i or not MATCHES[i, j]]
        column = [scale * float(images[j] @ texts[i]) for j in range(n) if j == i or not MATCHES[j, i]]
        total -= own - np.log(np.sum(np.exp(row)))
        total -= own - np.log(np.sum(np.exp(column)))
    return total / (2 * n)


def unit_rows(rng: np.random.Generator, n: int, d: int) -> Float64[np.ndarray, "n d"]:
    rows = rng.normal(size=(n, d))
    unit: Float64[np.ndarray, "n d"] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


@pytest.fixture
def vectors() -> tuple[Float64[np.ndarray, "n d"], Float64[np.ndarray, "n d"]]:
    rng = np.random.default_rng(0)
    return unit_rows(rng, 7, 5), unit_rows(rng, 7, 5)


def test_the_loss_equals_a_plain_loop(vectors: tuple[Float64[np.ndarray, "n d"], Float64[np.ndarray, "n d"]]) -> None:
    import torch

    from training.losses import contrastive_loss

    images, texts = vectors
    scale, matches = torch.tensor(9.0, dtype=torch.float64), torch.from_numpy(MATCHES)
    got = contrastive_loss(torch.from_numpy(images), torch.from_numpy(texts), scale, matches)
    assert got.item() == pytest.approx(plain_loss(images, texts, 9.0), rel=1e-12)


def test_the_gradients_of_the_loss_equal_differences_of_the_plain_loop(
    vectors: tuple[Float64[np.ndarray, "n d"], Float64[np.ndarray, "n d"]],
) -> None:
    import torch

    from training.losses import contrastive_loss

    images, texts = vectors
    leaves = [torch.from_numpy(values.copy()).requires_grad_() for values in (images, texts)]
    scale = torch.tensor(9.0, dtype=torch.float64, requires_grad=True)
    contrastive_loss(leaves[0], leaves[1], scale, torch.from_numpy(MATCHES)).backward()  # type: ignore[no-untyped-call]
    step = 1e-6
    for row, column in ((0, 0), (3, 2), (6, 4)):
        for which in (0, 1):
            moved = [[values.copy() for values in vectors] for _ in range(2)]
            moved[0][which][row, column] += step
            moved[1][which][row, column] -= step
            up, down = (plain_loss(one[0], one[1], 9.0) for one in moved)
            slope = (up - down) / (2 * step)
            gradient = leaves[which].grad
            assert gradient is not None
            assert gradient[row, column].item() == pytest.approx(slope, rel=1e-6, abs=1e-9)
    slope = (plain_loss(images, texts, 9 + step) - plain_loss(images, texts, 9 - step)) / (2 * step)
    assert scale.grad is not None
    assert scale.grad.item() == pytest.approx(slope, rel=1e-6)


def test_the_loss_is_log_n_for_equal_vectors_and_zero_for_perfect_ones() -> None:
    import torch

    from training.losses import contrastive_loss

    same, own = torch.ones(8, 4) / 2, torch.eye(8, dtype=torch.bool)
    assert contrastive_loss(same, same, torch.tensor(10.0), own).item() == pytest.approx(np.log(8), rel=1e-6)
    assert contrastive_loss(torch.eye(8), torch.eye(8), torch.tensor(100.0), own).item() < 1e-6


def test_pairs_that_fit_although_they_are_not_their_own_have_no_say() -> None:
    import torch

    from training.losses import contrastive_loss

    same = torch.ones(4, 4) / 2
    all_fit = torch.ones(4, 4, dtype=torch.bool)
    assert contrastive_loss(same, same, torch.tensor(10.0), all_fit).item() == 0.0


def test_no_species_is_twice_in_a_batch_and_every_picture_has_its_turn() -> None:
    numbers = np.repeat(np.arange(10), 6)
    batches = draw_batches(numbers, batch_size=4, rng=np.random.default_rng(0))
    places = []
    for _ in range(60):
        batch = next(batches)
        assert len(set(numbers[batch])) == len(batch) == 4
        places += batch.tolist()
    counts = np.bincount(places, minlength=60)
    assert counts.min() >= 1
    for species in range(10):
        assert np.ptp(counts[numbers == species]) <= 1


def test_a_batch_is_smaller_where_there_are_fewer_species() -> None:
    batch = next(draw_batches(np.array([3, 3, 8]), batch_size=16, rng=np.random.default_rng(0)))
    assert len(batch) == 2


def test_settings_come_from_toml_over_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "train.toml"
    path.write_text("n_images = 432\nlearning_rate = 1\nminutes = 2.5\n")
    assert read_config(path) == TrainingConfig(n_images=432, learning_rate=1, minutes=2.5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("n_image = 5", "setting 'n_image' is not known; use some of seed"),
        ("n_images = 'many'", "n_images = 'many' is of type str; use int"),
        ("use_bf16 = 1", "use_bf16 = 1 is of type int; use bool"),
        ("n_images = 5", "n_images = 5 is too small; use 216 or more"),
        ("image_side = 50\nbatch_size = 1", "batch_size = 1 is too small.*image_side = 50 does not fit"),
        ("state_share = 0.9\nhigher_share = 0.2", "together use 1 at most"),
        ("minutes = 0.0", "minutes = 0 leaves no time"),
        ("learning_rate = 0.0", "learning_rate = 0 teaches nothing"),
        ("n_images", "this is not TOML"),
    ],
)
def test_a_wrong_setting_is_refused_with_what_is_allowed(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "train.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_config(path)


def test_a_missing_settings_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such file"):
        read_config(tmp_path / "none.toml")


@pytest.fixture(scope="module")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    from training.loop import train_encoder

    folder = tmp_path_factory.mktemp("tiny")
    said: list[str] = []
    config = TrainingConfig(**TINY)  # type: ignore[arg-type]
    report = train_encoder(
        config,
        folder,
        progress=lambda stage, done, total: said.append(f"{stage} {done}/{total}"),
        tell_loss=lambda n_steps, loss: said.append(f"loss {loss:.0f} after {n_steps}"),
    )
    assert report.n_steps == 20
    assert report.losses[-1] < report.losses[0] - 0.1
    return folder, said


def test_twenty_steps_lower_the_loss_and_say_so(tiny_run: tuple[Path, list[str]]) -> None:
    folder, said = tiny_run
    report = json.loads((folder / "training_report.json").read_text())
    assert report["n_samples"] == 640
    assert json.loads((folder / "training_config.json").read_text())["n_images"] == 216
    assert said[0] == "drawing 64/216"
    assert said[-2] == "training 20/20"
    assert re.fullmatch(r"loss \d after 20", said[-1])


def test_stock_open_clip_loads_the_folder_and_gives_equal_vectors(tiny_run: tuple[Path, list[str]]) -> None:
    import open_clip
    import torch
    from PIL import Image

    from training.pictures import squash
    from training.towers import load_towers

    folder, _ = tiny_run
    towers = load_towers(folder)
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    texts = ["a photo of a Juvenile bird.", "Animalia Chordata Aves " * 12]
    assert tokenizer(texts).tolist() == towers.encode_codes(texts).tolist()
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels)
    with torch.inference_mode():
        theirs = model.eval().encode_image(preprocess(picture)[None], normalize=True).numpy()
        their_texts = model.encode_text(tokenizer(texts), normalize=True).numpy()
    np.testing.assert_allclose(theirs, towers.encode_pixels(squash(picture, 32)[None]), atol=1e-5)
    np.testing.assert_allclose(their_texts, towers.encode_texts(texts), atol=1e-6)


def test_the_same_seed_trains_the_same_weights(tiny_run: tuple[Path, list[str]], tmp_path: Path) -> None:
    from training.loop import train_encoder

    train_encoder(TrainingConfig(**TINY), tmp_path)  # type: ignore[arg-type]
    for name in ("open_clip_model.safetensors", "tokenizer.json", "open_clip_config.json"):
        assert (tmp_path / name).read_bytes() == (tiny_run[0] / name).read_bytes()


def test_the_minutes_end_a_training_early(tmp_path: Path) -> None:
    from training.loop import train_encoder

    config = TrainingConfig(**{**TINY, "n_samples": 10_000_000, "minutes": 0.02})  # type: ignore[arg-type]
    assert 1 <= train_encoder(config, tmp_path).n_steps < 1000
