"""A corpus for the app's tests whose answers a person can see: squares of one colour, with metadata that bites."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float32
from PIL import Image

from indexer.corpus import Corpus, Space
from indexer.files import publish
from indexer.job import IndexSettings, Listener, index_images, refresh_index
from indexer.vectors import append_vectors, load_vectors

HOSTILE = "<script>alert(1)</script> <b>b</b> **bold** :red[x] $x$ ![](http://192.0.2.1/x.png) www.example.com :cat:"
COLOURS: Mapping[str, tuple[int, int, int]] = {
    "red": (225, 25, 25),
    "green": (25, 190, 25),
    "blue": (25, 25, 225),
    "yellow": (225, 225, 25),
}
SHADES = 8
N_RECORDS = SHADES * len(COLOURS)
PLACES: Mapping[str, tuple[float, float]] = {"red": (-10, 0), "green": (10, 0), "blue": (8, 4), "yellow": (8, -4)}
"""Where the map has each colour: red alone is on the left."""


def build_colour_corpus(folder: Path, model: str, *, with_map: bool = True) -> Corpus:
    """A corpus of 32 squares, 8 shades of each colour, indexed with the colour encoder; one broken image is rejected.

    `red-0` has hostile metadata in its names, licence and label; the two darkest reds share an occurrence.
    """
    squares = folder / "squares"
    squares.mkdir(parents=True)
    lines = [_draw_square(squares, colour, shade) for colour in COLOURS for shade in range(SHADES)]
    lines.append(lines[-1] | {"file": "broken.png", "record_id": "broken"})
    (squares / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n cut")
    table = folder / "squares.parquet"
    pq.write_table(pa.Table.from_pylist(lines), table)
    settings = IndexSettings(
        source=table, corpus=folder / "squares.corpus", model=model, space="colours", device="cpu", with_map=False
    )
    silent = Listener(announce=lambda line: None, start=lambda total: None, advance=lambda done, refused: None)
    report = index_images(settings, silent)
    if with_map:
        lay_out_by_hand(report.corpus, report.space)
    return report.corpus


def add_mirrored_space(corpus: Corpus) -> Space:
    """A second space, `mirrored`, of the same encoder, in which each record has the vector of the one that stands as
    far from the end: what asks for blue there finds green."""
    first = corpus.open_space()
    vectors = load_vectors(first)
    with corpus.lock():
        space = corpus.add_space("mirrored", dimension=first.dimension, encoder=first.encoder)
        append_vectors(space, vectors.rows, vectors.values[::-1])
        refresh_index(corpus, space, lambda line: None)
    lay_out_by_hand(corpus, space)
    return space


def lay_out_by_hand(corpus: Corpus, space: Space) -> None:
    """Store a map that needs no UMAP: each colour in its place, its shades in a ring around it."""
    labels = corpus.read_columns(["colour"]).column("colour").to_pylist()
    positions = np.array([_place(label, row) for row, label in enumerate(labels)], np.float32)
    rows = np.arange(len(labels))
    facts = {
        "method": "umap",
        "umap_learn": "by hand",
        "n_neighbors": 15,
        "n_neighbors_used": 15,
        "min_dist": 0.1,
        "seed": 7,
        "metric": "cosine",
        "init": "pca",
        "n": len(labels),
        "vectors_version": 1,
        "trustworthiness": 0.987,
        "trustworthiness_neighbors": 15,
        "trustworthiness_sample": len(labels),
    }
    publish(space.map_path(), "coordinates", ".parquet", lambda part: _write(part, rows.tolist(), positions), facts)


def _write(part: Path, rows: Sequence[int], positions: Float32[np.ndarray, "n 2"]) -> None:
    pq.write_table(pa.table({"row": rows, "x": positions[:, 0], "y": positions[:, 1]}), part)


def _place(colour: str, row: int) -> tuple[float, float]:
    x, y = PLACES[colour]
    angle = 2 * np.pi * row / SHADES
    return x + float(np.cos(angle)), y + float(np.sin(angle))


def _draw_square(folder: Path, colour: str, shade: int) -> dict[str, object]:
    name = f"{colour}-{shade}"
    strength = 1 - shade / 20
    pixel = tuple(round(strength * channel) for channel in COLOURS[colour])
    Image.new("RGB", (64 + shade, 64), pixel).save(folder / f"{name}.png")
    is_hostile = name == "red-0"
    return {
        "file": f"squares/{name}.png",
        "record_id": name,
        "occurrenceID": "red-dark" if name in ("red-6", "red-7") else name,
        "scientificName": HOSTILE if is_hostile else f"Quadratus {colour}us",
        "vernacularName": HOSTILE if is_hostile else f"{colour} square",
        "genus": "Quadratus",
        "colour": colour,
        "label": HOSTILE if is_hostile else "plain",
        "shade": shade if colour != "yellow" else None,
        "license": HOSTILE if is_hostile else "CC0" if shade % 2 else None,
        "rightsHolder": "Ada",
    }
