"""The two towers of an encoder, as open_clip builds them: new or pretrained, with their words and their preprocessing.

`training.learner` makes of them what learns.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from indexer.checkpoints import TOKENIZER_PARTS, VOCABULARIES, Checkpoint
from indexer.encoders import build_network, open_network
from indexer.encoding import Tokenizer as CallableTokenizer
from indexer.errors import EncoderError, InputError
from indexer.lean_imports import lean_imports
from indexer.model_names import CONFIG_NAME, SHORT_NAMES, did_you_mean
from indexer.plain_tokenizer import PlainTokenizer
from indexer.preprocessing import OPENAI_MEAN, OPENAI_STD, Interpolation, Preprocessing, ResizeMode, normalise_batch
from indexer.towers import is_convolutional
from training.settings import SMALL, ModelConfig, SmallConfig
from training.vocabulary import EOS_ID, PAD_ID, train_vocabulary, write_vocabulary

if TYPE_CHECKING:
    import numpy as np
    import torch
    from jaxtyping import Float32, Int64, UInt8

    from training.examples import Tokenise

SMALL_MEAN, SMALL_STD = 0.5, 0.25
"""Of every channel of pixels in [0, 1], for the architecture "small"."""
ENCODE_BATCH = 256
SIDE_OF_HEAD = 32
"""Width of one attention head of the architecture "small"."""


@dataclass(frozen=True, kw_only=True)
class Towers:
    """An open_clip model with all that is needed to train it, to ask it and to publish it.

    Attributes:
        model: `open_clip.CLIP` or `open_clip.CustomTextCLIP`, weights in float32.
        model_cfg: open_clip's configuration of it.
        preprocessing: How an image becomes its input.
        tokenise: Texts as its codes; can be sent to other processes.
        text_files: Files of a tokenizer and text tower of its own, by name; none where open_clip's own are used.
        start: The `model.start` it was made from.
    """

    model: Any
    model_cfg: Mapping[str, Any]
    preprocessing: Preprocessing
    tokenise: Tokenise
    text_files: Mapping[str, bytes]
    start: str

    @property
    def image_side(self) -> int:
        """Side of the square input, in pixels."""
        return self.preprocessing.size

    @property
    def dimension(self) -> int:
        """Length of the vectors."""
        return int(self.model_cfg["embed_dim"])

    def encode_texts(self, texts: Sequence[str]) -> Float32[np.ndarray, "n d"]:
        """Unit vectors of the texts, computed where the model lies."""
        parts = (self.tokenise(texts[i : i + ENCODE_BATCH]) for i in range(0, len(texts), ENCODE_BATCH))
        return self._encode(self.model.encode_text, parts)

    def encode_pixels(self, pixels: UInt8[np.ndarray, "n s s 3"]) -> Float32[np.ndarray, "n d"]:
        """Unit vectors of pictures that have the encoder's input size, computed where the model lies."""
        import numpy as np
        import torch

        layout = choose_layout(self.model)

        def encode(part: torch.Tensor) -> Any:
            inputs = normalise_batch(part.permute(0, 3, 1, 2), self.preprocessing, torch.float32)
            return self.model.encode_image(inputs.contiguous(memory_format=layout))

        parts = (
            np.require(pixels[i : i + ENCODE_BATCH], requirements="W") for i in range(0, len(pixels), ENCODE_BATCH)
        )
        return self._encode(encode, map(torch.from_numpy, parts))

    def _encode(self, encode: Callable[[Any], Any], parts: Iterable[torch.Tensor]) -> Float32[np.ndarray, "n d"]:
        import torch

        device = self.model.logit_scale.device
        with evaluating(self.model), torch.inference_mode():
            vectors = [torch.nn.functional.normalize(encode(part.to(device)).float(), dim=-1).cpu() for part in parts]
        empty = torch.empty((0, self.dimension))
        rows: Float32[np.ndarray, "n d"] = torch.cat([empty, *vectors]).numpy()
        return rows


def list_templates() -> tuple[str, ...]:
    """The 80 sentences around a class's name of Radford et al. 2021, section 3.1.4, each with one `{}`."""
    return tuple(template("{}") for template in _import_open_clip().OPENAI_IMAGENET_TEMPLATES)


