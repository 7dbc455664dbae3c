"""What a section of the report is: a question, and what measures its answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from explorer.geometry.finding import Finding, Skipped
from explorer.geometry.suspects import Suspect
from explorer.geometry_report.case import Case
from explorer.geometry_report.plots import SeriesPlot
from explorer.geometry_report.report import Entry, Table, Unmeasured
from explorer.geometry_report.wording import find_wording, name_finding

N_NAMED = 4
"""Tests that a summary names."""


@dataclass(frozen=True, kw_only=True)
class SectionResult:
    """What a section found; every finding carries its space.

    Attributes:
        findings, unmeasured, tables, plots: As the report has them.
        suspects: Records to look at, of the space asked for.
    """

    findings: tuple[Finding, ...] = ()
    unmeasured: tuple[Unmeasured, ...] = ()
    tables: tuple[Table, ...] = ()
    plots: tuple[SeriesPlot, ...] = ()
    suspects: tuple[Suspect, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Section:
    """One question of the report.

    Attributes:
        name: Of the section, in addresses and file names.
        title: Head.
        question: In a biologist's words.
        measure: Gives the answer; says what it does as it goes.
        summarise: Gives the sentence that opens the chapter.
    """

    name: str
    title: str
    question: str
    measure: Callable[[Case, Callable[[str], None]], SectionResult]
    summarise: Callable[[Sequence[Entry], Sequence[Table]], str]


def sort_results(space: str, results: Iterable[Finding | Skipped]) -> SectionResult:
    """The findings and what could not be measured of one space."""
    findings, unmeasured = [], []
    for result in results:
        if isinstance(result, Finding):
            findings.append(replace(result, space=space))
        else:
            unmeasured.append(
                Unmeasured(space=space, statistic=result.statistic, column=result.column, reason=result.reason)
            )
    return SectionResult(findings=tuple(findings), unmeasured=tuple(unmeasured))


def join_results(results: Sequence[SectionResult]) -> SectionResult:
    """All that several spaces or columns gave."""
    return SectionResult(
        findings=tuple(finding for result in results for finding in result.findings),
        unmeasured=tuple(one for result in results for one in result.unmeasured),
        tables=tuple(table for result in results for table in result.tables),
        plots=tuple(plot for result in results for plot in result.plots),
        suspects=tuple(one for result in results for one in result.suspects),
    )


def summarise_tests(entries: Sequence[Entry], tables: Sequence[Table]) -> str:
    """How many tests stand out from their nulls, and which most."""
    tested = [entry for entry in entries if entry.q == entry.q and find_wording(entry.finding.statistic).is_headline]
    if not tested:
        return tables[0].reading if tables and not entries else "Nothing here was tested against shuffled labels."
    out = sorted((entry for entry in tested if entry.stands_out), key=lambda entry: (entry.q, entry.finding.statistic))
    if not out:
        none = f"None of the {len(tested):,} tests stands" if len(tested) > 1 else "The one test does not stand"
        return (
            f"{none} out from what shuffled labels give (q ≤ 0.05). That does not show that nothing is there: the "
            "intervals say how much may be."
        )
    named = "; ".join(f"{name_finding(entry.finding)} {entry.finding.value:.2f}" for entry in out[:N_NAMED])
    more = f"; and {len(out) - N_NAMED:,} more" if len(out) > N_NAMED else ""
    some = f"{len(out):,} of {len(tested):,} tests {'stands' if len(out) == 1 else 'stand'}"
    count = "The one test stands" if len(tested) == 1 else some
    return f"{count} out from what shuffled labels give (q ≤ 0.05): {named}{more}."
