from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from indexer.corpus import OWN_COLUMNS, create_corpus, open_corpus
from indexer.errors import CorpusError
from indexer.files import read_json, write_atomically, write_json
from indexer.records import admit_columns, append_records, prepare_columns, update_uris
from indexer.rejections import read_rejections, reject, write_rejections
from indexer.shards import COMPACT_ABOVE, compact_tables
from indexer.terms import RESERVED
from indexer.vectors import append_vectors, load_vectors
from tests.corpora import angles, make_vector_corpus


def table(**columns: object) -> pa.Table:
    n = len(next(iter(columns.values())))  # type: ignore[arg-type]
    ids = [f"x{i}" for i in range(n)]
    return pa.table({"record_id": ids, "occurrence_id": ids, "uri": ids, **columns})


def test_a_directory_that_is_no_corpus_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"not a corpus .* Make one with: morphospace index"):
        open_corpus(tmp_path)
    (tmp_path / "thesis.docx").write_text("x", encoding="utf-8")
    with pytest.raises(CorpusError, match="exists and is not a corpus"):
        create_corpus(tmp_path)


def test_a_corpus_of_a_later_format_is_refused(tmp_path: Path) -> None:
    corpus = create_corpus(tmp_path / "a.corpus")
    write_json(corpus.path / "corpus.json", {**read_json(corpus.path / "corpus.json"), "format_version": 99})
    with pytest.raises(CorpusError, match="format version 99"):
        open_corpus(corpus.path)


def test_a_second_job_is_told_who_holds_the_corpus(tmp_path: Path) -> None:
    corpus = create_corpus(tmp_path / "a.corpus")
    other = f"""
from pathlib import Path
from indexer.corpus import open_corpus
with open_corpus(Path({str(corpus.path)!r})).lock(): pass
"""
    with corpus.lock():
        done = subprocess.run([sys.executable, "-c", other], capture_output=True, text=True, check=False)
    assert "a job (process" in done.stderr
    assert "is writing to it. Wait for that job or stop it" in done.stderr
    subprocess.run([sys.executable, "-c", other], check=True)


def test_new_columns_join_old_records_as_missing(tmp_path: Path) -> None:
    corpus = create_corpus(tmp_path / "a.corpus")
    append_records(corpus, table(sex=["male"]), [None])
    more = table(sex=["female"], wingLength=[3.5]).set_column(0, "record_id", pa.array(["y0"]))
    admit_columns(corpus, more.schema)
    append_records(corpus, more, [None])
    stored = corpus.read_columns(["row", "sex", "wingLength"])
    assert stored.to_pydict() == {"row": [0, 1], "sex": ["male", "female"], "wingLength": [None, 3.5]}


def test_a_column_of_another_type_widens_the_stored_one(tmp_path: Path) -> None:
    corpus = create_corpus(tmp_path / "a.corpus")
    append_records(corpus, table(count=[1], mass=[2]), [None])
    more = table(count=["many"], mass=[2.5])
    admit_columns(corpus, more.schema)
    append_records(corpus, more, [None])
    assert corpus.read_columns(["count", "mass"]).to_pydict() == {"count": ["1", "many"], "mass": [2.0, 2.5]}


def test_a_change_of_type_that_was_killed_half_way_is_completed(tmp_path: Path) -> None:
    corpus = create_corpus(tmp_path / "a.corpus")
    append_records(corpus, table(count=[1], mass=[2]), [None])
    corpus.open_records().add_columns({"count__rewritten": "CAST(count AS STRING)"})
    corpus.open_records().add_columns({"mass__rewritten": "CAST(mass AS STRING)"})
    corpus.open_records().drop_columns(["mass"])
    admit_columns(corpus, table(count=[3]).schema)
    assert corpus.read_columns(["count", "mass"]).to_pydict() == {"count": [1], "mass": ["2"]}


def test_no_source_may_name_a_column_like_one_of_ours() -> None:
    assert set(OWN_COLUMNS) <= RESERVED


