"""Encoders: images and texts become unit vectors of one space.

Any model that open_clip can build is loaded by its name, see `indexer.model_names`. Weights are read from
safetensors, or from a torch file in its weights-only mode; nothing in a checkpoint is executed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from indexer.checkpoints import HUB_WEIGHTS, Checkpoint, Download, Pretrained, measure_download, open_checkpoint
from indexer.devices import choose_batch_size, choose_device, choose_precision, weight_type
from indexer.encoder_spec import EncoderSpec, Precision, hash_json
from indexer.encoding import Encoder, Tokenizer
from indexer.errors import EncoderError
from indexer.hub import hash_weights
from indexer.lean_imports import add_tower_library, lean_imports
from indexer.model_names import ModelKind, ModelName, did_you_mean, parse_model_name
from indexer.plain_tokenizer import PlainTokenizer, is_plain
from indexer.preprocessing import Preprocessing
from indexer.towers import LazyTowers, is_convolutional, without_random_weights

if TYPE_CHECKING:
    import torch

__all__ = ["Download", "Encoder", "Network", "build_network", "describe_download", "load_encoder", "open_network"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Network:
    """An open_clip model as its checkpoint has it, for those who go on training it."""

    model: Any
    """In the number format of its file, from which its weights may still be memory-mapped: copy before changing."""
    checkpoint: Checkpoint
    preprocessing: Preprocessing
    tokenizer: Tokenizer


def load_encoder(
    model: str,
    *,
    device: str = "auto",
    precision: str = "auto",
    cache_dir: Path | None = None,
    announce: Callable[[str], None] = _log.info,
) -> Encoder:
    """The model, ready to encode.

    Models of the BioCLIP family squash an image to 224 x 224 with bicubic interpolation, whatever the hub's
    configuration says ("shortest", a crop): their training shards were squashed, by cv2's cubic interpolation
    (TreeOfLife-toolbox, tol2webdataset), and pybioclip squashes too, though with bilinear interpolation. Bicubic is
    both what the shards and what the hub's configuration have. A copy of such a model in a folder follows the
    ``resize_mode`` of its own configuration.

    Args:
        model: A name as `indexer.model_names` lists them.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        precision: "auto", "fp32" or "bf16". A job that goes on with a space should ask for the space's own.
        cache_dir: Folder of the hub cache; None for the usual one.
        announce: Told of a download before it starts, and of what was chosen and why.

    Raises:
        EncoderError: there is no such model, it cannot be downloaded, is damaged, or does not fit the device.
    """
    name = parse_model_name(model)
    place = choose_device(device)
    checkpoint = open_checkpoint(name, pretrained=find_pretrained(name), cache=cache_dir, announce=announce)
    network = _load_network(checkpoint).eval().requires_grad_(False)
    numbers = choose_precision(precision, place.value, is_convolutional=is_convolutional(network.visual))
    spec = EncoderSpec(
        model=name.resolved,
        revision=checkpoint.revision,
        weights_digest=hash_weights(checkpoint.weights),
        architecture_digest=hash_json(checkpoint.model_cfg),
        preprocessing=_true_preprocessing(checkpoint),
        dimension=int(checkpoint.model_cfg["embed_dim"]),
        precision=Precision(numbers.value),
    )
    batch_size = choose_batch_size(place.value, sum(weight.numel() for weight in network.visual.parameters()))
    announce(f"{model}: computes on {place}; in {numbers}; batches of {batch_size} images")
    return Encoder(
        spec=spec,
        towers=LazyTowers(network, device=place.value, dtype=weight_type(spec.precision)),
        tokenizer=_load_tokenizer(checkpoint),
        device=place.value,
        batch_size=batch_size,
        announce=announce,
    )


def open_network(model: str, *, cache_dir: Path | None = None, announce: Callable[[str], None] = _log.info) -> Network:
    """The model as it was published, not converted and not yet on a device.

    Args:
        model: A name as `indexer.model_names` lists them.
        cache_dir: Folder of the hub cache; None for the usual one.
        announce: Told of a download before it starts.

    Raises:
        EncoderError: there is no such model, it cannot be downloaded or is damaged.
    """
    name = parse_model_name(model)
    checkpoint = open_checkpoint(name, pretrained=find_pretrained(name), cache=cache_dir, announce=announce)
    return Network(
        model=_load_network(checkpoint),
        checkpoint=checkpoint,
        preprocessing=_true_preprocessing(checkpoint),
        tokenizer=_load_tokenizer(checkpoint),
    )


def describe_download(model: str, *, cache_dir: Path | None = None) -> Download | None:
    """What loading the model would download; None where it is cached or local.

    Raises:
        EncoderError: there is no such model, or the hub cannot be asked.
    """
    name = parse_model_name(model)
    return measure_download(name, pretrained=find_pretrained(name), cache=cache_dir)


def _import_open_clip() -> Any:
    with lean_imports():
        import open_clip
    return open_clip


def find_pretrained(name: ModelName) -> Pretrained | None:
    """open_clip's entry for a model named by architecture and tag; None for other kinds of names."""
    if name.kind is not ModelKind.TAG:
        return None
    open_clip = _import_open_clip()
    entry = open_clip.get_pretrained_cfg(name.location, name.detail)
    config = open_clip.get_model_config(name.location)
    if not entry or config is None:
        raise EncoderError(_unknown_tag(name, open_clip.list_pretrained()))
    if entry.get("quick_gelu"):
        # open_clip only warns when the activation of the weights is not the architecture's; it would be a wrong model.
        config["quick_gelu"] = True
    place = PurePosixPath(entry["hf_hub"])
    is_file = not entry["hf_hub"].endswith("/")
    safe = (str(PurePosixPath(place.name).with_suffix(".safetensors")), place.name)
    return Pretrained(
        repository=str(place.parent if is_file else place),
        weights=safe if is_file else HUB_WEIGHTS,
        config={
            "model_cfg": config,
            "preprocess_cfg": {key: entry[key] for key in entry if key not in ("url", "hf_hub")},
        },
    )


