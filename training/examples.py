"""What training passes on from stage to stage: examples, batches, features, and pairs to be judged by a loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    import torch
    from jaxtyping import Float, Int64, UInt8

SEPARATOR = " | "
"""Between several values of one cell, as Darwin Core recommends for lists."""


@dataclass(frozen=True, kw_only=True)
class Example:
    """What is known about one picture.

    Attributes:
        ranks: Seven names, kingdom to species, the last one the full binomial; None where a rank is not named.
        vernacular: Common name; None where there is none.
        traits: Values of the asked columns, by column; columns without a value are left out. A cell that holds several
            values, joined by `SEPARATOR`, gives them all: each of them holds for the picture.
    """

    ranks: tuple[str | None, ...]
    vernacular: str | None
    traits: Mapping[str, tuple[str, ...]]


class Dataset(Protocol):
    """Pictures with their records, by position."""

    @property
    def name(self) -> str:
        """For messages."""

    @property
    def records(self) -> pa.Table:
        """One row per picture, all columns text, null where unknown.

        `record_id`, `occurrence_id`, the seven ranks (`kingdom` … `species`, the last the full binomial),
        `vernacularName`, and the asked columns.
        """

    def __len__(self) -> int:
        """How many pictures there are."""

    def read_image(self, position: int) -> UInt8[np.ndarray, "h w 3"]:
        """The picture's upright RGB pixels; InputError names the picture where it cannot be read."""


class Captioned(Protocol):
    """General image-caption pairs for experience replay, by position."""

    @property
    def name(self) -> str:
        """For messages."""

    def __len__(self) -> int:
        """How many pairs there are."""

    def read_image(self, position: int) -> UInt8[np.ndarray, "h w 3"]:
        """The picture's upright RGB pixels."""

    def read_caption(self, position: int) -> str:
        """Its caption."""


class Tokenise(Protocol):
    """Texts as codes of the encoder's vocabulary, cut or padded to its context length."""

    def __call__(self, texts: Sequence[str]) -> Int64[torch.Tensor, "n c"]:
        """One row of codes per text."""


class Batch(NamedTuple):
    """This process's share of one training step, on the CPU.

    Codes of taxa and facts are 63-bit hashes above 0; 0 fills up. `lineage[i, r]` stands for the picture's whole
    lineage down to rank r and is 0 where rank r is not named. `facts` are all the facts that hold for the picture,
    `claims` those that its text states: the text fits every picture whose facts contain all its claims.
    """

    pixels: UInt8[torch.Tensor, "n 3 s s"]
    codes: Int64[torch.Tensor, "n c"]
    lineage: Int64[torch.Tensor, "n 7"]
    facts: Int64[torch.Tensor, "n f"]
    claims: Int64[torch.Tensor, "n q"]
    replay_pixels: UInt8[torch.Tensor, "r 3 s s"] | None = None
    replay_codes: Int64[torch.Tensor, "r c"] | None = None


class Features(NamedTuple):
    """What the towers make of a batch: unit vectors, inverse temperature, the sigmoid loss's bias (0 where unused)."""

    images: Float[torch.Tensor, "n d"]
    texts: Float[torch.Tensor, "n d"]
    scale: Float[torch.Tensor, ""]
    bias: Float[torch.Tensor, ""]
    replay_images: Float[torch.Tensor, "r d"] | None = None
    replay_texts: Float[torch.Tensor, "r d"] | None = None


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """The rows of this process (n) before those of all processes (m); row i here is row `first` + i there.

    With one process both are the same tensors and `first` is 0. A loss gives the mean over this process's n rows, so
    that the mean over equal processes is the loss of the whole batch (local loss with gathered features).
    """

    images: Float[torch.Tensor, "n d"]
    texts: Float[torch.Tensor, "n d"]
    all_images: Float[torch.Tensor, "m d"]
    all_texts: Float[torch.Tensor, "m d"]
    first: int
    scale: Float[torch.Tensor, ""]
    bias: Float[torch.Tensor, ""]
    lineage: Int64[torch.Tensor, "n 7"]
    all_lineage: Int64[torch.Tensor, "m 7"]
    facts: Int64[torch.Tensor, "n f"]
    all_facts: Int64[torch.Tensor, "m f"]
    claims: Int64[torch.Tensor, "n q"]
    all_claims: Int64[torch.Tensor, "m q"]


class Loss(Protocol):
    """A contrastive loss, in nats, mean over this process's rows and both directions."""

    def __call__(self, pairs: Pairs) -> Float[torch.Tensor, ""]:
        """The loss, differentiable in images, texts, scale and bias."""


class Measure(Protocol):
    """Figures of a checkpoint on the validation pictures, handed in from above (`explorer.geometry`)."""

    def __call__(self, vectors: Float[np.ndarray, "n d"], records: pa.Table) -> Mapping[str, float]:
        """Named figures; a figure that cannot be computed from these records is left out."""