def test_a_column_without_any_value_is_text() -> None:
    assert prepare_columns(table(health=pa.nulls(1))).schema.field("health").type == pa.string()


def test_the_first_space_is_the_default_and_an_unknown_one_lists_those_there_are(tmp_path: Path) -> None:
    corpus, _ = make_vector_corpus(tmp_path / "a.corpus", angles(0, 1))
    corpus.add_space("zweite", dimension=3, encoder=None)
    corpus.add_space("alpha", dimension=3, encoder=None)
    assert list(corpus.spaces()) == ["given", "zweite", "alpha"]
    assert corpus.open_space().name == "given"
    with pytest.raises(CorpusError, match="has no space 'beta'; there is given, zweite, alpha"):
        corpus.open_space("beta")
    with pytest.raises(CorpusError, match="not a usable name"):
        corpus.add_space("../x", dimension=3, encoder=None)


def test_a_failed_write_leaves_the_former_file_and_no_litter(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    write_json(file, {"a": 1})

    def fail(part: Path) -> None:
        part.write_text("half")
        raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        write_atomically(file, fail)
    assert read_json(file) == {"a": 1}
    assert list(tmp_path.iterdir()) == [file]


def test_what_a_killed_writer_left_is_cleared_by_the_next_job(tmp_path: Path) -> None:
    corpus = create_corpus(tmp_path / "a.corpus")
    (corpus.path / "spaces").mkdir()
    (corpus.path / "spaces" / ".index.json.abc.part").write_text("{")
    with corpus.lock():
        assert list(corpus.path.glob("**/*.part")) == []


def test_a_refusal_stands_until_its_file_changes(tmp_path: Path) -> None:
    image = tmp_path / 'a,\n"b".jpg'
    image.write_bytes(b"")
    write_rejections(tmp_path / "rejected.csv", [reject(str(image), "a", "empty; 0 bytes")])
    stored = read_rejections(tmp_path / "rejected.csv")[str(image)]
    assert stored.reason == "empty; 0 bytes"
    assert stored.still_stands
    image.write_bytes(b"x")
    assert not stored.still_stands


def test_a_list_of_refusals_that_excel_rewrote_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "rejected.csv"
    file.write_text("uri;record_id;reason\nx;y;z\n", encoding="utf-8")
    with pytest.raises(CorpusError, match=r"changed by another program .* Delete it"):
        read_rejections(file)


def test_what_a_kill_in_the_first_moment_leaves_does_not_block_the_next_job(tmp_path: Path) -> None:
    path = tmp_path / "a.corpus"
    path.mkdir()
    (path / ".corpus.json.x1.part").write_text("{", encoding="utf-8")
    corpus = create_corpus(path)
    (corpus.records_path / "data").mkdir(parents=True)
    assert not corpus.has_records()
    with corpus.lock():
        append_records(corpus, table(sex=["male"]), [None])
    assert corpus.count_records() == 1


def test_compaction_keeps_every_row_in_its_place(tmp_path: Path) -> None:
    corpus, space = make_vector_corpus(tmp_path / "a.corpus", angles(0))
    for number in range(1, COMPACT_ABOVE + 5):
        one = pa.array([f"x{number}"])
        append_records(corpus, pa.table({"record_id": one, "occurrence_id": one, "uri": one}), [None])
        append_vectors(space, np.array([number]), angles(number))
    compact_tables(corpus, space)
    update_uris(corpus, {"x7": "/elsewhere/x7"})
    rows = range(COMPACT_ABOVE + 5)
    assert len(corpus.open_records().get_fragments()) < COMPACT_ABOVE
    assert corpus.read_columns(["row"]).column("row").to_pylist() == list(rows)
    taken = corpus.read_rows([9, 7, 0], ["record_id", "uri"]).to_pydict()
    assert taken == {"record_id": ["x9", "x7", "r0"], "uri": ["x9", "/elsewhere/x7", None]}
    np.testing.assert_allclose(load_vectors(space).values, angles(*rows), atol=1e-3)