def open_towers(
    model: ModelConfig, small: SmallConfig, *, texts: Iterable[str] | None, announce: Callable[[str], None]
) -> Towers:
    """The towers that `model.start` names, on the CPU, every weight free to learn.

    Random weights follow torch's random state; so the same seed gives the same towers.

    Args:
        model: Names what to start from; see `ModelConfig.start`.
        small: The architecture "small"; read only there.
        texts: Captions from which "small" learns its vocabulary; read only there.
        announce: Told of a download before it starts, and of what was opened.

    Raises:
        InputError: there is no such model, it cannot be had or built, or it is none that can be trained here.
    """
    if model.start == SMALL:
        if texts is None:
            raise ValueError("the architecture 'small' learns its vocabulary; give texts")
        towers = _build_small(small, texts)
    elif model.start in _list_architectures():
        towers = _build_architecture(model.start)
    else:
        towers = _open_pretrained(model.start, announce)
    n_weights = sum(weight.numel() for weight in towers.model.parameters())
    announce(f"{model.start}: {n_weights:,} weights, {towers.image_side} px, {towers.dimension} dimensions")
    return towers


def is_random(start: str) -> bool:
    """Whether a `model.start` names an architecture, whose weights are random, and not weights that have learned."""
    return start == SMALL or start in _list_architectures()


@contextmanager
def evaluating(model: torch.nn.Module) -> Iterator[None]:
    """Within this the model is in evaluation mode; afterwards each of its modules is in the mode it was in."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, is_training in modes:
            module.training = is_training


def choose_layout(model: Any) -> torch.memory_format:
    """How pixels lie in memory: channels last for convolutional image towers, for which that is faster."""
    import torch

    return torch.channels_last if is_convolutional(model.visual) else torch.contiguous_format


def _build_small(small: SmallConfig, texts: Iterable[str]) -> Towers:
    vocabulary = train_vocabulary(texts, size=small.vocabulary_size)
    model_cfg = configure_small(small, n_codes=vocabulary.get_vocab_size())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_vocabulary(vocabulary, folder, context_length=small.context_length)
        tokenizer = PlainTokenizer(folder, context_length=small.context_length, clean=_clean_whitespace())
        text_files = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    grey = Preprocessing(
        size=small.image_side,
        resize=ResizeMode.SQUASH,
        interpolation=Interpolation.BICUBIC,
        mean=(SMALL_MEAN,) * 3,
        std=(SMALL_STD,) * 3,
    )
    return Towers(
        model=_arrange(build_network(model_cfg, where=SMALL)),
        model_cfg=model_cfg,
        preprocessing=grey,
        tokenise=_Tokenise(tokenizer),
        text_files=text_files,
        start=SMALL,
    )


def configure_small(small: SmallConfig, *, n_codes: int) -> dict[str, Any]:
    """open_clip's configuration of the architecture "small"."""
    heads = small.text_width // SIDE_OF_HEAD
    return {
        "embed_dim": small.dimension,
        "vision_cfg": {
            "image_size": small.image_side,
            "layers": [1, 1, 1, 1],
            "width": small.image_width,
            "head_width": SIDE_OF_HEAD,
        },
        "text_cfg": {
            "context_length": small.context_length,
            "vocab_size": n_codes,
            "hf_tokenizer_name": "bundled",
            "width": small.text_width,
            "heads": heads,
            "layers": small.n_text_layers,
            "pad_id": PAD_ID,
            "eos_id": EOS_ID,
            "pool_type": "eos",
        },
    }


def _build_architecture(name: str) -> Towers:
    """Random weights; images are squashed, as TreeOfLife's shards were for BioCLIP."""
    model_cfg = _import_open_clip().get_model_config(name)
    if "hf_model_name" in model_cfg["text_cfg"]:
        model_cfg["text_cfg"]["hf_model_pretrained"] = False
    if "timm_model_name" in model_cfg["vision_cfg"]:
        model_cfg["vision_cfg"]["timm_model_pretrained"] = False
    _refuse_captioner(model_cfg, name)
    tokenizer, text_files = _open_tokenizer(model_cfg["text_cfg"], name)
    model = _arrange(build_network(model_cfg, where=f"model.start = '{name}'"))
    squash = Preprocessing(
        size=_read_side(model_cfg["vision_cfg"].get("image_size", 224), name),
        resize=ResizeMode.SQUASH,
        interpolation=Interpolation.BICUBIC,
        mean=OPENAI_MEAN,
        std=OPENAI_STD,
    )
    return Towers(
        model=model,
        model_cfg=model_cfg,
        preprocessing=squash,
        tokenise=_Tokenise(tokenizer),
        text_files=text_files,
        start=name,
    )


