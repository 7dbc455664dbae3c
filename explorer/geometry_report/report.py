"""The report as a value: chapters of findings, tables and plots, what was not measured, and how it all was made."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from explorer.geometry.finding import Finding
from explorer.geometry.suspects import Suspect, SuspectKind
from explorer.geometry_report.plots import SeriesPlot, series_plot_from_json, series_plot_to_json

Cell = str | int | float | None
FDR = 0.05
"""Share of false alarms that is accepted among the tests that are said to stand out."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A finding with its place among all tests of the report.

    Attributes:
        finding: Of one space.
        q: p adjusted for all tests of the report (Benjamini & Hochberg 1995); nan where there is no p.
    """

    finding: Finding
    q: float

    @property
    def stands_out(self) -> bool:
        """Whether its q is at most 0.05."""
        return self.q <= FDR

    def to_json(self) -> dict[str, Any]:
        """The finding as other programs read it; what there is none of is null."""
        found = self.finding
        plain = {
            "statistic": found.statistic,
            "column": found.column,
            "space": found.space,
            "value": found.value,
            "low": found.low,
            "high": found.high,
            "null": [_plain(found.null_low), _plain(found.null_high)] if math.isfinite(found.null_low) else None,
            "chance": found.chance,
            "p": found.p,
            "q": self.q,
            "n": found.n,
            "n_groups": found.n_groups,
            "left_out": found.left_out,
            "reading": found.reading,
        }
        return {name: _plain(value) for name, value in plain.items()}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Entry:
        """The entry that `to_json` gave."""
        values: dict[str, Any] = dict(stored)
        low, high = values.pop("null") or (None, None)
        q = _number(values.pop("q"))
        values |= {name: _number(values[name]) for name in ("value", "low", "high", "chance", "p")}
        finding = Finding(**values, null_low=_number(low), null_high=_number(high))
        return cls(finding=finding, q=q)


@dataclass(frozen=True, kw_only=True)
class Table:
    """Something found that is no single number.

    Attributes:
        title: What it lists.
        reading: One sentence, or two.
        columns: Heads.
        rows: A cell per head; None is empty.
    """

    title: str
    reading: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True, kw_only=True)
class Unmeasured:
    """A statistic that is not in the report, and why."""

    space: str
    statistic: str
    column: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Chapter:
    """The answer to one question.

    Attributes:
        name: Of the section.
        title: Head.
        question: What was asked.
        summary: The answer in a sentence or two.
        entries: Findings.
        tables: Lists beside them.
        plots: Beside that of the findings.
    """

    name: str
    title: str
    question: str
    summary: str
    entries: tuple[Entry, ...]
    tables: tuple[Table, ...]
    plots: tuple[SeriesPlot, ...]


@dataclass(frozen=True, kw_only=True)
class SpaceFacts:
    """A space whose vectors were measured: where it lies, what made it, and how many dimensions it has."""

    name: str
    corpus: str
    encoder: str
    fingerprint: str
    dimension: int


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the report rests on.

    Attributes:
        corpus: Name.
        records_version: Of the records' table.
        made: When, UTC.
        made_with: Version of Morphospace.
        seconds: Wall time of all measuring.
        n_records: Records measured.
        n_occurrences: Their occurrences.
        n_taxa: Rank → taxa among them, of genus, family and so on.
        left_out: Records that could have been measured and were not, each kind in words.
        spaces: The first is the one asked for.
    """

    corpus: str
    records_version: int
    made: str
    made_with: str
    seconds: float
    n_records: int
    n_occurrences: int
    n_taxa: Mapping[str, int]
    left_out: tuple[str, ...]
    spaces: tuple[SpaceFacts, ...]


@dataclass(frozen=True, kw_only=True)
class Report:
    """All of it.

    Attributes:
        facts: What it rests on.
        settings: As they were resolved, name → value in words.
        command: That makes it again.
        chapters: In the order of reading.
        unmeasured: What could not be measured.
        suspects: Records that a person should look at, by kind, the most suspect first; all of them, where a chapter
            lists the first few.
    """

    facts: Facts
    settings: Mapping[str, str]
    command: str
    chapters: tuple[Chapter, ...]
    unmeasured: tuple[Unmeasured, ...]
    suspects: tuple[Suspect, ...] = ()

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Every finding."""
        return tuple(entry for chapter in self.chapters for entry in chapter.entries)

    def to_json(self) -> dict[str, Any]:
        """The report as it is kept."""
        return {
            "facts": asdict(self.facts),
            "settings": dict(self.settings),
            "command": self.command,
            "chapters": [_chapter_to_json(chapter) for chapter in self.chapters],
            "unmeasured": [asdict(one) for one in self.unmeasured],
            "suspects": [asdict(one) for one in self.suspects],
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Report:
        """The report that `to_json` gave; KeyError or TypeError where it is of another form."""
        facts = dict(stored["facts"])
        spaces = tuple(SpaceFacts(**one) for one in facts.pop("spaces"))
        return cls(
            facts=Facts(**facts | {"left_out": tuple(facts["left_out"])}, spaces=spaces),
            settings=dict(stored["settings"]),
            command=stored["command"],
            chapters=tuple(_chapter_from_json(one) for one in stored["chapters"]),
            unmeasured=tuple(Unmeasured(**one) for one in stored["unmeasured"]),
            suspects=tuple(_suspect_from_json(one) for one in stored["suspects"]),
        )


def list_tests(report: Report) -> list[dict[str, Any]]:
    """The findings as a list of objects, which is what `--format json` writes."""
    return [entry.to_json() for entry in report.entries]


def _chapter_to_json(chapter: Chapter) -> dict[str, Any]:
    return {
        "name": chapter.name,
        "title": chapter.title,
        "question": chapter.question,
        "summary": chapter.summary,
        "entries": [entry.to_json() for entry in chapter.entries],
        "tables": [_table_to_json(table) for table in chapter.tables],
        "plots": [series_plot_to_json(plot) for plot in chapter.plots],
    }


def _chapter_from_json(stored: Mapping[str, Any]) -> Chapter:
    return Chapter(
        name=stored["name"],
        title=stored["title"],
        question=stored["question"],
        summary=stored["summary"],
        entries=tuple(Entry.from_json(one) for one in stored["entries"]),
        tables=tuple(
            Table(
                title=one["title"],
                reading=one["reading"],
                columns=tuple(one["columns"]),
                rows=tuple(tuple(row) for row in one["rows"]),
            )
            for one in stored["tables"]
        ),
        plots=tuple(series_plot_from_json(one) for one in stored["plots"]),
    )


def _suspect_from_json(stored: Mapping[str, Any]) -> Suspect:
    return Suspect(**{**stored, "kind": SuspectKind(stored["kind"]), "evidence": tuple(stored["evidence"])})


def _table_to_json(table: Table) -> dict[str, Any]:
    rows = [[_plain(cell) for cell in row] for row in table.rows]
    return {"title": table.title, "reading": table.reading, "columns": list(table.columns), "rows": rows}


def _plain(value: Any) -> Any:
    """The value, None for a number that is not finite."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
