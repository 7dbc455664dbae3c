"""Which images of a source a job still has to do: candidates matched to the records there are."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from indexer.corpus import Corpus, Space
from indexer.errors import ImageError
from indexer.files import hash_file
from indexer.images import MAX_BYTES
from indexer.object_storage import read_address, read_object
from indexer.records import label_folder, update_uris
from indexer.rejections import ABSENT, Rejection, file_stamp
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
        sha256: of the file that the record was made from; None where no image of it is stored.
    """

    shard: tuple[str, int]
    uri: str
    record_id: str
    position: int | None
    row: int | None
    sha256: str | None


@dataclass(frozen=True, kw_only=True)
class Listing:
    """A source beside the corpus.

    Attributes:
        records: the source's table, with record ids that are unique in the corpus.
        candidates: what is to be embedded, in order.
        n_present: images of the source that have a vector already.
        n_known: images of the source that have a record already.
        n_refused: images that were refused before and have not changed.
        n_moved: records whose file was found at another place, with the same content.
        n_renamed: new records whose id was taken by another image.
        n_removed: images of the source whose record was removed from the corpus, and stays so.
    """

    records: pa.Table
    candidates: tuple[Candidate, ...]
    n_present: int
    n_known: int
    n_refused: int
    n_moved: int
    n_renamed: int
    n_removed: int


def list_candidates(
    corpus: Corpus, space: Space | None, records: pa.Table, root: Path, refused: Mapping[str, Rejection]
) -> Listing:
    """What of a source has no vector in a space yet.

    A candidate is the record of the same uri; else the record of the same record_id (or of the id that this source's
    folder gave it) if that record has no image, or if its file is gone and the candidate has the same content: the
    file has moved, and its uri is brought up to date. Else it is new, and takes `<folder>/<record_id>` as its id
    where the id is taken. Records that were removed from the corpus are no candidates.
    """
    known = _Known.of(corpus)
    uris, ids = records.column("uri").to_pylist(), records.column("record_id").to_pylist()
    matches = [known.match(record_id, uri, root) for record_id, uri in zip(ids, uris, strict=True)]
    moved = {match.record_id: uri for match, uri in zip(matches, uris, strict=True) if match and match.has_moved(uri)}
    update_uris(corpus, moved)
    names = _name_records(ids, matches, known, root)
    done = set(embedded_rows(space).tolist()) if space else set()
    removed = set(corpus.removed_rows().tolist())
    standing = {uri for uri, refusal in refused.items() if refusal.still_stands}
    listed = [
        Candidate(
            shard=("source", position // SHARD),
            uri=uri,
            record_id=name,
            position=position,
            row=match.row if match else None,
            sha256=match.sha256 if match else None,
        )
        for position, (uri, name, match) in enumerate(zip(uris, names, matches, strict=True))
        if (match is None or match.row not in done | removed) and uri not in standing
    ]
    matched = {match.row for match in matches if match}
    rows = matched - removed
    return Listing(
        records=_rename(records, names),
        candidates=(*listed, *_unlisted(known, matched | done | removed, standing)),
        n_present=len(rows & done),
        n_known=len(rows),
        n_refused=len(standing),
        n_moved=len(moved),
        n_renamed=sum(name != own for name, own, match in zip(names, ids, matches, strict=True) if match is None),
        n_removed=len(matched & removed),
    )


@dataclass(frozen=True, kw_only=True)
class _Record:
    """What matters here of a record there is."""

    row: int
    record_id: str
    uri: str | None
    sha256: str | None

    def has_moved(self, uri: str) -> bool:
        """Whether its image lies at `uri` now."""
        return self.sha256 is not None and self.uri != uri


@dataclass(frozen=True, kw_only=True)
class _Known:
    """The records of a corpus by id and by uri."""

    by_id: dict[str, _Record]
    by_uri: dict[str, _Record]

    @classmethod
    def of(cls, corpus: Corpus) -> _Known:
        if not corpus.has_records():
            return cls(by_id={}, by_uri={})
        columns = corpus.read_columns(["row", "record_id", "uri", "sha256"], with_removed=True).columns
        rows, ids, uris, shas = (column.to_pylist() for column in columns)
        records = [
            _Record(row=row, record_id=record_id, uri=uri, sha256=sha256)
            for row, record_id, uri, sha256 in zip(rows, ids, uris, shas, strict=True)
        ]
        by_uri = {record.uri: record for record in records if record.uri is not None}
        return cls(by_id={record.record_id: record for record in records}, by_uri=by_uri)

    def match(self, record_id: str, uri: str, root: Path) -> _Record | None:
        """The record that an image of a source is, or None for a new one."""
        if uri in self.by_uri:
            return self.by_uri[uri]
        for name in (record_id, f"{label_folder(root)}/{record_id}"):
            record = self.by_id.get(name)
            if record and (record.sha256 is None or _is_moved_file(record, uri)):
                return record
        return None


def _is_moved_file(record: _Record, uri: str) -> bool:
    is_gone = record.uri is not None and file_stamp(Path(record.uri)) == ABSENT
    return is_gone and _hash_image(uri) == record.sha256


def _hash_image(uri: str) -> str | None:
    address = read_address(uri)
    if address is None:
        return hash_file(Path(uri)) if Path(uri).is_file() else None
    try:
        return hashlib.sha256(read_object(address, at_most=MAX_BYTES)).hexdigest()
    except ImageError:
        return None


def _name_records(ids: Sequence[str], matches: Sequence[_Record | None], known: _Known, root: Path) -> list[str]:
    """The final record ids: those of the records there are; for new ones the source's own, or a free one near it."""
    own = {record_id for record_id, match in zip(ids, matches, strict=True) if match is None}
    given: set[str] = set()
    names = []
    for record_id, match in zip(ids, matches, strict=True):
        if match is not None:
            names.append(match.record_id)
            continue
        name, number = record_id, 1
        while name in known.by_id or name in given or (name != record_id and name in own):
            prefix = label_folder(root) + (f"~{number}" if number > 1 else "")
            name, number = f"{prefix}/{record_id}", number + 1
        given.add(name)
        names.append(name)
    return names


def _unlisted(known: _Known, passed_over: set[int], standing: set[str]) -> Sequence[Candidate]:
    """The records with an image that the source does not list and that have no vector."""
    return [
        Candidate(
            shard=("corpus", record.row // SHARD),
            uri=record.uri,
            record_id=record.record_id,
            position=None,
            row=record.row,
            sha256=record.sha256,
        )
        for record in known.by_id.values()
        if record.sha256 and record.uri and record.row not in passed_over and record.uri not in standing
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
