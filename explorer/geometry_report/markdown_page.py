"""The report as Markdown, for a terminal or a repository."""

from __future__ import annotations

import re
from collections.abc import Sequence

from explorer.geometry_report.methods import list_methods, list_sources
from explorer.geometry_report.report import Chapter, Entry, Report, Table
from explorer.geometry_report.wording import (
    describe_facts,
    find_wording,
    list_plots,
    list_unmeasured,
    say_cell,
    say_interval,
    say_number,
    say_p,
    say_title,
)


def format_markdown(report: Report, *, images: str | None = None) -> str:
    """The report as text.

    Args:
        report: What it says.
        images: Folder of its PNG files, relative to the text; None for a text without pictures.
    """
    facts = "\n".join(f"- {term}: {escape_markdown(text)}" for term, text in describe_facts(report))
    chapters = "\n".join(_write_chapter(report, chapter, images) for chapter in report.chapters)
    methods = "\n\n".join(f"**{method.title}.** {method.text}" for method in list_methods(report))
    sources = "\n".join(f"- {source}" for source in list_sources(report))
    settings = "\n".join(f"- {name}: {escape_markdown(value)}" for name, value in report.settings.items())
    return (
        f"# {escape_markdown(say_title(report))}\n\n{facts}\n\n{chapters}\n"
        f"## Not measured\n\n{_write_unmeasured(report)}\n\n## Methods\n\n{methods}\n\n"
        f"{sources}\n\n## Settings\n\n{settings}\n\n    {report.command}\n\n"
        f"Made {report.facts.made[:16].replace('T', ' ')} UTC with {report.facts.made_with}.\n"
    )


def escape_markdown(text: str) -> str:
    """The text as Markdown shows it literally, on one line."""
    return re.sub(r"([\\`*_{}\[\]<>#|~$])", r"\\\1", " ".join(text.split()))


def _write_chapter(report: Report, chapter: Chapter, images: str | None) -> str:
    parts = [f"## {chapter.title}", chapter.question, f"**{escape_markdown(chapter.summary)}**"]
    if images is not None:
        parts += [f"![{plot.name}]({images}/{plot.name}.png)" for plot in list_plots(report, chapter)]
    if chapter.entries:
        parts.append(_write_entries(chapter.entries))
        parts.append("\n".join(f"- {escape_markdown(entry.finding.reading)}" for entry in chapter.entries))
    parts += [_write_table(table) for table in chapter.tables]
    return "\n\n".join(parts) + "\n"


def _write_entries(entries: Sequence[Entry]) -> str:
    heads = ("statistic", "column", "space", "value", "95 % interval", "shuffled", "p", "q", "records", "groups")
    rows = [
        (
            find_wording(entry.finding.statistic).short,
            entry.finding.column or "–",
            entry.finding.space,
            say_number(entry.finding.value),
            say_interval(entry.finding.low, entry.finding.high),
            say_interval(entry.finding.null_low, entry.finding.null_high),
            say_p(entry.finding.p),
            say_p(entry.q),
            f"{entry.finding.n:,}",
            f"{entry.finding.n_groups:,}",
        )
        for entry in entries
    ]
    return _join(heads, rows)


def _write_table(table: Table) -> str:
    head = f"### {escape_markdown(table.title)}\n\n{escape_markdown(table.reading)}"
    rows = [tuple(map(say_cell, row)) for row in table.rows]
    return head + ("\n\n" + _join(table.columns, rows) if rows else "")


def _write_unmeasured(report: Report) -> str:
    lines = [escape_markdown(f"{what}: {reason}") for what, reason in list_unmeasured(report)]
    return "\n".join(f"- {line}" for line in lines) or "Everything could be measured."


def _join(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [[*map(escape_markdown, heads)], ["---"] * len(heads), *([*map(escape_markdown, row)] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
