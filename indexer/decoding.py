"""Decoding ahead of the model: images read, shrunk and thumbnailed in threads, handed on in order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from indexer.candidates import Candidate
from indexer.errors import ImageError
from indexer.records import ImageFacts

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import UInt8

    from indexer.preprocessing import Preprocessing


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """An image ready for the model.

    Attributes:
        facts: what is to be stored of it; None where it is stored already.
    """

    candidate: Candidate
    pixels: UInt8[np.ndarray, "3 s s"]
    facts: ImageFacts | None


@dataclass(frozen=True, kw_only=True)
class Refused:
    """An image that cannot be embedded, with the reason in words."""

    candidate: Candidate
    reason: str


def decode_ahead(
    candidates: Iterable[Candidate], preprocessing: Preprocessing, *, ahead: int, n_workers: int | None = None
) -> Iterator[Decoded | Refused]:
    """The images in their order, at most `ahead` of them decoded before they are taken.

    The decoders release the interpreter's lock, so threads keep the cores busy.
    """
    waiting: deque[Future[Decoded | Refused]] = deque()
    pool = ThreadPoolExecutor(n_workers or os.cpu_count() or 1, thread_name_prefix="decode")
    try:
        for candidate in candidates:
            waiting.append(pool.submit(decode_candidate, candidate, preprocessing))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def decode_candidate(candidate: Candidate, preprocessing: Preprocessing) -> Decoded | Refused:
    """One image, or why it was refused."""
    from indexer.images import read_image
    from indexer.preprocessing import resize_pixels

    try:
        image = read_image(Path(candidate.uri))
    except ImageError as error:
        return Refused(candidate=candidate, reason=str(error).removeprefix(f"{candidate.uri}: "))
    if candidate.sha256 not in (None, image.sha256):
        return Refused(
            candidate=candidate, reason="the file has changed since its record was made. Give it a new name."
        )
    pixels = resize_pixels(image.pixels, preprocessing)
    facts = ImageFacts.of(image) if candidate.sha256 is None else None
    return Decoded(candidate=candidate, pixels=pixels, facts=facts)
