"""Writing a report: a page with its plots beside it, the list of tests as JSON, or Markdown."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from explorer.geometry_report.report import Report, list_tests
from explorer.geometry_report.settings import ReportFormat
from explorer.geometry_report.wording import list_plots
from indexer.errors import QueryError
from indexer.files import write_atomically

if TYPE_CHECKING:
    from indexer.corpus import Corpus

FORMAT_OF_ENDING = {
    ".html": ReportFormat.HTML,
    ".htm": ReportFormat.HTML,
    ".json": ReportFormat.JSON,
    ".md": ReportFormat.MARKDOWN,
}


def choose_report_format(asked: ReportFormat | None, out: Path | None) -> ReportFormat:
    """The format that is asked for, else that of the file's ending, else Markdown; QueryError where the two differ."""
    ending = FORMAT_OF_ENDING.get(out.suffix.lower()) if out else None
    if out and not asked and not ending:
        raise QueryError(f"--out {out}: its ending names no format; use .html, .json or .md, or add --format.")
    if asked and ending and asked != ending:
        raise QueryError(f"--format {asked}: {out} would be read as {ending}. Leave --format out, or rename the file.")
    if asked is ReportFormat.HTML and out is None:
        raise QueryError("--format html: a page is not written to the terminal. Name its file with --out report.html")
    return asked or ending or ReportFormat.MARKDOWN


def write_report(corpus: Corpus, report: Report, form: ReportFormat, out: Path | None) -> list[Path]:
    """Write the report; the files, plots included. To standard output, without plots, where `out` is None.

    A page also shows the suspects' pictures, which are read from the corpus.
    """
    if out is None:
        sys.stdout.write(_format_tests(report) if form is ReportFormat.JSON else _format_markdown(report, None))
        return []
    if form is ReportFormat.JSON:
        return [_write(out, _format_tests(report))]
    folder = out.with_name(f"{out.stem}_plots")
    text = _format_markdown(report, folder.name) if form is ReportFormat.MARKDOWN else _format_html(corpus, report)
    return [_write(out, text), *_write_plots(report, folder)]


def _write(out: Path, text: str) -> Path:
    write_atomically(out, lambda part: part.write_text(text, encoding="utf-8"))
    return out


def _write_plots(report: Report, folder: Path) -> list[Path]:
    from explorer.geometry_report.plot_files import write_plots

    return write_plots((plot for chapter in report.chapters for plot in list_plots(report, chapter)), folder)


def _format_tests(report: Report) -> str:
    return json.dumps(list_tests(report), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _format_markdown(report: Report, images: str | None) -> str:
    from explorer.geometry_report.markdown_page import format_markdown

    return format_markdown(report, images=images)


def _format_html(corpus: Corpus, report: Report) -> str:
    from explorer.geometry_report.html_page import format_html
    from explorer.geometry_report.pictures import read_pictures

    return format_html(report, read_pictures(corpus, report))
