"""The settings of a training run; the defaults are the recipe of the bundled encoder."""

from __future__ import annotations

import dataclasses
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from indexer.errors import InputError


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """What is drawn, what is trained, and for how long.

    Attributes:
        seed: Fixes pictures, captions, batches and first weights; 0 or more.
        tree_seed: Grows the tree of life; 0 or more. Encoders of different trees know different species.
        n_images: Training pictures to draw, spread evenly over the 216 seen species; 216 or more.
        n_samples: Pictures shown in training, each picture several times; at least one batch.
        batch_size: Pictures of one step, each of another species; 2 to 216.
        learning_rate: Peak of the cosine schedule of AdamW; above 0.
        weight_decay: AdamW's decay of matrices; 0 or more.
        n_warmup_steps: Steps in which the learning rate rises; 0 or more.
        state_share: Share of the captions that speak of states, class words and shape words; 0 to 1.
        higher_share: Share of the captions that name a genus or a higher taxon alone; 0 to 1.
        image_side: Side of the encoder's square input, in pixels; a multiple of 32.
        image_width: Channels of the first stage of open_clip's ModifiedResNet; a multiple of 8.
        timm_model: A timm model as the image tower instead of the ModifiedResNet; None for the latter.
        text_width: Width of the text transformer; a multiple of 32.
        n_text_layers: Its layers; 1 or more.
        context_length: Codes per text, ends included; 8 or more.
        vocabulary_size: Codes of the vocabulary at most; 100 or more.
        dimension: Length of the vectors; 8 or more.
        use_bf16: Run the image tower in bfloat16; fast where the processor has units for it (AMX), slow elsewhere.
        n_threads: Threads of the training, and processes of the drawing; 1 or more.
        minutes: Ends the training after this many minutes even if n_samples are not reached, the schedule following
            the clock; the outcome then depends on the machine. None trains n_samples.
    """

    seed: int = 0
    tree_seed: int = 0
    n_images: int = 16_416
    n_samples: int = 128_000
    batch_size: int = 128
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    n_warmup_steps: int = 60
    state_share: float = 0.20
    higher_share: float = 0.12
    image_side: int = 96
    image_width: int = 16
    timm_model: str | None = None
    text_width: int = 128
    n_text_layers: int = 2
    context_length: int = 24
    vocabulary_size: int = 1300
    dimension: int = 128
    use_bf16: bool = True
    n_threads: int = 2
    minutes: float | None = None

    def __post_init__(self) -> None:
        faults = _find_faults(self)
        if faults:
            raise InputError("; ".join(faults))


_LOWEST: dict[str, float] = {
    "seed": 0,
    "tree_seed": 0,
    "n_images": 216,
    "n_samples": 2,
    "batch_size": 2,
    "weight_decay": 0,
    "n_warmup_steps": 0,
    "state_share": 0,
    "higher_share": 0,
    "image_side": 32,
    "image_width": 8,
    "text_width": 32,
    "n_text_layers": 1,
    "context_length": 8,
    "vocabulary_size": 100,
    "dimension": 8,
    "n_threads": 1,
}
_STEPS = {"image_side": 32, "image_width": 8, "text_width": 32}


def read_config(path: Path) -> TrainingConfig:
    """The settings in a TOML file, with the defaults for those it leaves out.

    Raises:
        InputError: The file is missing, is no TOML, names an unknown setting, or gives one a wrong type or value.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(
            f"{path}: there is no such file; give the path of a TOML file with training settings."
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: this is not TOML ({error}); write one `name = value` per line.") from error
    faults = [fault for name, value in table.items() if (fault := _check_type(name, value))]
    if faults:
        raise InputError(f"{path}: " + "; ".join(faults))
    try:
        return TrainingConfig(**table)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _check_type(name: str, value: Any) -> str | None:
    fields = {field.name: str(field.type) for field in dataclasses.fields(TrainingConfig)}
    if name not in fields:
        return f"setting '{name}' is not known; use some of {', '.join(fields)}"
    wanted = fields[name].removesuffix(" | None")
    allowed = {"int": (int,), "float": (int, float), "str": (str,), "bool": (bool,)}[wanted]
    if type(value) not in allowed:
        return f"{name} = {value!r} is of type {type(value).__name__}; use {wanted}"
    return None


def _find_faults(config: TrainingConfig) -> list[str]:
    faults = [
        f"{name} = {getattr(config, name)} is too small; use {lowest:g} or more"
        for name, lowest in _LOWEST.items()
        if getattr(config, name) < lowest
    ]
    faults += [
        f"{name} = {getattr(config, name)} does not fit the tower; use a multiple of {step}"
        for name, step in _STEPS.items()
        if getattr(config, name) % step
    ]
    if config.state_share + config.higher_share > 1:
        faults.append(
            f"state_share + higher_share = {config.state_share + config.higher_share:g}; together use 1 at most"
        )
    if config.learning_rate <= 0:
        faults.append(f"learning_rate = {config.learning_rate:g} teaches nothing; use a value above 0")
    if config.minutes is not None and config.minutes <= 0:
        faults.append(f"minutes = {config.minutes:g} leaves no time; use a value above 0, or leave it out")
    return faults
