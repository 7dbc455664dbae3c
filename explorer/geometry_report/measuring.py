"""Measuring a report: from a corpus and settings to all chapters, or the report that is kept already."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from explorer.geometry.many_tests import adjust_p
from explorer.geometry_report.case import Case, Place, gather_samples, open_places
from explorer.geometry_report.chapters import SECTIONS
from explorer.geometry_report.columns import ColumnPlan, list_candidates, plan_columns
from explorer.geometry_report.report import Chapter, Entry, Facts, Report, Unmeasured
from explorer.geometry_report.sections import Section, SectionResult
from explorer.geometry_report.store import find_report, keep_report, make_key
from indexer.errors import QueryError
from indexer.terms import RANKS

if TYPE_CHECKING:
    from explorer.geometry.phylogeny import Phylogeny
    from explorer.geometry.sample import Sample
    from explorer.geometry.traits import TraitTable
    from explorer.geometry_report.settings import GeometrySettings
    from indexer.corpus import Corpus

Announce = Callable[[str], None]
MAX_TRAITS = 8
"""Columns of a trait table that are measured unasked; --by names others."""
MAX_CATEGORIES = 12
MAX_AT_ONCE = 2
"""Sections measured at once: each holds some copies of the vectors, and together they are to stay below 4 GiB."""


def measure_geometry(corpus: Corpus, settings: GeometrySettings, announce: Announce) -> Report:
    """The report; measured and kept where it is not kept yet.

    Raises:
        InputError: A space, column, filter, table or tree that cannot be used.
    """
    places = open_places(corpus, settings)
    key = make_key(places, settings)
    kept = find_report(places[0].space, key)
    if kept is not None:
        announce(f"the same report was made on {kept.facts.made[:16].replace('T', ' ')} UTC; nothing is measured again")
        return kept
    start = perf_counter()
    report = _measure(corpus, settings, places, announce)
    report = replace(report, facts=replace(report.facts, seconds=round(perf_counter() - start, 1)))
    keep_report(places[0].space, key, report)
    return report


def _measure(corpus: Corpus, settings: GeometrySettings, places: Sequence[Place], announce: Announce) -> Report:
    traits, tree = _read_species_files(settings)
    columns, joined = _choose_columns(corpus, settings, traits)
    announce(f"reading vectors of {', '.join(place.label for place in places)}")
    samples, left_out = gather_samples(places, columns, settings)
    plan = replace(_plan(samples[0], columns, settings), joined=joined)
    case = Case(samples=samples, plan=plan, settings=settings, traits=traits, tree=tree)
    announce(
        f"{len(case.main):,} records; within species: {_say(plan.within)}; between species: "
        f"{_say((*plan.between, *plan.joined))}"
    )
    found = _measure_sections(case, announce)
    unmeasured = tuple(
        Unmeasured(space="", statistic=one.statistic, column=one.column, reason=one.reason) for one in case.plan.unfit
    )
    return Report(
        facts=_state_facts(places, case.main, left_out),
        settings=_state_settings(settings, case.plan),
        command=settings.say_command(corpus.path),
        chapters=_write_chapters(found),
        unmeasured=unmeasured + tuple(one for _, result in found for one in result.unmeasured),
        suspects=tuple(one for _, result in found for one in result.suspects),
    )


def _measure_sections(case: Case, announce: Announce) -> list[tuple[Section, SectionResult]]:
    """What each section found. They share nothing but the case, and run beside each other, one core each."""
    from concurrent.futures import ThreadPoolExecutor
    from threading import Lock

    from threadpoolctl import threadpool_limits

    n_threads = min(len(SECTIONS), os.cpu_count() or 1, MAX_AT_ONCE)
    speaking = Lock()

    def say(line: str) -> None:
        with speaking:
            announce(line)

    with threadpool_limits(limits=1), ThreadPoolExecutor(n_threads) as pool:
        results = pool.map(lambda section: section.measure(case, say), SECTIONS)
        return list(zip(SECTIONS, results, strict=True))


def _read_species_files(settings: GeometrySettings) -> tuple[TraitTable | None, Phylogeny | None]:
    """The trait table and the tree, where they are given; InputError where one cannot be read."""
    from explorer.geometry.phylogeny import read_tree
    from explorer.geometry.traits import read_trait_table

    traits = read_trait_table(settings.traits) if settings.traits else None
    return traits, read_tree(settings.tree) if settings.tree else None


def _choose_columns(
    corpus: Corpus, settings: GeometrySettings, traits: TraitTable | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The columns of the records, and those of the trait table; a name that both have is the records'."""
    known = corpus.column_types()
    of_table = tuple(traits.columns) if traits else ()
    if not settings.columns:
        return list_candidates(list(known)), _pick_traits(traits)
    asked = tuple(dict.fromkeys(settings.columns))
    unknown = [name for name in asked if name not in known and name not in of_table]
    if unknown:
        raise QueryError(_explain_unknown(corpus.name, unknown[0], [*known, *of_table]))
    return tuple(name for name in asked if name in known), tuple(name for name in asked if name not in known)


