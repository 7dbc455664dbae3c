"""Suspects: records that a person should look at, the most suspect of each kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from explorer.geometry.suspects import Suspect, SuspectKind, SuspectQueue, find_suspects
from explorer.geometry_report.case import Case
from explorer.geometry_report.report import Cell, Entry, Table
from explorer.geometry_report.sections import Section, SectionResult, sort_results
from explorer.geometry_report.suspect_words import CHAPTER, N_BESIDE, SCORES, TITLES, pick_listed

OVERVIEW = "Overview"


def list_suspects(case: Case, announce: Callable[[str], None]) -> SectionResult:
    """The queue of the space asked for, shortened to the most suspect of each kind."""
    announce(f"suspects: {case.main.space}")
    queue = find_suspects(case.main, seed=case.settings.seed)
    skipped = sort_results(case.main.space, queue.skipped)
    name_of = dict(zip(case.main.rows.tolist(), case.main.records.column("record_id").to_pylist(), strict=True))
    summary = Table(title=OVERVIEW, reading=queue.reading, columns=(), rows=())
    tables = [_list_kind(kind, queue, name_of) for kind in SuspectKind]
    return SectionResult(
        unmeasured=skipped.unmeasured,
        tables=(summary, *(table for table in tables if table)),
        suspects=queue.suspects,
    )


def _list_kind(kind: SuspectKind, queue: SuspectQueue, name_of: dict[int, str]) -> Table | None:
    shown, reading = pick_listed(queue.suspects, kind)
    if not shown:
        return None
    heads = ("record" if kind is not SuspectKind.SPLIT else "species", SCORES[kind], "why", "beside")
    rows: list[tuple[Cell, ...]] = [_write_row(one, name_of) for one in shown]
    return Table(title=TITLES[kind], reading=reading, columns=heads, rows=tuple(rows))


def _write_row(one: Suspect, name_of: dict[int, str]) -> tuple[Cell, ...]:
    beside = ", ".join(name_of[row] for row in one.evidence[:N_BESIDE])
    return one.subject, one.score, one.reading, beside


def summarise_suspects(entries: Sequence[Entry], tables: Sequence[Table]) -> str:
    """The sentence of the whole queue."""
    return next((table.reading for table in tables if table.title == OVERVIEW), "Nothing could be looked at.")


SUSPECTS = Section(
    name=CHAPTER,
    title="Suspects",
    question="Which records should a person look at: wrong labels, images of something else, copies, species in two "
    "clusters?",
    measure=list_suspects,
    summarise=summarise_suspects,
)
