"""Can the hidden ecology be read at all: from the true traits, from bare pixels, and by a tower that is told it?

The oracle says whether the traits carry the ecology, and the supervised control whether an image tower sees it at its
resolution and budget: bounds for an encoder that is never told. Bare pixels and an untrained tower say what costs no
learning.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64, UInt8

from indexer.encoders import build_network
from training.progress import Progress, keep_quiet
from training.settings import SMALL, SmallConfig
from training.synthetic.ecology import BodyPlan
from training.towers import SMALL_MEAN, SMALL_STD, configure_small

if TYPE_CHECKING:
    import torch

    from training.synthetic.individuals import Individual
    from training.synthetic.phylogeny import Species
    from training.synthetic.pictures import PictureSet

N_GENERA_PER_FAMILY = 3
PLANS = tuple(BodyPlan)
ENCODE_BATCH = 256


@dataclass(frozen=True, kw_only=True)
class ControlSettings:
    """The tower of the bundled encoder and a short training.

    Attributes:
        width: Channels of the first stage of the architecture "small".
        n_samples: Pictures shown.
        max_shift: Pixels by which a picture is moved at random.
    """

    width: int = 16
    n_samples: int = 38_400
    batch_size: int = 128
    learning_rate: float = 2e-3
    max_shift: int = 4
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Supervision:
    """The ecology as a tower reads it that was taught it on other genera: rank correlations inside genera.

    Attributes:
        by_axis: Of each body plan, the first and the second axis.
    """

    by_axis: dict[BodyPlan, tuple[float, float]]

    @property
    def by_plan(self) -> dict[BodyPlan, float]:
        """The mean of the two axes."""
        return {plan: sum(axes) / 2 for plan, axes in self.by_axis.items()}

    @property
    def rho(self) -> float:
        """The mean over the body plans."""
        return sum(self.by_plan.values()) / len(self.by_plan)


def describe_individuals(individuals: Sequence[Individual]) -> Float32[np.ndarray, "n d"]:
    """Unit vectors of all that shaped each organism: its own traits and its state. What an encoder could know at best.

    Numbers are standardised within a body plan, for a probe that weighs all dimensions alike would see little but hues
    in degrees; words stand as 0 and 1, hues are points on a circle.
    """
    rows = [
        dict((*_flatten(one.traits, one.species.plan), *_flatten(one.state, one.species.plan))) for one in individuals
    ]
    names = sorted({name for row in rows for name in row})
    blocks = []
    for plan in PLANS:
        own = [name for name in names if name.startswith(plan)]
        is_own = np.array([one.species.plan is plan for one in individuals])
        if is_own.any():
            table = np.array([[row.get(name, 0.0) for name in own] for row in rows])
            centred = (table - table[is_own].mean(axis=0)) / np.maximum(table[is_own].std(axis=0), 1e-9)
            # One more dimension, as long as all traits, keeps the body plans apart.
            wide = np.column_stack([centred, np.full(len(rows), len(own) ** 0.5)])
            blocks.append(np.where(is_own[:, None], wide, 0.0))
    stacked = np.hstack(blocks)
    unit: Float32[np.ndarray, "n d"] = (stacked / np.linalg.norm(stacked, axis=1, keepdims=True)).astype(np.float32)
    return unit


def project_pixels(pixels: UInt8[np.ndarray, "n s s 3"], *, n_components: int) -> Float32[np.ndarray, "n d"]:
    """Unit vectors of the pictures at a third of their side on their principal components."""
    from sklearn.decomposition import PCA

    n, small = len(pixels), pixels.shape[1] // 3
    blocks = pixels[:, : 3 * small, : 3 * small].reshape(n, small, 3, small, 3, 3).astype(np.float32)
    projected = PCA(n_components, random_state=0).fit_transform(blocks.mean(axis=(2, 4)).reshape(n, -1))
    unit: Float32[np.ndarray, "n d"] = projected / np.linalg.norm(projected, axis=1, keepdims=True)
    return unit


def encode_untrained(
    pixels: UInt8[np.ndarray, "n s s 3"], settings: ControlSettings, *, dimension: int = 128
) -> Float32[np.ndarray, "n d"]:
    """The pictures as the tower gives them before any training."""
    return _encode(_build_tower(settings, side=pixels.shape[1], dimension=dimension), pixels)


def train_supervised(
    pictures: PictureSet,
    species: Sequence[Species],
    settings: ControlSettings,
    *,
    left_out: int = 0,
    progress: Progress = keep_quiet,
) -> Supervision:
    """Teaches the image tower the ecology on two genera of each family, and reads it from pictures of the third.

    The tower gives eight values, two for each body plan; a picture is judged by those of its own plan alone (squared
    error). Only pictures of the genera left out are read. What fails here is not to be expected from a loss that never
    names the ecology.

    Args:
        pictures: Of all species.
        species: The tree.
        settings: Tower and training.
        left_out: Which genus of each family is left out, 0 to 2.
        progress: Told how many steps are done.
    """
    is_test = choose_genera(pictures.numbers, species, left_out)
    tower = _build_tower(settings, side=pictures.pixels.shape[1], dimension=2 * len(PLANS))
    targets = list_targets(pictures.numbers, species)
    _teach(tower, pictures.pixels[~is_test], targets[~is_test], settings, progress)
    readings, numbers = _encode(tower, pictures.pixels[is_test]), pictures.numbers[is_test]
    return Supervision(by_axis={plan: _correlate(readings, numbers, species, plan) for plan in PLANS})


def choose_genera(numbers: Int64[np.ndarray, " n"], species: Sequence[Species], place: int) -> Bool[np.ndarray, " n"]:
    """Which pictures are of the genus at this place (0 to 2) of its family."""
    genera = list(dict.fromkeys(one.genus for one in species))
    places = np.array([genera.index(one.genus) % N_GENERA_PER_FAMILY for one in species])
    chosen: Bool[np.ndarray, " n"] = places[numbers] == place
    return chosen


def list_targets(numbers: Int64[np.ndarray, " n"], species: Sequence[Species]) -> Float32[np.ndarray, "n 8"]:
    """The ecology in the two columns of the picture's own body plan, nan in the others."""
    table = np.full((len(species), 2 * len(PLANS)), np.nan, dtype=np.float32)
    for one in species:
        first = 2 * PLANS.index(one.plan)
        table[one.number, first : first + 2] = (one.ecology.first, one.ecology.second)
    targets: Float32[np.ndarray, "n 8"] = table[numbers]
    return targets


