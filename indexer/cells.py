"""Cells of a table read as values: what counts as missing, which columns are numbers, and what a number may be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from indexer.names import TaxonName, complete_name
from indexer.tables import Faults, RawTable
from indexer.terms import DISPLAY_NAME, FILE, NUMBERS, RANKS, RECORD_ID, TERMS

_MISSING = ("", "NA", "N/A", "#N/A", "NaN", "nan", "null", "NULL", "<NA>")
# In lower case. Only names: a lifeStage or a sex that is `unknown` says that somebody looked.
_MISSING_NAMES = ("", "na", "n/a", "#n/a", "nan", "null", "none", "<na>", "unknown", "not provided")
_MISSING_CODES = ("", "null", "none", "nan")  # "NA" is Namibia
_NAMES = frozenset(
    (*RANKS, "scientificName", "vernacularName", "specificEpithet", "infraspecificEpithet", "taxonRank", "rightsHolder")
)
_INTEGER = r"^[+-]?[0-9]{1,18}$"
_NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_LEADING_ZERO = r"^[+-]?0[0-9]"
# Columns that name things: never numbers, also where every cell is made of digits.
_IDENTIFIER = r"(?i)([ _\-.:]|^)(id|ids|uuid|guid|key|code|barcode|zip)$|[a-z](ID|Id|UUID|Key|Code|Barcode)$"

Columns = dict[str, pa.ChunkedArray]


def _finite(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """The numbers as float64, None where not finite: Lance sorts NaN above all numbers, JSON has no infinity."""
    numbers = values.cast(pa.float64(), safe=False)
    return pc.if_else(pc.is_finite(numbers), numbers, None)


def _are_whole(numbers: pa.ChunkedArray) -> bool:
    is_whole = pc.and_(pc.equal(numbers, pc.floor(numbers)), pc.less(pc.abs(numbers), 2.0**63))
    return bool(pc.all(is_whole, min_count=0).as_py())


def _as_text(values: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = values.type
    if pa.types.is_dictionary(kind):
        return _as_text(values.cast(kind.value_type))
    if pa.types.is_floating(kind):
        values = pc.if_else(pc.is_finite(values.cast(pa.float64())), values, pa.scalar(None, kind))
        if _are_whole(values.cast(pa.float64())):  # an integer column with holes, as pandas writes it
            return values.cast(pa.float64()).cast(pa.int64()).cast(pa.string())
    text = values.cast(pa.string())
    if pa.types.is_timestamp(kind):  # as Darwin Core writes dates: ISO 8601, without a time that nobody gave
        text = pc.replace_substring_regex(text, r"\.0+(Z?)$", r"\1")
        text = pc.replace_substring_regex(text, r" 00:00:00Z?$", "")
        return pc.replace_substring(text, " ", "T", max_replacements=1)
    return text


def read_text(values: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """The cells as text without surrounding blanks; None where a cell says that nothing is known."""
    text = pc.utf8_trim_whitespace(_as_text(values))
    if name in _NAMES:
        missing = pc.is_in(pc.utf8_lower(text), pa.array(_MISSING_NAMES))
    elif name == "countryCode":
        missing = pc.is_in(pc.utf8_lower(text), pa.array(_MISSING_CODES))
    else:
        missing = pc.is_in(text, pa.array(_MISSING))
    return pc.if_else(missing, pa.scalar(None, pa.string()), text)


def _number_text(values: pa.ChunkedArray, *, decimal_comma: bool) -> pa.ChunkedArray:
    text = read_text(values, "")
    text = pc.if_else(pc.is_in(pc.utf8_lower(text), pa.array(["none"])), pa.scalar(None, pa.string()), text)
    if not decimal_comma:
        return text
    # 1.200 is twelve hundred where numbers have decimal commas, unless the column itself writes points otherwise.
    pointed = pc.filter(text, pc.fill_null(pc.match_substring(text, "."), False))
    if len(pointed) and _all_match(pointed, r"^[+-]?[0-9]{1,3}(\.[0-9]{3})+(,[0-9]+)?$"):
        text = pc.replace_substring(text, ".", "")
    return pc.replace_substring_regex(text, r"^([+-]?[0-9]+),([0-9]+)$", r"\1.\2")


def _all_match(text: pa.ChunkedArray, pattern: str) -> bool:
    return bool(pc.all(pc.match_substring_regex(text, pattern), min_count=0).as_py())


def _infer(values: pa.ChunkedArray, name: str, *, decimal_comma: bool) -> pa.ChunkedArray:
    """The column of a text table as booleans, integers or floats where every cell that is not missing is one."""
    text = _number_text(values, decimal_comma=decimal_comma)
    identifier = pc.match_substring_regex(pa.scalar(name), _IDENTIFIER).as_py()
    if text.null_count == len(text) or identifier:
        return read_text(values, name)
    if pc.all(pc.is_in(pc.utf8_lower(text), pa.array(["true", "false", None]))).as_py():
        return pc.equal(pc.utf8_lower(text), "true")
    if pc.any(pc.match_substring_regex(text, _LEADING_ZERO)).as_py():
        return read_text(values, name)
    if _all_match(text, _INTEGER):
        return pc.replace_substring(text, "+", "").cast(pa.int64())
    has_long = pc.any(pc.match_substring_regex(text, r"^[+-]?[0-9]{19,}$")).as_py()  # digits that a float would lose
    if _all_match(text, _NUMBER) and not has_long:
        numbers = pc.replace_substring(text, "+", "").cast(pa.float64())
        if pc.all(pc.is_finite(numbers), min_count=0).as_py():  # else one is beyond a float, as 1e999, and stays text
            return numbers
    return read_text(values, name)


def _as_written(values: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """The Parquet column in one of the four types of a record: text, boolean, integer, float."""
    kind = values.type
    if pa.types.is_dictionary(kind):
        return _as_written(values.cast(kind.value_type), name)
    if pa.types.is_boolean(kind):
        return values
    if pa.types.is_uint64(kind) or pa.types.is_decimal(kind) or pa.types.is_floating(kind):
        return _finite(values)
    if pa.types.is_integer(kind):
        return values.cast(pa.int64())
    return read_text(values, name)


def _to_floats(values: pa.ChunkedArray, *, decimal_comma: bool) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
    """The numbers, None where there is none, and which cells are written but are not numbers."""
    if pa.types.is_integer(values.type) or pa.types.is_floating(values.type):
        numbers = values.cast(pa.float64(), safe=False)
        return pc.if_else(pc.is_nan(numbers), None, numbers), pa.repeat(False, len(values))
    text = _number_text(values, decimal_comma=decimal_comma)
    is_number = pc.fill_null(pc.match_substring_regex(text, _NUMBER), False)
    numbers = pc.if_else(is_number, pc.replace_substring(text, "+", ""), pa.scalar(None, pa.string())).cast(
        pa.float64()
    )
    return numbers, pc.and_(pc.is_valid(text), pc.invert(is_number))


def _positions(mask: pa.ChunkedArray) -> list[int]:
    return pc.indices_nonzero(mask).to_pylist()  # type: ignore[no-any-return]


def _read_numbers(values: pa.ChunkedArray, term: str, faults: Faults, *, decimal_comma: bool) -> pa.ChunkedArray:
    bounds = NUMBERS[term]
    numbers, is_wrong = _to_floats(values, decimal_comma=decimal_comma)
    for row in _positions(is_wrong):
        faults.add(row, f"{term} '{values[row].as_py()}' is not a number")
    outside = pc.or_(pc.less(numbers, bounds.low), pc.greater(numbers, bounds.high))
    for row in _positions(pc.fill_null(outside, False)):
        faults.add(row, f"{term} {values[row].as_py()} lies outside {bounds.low:g} … {bounds.high:g}")
    if not bounds.whole:
        return numbers
    fraction = pc.not_equal(numbers, pc.floor(numbers))
    for row in _positions(pc.fill_null(fraction, False)):
        faults.add(row, f"{term} {values[row].as_py()} is not a whole number")
    return pc.floor(numbers).cast(pa.int64(), safe=False)


def _advice(columns: Sequence[str]) -> str:
    options = " ".join(f'--column "verbatim_{column}={column}"' for column in columns)
    return f"Mend the cells, leave them empty, or keep the column as text under another name: {options}"


def _complete_names(columns: Columns) -> None:
    """Bring `species` to a binomial and fill genus and species where that is safe (`indexer.names`)."""
    parts = {"scientific": "scientificName", "rank": "taxonRank", "genus": "genus", "species": "species"}
    parts["epithet"] = "specificEpithet"
    if not any(term in columns for term in ("scientificName", "species", "specificEpithet")):
        return
    n = len(next(iter(columns.values())))
    genus_known = "genus" in columns
    cells = [columns[term].to_pylist() if term in columns else [None] * n for term in parts.values()]
    known: dict[tuple[str | None, ...], TaxonName] = {}
    for key in dict.fromkeys(zip(*cells, strict=True)):
        name = TaxonName(**dict(zip(parts, key, strict=True)))
        known[key] = complete_name(name, genus_known=genus_known)
    names = [known[key] for key in zip(*cells, strict=True)]
    for part, term in parts.items():
        values = pa.chunked_array([pa.array([getattr(name, part) for name in names], pa.string())])
        if term in columns or values.null_count < n:
            columns[term] = values


def name_records(columns: Mapping[str, pa.ChunkedArray], n_rows: int) -> pa.ChunkedArray:
    """The best name to show per record.

    A display name that the table gives, else scientific name, species, genus, vernacular name, the lowest rank that is
    known, the folder; None where nothing is.
    """
    order = (DISPLAY_NAME, "scientificName", "species", "genus", "vernacularName", *reversed(RANKS[:-2]), "folder")
    present = [columns[name] for name in order if name in columns]
    empty = pa.chunked_array([pa.nulls(n_rows, pa.string())])
    return pc.coalesce(*present) if present else empty


def read_cells(raw: RawTable, assigned: Mapping[str, str]) -> Columns:
    """The table's columns under their assigned names and in their types, terms first.

    Terms of Darwin Core are text, except those of `terms.NUMBERS`. Another column of a text table becomes boolean,
    int64 or float64 where every cell that is not missing is one and none has a leading zero; columns named as
    identifiers (`taxon_id`, `barcode`) stay text, and so does a column with a number beyond float64 (`1e999`).
    A Parquet column keeps its kind; NaN and infinity become None, dates ISO 8601 text.

    Raises:
        SourceError: cells of a numeric term that are not numbers or out of range; all are listed with their rows.
    """
    faults = Faults(raw.path.name, first_row=raw.first_row)
    columns: Columns = {}
    faulty = []
    for name, source in assigned.items():
        values = raw.columns[source]
        if name in NUMBERS:
            n_before = len(faults)
            columns[name] = _read_numbers(values, name, faults, decimal_comma=raw.has_decimal_comma)
            faulty += [source] if len(faults) > n_before else []
        elif name in TERMS or name in (FILE, RECORD_ID, DISPLAY_NAME):
            columns[name] = read_text(values, name)
        elif raw.is_text:
            columns[name] = _infer(values, name, decimal_comma=raw.has_decimal_comma)
        else:
            columns[name] = _as_written(values, name)
    faults.raise_any(_advice(faulty))
    _complete_names(columns)
    return columns
