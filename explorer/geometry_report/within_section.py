"""Within species: how states such as sexes and life stages lie to each other, and to what tells species apart."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from explorer.geometry.finding import Finding
from explorer.geometry.principal_angles import PrincipalAngles
from explorer.geometry.within import measure_within
from explorer.geometry_report.case import Case
from explorer.geometry_report.report import Entry, Table, Unmeasured
from explorer.geometry_report.sections import Section, SectionResult, join_results, sort_results, summarise_tests
from explorer.geometry_report.wording import say_interval, say_number

SHOWN = {
    "fisher": "Fisher ratio",
    "within_auc": "AUC from other occurrences",
    "genus_transfer_auc": "AUC in genera never seen",
    "genus_step_cosine": "cosine of the steps of two genera",
}
"""What the summary says of each column, where it was measured."""


def measure_states(case: Case, announce: Callable[[str], None]) -> SectionResult:
    """Every statistic of the variation inside species, for each space and each contrast of each column."""
    results = []
    for sample in case.samples:
        announce(f"within species: {sample.space}")
        found = measure_within(sample, case.plan.within, n_shuffles=case.settings.n_shuffles, seed=case.settings.seed)
        findings, repeats = drop_repeats(_drop_same_span(found.findings))
        result = sort_results(sample.space, (*findings, *found.skipped))
        tables = _list_angles(found.angles, sample.space if len(case.samples) > 1 else "", findings)
        results.append(replace(result, tables=tables, unmeasured=result.unmeasured + repeats))
    return join_results(results)


def _drop_same_span(findings: Sequence[Finding]) -> list[Finding]:
    """Without the share in the 10 widest directions where these are the whole span, so that it would be said twice."""
    whole = next((one for one in findings if one.statistic == "span_share"), None)
    return [
        one
        for one in findings
        if one is whole or whole is None or one.reading != whole.reading or not one.statistic.startswith("span")
    ]


def drop_repeats(findings: Sequence[Finding]) -> tuple[tuple[Finding, ...], tuple[Unmeasured, ...]]:
    """The findings without those of contrasts that compare the very same records as an earlier one.

    A column with values of several kinds of organisms (autumn of leaves, breeding of birds) gives such contrasts, and
    so do two columns that say the same.
    """
    columns = dict.fromkeys(finding.column for finding in findings if finding.column)
    seen: dict[tuple[tuple[str, int, float], ...], str] = {}
    repeats = []
    for column in columns:
        own = [finding for finding in findings if finding.column == column]
        key = tuple(sorted((finding.statistic, finding.n, round(finding.value, 6)) for finding in own))
        first = seen.setdefault(key, column)
        if first != column:
            reason = f"it compares the same records as {first}"
            space = own[0].space
            repeats.append(Unmeasured(space=space, statistic="within species", column=column, reason=reason))
    gone = {repeat.column for repeat in repeats}
    return tuple(finding for finding in findings if finding.column not in gone), tuple(repeats)


def _list_angles(angles: Sequence[PrincipalAngles], space: str, findings: Sequence[Finding]) -> tuple[Table, ...]:
    """The principal angles of each contrast as a table; none where none was measured."""
    columns = {finding.column for finding in findings}
    rows = tuple(
        (
            one.finding.column,
            int(re.sub(r"\D", "", one.finding.statistic)),
            ", ".join(f"{angle:.0f}°" for angle in one.degrees),
            ", ".join(f"{low:.0f}–{high:.0f}°" for low, high in zip(one.null_low, one.null_high, strict=True)) or None,
        )
        for one in angles
        if one.finding.column in columns
    )
    if not rows:
        return ()
    table = Table(
        title="Principal angles" + (f": {space}" if space else ""),
        reading="Between the directions in which species differ and those of the steps between states; 90° is "
        "orthogonal. Spans that are known badly lie further apart than they do in truth.",
        columns=("column", "dimensions of the species", "angles", "with states shuffled, 95 %"),
        rows=rows,
    )
    return (table,)


def summarise_states(entries: Sequence[Entry], tables: Sequence[Table]) -> str:
    """What was found of each column, in the first space; the tests that stand out, counted."""
    spaces = list(dict.fromkeys(entry.finding.space for entry in entries))
    first = [entry for entry in entries if entry.finding.space == spaces[0]] if spaces else []
    columns = dict.fromkeys(e.finding.column for e in first if e.finding.column and ": " not in e.finding.column)
    said = [text for column in columns if (text := _say_column(column, first))]
    if not said:
        return summarise_tests(entries, tables)
    tested = [entry for entry in entries if entry.q == entry.q]
    count = f"{sum(entry.stands_out for entry in tested):,} of {len(tested):,} tests have q ≤ 0.05."
    return f"{'; '.join(said)}. {count}"


def _say_column(column: str, entries: Sequence[Entry]) -> str:
    found = {entry.finding.statistic: entry.finding for entry in entries if entry.finding.column == column}
    fisher = found.get("fisher")
    if fisher and not fisher.low > 0:
        interval = say_interval(fisher.low, fisher.high)
        return f"{column}: no distance is shown (Fisher ratio {say_number(fisher.value)} [{interval}])"
    parts = [f"{words} {say_number(found[name].value)}" for name, words in SHOWN.items() if name in found]
    share = next((one for name, one in found.items() if re.fullmatch(r"direction\d*_share", name)), None)
    if share:
        parts.append(f"share of the step in the span of the species {say_number(share.value)}")
    return f"{column}: {', '.join(parts)}" if parts else ""


WITHIN = Section(
    name="within",
    title="Within species",
    question="Do sexes, stages, views or seasons lie apart inside species, in the same way in every species, and in "
    "other directions than those in which species differ?",
    measure=measure_states,
    summarise=summarise_states,
)
