"""How statistics are called on the page, in plots and in summaries."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from explorer.geometry.finding import Finding
from explorer.geometry_report.plots import IntervalPlot, IntervalRow, Panel, Plot
from explorer.geometry_report.report import Cell, Chapter, Entry, Report

PLURALS = {"class": "classes", "order": "orders", "family": "families", "genus": "genera"}
CENTRED = "_centred"
"""Ends the name of a statistic of centred vectors."""


HINT = (
    "A point is the value, its bar the 95 % interval; the grey band holds 95 % of the values that shuffled labels "
    "give; the tick is what chance gives by formula."
)


@dataclass(frozen=True, kw_only=True)
class Wording:
    """A statistic in words.

    Attributes:
        title: As the head of a panel says it.
        short: As a sentence names it.
        is_headline: Whether a summary speaks of it; False where its p answers a side question.
        is_drawn: Whether it has a panel; False where another plot shows it.
        has_chance: Whether chance is marked; False where it is far off, as for dimensions.
        unit: Stands for the column where there is none.
    """

    title: str
    short: str
    is_headline: bool = True
    is_drawn: bool = True
    has_chance: bool = True
    unit: str = "all species"


def _word_space(title: str, short: str) -> Wording:
    """A statistic of all records, whose chance is that of a space without any structure."""
    return Wording(title=title, short=short, is_headline=False, has_chance=False, unit="as they are")


WORDINGS: dict[str, Wording] = {
    "fisher": Wording(
        title="Fisher ratio (squared distance of the two states over their spread)", short="Fisher ratio"
    ),
    "auc": Wording(title="Ranking of states in genera held out (AUC)", short="AUC over genera"),
    "rho": Wording(title="Reading of single records, genera held out (rank correlation)", short="rank correlation"),
    "species_rho": Wording(
        title="Reading of species, genera held out (rank correlation)", short="rank correlation of species"
    ),
    "span_share": Wording(
        title="Share of within-species variation in the span of the species",
        short="share of within-species variation in the span",
        is_headline=False,
    ),
    "span#_share": Wording(
        title="Share of within-species variation in the # widest directions of the species",
        short="share of within-species variation in the # widest directions",
        is_headline=False,
    ),
    "direction_share": Wording(
        title="Share of the step between states in the span of the species",
        short="share of the step in the span",
        is_headline=False,
    ),
    "direction#_share": Wording(
        title="Share of the step between states in the # widest directions of the species",
        short="share of the step in the # widest directions",
        is_headline=False,
    ),
    **{
        f"knn_{kind}{ending}": Wording(
            title=f"{what} of the 10 nearest {others}", short=f"{short} the nearest {others}"
        )
        for kind, what, short in (
            ("agreement", "Share with the same value", "same value as"),
            ("gap", "Difference in rank (1 is chance, 0 none)", "difference from"),
        )
        for ending, others in (
            ("", "species"),
            ("_other_genus", "species of other genera"),
            ("_other_family", "species of other families"),
        )
    },
    **{
        f"{kind}_{rank}_out": Wording(
            title=f"Read from vectors, {plural} held out ({measure})", short=f"{measure} with {plural} held out"
        )
        for kind, measure in (("accuracy", "balanced accuracy"), ("rho", "rank correlation"))
        for rank, plural in (("species", "species"), ("genus", "genera"), ("family", "families"))
    },
    "kinship_dcor": Wording(
        title="Distance correlation of the space with kinship", short="distance correlation with kinship"
    ),
    "kinship_mantel": Wording(
        title="Mantel correlation of the space with kinship", short="Mantel correlation with kinship"
    ),
    "dcor": Wording(title="Distance correlation", short="distance correlation"),
    "partial_dcor": Wording(title="Distance correlation, given kinship", short="distance correlation given kinship"),
    "mantel": Wording(title="Mantel correlation", short="Mantel correlation"),
    "partial_mantel": Wording(title="Mantel correlation, given kinship", short="Mantel correlation given kinship"),
    "variance_trait": Wording(
        title="Share of the variance between species by the trait alone", short="share of variance by the trait alone"
    ),
    "within_auc": Wording(
        title="Telling states apart from other occurrences of the same species (AUC)", short="AUC inside species"
    ),
    "species_transfer_auc": Wording(
        title="Telling states apart in species that the probe never saw (AUC)", short="AUC in other species"
    ),
    "genus_transfer_auc": Wording(
        title="Telling states apart in genera that the probe never saw (AUC)", short="AUC in other genera"
    ),
    "species_step_cosine": Wording(
        title="Cosine of the steps between states in two species", short="cosine of the steps of two species"
    ),
    "genus_step_cosine": Wording(
        title="Cosine of the steps between states in two genera", short="cosine of the steps of two genera"
    ),
    "angle#_overlap": Wording(
        title="Overlap of the steps with the # widest directions of the species (mean squared cosine)",
        short="overlap of the steps with the # widest directions",
        is_headline=False,
    ),
    "angle_overlap": Wording(
        title="Overlap of the steps with the span of the species", short="overlap of the steps with the span"
    ),
    "cka": Wording(title="Similarity of all similarities (CKA, debiased)", short="CKA", unit="both spaces"),
    "overlap": Wording(title="Shared nearest neighbours (of 10)", short="overlap of neighbours", unit="both spaces"),
    "procrustes": Wording(
        title="One space given back by rotating the other (Procrustes, held out)",
        short="Procrustes",
        unit="both spaces",
    ),
    "effective_dimension": _word_space("Effective dimension (participation ratio)", "effective dimension"),
    "entropy_dimension": _word_space("Entropy dimension", "entropy dimension"),
    "isotropy": _word_space("Isotropy (IsoScore, 0 to 1)", "isotropy"),
    "mean_cosine": replace(_word_space("Mean cosine of two records", "mean cosine"), has_chance=True),
    "hubness": replace(_word_space("Hubness (skewness of 10-occurrence)", "hubness"), has_chance=True),
    "intrinsic_dimension": _word_space("Intrinsic dimension around a record (TwoNN)", "intrinsic dimension"),
    **{
        f"suspects_{kind}": Wording(title=words.capitalize(), short=words)
        for kind, words in (
            ("label", "labels that neighbours deny"),
            ("stranger", "images unlike anything in their taxon"),
            ("duplicate", "near-duplicates"),
            ("split", "species in two clusters"),
        )
    },
    "agreement": Wording(
        title="Nearest photograph of another occurrence is of the same taxon",
        short="same taxon as the nearest photograph",
        is_drawn=False,
    ),
}


def find_wording(statistic: str) -> Wording:
    """The words for a statistic; its name, spaced, where there are none."""
    if statistic.endswith(CENTRED):
        plain = find_wording(statistic.removesuffix(CENTRED))
        return replace(plain, short=f"{plain.short}, centred", unit="centred")
    if statistic in WORDINGS:
        return WORDINGS[statistic]
    number = re.search(r"\d+", statistic)
    known = WORDINGS.get(re.sub(r"\d+", "#", statistic))
    if known is None or number is None:
        spaced = statistic.replace("_", " ")
        return Wording(title=spaced[:1].upper() + spaced[1:], short=spaced)
    title, short = (text.replace("#", number.group()) for text in (known.title, known.short))
    return replace(known, title=title, short=short)


def name_finding(finding: Finding) -> str:
    """A finding in a few words, as `AUC over genera of sex`."""
    of = f" of {finding.column}" if finding.column else ""
    return find_wording(finding.statistic).short + of


def name_entry(report: Report, statistic: str, column: str, space: str) -> str:
    """A statistic as a table names it, as `Fisher ratio: sex (bundled)`; the space where the report has several."""
    short = find_wording(statistic).short
    text = short[:1].upper() + short[1:] + (f": {column}" if column else "")
    return f"{text} ({space})" if space and len(report.facts.spaces) > 1 else text


def list_unmeasured(report: Report) -> list[tuple[str, str]]:
    """What was not measured and why; statistics of one column that share a reason are named together."""
    groups: dict[tuple[str, str], list[str]] = {}
    for one in report.unmeasured:
        short = find_wording(one.statistic).short
        space = f" ({one.space})" if one.space and len(report.facts.spaces) > 1 else ""
        groups.setdefault((f": {one.column}{space}" if one.column else space, one.reason), []).append(short)
    rows = []
    for (of, reason), names in groups.items():
        text = ", ".join(dict.fromkeys(names)) + of
        rows.append((text[:1].upper() + text[1:], reason))
    return rows


def say_number(number: float) -> str:
    """The number to three figures, or three places where it is below 1; a dash where there is none."""
    if not math.isfinite(number):
        return "–"
    if number == 0:
        return "0"
    if 0.001 <= abs(number) < 1:
        return f"{number:.3f}".replace("-", "−")
    return f"{number:,.3g}".replace("-", "−") if abs(number) < 1000 else f"{number:,.0f}".replace("-", "−")


def say_interval(low: float, high: float) -> str:
    """Two ends of a span; a dash where either is missing."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return "–"
    return f"{say_number(low)} to {say_number(high)}"


