"""Engines: where the images of a job are decoded and embedded, and where the lists of its index are filled."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import groupby
from time import perf_counter
from typing import TYPE_CHECKING, Protocol, Self

from indexer.candidates import Candidate
from indexer.decoding import Decoded, decode_ahead, decode_candidate
from indexer.shards import EmbeddedShard, embed_shard

if TYPE_CHECKING:
    from indexer.encoder_spec import EncoderSpec
    from indexer.encoding import Encoder
    from indexer.index.filling import ListFiller

PROBE_IMAGES = 6
PROBE_BATCHES = 3
PROBE_SECONDS = 1.0

Advance = Callable[[int, int], None]
"""Is told of images embedded and images refused since it was called last."""


@dataclass(frozen=True, kw_only=True)
class EncoderRequest:
    """Which encoder an engine loads, as `indexer.encoders.load_encoder` takes it."""

    model: str
    device: str
    precision: str


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What images cost, from a probe of a few.

    Attributes:
        seconds: per image, with everything at work.
        thumbnail_bytes: per image.
    """

    seconds: float
    thumbnail_bytes: float


class Engine(AbstractContextManager["Engine"], Protocol):
    """Loads an encoder and embeds with it; what it starts ends with the context."""

    @property
    def place(self) -> str:
        """Where it computes, for people."""

    @property
    def encoder(self) -> Encoder | None:
        """The encoder, where it was loaded into this process."""

    @property
    def fill_lists(self) -> ListFiller:
        """How the lists of an index are filled."""

    def load(
        self, request: EncoderRequest, sample: Sequence[Candidate], announce: Callable[[str], None]
    ) -> tuple[EncoderSpec, Cost]:
        """Load the encoder; what it is, and what the images of a sample cost. EncoderError where it cannot be had."""

    def embed(self, candidates: Sequence[Candidate], advance: Advance) -> Iterator[EmbeddedShard]:
        """The shards of the candidates, embedded, in the order of the candidates."""


class LocalEngine:
    """This process: threads decode, its device embeds."""

    def __init__(self, *, n_workers: int | None) -> None:
        self.n_workers = n_workers
        self.encoder: Encoder | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Nothing was started that does not end by itself."""

    @property
    def place(self) -> str:
        """Where it computes, for people."""
        return self._loaded().device

    @property
    def fill_lists(self) -> ListFiller:
        """How the lists of an index are filled."""
        from indexer.index.filling import fill_here

        return fill_here

    def load(
        self, request: EncoderRequest, sample: Sequence[Candidate], announce: Callable[[str], None]
    ) -> tuple[EncoderSpec, Cost]:
        """Load the encoder; what it is, and what the images of a sample cost. EncoderError where it cannot be had."""
        from indexer.encoders import load_encoder

        self.encoder = load_encoder(
            request.model, device=request.device, precision=request.precision, announce=announce
        )
        cost = measure_cost(sample, self.encoder, n_threads=self.n_workers or os.cpu_count() or 1)
        return self.encoder.spec, cost

    def embed(self, candidates: Sequence[Candidate], advance: Advance) -> Iterator[EmbeddedShard]:
        """The shards of the candidates, embedded, in the order of the candidates."""
        encoder = self._loaded()
        ahead = max(2 * encoder.batch_size, 32)
        decoded = decode_ahead(candidates, encoder.spec.preprocessing, ahead=ahead, n_workers=self.n_workers)
        for _, shard in groupby(decoded, key=lambda result: result.candidate.shard):
            yield embed_shard(shard, encoder, advance)

    def _loaded(self) -> Encoder:
        if self.encoder is None:
            raise RuntimeError("load() comes first")
        return self.encoder


def measure_cost(sample: Sequence[Candidate], encoder: Encoder, *, n_threads: int) -> Cost:
    """What images cost that `n_threads` threads decode beside the encoder.

    Args:
        sample: a few candidates, at least one.
        encoder: that embeds them.
        n_threads: that decode.
    """
    decode_candidate(sample[0], encoder.spec.preprocessing)  # warms up the decoders
    started = perf_counter()
    probed = [decode_candidate(candidate, encoder.spec.preprocessing) for candidate in sample]
    decode_seconds = (perf_counter() - started) / len(probed)
    images = [result for result in probed if isinstance(result, Decoded)]
    return Cost(
        seconds=max(decode_seconds / n_threads, _time_forward(images, encoder)),
        thumbnail_bytes=sum(len(image.facts.thumbnail) for image in images if image.facts) / max(1, len(images)),
    )


def choose_sample(candidates: Sequence[Candidate]) -> Sequence[Candidate]:
    """A few candidates from all over the source."""
    return candidates[:: max(1, len(candidates) // PROBE_IMAGES)][:PROBE_IMAGES]


def _time_forward(images: Sequence[Decoded], encoder: Encoder) -> float:
    """Seconds per image of a forward pass: the fastest of a few batches, the first of which warms up."""
    import numpy as np

    if not images:
        return 0.0
    pixels = np.stack([images[0].pixels] * encoder.batch_size)
    encoder.encode_pixels(pixels)
    seconds: list[float] = []
    while not seconds or (len(seconds) < PROBE_BATCHES and sum(seconds) < PROBE_SECONDS):
        started = perf_counter()
        encoder.encode_pixels(pixels)
        seconds.append(perf_counter() - started)
    return min(seconds) / encoder.batch_size
