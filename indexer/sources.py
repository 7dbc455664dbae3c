"""Sources of images: a folder, or a table with one row per image, opened as records that are yet to be read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from indexer.cells import Columns, name_records, read_cells
from indexer.errors import SourceError
from indexer.folders import FolderFiles, is_sidecar, list_files, nearest_names, readable_name
from indexer.image_files import ImageFile, find_images, is_remote
from indexer.object_storage import fetch_table, read_address
from indexer.occurrences import find_repeats, is_identifier, occurrence_ids
from indexer.tables import TABLE_SUFFIXES, Faults, RawTable, read_table
from indexer.terms import DISPLAY_NAME, FILE, RECORD_ID, assign_columns, find_asked, own_name, plain_name, sort_columns

N_NAMED = 5


@dataclass(frozen=True, kw_only=True)
class Source:
    """Candidate images in a stable order: a table's own, or that of the sorted paths of a folder.

    `records` has one row per image with record_id (unique), occurrence_id, uri (absolute path of the file, which need
    not exist), file (path relative to `root` where the image lies under it), display_name (may be None), then the
    Darwin Core terms that are known, then all other columns under their own names. `notes` tell the user how the source
    was read and what was left out.
    """

    path: Path
    root: Path
    records: pa.Table
    notes: tuple[str, ...] = ()


def _name_some(names: Sequence[str]) -> str:
    more = f" and {len(names) - N_NAMED:,} more" if len(names) > N_NAMED else ""
    return ", ".join(names[:N_NAMED]) + more


def _text(values: Sequence[str | None]) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(values, pa.string())])


def _make_records(
    columns: Columns, record_ids: pa.ChunkedArray, occurrences: pa.ChunkedArray, uris: pa.ChunkedArray
) -> pa.Table:
    first: Columns = {"record_id": record_ids, "occurrence_id": occurrences, "uri": uris, FILE: columns[FILE]}
    first[DISPLAY_NAME] = name_records(columns, len(record_ids))
    return pa.table(first | {name: columns[name] for name in sort_columns(columns) if name not in first})


def _note_misnamed(listed: FolderFiles) -> list[str]:
    if not listed.misnamed:
        return []
    some = _name_some(listed.misnamed)
    return [f"{len(listed.misnamed):,} files are left out, since their names are not UTF-8: {some}; rename them"]


def _open_folder(root: Path, path: Path) -> Source:
    listed = list_files(root)
    files = listed.images
    if not files:
        why = "; ".join(["no image in this folder or below it", *_note_misnamed(listed)])
        raise SourceError(f"{path}: {why}; name a folder of images, or a table of them.")
    names, folders = nearest_names(files, root)
    columns: Columns = {FILE: _text(files)}
    notes = _note_misnamed(listed)
    if any(name.species for name in names):
        columns["scientificName"] = _text([name.scientific for name in names])
        columns["genus"] = _text([name.genus for name in names])
        columns["species"] = _text([name.species for name in names])
        species = sorted({name.species for name in names if name.species})
        notes.append(f"{len(species):,} species read from the names of folders: {_name_some(species)}")
    columns["folder"] = _text(folders)
    sidecars = [file for file in listed.paths if is_sidecar(file)]
    if sidecars:
        notes.append(f"{len(sidecars):,} files that are no images were passed over: {_name_some(sidecars)}")
    tables = [file for file in sidecars if "/" not in file and Path(file).suffix.lower() in TABLE_SUFFIXES]
    if tables:
        notes.append(f"to take names and places from a table, add --manifest {path / tables[0]}")
    place = read_address(root) or str(root)
    uris = _text([f"{place}/{file}" for file in files])
    records = _make_records(columns, columns[FILE], columns[FILE], uris)
    return Source(path=path, root=root, records=records, notes=tuple(notes))


def _require_files(columns: Columns, raw: RawTable) -> None:
    """Refuse a table that names no image file, or images that lie elsewhere than on this machine.

    Raises:
        SourceError: always in these two cases.
    """
    source = FILE if FILE in columns else "identifier"
    if source not in columns:
        raise SourceError(
            f"{raw.path.name}: no column names the image files; it is looked for as file, filename, path, image, photo "
            f"or the like, and the columns are {', '.join(raw.columns)}. Say which with --column file=<column>."
        )
    cells = [cell for cell in columns[source].to_pylist() if cell is not None]
    n_remote = sum(map(is_remote, cells))
    if n_remote:
        example = next(cell for cell in cells if is_remote(cell))
        raise SourceError(
            f"{raw.path.name}: {n_remote:,} of {raw.n_rows:,} images are web addresses, such as {example}; "
            "this version reads image files and s3:// objects only. "
            "Download them first, and name their files with a column 'file' or --column file=<column>."
        )
    columns[FILE] = columns.pop(source)


def _drop_unnamed(columns: Columns, raw: RawTable) -> tuple[Columns, list[int], list[str]]:
    """The rows that name a file, their positions in the table, and a note on those that name none."""
    is_named = pc.is_valid(columns[FILE])
    rows = pc.indices_nonzero(is_named).to_pylist()
    if len(rows) == raw.n_rows:
        return columns, rows, []
    unnamed = [str(row + raw.first_row) for row in pc.indices_nonzero(pc.invert(is_named)).to_pylist()]
    note = f"{raw.path.name}: {len(unnamed):,} rows name no image file and are left out: rows {_name_some(unnamed)}"
    return {name: values.filter(is_named) for name, values in columns.items()}, rows, [note]


def _locate(columns: Columns, raw: RawTable, roots: Sequence[Path]) -> tuple[list[ImageFile], list[str]]:
    cells = columns[FILE].to_pylist()
    images = find_images(cells, roots)
    missing = [image.name for image in images if not image.is_there]
    if len(missing) == len(images):
        place = read_address(roots[0]) or roots[0]
        raise SourceError(
            f"{raw.path.name}: none of its {len(images):,} image files is under {place}, such as "
            f"'{cells[0] if cells else ''}'; paths are relative to the folder of images. "
            "Name that folder: morphospace index FOLDER --manifest TABLE."
        )
    notes = []
    if missing:
        notes.append(f"{len(missing):,} files are not there and will be rejected: {_name_some(missing)}")
    n_by_name = sum(image.by_name for image in images)
    if n_by_name:
        notes.append(f"{n_by_name:,} files were found by their names, in other folders than the table says")
    return images, notes


def _refuse_repeats(values: pa.ChunkedArray, what: str, raw: RawTable, rows: Sequence[int]) -> None:
    faults = Faults(raw.path.name, first_row=raw.first_row)
    for position, first in find_repeats(values):
        faults.add(
            rows[position], f"{what} '{values[position].as_py()}' stands in row {rows[first] + raw.first_row} too"
        )
    faults.raise_any("A table has one row per image. Merge or remove the repeated rows.")


def _choose_record_ids(
    columns: Columns, id_column: str | None, files: pa.ChunkedArray, *, is_asked: bool
) -> tuple[pa.ChunkedArray, list[str]]:
    """The record ids, taken out of `columns`, and a note where the table's own cannot serve."""
    ids = columns.get(RECORD_ID)
    if ids is None or id_column is None:
        return files, []
    if is_asked or is_identifier(ids):
        del columns[RECORD_ID]
        return pc.coalesce(ids, files), []
    note = f"'{id_column}' is empty or repeated in some rows: the records are named by their files instead"
    columns[own_name(id_column, columns)] = columns.pop(RECORD_ID)
    return files, [note]


