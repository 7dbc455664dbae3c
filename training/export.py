"""The encoder of a run as a folder that Morphospace, pybioclip and open_clip load, with its model card."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from indexer.model_names import CONFIG_NAME
from indexer.preprocessing import Preprocessing, ResizeMode
from training.adaptation import merge_adapters
from training.model_card import ModelCard, write_card
from training.settings import describe_settings

if TYPE_CHECKING:
    import torch

    from training.towers import Towers

WEIGHTS_NAME = "open_clip_model.safetensors"
SETTINGS_NAME = "training.toml"


def export_encoder(towers: Towers, folder: Path, card: ModelCard) -> None:
    """Writes open_clip's `local-dir:` folder: weights, configuration, tokenizer, settings and model card.

    Weights are stored in float16, half the size; vectors differ from those in training by about 1e-3. Low-rank updates
    are added to the weights, the replay's projector stays behind. The folder is put into place when it is whole, and
    then stands for a former one.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    for leftover in folder.parent.glob(f".{folder.name}.*.part"):
        shutil.rmtree(leftover)
    draft = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.", suffix=".part"))
    try:
        draft.chmod(0o755)
        _write_parts(dataclasses.replace(towers, model=merge_adapters(towers.model)), draft, card)
        _put_into_place(draft, folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _write_parts(towers: Towers, folder: Path, card: ModelCard) -> None:
    from safetensors.torch import save_file

    weights = folder / WEIGHTS_NAME
    save_file(_halve(towers.model.state_dict()), weights)
    weights.chmod(0o644)  # safetensors makes it readable to its owner alone
    for name, content in towers.text_files.items():
        (folder / name).write_bytes(content)
    config = {"model_cfg": _describe_model(towers), "preprocess_cfg": describe_preprocessing(towers.preprocessing)}
    (folder / CONFIG_NAME).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    (folder / SETTINGS_NAME).write_text(describe_settings(card.config), encoding="utf-8")
    (folder / "README.md").write_text(write_card(card, towers, folder), encoding="utf-8")
    for path in folder.iterdir():
        with path.open("rb") as written:
            os.fsync(written.fileno())


def _halve(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Copies of the tensors on the CPU, in float16 where all of a tensor fits into it."""
    import torch

    halved = {}
    for name, tensor in state.items():
        short = tensor.half() if tensor.is_floating_point() else tensor
        kept = short if torch.isfinite(short).all() else tensor
        halved[name] = kept.detach().cpu().contiguous()
    return halved


def _describe_model(towers: Towers) -> dict[str, Any]:
    """open_clip's configuration, with the bias of a sigmoid loss where the model was given one."""
    model_cfg = dict(towers.model_cfg)
    if towers.model.logit_bias is not None:
        model_cfg.setdefault("init_logit_bias", float(towers.model.logit_bias.detach().reshape(())))
    return model_cfg


def describe_preprocessing(preprocessing: Preprocessing) -> dict[str, Any]:
    """open_clip's `preprocess_cfg`; the side of the square is the model's own."""
    resize = "shortest" if preprocessing.resize is ResizeMode.CROP else str(preprocessing.resize)
    return {
        "mean": list(preprocessing.mean),
        "std": list(preprocessing.std),
        "interpolation": str(preprocessing.interpolation),
        "resize_mode": resize,
        "fill_color": preprocessing.fill,
    }


def _put_into_place(draft: Path, folder: Path) -> None:
    if not folder.exists():
        draft.rename(folder)
        return
    former = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.", suffix=".part"))
    folder.rename(former)
    draft.rename(folder)
    shutil.rmtree(former)
