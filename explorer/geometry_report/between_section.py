"""Between species: whether a trait of species shows in where they lie, over and above what kinship gives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from explorer.geometry.between import BetweenSpecies, measure_between
from explorer.geometry.finding import Finding, Skipped
from explorer.geometry.phylogeny import SpeciesDistances, measure_taxonomy, measure_tree
from explorer.geometry.sample import Sample
from explorer.geometry.species_means import SpeciesMeans, average_species
from explorer.geometry.trait_distances import measure_kinship
from explorer.geometry.traits import Trait, TraitJoin, gather_trait, join_traits
from explorer.geometry_report.case import Case
from explorer.geometry_report.plots import Series, SeriesPlot, name_plot
from explorer.geometry_report.report import Cell, Entry, Table, Unmeasured
from explorer.geometry_report.sections import Section, SectionResult, join_results, sort_results
from explorer.geometry_report.wording import say_interval, say_number

if TYPE_CHECKING:
    from jaxtyping import Int64

N_LISTED = 40
"""Names that a table of a join lists."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Joined:
    """The species of a case with what was joined to them by name.

    Attributes:
        names: Of the species, in the order of their means.
        lineages: Their taxa, kingdom to species; -1 where not known.
        table: The trait table's values; None where none was given.
        kinship: Distances in the tree; None where none was given.
    """

    names: tuple[str, ...]
    lineages: Int64[np.ndarray, "g 7"]
    table: TraitJoin | None
    kinship: SpeciesDistances | None


def measure_traits(case: Case, announce: Callable[[str], None]) -> SectionResult:
    """Every statistic of each trait in each space, the shares of variance as a plot, and the faults of the joins."""
    if (case.main.taxa_at("species") < 0).all():
        reason = "no record names a species"
        return SectionResult(unmeasured=(Unmeasured(space="", statistic="kinship_mantel", column="", reason=reason),))
    results: list[SectionResult] = []
    joined = None
    for sample in case.samples:
        announce(f"between species: {sample.space}")
        means = average_species(sample.vectors, sample.occurrences, sample.lineages)
        joined = joined or _join(case, means)
        results.append(_measure_space(case, sample, means, joined))
    return join_results([*results, SectionResult(tables=tuple(_list_joins(joined)) if joined else ())])


def _measure_space(case: Case, sample: Sample, means: SpeciesMeans, joined: _Joined) -> SectionResult:
    """How far the space follows kinship, and every trait in it."""
    kinship = joined.kinship or measure_taxonomy(means.lineages)
    n_shuffles, seed = case.settings.n_shuffles, case.settings.seed
    found = [
        measure_between(means, trait, kinship=kinship, n_shuffles=n_shuffles, seed=seed)
        for trait in _list_traits(case, sample, means, joined)
    ]
    results: list[Finding | Skipped] = list(measure_kinship(means, kinship, n_shuffles=n_shuffles, seed=seed))
    for each in found:
        results.extend(each.findings)
        results.extend(each.skipped)
    plots = _plot_shares(found, sample.space if len(case.samples) > 1 else "")
    return replace(sort_results(sample.space, results), plots=plots)


def _join(case: Case, means: SpeciesMeans) -> _Joined:
    names = tuple(case.main.name_taxon(int(taxon)) for taxon in means.taxa)
    return _Joined(
        names=names,
        lineages=means.lineages,
        table=join_traits(names, case.traits) if case.traits else None,
        kinship=measure_tree(case.tree, names) if case.tree else None,
    )


def _list_traits(case: Case, sample: Sample, means: SpeciesMeans, joined: _Joined) -> Iterator[Trait]:
    for column in case.plan.between:
        values = sample.read_texts(column)
        yield gather_trait(column, values, means.places, sample.occurrences, n_species=len(means))
    if joined.table:
        for column in case.plan.joined:
            yield joined.table.find_trait(column)


