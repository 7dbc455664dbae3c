"""Checkpoints: the files of a model, found in a folder, in the hub cache or on the hub.

A checkpoint is complete once its weights are there, for these are fetched last.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from indexer.errors import EncoderError
from indexer.hub import RemoteFile, Repository, cached_commit, fetch_file, find_cached, list_repository
from indexer.model_names import CONFIG_NAME, ModelKind, ModelName

HUB_WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "open_clip_pytorch_model.bin")
FOLDER_WEIGHTS = (*HUB_WEIGHTS, "model.safetensors", "open_clip_pytorch_model.pth", "pytorch_model.bin", "model.pth")
"""Names of weight files, the preferred first: safetensors hold nothing but numbers."""

VOCABULARIES = (
    "tokenizer.json",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "vocab.txt",
    "vocab.json",
)
TOKENIZER_PARTS = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "merges.txt", "config.json")


@dataclass(frozen=True, kw_only=True)
class Download:
    """What a model still has to fetch from the hub."""

    model: str
    n_bytes: int
    n_files: int

    def __str__(self) -> str:
        size = format_bytes(self.n_bytes)
        return f"{self.model}: {size} to download from the model hub, kept in the hub cache afterwards"


@dataclass(frozen=True, kw_only=True)
class Pretrained:
    """Where open_clip's own list of pretrained models says that a model lies."""

    repository: str
    weights: tuple[str, ...]
    """File names, the preferred first."""
    config: Mapping[str, Any]
    """As ``open_clip_config.json`` has it: ``model_cfg`` and ``preprocess_cfg``."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A model on this machine, complete."""

    name: ModelName
    revision: str | None
    """Commit on the hub; None for a folder."""
    model_cfg: Mapping[str, Any]
    preprocess_cfg: Mapping[str, Any]
    weights: Path
    tokenizer: Path | None
    """Folder of the Hugging Face tokenizer; None where open_clip's own is used."""
    text_tower: Path | None
    """Folder with the ``config.json`` of a text tower from transformers; None for open_clip's own."""


@dataclass(frozen=True, kw_only=True)
class _Part:
    """Files that a model needs from one repository."""

    repository: Repository
    one_of: tuple[str, ...]
    """The first of these that exists is needed."""
    also: tuple[str, ...] = ()
    """These are taken along where they exist."""

    def find(self) -> Path | None:
        return find_cached(self.repository, self.one_of)

    def list_missing(self) -> list[RemoteFile]:
        """The files to fetch, the needed one last; EncoderError where the repository has none such."""
        listing = list_repository(self.repository)
        needed = next((name for name in self.one_of if name in listing), None)
        if needed is None:
            raise EncoderError(
                f"{self.repository}: not a model that open_clip can load; the repository has none of the files "
                f"{', '.join(self.one_of)}. Choose another model."
            )
        names = [*(name for name in self.also if name in listing), needed]
        return [listing[name] for name in names if find_cached(self.repository, [name]) is None]


def open_checkpoint(
    name: ModelName, *, pretrained: Pretrained | None, cache: Path | None, announce: Callable[[str], None]
) -> Checkpoint:
    """The files of a model, downloaded if need be, after the size was announced.

    Args:
        name: The model.
        pretrained: open_clip's entry, for a model named by architecture and tag.
        cache: Folder of the hub cache; None for the usual one.
        announce: Told of a download before it starts.

    Raises:
        EncoderError: the model is not there, not whole, or the hub cannot be reached.
    """
    if name.kind is ModelKind.FOLDER:
        return _open_folder(name)
    config, parts = _plan(name, pretrained, cache)
    missing = [(part, file) for part in parts if part.find() is None for file in part.list_missing()]
    if missing:
        announce(str(_sum_up(name, [file for _, file in missing])))
        for part, file in missing:
            fetch_file(part.repository, file)
    *extras, weights = (_found(part) for part in parts)
    return Checkpoint(
        name=name,
        revision=cached_commit(weights),
        model_cfg=config["model_cfg"],
        preprocess_cfg=config.get("preprocess_cfg", {}),
        weights=weights,
        tokenizer=next((path.parent for path in extras if path.name in VOCABULARIES), None),
        text_tower=next((path.parent for path in extras if path.name == "config.json"), None),
    )


