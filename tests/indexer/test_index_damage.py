"""Damage to an index: noticed before a wrong answer, with the way to mend it; records and vectors stay as they are."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from explorer.query import Query, VectorPart
from explorer.search import Searcher
from indexer.check import check_corpus
from indexer.corpus import Corpus, Space
from indexer.errors import CorpusError
from indexer.files import hash_file, read_json, write_json
from indexer.index.opened import open_index
from indexer.index.settings import BuildSettings
from indexer.index.storage import CODES, ROWS, TAXA, VECTORS, combine_digests
from indexer.job import refresh_index
from indexer.records import append_records
from indexer.removals import remove_records
from indexer.vectors import append_vectors, load_vectors
from tests.corpora import make_vector_corpus

EXACT = BuildSettings(calibrate=False)
LISTS = BuildSettings(calibrate=False, exact_up_to=100)


def clustered(n: int, d: int = 16, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((20, d))
    vectors = centres[rng.integers(0, 20, n)] + 0.5 * rng.standard_normal((n, d))
    unit: np.ndarray = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return unit


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of 600 vectors behind lists of codes."""
    return make_vector_corpus(tmp_path_factory.mktemp("whole") / "a.corpus", clustered(600), exact_up_to=100)[0].path


@pytest.fixture
def damaged(tmp_path: Path, whole: Path) -> tuple[Corpus, Space]:
    """A copy of it that a test may damage."""
    corpus = Corpus(path=shutil.copytree(whole, tmp_path / "a.corpus"))
    return corpus, corpus.open_space("given")


def folder_of(space: Space) -> Path:
    return space.folder / str(read_json(space.index_path)["folder"])


def rewrite(file: Path, data: bytes) -> None:
    """Write a file a moment after whatever was written before."""
    file.write_bytes(data)
    later = time.time_ns() + 1_000_000
    os.utime(file, ns=(later, later))


def truncate(name: str) -> Callable[[Space], None]:
    return lambda space: rewrite(folder_of(space) / name, (folder_of(space) / name).read_bytes()[:-40])


def flip_a_byte(name: str) -> Callable[[Space], None]:
    """The same length, another content: the search would work, and be wrong."""

    def damage(space: Space) -> None:
        file = folder_of(space) / name
        data = bytearray(file.read_bytes())
        data[-7] ^= 0x40
        rewrite(file, bytes(data))

    return damage


def shorten_the_vectors(space: Space) -> None:
    """Vectors of another length, the digests brought in line: only the shape tells."""
    file = folder_of(space) / VECTORS
    np.save(file, np.load(file)[:, :15])
    seal(space)


def drop_a_vector(space: Space) -> None:
    file = folder_of(space) / VECTORS
    np.save(file, np.load(file)[:-1])
    seal(space)


def drop_a_row(space: Space) -> None:
    file = folder_of(space) / ROWS
    np.save(file, np.load(file)[:-1])
    seal(space)


def seal(space: Space) -> None:
    """Describe the folder as it is now, with digests that are right."""
    stored = read_json(space.index_path)
    folder = space.folder / str(stored["folder"])
    files = {file.name: hash_file(file) for file in folder.iterdir()}
    digest = combine_digests(files)
    folder.rename(space.folder / f"index-{digest[:12]}")
    write_json(space.index_path, {**stored, "files": files, "digest": digest, "folder": f"index-{digest[:12]}"})


