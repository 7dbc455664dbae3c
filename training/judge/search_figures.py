"""Figures of search: by picture, by the names of taxa, and by the words of a column's values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from indexer.terms import RANKS
from training.judge.bootstrap import Resampling, estimate_mean
from training.judge.figures import Ask, Task
from training.judge.naming_figures import FORMS, SpeciesNames
from training.judge.retrieval import MAP, search_by_names, search_by_picture, search_by_word

if TYPE_CHECKING:
    from jaxtyping import Bool, Float32, Float64, Int64

    from training.judge.case import Case
    from training.judge.collection import Question
    from training.judge.figures import Figure


MAX_WORDS = 5
"""Values of a column whose words the short table shows one by one."""


def ask_by_picture(case: Case, question: Question) -> Iterator[Figure]:
    """Search for pictures of the same taxon, the query's own occurrence left out."""
    result = search_by_picture(case.vectors, question.labels, case.collection.occurrences)
    is_named = question.labels >= 0
    n_alone = int((is_named & np.isnan(result.values[MAP])).sum())
    if n_alone:
        why = f"no other occurrence of their {question.label} is there; they stay among the answers"
        case.leave_out(f"{n_alone:,} pictures never ask in the search by picture for {question.label}", why)
    if n_alone == is_named.sum():
        return
    for measure, values in result.values.items():
        expected = result.expected[measure]
        ask = Ask(
            task=Task.PICTURE_SEARCH,
            label=question.label,
            measure=measure,
            chance=float(np.nanmean(expected)),
            is_headline=measure == MAP,
        )
        yield case.count_mean(ask, values)
        if measure == MAP:
            by_class = [np.mean(expected[own]) for own in _list_asked(question.labels, expected)]
            even = replace(ask, measure=f"{MAP}, classes even", chance=float(np.mean(by_class)), is_headline=False)
            yield case.count_even(even, values, question.labels)


def _list_asked(labels: Int64[np.ndarray, " n"], values: Float64[np.ndarray, " n"]) -> Iterator[Bool[np.ndarray, " n"]]:
    """The pictures that count, class by class."""
    counts = np.isfinite(values)
    for label in np.unique(labels[counts]):
        yield counts & (labels == label)


def ask_by_name(case: Case, question: Question) -> Iterator[Figure]:
    """Search by the name of each taxon of a rank; species in the form that says most.

    Average precision is resampled by occurrence with the ranking left as it is (see `search_by_names`); the measures of
    the first k hits, which belong to a name and not to a picture, by name.
    """
    names, detail = list(question.names), "its name"
    if question.rank == len(RANKS) - 1:
        species = SpeciesNames.of(case, question)
        names, detail = [str(name) for name in species.forms[species.best]], FORMS[species.best]
    yield from _ask_all(case, question, case.encode_names(names), detail=detail)


def _ask_all(case: Case, question: Question, texts: Float32[np.ndarray, "c d"], *, detail: str) -> Iterator[Figure]:
    """The means over the texts of all classes."""
    result = search_by_names(texts, case.vectors, question.labels)
    by_name = Resampling(np.arange(len(texts)), n_draws=case.settings.n_draws, seed=case.settings.seed)
    for measure, values in result.values.items():
        ask = Ask(
            task=Task.TEXT_SEARCH,
            label=question.label,
            measure=measure,
            detail=detail,
            chance=result.chance[measure],
            n_classes=len(texts),
            is_headline=measure == MAP,
        )
        if measure == MAP:
            yield case.count_even(ask, result.at_pictures, question.labels)
        else:
            yield case.answer(ask, estimate_mean(values, by_name), result.at_pictures)


def ask_by_value(case: Case, question: Question) -> Iterator[Figure]:
    """Search by the word of each value of a column, one by one, among the pictures that have a value.

    Of more than `MAX_WORDS` values the headline is the mean over them.
    """
    texts = case.encode_values(question)
    are_many = len(question.names) > MAX_WORDS
    if are_many:
        yield from _ask_all(case, question, texts, detail="each of its words")
    among = question.labels >= 0
    for place, value in enumerate(question.names):
        result = search_by_word(texts[place], case.vectors, question.labels == place, among, case.resampling)
        for measure, estimate in result.estimates.items():
            ask = Ask(
                task=Task.TEXT_SEARCH,
                label=question.label,
                measure=measure,
                detail=f"“{value}”",
                chance=result.chance[measure],
                n_classes=1,
                is_headline=measure == MAP and not are_many,
            )
            yield case.answer(ask, estimate, np.where(among, 0.0, np.nan))
