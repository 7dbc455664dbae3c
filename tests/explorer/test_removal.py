"""Records that were removed, as every reader of the explorer sees them: not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from explorer.export import export_records
from explorer.filters import Filter, find_rows
from explorer.query import Query, build_query
from explorer.removal import remove_matching, restore_matching
from explorer.search import Searcher
from explorer.similarity import score_rows
from explorer.summary import summarise
from indexer.corpus import Corpus
from indexer.errors import QueryError
from indexer.removals import read_removals, remove_records, restore_records
from tests.corpora import angles, make_vector_corpus


def like(*record_ids: str) -> Query:
    return build_query(like=record_ids)


def rows(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def found(searcher: Searcher, query: Query, **asked: Any) -> list[str]:
    return [hit.record_id for hit in searcher.search(query, **asked).hits]


@pytest.fixture
def fan(tmp_path: Path) -> Searcher:
    """Six records at 0, 10, 20, 40, 80 and 160 degrees."""
    columns: dict[str, list[Any]] = {
        "sex": ["male", "female", "male", None, "female", "male"],
        "genus": ["Parus", "Parus", "Turdus", "Turdus", "Turdus", "Parus"],
    }
    return Searcher(*make_vector_corpus(tmp_path / "fan.corpus", angles(0, 10, 20, 40, 80, 160), columns=columns))


def remove(corpus: Corpus, **conditions: Any) -> str:
    return remove_matching(corpus, **{"record_ids": (), "where": None, "taxon": None, "reason": ""} | conditions)


def restore(corpus: Corpus, **conditions: Any) -> str:
    return restore_matching(corpus, **{"record_ids": (), "where": None, "taxon": None} | conditions)


def test_an_open_searcher_stops_showing_a_record_at_once_and_shows_it_again(fan: Searcher) -> None:
    assert found(fan, like("r0"), k=3) == ["r1", "r2", "r3"]
    remove_records(fan.corpus, rows(1, 3))
    result = fan.search(like("r0"), k=3)
    assert [hit.record_id for hit in result.hits] == ["r2", "r4", "r5"]
    assert result.n_matching == 4
    assert result.notes == ()
    restore_records(fan.corpus, rows(3))
    assert found(fan, like("r0"), k=3) == ["r2", "r3", "r4"]


def test_a_filter_never_lets_a_removed_record_answer(fan: Searcher) -> None:
    remove_records(fan.corpus, rows(2))
    result = fan.search(like("r0"), k=5, record_filter=Filter(taxon="turdus"))
    assert [hit.record_id for hit in result.hits] == ["r3", "r4"]
    assert result.notes == ("only 2 hits: no more records match (2 images may answer)",)
    allowed = find_rows(fan.corpus, Filter(where="sex = 'male'"))
    assert allowed is not None
    assert allowed.tolist() == [0, 5]


def test_a_removed_record_is_not_counted_with_its_occurrence(tmp_path: Path) -> None:
    corpus, space = make_vector_corpus(
        tmp_path / "o.corpus", angles(0, 5, 6, 7, 50), occurrence_ids=list("abbbc"), record_ids=list("vwxyz")
    )
    searcher = Searcher(corpus, space)
    remove_records(corpus, rows(1))
    hits = searcher.search(like("v"), k=2).hits
    assert [(hit.record_id, hit.n_images) for hit in hits] == [("x", 2), ("z", 1)]


def test_a_crowd_of_removed_neighbours_leaves_no_answer_short(tmp_path: Path) -> None:
    crowd = angles(0, *np.linspace(1, 5, 200), 60, 70, 80)
    searcher = Searcher(*make_vector_corpus(tmp_path / "c.corpus", crowd))
    remove_records(searcher.corpus, np.arange(1, 201))
    result = searcher.search(like("r0"), k=3)
    assert [hit.row for hit in result.hits] == [201, 202, 203]
    assert result.n_matching == 4


def test_a_removed_record_cannot_be_asked_with(fan: Searcher) -> None:
    remove_records(fan.corpus, rows(0))
    with pytest.raises(QueryError, match="'r0' was removed"):
        fan.search(like("r0"))


def test_with_every_record_removed_there_is_no_hit_and_the_reason(fan: Searcher) -> None:
    vector = fan.encode(like("r0"))
    from explorer.query import VectorPart

    remove_records(fan.corpus, np.arange(6))
    result = fan.search(Query(parts=(VectorPart(vector=vector, name="x"),)))
    assert result.hits == ()
    assert result.n_matching == 0


def test_similarity_is_measured_of_the_records_that_are_shown(fan: Searcher) -> None:
    remove_records(fan.corpus, rows(1))
    measured = score_rows(fan, like("r0"), fan.corpus.live_rows())
    assert measured.rows.tolist() == [0, 2, 3, 4, 5]


def test_the_summary_counts_what_is_shown_and_says_what_is_not(fan: Searcher) -> None:
    remove_records(fan.corpus, rows(0, 1, 5))
    summary = summarise(fan.corpus)
    assert (summary.n_records, summary.n_occurrences, summary.n_removed) == (3, 3, 3)
    assert summary.taxa == {"genus": 1}
    assert summary.spaces[0].n_vectors == 3


def test_an_export_leaves_removed_records_out(fan: Searcher, tmp_path: Path) -> None:
    remove_records(fan.corpus, rows(0, 4))
    assert export_records(fan.corpus, tmp_path / "out.parquet", space_name="given") == 4
    table = pq.read_table(tmp_path / "out.parquet")
    assert table.column("record_id").to_pylist() == ["r1", "r2", "r3", "r5"]
    np.testing.assert_allclose(np.array(table.column("emb").to_pylist()), angles(10, 20, 40, 160), atol=1e-3)
    assert export_records(fan.corpus, tmp_path / "men.csv", where="sex = 'male'") == 2


def test_a_record_must_meet_every_condition_to_be_removed(fan: Searcher) -> None:
    said = remove(fan.corpus, where="sex = 'male'", taxon="parus", record_ids=("r0", "r2"), reason="double")
    assert "1 records removed, 5 are left; bring them back with: morphospace remove" in said
    assert read_removals(fan.corpus.removed_path).to_pydict()["row"] == [0]
    assert "1 records removed (1 were before), 4 are left" in remove(fan.corpus, record_ids=("r0", "r1"))


def test_a_removal_without_a_condition_or_a_match_removes_nothing(fan: Searcher) -> None:
    with pytest.raises(QueryError, match="no condition says which records"):
        remove(fan.corpus)
    with pytest.raises(QueryError, match="no record meets all of these conditions; nothing was removed"):
        remove(fan.corpus, where="sex = 'none'")
    with pytest.raises(QueryError, match="no record has the id 'r9'"):
        remove(fan.corpus, record_ids=("r1", "r9"))
    assert fan.corpus.removed_rows().tolist() == []


def test_undo_brings_back_what_meets_the_conditions_or_everything(fan: Searcher) -> None:
    remove(fan.corpus, taxon="Turdus")
    remove(fan.corpus, record_ids=("r0",))
    assert "2 records brought back, 2 stay removed" in restore(fan.corpus, where="sex IS NOT NULL AND genus = 'Turdus'")
    assert "2 records brought back, 0 stay removed" in restore(fan.corpus)
    assert "0 records brought back" in restore(fan.corpus)
