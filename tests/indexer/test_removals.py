from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from indexer.candidates import list_candidates
from indexer.check import check_corpus
from indexer.corpus import Corpus, Space
from indexer.errors import CorpusError, QueryError
from indexer.files import publish
from indexer.maps import has_current_map, load_map, read_map
from indexer.records import append_records
from indexer.removals import is_among, read_removals, remove_records, restore_records, without_rows
from indexer.vectors import append_vectors, embedded_rows, live_rows, load_vectors
from tests.corpora import angles, make_vector_corpus


def rows(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


@pytest.fixture
def fan(tmp_path: Path) -> tuple[Corpus, Space]:
    """Six records, 10 degrees apart."""
    columns = {"sex": ["male", "female", "male", None, "female", "male"]}
    return make_vector_corpus(tmp_path / "fan.corpus", angles(*range(0, 60, 10)), columns=columns)


def test_a_corpus_without_removals_hides_nothing(fan: tuple[Corpus, Space]) -> None:
    corpus, space = fan
    assert corpus.removed_rows().tolist() == []
    assert corpus.live_rows().tolist() == [0, 1, 2, 3, 4, 5]
    assert not corpus.removed_path.exists()
    assert space.removed_rows().tolist() == []


def test_removed_records_are_hidden_and_keep_their_rows(fan: tuple[Corpus, Space]) -> None:
    corpus, space = fan
    assert remove_records(corpus, rows(4, 1), reason="no licence") == 2
    assert corpus.live_rows().tolist() == [0, 2, 3, 5]
    assert corpus.count_records() == 4
    assert corpus.count_rows() == 6
    shown = corpus.read_columns(["row", "sex"]).to_pydict()
    assert shown == {"row": [0, 2, 3, 5], "sex": ["male", "male", None, "male"]}
    assert corpus.read_columns(["row"], with_removed=True).column("row").to_pylist() == list(range(6))
    assert live_rows(space).tolist() == [0, 2, 3, 5]
    assert embedded_rows(space).tolist() == [0, 1, 2, 3, 4, 5]
    np.testing.assert_allclose(load_vectors(space).values, angles(0, 20, 30, 50), atol=1e-3)


def test_the_list_says_when_and_why_and_the_first_reason_stays(fan: tuple[Corpus, Space]) -> None:
    corpus, _ = fan
    remove_records(corpus, rows(2), reason="blurred")
    assert remove_records(corpus, rows(2, 0), reason="second thought") == 1
    stored = pq.read_table(corpus.removed_path).to_pydict()
    assert stored["row"] == [0, 2]
    assert stored["reason"] == ["second thought", "blurred"]
    assert all(time.endswith("+00:00") for time in stored["removed"])


def test_what_is_brought_back_is_shown_again(fan: tuple[Corpus, Space]) -> None:
    corpus, _ = fan
    remove_records(corpus, rows(1, 2, 3))
    assert restore_records(corpus, rows(2, 5)) == 1
    assert corpus.removed_rows().tolist() == [1, 3]
    assert restore_records(corpus, corpus.removed_rows()) == 2
    assert corpus.live_rows().tolist() == [0, 1, 2, 3, 4, 5]


def test_every_record_may_be_removed(fan: tuple[Corpus, Space]) -> None:
    corpus, space = fan
    remove_records(corpus, corpus.live_rows())
    assert corpus.count_records() == 0
    assert corpus.read_columns(["record_id"]).num_rows == 0
    assert load_vectors(space).values.shape == (0, 2)
    assert check_corpus(corpus).faults == ()


def test_a_removed_record_cannot_be_named_and_the_message_tells_the_way_back(fan: tuple[Corpus, Space]) -> None:
    corpus, _ = fan
    remove_records(corpus, rows(1))
    with pytest.raises(QueryError, match=r"'r1' was removed. Bring it back with: morphospace remove .* --undo"):
        corpus.find_record("r1")
    assert corpus.find_row("r1") == 1


def test_a_row_that_is_no_record_is_refused_and_nothing_changes(fan: tuple[Corpus, Space]) -> None:
    corpus, _ = fan
    with pytest.raises(CorpusError, match=r"no record has row 6\. Name rows below 6"):
        remove_records(corpus, rows(0, 6))
    assert corpus.removed_rows().tolist() == []


def test_new_records_continue_the_rows_after_a_removal(fan: tuple[Corpus, Space]) -> None:
    corpus, _ = fan
    remove_records(corpus, rows(5, 4))
    table = pa.table({"record_id": ["new"], "occurrence_id": ["new"], "uri": pa.nulls(1, pa.string())})
    assert append_records(corpus, table, [None]) == [6]


def test_removals_at_the_same_time_lose_none(fan: tuple[Corpus, Space]) -> None:
    corpus, _ = fan
    with ThreadPoolExecutor(6) as threads:
        assert list(threads.map(lambda row: remove_records(corpus, rows(row)), range(6))) == [1] * 6
    assert corpus.removed_rows().tolist() == [0, 1, 2, 3, 4, 5]


def test_records_can_be_removed_while_a_job_holds_the_corpus(fan: tuple[Corpus, Space]) -> None:
    corpus, _ = fan
    with corpus.lock():
        assert remove_records(corpus, rows(3)) == 1


def test_a_job_that_begins_leaves_a_list_in_the_making_alone(fan: tuple[Corpus, Space]) -> None:
    corpus, _ = fan
    in_the_making = corpus.path / ".removed.parquet.abc.part"
    in_the_making.write_bytes(b"half")
    with corpus.lock():
        assert in_the_making.exists()
    remove_records(corpus, rows(0))
    assert not in_the_making.exists()


def test_a_spoilt_list_is_never_taken_for_an_empty_one(fan: tuple[Corpus, Space]) -> None:
    corpus, _ = fan
    remove_records(corpus, rows(0, 1))
    corpus.removed_path.write_bytes(corpus.removed_path.read_bytes()[:-20])
    with pytest.raises(CorpusError, match=r"removed\.parquet: not the list of removed records.*Restore it from a copy"):
        corpus.removed_rows()
    assert "removed.parquet: cannot be read" in "\n".join(check_corpus(corpus).faults)


def test_check_finds_removed_rows_that_are_no_record(fan: tuple[Corpus, Space]) -> None:
    corpus, _ = fan
    remove_records(corpus, rows(0, 5))
    table = read_removals(corpus.removed_path)
    pq.write_table(table.set_column(0, "row", [[9, 7]]), corpus.removed_path)
    faults = "\n".join(check_corpus(corpus).faults)
    assert "removed.parquet: its rows are not ascending" in faults
    assert "removed.parquet: it lists 2 rows that are no record (first: 9)" in faults


def test_a_map_loses_its_removed_points_and_need_not_be_made_anew(tmp_path: Path) -> None:
    corpus, space = make_vector_corpus(tmp_path / "m.corpus", angles(*range(0, 60, 4)))
    points = pa.table({"row": np.arange(15), "x": np.zeros(15, np.float32), "y": np.arange(15, dtype=np.float32)})
    publish(space.map_path(), "coordinates", ".parquet", lambda part: pq.write_table(points, part), {"n": 15})
    remove_records(corpus, rows(3, 14))
    assert load_map(space).rows.tolist() == [row for row in range(15) if row not in (3, 14)]
    assert load_map(space).positions[:4, 1].tolist() == [0, 1, 2, 4]
    assert len(read_map(space).rows) == 15
    assert has_current_map(space)
    append_vectors(space, rows(15), angles(70))
    assert not has_current_map(space)


def test_rows_are_looked_up_in_lists_of_any_length() -> None:
    assert without_rows(rows(5, 1, 9), rows()).tolist() == [5, 1, 9]
    assert without_rows(rows(5, 1, 9), rows(1, 5)).tolist() == [9]
    assert is_among(rows(0, 3, 7), rows(3, 7)).tolist() == [False, True, True]
    assert is_among(rows(), rows(3)).tolist() == []


def test_a_removed_record_is_not_embedded_again(tmp_path: Path) -> None:
    corpus, space = make_vector_corpus(tmp_path / "a.corpus", angles(0, 10, 20))
    source = pa.table(
        {
            "record_id": ["r0", "r1", "new"],
            "occurrence_id": ["r0", "r1", "new"],
            "uri": [str(tmp_path / f"{name}.png") for name in ("r0", "r1", "new")],
        }
    )
    remove_records(corpus, rows(1))
    for target in (space, None):
        listing = list_candidates(corpus, target, source, tmp_path, {})
        assert "r1" not in [candidate.record_id for candidate in listing.candidates]
        assert listing.n_removed == 1
        assert listing.n_known == 1
    restore_records(corpus, rows(1))
    assert [candidate.record_id for candidate in list_candidates(corpus, None, source, tmp_path, {}).candidates] == [
        "r0",
        "r1",
        "new",
    ]
