"""The records of a corpus: one row per image, with its Darwin Core terms and thumbnail."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from indexer.corpus import STATUS_IMAGE, STATUS_NO_IMAGE, Corpus

if TYPE_CHECKING:
    import pyarrow as pa

    from indexer.images import DecodedImage

_REWRITTEN = "__rewritten"


@dataclass(frozen=True, kw_only=True)
class ImageFacts:
    """What the job learned of one image.

    Attributes:
        sha256: of the file's bytes, 64 hex digits.
        n_bytes: size of the file.
        width, height: of the upright image, in pixels.
        thumbnail: WebP.
    """

    sha256: str
    n_bytes: int
    width: int
    height: int
    thumbnail: bytes

    @classmethod
    def of(cls, image: DecodedImage) -> ImageFacts:
        """The facts of a decoded image, its thumbnail made."""
        from indexer.images import make_thumbnail

        return cls(
            sha256=image.sha256,
            n_bytes=image.n_bytes,
            width=image.width,
            height=image.height,
            thumbnail=make_thumbnail(image.pixels),
        )


def prepare_columns(records: pa.Table) -> pa.Table:
    """The source's columns as the records table stores them: text where a column has no type of its own."""
    import pyarrow as pa

    columns = [
        column.cast(pa.string()) if pa.types.is_null(column.type) or pa.types.is_dictionary(column.type) else column
        for column in records.columns
    ]
    return pa.table(columns, names=records.column_names)


def admit_columns(corpus: Corpus, schema: pa.Schema) -> None:
    """Widen the stored records so that a table of this schema can be appended.

    New columns are added (null in the records there are). Where a type differs, integers and floats meet as
    float64 and anything else meets as text, in the stored records too.
    """
    import pyarrow as pa

    if not corpus.has_records():
        return
    _finish_rewrites(corpus)
    stored = corpus.column_types()
    added = [field for field in schema if field.name not in stored]
    if added:
        corpus.open_records().add_columns(pa.schema([pa.field(field.name, field.type) for field in added]))
    for field in schema:
        target = _common_type(stored.get(field.name, field.type), field.type)
        if field.name in stored and stored[field.name] != target:
            _change_type(corpus, field.name, target)


def append_records(corpus: Corpus, records: pa.Table, images: Sequence[ImageFacts | None]) -> list[int]:
    """Store new records in one atomic commit and return their rows, which continue those there are.

    Args:
        corpus: whose columns admit the table's (see `admit_columns`); the caller holds its lock.
        records: columns of the source, as `prepare_columns` gives them.
        images: beside each record what its image holds, or None for a record without an image.
    """
    import lance
    import pyarrow as pa

    first = corpus.count_rows()
    rows = list(range(first, first + records.num_rows))
    own = {
        "row": pa.array(rows, pa.int64()),
        **{name: records.column(name) for name in ("record_id", "occurrence_id", "uri")},
        **_image_columns(images),
    }
    others = {name: records.column(name) for name in records.column_names if name not in own}
    table = pa.table({**own, **others})
    if corpus.has_records():
        schema = corpus.open_records().schema
        table = table.cast(pa.schema([schema.field(name) for name in table.column_names]))
    lance.write_dataset(table, str(corpus.records_path), mode="append" if corpus.has_records() else "create")
    return rows


def update_uris(corpus: Corpus, moved: Mapping[str, str]) -> None:
    """Record where moved files lie now: new uri by record_id, in one atomic commit."""
    import pyarrow as pa

    if moved:
        ids, uris = pa.array(list(moved), pa.string()), pa.array(list(moved.values()), pa.string())
        _update_in_place(corpus, pa.table({"record_id": ids, "uri": uris}))


def add_images(corpus: Corpus, record_ids: Sequence[str], uris: Sequence[str], images: Sequence[ImageFacts]) -> None:
    """Give images to records that had none, in one atomic commit."""
    import pyarrow as pa

    columns = {"record_id": pa.array(record_ids, pa.string()), "uri": pa.array(uris, pa.string())}
    _update_in_place(corpus, pa.table({**columns, **_image_columns(images)}))


def _update_in_place(corpus: Corpus, table: pa.Table) -> None:
    """Overwrite cells by record_id. Lance's own upsert would move the rows to the end, and rows are places."""
    import lance

    dataset = corpus.open_records()
    updated, fields = [], set()
    for fragment in dataset.get_fragments():
        metadata, changed = fragment.update_columns(table, left_on="record_id", right_on="record_id")
        updated.append(metadata)
        fields |= set(changed)
    operation = lance.LanceOperation.Update(updated_fragments=updated, fields_modified=sorted(fields))
    lance.LanceDataset.commit(str(corpus.records_path), operation, read_version=dataset.version)


def _change_type(corpus: Corpus, name: str, target: pa.DataType) -> None:
    """Write the column anew beside the old one, which then gives way; Lance casts none of these types in place."""
    import pyarrow as pa

    sql = "STRING" if target == pa.string() else "DOUBLE"
    corpus.open_records().add_columns({name + _REWRITTEN: f"CAST(`{name.replace('`', '``')}` AS {sql})"})
    corpus.open_records().drop_columns([name])
    _finish_rewrites(corpus)


def _finish_rewrites(corpus: Corpus) -> None:
    """Complete the change of a column's type, or undo it, after a kill between its commits."""
    names = list(corpus.column_types())
    for rewritten in (name for name in names if name.endswith(_REWRITTEN)):
        name = rewritten.removesuffix(_REWRITTEN)
        if name in names:
            corpus.open_records().drop_columns([rewritten])
        else:
            corpus.open_records().alter_columns({"path": rewritten, "name": name})


def own_types() -> dict[str, pa.DataType]:
    """The columns that Morphospace itself gives every record, and their types."""
    import pyarrow as pa

    texts = dict.fromkeys(("record_id", "occurrence_id", "uri"), pa.string())
    return {"row": pa.int64(), **texts, **_image_types()}


def _image_types() -> dict[str, pa.DataType]:
    import pyarrow as pa

    facts = {"sha256": pa.string(), "n_bytes": pa.int64(), "width": pa.int32(), "height": pa.int32()}
    return {**facts, "status": pa.string(), "thumbnail": pa.binary()}


def _image_columns(images: Sequence[ImageFacts | None]) -> dict[str, pa.Array]:
    import pyarrow as pa

    status = [STATUS_IMAGE if image else STATUS_NO_IMAGE for image in images]
    return {
        name: pa.array(status if name == "status" else [image and getattr(image, name) for image in images], kind)
        for name, kind in _image_types().items()
    }


def _common_type(stored: pa.DataType, new: pa.DataType) -> pa.DataType:
    import pyarrow as pa

    if stored == new:
        return stored
    if all(pa.types.is_integer(kind) or pa.types.is_floating(kind) for kind in (stored, new)):
        return pa.float64()
    return pa.string()


def label_folder(root: Path) -> str:
    """The name that tells the records of one source folder from those of another."""
    return root.resolve().name or "source"
