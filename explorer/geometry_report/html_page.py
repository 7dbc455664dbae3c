"""The report as one HTML page that needs nothing beside it. All text of the corpus is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

from explorer.charts import read_plotly_script, write_figure
from explorer.geometry_report.figures import draw_plot
from explorer.geometry_report.methods import list_methods, list_sources
from explorer.geometry_report.pictures import Picture, write_suspects
from explorer.geometry_report.plots import Plot
from explorer.geometry_report.report import Cell, Chapter, Entry, Report, Table
from explorer.geometry_report.suspect_words import CHAPTER as SUSPECTS
from explorer.geometry_report.wording import (
    HINT,
    describe_facts,
    list_plots,
    list_unmeasured,
    name_entry,
    say_cell,
    say_interval,
    say_number,
    say_p,
    say_title,
)

OUT = "Tests marked in green have q ≤ 0.05 over all tests of this report."


def format_html(report: Report, pictures: Mapping[int, Picture] | None = None) -> str:
    """The page.

    Args:
        report: What it says.
        pictures: Of suspects, by row; without any, suspects are listed in tables.
    """
    title = escape(say_title(report))
    chapters = "".join(_write_chapter(report, chapter, pictures or {}) for chapter in report.chapters)
    links = [(chapter.name, chapter.title) for chapter in report.chapters]
    links += [("tests", "All tests"), ("unmeasured", "Not measured"), ("methods", "Methods"), ("settings", "Settings")]
    nav = "".join(f'<a href="#{escape(name)}">{escape(text)}</a>' for name, text in links)
    style = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{style}</style><script>{read_plotly_script()}</script></head>\n"
        f"<body><main><header><h1>{title}</h1>{_write_facts(describe_facts(report))}<nav>{nav}</nav></header>\n"
        f"{chapters}{_write_tests(report)}{_write_unmeasured(report)}{_write_methods(report)}{_write_settings(report)}"
        f"<footer>Made {escape(report.facts.made[:16].replace('T', ' '))} UTC with {escape(report.facts.made_with)}."
        "</footer></main></body></html>\n"
    )


def _write_chapter(report: Report, chapter: Chapter, pictures: Mapping[int, Picture]) -> str:
    plots = list_plots(report, chapter)
    drawn = "".join(_write_plot(plot) for plot in plots)
    return (
        f'<section id="{escape(chapter.name)}"><h2>{escape(chapter.title)}</h2>'
        f'<p class="question">{escape(chapter.question)}</p><p class="summary">{escape(chapter.summary)}</p>{drawn}'
        + (_write_readings(report, chapter.entries) if chapter.entries else "")
        + _write_lists(report, chapter, pictures)
        + "</section>\n"
    )


def _write_lists(report: Report, chapter: Chapter, pictures: Mapping[int, Picture]) -> str:
    if chapter.name == SUSPECTS and pictures:
        return write_suspects(report, pictures)
    return "".join(_write_table(table) for table in chapter.tables)


def _write_plot(plot: Plot) -> str:
    title = getattr(plot, "title", "")
    head = f"<h3>{escape(title)}</h3>" if title else ""
    note = "" if title else f'<p class="small">{HINT}</p>'
    return f'{head}<div class="plot">{write_figure(draw_plot(plot), plot.name)}</div>{note}'


def _write_readings(report: Report, entries: Sequence[Entry]) -> str:
    """The findings in words, with their numbers beside them; single values of a column are folded away."""
    singled = [entry for entry in entries if ": " in entry.finding.column]
    main = [entry for entry in entries if ": " not in entry.finding.column]
    body = _tabulate_readings(report, main) if main else ""
    if singled:
        head = f"Each value against the rest: {len(singled):,} findings"
        body += f"<details><summary>{escape(head)}</summary>{_tabulate_readings(report, singled)}</details>"
    return body + (f'<p class="small">{OUT}</p>' if any(entry.stands_out for entry in entries) else "")


def _tabulate_readings(report: Report, entries: Sequence[Entry]) -> str:
    heads = ["Finding", "Value", "95 % interval", "Shuffled", "q"]
    rows = []
    for entry in entries:
        found = entry.finding
        name = name_entry(report, found.statistic, found.column, found.space)
        first = f'<td><b>{escape(name)}</b><p class="reading">{escape(found.reading)}</p></td>'
        numbers = [
            say_number(found.value),
            say_interval(found.low, found.high),
            say_interval(found.null_low, found.null_high),
            say_p(entry.q),
        ]
        cells = "".join(f'<td class="number">{escape(number)}</td>' for number in numbers)
        rows.append(f"<tr{_mark(entry)}>{first}{cells}</tr>")
    return _join_table(heads, rows, n_words=1)


def _write_table(table: Table) -> str:
    numeric = [_is_numeric(table, place) for place in range(len(table.columns))]
    rows = ["<tr>" + "".join(map(_write_cell, row, numeric)) + "</tr>" for row in table.rows]
    heads = "".join(
        f"<th{_align(is_number)}>{escape(head)}</th>" for head, is_number in zip(table.columns, numeric, strict=True)
    )
    body = f'<div class="scroll"><table><thead><tr>{heads}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
    return f"<h3>{escape(table.title)}</h3><p>{escape(table.reading)}</p>" + (body if table.rows else "")


def _write_cell(cell: Cell, is_number: bool) -> str:
    return f"<td{_align(is_number)}>{escape(say_cell(cell))}</td>"


def _is_numeric(table: Table, place: int) -> bool:
    cells = [row[place] for row in table.rows if row[place] is not None]
    return bool(cells) and all(isinstance(cell, int | float) for cell in cells)


def _write_tests(report: Report) -> str:
    several = len(report.facts.spaces) > 1
    heads = [
        "Statistic",
        "Column",
        *(["Space"] if several else []),
        "Value",
        "95 % interval",
        "Shuffled",
        "Chance",
        "p",
        "q",
        "Records",
        "Groups",
    ]
    rows = []
    for entry in report.entries:
        found = entry.finding
        words = [found.column or "–", *([found.space] if several else [])]
        numbers = [
            say_number(found.value),
            say_interval(found.low, found.high),
            say_interval(found.null_low, found.null_high),
            say_number(found.chance),
            say_p(found.p),
            say_p(entry.q),
            f"{found.n:,}",
            f"{found.n_groups:,}",
        ]
        # A long name may break after an underscore.
        cells = f"<td>{escape(found.statistic).replace('_', '_<wbr>')}</td>"
        cells += "".join(f"<td>{escape(word)}</td>" for word in words)
        cells += "".join(f'<td class="number">{escape(number)}</td>' for number in numbers)
        rows.append(f"<tr{_mark(entry)}>{cells}</tr>")
    count = sum(entry.q == entry.q for entry in report.entries)
    note = (
        f"{len(report.entries):,} statistics, {count:,} of them tested; q is p adjusted for all {count:,} "
        f"(Benjamini–Hochberg). {OUT} Groups are the species, genera or occurrences over which the interval "
        "generalises."
    )
    table = _join_table(heads, rows, n_words=2 + several)
    return f'<section id="tests"><h2>All tests</h2><p>{escape(note)}</p>{table}</section>\n'


def _write_unmeasured(report: Report) -> str:
    rows = [f"<tr><td>{escape(what)}</td><td>{escape(reason)}</td></tr>" for what, reason in list_unmeasured(report)]
    body = _join_table(["Statistic", "Because"], rows, n_words=2) if rows else "<p>Everything could be measured.</p>"
    return f'<section id="unmeasured"><h2>Not measured</h2>{body}</section>\n'


def _write_methods(report: Report) -> str:
    paragraphs = "".join(
        f"<h3>{escape(method.title)}</h3><p>{escape(method.text)}</p>" for method in list_methods(report)
    )
    sources = "".join(f"<li>{escape(source)}</li>" for source in list_sources(report))
    listed = f'<h3>Sources</h3><ol class="sources">{sources}</ol>'
    return f'<section id="methods"><h2>Methods</h2>{paragraphs}{listed}</section>\n'


def _write_settings(report: Report) -> str:
    return (
        f'<section id="settings"><h2>Settings</h2>{_write_facts(report.settings.items())}'
        f"<p>Made by: <code>{escape(report.command)}</code></p></section>\n"
    )


def _write_facts(pairs: Iterable[tuple[str, str]]) -> str:
    return '<dl class="facts">' + "".join(f"<dt>{escape(n)}</dt><dd>{escape(v)}</dd>" for n, v in pairs) + "</dl>"


def _join_table(heads: Sequence[str], rows: Sequence[str], *, n_words: int) -> str:
    """The table; the columns after the first `n_words` hold numbers."""
    first = "".join(f"<th{_align(place >= n_words)}>{escape(head)}</th>" for place, head in enumerate(heads))
    return f'<div class="scroll"><table><thead><tr>{first}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def _align(is_number: bool) -> str:
    return ' class="number"' if is_number else ""


def _mark(entry: Entry) -> str:
    return ' class="out"' if entry.stands_out else ""
