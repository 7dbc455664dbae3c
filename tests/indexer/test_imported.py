from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from explorer.query import build_query
from explorer.search import Searcher
from indexer.check import check_corpus
from indexer.corpus import open_corpus
from indexer.errors import CorpusError
from indexer.imported import ImportReport, ImportSettings, import_vectors
from indexer.rejections import read_rejections
from tests.corpora import angles
from tests.indexer.photographs import paint_squares


def write_vectors(path: Path, vectors: np.ndarray, ids: list[str], id_column: str = "uuid") -> Path:
    pq.write_table(pa.table({id_column: ids, "emb": list(vectors.astype(np.float32))}), path)
    return path


def run(file: Path, corpus: Path, **settings: object) -> ImportReport:
    asked = ImportSettings(file=file, corpus=corpus, **{"space": "given", "with_map": False, **settings})  # type: ignore[arg-type]
    return import_vectors(asked, lambda line: None)


def test_vectors_without_images_can_be_searched(tmp_path: Path) -> None:
    file = write_vectors(tmp_path / "v.parquet", 40 * angles(0, 10, 90), ["a", "b", "c"])
    report = run(file, tmp_path / "a.corpus")
    assert (report.n_imported, report.n_new_records) == (3, 3)
    corpus = open_corpus(tmp_path / "a.corpus")
    hits = Searcher(corpus, corpus.open_space()).search(build_query(like=["a"]), k=2).hits
    assert [hit.record_id for hit in hits] == ["b", "c"]
    assert corpus.read_thumbnails([0]) == [None]
    assert check_corpus(corpus).faults == ()


def test_importing_again_stores_nothing_twice(tmp_path: Path) -> None:
    file = write_vectors(tmp_path / "v.parquet", angles(0, 10), ["a", "b"])
    run(file, tmp_path / "a.corpus")
    report = run(file, tmp_path / "a.corpus")
    assert (report.n_imported, report.n_new_records, report.n_present) == (0, 0, 2)


def test_vectors_join_the_records_of_their_files(tmp_path: Path) -> None:
    images = paint_squares(tmp_path / "squares", ["red_1", "blue_1"])
    first = write_vectors(tmp_path / "v.parquet", angles(0, 10), ["red_1.png", "blue_1.png"], "file")
    run(first, tmp_path / "a.corpus", images=images)
    second = write_vectors(tmp_path / "w.parquet", np.eye(3)[:2], ["blue_1.png", "red_1.png"], "file")
    report = run(second, tmp_path / "a.corpus", space="other")
    assert (report.n_imported, report.n_new_records) == (2, 0)
    corpus = open_corpus(tmp_path / "a.corpus")
    assert corpus.count_records() == 2
    assert all(corpus.read_thumbnails([0, 1]))
    assert check_corpus(corpus).faults == ()


def test_a_missing_image_leaves_its_vector_and_is_listed(tmp_path: Path) -> None:
    images = paint_squares(tmp_path / "squares", ["red_1"])
    file = write_vectors(tmp_path / "v.parquet", angles(0, 10), ["red_1.png", "gone.png"], "file")
    assert run(file, tmp_path / "a.corpus", images=images).n_imported == 2
    corpus = open_corpus(tmp_path / "a.corpus")
    (refusal,) = read_rejections(corpus.rejected_path).values()
    assert refusal.record_id == "gone.png"
    assert "its vector was imported" in refusal.reason


def test_the_model_of_imported_vectors_can_be_named_later(tmp_path: Path, colour_encoder: str) -> None:
    file = write_vectors(tmp_path / "v.parquet", np.array([[1, -1, -1, 0], [-1, -1, 1, 0]]), ["rose", "gentian"])
    run(file, tmp_path / "a.corpus")
    assert run(file, tmp_path / "a.corpus", model=colour_encoder).n_imported == 0
    corpus = open_corpus(tmp_path / "a.corpus")
    assert Searcher(corpus, corpus.open_space()).search(build_query(text="blue"), k=1).hits[0].record_id == "gentian"
    assert check_corpus(corpus).faults == ()


def test_vectors_of_another_length_do_not_enter_a_space(tmp_path: Path) -> None:
    run(write_vectors(tmp_path / "v.parquet", angles(0, 10), ["a", "b"]), tmp_path / "a.corpus")
    other = write_vectors(tmp_path / "w.parquet", np.eye(3), ["c", "d", "e"])
    with pytest.raises(CorpusError, match=r"holds vectors of 2 dimensions .* these have 3"):
        run(other, tmp_path / "a.corpus")


def test_the_named_model_answers_texts(tmp_path: Path, colour_encoder: str) -> None:
    vectors = np.array([[1, -1, -1, 0], [-1, -1, 1, 0]])
    file = write_vectors(tmp_path / "v.parquet", vectors, ["rose", "gentian"])
    run(file, tmp_path / "a.corpus", model=colour_encoder)
    corpus = open_corpus(tmp_path / "a.corpus")
    assert Searcher(corpus, corpus.open_space()).search(build_query(text="blue"), k=1).hits[0].record_id == "gentian"
    with pytest.raises(CorpusError, match=r"vectors of 2 dimensions; .* makes 4"):
        run(write_vectors(tmp_path / "w.parquet", angles(0), ["x"]), tmp_path / "b.corpus", model=colour_encoder)


@pytest.mark.shared
def test_the_real_bioclip_2_vectors_import_and_search(tmp_path: Path, shared_data: Path) -> None:
    file = shared_data / "vectors" / "bioclip2_treeoflife_1k.parquet"
    report = run(file, tmp_path / "tol.corpus", space="bioclip-2")
    assert report.n_imported == 1030
    corpus, space = report.corpus, report.space
    searcher = Searcher(corpus, space)
    raw = searcher.look().indexed.raw_background
    calibrated = searcher.index.facts.background
    assert raw is not None
    assert raw.scores[raw.levels.index(0.5)] == pytest.approx(0.59, abs=0.03)  # the narrow cone of design fact 2
    assert calibrated.scores[calibrated.levels.index(0.5)] == pytest.approx(0, abs=0.03)
    classes = corpus.read_columns(["class"]).column("class").to_pylist()
    ids = corpus.read_columns(["record_id"]).column("record_id").to_pylist()
    queried = [row for row in range(0, 1030, 7) if classes[row]]
    nearest = [searcher.search(build_query(like=[ids[row]]), k=1).hits[0] for row in queried]
    agreement = np.mean([hit.record["class"] == classes[row] for hit, row in zip(nearest, queried, strict=True)])
    assert agreement > 0.6
    assert check_corpus(corpus).faults == ()
