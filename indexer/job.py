"""The indexing job: a source of images becomes records, vectors, an index and a map; what is done is not done twice."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import groupby
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from indexer.candidates import SHARD, Candidate, Listing, list_candidates
from indexer.checkpoints import format_bytes
from indexer.corpus import Corpus, Space, create_corpus
from indexer.decoding import Decoded, Refused, decode_ahead, decode_candidate
from indexer.errors import CorpusError, SourceError
from indexer.files import is_table
from indexer.neighbours import build_index, is_current
from indexer.records import add_images, admit_columns, append_records, prepare_columns
from indexer.rejections import Rejection, read_rejections, reject, write_rejections
from indexer.vectors import append_vectors

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from jaxtyping import Float32

    from indexer.encoders import Encoder
    from indexer.sources import Source

COMPACT_ABOVE = 32
KEEP_VERSIONS = timedelta(hours=6)
"""Old versions of a table are kept this long for readers that have them open."""
PROBE_IMAGES = 6
PROBE_BATCHES = 3
PROBE_SECONDS = 1.0


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
        n_workers: decoding threads; None is one per core.
        with_map: whether the job also lays out the map.
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
    with corpus.lock():
        space, n_embedded, n_rejected, listing = _embed_source(corpus, settings, source, listener)
        compact_tables(corpus, space)
        refresh_index(space, listener.announce)
        if settings.with_map:
            refresh_map(space, listener.announce)
    return IndexReport(
        corpus=corpus,
        space=space,
        n_embedded=n_embedded,
        n_rejected=n_rejected,
        n_present=listing.n_present,
        seconds=perf_counter() - started,
    )


def _embed_source(
    corpus: Corpus, settings: IndexSettings, source: Source, listener: Listener
) -> tuple[Space, int, int, Listing]:
    space = _find_space(corpus, settings)
    rejections = read_rejections(corpus.rejected_path)
    records = prepare_columns(source.records)
    listing = list_candidates(corpus, space, records, source.root, rejections)
    _announce_listing(listing, listener)
    if space is not None and not listing.candidates:
        return space, 0, 0, listing
    if not listing.candidates:
        raise SourceError(f"{settings.source}: none of its images can be read; {corpus.rejected_path} lists why.")
    encoder = _load_encoder(settings, space, listener)
    space = space or corpus.add_space(_name_space(settings), dimension=encoder.spec.dimension, encoder=encoder.spec)
    _check_spec(corpus, space, encoder)
    _announce_cost(listing.candidates, encoder, listener)
    if any(candidate.row is None for candidate in listing.candidates):
        admit_columns(corpus, listing.records.schema)
    writer = _ShardWriter(corpus=corpus, space=space, records=listing.records, rejections=rejections)
    listener.start(len(listing.candidates))
    ahead = max(2 * encoder.batch_size, 32)
    decoded = decode_ahead(listing.candidates, encoder.spec.preprocessing, ahead=ahead, n_workers=settings.n_workers)
    for _, shard in groupby(decoded, key=lambda result: result.candidate.shard):
        writer.commit(*embed_shard(shard, encoder, listener))
    return space, writer.n_embedded, writer.n_rejected, listing


def embed_shard(
    shard: Iterable[Decoded | Refused], encoder: Encoder, listener: Listener
) -> tuple[list[Decoded], list[Float32[np.ndarray, "b d"]], list[Refused]]:
    """The images of one shard that could be read, their vectors by batch, and those that were refused.

    A batch is filled in the order of the source from one shard alone, so that its composition, and with it every
    last bit of a vector, is the same in each run.
    """
    import numpy as np

    accepted: list[Decoded] = []
    vectors: list[Float32[np.ndarray, "b d"]] = []
    refused: list[Refused] = []
    batch: list[Decoded] = []

    def flush() -> None:
        if batch:
            vectors.append(encoder.encode_pixels(np.stack([image.pixels for image in batch])))
            accepted.extend(batch)
            listener.advance(len(batch), 0)
            batch.clear()

    for result in shard:
        if isinstance(result, Refused):
            refused.append(result)
            listener.advance(0, 1)
            continue
        batch.append(result)
        if len(batch) == encoder.batch_size:
            flush()
    flush()
    return accepted, vectors, refused


@dataclass(kw_only=True)
class _ShardWriter:
    """Commits shards: records, then refusals, then vectors. A kill between them leaves work to do, never a fault."""

    corpus: Corpus
    space: Space
    records: pa.Table
    rejections: dict[str, Rejection]
    n_embedded: int = 0
    n_rejected: int = 0
    n_shards: int = 0

    def commit(
        self, accepted: Sequence[Decoded], vectors: Sequence[Float32[np.ndarray, "b d"]], refused: Sequence[Refused]
    ) -> None:
        import numpy as np

        rows = self._rows_of(accepted)
        self._add_images(accepted)
        self._note_refusals(accepted, refused)
        if accepted:
            append_vectors(self.space, np.array(rows, np.int64), np.concatenate(vectors))
        self.n_embedded += len(accepted)
        self.n_rejected += len(refused)
        self.n_shards += 1
        if self.n_shards % COMPACT_ABOVE == 0:
            compact_tables(self.corpus, self.space)

    def _rows_of(self, accepted: Sequence[Decoded]) -> list[int]:
        new = [image for image in accepted if image.candidate.row is None]
        positions = [image.candidate.position for image in new]
        stored = (
            append_records(self.corpus, self.records.take(positions), [image.facts for image in new]) if new else []
        )
        following = iter(stored)
        return [next(following) if image.candidate.row is None else image.candidate.row for image in accepted]

    def _add_images(self, accepted: Sequence[Decoded]) -> None:
        """Give their images to records that came without, as with imported vectors."""
        found = [
            (image.candidate, image.facts) for image in accepted if image.candidate.row is not None and image.facts
        ]
        if found:
            ids, uris = [candidate.record_id for candidate, _ in found], [candidate.uri for candidate, _ in found]
            add_images(self.corpus, ids, uris, [facts for _, facts in found])

    def _note_refusals(self, accepted: Sequence[Decoded], refused: Sequence[Refused]) -> None:
        mended = [image.candidate.uri for image in accepted if image.candidate.uri in self.rejections]
        for uri in mended:
            del self.rejections[uri]
        for refusal in refused:
            candidate = refusal.candidate
            self.rejections[candidate.uri] = reject(candidate.uri, candidate.record_id, refusal.reason)
        if mended or refused:
            write_rejections(self.corpus.rejected_path, self.rejections.values())


def refresh_index(space: Space, announce: Callable[[str], None]) -> None:
    """Bring the index up to date with the vectors; the caller holds the lock."""
    if not is_current(space):
        build_index(space, announce=announce)


def refresh_map(space: Space, announce: Callable[[str], None]) -> None:
    """Bring the map up to date with the index; the caller holds the lock."""
    from indexer.maps import has_current_map, make_map

    if not has_current_map(space):
        make_map(space, announce=announce)


def compact_tables(corpus: Corpus, space: Space) -> None:
    """Merge the many small pieces that a long job leaves in the tables; readers keep the version they have open."""
    import lance

    for path in (corpus.records_path, space.vectors_path):
        if is_table(path):
            dataset = lance.dataset(str(path))
            if len(dataset.get_fragments()) > COMPACT_ABOVE:
                dataset.optimize.compact_files()
                dataset.cleanup_old_versions(older_than=KEEP_VERSIONS)


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


def _load_encoder(settings: IndexSettings, space: Space | None, listener: Listener) -> Encoder:
    from indexer.encoders import load_encoder

    precision = settings.precision
    if space is not None and space.encoder is not None:
        stored = str(space.encoder.precision)
        if precision not in ("auto", stored):
            raise CorpusError(
                f"space {space.name!r} was embedded in {stored}, not in {precision}; a space is never mixed. "
                f"Leave --precision out, or choose another name with --space."
            )
        precision = stored
    return load_encoder(settings.model, device=settings.device, precision=precision, announce=listener.announce)


def _check_spec(corpus: Corpus, space: Space, encoder: Encoder) -> None:
    if space.encoder is not None and space.encoder.fingerprint != encoder.spec.fingerprint:
        raise CorpusError(
            f"{corpus.name}: space {space.name!r} was made with {space.encoder.describe()}, this model is "
            f"{encoder.spec.describe()}; a space is never mixed. Give the new one a name of its own: "
            f"morphospace index … --corpus {corpus.path} --model {encoder.spec.model} --space NAME"
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
    if listing.n_renamed:
        listener.announce(
            f"{listing.n_renamed:,} record ids were taken by other images; the folder's name stands before them"
        )


def _announce_cost(candidates: Sequence[Candidate], encoder: Encoder, listener: Listener) -> None:
    """Say what is to be done and what it costs, from a probe of a few images."""
    n_workers = os.cpu_count() or 1
    sample = candidates[:: max(1, len(candidates) // PROBE_IMAGES)][:PROBE_IMAGES]
    decode_candidate(sample[0], encoder.spec.preprocessing)  # warms up the decoders
    started = perf_counter()
    probed = [decode_candidate(candidate, encoder.spec.preprocessing) for candidate in sample]
    decode_seconds = (perf_counter() - started) / len(probed)
    images = [result for result in probed if isinstance(result, Decoded)]
    forward_seconds = _time_forward(images, encoder)
    thumbnail = sum(len(image.facts.thumbnail) for image in images if image.facts) / max(1, len(images))
    n_bytes = len(candidates) * (thumbnail + 6 * encoder.spec.dimension + 200)
    seconds = len(candidates) * max(decode_seconds / n_workers, forward_seconds)
    listener.announce(
        f"{len(candidates):,} images to embed with {encoder.spec.describe()} on {encoder.device}: "
        f"about {format_bytes(round(n_bytes))} on disk, about {say_seconds(seconds)}"
    )


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


def say_seconds(seconds: float) -> str:
    """A duration as a person says it."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def iterate_shards(count: int) -> Iterator[range]:
    """Ranges of at most one shard's length that cover `count` positions."""
    for start in range(0, count, SHARD):
        yield range(start, min(start + SHARD, count))
