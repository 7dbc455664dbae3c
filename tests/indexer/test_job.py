from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from explorer.query import build_query
from explorer.search import Searcher
from indexer.check import check_corpus
from indexer.corpus import Corpus, open_corpus
from indexer.errors import CorpusError, SourceError
from indexer.job import IndexReport, IndexSettings, Listener, index_images
from indexer.rejections import read_rejections
from indexer.vectors import load_vectors
from tests.corpora import angles, make_vector_corpus
from tests.indexer.photographs import paint_noise, paint_squares


def run(source: Path, corpus: Path, model: str, heard: list[str] | None = None, **settings: object) -> IndexReport:
    said = [] if heard is None else heard
    listener = Listener(announce=said.append)
    asked = IndexSettings(source=source, corpus=corpus, model=model, with_map=False, **settings)  # type: ignore[arg-type]
    return index_images(asked, listener)


def find(corpus: Corpus, text: str, k: int = 1) -> list[str]:
    searcher = Searcher(corpus, corpus.open_space())
    return [hit.record_id for hit in searcher.search(build_query(text=text), k=k).hits]


def test_a_folder_becomes_a_corpus_in_which_red_finds_the_red_square(tmp_path: Path, colour_encoder: str) -> None:
    source = paint_squares(tmp_path / "squares", ["red_1", "green_1", "blue_1", "yellow_1"])
    report = run(source, tmp_path / "a.corpus", colour_encoder)
    assert (report.n_embedded, report.n_rejected) == (4, 0)
    corpus = open_corpus(tmp_path / "a.corpus")
    assert find(corpus, "red") == ["red_1.png"]
    assert find(corpus, "a blue bird") == ["blue_1.png"]
    assert check_corpus(corpus).faults == ()
    record = corpus.read_rows([corpus.find_record("red_1.png")]).to_pylist()[0]
    assert (record["width"], record["height"], record["status"]) == (40, 40, "image")
    assert corpus.read_thumbnails([0])[0] is not None


def test_running_again_does_nothing_and_says_so(tmp_path: Path, colour_encoder: str) -> None:
    source = paint_squares(tmp_path / "squares", ["red_1", "green_1"])
    run(source, tmp_path / "a.corpus", colour_encoder)
    heard: list[str] = []
    report = run(source, tmp_path / "a.corpus", colour_encoder, heard)
    assert report.n_embedded == 0
    assert "nothing to do; 2 images are in space colour already" in report.describe()
    assert "2 images are in the corpus already; their columns stay as they were" in heard


def test_a_folder_added_later_appends_and_a_taken_id_gets_the_folders_name(tmp_path: Path, colour_encoder: str) -> None:
    run(paint_squares(tmp_path / "first", ["red_1"]), tmp_path / "a.corpus", colour_encoder)
    second = paint_squares(tmp_path / "second", ["red_1", "blue_1"], side=41)
    assert run(second, tmp_path / "a.corpus", colour_encoder).n_embedded == 2
    corpus = open_corpus(tmp_path / "a.corpus")
    ids = corpus.read_columns(["record_id", "occurrence_id"]).to_pydict()
    assert ids["record_id"] == ["red_1.png", "blue_1.png", "second/red_1.png"]
    assert ids["occurrence_id"] == ids["record_id"]
    assert find(corpus, "blue") == ["blue_1.png"]
    assert run(second, tmp_path / "a.corpus", colour_encoder).n_embedded == 0


def test_a_moved_folder_is_recognised_and_its_uris_follow(tmp_path: Path, colour_encoder: str) -> None:
    source = paint_squares(tmp_path / "here", ["red_1", "blue_1"])
    run(source, tmp_path / "a.corpus", colour_encoder)
    moved = source.rename(tmp_path / "there")
    heard: list[str] = []
    assert run(moved, tmp_path / "a.corpus", colour_encoder, heard).n_embedded == 0
    assert any("2 images lie elsewhere than before" in line for line in heard)
    corpus = open_corpus(tmp_path / "a.corpus")
    stored = corpus.read_columns(["row", "uri", "status"]).to_pydict()
    assert stored["row"] == [0, 1]
    assert all("/there/" in uri for uri in stored["uri"])
    assert check_corpus(corpus).faults == ()


