from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from explorer.filters import ColumnCondition, Filter, find_rows
from indexer.corpus import Corpus
from indexer.errors import QueryError
from indexer.index.opened import open_index
from tests.corpora import angles, make_vector_corpus


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    columns: dict[str, list[Any]] = {
        "order": ["Lepidoptera", "Lepidoptera", None],
        "scientificName": ["Heliconius erato", "Heliconius melpomene", "O'Brien's \"moth\""],
        "beak depth (mm)": [1.5, 2.5, None],
    }
    return make_vector_corpus(tmp_path / "f.corpus", angles(0, 1, 2), columns=columns)[0]


def rows(corpus: Corpus, **kwargs: object) -> list[int]:
    found = find_rows(corpus, Filter(**kwargs))  # type: ignore[arg-type]
    assert found is not None
    return [int(row) for row in found]


def test_no_filter_lets_every_record_answer(corpus: Corpus) -> None:
    assert find_rows(corpus, Filter()) is None


def test_reserved_words_and_odd_names_are_columns_like_others(corpus: Corpus) -> None:
    assert rows(corpus, where="order = 'Lepidoptera'") == [0, 1]
    assert rows(corpus, where="`beak depth (mm)` > 2") == [1]
    assert rows(corpus, conditions=(ColumnCondition(column="beak depth (mm)", low=1, high=2),)) == [0]


def test_a_range_may_be_open_fractional_and_let_missing_values_pass(corpus: Corpus) -> None:
    assert rows(corpus, conditions=(ColumnCondition(column="row", low=0.5),)) == [1, 2]
    assert rows(corpus, conditions=(ColumnCondition(column="beak depth (mm)"),)) == [0, 1]
    span = ColumnCondition(column="beak depth (mm)", low=2, or_missing=True)
    assert rows(corpus, conditions=(span,)) == [1, 2]


def test_a_value_with_quotes_is_matched_as_it_is(corpus: Corpus) -> None:
    condition = ColumnCondition(column="scientificName", values=("O'Brien's \"moth\"",))
    assert rows(corpus, conditions=(condition,)) == [2]


def test_a_taxon_is_found_at_any_rank_and_in_any_case(corpus: Corpus) -> None:
    assert rows(corpus, taxon="lepidoptera") == [0, 1]
    assert rows(corpus, taxon="Heliconius erato") == [0]


def test_an_unknown_taxon_brings_the_nearest_name(corpus: Corpus) -> None:
    with pytest.raises(QueryError, match=r"Did you mean Lepidoptera"):
        find_rows(corpus, Filter(taxon="Lepidoptra"))


def test_a_column_in_double_quotes_is_refused_rather_than_never_matching(corpus: Corpus) -> None:
    with pytest.raises(QueryError, match=r"in double quotes is a text, not the column"):
        find_rows(corpus, Filter(where="\"order\" = 'Lepidoptera'"))


def test_an_unknown_column_lists_those_there_are(corpus: Corpus) -> None:
    with pytest.raises(QueryError, match=r"no column ordr; the columns are .*scientificName"):
        find_rows(corpus, Filter(where="ordr = 'x'"))


def test_a_condition_that_is_no_sql_is_refused(corpus: Corpus) -> None:
    with pytest.raises(QueryError, match=r"Write e\.g\. --where"):
        find_rows(corpus, Filter(where="order = = 'x'"))


def test_a_taxon_is_answered_from_the_order_of_the_index_as_from_the_records(tmp_path: Path) -> None:
    columns: dict[str, list[Any]] = {
        "genus": ["Parus", "Turdus", "Parus", None],
        "sex": ["male", "male", "female", "male"],
    }
    corpus, space = make_vector_corpus(tmp_path / "t.corpus", angles(0, 1, 2, 3), columns=columns)
    index = open_index(space)
    for record_filter, expected in (
        (Filter(taxon="parus"), [0, 2]),
        (Filter(taxon="Parus", where="sex = 'male'"), [0]),
        (Filter(where="sex = 'male'"), [0, 1, 3]),
    ):
        for asked in (None, index):
            found = find_rows(corpus, record_filter, asked)
            assert found is not None
            assert found.tolist() == expected
    with pytest.raises(QueryError, match="Did you mean Turdus"):
        find_rows(corpus, Filter(taxon="Turduss"), index)
