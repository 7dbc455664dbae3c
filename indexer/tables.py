"""Tables of records as they lie on disk: CSV, TSV and Parquet, whatever their encoding and delimiter."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from indexer.errors import SourceError

TEXT_SUFFIXES = (".csv", ".tsv", ".tab", ".txt")
PARQUET_SUFFIXES = (".parquet", ".parq", ".pq")
TABLE_SUFFIXES = TEXT_SUFFIXES + PARQUET_SUFFIXES

N_FAULTS_SHOWN = 20


@dataclass(frozen=True, kw_only=True)
class RawTable:
    """A table as it was written: its columns under their own, unique names.

    `is_text` says that every cell is text of which the types are still to be read, `has_decimal_comma` that 48,1 may
    mean 48.1, `first_row` how the first record is numbered in messages (2 below a header line, as in a spreadsheet).
    """

    path: Path
    columns: Mapping[str, pa.ChunkedArray]
    n_rows: int
    first_row: int
    is_text: bool
    has_decimal_comma: bool = False
    notes: tuple[str, ...] = ()


class Faults:
    """Everything wrong with one table, collected so that the user hears of it once."""

    def __init__(self, where: str, *, first_row: int) -> None:
        self._where = where
        self._first_row = first_row
        self._lines: list[str] = []

    def __len__(self) -> int:
        return len(self._lines)

    def add(self, row: int, text: str) -> None:
        """Note a fault of the record at position `row`, from 0."""
        self._lines.append(f"{self._where}, row {row + self._first_row}: {text}")

    def raise_any(self, advice: str) -> None:
        """Raise the faults noted so far, the first 20 in words.

        Raises:
            SourceError: there was a fault.
        """
        if not self._lines:
            return
        lines = self._lines[:N_FAULTS_SHOWN]
        if len(self._lines) > len(lines):
            lines.append(f"… and {len(self._lines) - len(lines):,} more")
        raise SourceError("\n".join([*lines, advice]))


def _decode(data: bytes, path: Path) -> tuple[str, str | None]:
    """The file's text, and a note where it is not UTF-8."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encodings = ["utf-16"]
    elif b"\0" in data[:4096]:
        encodings = ["utf-16-le" if data[1:2] == b"\0" else "utf-16-be"]
    else:
        encodings = ["utf-8-sig", "windows-1252", "latin-1"]
    for encoding in encodings:
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        note = None if encoding == "utf-8-sig" else f"{path.name} is not UTF-8: read as {encoding.upper()}"
        return text, note
    raise SourceError(
        f"{path}: the bytes are not text; a table is CSV or TSV text, or Parquet. Save it as CSV (UTF-8)."
    )


def _header(text: str, delimiter: str) -> list[str]:
    return next(csv.reader(io.StringIO(text[: 1 << 20], newline=""), delimiter=delimiter), [])


def _find_delimiter(text: str, path: Path) -> str:
    """The delimiter that splits the header into the most columns; on a tie the one that the suffix promises."""
    usual = "\t" if path.suffix.lower() in (".tsv", ".tab") else ","
    return max([usual, ",", ";", "\t", "|"], key=lambda delimiter: len(_header(text, delimiter)))


def _unique_names(names: Sequence[str]) -> list[str]:
    unique: list[str] = []
    for position, written in enumerate(names, start=1):
        name = written.strip() or f"column_{position}"
        candidate, count = name, 1
        while candidate in unique:
            count += 1
            candidate = f"{name}_{count}"
        unique.append(candidate)
    return unique


def _pairs_quotes(text: str, delimiter: str) -> bool:
    """Whether every quoted cell ends: one that does not would swallow the rows below it without a word."""
    try:
        for _ in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True):
            pass
    except csv.Error:
        return False
    return True


def _parse(
    data: bytes, delimiter: str, names: Sequence[str], *, quoted: bool
) -> tuple[pa.Table, list[tuple[int, int]]]:
    """The cells as text, and (line, number of cells) of every line with another number of cells than the header."""
    ragged: list[tuple[int, int]] = []

    def note_ragged(row: pa.csv.InvalidRow) -> str:
        ragged.append((row.number, row.actual_columns))
        return "skip"

    table = pa.csv.read_csv(
        pa.BufferReader(data),
        # One block: a quoted cell may hold line breaks and be of any length. One thread: only then are lines numbered.
        read_options=pa.csv.ReadOptions(
            use_threads=False, block_size=min(len(data) + 1, 2**31 - 1), column_names=list(names), skip_rows=0
        ),
        parse_options=pa.csv.ParseOptions(
            delimiter=delimiter,
            quote_char='"' if quoted else False,
            newlines_in_values=quoted,
            invalid_row_handler=note_ragged,
        ),
        convert_options=pa.csv.ConvertOptions(
            column_types={name: pa.string() for name in names}, strings_can_be_null=False
        ),
    )
    return table.slice(1), ragged  # the header is the first row