def test_moving_the_first_of_two_sources_moves_no_row(tmp_path: Path, colour_encoder: str) -> None:
    first = paint_squares(tmp_path / "first", ["red_1", "green_1"])
    run(first, tmp_path / "a.corpus", colour_encoder)
    run(paint_squares(tmp_path / "second", ["blue_1", "black_1"]), tmp_path / "a.corpus", colour_encoder)
    (first / "red_1.png").rename(first / "elsewhere.png")
    moved = first.rename(tmp_path / "other")
    (moved / "elsewhere.png").rename(moved / "red_1.png")
    assert run(moved, tmp_path / "a.corpus", colour_encoder).n_embedded == 0
    corpus = open_corpus(tmp_path / "a.corpus")
    stored = corpus.read_columns(["row", "record_id", "uri", "sha256"]).to_pydict()
    assert stored["row"] == [0, 1, 2, 3]
    assert stored["record_id"] == ["green_1.png", "red_1.png", "black_1.png", "blue_1.png"]
    assert [Path(uri).parent.name for uri in stored["uri"]] == ["other", "other", "second", "second"]
    assert all(stored["sha256"])
    assert find(corpus, "blue") == ["blue_1.png"]
    assert check_corpus(corpus).faults == ()


def test_a_copy_beside_its_original_is_a_record_of_its_own(tmp_path: Path, colour_encoder: str) -> None:
    run(paint_squares(tmp_path / "first", ["red_1"]), tmp_path / "a.corpus", colour_encoder)
    copy = paint_squares(tmp_path / "copy", ["red_1"])
    heard: list[str] = []
    assert run(copy, tmp_path / "a.corpus", colour_encoder, heard).n_embedded == 1
    assert "1 record ids were taken by other images; the folder's name stands before them" in heard
    parent = tmp_path / "drive"
    parent.mkdir()
    assert run(copy.rename(parent / "copy"), tmp_path / "a.corpus", colour_encoder).n_embedded == 0
    corpus = open_corpus(tmp_path / "a.corpus")
    assert corpus.read_columns(["record_id"]).column(0).to_pylist() == ["red_1.png", "copy/red_1.png"]


def test_ids_that_are_made_never_meet_those_of_the_source(tmp_path: Path, colour_encoder: str) -> None:
    run(paint_squares(tmp_path / "first", ["red_1"]), tmp_path / "a.corpus", colour_encoder)
    second = paint_squares(tmp_path / "photos", ["red_1", "green_1"], side=50)
    paint_squares(second / "photos", ["red_1"], side=60)
    run(second, tmp_path / "a.corpus", colour_encoder)
    corpus = open_corpus(tmp_path / "a.corpus")
    ids = corpus.read_columns(["record_id"]).column(0).to_pylist()
    assert sorted(ids) == ["green_1.png", "photos/red_1.png", "photos~2/red_1.png", "red_1.png"]
    assert check_corpus(corpus).faults == ()


def test_images_join_the_records_of_imported_vectors(tmp_path: Path, colour_encoder: str) -> None:
    ids = ["red_1.png", "only a vector", "blue_1.png"]
    corpus, _ = make_vector_corpus(tmp_path / "a.corpus", angles(0, 10, 20), record_ids=ids)
    report = run(paint_squares(tmp_path / "squares", ["red_1", "blue_1"]), corpus.path, colour_encoder)
    assert report.n_embedded == 2
    stored = corpus.read_columns(["record_id", "status", "width"]).to_pydict()
    assert stored == {"record_id": ids, "status": ["image", "no image", "image"], "width": [40, None, 40]}
    assert [bool(thumbnail) for thumbnail in corpus.read_thumbnails([0, 1, 2])] == [True, False, True]
    assert check_corpus(corpus).faults == ()
    searcher = Searcher(corpus, corpus.open_space("colour"))
    assert searcher.search(build_query(text="blue"), k=1).hits[0].record_id == "blue_1.png"


def test_a_file_that_changed_is_not_embedded_under_its_old_record(
    tmp_path: Path, colour_encoder: str, tiny_encoder: str
) -> None:
    source = paint_squares(tmp_path / "squares", ["red_1", "blue_1"])
    run(source, tmp_path / "a.corpus", colour_encoder)
    (source / "red_1.png").write_bytes((source / "blue_1.png").read_bytes())
    assert run(source, tmp_path / "a.corpus", tiny_encoder).n_rejected == 1
    (refusal,) = read_rejections(open_corpus(tmp_path / "a.corpus").rejected_path).values()
    assert "has changed since its record was made" in refusal.reason


def test_a_folder_of_refused_files_makes_no_space_and_says_so(tmp_path: Path, colour_encoder: str) -> None:
    source = tmp_path / "broken"
    source.mkdir()
    (source / "a.jpg").write_bytes(b"")
    assert run(source, tmp_path / "a.corpus", colour_encoder).n_rejected == 1
    with pytest.raises(SourceError, match="none of its images can be read"):
        run(source, tmp_path / "a.corpus", colour_encoder, space="two")
    assert list(open_corpus(tmp_path / "a.corpus").spaces()) == ["colour"]