def _flatten(value: object, name: str) -> Iterator[tuple[str, float]]:
    """Every number below a dataclass, by its path; a word is a path of its own."""
    if dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from _flatten(getattr(value, field.name), f"{name}.{field.name}")
    elif isinstance(value, str):
        yield f"{name}={value}", 1.0
    elif name.endswith(".hue") and isinstance(value, float):
        yield f"{name}.x", float(np.cos(np.radians(value)))
        yield f"{name}.y", float(np.sin(np.radians(value)))
    elif isinstance(value, int | float):
        yield name, float(value)


def _build_tower(settings: ControlSettings, *, side: int, dimension: int) -> Any:
    """The image tower of the architecture "small" with random weights."""
    import torch

    small = SmallConfig(image_side=side, image_width=settings.width, dimension=dimension, text_width=32)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        tower = build_network(configure_small(small, n_codes=small.vocabulary_size), where=SMALL).visual
    return tower.to(memory_format=torch.channels_last)


def _teach(
    tower: Any,
    pixels: UInt8[np.ndarray, "n s s 3"],
    targets: Float32[np.ndarray, "n 8"],
    settings: ControlSettings,
    progress: Progress,
) -> None:
    import torch

    rng = np.random.default_rng([settings.seed, 20])
    n_steps = max(1, settings.n_samples // settings.batch_size)
    optimiser = torch.optim.AdamW(tower.parameters(), lr=settings.learning_rate, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, settings.learning_rate, total_steps=n_steps + 1, pct_start=0.1
    )
    tower.train()
    for step in range(n_steps):
        batch = rng.integers(len(pixels), size=settings.batch_size)
        wanted = torch.from_numpy(targets[batch])
        read = tower(_prepare(_move(pixels[batch], rng, settings.max_shift)))
        is_own = ~wanted.isnan()
        loss = torch.nn.functional.mse_loss(read[is_own], wanted[is_own])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(tower.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        progress("supervised control", step + 1, n_steps)


def _move(
    pixels: UInt8[np.ndarray, "n s s 3"], rng: np.random.Generator, max_shift: int
) -> UInt8[np.ndarray, "n s s 3"]:
    """The pictures mirrored and moved at random."""
    side = pixels.shape[1]
    wide = np.pad(pixels, ((0, 0), (max_shift, max_shift), (max_shift, max_shift), (0, 0)), mode="edge")
    moved = np.empty_like(pixels)
    for i, (top, left) in enumerate(rng.integers(2 * max_shift + 1, size=(len(pixels), 2))):
        view = wide[i, top : top + side, left : left + side]
        moved[i] = view[:, ::-1] if rng.random() < 0.5 else view
    return moved


def _prepare(pixels: UInt8[np.ndarray, "n s s 3"]) -> Float32[torch.Tensor, "n 3 s s"]:
    import torch

    scaled = (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255 - SMALL_MEAN) / SMALL_STD
    return scaled.contiguous(memory_format=torch.channels_last)


def _encode(tower: Any, pixels: UInt8[np.ndarray, "n s s 3"]) -> Float32[np.ndarray, "n d"]:
    import torch

    tower.eval()
    with torch.inference_mode():
        parts = [tower(_prepare(pixels[i : i + ENCODE_BATCH])) for i in range(0, len(pixels), ENCODE_BATCH)]
    vectors: Float32[np.ndarray, "n d"] = torch.cat(parts).numpy()
    return vectors


def _correlate(
    readings: Float32[np.ndarray, "n 8"],
    numbers: Int64[np.ndarray, " n"],
    species: Sequence[Species],
    plan: BodyPlan,
) -> tuple[float, float]:
    """Rank correlation of readings and truth of the plan's two axes, both relative to the mean of their genus."""
    from scipy.stats import spearmanr

    first = 2 * PLANS.index(plan)
    truth = list_targets(numbers, species)
    own = ~np.isnan(truth[:, first])
    genera = np.unique([species[number].genus for number in numbers[own]], return_inverse=True)[1]

    def correlate(column: int) -> float:
        read, true = (_centre_in_groups(values[own, column].astype(np.float64), genera) for values in (readings, truth))
        return float(spearmanr(read, true).statistic)

    return correlate(first), correlate(first + 1)


def _centre_in_groups(values: Float64[np.ndarray, " n"], groups: Int64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    means = np.bincount(groups, weights=values) / np.bincount(groups)
    centred: Float64[np.ndarray, " n"] = values - means[groups]
    return centred
