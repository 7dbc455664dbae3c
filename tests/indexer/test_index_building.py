from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from jaxtyping import Float32

from indexer.corpus import Space, open_corpus
from indexer.errors import InputError
from indexer.index.building import TextQueries, build_index, is_current
from indexer.index.extending import TAIL_LIMIT
from indexer.index.facts import IndexFacts, Modality
from indexer.index.lists import read_lists
from indexer.index.matrix import MatrixWriter, open_matrix
from indexer.index.settings import BuildSettings
from indexer.index.storage import CODES, read_index
from indexer.index.tuning import hold_records, measure_recall
from indexer.removals import remove_records
from indexer.vectors import append_vectors, load_vectors
from tests.corpora import angles, make_vector_corpus

LISTS = BuildSettings(exact_up_to=100, calibrate=False)
DIMENSION = 32


def clustered(n: int, seed: int = 0, centre: int = 0) -> Float32[np.ndarray, "n d"]:
    """Unit vectors around 20 centres, which the seed does not change."""
    centres = np.random.default_rng(centre).standard_normal((20, DIMENSION))
    rng = np.random.default_rng(seed)
    values = centres[rng.integers(0, 20, n)] + 0.5 * rng.standard_normal((n, DIMENSION))
    unit: Float32[np.ndarray, "n d"] = values / np.linalg.norm(values, axis=1, keepdims=True)
    return unit.astype(np.float32)