def _read_side(size: int | Sequence[int], name: str) -> int:
    sides = {size} if isinstance(size, int) else set(size)
    if len(sides) != 1:
        raise InputError(
            f"model.start = '{name}': its input of {size} pixels is no square; choose another architecture."
        )
    return sides.pop()


def _open_tokenizer(text_cfg: Mapping[str, Any], name: str) -> tuple[CallableTokenizer, dict[str, bytes]]:
    """The tokenizer of an architecture, with the files of one that comes from the hub."""
    from open_clip import tokenizer as tokenizers

    settings = {"context_length": text_cfg.get("context_length", 77), **text_cfg.get("tokenizer_kwargs", {})}
    source = text_cfg.get("hf_tokenizer_name")
    if not source:
        return tokenizers.SimpleTokenizer(**settings), {}
    try:
        tokenizer = tokenizers.HFTokenizer(source, tokenizer_mode=text_cfg.get("tokenizer_mode"), **settings)
    except (OSError, ValueError, ImportError) as error:
        raise InputError(
            f"model.start = '{name}': its tokenizer {source} cannot be had ({str(error).splitlines()[0]}). "
            "Connect once to download it, or choose an architecture with open_clip's own words, as ViT-B-16."
        ) from error
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        return tokenizer, _read_text_files(Path(folder))


def _open_pretrained(start: str, announce: Callable[[str], None]) -> Towers:
    exported = Path(start).expanduser() / "encoder"
    source = f"local-dir:{exported}" if (exported / CONFIG_NAME).is_file() else start
    try:
        network = open_network(source, announce=announce)
    except EncoderError as error:
        raise InputError(f"model.start = '{start}': {_tell_cause(error, start)}") from error
    checkpoint = network.checkpoint
    _refuse_captioner(checkpoint.model_cfg, start)
    return Towers(
        model=_arrange(_free_weights(network.model)),
        model_cfg=checkpoint.model_cfg,
        preprocessing=network.preprocessing,
        tokenise=_Tokenise(network.tokenizer),
        text_files=_collect_text_files(checkpoint),
        start=start,
    )


def _tell_cause(error: EncoderError, start: str) -> str:
    said = str(error).removeprefix(f"--model {start}: ")
    if "/" in start or ":" in start:
        return said
    names = [SMALL, *SHORT_NAMES, *_list_architectures()]
    return f"there is no such model, architecture or run.{did_you_mean(start, names)}"


def _free_weights(model: Any) -> Any:
    """The model in float32 with weights of its own, where those of a file are memory-mapped and maybe half as long."""
    import torch

    for tensor in (*model.parameters(), *model.buffers()):
        dtype = torch.float32 if tensor.is_floating_point() else tensor.dtype
        tensor.data = tensor.data.to(dtype, copy=True)
    return model


def _arrange(model: Any) -> Any:
    return model.to(memory_format=choose_layout(model)).train()


def _refuse_captioner(model_cfg: Mapping[str, Any], name: str) -> None:
    if "multimodal_cfg" in model_cfg:
        raise InputError(
            f"model.start = '{name}': this is a CoCa, whose caption writer would not be trained; choose a model "
            "of two towers."
        )


def _collect_text_files(checkpoint: Checkpoint) -> dict[str, bytes]:
    files = {} if checkpoint.tokenizer is None else _read_text_files(checkpoint.tokenizer)
    if checkpoint.text_tower is not None:
        files["config.json"] = (checkpoint.text_tower / "config.json").read_bytes()
    return files


def _read_text_files(folder: Path) -> dict[str, bytes]:
    paths = [folder / name for name in (*VOCABULARIES, *TOKENIZER_PARTS)]
    return {path.name: path.read_bytes() for path in paths if path.is_file()}


@dataclass(frozen=True)
class _Tokenise:
    tokenizer: CallableTokenizer

    def __call__(self, texts: Sequence[str]) -> Int64[torch.Tensor, "n c"]:
        return self.tokenizer(list(texts))


def _clean_whitespace() -> Callable[[str], str]:
    """What open_clip does to a text before it looks up the codes of a Hugging Face tokenizer."""
    _import_open_clip()
    from open_clip.tokenizer import get_clean_fn

    clean: Callable[[str], str] = get_clean_fn("whitespace")
    return clean


def _list_architectures() -> list[str]:
    names: list[str] = _import_open_clip().list_models()
    return names


def _import_open_clip() -> Any:
    with lean_imports():
        import open_clip
    return open_clip
