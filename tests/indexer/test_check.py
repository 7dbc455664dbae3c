from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from indexer.check import check_corpus
from indexer.corpus import Corpus, Space, open_corpus
from indexer.files import read_json, write_json
from indexer.records import append_records
from indexer.vectors import append_vectors, vector_schema
from tests.corpora import angles, make_vector_corpus


def test_a_sound_corpus_passes(tmp_path: Path) -> None:
    corpus, _ = make_vector_corpus(tmp_path / "a.corpus", angles(0, 30, 60))
    report = check_corpus(corpus)
    assert report.faults == ()
    assert report.n_checked == 9


def truncate_index(corpus: Corpus, space: Space) -> None:
    file = next(space.folder.glob("index-*/vectors.npy"))
    file.write_bytes(file.read_bytes()[:-9])


def remove_index(corpus: Corpus, space: Space) -> None:
    shutil.rmtree(next(space.folder.glob("index-*")))


def repeat_a_vector(corpus: Corpus, space: Space) -> None:
    append_vectors(space, np.array([1]), angles(31))


def add_a_stray_vector(corpus: Corpus, space: Space) -> None:
    append_vectors(space, np.array([77]), angles(31))


def stretch_a_vector(corpus: Corpus, space: Space) -> None:
    append_vectors(space, np.array([2]), 3 * angles(31))


def swap_the_index(corpus: Corpus, space: Space) -> None:
    write_json(space.index_path, {**read_json(space.index_path), "digest": "0" * 64})


def repeat_a_record(corpus: Corpus, space: Space) -> None:
    table = pa.table({"record_id": ["r0"], "occurrence_id": ["r0"], "uri": pa.nulls(1, pa.string())})
    append_records(corpus, table, [None])


def misname_the_encoder(corpus: Corpus, space: Space) -> None:
    write_json(space.folder / "space.json", {**read_json(space.folder / "space.json"), "fingerprint": "beef"})


def break_a_description(corpus: Corpus, space: Space) -> None:
    space.index_path.write_text("{", encoding="utf-8")


def cut_an_axis(corpus: Corpus, space: Space) -> None:
    (space.folder / "axes").mkdir()
    (space.folder / "axes" / "maleness.json").write_text('{"name": "male', encoding="utf-8")


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (truncate_index, "is not the file that index.json describes"),
        (remove_index, "space given: index: cannot be read"),
        (repeat_a_vector, "1 rows have more than one vector"),
        (add_a_stray_vector, "vectors of rows that are no record"),
        (stretch_a_vector, "1 vectors are not of unit length"),
        (swap_the_index, "not that of the files it lists"),
        (repeat_a_record, "1 record ids are not unique"),
        (misname_the_encoder, "is not that of the stored spec"),
        (break_a_description, "not the description of an index"),
        (cut_an_axis, "axes/maleness.json: not readable as JSON"),
    ],
)
def test_each_damage_is_found(tmp_path: Path, damage: Callable[[Corpus, Space], None], fault: str) -> None:
    corpus, space = make_vector_corpus(tmp_path / "a.corpus", angles(0, 30, 60))
    damage(corpus, space)
    assert fault in "\n".join(check_corpus(open_corpus(corpus.path)).faults)


def test_a_vector_of_another_length_cannot_be_appended(tmp_path: Path) -> None:
    import lance

    _, space = make_vector_corpus(tmp_path / "a.corpus", angles(0, 30, 60))
    strange = pa.table({"row": [3], "vector": pa.array([[1.0, 0, 0]], pa.list_(pa.float16(), 3))}, vector_schema(3))
    with pytest.raises(OSError, match=r"(?i)schema"):
        lance.write_dataset(strange, str(space.vectors_path), mode="append")


def test_work_that_is_left_is_no_fault(tmp_path: Path) -> None:
    corpus, _ = make_vector_corpus(tmp_path / "a.corpus", angles(*range(20)))
    report = check_corpus(corpus)
    assert report.pending == ("space given: the map does not show every vector yet",)
    assert report.faults == ()
