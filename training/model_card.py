"""Model cards: what a run learned from, how, and how good it became, said from the run itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.adaptation import count_parameters
from training.settings import SYNTHETIC, SplitBy, TrainingConfig, to_table

if TYPE_CHECKING:
    import pyarrow as pa

    from training.splits import Split
    from training.towers import Towers

BIOCLIP_2: Mapping[str, Any] = {
    "data.source": "TreeOfLife-200M",
    "data.sampling": "natural",
    "data.unique_species": False,
    "data.mirror": False,
    "data.max_shift": 0.0,
    "data.min_crop": 0.9,
    "data.light": 0.0,
    "captions.types": ["common", "scientific", "taxon", "scientific_common", "taxon_common"],
    "captions.draw": "step",
    "captions.template_share": 1.0,
    "captions.higher_share": 0.0,
    "captions.trait_share": 0.0,
    "loss.kind": "infonce",
    "loss.leave_out_fits": False,
    "replay.source": "26 M pairs of LAION-2B",
    "replay.batch_size": 10_240,
    "replay.weight": 1.0,
    "replay.own_projector": True,
    "model.start": "ViT-L-14/laion2b_s32b_b82k",
    "model.freeze_image": False,
    "model.freeze_text": False,
    "model.lora_rank": 0,
    "optimiser.learning_rate": 1e-4,
    "optimiser.weight_decay": 0.2,
    "optimiser.beta2": 0.98,
    "optimiser.n_warmup_steps": 1875,
    "engine.n_samples": 6_400_000_000,
    "engine.batch_size": 90_112,
}
"""The recipe of BioCLIP 2 (Gu et al. 2025, section 3 and its released slurm/train.sh) in our settings."""
N_LICENCES = 12
"""Lines of the table of licences at most."""


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """What a model card says that the towers do not know.

    Attributes:
        name: Of the encoder.
        config: Resolved settings of the run.
        n_training: Pictures learned from.
        n_validation: Pictures kept back to measure on.
        n_species: Species among those learned from.
        licences: Pictures learned from by licence, the most frequent first; "" for those that name none. Empty where
            the records have no such column.
        n_samples: Pictures shown, counted each time.
        figures: Measured on the pictures kept back, by name.
    """

    name: str
    config: TrainingConfig
    n_training: int
    n_validation: int
    n_species: int
    licences: Mapping[str, int]
    n_samples: int
    figures: Mapping[str, float]


def make_card(
    name: str, config: TrainingConfig, *, records: pa.Table, split: Split, n_samples: int, figures: Mapping[str, float]
) -> ModelCard:
    """The card of a run on the dataset's `records`, of which `split.training` were learned from."""
    learned = records.take(split.training)
    licences: Counter[str] = Counter()
    if "license" in learned.column_names:
        licences.update(licence or "" for licence in learned.column("license").to_pylist())
    return ModelCard(
        name=name,
        config=config,
        n_training=len(split.training),
        n_validation=len(split.validation),
        n_species=len(set(learned.column("species").to_pylist()) - {None}),
        licences=dict(licences.most_common()),
        n_samples=n_samples,
        figures=dict(figures),
    )


