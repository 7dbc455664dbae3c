"""Downloads: hits and selections as CSV, with credit and with what made them in every line.

Spreadsheets run a cell that begins with `=`, `+`, `-`, `@` or a control character as a formula, and the texts here come
from anyone's metadata. Such a cell gets one `'` in front, as spreadsheets themselves mark a text; numbers stay as they
are. It holds for record ids too, which hardly ever begin so; `row` names the record without that doubt.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from math import isnan
from typing import TYPE_CHECKING, Any

from explorer.captions import name_record

if TYPE_CHECKING:
    from explorer.search import Hit
    from indexer.rejections import Rejection

RECORD_FIELDS = ("scientificName", "vernacularName", "license", "rightsHolder", "uri")
HIT_FIELDS = ("rank", "row", "record_id", "score", "percentile", "n_images")
_FORMULA_START = re.compile(r"[=+\-@\t\r\n\0]")
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """What made a download.

    Attributes:
        query, filter: in words; empty where there was none.
        corpus, space: names.
        fingerprint: of the space's encoder; empty where it is not known.
        date: UTC, ISO 8601.
    """

    query: str
    filter: str
    corpus: str
    space: str
    fingerprint: str
    date: str


def now() -> str:
    """The present moment for `Provenance.date`, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def hits_csv(hits: Sequence[Hit], provenance: Provenance) -> bytes:
    """The hits, best first."""
    lines = [
        {name: getattr(hit, name) for name in HIT_FIELDS}
        | hit.list_standings()
        | describe_record(hit.record)
        | asdict(provenance)
        for hit in hits
    ]
    standings = hits[0].list_standings() if hits else {}
    return write_lines((*HIT_FIELDS, *standings, *_record_fields(), *Provenance.__dataclass_fields__), lines)


def selection_csv(
    records: Sequence[Mapping[str, Any]], provenance: Provenance, *, scores: Mapping[int, tuple[float, float]]
) -> bytes:
    """Selected records in the order given.

    `scores` gives score and percentile by row where a query was asked; the cells of other records stay empty.
    """
    lines = []
    for record in records:
        score, percentile = scores.get(record["row"], (None, None))
        own = {"row": record["row"], "record_id": record["record_id"], "score": score, "percentile": percentile}
        lines.append(own | describe_record(record) | asdict(provenance))
    fields = ("row", "record_id", "score", "percentile")
    return write_lines((*fields, *_record_fields(), *Provenance.__dataclass_fields__), lines)


def rejections_csv(rejections: Sequence[Rejection]) -> bytes:
    """The refused images with their reasons."""
    fields = ("record_id", "reason", "uri")
    return write_lines(fields, [{field: getattr(rejection, field) for field in fields} for rejection in rejections])


def describe_record(record: Mapping[str, Any]) -> dict[str, Any]:
    """Name, credit and origin of a record, as both kinds of download give them."""
    return {"name": name_record(record)} | {field: record.get(field) for field in RECORD_FIELDS}


def defuse(value: Any) -> str:
    """A cell that no spreadsheet runs as a formula; numbers and harmless texts are as they were."""
    if value is None or (isinstance(value, float) and isnan(value)):
        return ""
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    if _FORMULA_START.match(text) and not _NUMBER.fullmatch(text):
        return f"'{text}"
    return text


def _record_fields() -> tuple[str, ...]:
    return ("name", *RECORD_FIELDS)


def write_lines(fields: Sequence[str], lines: Sequence[Mapping[str, Any]]) -> bytes:
    """A CSV of these lines, every cell defused.

    UTF-8 with a byte-order mark, without which spreadsheets misread accents.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\r\n")
    writer.writerow(fields)
    writer.writerows([defuse(line[field]) for field in fields] for line in lines)
    return buffer.getvalue().encode("utf-8-sig")
