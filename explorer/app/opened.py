"""What the app has opened: kept over reruns and sessions, and opened anew when a job has changed the corpus."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

from explorer.filters import TAXON_COLUMNS, Filter, find_rows
from explorer.reliability_store import FOLDER as RELIABILITY_FOLDER
from explorer.search import Searcher
from explorer.server import CORPUS_VARIABLE
from explorer.summary import CorpusSummary, summarise
from explorer.viewstate import View
from indexer.corpus import Corpus, Space, open_corpus
from indexer.errors import CorpusError, ImageError
from indexer.files import read_json, read_stamp

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from jaxtyping import Int64

    from indexer.maps import SpaceMap

MAX_SUGGESTED_TAXA = 5_000
LARGE_SIDE = 1_200

CorpusKey = tuple[str, int, tuple[int, ...]]
"""What decides everything that is read from the records: the corpus's path, the records' version, the removals."""


@dataclass(frozen=True, kw_only=True)
class OpenedCorpus:
    """The corpus as it was at the beginning of this run of the page.

    Attributes:
        version: of the records table; it changes with every commit, and is part of what is kept by.
        removals: what changes with every removal of records.
    """

    corpus: Corpus
    version: int
    removals: tuple[int, ...]

    @property
    def key(self) -> CorpusKey:
        """What decides everything that is read from the records."""
        return str(self.corpus.path), self.version, self.removals


@dataclass(frozen=True, kw_only=True)
class TaxonName:
    """A name that records carry.

    Attributes:
        ranks: columns in which it stands.
        n_records: records that carry it in any of them.
    """

    name: str
    ranks: tuple[str, ...]
    n_records: int


def open_app_corpus() -> OpenedCorpus:
    """The corpus that the server was started for; CorpusError where it is missing or still empty."""
    path = os.environ.get(CORPUS_VARIABLE)
    if not path:
        raise CorpusError(f"{CORPUS_VARIABLE}: not set. Start the app with: morphospace explore CORPUS")
    corpus = open_corpus(Path(path))
    version = int(corpus.open_records().version)
    return OpenedCorpus(corpus=corpus, version=version, removals=read_stamp(corpus.removed_path))


def open_spaces(opened: OpenedCorpus, view: View) -> list[Space]:
    """The spaces that are asked together, the one that the map shows first."""
    return [opened.corpus.open_space(name) for name in view.spaces or (None,)]


def space_fingerprint(space: Space) -> str:
    """What a query vector in a link is checked against: the encoder's fingerprint, or the name where none is known."""
    return space.encoder.fingerprint if space.encoder else space.name


def read_summary(opened: OpenedCorpus) -> CorpusSummary:
    """The account of the corpus."""
    spaces = tuple(
        (name, index_digest(space), _map_digest(space), read_stamp(space.folder / RELIABILITY_FOLDER))
        for name, space in opened.corpus.spaces().items()
    )
    return _read_summary(opened.key, spaces)


@st.cache_resource(max_entries=2, show_spinner=False)
def _read_summary(key: CorpusKey, spaces: tuple[tuple[str, str, str, tuple[int, ...]], ...]) -> CorpusSummary:
    return summarise(Corpus(path=Path(key[0])))


def read_taxa(opened: OpenedCorpus) -> dict[str, TaxonName]:
    """The most frequent names at any rank, most frequent first."""
    return _read_taxa(opened.key)


@st.cache_resource(max_entries=2, show_spinner=False)
def _read_taxa(key: CorpusKey) -> dict[str, TaxonName]:
    corpus = Corpus(path=Path(key[0]))
    columns = [name for name in TAXON_COLUMNS if name in corpus.column_types()]
    counts: Counter[str] = Counter()
    ranks: dict[str, list[str]] = {}
    for column in columns:
        for pair in corpus.read_columns([column]).column(column).value_counts().to_pylist():
            name = pair["values"]
            if name is not None and str(name).strip():
                counts[str(name)] = max(counts[str(name)], pair["counts"])
                ranks.setdefault(str(name), []).append(column)
    return {
        name: TaxonName(name=name, ranks=tuple(ranks[name]), n_records=n)
        for name, n in counts.most_common(MAX_SUGGESTED_TAXA)
    }


