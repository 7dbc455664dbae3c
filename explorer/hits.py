"""Hits as a table for the eye, or as CSV, JSON or Parquet for the next tool."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from indexer.errors import QueryError
from indexer.files import write_atomically

if TYPE_CHECKING:
    from explorer.search import Hit

FORMAT_OF_ENDING = {".csv": "csv", ".json": "json", ".parquet": "parquet"}
SHOWN_COLUMNS = ("display_name", "vernacularName", "lifeStage", "sex", "license")


def choose_format(output: str | None, out: Path | None) -> str:
    """The format that is asked for, else that of the file's ending, else a table; QueryError where the two differ."""
    ending = FORMAT_OF_ENDING.get(out.suffix.lower()) if out else None
    if output and ending and output != ending:
        raise QueryError(f"--format {output}: {out} would be read as {ending}. Leave --format out, or rename the file.")
    return output or ending or "table"


def write_hits(hits: Sequence[Hit], output: str, out: Path | None) -> None:
    """Write hits to a file, or to standard output where `out` is None.

    Args:
        hits: best first.
        output: table, csv, json or parquet.
        out: file; QueryError where it is missing for parquet.
    """
    if output == "parquet" and out is None:
        raise QueryError(
            "--format parquet: a binary file is not written to the terminal. Name one with --out hits.parquet"
        )
    if output == "parquet" and out is not None:
        write_atomically(out, lambda part: _write_parquet(hits, part))
        return
    text = {"table": format_table, "csv": format_csv, "json": format_json}[output](hits)
    if out is None:
        sys.stdout.write(text)
    else:
        write_atomically(out, lambda part: part.write_text(text, encoding="utf-8"))


def format_json(hits: Sequence[Hit]) -> str:
    """A list of objects with at least rank, row, record_id, score, percentile, and the record's columns."""
    return json.dumps([_plain(hit) for hit in hits], indent=2, ensure_ascii=False, default=str, allow_nan=False) + "\n"


def format_csv(hits: Sequence[Hit]) -> str:
    """One line per hit with the same fields, under a header.

    Cells stay as they are, for this file is for the next program: a record id that begins with `=` is still that id.
    The app's downloads are for spreadsheets, which would run such a cell as a formula, and mark it as text
    (`explorer.downloads.defuse`).
    """
    import csv
    import io

    buffer = io.StringIO()
    objects = [_plain(hit) for hit in hits]
    fields = list(objects[0]) if objects else ["rank", "row", "record_id", "score", "percentile", "n_images"]
    writer = csv.DictWriter(buffer, fields, lineterminator="\n")
    writer.writeheader()
    writer.writerows(objects)
    return buffer.getvalue()


def format_table(hits: Sequence[Hit]) -> str:
    """The hits as a table for the terminal: names and traits that the records have, not every column."""
    import io

    from rich.console import Console
    from rich.table import Table

    shown = [name for name in SHOWN_COLUMNS if any(hit.record.get(name) for hit in hits)]
    table = Table(box=None, pad_edge=False)
    spaces = [standing.space for standing in hits[0].standings] if hits else []
    for name in ("rank", *(f"in {space}" for space in spaces), "score", "percentile", "images"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("record_id", overflow="fold")
    for name in shown:
        table.add_column(name, overflow="ellipsis", no_wrap=True, max_width=32)
    for hit in hits:
        ranks = (str(standing.rank or "-") for standing in hit.standings)
        score = f"{hit.score:.4f}" if spaces else f"{hit.score:.3f}"
        numbers = (str(hit.rank), *ranks, score, f"{hit.percentile:.2f}", str(hit.n_images))
        names = (hit.record_id, *(str(hit.record.get(name) or "") for name in shown))
        table.add_row(*numbers, *(_escape(name) for name in names))
    buffer = io.StringIO()
    width = None if sys.stdout.isatty() else 160
    Console(file=buffer, width=width, highlight=False, emoji=False).print(table)
    return buffer.getvalue()


def _plain(hit: Hit) -> dict[str, Any]:
    """The hit as JSON types; a percentile that does not exist is null."""
    found = hit.to_json()
    return {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in found.items()}


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def _write_parquet(hits: Sequence[Hit], path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist([hit.to_json() for hit in hits]), path)