def write_card(card: ModelCard, towers: Towers, folder: Path) -> str:
    """The model card as Markdown; `folder` already holds the files it lists."""
    n_weights = count_parameters(towers.model)[0]
    parts = [
        f"# {card.name}",
        f"An encoder of images and texts into one space of {towers.dimension} dimensions, {n_weights:,} weights, "
        "trained with Morphospace.",
        _tell_use(),
        "## Data",
        *_tell_data(card),
        "## Recipe",
        *_tell_recipe(card),
        "## Figures",
        *_tell_figures(card),
        "## Limits",
        _list_lines(_tell_limits(card, towers)),
        "## Files",
        _make_table(("file", "bytes"), [(f"`{path.name}`", f"{path.stat().st_size:,}") for path in _files(folder)]),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _tell_use() -> str:
    return (
        "```python\n"
        'model, _, preprocess = open_clip.create_model_and_transforms("local-dir:FOLDER")\n'
        'tokenizer = open_clip.get_tokenizer("local-dir:FOLDER")\n'
        "```\n"
        "Morphospace takes it as `--model local-dir:FOLDER`."
    )


def _tell_data(card: ModelCard) -> list[str]:
    data = card.config.data
    lines = [
        f"Source: `{data.source}`.",
        f"{card.n_training:,} pictures of {card.n_species:,} species were learned from, {card.n_validation:,} kept "
        f"back to measure on; the two share no {data.split_by.value}.",
    ]
    if card.config.replay.source:
        lines.append(f"General pairs for replay: `{card.config.replay.source}`.")
    if not card.licences:
        return [*lines, "The records have no column of licences."]
    rows = [(name or "none named", f"{n:,}") for name, n in card.licences.items()]
    others = sum(n for _, n in list(card.licences.items())[N_LICENCES:])
    if others:
        rows = [*rows[:N_LICENCES], (f"{len(rows) - N_LICENCES} others", f"{others:,}")]
    return [*lines, _make_table(("licence", "pictures learned from"), rows)]


def _tell_recipe(card: ModelCard) -> list[str]:
    passes = card.n_samples / max(1, card.n_training)
    settings = _flatten(to_table(card.config))
    if not card.config.replay.source:
        settings |= {"replay.source": "none"}
        settings = {name: value for name, value in settings.items() if not _is_idle_replay(name)}
    others = [(name, settings[name], value) for name, value in BIOCLIP_2.items() if settings.get(name, value) != value]
    rows = [(f"`{name}`", f"`{here}`", f"`{there}`") for name, here, there in others]
    same = [f"`{name}`" for name in BIOCLIP_2 if name in settings and settings[name] == BIOCLIP_2[name]]
    return [
        f"Started from `{card.config.model.start}`; {card.n_samples:,} pictures were shown in batches of "
        f"{card.config.engine.batch_size:,}, {passes:,.1f} times each on average. All settings are in `training.toml`. "
        "Those that differ from BioCLIP 2 (Gu et al. 2025):",
        _make_table(("setting", "here", "BioCLIP 2"), rows),
        f"As in BioCLIP 2: {', '.join(same)}." if same else "",
    ]


def _is_idle_replay(name: str) -> bool:
    return name.startswith("replay.") and name != "replay.source"


def _tell_figures(card: ModelCard) -> list[str]:
    if not card.figures:
        return ["None were measured in this run."]
    rows = [(name, f"{value:.4g}") for name, value in card.figures.items()]
    return [
        f"On the {card.n_validation:,} pictures kept back, after the last step:",
        _make_table(("figure", "value"), rows),
    ]


def _tell_limits(card: ModelCard, towers: Towers) -> list[str]:
    config = card.config
    context = towers.model_cfg["text_cfg"].get("context_length", 77)
    limits = [
        f"Images are {_tell_resize(towers)} to {towers.image_side} x {towers.image_side} pixels.",
        f"Texts are cut after {context} codes, ends included.",
        "Weights are float16.",
    ]
    if config.data.source == SYNTHETIC:
        limits.insert(0, "The pictures are drawings of invented species: it knows nothing of real organisms.")
    else:
        limits.insert(0, f"In this training it saw no species but the {card.n_species:,} of its data.")
    if config.captions.trait_share == 0:
        limits.append("No text spoke of traits: what it says of them was not taught.")
    if card.figures and config.data.split_by is SplitBy.OCCURRENCE:
        limits.append("The figures are of new pictures of species it learned, and say nothing of other species.")
    return limits


def _tell_resize(towers: Towers) -> str:
    return {"squash": "squashed", "crop": "cut", "longest": "fitted"}[str(towers.preprocessing.resize)]


def _flatten(table: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in table.items():
        inner = value.items() if isinstance(value, dict) else ()
        flat |= {f"{name}.{key}": each for key, each in inner} or {name: value}
    return flat


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.name != "README.md")


def _list_lines(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _make_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
