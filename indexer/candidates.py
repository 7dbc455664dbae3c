"""Which images of a source a job still has to do: candidates matched to the records there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from indexer.corpus import STATUS_IMAGE, Corpus, Space
from indexer.files import hash_file
from indexer.records import label_folder, update_uris
from indexer.rejections import Rejection
from indexer.vectors import embedded_rows

if TYPE_CHECKING:
    import pyarrow as pa

SHARD = 512


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One image that has no vector yet.

    Attributes:
        shard: the images of one shard are embedded and committed together. It depends on the place in the source
            alone, so that a job that was killed cuts the same shards when it is run again.
        position: in the source's table; None for a record that this source does not list.
        row: of its record; None where there is no record yet.
    """

    shard: tuple[str, int]
    uri: str
    record_id: str
    position: int | None
    row: int | None


@dataclass(frozen=True, kw_only=True)
class Listing:
    """A source beside the corpus.

    Attributes:
        records: the source's table, with record ids that are unique in the corpus.
        candidates: what is to be embedded, in order.
        n_present: images of the source that have a vector already.
        n_refused: images of the source that were refused before and have not changed.
        n_moved: records whose file was found at another place, with the same content.
    """

    records: pa.Table
    candidates: tuple[Candidate, ...]
    n_present: int
    n_refused: int
    n_moved: int


def list_candidates(
    corpus: Corpus, space: Space | None, records: pa.Table, root: Path, refused: Mapping[str, Rejection]
) -> Listing:
    """What of a source has no vector in a space yet.

    A candidate is the record of the same uri; else the record of the same record_id if the file's content is the
    same (the file has moved: its uri is brought up to date); else it is new, and takes `<folder>/<record_id>` as its
    id where the id is taken.
    """
    known = _Known.of(corpus)
    uris, ids = records.column("uri").to_pylist(), records.column("record_id").to_pylist()
    moved = {record_id: uri for record_id, uri in zip(ids, uris, strict=True) if known.has_moved(record_id, uri)}
    update_uris(corpus, moved)
    rows = [known.row_of_id[i] if i in moved else known.row_of_uri.get(u) for i, u in zip(ids, uris, strict=True)]
    names = [i if row is not None else known.free_id(i, root) for i, row in zip(ids, rows, strict=True)]
    done = set(embedded_rows(space).tolist()) if space else set()
    standing = {uri for uri in uris if uri in refused and refused[uri].still_stands}
    listed = [
        Candidate(shard=("source", position // SHARD), uri=uri, record_id=name, position=position, row=row)
        for position, (uri, name, row) in enumerate(zip(uris, names, rows, strict=True))
        if row not in done and uri not in standing
    ]
    elsewhere = _unlisted(known, {row for row in rows if row is not None}, done)
    return Listing(
        records=_rename(records, names),
        candidates=(*listed, *elsewhere),
        n_present=sum(row in done for row in rows),
        n_refused=len(standing),
        n_moved=len(moved),
    )


@dataclass(frozen=True, kw_only=True)
class _Known:
    """The records of a corpus by id and by uri."""

    row_of_id: dict[str, int]
    row_of_uri: dict[str, int]
    sha_of_id: dict[str, str | None]
    images: tuple[tuple[int, str, str], ...]

    @classmethod
    def of(cls, corpus: Corpus) -> _Known:
        if not corpus.has_records():
            return cls(row_of_id={}, row_of_uri={}, sha_of_id={}, images=())
        table = corpus.read_columns(["row", "record_id", "uri", "sha256", "status"])
        rows, ids, uris, shas, status = (column.to_pylist() for column in table.columns)
        images = tuple(
            (row, record_id, uri)
            for row, record_id, uri, kind in zip(rows, ids, uris, status, strict=True)
            if kind == STATUS_IMAGE
        )
        by_uri = {uri: row for uri, row in zip(uris, rows, strict=True) if uri is not None}
        return cls(
            row_of_id=dict(zip(ids, rows, strict=True)),
            row_of_uri=by_uri,
            sha_of_id=dict(zip(ids, shas, strict=True)),
            images=images,
        )

    def has_moved(self, record_id: str, uri: str) -> bool:
        sha = self.sha_of_id.get(record_id)
        return sha is not None and uri not in self.row_of_uri and Path(uri).is_file() and hash_file(Path(uri)) == sha

    def free_id(self, record_id: str, root: Path) -> str:
        if record_id not in self.row_of_id:
            return record_id
        name, number = f"{label_folder(root)}/{record_id}", 2
        while name in self.row_of_id:
            name, number = f"{label_folder(root)}~{number}/{record_id}", number + 1
        return name


def _unlisted(known: _Known, listed: set[int], done: set[int]) -> Sequence[Candidate]:
    return [
        Candidate(shard=("corpus", row // SHARD), uri=uri, record_id=record_id, position=None, row=row)
        for row, record_id, uri in known.images
        if row not in listed and row not in done
    ]


def _rename(records: pa.Table, names: list[str]) -> pa.Table:
    """The table under its final record ids; an occurrence that was named after its image follows it."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if records.column("record_id").to_pylist() == names:
        return records
    ids = pa.array(names, pa.string())
    alone = pc.equal(records.column("occurrence_id"), records.column("record_id"))
    occurrences = pc.if_else(alone, ids, records.column("occurrence_id"))
    table = records.set_column(records.column_names.index("record_id"), "record_id", ids)
    return table.set_column(table.column_names.index("occurrence_id"), "occurrence_id", occurrences)
