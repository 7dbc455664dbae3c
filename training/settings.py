"""The settings of a training run, as a TOML file gives them: one frozen dataclass per table of the file."""

from __future__ import annotations

import difflib
import inspect
import json
import re
import textwrap
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import field
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from indexer.errors import InputError

SYNTHETIC = "synthetic"
SMALL = "small"
_STRICT = ConfigDict(extra="forbid", strict=False)

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Whole = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]


class TextType(StrEnum):
    """The five forms of a name (Stevens et al. 2024, table 3; BioCLIP 2 uses the same)."""

    COMMON = "common"
    SCIENTIFIC = "scientific"
    TAXON = "taxon"
    SCIENTIFIC_COMMON = "scientific_common"
    TAXON_COMMON = "taxon_common"


class DrawPer(StrEnum):
    """Whether a text type is drawn anew for each sample, or once per step for the whole batch (BioCLIP 2's code)."""

    SAMPLE = "sample"
    STEP = "step"


class Sampling(StrEnum):
    """How often a species comes up: as its pictures (natural), capped, by their square root, or evenly (balanced)."""

    NATURAL = "natural"
    CAPPED = "capped"
    SQRT = "sqrt"
    BALANCED = "balanced"


class SplitBy(StrEnum):
    """What stays on one side of the split."""

    OCCURRENCE = "occurrence"
    SPECIES = "species"


class LossKind(StrEnum):
    """The contrastive losses; see `training.losses`."""

    INFONCE = "infonce"
    MULTI_POSITIVE = "multi_positive"
    SIGLIP = "siglip"
    HIERARCHICAL = "hierarchical"


class Precision(StrEnum):
    """Number format of the forward and backward pass; weights and optimiser stay in float32."""

    AUTO = "auto"
    FP32 = "fp32"
    BF16 = "bf16"


