"""Figures of naming without examples: species in each form of their names, higher ranks in two ways, and traits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from indexer.terms import RANKS
from training.judge.figures import Ask, Task
from training.judge.hierarchy import expect_distance, measure_distance, sum_mass
from training.judge.metrics import measure_top_k
from training.judge.naming import number_labels, write_species
from training.settings import TextType

if TYPE_CHECKING:
    from jaxtyping import Float32, Int64

    from training.judge.case import Case
    from training.judge.collection import Question
    from training.judge.figures import Figure

SPECIES = len(RANKS) - 1
TOP_1, EVEN, BALANCED = "top-1", "top-1, classes even", "balanced accuracy"
TOP_5_FROM = 11
"""Classes from which on the first five are counted too."""
FORMS = {
    TextType.COMMON: "common name",
    TextType.SCIENTIFIC: "scientific name",
    TextType.TAXON: "all ranks",
    TextType.SCIENTIFIC_COMMON: "scientific and common name",
    TextType.TAXON_COMMON: "all ranks and common name",
}
WITHOUT_COMMON = {TextType.SCIENTIFIC_COMMON: TextType.SCIENTIFIC, TextType.TAXON_COMMON: TextType.TAXON}
"""The form that a species without a common name is written in instead."""

Names = list[str | None]


@dataclass(frozen=True, kw_only=True, eq=False)
class SpeciesNames:
    """The species of a collection and how they may be written.

    Attributes:
        lineages: of each species.
        forms: names by form; None where a species has none in that form.
        best: the form that says most.
    """

    lineages: list[tuple[str | None, ...]]
    forms: dict[TextType, Names]

    @property
    def best(self) -> TextType:
        """The form that says most: all ranks, and the common name where any species has one."""
        return list(self.forms)[-1]

    @classmethod
    def of(cls, case: Case, question: Question) -> SpeciesNames:
        """The names of the species of a collection."""
        lineages, vernaculars = case.collection.describe_classes(question)
        return cls(lineages=lineages, forms=_fill_forms(write_species(lineages, vernaculars)))


def _fill_forms(forms: dict[TextType, Names]) -> dict[TextType, Names]:
    """The forms that say something of their own; a species without a common name keeps its name without one."""
    filled: dict[TextType, Names] = {}
    for form, names in forms.items():
        spares = forms[WITHOUT_COMMON.get(form, form)]
        written = [spare if name is None else name for name, spare in zip(names, spares, strict=True)]
        if any(name is not None for name in written) and written not in filled.values():
            filled[form] = written
    return filled


def name_species(case: Case, question: Question) -> Iterator[Figure]:
    """Species by each form of their names; higher ranks and the distance of mistakes by the form that says most."""
    names = SpeciesNames.of(case, question)
    for form, written in names.forms.items():
        known = np.array([place for place, name in enumerate(written) if name is not None])
        if len(known) < len(written):
            n = len(written) - len(known)
            case.leave_out(f"{n:,} of {len(written):,} species when named by {FORMS[form]}", "no record gives one")
        if len(known) < 2:
            continue
        scores = case.vectors @ case.encode_names([str(written[place]) for place in known]).T
        labels = _renumber(question.labels, known)
        yield from _count_names(case, question.label, scores, labels, detail=FORMS[form], is_best=form is names.best)
        if form is names.best:
            yield from _sum_ranks(case, question, scores, names.lineages)
            yield _weigh_mistakes(case, question, scores, names.lineages, detail=FORMS[form])


def name_rank(case: Case, question: Question) -> Iterator[Figure]:
    """Taxa of a higher rank by their bare names."""
    scores = case.vectors @ case.encode_names(question.names).T
    yield from _count_names(case, question.label, scores, question.labels, detail="its name", is_best=True)


def name_values(case: Case, question: Question) -> Iterator[Figure]:
    """Values of a column by their words; every value counts the same."""
    n_classes = len(question.names)
    ask = Ask(
        task=Task.ZERO_SHOT,
        label=question.label,
        measure=BALANCED,
        detail="its words",
        chance=1 / n_classes,
        n_classes=n_classes,
        is_headline=True,
    )
    right = measure_top_k(case.vectors @ case.encode_values(question).T, question.labels, 1)
    yield case.count_even(ask, right, question.labels)


def _count_names(
    case: Case,
    label: str,
    scores: Float32[np.ndarray, "n c"],
    labels: Int64[np.ndarray, " n"],
    *,
    detail: str,
    is_best: bool,
) -> Iterator[Figure]:
    n_classes = scores.shape[1]

    def ask(measure: str, k: int) -> Ask:
        return Ask(
            task=Task.ZERO_SHOT,
            label=label,
            measure=measure,
            detail=detail,
            chance=k / n_classes,
            n_classes=n_classes,
            is_headline=is_best and measure == EVEN,
        )

    right = measure_top_k(scores, labels, 1)
    yield case.count_mean(ask(TOP_1, 1), right)
    if is_best:
        yield case.count_even(ask(EVEN, 1), right, labels)
        if n_classes >= TOP_5_FROM:
            yield case.count_mean(ask("top-5", 5), measure_top_k(scores, labels, 5))


def _sum_ranks(
    case: Case, question: Question, scores: Float32[np.ndarray, "n c"], lineages: list[tuple[str | None, ...]]
) -> Iterator[Figure]:
    """Higher ranks by the summed probability of their species, for pictures whose species is known."""
    own, classes = _number_lineages(case, question, lineages)
    for rank in reversed(range(SPECIES)):
        used = np.unique(classes[:, rank][classes[:, rank] >= 0])
        if len(used) < 2:
            continue
        ask = Ask(
            task=Task.ZERO_SHOT,
            label=RANKS[rank],
            measure=TOP_1,
            detail="species' scores summed",
            chance=1 / len(used),
            n_classes=len(used),
        )
        mass = sum_mass(scores, _renumber(classes[:, rank], used))
        yield case.count_mean(ask, measure_top_k(mass, _renumber(own[:, rank], used), 1))


def _weigh_mistakes(
    case: Case,
    question: Question,
    scores: Float32[np.ndarray, "n c"],
    lineages: list[tuple[str | None, ...]],
    *,
    detail: str,
) -> Figure:
    own, classes = _number_lineages(case, question, lineages)
    n_ranks = int((own >= 0).any(axis=0).sum())
    ask = Ask(
        task=Task.HIERARCHY,
        label=question.label,
        measure=f"ranks off, 0 to {n_ranks}",
        detail=detail,
        chance=float(np.nanmean(expect_distance(own, classes))),
        n_classes=len(classes),
        is_headline=True,
        is_share=False,
    )
    return case.count_mean(ask, measure_distance(own, classes[scores.argmax(axis=1)]), most=n_ranks)


def _number_lineages(
    case: Case, question: Question, lineages: list[tuple[str | None, ...]]
) -> tuple[Int64[np.ndarray, "n 7"], Int64[np.ndarray, "c 7"]]:
    """Codes of the taxa of the pictures and of the species, rank by rank; a picture without species has none."""
    n = len(case.collection)
    both = [*case.collection.lineages, *lineages]
    codes = np.stack([number_labels(lineage[rank] for lineage in both)[0] for rank in range(len(RANKS))], axis=1)
    own, classes = codes[:n].copy(), codes[n:]
    own[question.labels < 0] = -1
    return own, classes


def _renumber(labels: Int64[np.ndarray, " n"], kept: Int64[np.ndarray, " k"]) -> Int64[np.ndarray, " n"]:
    """Places of the labels among the kept ones, which ascend; -1 for the others."""
    places = np.minimum(np.searchsorted(kept, labels), len(kept) - 1)
    renumbered: Int64[np.ndarray, " n"] = np.where(kept[places] == labels, places, -1)
    return renumbered
