"""INQUIRE-Rerank: putting 100 pictures per question of an ecologist into order (Vendrow et al. 2024, NeurIPS Datasets).

Layout as on the hub (`evendrow/INQUIRE-Rerank`, its card)::

    data/test-*.parquet         16,000 rows: image (struct of `bytes` and `path`), query, relevant (0 or 1),
                                inat24_image_id, supercategory, category, iconic_group …
    data/validation-*.parquet   4,000 rows

The test part is judged where it is there, else validation.

Protocol (inquire-benchmark/INQUIRE:src/eval_rerank_with_clip.py and metrics.py): pictures of a question are ordered by
the cosine with its text as it stands, without a template. AP@k is the sum of the precisions at the relevant pictures
among the first k, divided by k or by the number of relevant ones if that is less; the mean over questions. AP@50 is
given over all, per supercategory and per category; AP over all 100 as well, which is what the released script prints as
AP.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from indexer.errors import SourceError
from training.judge.bootstrap import Resampling, estimate_mean
from training.judge.metrics import average_precision
from training.judge.naming import EncodeTexts
from training.judge.protocols.base import Effort, JudgeProtocol, make_figure, require, require_columns
from training.judge.protocols.pictures import ParquetPictures, Pictures
from training.judge.protocols.rare_species import find_image_column

if TYPE_CHECKING:
    import pyarrow as pa
    from jaxtyping import Bool, Float32, Float64, Int64

    from training.judge.figures import Figure

K = 50
PARTS = ("test", "validation")
LAYOUT = "data/test-*.parquet or data/validation-*.parquet, as on the hub"
COLUMNS = ("query", "relevant", "inat24_image_id", "supercategory", "category")


@dataclass(frozen=True, kw_only=True)
class Question:
    """A question with its pictures.

    Attributes:
        pictures: Positions among the task's pictures.
        is_relevant: Which of them answer it.
    """

    text: str
    supercategory: str
    category: str
    pictures: Int64[np.ndarray, " n"]
    is_relevant: Bool[np.ndarray, " n"]


@dataclass(frozen=True, kw_only=True)
class InquireTask:
    """Questions about pictures; a picture may belong to several questions."""

    pictures: Pictures
    questions: tuple[Question, ...]

    def judge(self, vectors: Float32[np.ndarray, "n d"], encode_texts: EncodeTexts, effort: Effort) -> list[Figure]:
        """AP@50 over all questions, per supercategory and per category, and AP over all pictures of each question."""
        texts = encode_texts([question.text for question in self.questions])
        first, whole = np.zeros(len(texts)), np.zeros(len(texts))
        for place, question in enumerate(self.questions):
            scores = (vectors[question.pictures] @ texts[place])[None]
            first[place] = average_precision(scores, question.is_relevant[None], k=K)[0]
            whole[place] = average_precision(scores, question.is_relevant[None])[0]
        return [*self._report(first, effort), self._make_figure("AP", "", whole, self._everything(), None, effort)]

    def _everything(self) -> Bool[np.ndarray, " q"]:
        return np.ones(len(self.questions), bool)

    def _report(self, values: Float64[np.ndarray, " q"], effort: Effort) -> Iterator[Figure]:
        yield self._make_figure(f"AP@{K}", "", values, self._everything(), K, effort)
        groups = np.array([question.supercategory for question in self.questions])
        kinds = np.array([f"{question.supercategory}: {question.category}" for question in self.questions])
        for names in (groups, kinds):
            for name in sorted(set(names.tolist())):
                yield self._make_figure(f"AP@{K}", name, values, names == name, K, effort)

    def _make_figure(
        self,
        measure: str,
        detail: str,
        values: Float64[np.ndarray, " q"],
        own: Bool[np.ndarray, " q"],
        k: int | None,
        effort: Effort,
    ) -> Figure:
        asked = [question for question, is_own in zip(self.questions, own, strict=True) if is_own]
        chances = [
            expect_average_precision_at(int(question.is_relevant.sum()), len(question.is_relevant), k)
            for question in asked
        ]
        resampling = Resampling(np.arange(len(asked)), n_draws=effort.n_resamples, seed=effort.seed)
        return make_figure(
            "INQUIRE-Rerank",
            measure,
            estimate_mean(values[own], resampling),
            detail=detail,
            chance=float(np.nanmean(chances)) if np.isfinite(chances).any() else None,
            n=sum(len(question.pictures) for question in asked),
            n_groups=len(asked),
            n_classes=len(asked),
            is_headline=measure == f"AP@{K}" and not detail,
        )


def expect_average_precision_at(n_relevant: int, n: int, k: int | None) -> float:
    """The mean AP@k of a random order of `n` pictures; nan where none is relevant. None for k counts all of them.

    Place i holds a relevant picture with chance R / n, and then its precision is (1 + (i - 1) (R - 1) / (n - 1)) / i on
    average; k = n gives Bestgen 2015, equation 2.
    """
    if not n_relevant:
        return float("nan")
    k = n if k is None else min(k, n)
    places = np.arange(1, k + 1)
    precisions = (1 + (places - 1) * (n_relevant - 1) / max(n - 1, 1)) / places
    return float(n_relevant / n * precisions.sum() / min(n_relevant, k))


def load_inquire(folder: Path) -> InquireTask:
    """The questions of the test part, or of the validation part where there is no other.

    Raises:
        SourceError: the folder lacks the Parquet files, or they lack columns.
    """
    import pyarrow as pa
    import pyarrow.parquet

    require(folder, (), benchmark="INQUIRE-Rerank", layout=LAYOUT)
    found = (sorted([*folder.glob(f"data/{part}-*.parquet"), *folder.glob(f"{part}-*.parquet")]) for part in PARTS)
    files = next((part for part in found if part), [])
    if not files:
        raise SourceError(f"{folder}: neither test-*.parquet nor validation-*.parquet; INQUIRE-Rerank needs {LAYOUT}.")
    schema = pyarrow.parquet.read_schema(files[0])
    image = find_image_column(schema, where=files[0])
    require_columns(schema.empty_table(), COLUMNS, where=files[0])
    table = pa.concat_tables(
        [pyarrow.parquet.read_table(file, columns=list(COLUMNS)) for file in files], promote_options="default"
    )
    rows, positions = _number_pictures(table)
    return InquireTask(
        pictures=ParquetPictures(files, image, rows=rows), questions=tuple(_list_questions(table, positions))
    )


def _number_pictures(table: pa.Table) -> tuple[list[int], Int64[np.ndarray, " n"]]:
    """The first row of each picture, and for each row the place of its picture among them."""
    places: dict[int, int] = {}
    rows: list[int] = []
    positions = []
    for row, identity in enumerate(table["inat24_image_id"].to_pylist()):
        if identity not in places:
            places[identity] = len(rows)
            rows.append(row)
        positions.append(places[identity])
    return rows, np.array(positions, np.int64)


def _list_questions(table: pa.Table, positions: Int64[np.ndarray, " n"]) -> Iterator[Question]:
    texts, groups, kinds = (table[name].to_pylist() for name in ("query", "supercategory", "category"))
    relevant = np.array(table["relevant"].to_pylist()) == 1
    rows_of: dict[str, list[int]] = {}
    for row, text in enumerate(texts):
        rows_of.setdefault(text, []).append(row)
    for text in sorted(rows_of):
        rows = rows_of[text]
        yield Question(
            text=text,
            supercategory=groups[rows[0]],
            category=kinds[rows[0]],
            pictures=positions[rows],
            is_relevant=relevant[rows],
        )


INQUIRE = JudgeProtocol(
    name="inquire",
    title="INQUIRE-Rerank",
    layout=LAYOUT,
    measures="AP@50 of 100 pictures per question, over all, per supercategory and per category",
    load=load_inquire,
)
