"""Datasets in memory whose every picture and record a person can foresee."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Int64, UInt8

from indexer.errors import ImageError
from indexer.preprocessing import OPENAI_MEAN, OPENAI_STD, Interpolation, Preprocessing, ResizeMode

SIDE = 16
SPECIES = (
    ("Animalia", "Chordata", "Aves", "Passeriformes", "Corvidae", "Pica", "Pica pica"),
    ("Animalia", "Chordata", "Aves", "Passeriformes", "Corvidae", "Corvus", "Corvus corax"),
    ("Animalia", "Arthropoda", "Insecta", "Lepidoptera", "Nymphalidae", "Vanessa", "Vanessa atalanta"),
)
RANKS = ("kingdom", "phylum", "class", "order", "family", "genus", "species")


@dataclass(kw_only=True, eq=False)
class MemoryDataset:
    """Noise pictures of three species in turn, every other one of a male; reading those of `broken` fails."""

    name: str
    records: pa.Table
    pixels: UInt8[np.ndarray, "n h w 3"]
    broken: tuple[int, ...] = ()
    reads: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.pixels)

    def read_image(self, position: int) -> UInt8[np.ndarray, "h w 3"]:
        self.reads.append(position)
        if position in self.broken:
            raise ImageError(f"picture {position}: is broken; fetch it again.")
        pixels: UInt8[np.ndarray, "h w 3"] = self.pixels[position]
        return pixels


@dataclass(kw_only=True, eq=False)
class MemoryPairs:
    """Noise pictures captioned by their number; reading those of `broken` fails."""

    name: str
    pixels: UInt8[np.ndarray, "n h w 3"]
    broken: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.pixels)

    def read_image(self, position: int) -> UInt8[np.ndarray, "h w 3"]:
        if position in self.broken:
            raise ImageError(f"pair {position}: is broken.")
        pixels: UInt8[np.ndarray, "h w 3"] = self.pixels[position]
        return pixels

    def read_caption(self, position: int) -> str:
        return str(position)


class CodeLetters:
    """A tokeniser that anyone can follow: the code points of the first twelve letters."""

    def __call__(self, texts: Sequence[str]) -> Int64[torch.Tensor, "n 12"]:
        return torch.tensor([[ord(letter) for letter in text[:12].ljust(12)] for text in texts], dtype=torch.int64)


def make_dataset(
    n: int, *, height: int = SIDE, width: int = SIDE, broken: tuple[int, ...] = (), seed: int = 0
) -> MemoryDataset:
    pixels = np.random.default_rng(seed).integers(0, 256, (n, height, width, 3), dtype=np.uint8)
    return MemoryDataset(name="memory", records=make_records(n), pixels=pixels, broken=broken)


def make_pairs(n: int, *, broken: tuple[int, ...] = ()) -> MemoryPairs:
    pixels = np.random.default_rng(1).integers(0, 256, (n, SIDE, SIDE, 3), np.uint8)
    return MemoryPairs(name="pairs", pixels=pixels, broken=broken)


def make_records(n: int) -> pa.Table:
    ids = [f"r{i}" for i in range(n)]
    ranks = {rank: [SPECIES[i % 3][place] for i in range(n)] for place, rank in enumerate(RANKS)}
    return pa.table(
        {
            "record_id": ids,
            "occurrence_id": ids,
            **ranks,
            "vernacularName": [("magpie", "raven", None)[i % 3] for i in range(n)],
            "sex": pa.array([("male", None)[i % 2] for i in range(n)], pa.string()),
            "lifeStage": ["adult | old"] * n,
        }
    )


def square(resize: ResizeMode = ResizeMode.SQUASH, size: int = SIDE) -> Preprocessing:
    return Preprocessing(
        size=size, resize=resize, interpolation=Interpolation.BICUBIC, mean=OPENAI_MEAN, std=OPENAI_STD
    )