class Accelerator(StrEnum):
    """Where the training runs."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"
    MPS = "mps"


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class SyntheticConfig:
    """The drawn pictures; read only where `data.source` is "synthetic".

    Attributes:
        tree_seed: Grows the tree of life; 0 or more. Encoders of different trees know different species.
        n_images: Pictures to draw, spread evenly over the 216 seen species; 216 or more.
    """

    tree_seed: Whole = 0
    n_images: Annotated[int, Field(ge=216)] = 16_416


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class DataConfig:
    """Which pictures are learned from, and how often each.

    Attributes:
        source: "synthetic", the directory of a corpus, or WebDataset tars: a path or URL, with `{000..123}` for many.
        cache: Folder in which tars from URLs, the tables of contents of tars, and drawn pictures are kept; "" for the
            user's cache.
        split_by: What the validation part shares with the training part: no occurrence, or no species.
        validation_share: Share of the occurrences (or species) kept from training to measure on; 0 to 0.5.
        sampling: How often a species comes up.
        cap: Pictures per species and pass, for "capped"; 1 or more.
        unique_species: No species twice in a batch, so that no name is a negative for its own species.
        mirror: Mirror every other picture.
        max_shift: Largest random shift, as a share of the side; 0 to 0.25.
        min_crop: Smallest share of the area that a random crop keeps; 0.05 to 1 (1: no crop; BioCLIP 2: 0.9).
        light: Largest random change of brightness, as a share; 0 to 0.5. Each channel moves by a third of it.
        n_workers: Processes that decode pictures beside each training process; 0 decodes in the process itself.
        measure: Columns on which emergent structure is measured with the validation part: words inside species (sex),
            numbers between species (beakDepth). No text speaks of them unless `captions` names them too.
    """

    source: str = SYNTHETIC
    cache: str = ""
    split_by: SplitBy = SplitBy.OCCURRENCE
    validation_share: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    sampling: Sampling = Sampling.BALANCED
    cap: Count = 100
    unique_species: bool = True
    mirror: bool = True
    max_shift: Annotated[float, Field(ge=0, le=0.25)] = 0.04
    min_crop: Annotated[float, Field(ge=0.05, le=1)] = 1.0
    light: Annotated[float, Field(ge=0, le=0.5)] = 0.15
    n_workers: Whole = 0
    measure: tuple[str, ...] = ("lifeStage", "sex")


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class CaptionConfig:
    """What is written under a picture.

    Attributes:
        types: Text types to draw from evenly; those that a record's names do not allow are skipped.
        draw: Per sample, or per step for the whole batch.
        template_share: Share of the texts in the template `a photo of ….`; 0 to 1 (BioCLIP 2: 1).
        higher_share: Share of the texts that name one higher rank alone; 0 to 1 (BioCLIP 2: 0).
        trait_share: Share of the texts that speak of traits, where a record has any; 0 to 1 (BioCLIP 2: 0).
        adjectives: Columns whose values come before the noun, in this order: lifeStage, sex.
        nouns: Columns whose values may be the noun, beside the common name and the genus; [] leaves these two, and the
            lowest named rank for a record that has neither.
        phrases: Columns whose values come after the noun: "with a crest".
        bare_noun_share: Where no adjective and no phrase was drawn: how often the noun stands alone, "a caterpillar",
            instead of with one of them; 0 to 1.
    """

    types: Annotated[tuple[TextType, ...], Field(min_length=1)] = tuple(TextType)
    draw: DrawPer = DrawPer.SAMPLE
    template_share: Share = 0.5
    higher_share: Share = 0.12
    trait_share: Share = 0.20
    adjectives: tuple[str, ...] = ("lifeStage", "season", "sex")
    nouns: tuple[str, ...] = ("organism",)
    phrases: tuple[str, ...] = ("shape",)
    bare_noun_share: Share = 0.8

    @model_validator(mode="after")
    def _check_shares(self) -> Self:
        if self.trait_share + self.higher_share > 1:
            raise ValueError("trait_share and higher_share are together at most 1")
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """All trait columns, each once."""
        return tuple(dict.fromkeys((*self.adjectives, *self.nouns, *self.phrases)))


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class LossConfig:
    """The contrastive loss.

    Attributes:
        kind: Which one; BioCLIP 2 has "infonce". "multi_positive" needs data.unique_species = false.
        leave_out_fits: Leave a pair out of the sums where the text fits the picture although it is not its own, instead
            of pushing the two apart. BioCLIP 2: false.
        rank_weights: Weights of the seven ranks for "hierarchical", kingdom first; 0 or more, not all 0. With
            data.unique_species = true no other picture of a batch shares the species, whose weight then goes to each
            picture's own text alone, as in "infonce".
    """

    kind: LossKind = LossKind.INFONCE
    leave_out_fits: bool = True
    rank_weights: Annotated[tuple[Annotated[float, Field(ge=0)], ...], Field(min_length=7, max_length=7)] = (
        *(0.02, 0.02, 0.04, 0.06, 0.11, 0.25, 0.5),
    )

    @model_validator(mode="after")
    def _check_weights(self) -> Self:
        if not any(self.rank_weights):
            raise ValueError("rank_weights are all 0; at least one rank must count")
        return self


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class ReplayConfig:
    """Experience replay: general image-caption pairs learned beside, so that general knowledge is not forgotten.

    Attributes:
        source: Tars with `.jpg` and `.txt`, or a CSV or Parquet table with the columns file and caption; "" for none.
        batch_size: Pairs per step, over all processes; 1 or more.
        weight: Weight of the replay's loss beside 1 for biology; 0 or more (BioCLIP 2: 1).
        own_projector: Give the replay its own projection of the image tower's features, as BioCLIP 2 does.
    """

    source: str = ""
    batch_size: Count = 128
    weight: Annotated[float, Field(ge=0)] = 1.0
    own_projector: bool = True


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class SmallConfig:
    """The architecture "small": open_clip's ModifiedResNet, one block a stage, and a text transformer of its own words.

    Attributes:
        image_side: Side of the square input, in pixels; a multiple of 32.
        image_width: Channels of the first stage; a multiple of 8.
        text_width: Width of the text transformer; a multiple of 32.
        n_text_layers: Its layers; 1 or more.
        context_length: Codes per text, ends included; 8 or more.
        vocabulary_size: Codes of the vocabulary at most, learned from the captions; 100 or more.
        dimension: Length of the vectors; 8 or more.
    """

    image_side: Annotated[int, Field(ge=32, multiple_of=32)] = 96
    image_width: Annotated[int, Field(ge=8, multiple_of=8)] = 16
    text_width: Annotated[int, Field(ge=32, multiple_of=32)] = 128
    n_text_layers: Count = 2
    context_length: Annotated[int, Field(ge=8)] = 24
    vocabulary_size: Annotated[int, Field(ge=100)] = 1300
    dimension: Annotated[int, Field(ge=8)] = 128


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class ModelConfig:
    """What is trained, and which of its weights move.

    Attributes:
        start: "small" or an architecture of open_clip ("ViT-B-16") for random weights; else where to start from:
            ARCHITECTURE/TAG of open_clip, hf-hub:ID, local-dir:PATH, bundled, or the folder of a former run.
        freeze_image: Keep the image tower as it is, but for its last `unfreeze_image` groups.
        unfreeze_image: Groups of layers at its end that still learn; 0 or more.
        freeze_text: Keep the text tower as it is, but for its last `unfreeze_text` layers.
        unfreeze_text: Layers at its end that still learn; 0 or more.
        lora_rank: Rank of low-rank updates (LoRA, Hu et al. 2022) that learn instead of the image tower's matrices; 0
            for none. Merged into the weights when exported.
        checkpoint_activations: Recompute activations in the backward pass: less memory, about a third more time.
    """

    start: str = SMALL
    freeze_image: bool = False
    unfreeze_image: Whole = 0
    freeze_text: bool = False
    unfreeze_text: Whole = 0
    lora_rank: Whole = 0
    checkpoint_activations: bool = False

    @model_validator(mode="after")
    def _check_freezing(self) -> Self:
        for tower in ("image", "text"):
            if getattr(self, f"unfreeze_{tower}") and not getattr(self, f"freeze_{tower}"):
                raise ValueError(f"unfreeze_{tower} means something only where freeze_{tower} is true")
        return self


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class OptimiserConfig:
    """AdamW under a cosine.

    Attributes:
        learning_rate: Peak of the schedule; 0 or more (BioCLIP 2: 1e-4). 0 chooses: 2e-3 for "small", 5e-4 for other
            random weights, 1e-5 for pretrained weights or a former run, 1e-4 for these with LoRA.
        weight_decay: Decay of matrices; 0 or more (BioCLIP 2: 0.2).
        beta2: Second moment's memory; 0.8 to 0.9999.
        n_warmup_steps: Steps in which the learning rate rises; 0 or more.
        max_gradient_norm: Longer gradients are cut to this length; above 0.
    """

    learning_rate: Annotated[float, Field(ge=0)] = 0.0
    weight_decay: Annotated[float, Field(ge=0)] = 0.05
    beta2: Annotated[float, Field(ge=0.8, le=0.9999)] = 0.98
    n_warmup_steps: Whole = 60
    max_gradient_norm: Positive = 1.0


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class EngineConfig:
    """How long, in what steps, and on what the training runs.

    Attributes:
        n_samples: Pictures shown in all; at least one batch.
        batch_size: Pictures of one step over all processes; 2 or more, a multiple of the number of processes.
        micro_batch: Pictures that a process holds activations of at once; where it is smaller than the process's share
            of a batch, features are cached (GradCache). 0 for the whole share.
        accelerator: CPU, one or more GPUs, or what is there.
        precision: "auto" takes bf16 on a GPU, fp32 elsewhere.
        n_threads: Threads of each process on the CPU; 0 shares the cores out evenly.
        checkpoint_every: Steps between two checkpoints; 0 writes one at the end alone.
        keep_checkpoints: Newest checkpoints that are kept; 1 or more.
        measure_every: Steps between two measurements on the validation part; 0 measures at the end alone.
        report_every: Steps between two lines of metrics; 1 or more.
    """

    n_samples: Count = 128_000
    batch_size: Annotated[int, Field(ge=2)] = 128
    micro_batch: Whole = 0
    accelerator: Accelerator = Accelerator.AUTO
    precision: Precision = Precision.AUTO
    n_threads: Whole = 0
    checkpoint_every: Whole = 200
    keep_checkpoints: Count = 2
    measure_every: Whole = 0
    report_every: Count = 10


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class TrainingConfig:
    """A whole run; the defaults train a small encoder on the drawn pictures.

    The two stages of the bundled encoder are `first.toml` and `second.toml` in its folder, `data/bundled`.

    Attributes:
        seed: Fixes pictures, captions, batches, splits and first weights; 0 or more.
    """

    seed: Whole = 0
    data: DataConfig = field(default_factory=DataConfig)
    synthetic: SyntheticConfig = field(default_factory=SyntheticConfig)
    captions: CaptionConfig = field(default_factory=CaptionConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    replay: ReplayConfig = field(default_factory=ReplayConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    small: SmallConfig = field(default_factory=SmallConfig)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)

    @model_validator(mode="after")
    def _check_loss(self) -> Self:
        if self.loss.kind is LossKind.MULTI_POSITIVE and self.data.unique_species:
            raise ValueError(
                'loss.kind = "multi_positive" means something only with data.unique_species = false: it draws together '
                "pictures of one species in a batch"
            )
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that the records must bring beside their names: those of the captions and those measured."""
        return tuple(dict.fromkeys((*self.captions.columns, *self.data.measure)))

    @property
    def n_steps(self) -> int:
        """Steps of the whole run."""
        return max(1, self.engine.n_samples // self.engine.batch_size)


def read_config(path: Path) -> TrainingConfig:
    """The settings in a TOML file, with the defaults for those it leaves out.

    Raises:
        InputError: The file is missing, is no TOML, names an unknown setting, or gives one a wrong type or value; all
            faults are named at once.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(
            f"{path}: there is no such file; give the path of a TOML file with training settings."
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: this is not TOML ({error}); write one `name = value` per line.") from error
    return parse_config(table, where=str(path))


def parse_config(table: dict[str, Any], *, where: str) -> TrainingConfig:
    """The settings in a nested table; InputError names all its faults, with `where` before them."""
    try:
        return TypeAdapter(TrainingConfig).validate_python(table)
    except ValidationError as error:
        faults = [_tell_fault(fault) for fault in error.errors()]
        raise InputError(
            f"{where}: {'; '.join(faults)}. List all settings with: morphospace train --settings"
        ) from error


def _tell_fault(fault: Any) -> str:
    place, message = ".".join(map(str, fault["loc"])), str(fault["msg"])
    if fault["type"] == "value_error":
        return ": ".join(part for part in (place, message.removeprefix("Value error, ")) if part)
    if fault["type"] == "tuple_type":
        return f"{place} = {fault['input']!r}: input should be a list, as {json.dumps([str(fault['input'])])}"
    return f"{place} = {fault['input']!r}: {message[:1].lower()}{message[1:]}"


def override_config(config: TrainingConfig, changes: Mapping[str, Any]) -> TrainingConfig:
    """The settings with some replaced, named by their place: {"engine.n_samples": 1000}."""
    table = to_table(config)
    known = {"seed": table, **{f"{name}.{key}": table[name] for name, inner in _list_tables(config) for key in inner}}
    for name, value in changes.items():
        if name not in known:
            raise InputError(f"'{name}' is not a setting; {_suggest(name, known)}")
        known[name][name.rpartition(".")[2]] = value
    return parse_config(table, where="settings")


def _suggest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    question = f" Did you mean '{near[0]}'?" if near else ""
    return f"list all settings with: morphospace train --settings.{question}"


def to_table(config: TrainingConfig) -> dict[str, Any]:
    """The settings as plain nested values, ready for JSON or TOML."""
    table: dict[str, Any] = TypeAdapter(TrainingConfig).dump_python(config, mode="json")
    return table


def describe_settings(config: TrainingConfig | None = None) -> str:
    """Every setting with its value and its meaning, as a commented TOML file that `read_config` reads."""
    import tomli_w

    chosen = config or TrainingConfig()
    parts = []
    for name, values in [("", {"seed": chosen.seed}), *_list_tables(chosen)]:
        kind = type(getattr(chosen, name)) if name else TrainingConfig
        meanings = read_meanings(kind)
        head = f"# {_first_line(kind)}\n[{name}]\n" if name else "# Settings of a training run.\n"
        lines = [f"{_comment(meanings[key])}{tomli_w.dumps({key: value})}" for key, value in values.items()]
        parts.append(head + "".join(lines))
    return "\n".join(parts)


def read_meanings(kind: type[Any]) -> dict[str, str]:
    """What each setting of one table means, from the table's own docstring."""
    section = inspect.getdoc(kind) or ""
    meanings: dict[str, str] = {}
    for line in section.partition("Attributes:\n")[2].splitlines():
        found = re.match(r"    (\w+): (.*)", line)
        if found:
            meanings[found[1]] = found[2]
        elif meanings and line.strip():
            meanings[next(reversed(meanings))] += " " + line.strip()
    return meanings


def _list_tables(config: TrainingConfig) -> list[tuple[str, dict[str, Any]]]:
    return [(name, values) for name, values in to_table(config).items() if isinstance(values, dict)]


def _first_line(kind: type[Any]) -> str:
    return (inspect.getdoc(kind) or "").splitlines()[0]


def _comment(text: str) -> str:
    return "".join(f"# {line}\n" for line in textwrap.wrap(text, 110))