def _plot_shares(found: Sequence[BetweenSpecies], space: str) -> tuple[SeriesPlot, ...]:
    """The variance of the species by trait, taxonomy, both and neither."""
    parts = [each.partition for each in found if each.partition]
    if not parts:
        return ()
    ranks = "/".join(dict.fromkeys(part.rank for part in parts))
    series = (
        Series(name="the trait alone", values=tuple(part.trait for part in parts)),
        Series(name=f"trait and {ranks} together", values=tuple(part.shared for part in parts)),
        Series(name=f"{ranks} alone", values=tuple(part.taxonomy for part in parts)),
        Series(name="neither", values=tuple(part.rest for part in parts), is_reference=True),
    )
    plot = SeriesPlot(
        name=name_plot("variance", space),
        title="What explains the differences between species" + (f": {space}" if space else ""),
        places=tuple(part.column for part in parts),
        axis="share of the variance of species' directions (adjusted R²)",
        series=series,
        is_stacked=True,
    )
    return (plot,)


def _list_joins(joined: _Joined) -> Iterator[Table]:
    """What a person should check of the joins by name."""
    for title, join in (
        ("The trait table, joined by name", joined.table),
        ("The tree, joined by name", joined.kinship),
    ):
        if join is None:
            continue
        rows: list[tuple[Cell, ...]] = [(one.species, one.candidate, one.reason) for one in join.doubtful]
        suggested = {one.species for one in join.doubtful}
        rows += [(name, None, "no such name") for name in _sort_missing(joined, join) if name not in suggested]
        if isinstance(join, TraitJoin):
            rows += [
                (one.species, None, f"{one.n_rows} rows differ in {', '.join(one.columns[:4])}")
                for one in join.repeated
            ]
        more = f" The first {N_LISTED} of {len(rows):,} are listed." if len(rows) > N_LISTED else ""
        heads = ("species", "may be", "because")
        yield Table(title=title, reading=join.reading + more, columns=heads, rows=tuple(rows[:N_LISTED]))


def _sort_missing(joined: _Joined, join: TraitJoin | SpeciesDistances) -> list[str]:
    """The species that were not found, near kin of those found first: of a table of birds a missing bird tells more
    than a missing plant."""
    found = {match.species for match in join.matched}
    is_found = np.array([name in found for name in joined.names], dtype=bool)
    kin = [np.isin(taxa, taxa[is_found & (taxa >= 0)]) for taxa in joined.lineages.T]
    closeness = dict(zip(joined.names, np.sum(kin, axis=0).tolist(), strict=True))
    return sorted(join.unmatched, key=lambda name: -closeness[name])


def summarise_traits(entries: Sequence[Entry], tables: Sequence[Table]) -> str:
    """Which traits lie in the space over and above kinship, and how far the space follows kinship at all."""
    first = entries[0].finding.space if entries else ""
    of_traits = [entry for entry in entries if entry.finding.column and entry.finding.space == first]
    kinship = next((entry.finding for entry in entries if entry.finding.statistic == "kinship_mantel"), None)
    said = []
    if kinship:
        numbers = f"{say_number(kinship.value)} [{say_interval(kinship.low, kinship.high)}]"
        said.append(f"The Mantel correlation of distances in the space with kinship is {numbers}.")
    if of_traits:
        n_out, n_tests = (Counter(e.finding.column for e in which) for which in (_pick_out(of_traits), of_traits))
        out, silent = [c for c in n_tests if n_out[c]], [c for c in n_tests if not n_out[c]]
        if out:
            counts = ", ".join(f"{column} in {n_out[column]} of {n_tests[column]} tests" for column in out)
            where = f" in {first}" if any(entry.finding.space != first for entry in entries) else " in the space"
            said.append(
                f"Over and above kinship (values shuffled among relatives, q ≤ 0.05) these show{where}: {counts}. How "
                "far a value lies from its shuffles says how much there is; few tests of many say little."
            )
        if silent:
            said.append(
                f"No test finds {', '.join(silent)} there (q ≤ 0.05); that does not show that nothing is: the "
                "intervals say how much may be."
            )
    return " ".join(said) or "Nothing could be measured."


def _pick_out(entries: Sequence[Entry]) -> list[Entry]:
    return [entry for entry in entries if entry.stands_out]


BETWEEN = Section(
    name="between",
    title="Between species",
    question="Do species that share a trait lie together, more than their kinship explains?",
    measure=measure_traits,
    summarise=summarise_traits,
)