def measure_download(name: ModelName, *, pretrained: Pretrained | None, cache: Path | None) -> Download | None:
    """What `open_checkpoint` would download; None for nothing. Of the model itself only its configuration is fetched.

    Raises:
        EncoderError: as for `open_checkpoint`.
    """
    if name.kind is ModelKind.FOLDER:
        return None
    _, parts = _plan(name, pretrained, cache)
    missing = [file for part in parts if part.find() is None for file in part.list_missing()]
    return _sum_up(name, missing) if missing else None


def format_bytes(n_bytes: int) -> str:
    """A size in words, in decimal units, as in "1.71 GB"."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if n_bytes >= size:
            return f"{n_bytes / size:.3g} {unit}"
    return f"{n_bytes} bytes"


def _sum_up(name: ModelName, files: Sequence[RemoteFile]) -> Download:
    return Download(model=name.asked, n_bytes=sum(file.n_bytes for file in files), n_files=len(files))


def _plan(name: ModelName, pretrained: Pretrained | None, cache: Path | None) -> tuple[Mapping[str, Any], list[_Part]]:
    """The model's configuration, and the files to have, weights last."""
    if pretrained is not None:
        repository = Repository(name=pretrained.repository, cache=cache)
        config, weights = pretrained.config, pretrained.weights
    else:
        repository = Repository(name=name.location, revision=name.detail, cache=cache)
        config, weights = _read_config(_fetch_config(repository), str(repository)), HUB_WEIGHTS
    text_cfg = config["model_cfg"]["text_cfg"]
    parts = [_Part(repository=repository, one_of=weights)]
    if tower := text_cfg.get("hf_model_name"):
        parts.insert(0, _Part(repository=_sibling(repository, tower), one_of=("config.json",)))
    if tokenizer := text_cfg.get("hf_tokenizer_name"):
        parts.insert(0, _Part(repository=_sibling(repository, tokenizer), one_of=VOCABULARIES, also=TOKENIZER_PARTS))
    return config, parts


def _sibling(repository: Repository, name: str) -> Repository:
    return repository if name == repository.name else Repository(name=name, cache=repository.cache)


def _fetch_config(repository: Repository) -> Path:
    part = _Part(repository=repository, one_of=(CONFIG_NAME,))
    found = part.find()
    return found if found is not None else fetch_file(repository, part.list_missing()[-1])


def _found(part: _Part) -> Path:
    path = part.find()
    if path is None:
        raise EncoderError(f"{part.repository}: {part.one_of[0]} is gone from the hub cache. Run it again.")
    return path


def _open_folder(name: ModelName) -> Checkpoint:
    folder = Path(name.location)
    config = _read_config(folder / CONFIG_NAME, name.asked)
    text_cfg = config["model_cfg"]["text_cfg"]
    return Checkpoint(
        name=name,
        revision=None,
        model_cfg=config["model_cfg"],
        preprocess_cfg=config.get("preprocess_cfg", {}),
        weights=_find_weights(folder),
        tokenizer=folder if text_cfg.get("hf_tokenizer_name") else None,
        text_tower=folder if (folder / "config.json").is_file() else None,
    )


def _find_weights(folder: Path) -> Path:
    """The checkpoint in a folder, by open_clip's own order of preference."""
    named = [folder / name for name in FOLDER_WEIGHTS]
    others = [path for suffix in ("safetensors", "bin", "pth", "pt") for path in sorted(folder.glob(f"*.{suffix}"))]
    for path in [*named, *others]:
        if path.is_file():
            return path
    raise EncoderError(
        f"{folder}: there is a configuration but no weights, and random weights would make a space without meaning; "
        f"put {FOLDER_WEIGHTS[0]} beside {CONFIG_NAME}."
    )


def _read_config(path: Path, where: str) -> Mapping[str, Any]:
    """The configuration of an open_clip model; EncoderError unless it describes both towers."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        model_cfg = config["model_cfg"]
        missing = [key for key in ("embed_dim", "vision_cfg", "text_cfg") if key not in model_cfg]
    except (ValueError, KeyError, TypeError) as error:
        raise EncoderError(
            f"{where}: {CONFIG_NAME} is not the configuration of an open_clip model ({type(error).__name__}: {error}). "
            "Restore it from where the model came from."
        ) from error
    if missing:
        raise EncoderError(f"{where}: {CONFIG_NAME} lacks {', '.join(missing)} in model_cfg. Restore it.")
    return config  # type: ignore[no-any-return]