def find_matching(opened: OpenedCorpus, record_filter: Filter) -> Int64[np.ndarray, " n"] | None:
    """The rows that pass the filter, ascending; None where all do."""
    return _find_matching(opened.key, record_filter)


@st.cache_resource(max_entries=32, show_spinner=False)
def _find_matching(key: CorpusKey, record_filter: Filter) -> Int64[np.ndarray, " n"] | None:
    return find_rows(Corpus(path=Path(key[0])), record_filter)


def read_column(opened: OpenedCorpus, column: str) -> pa.ChunkedArray:
    """One column of all records, removed ones included, so that the place of a record is its row."""
    return _read_column(opened.key, column)


@st.cache_resource(max_entries=16, show_spinner=False)
def _read_column(key: CorpusKey, column: str) -> pa.ChunkedArray:
    return Corpus(path=Path(key[0])).read_columns([column], with_removed=True).column(column)


def read_shown_column(opened: OpenedCorpus, column: str) -> pa.ChunkedArray:
    """One column of the records that are shown, in row order."""
    return _read_shown_column(opened.key, column)


@st.cache_resource(max_entries=16, show_spinner=False)
def _read_shown_column(key: CorpusKey, column: str) -> pa.ChunkedArray:
    return Corpus(path=Path(key[0])).read_columns([column]).column(column)


def without_removed(opened: OpenedCorpus, rows: Sequence[int]) -> list[int]:
    """The given rows, in their order, that were not removed since they were picked."""
    removed = set(opened.corpus.removed_rows().tolist())
    return [row for row in rows if row not in removed]


def read_records(opened: OpenedCorpus, rows: list[int]) -> list[dict[str, Any]]:
    """The records of the given rows, in that order."""
    found: list[dict[str, Any]] = opened.corpus.read_rows(rows).to_pylist() if rows else []
    return found


def open_searcher(opened: OpenedCorpus, space: Space) -> Searcher:
    """The searcher of a space; it picks up by itself what jobs change, unless the space is another one now."""
    return _open_searcher(str(opened.corpus.path), space.name, space_fingerprint(space))


@st.cache_resource(max_entries=4, show_spinner=False)
def _open_searcher(path: str, space_name: str, fingerprint: str) -> Searcher:
    corpus = Corpus(path=Path(path))
    return Searcher(corpus, corpus.open_space(space_name))


def open_map(opened: OpenedCorpus, space: Space) -> SpaceMap | None:
    """The stored map of a space; None while it is still to be made."""
    digest = _map_digest(space)
    return _load_map(opened.key, space.name, digest) if digest else None


@st.cache_resource(max_entries=4, show_spinner=False)
def _load_map(key: CorpusKey, space_name: str, digest: str) -> SpaceMap:
    from indexer.maps import load_map

    return load_map(Corpus(path=Path(key[0])).open_space(space_name))


@st.cache_data(max_entries=32, show_spinner=False)
def read_large_image(uri: str, sha256: str) -> bytes | None:
    """The image itself as WebP, at most 1,200 px; None where its file is gone or has changed."""
    from io import BytesIO

    from PIL import Image

    from indexer.images import read_image
    from indexer.object_storage import is_object

    path = Path(uri)
    if not is_object(uri) and not path.is_file():
        return None
    try:
        decoded = read_image(path)
    except ImageError:
        return None
    if decoded.sha256 != sha256:
        return None
    image = Image.fromarray(decoded.pixels)
    image.thumbnail((LARGE_SIDE, LARGE_SIDE))
    file = BytesIO()
    image.save(file, "WEBP", quality=90, method=0)
    return file.getvalue()


def index_digest(space: Space) -> str:
    """What changes whenever the index of a space is built anew; empty while there is none."""
    return str(read_json(space.index_path)["digest"]) if space.index_path.exists() else ""


def _map_digest(space: Space) -> str:
    return str(read_json(space.map_path())["digest"]) if space.map_path().exists() else ""