def say_p(p: float) -> str:
    """A p to two figures."""
    return f"{p:.2g}" if math.isfinite(p) else "–"


def plot_entries(name: str, entries: Sequence[Entry], spaces: Sequence[str]) -> IntervalPlot | None:
    """The findings as a plot, a panel per statistic; None where there is none with a value."""
    shown = [
        entry
        for entry in entries
        if math.isfinite(entry.finding.value) and find_wording(entry.finding.statistic).is_drawn
    ]
    titles = list(dict.fromkeys(find_wording(entry.finding.statistic).title for entry in shown))
    panels = tuple(
        Panel(
            title=title,
            rows=tuple(_row(entry) for entry in shown if find_wording(entry.finding.statistic).title == title),
        )
        for title in titles
    )
    present = {entry.finding.space for entry in shown}
    order = [space for space in spaces if space in present] + sorted(present - set(spaces))
    return IntervalPlot(name=name, spaces=tuple(order), panels=panels) if panels else None


def _row(entry: Entry) -> IntervalRow:
    found, wording = entry.finding, find_wording(entry.finding.statistic)
    return IntervalRow(
        label=found.column or wording.unit,
        space=found.space,
        value=found.value,
        low=found.low,
        high=found.high,
        null_low=found.null_low,
        null_high=found.null_high,
        chance=found.chance if wording.has_chance else math.nan,
        note=f"{say_number(found.value)} [{say_interval(found.low, found.high)}], p = {say_p(found.p)}",
    )


