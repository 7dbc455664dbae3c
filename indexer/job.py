"""The indexing job: a source of images becomes records, vectors, an index and a map; what is done is not done twice."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from indexer.candidates import SHARD, Listing, list_candidates
from indexer.checkpoints import format_bytes
from indexer.cluster import ClusterSettings, RayEngine
from indexer.column_indexes import index_columns
from indexer.corpus import Corpus, Space, create_corpus
from indexer.engines import Cost, EncoderRequest, Engine, LocalEngine, choose_sample
from indexer.errors import CorpusError, SourceError
from indexer.index.building import build_index, is_current
from indexer.index.settings import BuildSettings
from indexer.index.taxa import TAXON_COLUMNS
from indexer.name_texts import encode_names
from indexer.records import admit_columns, prepare_columns
from indexer.rejections import read_rejections
from indexer.shards import ShardWriter, compact_tables

if TYPE_CHECKING:
    from indexer.encoder_spec import EncoderSpec
    from indexer.sources import Source


@dataclass(frozen=True, kw_only=True)
class IndexSettings:
    """What an indexing job is asked for.

    Attributes:
        source: a folder of images, or a CSV, TSV or Parquet table with one row per image.
        corpus: directory of the corpus; made where it is absent.
        manifest: table that describes the images of a folder.
        columns: term → column of the table, where its header is not understood by itself.
        model: encoder, as `indexer.model_names` understands it.
        space: name of the space; None names it after the model.
        device: auto, cpu, cuda or mps.
        precision: auto, fp32 or bf16.
        n_workers: decoding threads of this process; None is one per core.
        with_map: whether the job also lays out the map.
        recall: recall@10 that the search is tuned to; None keeps that of the index there is, else 0.98.
        memory: bytes that a reader of the index may hold; None is half of the memory that is free.
        cluster: where Ray embeds the images; None embeds them in this process.
    """

    source: Path
    corpus: Path
    manifest: Path | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    model: str = "bioclip-2"
    space: str | None = None
    device: str = "auto"
    precision: str = "auto"
    n_workers: int | None = None
    with_map: bool = True
    recall: float | None = None
    memory: int | None = None
    cluster: ClusterSettings | None = None


@dataclass(frozen=True, kw_only=True)
class IndexReport:
    """What an indexing job did.

    Attributes:
        n_embedded: images embedded now.
        n_rejected: images refused now.
        n_present: images of the source that had a vector before.
        seconds: wall time of the whole job.
    """

    corpus: Corpus
    space: Space
    n_embedded: int
    n_rejected: int
    n_present: int
    seconds: float

    def describe(self) -> str:
        """The summary line."""
        if not self.n_embedded and not self.n_rejected:
            return (
                f"{self.corpus.path}: nothing to do; {self.n_present:,} images are in space {self.space.name} already"
            )
        listed = f", listed in {self.corpus.rejected_path}" if self.n_rejected else ""
        return (
            f"{self.corpus.path}: {self.n_embedded:,} images embedded into space {self.space.name}, "
            f"{self.n_rejected:,} rejected{listed}, {self.n_present:,} there before, in {say_seconds(self.seconds)}"
        )


@dataclass(frozen=True, kw_only=True)
class Listener:
    """Who hears of a job's progress; by default nobody.

    Attributes:
        announce: a line of text for the user.
        start: the number of images to embed, before the first.
        advance: images embedded and images refused since the last call.
    """

    announce: Callable[[str], None] = lambda line: None
    start: Callable[[int], None] = lambda total: None
    advance: Callable[[int, int], None] = lambda n_embedded, n_rejected: None


def index_images(settings: IndexSettings, listener: Listener) -> IndexReport:
    """Run the job; InputError for a source, model or corpus that cannot be used.

    May be killed at any moment and run again: it then ends with the same records and vectors.
    """
    from indexer.sources import open_source

    started = perf_counter()
    source = open_source(settings.source, manifest=settings.manifest, column_map=dict(settings.columns))
    for note in source.notes:
        listener.announce(note)
    if source.records.num_rows == 0:
        raise SourceError(
            f"{settings.source}: holds no image. Name a folder of images or a table with one row per image."
        )
    corpus = create_corpus(settings.corpus)
    with corpus.lock(), _open_engine(settings, listener) as engine:
        done = _embed_source(corpus, settings, source, listener, engine)
        compact_tables(corpus, done.space)
        index_columns(corpus)
        asked = BuildSettings(goal=settings.recall, memory=settings.memory, device=settings.device)
        refresh_index(corpus, done.space, listener.announce, settings=asked, engine=engine)
        if settings.with_map:
            refresh_map(done.space, listener.announce)
    return IndexReport(
        corpus=corpus,
        space=done.space,
        n_embedded=done.n_embedded,
        n_rejected=done.n_rejected,
        n_present=done.listing.n_present,
        seconds=perf_counter() - started,
    )


@dataclass(frozen=True, kw_only=True)
class _Embedded:
    """What embedding a source came to."""

    space: Space
    listing: Listing
    n_embedded: int = 0
    n_rejected: int = 0


def _open_engine(settings: IndexSettings, listener: Listener) -> Engine:
    if settings.cluster is None:
        return LocalEngine(n_workers=settings.n_workers)
    return RayEngine(settings.cluster, device=settings.device, announce=listener.announce)


def _embed_source(
    corpus: Corpus, settings: IndexSettings, source: Source, listener: Listener, engine: Engine
) -> _Embedded:
    space = _find_space(corpus, settings)
    rejections = read_rejections(corpus.rejected_path)
    records = prepare_columns(source.records)
    listing = list_candidates(corpus, space, records, source.root, rejections)
    _announce_listing(listing, listener)
    if space is not None and not listing.candidates:
        return _Embedded(space=space, listing=listing)
    if not listing.candidates:
        raise SourceError(f"{settings.source}: none of its images can be read; {corpus.rejected_path} lists why.")
    request = _request_encoder(settings, space)
    spec, cost = engine.load(request, choose_sample(listing.candidates), listener.announce)
    space = space or corpus.add_space(_name_space(settings), dimension=spec.dimension, encoder=spec)
    _check_spec(corpus, space, spec)
    _announce_cost(len(listing.candidates), spec, cost, engine.place, listener)
    if any(candidate.row is None for candidate in listing.candidates):
        admit_columns(corpus, listing.records.schema)
    writer = ShardWriter(corpus=corpus, space=space, records=listing.records, rejections=rejections)
    listener.start(len(listing.candidates))
    for shard in engine.embed(listing.candidates, listener.advance):
        writer.commit(shard)
    return _Embedded(space=space, listing=listing, n_embedded=writer.n_embedded, n_rejected=writer.n_rejected)


def refresh_index(
    corpus: Corpus,
    space: Space,
    announce: Callable[[str], None],
    *,
    settings: BuildSettings | None = None,
    engine: Engine | None = None,
) -> None:
    """Bring the index up to date with the vectors and the settings; the caller holds the lock.

    Args:
        corpus: of the space.
        space: whose index is looked after.
        announce: is told what is done.
        settings: what the index is asked for.
        engine: that fills the lists and may have loaded the encoder; None is this process, which loads the encoder if
            the index has to be tuned.
    """
    settings = settings or BuildSettings()
    engine = engine or LocalEngine(n_workers=None)
    if is_current(space, settings):
        return
    names = [name for name in ("occurrence_id", *TAXON_COLUMNS) if name in corpus.column_types()]
    encoder = engine.encoder
    build_index(
        space,
        announce=announce,
        columns=corpus.read_columns(names, with_removed=True) if names else None,
        text_queries=lambda: encode_names(corpus, space, encoder=encoder, device=settings.device, announce=announce),
        settings=settings,
        fill_lists=engine.fill_lists,
    )


def refresh_map(space: Space, announce: Callable[[str], None]) -> None:
    """Bring the map up to date with the index; the caller holds the lock."""
    from indexer.maps import has_current_map, make_map

    if not has_current_map(space):
        make_map(space, announce=announce)


def _find_space(corpus: Corpus, settings: IndexSettings) -> Space | None:
    """The space that the job continues, or None where it is to be made."""
    name = _name_space(settings)
    space = corpus.spaces().get(name)
    if space is not None and space.encoder is None:
        raise CorpusError(
            f"{corpus.name}: the vectors of space {name!r} were imported; images embedded now would not be comparable. "
            "Choose another name with --space."
        )
    return space


def _name_space(settings: IndexSettings) -> str:
    """A space is named after its model unless the user names it."""
    if settings.space:
        return settings.space
    last = re.split(r"[/:\\]", settings.model.rstrip("/\\"))[-1]
    return re.sub(r"[^A-Za-z0-9._-]+", "-", last).strip("-._") or "space"


def _request_encoder(settings: IndexSettings, space: Space | None) -> EncoderRequest:
    precision = settings.precision
    if space is not None and space.encoder is not None:
        stored = str(space.encoder.precision)
        if precision not in ("auto", stored):
            raise CorpusError(
                f"space {space.name!r} was embedded in {stored}, not in {precision}; a space is never mixed. "
                f"Leave --precision out, or choose another name with --space."
            )
        precision = stored
    return EncoderRequest(model=settings.model, device=settings.device, precision=precision)


def _check_spec(corpus: Corpus, space: Space, spec: EncoderSpec) -> None:
    if space.encoder is not None and space.encoder.fingerprint != spec.fingerprint:
        raise CorpusError(
            f"{corpus.name}: space {space.name!r} was made with {space.encoder.describe()}, this model is "
            f"{spec.describe()}; a space is never mixed. Give the new one a name of its own: "
            f"morphospace index … --corpus {corpus.path} --model {spec.model} --space NAME"
        )


def _announce_listing(listing: Listing, listener: Listener) -> None:
    if listing.n_moved:
        listener.announce(
            f"{listing.n_moved:,} images lie elsewhere than before, with the same content; their uri was updated"
        )
    if listing.n_refused:
        listener.announce(f"{listing.n_refused:,} images were refused before and have not changed; see rejected.csv")
    if listing.n_known:
        listener.announce(f"{listing.n_known:,} images are in the corpus already; their columns stay as they were")
    if listing.n_removed:
        listener.announce(
            f"{listing.n_removed:,} images belong to records that were removed, and stay so; bring them back with "
            "`morphospace remove --undo`"
        )
    if listing.n_renamed:
        listener.announce(
            f"{listing.n_renamed:,} record ids were taken by other images; the folder's name stands before them"
        )


def _announce_cost(n_images: int, spec: EncoderSpec, cost: Cost, place: str, listener: Listener) -> None:
    """Say what is to be done and what it costs."""
    n_bytes = n_images * (cost.thumbnail_bytes + 6 * spec.dimension + 200)
    listener.announce(
        f"{n_images:,} images to embed with {spec.describe()} on {place}: "
        f"about {format_bytes(round(n_bytes))} on disk, about {say_seconds(n_images * cost.seconds)}"
    )


def say_seconds(seconds: float) -> str:
    """A duration as a person says it."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def iterate_shards(count: int) -> Iterator[range]:
    """Ranges of at most one shard's length that cover `count` positions."""
    for start in range(0, count, SHARD):
        yield range(start, min(start + SHARD, count))
