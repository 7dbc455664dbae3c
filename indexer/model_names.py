"""Names of models: what `--model` may say and where it leads.

=====================================  =================================================================
``bioclip-2``, ``bundled``, ...        a short name, see `SHORT_NAMES`
``hf-hub:organisation/repository``     an open_clip model on the model hub, ``@revision`` may follow
``ViT-B-32/laion2b_s34b_b79k``         architecture/tag of an open_clip pretrained model
``local-dir:FOLDER`` or ``FOLDER``     a folder with ``open_clip_config.json`` and its weights
=====================================  =================================================================
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from enum import StrEnum
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from indexer.errors import EncoderError

if TYPE_CHECKING:
    from indexer.encoder_spec import EncoderSpec

BUNDLED = "bundled"

SHORT_NAMES = {
    "bioclip": "hf-hub:imageomics/bioclip",
    "bioclip-2": "hf-hub:imageomics/bioclip-2",
    "bioclip-2.5": "hf-hub:imageomics/bioclip-2.5-vith14",
    # SO400M is the size of SigLIP that INQUIRE (Vendrow et al. 2024) found best on questions about traits; 1152-d.
    "siglip2": "hf-hub:timm/ViT-SO400M-16-SigLIP2-256",
    BUNDLED: BUNDLED,
}
"""Short names for `--model`, and what they stand for."""

CONFIG_NAME = "open_clip_config.json"

_REPOSITORY = re.compile(r"(?P<repository>[\w.-]+/[\w.-]+)(@(?P<revision>[^@\s]+))?")
_BIOCLIP_FAMILY = re.compile(r"imageomics/bio(clip|cap)([.-].*)?", re.IGNORECASE)


class ModelKind(StrEnum):
    """Where a model comes from."""

    HUB = "hf-hub"
    TAG = "tag"
    FOLDER = "local-dir"


@dataclass(frozen=True, kw_only=True)
class ModelName:
    """A model name taken apart."""

    asked: str
    """As the user wrote it."""
    kind: ModelKind
    location: str
    """Repository, architecture or absolute folder."""
    detail: str | None = None
    """Revision of the repository, or tag of the architecture."""

    @property
    def resolved(self) -> str:
        """The name in full, as a space stores it; "bundled" stays, for the folder differs between installations."""
        if self.asked == BUNDLED:
            return BUNDLED
        if self.kind is ModelKind.TAG:
            return f"{self.location}/{self.detail}"
        return f"{self.kind}:{self.location}" + (f"@{self.detail}" if self.detail else "")

    @property
    def is_bioclip(self) -> bool:
        """Whether this is a hub model of the BioCLIP family, trained on squashed images."""
        return self.kind is ModelKind.HUB and _BIOCLIP_FAMILY.fullmatch(self.location) is not None


def parse_model_name(model: str) -> ModelName:
    """The kind and place that a model name means; nothing is opened or downloaded.

    Raises:
        EncoderError: the name has none of the known forms, or its folder holds no open_clip model.
    """
    name = SHORT_NAMES.get(model, model)
    if name == BUNDLED:
        return _folder(model, bundled_encoder_folder())
    if name.startswith("hf-hub:"):
        return _hub(model, name.removeprefix("hf-hub:"))
    if name.startswith("local-dir:"):
        return _folder(model, Path(name.removeprefix("local-dir:")).expanduser())
    if (Path(name).expanduser() / CONFIG_NAME).is_file():
        return _folder(model, Path(name).expanduser())
    architecture, slash, tag = name.partition("/")
    if slash and architecture and tag and "/" not in tag and not name.startswith((".", "~")):
        return ModelName(asked=model, kind=ModelKind.TAG, location=architecture, detail=tag)
    raise EncoderError(_unknown(model))


def bundled_encoder_folder() -> Path:
    """The folder of the encoder that comes with Morphospace: in the installed package, or in a checkout's data."""
    installed = Path(str(files("indexer"))) / "bundled"
    return installed if installed.is_dir() else Path(__file__).resolve().parents[1] / "data" / "bundled"


def did_you_mean(name: str, known: list[str]) -> str:
    """A closing question with the nearest known name, or nothing where none is near."""
    near = difflib.get_close_matches(name.lower(), [each.lower() for each in known], n=1, cutoff=0.6)
    match = next((each for each in known if near and each.lower() == near[0]), None)
    return f" Did you mean '{match}'?" if match else ""


def _hub(asked: str, name: str) -> ModelName:
    parts = _REPOSITORY.fullmatch(name)
    if parts is None:
        raise EncoderError(
            f"--model {asked}: '{name}' is not the name of a repository on the model hub; "
            "use hf-hub:organisation/repository or hf-hub:organisation/repository@revision."
        )
    return ModelName(asked=asked, kind=ModelKind.HUB, location=parts["repository"], detail=parts["revision"])


def _folder(asked: str, folder: Path) -> ModelName:
    if not (folder / CONFIG_NAME).is_file():
        what = f"has no {CONFIG_NAME}" if folder.is_dir() else "is not a folder"
        raise EncoderError(f"--model {asked}: {folder} {what}; give a folder that holds an open_clip model.")
    return ModelName(asked=asked, kind=ModelKind.FOLDER, location=str(folder.resolve()))


def _unknown(model: str) -> str:
    return (
        f"--model {model}: no model has this name; use {', '.join(SHORT_NAMES)}, hf-hub:organisation/repository, "
        f"ARCHITECTURE/TAG of open_clip, or local-dir:FOLDER.{did_you_mean(model, list(SHORT_NAMES))}"
    )


def pin_model(spec: EncoderSpec) -> str:
    """The model's name at the revision that made the vectors, so that an update on the hub leaves a corpus as it is."""
    is_on_hub = spec.model.startswith(f"{ModelKind.HUB}:")
    return f"{spec.model}@{spec.revision}" if is_on_hub and spec.revision and "@" not in spec.model else spec.model
