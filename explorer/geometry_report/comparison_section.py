"""Across encoders: how alike the spaces that were asked for see the same records."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from explorer.geometry.comparing import compare_samples
from explorer.geometry_report.case import Case
from explorer.geometry_report.report import Entry, Table, Unmeasured
from explorer.geometry_report.sections import Section, SectionResult, sort_results

READINGS = "Pairs of spaces"


def compare_spaces(case: Case, announce: Callable[[str], None]) -> SectionResult:
    """CKA, overlap of neighbours and Procrustes of every two spaces; nothing where there is one."""
    if len(case.samples) < 2:
        return SectionResult()
    announce(f"comparison: {', '.join(sample.space for sample in case.samples)}")
    found = compare_samples(case.samples, n_shuffles=case.settings.n_shuffles, seed=case.settings.seed)
    results = [sort_results(f"{one.first} and {one.second}", one.findings) for one in found]
    rows = tuple((f"{one.first} and {one.second}", one.n, one.reading) for one in found)
    table = Table(
        title=READINGS,
        reading="On the records that both spaces hold. The other chapters give the same statistics for each space.",
        columns=("spaces", "records", "reading"),
        rows=rows,
    )
    unmeasured: list[Unmeasured] = [one for result in results for one in result.unmeasured]
    return SectionResult(
        findings=tuple(finding for result in results for finding in result.findings),
        unmeasured=tuple(unmeasured),
        tables=(table,),
    )


def summarise_comparison(entries: Sequence[Entry], tables: Sequence[Table]) -> str:
    """The reading of each pair."""
    return " ".join(str(row[2]) for table in tables if table.title == READINGS for row in table.rows)


COMPARISON = Section(
    name="comparison",
    title="Across spaces",
    question="Do the spaces see the same structure: the same similarities, the same neighbours?",
    measure=compare_spaces,
    summarise=summarise_comparison,
)