def _describe_columns(assigned: Mapping[str, str]) -> list[str]:
    read = [f"{column} → {name}" for name, column in assigned.items() if name not in (column, own_name(column, ()))]
    return [f"columns read as: {', '.join(read)}"] if read else []


def _open_table(table: Path, roots: Sequence[Path], column_map: Mapping[str, str], path: Path) -> Source:
    raw = read_table(table)
    if raw.n_rows == 0:
        raise SourceError(f"{table}: the table has a header but no row; it needs one row per image. Fill it in.")
    assigned = assign_columns(raw.columns, column_map, where=table.name)
    columns = read_cells(raw, assigned)
    _require_files(columns, raw)
    columns, rows, notes = _drop_unnamed(columns, raw)
    images, location_notes = _locate(columns, raw, roots)
    uris = _text([image.uri for image in images])
    columns[FILE] = _text([image.name for image in images])
    _refuse_repeats(columns[FILE], "image file", raw, rows)
    id_column = assigned.get(RECORD_ID)
    occurrence_columns = dict(columns)
    is_asked = id_column is not None and (
        find_asked(column_map, RECORD_ID) == id_column or plain_name(id_column) == "recordid"
    )
    record_ids, id_notes = _choose_record_ids(columns, id_column, columns[FILE], is_asked=is_asked)
    _refuse_repeats(record_ids, "record id", raw, rows)
    occurrences = occurrence_ids(occurrence_columns, record_ids, assigned=assigned, table=table)
    records = _make_records(columns, record_ids, occurrences, uris)
    notes = [*raw.notes, *_describe_columns(assigned), *notes, *location_notes, *id_notes]
    return Source(path=path, root=roots[0], records=records, notes=tuple(notes))


