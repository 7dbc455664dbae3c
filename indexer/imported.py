"""Precomputed vectors, as other tools write them, become a space of a corpus."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from indexer.column_indexes import index_columns
from indexer.corpus import Corpus, Space, create_corpus
from indexer.errors import CorpusError, ImageError
from indexer.job import iterate_shards, refresh_index, refresh_map
from indexer.records import ImageFacts, admit_columns, append_records, prepare_columns
from indexer.rejections import Rejection, read_rejections, reject, write_rejections
from indexer.shards import compact_tables
from indexer.vectors import append_vectors, embedded_rows

if TYPE_CHECKING:
    import pyarrow as pa

    from indexer.encoder_spec import EncoderSpec
    from indexer.vector_files import VectorFile


@dataclass(frozen=True, kw_only=True)
class ImportSettings:
    """What an import is asked for.

    Attributes:
        file: a Parquet file, or a folder of them, with ids and vectors.
        corpus: directory of the corpus; made where it is absent.
        space: name of the space.
        metadata: a table of the records' columns, joined on the id; None takes the columns of `file`.
        images: folder in which the `file` column, else the ids, are relative paths; None imports without images.
        model: encoder that made the vectors, so that texts and images can be asked with; None where it is not known.
        columns: term → column, where the header is not understood by itself.
        with_map: whether the map is laid out too.
    """

    file: Path
    corpus: Path
    space: str
    metadata: Path | None = None
    images: Path | None = None
    model: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    with_map: bool = True


@dataclass(frozen=True, kw_only=True)
class ImportReport:
    """What an import did.

    Attributes:
        n_imported: vectors stored now.
        n_new_records: records made for ids that the corpus did not hold.
        n_present: vectors that were there before.
        n_rejected: rows of the file that hold no usable vector.
    """

    corpus: Corpus
    space: Space
    n_imported: int
    n_new_records: int
    n_present: int
    n_rejected: int

    def describe(self) -> str:
        """The summary line."""
        return (
            f"{self.corpus.path}: {self.n_imported:,} vectors imported into space {self.space.name}, "
            f"{self.n_new_records:,} new records, {self.n_present:,} vectors there before, {self.n_rejected:,} rejected"
        )


def import_vectors(settings: ImportSettings, announce: Callable[[str], None]) -> ImportReport:
    """Store the vectors of a file as a space; InputError for a file or corpus that cannot be used.

    A vector joins the record of the same record_id; an id that the corpus does not hold makes a record. Runs again
    without harm: what is stored is not stored twice.
    """
    from indexer.vector_files import read_vector_file

    found = read_vector_file(settings.file, column_map=dict(settings.columns), metadata=settings.metadata)
    for note in found.notes:
        announce(note)
    encoder = _state_encoder(settings, found.vectors.shape[1], announce)
    corpus = create_corpus(settings.corpus)
    with corpus.lock():
        space = _open_space(corpus, settings, found.vectors.shape[1], encoder)
        rejections = read_rejections(corpus.rejected_path)
        rejections |= {record_id: reject(record_id, record_id, reason) for record_id, reason in found.rejected}
        if found.rejected:
            write_rejections(corpus.rejected_path, rejections.values())
        n_imported, n_new = _store(corpus, space, found, settings.images, rejections)
        compact_tables(corpus, space)
        index_columns(corpus)
        refresh_index(corpus, space, announce)
        if settings.with_map:
            refresh_map(space, announce)
    return ImportReport(
        corpus=corpus,
        space=space,
        n_imported=n_imported,
        n_new_records=n_new,
        n_present=len(found.vectors) - n_imported,
        n_rejected=len(found.rejected),
    )


def _state_encoder(settings: ImportSettings, dimension: int, announce: Callable[[str], None]) -> EncoderSpec | None:
    if settings.model is None:
        announce("no --model was named: the space answers to records and to vectors, not to texts or new images")
        return None
    from indexer.encoders import load_encoder

    spec = load_encoder(settings.model, announce=announce).spec
    if spec.dimension != dimension:
        raise CorpusError(
            f"{settings.file}: vectors of {dimension} dimensions; {settings.model} makes {spec.dimension}. "
            "Name the model that made them, or leave --model out."
        )
    return spec


def _open_space(corpus: Corpus, settings: ImportSettings, dimension: int, encoder: EncoderSpec | None) -> Space:
    space = corpus.spaces().get(settings.space)
    if space is None:
        return corpus.add_space(settings.space, dimension=dimension, encoder=encoder)
    if space.encoder is None and encoder is not None and space.dimension == dimension:
        return corpus.name_encoder(space, encoder)
    same_encoder = (space.encoder and space.encoder.fingerprint) == (encoder and encoder.fingerprint)
    if space.dimension != dimension or not same_encoder:
        made_with = space.encoder.describe() if space.encoder else "an encoder that is not known"
        these = encoder.describe() if encoder else "an encoder that is not named (--model)"
        raise CorpusError(
            f"{corpus.name}: space {space.name!r} holds vectors of {space.dimension} dimensions from {made_with}; "
            f"these have {dimension}, from {these}. A space is never mixed: choose another name with --space."
        )
    return space


def _store(
    corpus: Corpus, space: Space, found: VectorFile, images: Path | None, rejections: dict[str, Rejection]
) -> tuple[int, int]:
    """Commit shard by shard: records that are new, then their vectors; how many vectors and records were new."""
    import numpy as np
    import pyarrow as pa

    records = prepare_columns(found.records)
    known = _rows_by_id(corpus)
    if not set(records.column("record_id").to_pylist()) <= known.keys():
        admit_columns(corpus, records.schema)
    done = {*embedded_rows(space).tolist(), *corpus.removed_rows().tolist()}
    ids = records.column("record_id").to_pylist()
    n_imported = n_new = 0
    for shard in iterate_shards(len(ids)):
        new = [position for position in shard if ids[position] not in known]
        rows = _append(corpus, records.take(pa.array(new, pa.int64())), images, rejections)
        known |= {ids[position]: row for position, row in zip(new, rows, strict=True)}
        missing = [position for position in shard if known[ids[position]] not in done]
        if missing:
            append_vectors(space, np.array([known[ids[p]] for p in missing], np.int64), found.vectors[missing])
        n_imported += len(missing)
        n_new += len(new)
    return n_imported, n_new


def _rows_by_id(corpus: Corpus) -> dict[str, int]:
    if not corpus.has_records():
        return {}
    table = corpus.read_columns(["record_id", "row"], with_removed=True)
    return dict(zip(table.column("record_id").to_pylist(), table.column("row").to_pylist(), strict=True))


def _append(corpus: Corpus, records: pa.Table, images: Path | None, rejections: dict[str, Rejection]) -> list[int]:
    import pyarrow as pa

    if records.num_rows == 0:
        return []
    ids = records.column("record_id").to_pylist()
    if images is not None:
        files = records.column("file" if "file" in records.column_names else "record_id").to_pylist()
        uris = [str((images / (file or record_id)).resolve()) for file, record_id in zip(files, ids, strict=True)]
        records = records.set_column(records.column_names.index("uri"), "uri", pa.array(uris, pa.string()))
    n_refused = len(rejections)
    facts = [_read_facts(i, uri, rejections) for i, uri in zip(ids, records.column("uri").to_pylist(), strict=True)]
    if len(rejections) > n_refused:
        write_rejections(corpus.rejected_path, rejections.values())
    return append_records(corpus, records, facts)


def _read_facts(record_id: str, uri: str | None, rejections: dict[str, Rejection]) -> ImageFacts | None:
    """What the image at a local path holds; None where there is none, and where it is refused (which is listed)."""
    from indexer.images import read_image

    if uri is None or "://" in uri:
        return None
    try:
        return ImageFacts.of(read_image(Path(uri)))
    except ImageError as error:
        rejections[uri] = reject(uri, record_id, f"{error} (its vector was imported)")
        return None
