"""Encoding: what a loaded model does with images and texts, in batches of a fixed shape.

Knows no open_clip: `indexer.encoders` loads the models, and the tests bring towers that a person can compute.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from indexer.devices import weight_type
from indexer.encoder_spec import EncoderSpec
from indexer.errors import EncoderError
from indexer.plain_tokenizer import PlainTokenizer
from indexer.preprocessing import normalise_batch, resize_pixels

if TYPE_CHECKING:
    import numpy as np
    import torch
    from jaxtyping import Float, Float32, Int64, UInt8

TEXT_BATCH = 32
"""Texts per batch: on two cores 27 texts/s at 32, 26 at 8, 18 one by one (ViT-B-32, bf16)."""

_log = logging.getLogger(__name__)


class Tokenizer(Protocol):
    """Turns texts into rows of token ids, cut to the model's context."""

    context_length: int

    def __call__(self, texts: list[str]) -> Int64[torch.Tensor, "n c"]:
        """The token ids."""


class Towers(Protocol):
    """The two halves of a model, on their device; rows need not be of unit length."""

    def encode_image(self, pixels: Float[torch.Tensor, "n 3 s s"]) -> Float[torch.Tensor, "n d"]:
        """The features of preprocessed images."""

    def encode_text(self, tokens: Int64[torch.Tensor, "n c"]) -> Float[torch.Tensor, "n d"]:
        """The features of tokenised texts."""


class Encoder:
    """A loaded model.

    Attributes:
        spec: What makes its vectors what they are.
        device: Where it computes, as torch names it.
        batch_size: Images per batch of `encode_pixels`; halved for good when the GPU's memory does not suffice.
    """

    def __init__(
        self,
        *,
        spec: EncoderSpec,
        towers: Towers,
        tokenizer: Tokenizer,
        device: str,
        batch_size: int,
        announce: Callable[[str], None] = _log.info,
    ) -> None:
        self.spec = spec
        self.device = device
        self.batch_size = batch_size
        self._towers = towers
        self._tokenizer = tokenizer
        self._announce = announce

    def encode_pixels(self, batch: UInt8[np.ndarray, "n 3 s s"]) -> Float32[np.ndarray, "n d"]:
        """The unit vectors of images that `resize_pixels` prepared.

        The last batch is filled up with black images, so that a vector does not depend on how many images are in
        the call: low-precision products differ in their last bits between batch shapes.

        Raises:
            EncoderError: the pixels do not fit the model, or an image came out as zero or not finite.
        """
        import torch

        side = self.spec.preprocessing.size
        if batch.shape[1:] != (3, side, side):
            raise EncoderError(f"{self.spec.model}: pixels of shape {batch.shape[1:]}; give (3, {side}, {side}).")
        vectors: list[torch.Tensor] = []
        start = 0
        while start < len(batch):
            part = batch[start : start + self.batch_size]
            try:
                vectors.append(self._encode_filled(part, self.batch_size, first=start))
            except torch.OutOfMemoryError as error:
                self._halve_batch(error)
                continue
            start += len(part)
        return self._collect(vectors)

    def encode_images(self, images: Sequence[UInt8[np.ndarray, "h w 3"]]) -> Float32[np.ndarray, "n d"]:
        """The unit vectors of a few upright images, as for a query: each in a batch of its own.

        The same image stored in a space was computed in a larger batch; the two vectors may differ by about 1e-3 in
        a component with bf16 weights, 1e-6 with fp32.
        """
        squares = (resize_pixels(image, self.spec.preprocessing) for image in images)
        return self._collect([self._encode_filled(square[None], 1, first=i) for i, square in enumerate(squares)])

    def encode_texts(self, texts: list[str]) -> Float32[np.ndarray, "n d"]:
        """The unit vectors of texts as they stand; what exceeds the model's context is cut off and said.

        Raises:
            EncoderError: a text came out as zero or not finite.
        """
        import torch

        self._announce_cut_texts(texts)
        vectors = []
        with torch.inference_mode():
            for start in range(0, len(texts), TEXT_BATCH):
                tokens = self._tokenizer(texts[start : start + TEXT_BATCH]).to(self.device)
                vectors.append(self._unit_rows(self._towers.encode_text(tokens), what="text", first=start))
        return self._collect(vectors)

    def _encode_filled(self, pixels: UInt8[np.ndarray, "n 3 s s"], n_rows: int, *, first: int) -> torch.Tensor:
        """The unit vectors of at most `n_rows` images, computed in a batch of exactly `n_rows`."""
        import numpy as np
        import torch

        is_cuda = self.device.startswith("cuda")
        # Pinned memory is what lets the copy run beside the computation of the batch before.
        staged = torch.zeros((n_rows, *pixels.shape[1:]), dtype=torch.uint8, pin_memory=is_cuda)
        np.copyto(staged.numpy()[: len(pixels)], pixels)
        with torch.inference_mode():
            batch = staged.to(self.device, non_blocking=is_cuda)
            inputs = normalise_batch(batch, self.spec.preprocessing, weight_type(self.spec.precision))
            features = self._towers.encode_image(inputs)
            return self._unit_rows(features[: len(pixels)], what="image", first=first)

    def _unit_rows(self, features: torch.Tensor, *, what: str, first: int) -> Float32[torch.Tensor, "n d"]:
        import torch

        features = features.float()
        norms = torch.linalg.vector_norm(features, dim=1, keepdim=True)
        is_bad = ~torch.isfinite(norms[:, 0]) | (norms[:, 0] == 0)
        if is_bad.any():
            at = int(is_bad.nonzero()[0, 0])
            kind = "zero" if norms[at, 0] == 0 else "not finite"
            raise EncoderError(
                f"{self.spec.model}: {what} {first + at + 1} came out as a vector that is {kind} in "
                f"{self.spec.precision}; a vector has a direction. Try --precision fp32, or another model."
            )
        unit: Float32[torch.Tensor, "n d"] = features / norms
        return unit

    def _collect(self, vectors: list[torch.Tensor]) -> Float32[np.ndarray, "n d"]:
        import numpy as np
        import torch

        if not vectors:
            return np.empty((0, self.spec.dimension), dtype=np.float32)
        rows: Float32[np.ndarray, "n d"] = torch.cat(vectors).cpu().numpy()
        return rows

    def _halve_batch(self, error: BaseException) -> None:
        import torch

        if self.batch_size == 1:
            raise EncoderError(
                f"{self.spec.model}: one image does not fit into the memory of {self.device}; "
                "use --device cpu or a smaller model."
            ) from error
        self.batch_size = max(1, self.batch_size // 2)
        self._announce(f"{self.device}: out of memory; going on with batches of {self.batch_size} images")
        if self.device.startswith("cuda"):
            torch.cuda.empty_cache()

    def _announce_cut_texts(self, texts: list[str]) -> None:
        limit = self._tokenizer.context_length
        cut = [text for text in texts if count_tokens(self._tokenizer, text) > limit]
        if cut:
            self._announce(
                f"{len(cut)} of {len(texts)} texts exceed the {limit} tokens that {self.spec.model} reads; "
                f"their ends were left out, as of '{cut[0][:40]}…'"
            )


def count_tokens(tokenizer: Any, text: str) -> int:
    """How many tokens a text has with its start and end, uncut, for any of open_clip's tokenizers."""
    if isinstance(tokenizer, PlainTokenizer):
        return tokenizer.count(text)
    hugging_face = getattr(tokenizer, "tokenizer", None)
    if hugging_face is None:
        return len(tokenizer.encode(text)) + 2
    return len(hugging_face(tokenizer.clean_fn(text), verbose=False).input_ids)
