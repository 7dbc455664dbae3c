"""Scalar indexes over the records: what a filter finds stays the same, and new records are taken in."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from explorer.filters import Filter, match_records
from indexer.check import check_corpus
from indexer.column_indexes import index_columns
from indexer.corpus import Corpus
from indexer.records import append_records
from tests.corpora import make_vector_corpus

COLUMNS: dict[str, Sequence[Any]] = {
    "sex": ["male", "female", None, "", "male", "Male"],
    "year": [2001, None, 1999, 2020, 2001, -3],
    "decimalLatitude": [1.5, float("nan"), None, -0.0, 0.0, 90.0],
    "note": ["it's", "a, b", "100 %", "a_b", None, "é"],
    "seen": [True, False, None, True, True, False],
    "day": [date(2020, 1, 1), None, date(1999, 12, 31), date(2020, 1, 1), date(2021, 5, 5), date(1, 1, 1)],
}
CONDITIONS = (
    "sex = 'male'",
    "sex IN ('female', '')",
    "sex IS NULL",
    "sex != 'male'",
    "year BETWEEN 1999 AND 2001",
    "year IS NOT NULL AND sex = 'male'",
    "decimalLatitude >= 0",
    "decimalLatitude < 1",
    "NOT (decimalLatitude > 1)",
    "note = 'it''s' OR note = 'é'",
    "note LIKE 'a%'",
    "seen",
    "day >= date '2020-01-01'",
    "record_id = 'r3'",
)


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return make_vector_corpus(tmp_path / "a.corpus", np.eye(6, dtype=np.float32), columns=COLUMNS)[0]


def match_all(corpus: Corpus) -> list[list[int]]:
    return [match_records(corpus, Filter(where=condition)).tolist() for condition in CONDITIONS]


def list_kinds(corpus: Corpus) -> dict[str, str]:
    return {one.field_names[0]: one.index_type for one in corpus.open_records().describe_indices()}


def test_a_filter_finds_the_same_with_indexes_as_without(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = match_all(corpus)
    monkeypatch.setattr("indexer.column_indexes.LEAST_RECORDS", 1)
    with corpus.lock():
        index_columns(corpus)
    assert match_all(corpus) == expected
    kinds = list_kinds(corpus)
    assert (kinds["sex"], kinds["year"], kinds["seen"], kinds["record_id"]) == ("Bitmap", "BTree", "Bitmap", "BTree")
    plan = corpus.open_records().scanner(columns=["row"], filter="sex = 'male'").explain_plan()
    assert "ScalarIndexQuery" in plan
    assert check_corpus(corpus).faults == ()


def test_new_records_are_found_before_and_after_the_indexes_take_them_in(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("indexer.column_indexes.LEAST_RECORDS", 1)
    with corpus.lock():
        index_columns(corpus)
        ids = ["n0", "n1"]
        fresh = {"record_id": ids, "occurrence_id": ids, "uri": pa.nulls(2, pa.string()), "sex": ["male", "unknown"]}
        append_records(corpus, pa.table(fresh), [None, None])
        before = [match_records(corpus, Filter(where=where)).tolist() for where in ("sex = 'male'", "sex = 'unknown'")]
        index_columns(corpus)
        version = corpus.open_records().version
        index_columns(corpus)
    after = [match_records(corpus, Filter(where=where)).tolist() for where in ("sex = 'male'", "sex = 'unknown'")]
    assert before == after == [[0, 4, 6], [7]]
    assert {found.num_rows_indexed for found in corpus.open_records().describe_indices()} == {8}
    assert corpus.open_records().version == version


def test_small_tables_and_texts_of_many_values_get_none(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    with corpus.lock():
        index_columns(corpus)
        assert list_kinds(corpus) == {}
        monkeypatch.setattr("indexer.column_indexes.LEAST_RECORDS", 1)
        monkeypatch.setattr("indexer.column_indexes.MAX_VALUES", 4)
        index_columns(corpus)
    assert "note" not in list_kinds(corpus)
    assert "sex" in list_kinds(corpus)
