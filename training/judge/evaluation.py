"""How good an encoder is on a collection: names, examples, probes and search, per rank and column.

All figures of one collection rest on the same resampled occurrences, folds and examples whatever the encoder, so that
two evaluations with the same settings can be compared in pairs (`training.judge.comparison`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from indexer.terms import RANKS
from training.judge.case import Case, JudgeSettings
from training.judge.example_figures import name_after_examples, probe
from training.judge.naming_figures import SPECIES, name_rank, name_species, name_values
from training.judge.search_figures import ask_by_name, ask_by_picture, ask_by_value

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float32

    from training.judge.collection import Collection
    from training.judge.figures import Figure, Omission
    from training.judge.naming import EncodeTexts


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation:
    """An encoder's figures on a collection.

    Attributes:
        encoder: its name, as tables show it.
        figures: all of them.
        omissions: what was not measured, or not on everything, and why; the same for every encoder.
    """

    encoder: str
    figures: tuple[Figure, ...]
    omissions: tuple[Omission, ...]


def judge_encoder(
    encoder: str,
    vectors: Float32[np.ndarray, "n d"],
    encode_texts: EncodeTexts,
    collection: Collection,
    settings: JudgeSettings | None = None,
) -> Evaluation:
    """Every figure that the collection allows.

    Args:
        encoder: its name, as tables show it.
        vectors: unit vectors of the collection's pictures, in their order.
        encode_texts: the same encoder's unit vectors of texts.
        collection: what it is judged on.
        settings: None takes the defaults.
    """
    chosen = settings or JudgeSettings()
    case = Case(vectors=vectors, encode_texts=encode_texts, collection=collection, settings=chosen)
    figures = tuple(_judge(case))
    return Evaluation(encoder=encoder, figures=figures, omissions=(*collection.notes, *case.omissions))


def _judge(case: Case) -> Iterator[Figure]:
    asked = [case.ask_rank(rank) for rank in reversed(range(len(RANKS)))]
    ranks = [question for question in asked if question is not None]
    columns = [question for name in case.collection.columns if (question := case.ask_column(name)) is not None]
    for question in ranks:
        yield from name_species(case, question) if question.rank == SPECIES else name_rank(case, question)
    for question in columns:
        yield from name_values(case, question)
    for question in (*ranks, *columns):
        for n_shots in case.settings.shots:
            yield from name_after_examples(case, question, n_shots=n_shots)
        yield from probe(case, question)
    for question in ranks:
        yield from ask_by_picture(case, question)
        yield from ask_by_name(case, question)
    for question in columns:
        yield from ask_by_value(case, question)