def say_title(report: Report) -> str:
    """The head of the report."""
    return f"Geometry of {report.facts.corpus}, space {report.facts.spaces[0].name}"


def say_cell(cell: Cell) -> str:
    """A cell of a table."""
    if cell is None:
        return "–"
    if isinstance(cell, bool | str):
        return str(cell)
    return f"{cell:,}" if isinstance(cell, int) else say_number(cell)


def describe_facts(report: Report) -> list[tuple[str, str]]:
    """What the report rests on, term by term."""
    facts = report.facts
    taxa = ", ".join(f"{n:,} {PLURALS.get(rank, rank) if n != 1 else rank}" for rank, n in facts.n_taxa.items())
    pairs = [("records", f"{facts.n_records:,} images of {facts.n_occurrences:,} occurrences{taxa and '; ' + taxa}")]
    pairs += [("left out", text) for text in facts.left_out]
    for space in facts.spaces:
        fingerprint = f"; fingerprint {space.fingerprint}" if space.fingerprint else ""
        pairs.append((f"space {space.name}", f"{space.encoder}; {space.dimension:,} dimensions{fingerprint}"))
    pairs.append(("corpus", f"{facts.corpus}, version {facts.records_version} of its records"))
    return pairs


def list_plots(report: Report, chapter: Chapter) -> list[Plot]:
    """The plots of a chapter: that of its findings first."""
    spaces = [space.name for space in report.facts.spaces]
    of_entries = plot_entries(chapter.name, chapter.entries, spaces)
    return [*([of_entries] if of_entries else []), *chapter.plots]