def _read_text(path: Path) -> RawTable:
    text, note = _decode(path.read_bytes(), path)
    text = re.sub(r"^\s*sep=.[\r\n]+", "", text).lstrip("\r\n ")  # Excel's own first line
    delimiter = _find_delimiter(text, path)
    written = _header(text, delimiter)
    if not any(cell.strip() for cell in written):
        raise SourceError(f"{path}: the table is empty; it needs a header line and one line per image. Fill it in.")
    names = _unique_names(written)
    is_quoted = _pairs_quotes(text, delimiter)  # GBIF writes tab-separated text without quoting
    table, ragged = _parse(text.encode("utf-8"), delimiter, names, quoted=is_quoted)
    faults = Faults(path.name, first_row=0)
    for line, n_cells in ragged:
        faults.add(line, f"{n_cells} cells; the header has {len(names)}")
    faults.raise_any(
        "Every line needs as many cells as the header. Quote cells that contain the delimiter, and close every quote."
    )
    notes = [note] if note else []
    if not is_quoted:
        notes.append(f"{path.name}: its quotes do not pair, so they are read as characters")
    if delimiter not in (",", "\t"):
        notes.append(f"{path.name}: columns are divided by '{delimiter}'")
    return RawTable(
        path=path,
        columns={name: table.column(name) for name in names},
        n_rows=table.num_rows,
        first_row=2,
        is_text=True,
        has_decimal_comma=delimiter == ";" and any(has_commas(table.column(name)) for name in names),
        notes=tuple(notes),
    )


def read_parquet(path: Path) -> pa.Table:
    """The Parquet file as an Arrow table.

    Raises:
        SourceError: the file is not Parquet.
    """
    try:
        file = pa.parquet.ParquetFile(path)
        # In batches: reading 100,000 vectors of 768 in one go takes five times their size.
        return pa.Table.from_batches(file.iter_batches(batch_size=16_384), schema=file.schema_arrow)
    except (pa.ArrowInvalid, OSError) as error:
        raise SourceError(f"{path}: not a readable Parquet file ({error}). Write it again as Parquet.") from error


def has_commas(cells: pa.ChunkedArray) -> bool:
    """Whether any cell is a number with a decimal comma, as 48,1."""
    return bool(
        pc.any(pc.match_substring_regex(cells.cast(pa.string()), r"^[+-]?[0-9.]*[0-9],[0-9]+$"), min_count=0).as_py()
    )


def is_cell_type(kind: pa.DataType) -> bool:
    """Whether a column of this type holds one value per record that can be shown and filtered on."""
    if pa.types.is_dictionary(kind):
        return is_cell_type(kind.value_type)
    is_bytes = pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)
    return not (pa.types.is_nested(kind) or is_bytes or pa.types.is_duration(kind))


def raw_from_arrow(path: Path, table: pa.Table) -> RawTable:
    """The Arrow table's columns of single values; lists, structs and bytes are left out, with a note."""
    written = list(table.column_names)
    names = _unique_names(written)
    kept: dict[str, pa.ChunkedArray] = {}
    dropped = []
    for position, name in enumerate(names):
        if is_cell_type(table.schema.field(position).type):
            kept[name] = table.column(position)
        else:
            dropped.append(name)
    kept = {name: values for name, values in kept.items() if not re.fullmatch(r"__index_level_\d+__", name)}
    notes = (f"{path.name}: left out, since they hold lists or bytes: {', '.join(dropped)}",) if dropped else ()
    return RawTable(path=path, columns=kept, n_rows=table.num_rows, first_row=1, is_text=False, notes=notes)


def read_table(path: Path) -> RawTable:
    """The table in a CSV, TSV or Parquet file.

    Text is read as UTF-8 (with or without byte order mark), UTF-16, else Windows-1252, else Latin-1, with a note where
    it is not UTF-8; the delimiter (`,` `;` tab `|`) is the one that splits the header most. Cells may be quoted and
    then hold line breaks; in a file whose quotes do not pair they are ordinary characters. The file is
    held in memory.

    Raises:
        SourceError: not a table, empty, or lines with too few or too many cells (all of them are listed).
    """
    suffix = path.suffix.lower()
    if suffix in TEXT_SUFFIXES:
        return _read_text(path)
    if suffix in PARQUET_SUFFIXES:
        return raw_from_arrow(path, read_parquet(path))
    raise SourceError(
        f"{path}: '{suffix or path.name}' is not a kind of table that can be read; "
        f"use {', '.join(TABLE_SUFFIXES)}. Save a spreadsheet as CSV (UTF-8)."
    )
