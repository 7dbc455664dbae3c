"""Model cards: what a run learned from, how, and how good it became, said from the run itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.adaptation import count_parameters
from training.annotations import annotate_records
from training.settings import SYNTHETIC, SplitBy, TrainingConfig, to_table
from training.splits import tell_unnamed
from training.towers import is_random
from training.validation import choose_measured

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from jaxtyping import Bool

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
class Pictures:
    """What a run's data were.

    Attributes:
        n_training: Pictures learned from.
        n_validation: Pictures kept back to measure on.
        n_measured: Those of them that were measured on.
        n_species: Species among those learned from.
        n_unlearned: Species that are among those kept back alone.
        n_with_traits: Pictures learned from of which a text could tell a trait.
        traits: Columns of the captions in which they have one.
        unnamed: What the split could not know, as the end of a sentence; see `training.splits.tell_unnamed`.
        licences: Pictures learned from by licence, the most frequent first; "" for those that name none. Empty where
            the records have no such column.
    """

    n_training: int
    n_validation: int
    n_measured: int
    n_species: int
    n_unlearned: int
    n_with_traits: int
    traits: tuple[str, ...]
    unnamed: str
    licences: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """What a model card says that the towers do not know.

    Attributes:
        name: Of the encoder.
        config: Resolved settings of the run.
        pictures: What its data were.
        n_samples: Pictures shown, counted each time.
        figures: Measured on pictures kept back, by name.
    """

    name: str
    config: TrainingConfig
    pictures: Pictures
    n_samples: int
    figures: Mapping[str, float]


def make_card(
    name: str, config: TrainingConfig, *, records: pa.Table, split: Split, n_samples: int, figures: Mapping[str, float]
) -> ModelCard:
    """The card of a run on the dataset's `records`, of which `split.training` were learned from."""
    pictures = count_pictures(records, split, config)
    return ModelCard(name=name, config=config, pictures=pictures, n_samples=n_samples, figures=dict(figures))


def count_pictures(records: pa.Table, split: Split, config: TrainingConfig) -> Pictures:
    """What a card says of the data: counts of a dataset's records in both parts of their split."""
    learned, kept_back = records.take(split.training), records.take(split.validation)
    species, others = (set(part.column("species").to_pylist()) - {None, ""} for part in (learned, kept_back))
    has_trait = _find_traits(learned, config.captions.columns)
    licences: Counter[str] = Counter()
    if "license" in learned.column_names:
        licences.update(licence or "" for licence in learned.column("license").to_pylist())
    return Pictures(
        n_training=len(learned),
        n_validation=len(kept_back),
        n_measured=len(choose_measured(split.validation)),
        n_species=len(species),
        n_unlearned=len(others - species),
        n_with_traits=int(has_trait.any(axis=1).sum()),
        traits=tuple(name for name, has in zip(config.captions.columns, has_trait.T, strict=True) if has.any()),
        unnamed=tell_unnamed(records, split),
        licences=dict(licences.most_common()),
    )


def _find_traits(records: pa.Table, columns: Sequence[str]) -> Bool[np.ndarray, "n c"]:
    codes = annotate_records(records, columns).codes
    found: Bool[np.ndarray, "n c"] = codes[:, codes.shape[1] - len(columns) :] >= 0
    return found


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
    pictures = card.pictures
    lines = [
        f"Source: `{card.config.data.source}`.",
        f"{pictures.n_training:,} pictures of {pictures.n_species:,} species were learned from, {_tell_split(card)}.",
    ]
    if card.config.captions.trait_share and pictures.traits:
        columns = ", ".join(f"`{name}`" for name in pictures.traits)
        lines.append(
            f"Texts told traits too, from the columns {columns}; {pictures.n_with_traits:,} pictures have any."
        )
    if card.config.replay.source:
        lines.append(f"General pairs for replay: `{card.config.replay.source}`.")
    if not pictures.licences:
        return [*lines, "The records have no column of licences."]
    rows = [(name or "none named", f"{n:,}") for name, n in pictures.licences.items()]
    others = sum(n for _, n in list(pictures.licences.items())[N_LICENCES:])
    if others:
        rows = [*rows[:N_LICENCES], (f"{len(rows) - N_LICENCES} others", f"{others:,}")]
    return [*lines, _make_table(("licence", "pictures learned from"), rows)]


def _tell_split(card: ModelCard) -> str:
    pictures = card.pictures
    if not pictures.n_validation:
        return "none kept back to measure on"
    return (
        f"{pictures.n_validation:,} kept back to measure on; the two share no {card.config.data.split_by.value}"
        f"{pictures.unnamed}"
    )


def _tell_recipe(card: ModelCard) -> list[str]:
    passes = card.n_samples / max(1, card.pictures.n_training)
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
    n_measured, n_validation = card.pictures.n_measured, card.pictures.n_validation
    if not card.figures and n_validation:
        return [
            "None were measured in this run: none was asked for, or too few species have several pictures among the "
            f"{n_validation:,} kept back. `morphospace evaluate RUN --on RUN` judges the encoder on them."
        ]
    if not card.figures:
        return ["None were measured in this run."]
    which = f"the {n_validation:,}" if n_measured == n_validation else f"{n_measured:,} of the {n_validation:,}"
    rows = [(name, f"{value:.4g}") for name, value in card.figures.items()]
    return [f"On {which} pictures kept back, after the last step:", _make_table(("figure", "value"), rows)]


def _tell_limits(card: ModelCard, towers: Towers) -> list[str]:
    context = towers.model_cfg["text_cfg"].get("context_length", 77)
    return [
        *_tell_knowledge(card),
        *_tell_reach(card),
        f"Images are {_tell_resize(towers)} to {towers.image_side} x {towers.image_side} pixels.",
        f"Texts are cut after {context} codes, ends included.",
        "Weights are float16.",
    ]


def _tell_knowledge(card: ModelCard) -> list[str]:
    """What it can know from this run, and whether it learned elsewhere before."""
    config, start = card.config, card.config.model.start
    is_new = is_random(start)
    if config.data.source == SYNTHETIC:
        end = "it knows nothing of real organisms" if is_new else "this training taught it nothing of real organisms"
        limits = [f"The pictures are drawings of invented species: {end}."]
    else:
        limits = [f"In this training it saw no species but the {card.pictures.n_species:,} of its data."]
    if not is_new:
        limits.append(f"What `{start}` had learned before, and from which pictures, is not in this card.")
    if not (config.captions.trait_share and card.pictures.n_with_traits):
        limits.append("No text of this training spoke of traits: what it says of them was not taught here.")
    return limits


def _tell_reach(card: ModelCard) -> list[str]:
    """What the figures hold for; a species whose only pictures were kept back is a new one, by occurrence too."""
    if not card.figures or card.config.data.split_by is SplitBy.SPECIES:
        return []
    n_unlearned = card.pictures.n_unlearned
    if n_unlearned:
        return [
            "The figures are of new pictures of species it learned, and of "
            f"{n_unlearned:,} species of which all pictures were kept back."
        ]
    return ["The figures are of new pictures of species it learned, and say nothing of other species."]


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
