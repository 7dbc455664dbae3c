"""Spectrum: how the vectors fill their space, and what their neighbours are, as they are and centred."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from explorer.geometry.finding import Finding
from explorer.geometry.spectrum import measure_spectrum
from explorer.geometry_report.case import Case
from explorer.geometry_report.plots import Series, SeriesPlot, name_plot
from explorer.geometry_report.report import Entry, Table
from explorer.geometry_report.sections import Section, SectionResult, join_results, sort_results
from indexer.terms import RANKS

AGREEMENT = "agreement"
CENTRED = "_centred"


def measure_spectra(case: Case, announce: Callable[[str], None]) -> SectionResult:
    """The spectrum of each space, and the agreement of neighbours by rank as a plot."""
    results = []
    for sample in case.samples:
        announce(f"spectrum: {sample.space}")
        asked = {"n_shuffles": case.settings.n_shuffles, "seed": case.settings.seed}
        found = measure_spectrum(sample.vectors, sample.occurrences, sample.lineages, **asked)
        results.append(sort_results(sample.space, found))
    joined = join_results(results)
    plots = tuple(_plot_agreement(sample.space, joined.findings, len(case.samples)) for sample in case.samples)
    return SectionResult(
        findings=joined.findings, unmeasured=joined.unmeasured, plots=tuple(plot for plot in plots if plot)
    )


def _plot_agreement(space: str, findings: Sequence[Finding], n_spaces: int) -> SeriesPlot | None:
    """The share of nearest neighbours of the same taxon, by rank; None where no rank could be measured."""
    own = {
        (one.statistic, one.column): one
        for one in findings
        if one.space == space and one.statistic.startswith(AGREEMENT)
    }
    ranks = [rank for rank in RANKS if (AGREEMENT, rank) in own]
    if not ranks:
        return None

    def draw(name: str, ending: str) -> Series:
        found = [own.get((AGREEMENT + ending, rank)) for rank in ranks]
        return Series(
            name=name,
            values=tuple(one.value if one else math.nan for one in found),
            lows=tuple(one.low if one else math.nan for one in found),
            highs=tuple(one.high if one else math.nan for one in found),
        )

    chances = tuple(own[AGREEMENT, rank].chance for rank in ranks)
    return SeriesPlot(
        name=name_plot(AGREEMENT, space if n_spaces > 1 else ""),
        title="Nearest photographs of other occurrences that are of the same taxon"
        + (f": {space}" if n_spaces > 1 else ""),
        places=tuple(ranks),
        axis="share of records",
        series=(
            draw("vectors as they are", ""),
            draw("centred", CENTRED),
            Series(name="chance", values=chances, is_reference=True),
        ),
    )


def summarise_spectrum(entries: Sequence[Entry], tables: Sequence[Table]) -> str:
    """How many dimensions each space uses, how often the nearest is of the same species, and whether there are hubs."""
    spaces = dict.fromkeys(entry.finding.space for entry in entries)
    sentences = [_say_space(space, entries, with_name=len(spaces) > 1) for space in spaces]
    return " ".join(sentence for sentence in sentences if sentence) or "Nothing could be measured."


def _say_space(space: str, entries: Sequence[Entry], *, with_name: bool) -> str:
    found = {(e.finding.statistic, e.finding.column): e.finding for e in entries if e.finding.space == space}
    parts = []
    if one := found.get((f"effective_dimension{CENTRED}", "")):
        parts.append(f"the centred vectors vary as if in {one.value:.0f} even dimensions (of {one.chance:,.0f})")
    ranks = [rank for rank in RANKS if (AGREEMENT, rank) in found]
    if ranks:
        deepest = found[AGREEMENT, ranks[-1]]
        parts.append(
            f"the nearest photograph of another occurrence is of the same {ranks[-1]} for {deepest.value:.0%} of the "
            f"records (chance {deepest.chance:.1%})"
        )
    if one := found.get(("hubness", "")):
        parts.append(f"hubness is {one.value:.1f}" + (" (there are hubs)" if one.low > 1 else ""))
    if not parts:
        return ""
    text = "; ".join(parts) + "."
    return f"{space}: {text}" if with_name else text[0].upper() + text[1:]


SPECTRUM = Section(
    name="spectrum",
    title="Spectrum and neighbours",
    question="How many directions does the space use, are there records that turn up as a neighbour of everything, and "
    "down to which rank are the nearest photographs of the same taxon?",
    measure=measure_spectra,
    summarise=summarise_spectrum,
)