def test_broken_files_are_listed_and_the_rest_goes_on(tmp_path: Path, colour_encoder: str) -> None:
    source = paint_squares(tmp_path / "squares", ["red_1", "blue_1"])
    (source / "empty.jpg").write_bytes(b"")
    (source / "letter.jpg").write_text("Dear Sir", encoding="utf-8")
    whole = (source / "red_1.png").read_bytes()
    (source / "half.png").write_bytes(whole[: len(whole) // 2])
    report = run(source, tmp_path / "a.corpus", colour_encoder)
    assert (report.n_embedded, report.n_rejected) == (2, 3)
    corpus = open_corpus(tmp_path / "a.corpus")
    reasons = {Path(uri).name: found.reason for uri, found in read_rejections(corpus.rejected_path).items()}
    assert set(reasons) == {"empty.jpg", "letter.jpg", "half.png"}
    assert "empty" in reasons["empty.jpg"]
    assert "cut short" in reasons["half.png"]
    assert run(source, tmp_path / "a.corpus", colour_encoder).n_rejected == 0
    (source / "half.png").write_bytes(whole)
    assert run(source, tmp_path / "a.corpus", colour_encoder).n_embedded == 1
    assert set(read_rejections(corpus.rejected_path)) == {str(source / "empty.jpg"), str(source / "letter.jpg")}


def test_a_manifest_gives_the_columns(tmp_path: Path, colour_encoder: str) -> None:
    source = paint_squares(tmp_path / "squares", ["red_1", "blue_1"])
    table = tmp_path / "records.csv"
    table.write_text("file,label,beak\nred_1.png,Parus major,3.5\nblue_1.png,Turdus merula,4\n", encoding="utf-8")
    run(source, tmp_path / "a.corpus", colour_encoder, manifest=table, columns={"species": "label"})
    stored = open_corpus(tmp_path / "a.corpus").read_columns(["species", "genus", "beak"]).to_pydict()
    assert stored == {"species": ["Parus major", "Turdus merula"], "genus": ["Parus", "Turdus"], "beak": [3.5, 4.0]}


def test_a_second_model_makes_a_second_space_of_the_same_records(
    tmp_path: Path, colour_encoder: str, tiny_encoder: str
) -> None:
    source = paint_squares(tmp_path / "squares", ["red_1", "blue_1"])
    run(source, tmp_path / "a.corpus", colour_encoder)
    run(source, tmp_path / "a.corpus", tiny_encoder)
    corpus = open_corpus(tmp_path / "a.corpus")
    assert list(corpus.spaces()) == ["colour", "tiny"]
    assert corpus.count_records() == 2
    assert load_vectors(corpus.open_space("tiny")).values.shape == (2, 16)


def test_a_space_is_never_mixed(tmp_path: Path, colour_encoder: str, tiny_encoder: str) -> None:
    source = paint_squares(tmp_path / "squares", ["red_1"])
    run(source, tmp_path / "a.corpus", colour_encoder, space="mine")
    paint_squares(source, ["blue_1"])
    with pytest.raises(CorpusError, match=r"space 'mine' was made with .*--space NAME"):
        run(source, tmp_path / "a.corpus", tiny_encoder, space="mine")
    precision = open_corpus(tmp_path / "a.corpus").open_space("mine").encoder.precision  # type: ignore[union-attr]
    other = "fp32" if precision == "bf16" else "bf16"
    with pytest.raises(CorpusError, match="a space is never mixed"):
        run(source, tmp_path / "a.corpus", colour_encoder, space="mine", precision=other)


def test_a_source_without_images_is_refused(tmp_path: Path, colour_encoder: str) -> None:
    (tmp_path / "none").mkdir()
    with pytest.raises(SourceError, match="no image"):
        run(tmp_path / "none", tmp_path / "a.corpus", colour_encoder)
    assert not (tmp_path / "a.corpus").exists()


def test_the_vector_of_an_image_does_not_depend_on_the_rest_of_its_last_batch(
    tmp_path: Path, tiny_encoder: str
) -> None:
    source = paint_noise(tmp_path / "noise", 21)
    run(source, tmp_path / "all.corpus", tiny_encoder)
    alone = tmp_path / "one"
    alone.mkdir()
    (alone / "00000.png").write_bytes((source / "00000.png").read_bytes())
    run(alone, tmp_path / "one.corpus", tiny_encoder)
    together = load_vectors(open_corpus(tmp_path / "all.corpus").open_space())
    single = load_vectors(open_corpus(tmp_path / "one.corpus").open_space())
    np.testing.assert_array_equal(single.values[0], together.values[0])


def test_the_job_says_what_it_will_cost(tmp_path: Path, colour_encoder: str) -> None:
    heard: list[str] = []
    run(paint_squares(tmp_path / "squares", ["red_1"]), tmp_path / "a.corpus", colour_encoder, heard)
    assert any("1 images to embed with" in line and "on disk, about" in line for line in heard)
    assert "index of colour: exact, because 1 vectors <= 2,400,000" in heard
