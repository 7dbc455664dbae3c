"""The page Geometry: the reports that were measured, as they are kept. Drawing it measures nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import streamlit as st

from explorer.app.geometry_job import find_job, forget_job, start_job
from explorer.app.kept_reports import choose_report, read_reports
from explorer.app.messages import show_head, show_note, show_problem, show_small, showing_problems
from explorer.app.opened import OpenedCorpus, read_summary
from explorer.app.session import current_view
from explorer.geometry_report.settings import GeometrySettings
from explorer.geometry_report.store import KeptReport
from explorer.viewstate import build_filter
from indexer.corpus import Space

if TYPE_CHECKING:
    import pyarrow as pa

    from explorer.geometry_report.report import Chapter, Entry, Report, Table

POLL_SECONDS = 2
_CHART_CONFIG = {"displaylogo": False, "displayModeBar": False}
_COLUMNS = "geometry-columns"


def show_geometry_page(opened: OpenedCorpus, spaces: Sequence[Space]) -> None:
    """The page, for the first space."""
    space = spaces[0]
    with showing_problems():
        kept = read_reports(space)
        _offer_measuring(opened, space, is_first=not kept)
        if kept:
            _show_report(opened, choose_report(kept))


def _offer_measuring(opened: OpenedCorpus, space: Space, *, is_first: bool) -> None:
    job = find_job(space)
    if job and job.is_running:
        _follow_job(space)
        return
    if job and job.has_failed:
        show_problem(job.read_last_line().removeprefix("morphospace: "))
    if is_first:
        show_note(
            f"Nothing was measured in space {space.name} yet: whether traits of species show in where they lie, "
            "whether sexes and life stages differ in the same way in every species, how the space is filled, and "
            "which records look wrong."
        )
    with st.expander("Measure", expanded=is_first):
        _show_form(opened, space)


def _show_form(opened: OpenedCorpus, space: Space) -> None:
    usable = [
        column.name
        for column in read_summary(opened).columns
        if column.kind in ("category", "number", "boolean") and column.n_distinct > 1
    ]
    columns = st.multiselect(
        "Columns", usable, key=_COLUMNS, placeholder="those that look like variants or ecology, as sex or habitat"
    )
    st.button("Measure", type="primary", on_click=_start, args=(space, tuple(columns)), key="measure-geometry")
    show_small(
        f"All records of space {space.name} are measured, whatever the filters; it takes a minute or so. In a "
        "terminal, also with a trait table, a tree, a filter or another encoder:"
    )
    st.code(GeometrySettings(space=space.name, columns=tuple(columns)).say_command(opened.corpus.path), language=None)


def _start(space: Space, columns: Sequence[str]) -> None:
    forget_job(space)
    start_job(space, columns)


@st.fragment(run_every=POLL_SECONDS)
def _follow_job(space: Space) -> None:
    job = find_job(space)
    if job is None or not job.is_running:
        if job and not job.has_failed:
            forget_job(space)
        st.rerun()
    else:
        show_note(f"Measuring: {job.read_last_line() or 'starting'}. You may leave this page; the report appears here.")


def _show_report(opened: OpenedCorpus, kept: KeptReport) -> None:
    from explorer.geometry_report.wording import describe_facts

    report = kept.report
    if report.facts.records_version != opened.version:
        show_note("The records have changed since this was measured. Measure again to include the changes.")
    if not build_filter(current_view()).is_empty:
        show_small("The filters of the sidebar do not apply to this page.")
    _show_facts("report", describe_facts(report))
    for chapter in report.chapters:
        _show_chapter(kept, chapter)
    _show_rest(report)


def _show_facts(name: str, pairs: Sequence[tuple[str, str]]) -> None:
    with st.container(key=f"facts-geometry-{name}"):
        for place, (term, text) in enumerate(pairs):
            with st.container(key=f"term-geometry-{name}-{place}"):
                st.text(term)
            st.text(text)


def _show_chapter(kept: KeptReport, chapter: Chapter) -> None:
    from explorer.geometry_report.figures import draw_plot
    from explorer.geometry_report.suspect_words import CHAPTER
    from explorer.geometry_report.wording import HINT, list_plots

    st.subheader(chapter.title)
    show_small(chapter.question)
    show_note(chapter.summary)
    for plot in list_plots(kept.report, chapter):
        title = getattr(plot, "title", "")
        if title:
            show_head(title)
        st.plotly_chart(draw_plot(plot), theme=None, key=f"plot-{kept.key}-{plot.name}", config=_CHART_CONFIG)
        if not title:
            show_small(HINT)
    if chapter.entries:
        _show_entries(kept.report, chapter.entries)
    for table in chapter.tables:
        _show_table(table)
    if chapter.name == CHAPTER and chapter.tables:
        show_note("The page Review shows all of them with their pictures, and keeps what you decide about each.")


def _show_entries(report: Report, entries: Sequence[Entry]) -> None:
    number = st.column_config.NumberColumn(format="%.3g", width="small")
    st.dataframe(
        _tabulate_entries(report, entries),
        hide_index=True,
        height=min(560, 38 + 35 * len(entries)),
        column_config={
            **dict.fromkeys(("value", "low", "high", "shuffled low", "shuffled high", "p", "q"), number),
            "finding": st.column_config.TextColumn(width=310),
            "reading": st.column_config.TextColumn(width="large"),
        },
    )


def _tabulate_entries(report: Report, entries: Sequence[Entry]) -> pa.Table:
    import pyarrow as pa

    from explorer.geometry_report.wording import name_entry

    found = [entry.finding for entry in entries]
    return pa.table(
        {
            "finding": [name_entry(report, one.statistic, one.column, one.space) for one in found],
            "value": _numbers([one.value for one in found]),
            "low": _numbers([one.low for one in found]),
            "high": _numbers([one.high for one in found]),
            "shuffled low": _numbers([one.null_low for one in found]),
            "shuffled high": _numbers([one.null_high for one in found]),
            "p": _numbers([one.p for one in found]),
            "q": _numbers([entry.q for entry in entries]),
            "records": [one.n for one in found],
            "reading": [one.reading for one in found],
        }
    )


def _numbers(values: Sequence[float]) -> pa.Array:
    """nan becomes empty."""
    import numpy as np
    import pyarrow as pa

    return pa.array(np.array(values, dtype=np.float64), from_pandas=True)


def _show_table(table: Table) -> None:
    import pyarrow as pa

    show_head(table.title)
    show_small(table.reading)
    if table.rows:
        rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
        st.dataframe(pa.Table.from_pylist(rows), hide_index=True, height=min(420, 38 + 35 * len(rows)))


def _show_rest(report: Report) -> None:
    from explorer.geometry_report.methods import list_methods, list_sources
    from explorer.geometry_report.wording import list_unmeasured

    with st.expander(f"Not measured: {len(report.unmeasured):,}"):
        for what, reason in list_unmeasured(report):
            st.text(f"{what}: {reason}.")
    with st.expander("Methods"):
        for method in list_methods(report):
            st.text(f"{method.title}. {method.text}")
        for source in list_sources(report):
            show_small(source)
    with st.expander("Settings"):
        _show_facts("settings", list(report.settings.items()))
        st.code(report.command, language=None)
