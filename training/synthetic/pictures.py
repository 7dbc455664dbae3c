"""Sets of pictures drawn by several processes; which pictures come out depends on the seed alone."""

from __future__ import annotations

import functools
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeVar

import numpy as np
from jaxtyping import Int64, UInt8
from PIL import Image

from training.progress import Progress
from training.synthetic.individuals import draw_individual
from training.synthetic.phylogeny import Species
from training.synthetic.scene import draw_picture
from training.synthetic.states import State

DRAWN_SIDE = 144
"""Pixels of the picture that is then squashed to the encoder's input, as a user's larger picture is."""
CHUNK = 64

Chunk = TypeVar("Chunk")
Result = TypeVar("Result")


class Stream(IntEnum):
    """Whom a picture is for: no two streams share a picture."""

    TRAINING = 0
    EVALUATION = 1
    DEMO = 2


@dataclass(frozen=True, kw_only=True)
class PictureSet:
    """Pictures with the species number (place in the tree) and the state of each."""

    pixels: UInt8[np.ndarray, "n s s 3"]
    numbers: Int64[np.ndarray, " n"]
    states: tuple[State, ...]


@dataclass(frozen=True, kw_only=True)
class Sitter:
    """An individual to be drawn: its species, and the key (seed, stream, index) of its random stream."""

    species: Species
    key: tuple[int, int, int]


def list_sitters(species: Sequence[Species], n: int, *, seed: int, stream: Stream) -> list[Sitter]:
    """n individuals, the species taken in turn."""
    return [Sitter(species=species[i % len(species)], key=(seed, int(stream), i)) for i in range(n)]


def draw_sitter(sitter: Sitter, *, side: int) -> tuple[Image.Image, State]:
    """A picture of the individual, side x side pixels, and its state."""
    rng = np.random.default_rng(sitter.key)
    individual = draw_individual(sitter.species, rng)
    return draw_picture(individual, rng, side=side), individual.state


def squash(picture: Image.Image, side: int) -> UInt8[np.ndarray, "s s 3"]:
    """The picture as the encoder sees it: side x side pixels, bicubic and antialiased."""
    return np.array(picture.resize((side, side), Image.Resampling.BICUBIC))


def draw_set(
    sitters: Sequence[Sitter], *, side: int, n_processes: int, progress: Progress, stage: str = "drawing"
) -> PictureSet:
    """Pictures of the individuals, side x side pixels, in their order."""
    chunks = [sitters[i : i + CHUNK] for i in range(0, len(sitters), CHUNK)]
    work = functools.partial(_draw_chunk, side=side)
    pixels, states = [], []
    for drawn, chunk_states in map_chunks(work, chunks, n_processes=n_processes):
        pixels.append(drawn)
        states += chunk_states
        progress(stage, len(states), len(sitters))
    numbers = np.array([sitter.species.number for sitter in sitters], dtype=np.int64)
    return PictureSet(pixels=np.concatenate(pixels), numbers=numbers, states=tuple(states))


def map_chunks(work: Callable[[Chunk], Result], chunks: Sequence[Chunk], *, n_processes: int) -> Iterator[Result]:
    """The work's results in the order of the chunks; more than one process where n_processes > 1."""
    if n_processes == 1:
        yield from map(work, chunks)
        return
    with ProcessPoolExecutor(n_processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(work, chunks)


def _draw_chunk(sitters: Sequence[Sitter], *, side: int) -> tuple[UInt8[np.ndarray, "n s s 3"], list[State]]:
    drawn = [draw_sitter(sitter, side=DRAWN_SIDE) for sitter in sitters]
    return np.stack([squash(picture, side) for picture, _ in drawn]), [state for _, state in drawn]
