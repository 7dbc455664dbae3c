"""The case that a report measures: the same records in one space or several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from explorer.filters import Filter, find_rows
from explorer.geometry.sample import Sample, gather_sample
from explorer.geometry_report.columns import ColumnPlan
from explorer.geometry_report.report import SpaceFacts
from explorer.geometry_report.settings import GeometrySettings
from indexer.corpus import Corpus, Space, open_corpus
from indexer.errors import QueryError

if TYPE_CHECKING:
    from jaxtyping import Int64

    from explorer.geometry.phylogeny import Phylogeny
    from explorer.geometry.traits import TraitTable

MOST_RECORDS = 200_000
"""Of more than these so many are drawn: beyond, the intervals no longer shrink and the memory does not suffice."""
FEWEST_RECORDS = 16


@dataclass(frozen=True, kw_only=True)
class Place:
    """A space that is measured: its corpus, and the name it has in the report."""

    corpus: Corpus
    space: Space
    label: str

    def describe(self) -> SpaceFacts:
        """What the report says of it."""
        encoder = self.space.encoder
        return SpaceFacts(
            name=self.label,
            corpus=self.corpus.name,
            encoder=encoder.describe() if encoder else "imported vectors, encoder not known",
            fingerprint=encoder.fingerprint if encoder else "",
            dimension=self.space.dimension,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """What is measured.

    Attributes:
        samples: The same records in each space, those of the space asked for first.
        plan: Where each column is measured.
        settings: What was asked for.
        traits: The trait table, not joined yet; None where none was given.
        tree: The phylogeny; None where none was given.
    """

    samples: tuple[Sample, ...]
    plan: ColumnPlan
    settings: GeometrySettings
    traits: TraitTable | None = None
    tree: Phylogeny | None = None

    @property
    def main(self) -> Sample:
        """The records in the space asked for."""
        return self.samples[0]


def open_places(corpus: Corpus, settings: GeometrySettings) -> tuple[Place, ...]:
    """The spaces that the settings name; CorpusError or QueryError for one that is not there."""
    space = corpus.open_space(settings.space)
    places = [Place(corpus=corpus, space=space, label=space.name)]
    for name in settings.compare:
        place = _open_compared(corpus, name)
        if any(place.space.folder == other.space.folder for other in places):
            raise QueryError(f"--compare {name}: this is a space that is measured already. Name another one.")
        places.append(place)
    return tuple(places)


def gather_samples(
    places: Sequence[Place], columns: Sequence[str], settings: GeometrySettings, *, n_most: int = MOST_RECORDS
) -> tuple[tuple[Sample, ...], tuple[str, ...]]:
    """The records that meet the filter and that every space has.

    Args:
        places: The first is the one asked for; its records' columns are read.
        columns: Of the records.
        settings: Filter and seed.
        n_most: Where more records are there, this many are drawn.

    Returns:
        The records in each space, and those left out, each kind in words.

    Raises:
        CorpusError: Nothing is embedded.
        QueryError: The filter cannot be read, or too few records are left.
    """
    from indexer.vectors import live_rows

    first = places[0]
    rows = find_rows(first.corpus, Filter(where=settings.where))
    usable = live_rows(first.space) if rows is None else np.intersect1d(live_rows(first.space), rows)
    left_out = _say_missing(len(live_rows(first.space)) - len(usable), "records do not meet the filter")
    aligned = [_find_rows(place, first, usable) for place in places]
    is_shared = np.all([found >= 0 for found in aligned], axis=0)
    left_out += _say_missing(int((~is_shared).sum()), "records have no vector in every space that is compared")
    chosen = _draw(np.flatnonzero(is_shared), n_most, settings.seed)
    left_out += _say_missing(
        int(is_shared.sum()) - len(chosen), f"records more than the {n_most:,} that were drawn at random"
    )
    if len(chosen) < FEWEST_RECORDS:
        raise QueryError(
            f"{first.corpus.name}: {len(chosen):,} records are left to measure; {FEWEST_RECORDS} are needed at least. "
            "Widen --where, or compare spaces that share records."
        )
    main = gather_sample(first.corpus, first.space, columns, rows=usable[chosen])
    return (main, *_take_others(main, places, aligned, chosen)), left_out


def _take_others(
    main: Sample,
    places: Sequence[Place],
    aligned: Sequence[Int64[np.ndarray, " n"]],
    chosen: Int64[np.ndarray, " m"],
) -> list[Sample]:
    """The same records with the vectors of the other spaces."""
    from indexer.vectors import read_vectors

    others = []
    for place, found in zip(places[1:], aligned[1:], strict=True):
        vectors = read_vectors(place.space, found[chosen].tolist())
        others.append(replace(main, space=place.label, vectors=vectors))
    return others


def _find_rows(place: Place, first: Place, usable: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
    """The row that each record has at a place; -1 where it has no vector there. Records of two corpora are the same
    where their record ids are."""
    from indexer.vectors import live_rows

    live = live_rows(place.space)
    if place.corpus.path == first.corpus.path:
        return np.where(np.isin(usable, live), usable, -1)
    theirs = place.corpus.read_columns(["record_id"], with_removed=True).column("record_id").take(live).to_pylist()
    row_of = dict(zip(theirs, live.tolist(), strict=True))
    ours = first.corpus.read_columns(["record_id"], with_removed=True).column("record_id").take(usable).to_pylist()
    return np.array([row_of.get(record_id, -1) for record_id in ours], dtype=np.int64)


def _draw(places: Int64[np.ndarray, " n"], n_most: int, seed: int) -> Int64[np.ndarray, " m"]:
    if len(places) <= n_most:
        return places
    drawn: Int64[np.ndarray, " m"] = np.sort(np.random.default_rng(seed).choice(places, n_most, replace=False))
    return drawn


def _open_compared(corpus: Corpus, name: str) -> Place:
    """A space of the corpus by its name, else of another corpus by its path."""
    spaces = corpus.spaces()
    if name in spaces:
        return Place(corpus=corpus, space=spaces[name], label=name)
    path, _, inner = name.rpartition(":")
    folder, wanted = (Path(path), inner) if path and Path(path).is_dir() else (Path(name), None)
    if not folder.is_dir():
        raise QueryError(
            f"--compare {name}: neither a space of {corpus.name} ({', '.join(spaces)}) nor the directory of a corpus. "
            "Name a space, PATH or PATH:SPACE."
        )
    other = open_corpus(folder)
    space = other.open_space(wanted)
    return Place(corpus=other, space=space, label=f"{other.path.stem}: {space.name}")


def _say_missing(n: int, what: str) -> tuple[str, ...]:
    return (f"{n:,} {what}",) if n else ()
