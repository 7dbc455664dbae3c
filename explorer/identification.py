"""Identifications as a table for the eye, or as CSV, JSON or Parquet for the next tool."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from explorer.classification import Classification, RankAnswer, Verdict
from indexer.errors import QueryError
from indexer.files import write_atomically
from indexer.terms import RANKS

TAXON_COLUMNS = ("taxon", "rank", "confidence")
NEAREST_COLUMNS = ("nearest_record_id", "nearest_score", "nearest_percentile")


def write_identifications(found: Sequence[Classification], output: str, out: Path | None) -> None:
    """Write identifications to a file, or to standard output where `out` is None.

    Args:
        found: in the order asked.
        output: table, csv, json or parquet.
        out: file; QueryError where it is missing for parquet.
    """
    if output == "parquet":
        if out is None:
            raise QueryError(
                "--format parquet: a binary file is not written to the terminal. Name one with --out names.parquet"
            )
        write_atomically(out, lambda part: _write_parquet(found, part))
        return
    text = {"table": format_table, "csv": format_csv, "json": format_json}[output](found)
    if out is None:
        sys.stdout.write(text)
    else:
        write_atomically(out, lambda part: part.write_text(text, encoding="utf-8"))


def to_flat(found: Classification) -> dict[str, Any]:
    """One line: verdict, answer, nearest record, and at each rank the likeliest name with its confidence."""
    answer, nearest = found.answer, found.nearest
    flat: dict[str, Any] = {"query_id": found.query_id, "verdict": str(found.verdict)}
    flat |= dict(
        zip(TAXON_COLUMNS, (answer.name, answer.rank, answer.confidence) if answer else (None,) * 3, strict=True)
    )
    near = (nearest.record_id, nearest.score, _plain(nearest.percentile)) if nearest else (None,) * 3
    flat |= dict(zip(NEAREST_COLUMNS, near, strict=True))
    by_rank = {each.rank: each for each in found.lineage}
    for rank in RANKS:
        each = by_rank.get(rank)
        flat |= {rank: each.name if each else None, f"{rank}_confidence": each.confidence if each else None}
    return flat


def format_json(found: Sequence[Classification]) -> str:
    """A list of objects with verdict, answer, nearest record and the lineage, each rank with share and confidence."""
    from dataclasses import asdict

    objects = [asdict(each) for each in found]
    for each in objects:
        if each["nearest"]:
            each["nearest"]["percentile"] = _plain(each["nearest"]["percentile"])
    return json.dumps(objects, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def format_csv(found: Sequence[Classification]) -> str:
    """One line for each question, under a header, as `to_flat` gives it."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, _list_columns(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(to_flat(each) for each in found)
    return buffer.getvalue()


def format_table(found: Sequence[Classification]) -> str:
    """The answers as a table for the terminal: the answer, and the lineage with the confidence of each rank."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in ("query", "answer", "confidence", "lineage", "nearest record", "closer than"):
        table.add_column(name, overflow="fold", justify="right" if name in ("confidence", "closer than") else "left")
    for each in found:
        table.add_row(*(escape(cell) for cell in _describe(each)))
    buffer = io.StringIO()
    width = None if sys.stdout.isatty() else 160
    Console(file=buffer, width=width, highlight=False, emoji=False).print(table)
    return buffer.getvalue()


def describe_rank(answer: RankAnswer) -> str:
    """A rank in words, e.g. `genus Heliconius 97 %`."""
    confidence = "not calibrated" if answer.confidence is None else f"{100 * answer.confidence:.0f} %"
    return f"{answer.rank} {answer.name} {confidence}"


def _describe(found: Classification) -> tuple[str, ...]:
    answer, nearest = found.answer, found.nearest
    said = f"{answer.rank} {answer.name}" if answer else str(found.verdict)
    confidence = f"{100 * answer.confidence:.0f} %" if answer and answer.confidence is not None else ""
    lineage = "" if found.verdict is Verdict.UNLIKE else " > ".join(describe_rank(each) for each in found.lineage)
    near = (nearest.record_id, f"{nearest.percentile:.2f} %") if nearest else ("", "")
    return found.query_id, said, confidence, lineage, *near


def _list_columns() -> list[str]:
    ranks = [column for rank in RANKS for column in (rank, f"{rank}_confidence")]
    return ["query_id", "verdict", *TAXON_COLUMNS, *NEAREST_COLUMNS, *ranks]


def _plain(number: float) -> float | None:
    return None if number != number else number


def _write_parquet(found: Sequence[Classification], path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    numbers = {"confidence", "nearest_score", "nearest_percentile", *(f"{rank}_confidence" for rank in RANKS)}
    schema = pa.schema([(name, pa.float64() if name in numbers else pa.string()) for name in _list_columns()])
    pq.write_table(pa.Table.from_pylist([to_flat(each) for each in found], schema), path)