def build(space: Space, settings: BuildSettings = LISTS, texts: TextQueries = lambda: None) -> tuple[IndexFacts, str]:
    heard: list[str] = []
    facts = build_index(space, announce=heard.append, settings=settings, text_queries=texts)
    assert facts is not None
    return facts, "\n".join(heard)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of 2,000 vectors in 20 clusters, indexed by lists of codes."""
    corpus, space = make_vector_corpus(tmp_path_factory.mktemp("built") / "l.corpus", clustered(2000))
    build(space)
    return corpus.path


@pytest.fixture
def lists(built: Path, tmp_path: Path) -> Space:
    """The space of a copy of it."""
    return open_corpus(Path(shutil.copytree(built, tmp_path / "l.corpus"))).open_space()


def assert_whole(space: Space) -> None:
    """The index holds each live vector once, at its row, in its vectors and in its lists."""
    stored, vectors = read_index(space), load_vectors(space)
    rows, matrix = stored.load_rows(), open_matrix(stored)
    np.testing.assert_array_equal(np.sort(rows), vectors.rows)
    np.testing.assert_allclose(matrix.vectors, vectors.values[np.searchsorted(vectors.rows, rows)], atol=1e-3)
    if not stored.facts.is_exact:
        index = read_lists(stored.folder / CODES)
        index.nprobe = index.nlist
        found = index.search(np.asarray(matrix.vectors, np.float32), min(len(rows), 10))[1]
        whole = index.search(np.asarray(matrix.vectors[:1], np.float32), len(rows))[1]
        np.testing.assert_array_equal(np.sort(whole[0]), np.arange(len(rows)))
        assert (found == np.arange(len(rows))[:, None]).any(axis=1).mean() > 0.95
        assert index.ntotal == len(rows)


def test_a_space_without_vectors_gets_no_index(tmp_path: Path) -> None:
    corpus, _ = make_vector_corpus(tmp_path / "a.corpus", angles(0))
    with corpus.lock():
        empty = corpus.add_space("empty", dimension=2, encoder=None)
    assert build_index(empty, announce=lambda line: None) is None
    assert is_current(empty)


@pytest.mark.parametrize("n", [1, 2, 9])
def test_few_vectors_are_indexed_exactly_and_by_lists(tmp_path: Path, n: int) -> None:
    space = make_vector_corpus(tmp_path / "a.corpus", clustered(n))[1]
    assert read_index(space).facts.is_exact
    facts, _ = build(space, replace(LISTS, exact_up_to=0))
    assert facts.kind == "ivf-rabitq"
    assert facts.recall[Modality.IMAGE].value == 1
    assert_whole(space)


def test_lists_state_a_recall_that_holds_for_other_queries(lists: Space) -> None:
    stored = read_index(lists)
    facts, vectors = stored.facts, open_matrix(stored).vectors
    stated = facts.recall[Modality.IMAGE]
    assert stated.low <= stated.value <= stated.high
    assert stated.value >= facts.goal == 0.98
    assert stated.n_queries == 500
    index = read_lists(stored.folder / CODES)
    again = measure_recall(index, hold_records(vectors, seed=7), facts.parameters[Modality.IMAGE], seed=7)
    assert again.value == pytest.approx(stated.value, abs=0.02)
    assert_whole(lists)


def test_texts_are_tuned_by_themselves_and_otherwise_searched_more_widely(lists: Space) -> None:
    facts = read_index(lists).facts
    assert facts.recall_of(Modality.TEXT) is None
    assert "texts not measured" in facts.describe_recall()
    image, text = facts.parameters[Modality.IMAGE], facts.parameters[Modality.TEXT]
    assert text.n_probe >= image.n_probe
    assert text.refine_factor == 40
    texts = clustered(60, seed=5)
    measured, _ = build(lists, replace(LISTS, goal=0.99), lambda: texts)
    found = measured.recall[Modality.TEXT]
    assert found.value >= 0.99
    assert (found.n_queries, found.queries) == (60, "60 names as texts")


def test_facts_are_read_as_they_were_written(lists: Space) -> None:
    facts = read_index(lists).facts
    assert IndexFacts.from_json(facts.to_json()) == facts


def test_new_vectors_are_appended_to_the_lists_without_training(lists: Space) -> None:
    append_vectors(lists, np.arange(2000, 2200), clustered(200, seed=1))
    assert not is_current(lists, LISTS)
    before = read_index(lists)
    facts, heard = build(lists)
    assert "extended by 200 vectors, freed of 0; lists trained before" in heard
    assert (facts.n, facts.n_ordered, facts.n_trained, facts.n_since_training) == (2200, 2000, 2000, 200)
    assert not before.folder.exists()
    assert is_current(lists, LISTS)
    assert_whole(lists)


def test_removed_vectors_leave_the_lists(lists: Space, tmp_path: Path) -> None:
    remove_records(open_corpus(tmp_path / "l.corpus"), np.arange(0, 100, 2), reason="test")
    assert not is_current(lists, LISTS)
    facts, heard = build(lists)
    assert "extended by 0 vectors, freed of 50" in heard
    assert (facts.n, facts.n_ordered) == (1950, 1950)
    assert_whole(lists)


def test_too_long_a_tail_is_ordered_and_trained_anew(lists: Space) -> None:
    n_new = int(TAIL_LIMIT * 2000) + 1
    append_vectors(lists, np.arange(2000, 2000 + n_new), clustered(n_new, seed=1))
    facts, heard = build(lists)
    assert "built anew, because 20% of the records came or went since it was trained (limit 20%)" in heard
    assert facts.n_since_training == 0
    assert "built anew because 20%" in facts.reason
    assert_whole(lists)


def test_vectors_that_the_lists_do_not_fit_have_them_trained_anew(lists: Space) -> None:
    new = np.repeat(clustered(1, seed=3, centre=9), 380, axis=0) + 0.02 * clustered(380, seed=4, centre=8)
    append_vectors(lists, np.arange(2000, 2380), new / np.linalg.norm(new, axis=1, keepdims=True))
    facts, heard = build(lists)
    assert "built anew, because its lists grew uneven" in heard
    assert facts.n_trained == 2380
    assert_whole(lists)


def test_another_goal_tunes_the_same_index_again(lists: Space) -> None:
    before = read_index(lists)
    asked = replace(LISTS, goal=0.999)
    assert is_current(lists, LISTS)
    assert not is_current(lists, asked)
    facts, _ = build(lists, asked)
    after = read_index(lists)
    assert (after.digest, after.folder) == (before.digest, before.folder)
    assert facts.goal == 0.999
    assert facts.recall[Modality.IMAGE].value >= 0.999
    assert is_current(lists, LISTS), "without a goal of its own a job keeps the one there is"


def test_a_goal_that_short_codes_miss_is_met_by_longer_ones(tmp_path: Path) -> None:
    """Thousands of nearly equal vectors: one bit per dimension cannot tell which are nearest."""
    rng = np.random.default_rng(0)
    values = (1 + 0.02 * rng.standard_normal((2000, DIMENSION))).astype(np.float32)
    space = make_vector_corpus(tmp_path / "n.corpus", values)[1]
    facts, heard = build(space, replace(LISTS, goal=1.0))
    assert "misses the goal of 1.0; 2 bits are tried next" in heard
    assert facts.n_bits > 1
    assert facts.kind == f"ivf-rabitq{facts.n_bits}"
    assert_whole(space)


def test_a_memory_that_holds_no_codes_is_refused_and_leaves_the_index(lists: Space) -> None:
    before = read_index(lists)
    asked = replace(LISTS, memory=1000)
    assert not is_current(lists, asked)
    with pytest.raises(InputError, match="Allow more with --memory"):
        build(lists, asked)
    assert read_index(lists).digest == before.digest
    assert list(lists.folder.glob(".index.draft")) == []


def test_an_index_that_does_not_read_is_built_anew(lists: Space) -> None:
    lists.index_path.write_text('{"file": "index-0.faiss"}', encoding="utf-8")
    assert not is_current(lists, LISTS)
    build(lists)
    assert is_current(lists, LISTS)
    assert len(list(lists.folder.glob("index-*"))) == 1


def test_the_same_vectors_give_the_same_folder(tmp_path: Path) -> None:
    one, other = (make_vector_corpus(tmp_path / f"{name}.corpus", angles(0, 30, 60))[1] for name in "ab")
    assert read_index(one).digest == read_index(other).digest
    build_index(one, announce=lambda line: None)
    assert read_index(one).folder.is_dir()


def test_a_writer_of_nothing_leaves_an_empty_matrix(tmp_path: Path) -> None:
    assert MatrixWriter(tmp_path, 0, 4, None).finish().vectors.shape == (0, 4)