def _unknown_tag(name: ModelName, known: list[tuple[str, str]]) -> str:
    tags = [tag for architecture, tag in known if architecture == name.location]
    if tags:
        allowed = f"the tags of {name.location} are {', '.join(tags)}"
    else:
        allowed = f"open_clip has no architecture '{name.location}' with pretrained weights"
    hint = did_you_mean(name.resolved, [f"{architecture}/{tag}" for architecture, tag in known])
    return f"--model {name.asked}: no such pretrained model; {allowed}.{hint}"


def _true_preprocessing(checkpoint: Checkpoint) -> Preprocessing:
    """What the model was trained on, see `load_encoder`; the side is the image tower's own."""
    side = checkpoint.model_cfg["vision_cfg"].get("image_size", 224)
    fields = {**checkpoint.preprocess_cfg, "size": side}
    if checkpoint.name.is_bioclip:
        fields |= {"resize_mode": "squash", "interpolation": "bicubic"}
    return Preprocessing.from_open_clip(fields)


def _load_network(checkpoint: Checkpoint) -> Any:
    """The open_clip model with its weights, still memory-mapped where that is possible."""
    import pickle

    from safetensors import SafetensorError

    with without_random_weights():
        network = build_network(checkpoint.model_cfg, where=checkpoint.name.asked, text_tower=checkpoint.text_tower)
    try:
        _read_weights(network, checkpoint.weights)
    except (SafetensorError, EOFError, OSError) as error:
        raise EncoderError(
            f"{checkpoint.weights}: the weights are damaged or cut off ({error}). Delete the file and fetch it again."
        ) from error
    except pickle.UnpicklingError as error:
        raise EncoderError(
            f"{checkpoint.weights}: not a checkpoint of weights alone, so it is not opened; "
            "ask its makers for a .safetensors file."
        ) from error
    except (RuntimeError, KeyError, AttributeError) as error:
        raise EncoderError(
            f"{checkpoint.weights}: the weights do not fit the model that the configuration describes "
            f"({str(error).splitlines()[0]}). Use the configuration that came with them."
        ) from error
    return network


def build_network(model_cfg: Mapping[str, Any], *, where: str, text_tower: Path | None = None) -> Any:
    """The open_clip model of a configuration, its weights drawn from torch's random state.

    Args:
        model_cfg: As ``open_clip_config.json`` has it.
        where: The model's name, for messages.
        text_tower: Folder with the ``config.json`` of a text tower from transformers; None to ask the hub for it.

    Raises:
        EncoderError: open_clip cannot build it.
    """
    open_clip = _import_open_clip()
    config: dict[str, Any] = deepcopy(dict(model_cfg))
    is_custom = config.pop("custom_text", False)
    if "timm_model_name" in config["vision_cfg"]:
        config["vision_cfg"]["timm_model_pretrained"] = False
        add_tower_library("timm")
    if "hf_model_name" in config["text_cfg"]:
        config["text_cfg"] |= {"hf_model_pretrained": False}
        if text_tower is not None:
            config["text_cfg"]["hf_model_name"] = str(text_tower)
        add_tower_library("transformers")
        is_custom = True
    plain = open_clip.CustomTextCLIP if is_custom else open_clip.CLIP
    kind = open_clip.CoCa if "multimodal_cfg" in config else plain
    try:
        return kind(**config)
    except (TypeError, ValueError, KeyError, RuntimeError, AssertionError, OSError) as error:
        raise EncoderError(
            f"{where}: open_clip {open_clip.__version__} cannot build this architecture ({error}). "
            "Check open_clip_config.json, or update open_clip."
        ) from error


def _read_weights(network: Any, weights: Path) -> None:
    """Set every weight of the network from the file, or raise what torch raises."""
    open_clip = _import_open_clip()
    if weights.suffix == ".safetensors":
        from safetensors.torch import load_file

        tensors = load_file(weights)
        if _shapes(tensors) == _shapes(network.state_dict()):
            network.load_state_dict(tensors, strict=True, assign=True)
            return
    # Older layouts and other image sizes, which open_clip converts.
    open_clip.load_checkpoint(network, str(weights), strict=True, weights_only=True)


def _shapes(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in tensors.items()}


def _load_tokenizer(checkpoint: Checkpoint) -> Tokenizer:
    """The tokenizer that `open_clip.get_tokenizer` would give, read from files that are here already."""
    from open_clip import tokenizer as tokenizers

    text_cfg = checkpoint.model_cfg["text_cfg"]
    settings = {"context_length": text_cfg.get("context_length", 77), **text_cfg.get("tokenizer_kwargs", {})}
    if checkpoint.tokenizer is None:
        simple: Tokenizer = tokenizers.SimpleTokenizer(**settings)
        return simple
    try:
        if is_plain(checkpoint.tokenizer, text_cfg):
            clean = tokenizers.get_clean_fn(settings.get("clean", "whitespace"))
            return PlainTokenizer(checkpoint.tokenizer, context_length=settings["context_length"], clean=clean)
        mode = text_cfg.get("tokenizer_mode")
        from_files: Tokenizer = tokenizers.HFTokenizer(str(checkpoint.tokenizer), tokenizer_mode=mode, **settings)
    except (OSError, ValueError, ImportError) as error:
        raise EncoderError(
            f"{checkpoint.name.asked}: the tokenizer in {checkpoint.tokenizer} cannot be read "
            f"({str(error).splitlines()[0]}). Fetch its files again."
        ) from error
    return from_files
