"""Small spaces and collections whose figures a person can foresee."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from jaxtyping import Float32

from indexer.terms import RANKS

TREE = (
    ("Animalia", "Chordata", "Aves", "Passeriformes", "Corvidae", "Pica", "Pica pica"),
    ("Animalia", "Chordata", "Aves", "Passeriformes", "Corvidae", "Corvus", "Corvus corax"),
    ("Animalia", "Chordata", "Aves", "Passeriformes", "Corvidae", "Corvus", "Corvus corone"),
    ("Animalia", "Arthropoda", "Insecta", "Lepidoptera", "Nymphalidae", "Vanessa", "Vanessa atalanta"),
)
COMMON = ("magpie", "raven", None, "red admiral")


def draw_unit_rows(n: int, d: int, *, seed: int) -> Float32[np.ndarray, "n d"]:
    """Random directions."""
    rows = np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)
    unit: Float32[np.ndarray, "n d"] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


def make_records(n: int) -> pa.Table:
    """Records of the four species in turn, two pictures an occurrence, every other occurrence of a male."""
    species = [(place // 2) % 4 for place in range(n)]
    columns = {rank: [TREE[one][place] for one in species] for place, rank in enumerate(RANKS)}
    return pa.table(
        {
            "record_id": [f"r{place}" for place in range(n)],
            "occurrence_id": [f"o{place // 2}" for place in range(n)],
            **columns,
            "vernacularName": pa.array([COMMON[one] for one in species], pa.string()),
            "sex": ["male" if (place // 8) % 2 else "female" for place in range(n)],
        }
    )


class SpeakingSpace:
    """An encoder whose axes are words: a text points along the words it holds, a picture along all that it shows."""

    def __init__(self, words: tuple[str, ...]) -> None:
        self.words = words
        self.texts: list[str] = []

    def encode_texts(self, texts: list[str]) -> Float32[np.ndarray, "n d"]:
        self.texts += texts
        said = [set(text.replace(".", " ").split()) for text in texts]
        return self._unit([[*(float(word in words) for word in self.words), 1e-3] for words in said])

    def show(self, records: pa.Table) -> Float32[np.ndarray, "n d"]:
        """Vectors of pictures that show every word of their records."""
        shown = [{word for value in row.values() if value for word in value.split()} for row in records.to_pylist()]
        return self._unit([[*(float(word in words) for word in self.words), 0.0] for words in shown])

    def _unit(self, rows: list[list[float]]) -> Float32[np.ndarray, "n d"]:
        array = np.array(rows, np.float32)
        unit: Float32[np.ndarray, "n d"] = array / np.linalg.norm(array, axis=1, keepdims=True)
        return unit