def _note_unlisted(source: Source, manifest: Path) -> Source:
    listed = set(source.records.column(FILE).to_pylist())
    there = list_files(source.root)
    unlisted = [file for file in there.images if file not in listed]
    notes = _note_misnamed(there)
    if unlisted:
        notes.append(
            f"{len(unlisted):,} files are not named by {manifest.name} and are left out: {_name_some(unlisted)}"
        )
    return replace(source, notes=(*source.notes, *notes))


def _open_storage(path: Path, address: str, manifest: Path | None, column_map: Mapping[str, str]) -> Source:
    if manifest is not None:
        return _note_unlisted(_open_table(manifest.resolve(), [path], column_map, path), manifest)
    if path.suffix.lower() in TABLE_SUFFIXES:
        with fetch_table(address) as copy:
            return _open_table(copy, [path.parent], column_map, path)
    if column_map:
        raise SourceError(f"{address}: --column needs a table, and this is a folder; add --manifest TABLE.")
    return _open_folder(path, path)


def open_source(path: Path, *, manifest: Path | None = None, column_map: Mapping[str, str] | None = None) -> Source:
    """The candidate images of a folder, of a table, or of a folder that a table (`manifest`) describes.

    A folder is searched to any depth, and every file is a candidate that is neither hidden nor a table or text; where a
    folder is named after a species, its images get that name. Without a manifest a record's id is its path in the
    folder. A table has one row per image and a column of paths, relative to the folder `path` (then to the manifest's),
    or to the table's own folder; `column_map` ({term: column}) says which column holds what, where its name does not.
    A record's id is the table's record_id or uuid where it is complete and unique, else the path. Images that are named
    but not there stay candidates; files that a manifest does not name are left out and noted.

    Both may lie in object storage (`s3://bucket/…`), and a table anywhere may name images there by their addresses.

    Raises:
        SourceError: nothing there, not a table, no image, web addresses instead of files, or faulty rows (all listed).
    """
    if manifest is not None and (address := read_address(manifest)):
        with fetch_table(address) as copy:
            return open_source(path, manifest=copy, column_map=column_map)
    if address := read_address(path):
        return _open_storage(path, address, manifest, column_map or {})
    for given in filter(None, (path, manifest)):
        if not given.exists():
            raise SourceError(f"{given}: no such file or folder; a source is a folder or a table. Check the path.")
    root = path.resolve()
    if readable_name(str(root)) != str(root):
        raise SourceError(f"{readable_name(str(root))}: the path is not UTF-8; a corpus stores it as text. Rename it.")
    if not root.is_dir():
        if manifest is not None:
            raise SourceError(
                f"{path}: --manifest describes the images of a folder, and this is a file; "
                f"write: morphospace index FOLDER --manifest {manifest}"
            )
        return _open_table(root, [root.parent], column_map or {}, path)
    if manifest is not None:
        table = manifest.resolve()
        return _note_unlisted(_open_table(table, [root, table.parent], column_map or {}, path), table)
    if column_map:
        raise SourceError(f"{path}: --column needs a table, and this is a folder; add --manifest TABLE.")
    return _open_folder(root, path)