def cut_the_manifest(space: Space) -> None:
    text = space.index_path.read_text(encoding="utf-8")
    space.index_path.write_text(text[: len(text) // 2], encoding="utf-8")


def empty_the_manifest(space: Space) -> None:
    space.index_path.write_text("", encoding="utf-8")


def state_another_digest(space: Space) -> None:
    write_json(space.index_path, {**read_json(space.index_path), "digest": "0" * 64})


def state_another_file(space: Space) -> None:
    stored = read_json(space.index_path)
    write_json(space.index_path, {**stored, "files": {**stored["files"], VECTORS: "0" * 64}})


def take_a_file_away(space: Space) -> None:
    (folder_of(space) / CODES).unlink()


def take_the_folder_away(space: Space) -> None:
    shutil.rmtree(folder_of(space))


DAMAGES = [
    (truncate(VECTORS), r"vectors\.npy: is not the file that index\.json describes"),
    (truncate(CODES), r"codes\.faiss: is not the file that index\.json describes"),
    (truncate(ROWS), r"rows\.npy: is not the file that index\.json describes"),
    (truncate(TAXA), r"taxa\.parquet: is not the file that index\.json describes"),
    (flip_a_byte(VECTORS), r"vectors\.npy: is not the file that index\.json describes"),
    (flip_a_byte(CODES), r"codes\.faiss: is not the file that index\.json describes"),
    (shorten_the_vectors, r"vectors\.npy: holds values of shape \(600, 15\), not \(600, 16\) as index\.json says"),
    (drop_a_vector, r"vectors\.npy: holds values of shape \(599, 16\), not \(600, 16\)"),
    (drop_a_row, r"rows\.npy: holds values of shape \(599,\), not \(600,\)"),
    (cut_the_manifest, r"index\.json: not the description of an index"),
    (empty_the_manifest, r"index\.json: not the description of an index"),
    (state_another_digest, r"index\.json: the digest of the index is not that of the files it lists"),
    (state_another_file, r"index\.json: the digest of the index is not that of the files it lists"),
    (take_a_file_away, r"codes\.faiss: the file of the index is missing"),
    (take_the_folder_away, r"the file of the index is missing"),
]


@pytest.mark.parametrize(("damage", "said"), DAMAGES)
def test_each_damage_is_noticed_at_opening_and_mended_by_the_command_it_names(
    damaged: tuple[Corpus, Space], damage: Callable[[Space], None], said: str
) -> None:
    corpus, space = damaged
    before = load_vectors(space).values
    damage(space)
    with pytest.raises(CorpusError, match=said) as error:
        Searcher(corpus, space).search(Query(parts=(VectorPart(vector=before[0], name="x"),)))
    assert f"with: morphospace map {corpus.path}" in str(error.value)
    assert "space given: index: " in "\n".join(check_corpus(corpus).faults)
    mend(corpus, space)
    np.testing.assert_array_equal(load_vectors(space).values, before)
    found = open_index(space).search(before[:50], 1)
    assert found.rows[:, 0].tolist() == list(range(50))


def mend(corpus: Corpus, space: Space) -> None:
    """What the command does before it lays out the map."""
    with corpus.lock():
        refresh_index(corpus, space, lambda line: None, settings=EXACT)
    assert check_corpus(corpus).faults == ()


def test_an_index_of_another_space_is_refused(damaged: tuple[Corpus, Space]) -> None:
    corpus, space = damaged
    with corpus.lock():
        other = corpus.add_space("other", dimension=16, encoder=None)
        append_vectors(other, np.arange(600), clustered(600, seed=1))
        refresh_index(corpus, other, lambda line: None, settings=EXACT)
    shutil.rmtree(folder_of(space))
    shutil.copytree(folder_of(other), space.folder / folder_of(other).name)
    shutil.copy2(other.index_path, space.index_path)
    with pytest.raises(CorpusError, match=r"of another space \('other', made .*with: morphospace map"):
        open_index(space)
    assert open_index(other).facts.n == 600
    mend(corpus, space)


def test_a_silent_change_that_left_no_time_is_found_by_check(damaged: tuple[Corpus, Space]) -> None:
    corpus, space = damaged
    file = folder_of(space) / VECTORS
    times = file.stat().st_atime_ns, file.stat().st_mtime_ns
    flip_a_byte(VECTORS)(space)
    os.utime(file, ns=times)
    assert "vectors.npy is not the file that index.json describes (its digest differs)" in "\n".join(
        check_corpus(corpus).faults
    )


def test_a_copied_corpus_with_new_times_is_sound(damaged: tuple[Corpus, Space], tmp_path: Path) -> None:
    corpus, space = damaged
    copy = Corpus(path=shutil.copytree(corpus.path, tmp_path / "b.corpus", copy_function=shutil.copyfile))
    for file in copy.path.rglob("*.npy"):
        os.utime(file)
    assert open_index(copy.open_space(space.name)).search(load_vectors(space).values[7:8], 1).rows.tolist() == [[7]]


def test_an_opened_index_answers_on_while_its_folder_is_replaced(damaged: tuple[Corpus, Space]) -> None:
    corpus, space = damaged
    opened, former = open_index(space), folder_of(space)
    with corpus.lock():
        append_vectors(space, np.array([600]), clustered(1, seed=5))
        table = pa.table({"record_id": ["new"], "occurrence_id": ["new"], "uri": pa.nulls(1, pa.string())})
        append_records(corpus, table, [None])
        refresh_index(corpus, space, lambda line: None, settings=LISTS)
    assert not former.exists()
    vectors = load_vectors(space).values
    assert opened.search(vectors[5:6], 1).rows.tolist() == [[5]]
    assert open_index(space).search(vectors[600:], 1).rows.tolist() == [[600]]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 12 MiB; only root may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if shutil.which("mount") is None or os.geteuid() != 0:
        pytest.skip("a full disk needs a file system of its own, and only root on Linux may mount a tmpfs")
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path, *, leave: int) -> Path:
    """A file that leaves so many bytes of the disk free."""
    ballast = folder / "ballast"
    ballast.write_bytes(bytes(max(shutil.disk_usage(folder).free - leave, 0)))
    return ballast


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus whose index holds the first 1,000 of 1,500 vectors."""
    corpus, space = make_vector_corpus(
        tmp_path_factory.mktemp("behind") / "a.corpus", clustered(1000, 64), exact_up_to=100
    )
    ids = [f"n{i}" for i in range(500)]
    with corpus.lock():
        append_records(
            corpus, pa.table({"record_id": ids, "occurrence_id": ids, "uri": pa.nulls(500, pa.string())}), [None] * 500
        )
        append_vectors(space, np.arange(1000, 1500), clustered(500, 64, seed=1))
    return corpus.path


@pytest.mark.parametrize("leave", [0, 100_000, 205_000, 230_000])
def test_a_full_disk_stops_the_index_and_loses_nothing(small_disk: Path, behind: Path, leave: int) -> None:
    corpus = Corpus(path=shutil.copytree(behind, small_disk / "a.corpus"))
    space = corpus.open_space("given")
    before = load_vectors(space).values
    ballast = fill(small_disk, leave=leave)
    with pytest.raises(CorpusError, match=r"a\.corpus: the disk is full .* Free some space and run"), corpus.lock():
        refresh_index(corpus, space, lambda line: None, settings=LISTS)
    assert open_index(space).facts.n == 1000
    assert open_index(space).search(before[3:4], 1).rows.tolist() == [[3]]
    assert check_corpus(corpus).faults == ()
    ballast.unlink()
    mend(corpus, space)
    assert open_index(space).facts.n == 1500
    np.testing.assert_array_equal(load_vectors(space).values, before)


def test_a_full_disk_stops_an_append_and_a_removal_and_loses_nothing(small_disk: Path) -> None:
    corpus, space = make_vector_corpus(small_disk / "a.corpus", clustered(200), exact_up_to=100)
    remove_records(corpus, np.array([3]))
    ballast = fill(small_disk, leave=0)
    with pytest.raises(CorpusError, match="the disk is full"), corpus.lock():
        append_vectors(space, np.arange(200, 5000), clustered(4800))
    with pytest.raises(CorpusError, match="the disk is full"):
        remove_records(corpus, np.arange(100))
    assert corpus.removed_rows().tolist() == [3]
    assert len(load_vectors(space).rows) == 199
    ballast.unlink()
    assert check_corpus(corpus).faults == ()
    remove_records(corpus, np.array([4]))
    assert corpus.removed_rows().tolist() == [3, 4]