def _pick_traits(traits: TraitTable | None) -> tuple[str, ...]:
    """The first columns of the table that say something: of more than one value, and not another one for each row."""
    if traits is None:
        return ()
    useful = []
    for name, cells in traits.columns.items():
        values = [cell for cell in cells if cell is not None]
        is_number = all(isinstance(value, float) for value in values)
        if len(set(values)) > 1 and (is_number or len(set(values)) <= MAX_CATEGORIES):
            useful.append(name)
    return tuple(useful[:MAX_TRAITS])


def _explain_unknown(corpus: str, column: str, known: Sequence[str]) -> str:
    from difflib import get_close_matches

    close = get_close_matches(column, known, n=3, cutoff=0.6)
    hint = f"Did you mean {' or '.join(close)}?" if close else f"There is {', '.join(known)}."
    return f"--by {column}: neither {corpus} nor a trait table has such a column. {hint}"


def _plan(sample: Sample, columns: Sequence[str], settings: GeometrySettings) -> ColumnPlan:
    values = {name: sample.read_texts(name) for name in columns}
    return plan_columns(values, sample.taxa_at("species"), are_asked=bool(settings.columns))


def _write_chapters(found: Sequence[tuple[Section, SectionResult]]) -> tuple[Chapter, ...]:
    """The chapters, q taken over the tests of all of them; a section that found nothing is left out."""
    findings = [finding for _, result in found for finding in result.findings]
    adjusted = iter(adjust_p(findings))
    chapters = []
    for section, result in found:
        entries = tuple(Entry(finding=finding, q=next(adjusted)) for finding in result.findings)
        if entries or result.tables or result.plots:
            chapters.append(
                Chapter(
                    name=section.name,
                    title=section.title,
                    question=section.question,
                    summary=section.summarise(entries, result.tables),
                    entries=entries,
                    tables=tuple(table for table in result.tables if table.columns),
                    plots=result.plots,
                )
            )
    return tuple(chapters)


def _state_facts(places: Sequence[Place], sample: Sample, left_out: tuple[str, ...]) -> Facts:
    from importlib.metadata import version

    taxa = {rank: len(np.unique(codes[codes >= 0])) for rank in RANKS[2:] for codes in [sample.taxa_at(rank)]}
    return Facts(
        corpus=places[0].corpus.name,
        records_version=int(places[0].corpus.open_records().version),
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        made_with=f"morphospace {version('morphospace')}",
        seconds=0.0,
        n_records=len(sample),
        n_occurrences=len(np.unique(sample.occurrences)),
        n_taxa={rank: n for rank, n in taxa.items() if n},
        left_out=left_out,
        spaces=tuple(place.describe() for place in places),
    )


def _state_settings(settings: GeometrySettings, plan: ColumnPlan) -> dict[str, str]:
    chosen = "as asked" if settings.columns else "chosen, because they look like variants or ecology"
    return {
        "columns within species": _say(plan.within),
        "columns between species": _say((*plan.between, *plan.joined)),
        "how columns were chosen": chosen,
        "filter": settings.where or "none",
        "trait table": str(settings.traits) if settings.traits else "none",
        "phylogeny": str(settings.tree) if settings.tree else "none; relatedness by taxonomy",
        "compared with": ", ".join(settings.compare) or "nothing",
        "shuffles of each null": f"{settings.n_shuffles:,}",
        "seed": str(settings.seed),
    }


def _say(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"
