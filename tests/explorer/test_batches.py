from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from explorer.batches import BatchReport, answer_batch
from explorer.query import Query, TextPart, VectorPart, build_query
from explorer.request import Request
from explorer.search import Searcher
from indexer.corpus import Corpus
from indexer.errors import QueryError, SourceError
from tests.corpora import make_vector_corpus
from tests.explorer.app_fixtures import build_colour_corpus

COLUMNS = ["query_id", "rank", "row", "record_id", "score", "percentile"]


@pytest.fixture
def plain(tmp_path: Path) -> Searcher:
    rng = np.random.default_rng(0)
    return Searcher(*make_vector_corpus(tmp_path / "p.corpus", rng.standard_normal((400, 6)).astype(np.float32)))


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory, colour_encoder: str) -> Corpus:
    return build_colour_corpus(tmp_path_factory.mktemp("batch"), colour_encoder, with_map=False)


def write_table(path: Path, columns: Mapping[str, Sequence[Any]]) -> Path:
    table = pa.table(dict(columns))
    if path.suffix == ".parquet":
        pq.write_table(table, path)
    else:
        pa.csv.write_csv(table, path)
    return path


def run(searcher: Searcher, queries: Path, request: Request | None = None) -> tuple[BatchReport, list[dict[str, Any]]]:
    out = queries.with_name("hits.parquet")
    report = answer_batch([searcher], queries, out, request or Request(k=5))
    table = pq.read_table(out)
    assert table.column_names[:6] == COLUMNS
    return report, table.to_pylist()


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_records_are_answered_as_one_by_one(plain: Searcher, tmp_path: Path, suffix: str) -> None:
    ids = [f"r{i}" for i in range(300)]
    queries = write_table(tmp_path / f"q{suffix}", {"query_id": [f"q{i}" for i in range(300)], "record_id": ids})
    report, lines = run(plain, queries)
    assert (report.n_queries, report.n_hits, report.refused, report.short) == (300, 1500, (), ())
    for i in (0, 255, 256, 299):
        expected = plain.search(build_query(like=[ids[i]]), k=5).hits
        found = [line for line in lines if line["query_id"] == f"q{i}"]
        assert [line["row"] for line in found] == [hit.row for hit in expected]
        assert [line["rank"] for line in found] == [1, 2, 3, 4, 5]
        np.testing.assert_allclose([line["score"] for line in found], [hit.score for hit in expected], atol=1e-5)
        np.testing.assert_allclose([line["percentile"] for line in found], [hit.percentile for hit in expected])


def test_vectors_need_not_be_of_unit_length(plain: Searcher, tmp_path: Path) -> None:
    wanted = np.random.default_rng(1).standard_normal((3, 6)).astype(np.float32)
    lists = {"query_id": ["a", "b", "c"], "emb": [(7 * vector).tolist() for vector in wanted]}
    _, lines = run(plain, write_table(tmp_path / "q.parquet", lists))
    texts = {"query_id": lists["query_id"], "emb": [str(vector) for vector in lists["emb"]]}
    _, of_csv = run(plain, write_table(tmp_path / "q.csv", texts))
    assert [line["row"] for line in of_csv] == [line["row"] for line in lines]
    for name, vector in zip("abc", wanted, strict=True):
        query = Query(parts=(VectorPart(vector=vector / np.linalg.norm(vector), name="x"),))
        expected = [hit.row for hit in plain.search(query, k=5).hits]
        assert [line["row"] for line in lines if line["query_id"] == name] == expected


def test_texts_are_asked_in_the_template(squares: Corpus, tmp_path: Path) -> None:
    searcher = Searcher(squares, squares.open_space(), device="cpu")
    queries = write_table(tmp_path / "q.csv", {"query_id": ["1", "2"], "text": ["green", "a blue bird"]})
    _, lines = run(searcher, queries)
    for name, text in (("1", "green"), ("2", "a blue bird")):
        expected = searcher.search(Query(parts=(TextPart(text=text),)), k=5)
        assert [line["record_id"] for line in lines if line["query_id"] == name] == [
            hit.record_id for hit in expected.hits
        ]


def test_a_folder_asks_with_its_images_and_names_the_broken_ones(squares: Corpus, tmp_path: Path) -> None:
    from PIL import Image

    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    Image.new("RGB", (40, 50), (20, 20, 200)).save(folder / "deep" / "blue.png")
    Image.new("RGB", (40, 50), (20, 200, 20)).save(folder / "green.png")
    (folder / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n cut")
    (folder / "notes.txt").write_text("not an image")
    report, lines = run(Searcher(squares, squares.open_space(), device="cpu"), folder)
    first = {line["query_id"]: line["record_id"].split("-")[0] for line in lines}
    assert first == {"deep/blue.png": "blue", "green.png": "green"}
    assert report.n_queries == 2
    (refused,) = report.refused
    assert refused.startswith("torn.png: ")


def test_images_of_a_table_lie_beside_it_and_are_named_by_their_row(squares: Corpus, tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (40, 50), (20, 20, 200)).save(tmp_path / "blue.png")
    queries = write_table(tmp_path / "q.csv", {"query_id": ["a", "b"], "image": ["gone.png", "blue.png"]})
    report, lines = run(Searcher(squares, squares.open_space(), device="cpu"), queries)
    assert {line["query_id"] for line in lines} == {"b"}
    (refused,) = report.refused
    assert refused.startswith("q.csv, row 2: ")
    assert "1 queries could not be read and are left out:" in report.describe()


def test_hits_can_be_written_as_csv(plain: Searcher, tmp_path: Path) -> None:
    queries = write_table(tmp_path / "q.csv", {"query_id": ["=1"], "record_id": ["r0"]})
    answer_batch([plain], queries, tmp_path / "hits.csv", Request(k=2))
    table = pa.csv.read_csv(tmp_path / "hits.csv")
    assert table.column_names == COLUMNS
    assert table.column("query_id").to_pylist() == ["=1", "=1"]


def test_a_question_that_gets_fewer_hits_is_named(plain: Searcher, tmp_path: Path) -> None:
    queries = write_table(tmp_path / "q.csv", {"query_id": ["lone"], "record_id": ["r0"]})
    report, lines = run(plain, queries, Request(k=500))
    assert len(lines) == 399
    assert report.short == ("lone: only 399 hits: no more records match (400 images may answer)",)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"query_id": ["a", "b", "a"], "text": ["x", "y", "z"]}, r"q.csv, row 4: 'query_id' a stands in row 2 too"),
        ({"query_id": ["a", ""], "text": ["", "y"]}, r"row 3: 'query_id' is empty\n.*row 2: 'text' is empty"),
        ({"query_id": ["a"]}, "exactly one of emb, text, image, record_id"),
        ({"query_id": ["a"], "text": ["x"], "image": ["y"]}, "it has text and image"),
        ({"text": ["a"]}, "no column 'query_id'"),
        ({"query_id": ["a", "b"], "record_id": ["r0", "r999"]}, r"q.csv, row 3: no record has the id 'r999'"),
        (
            {"query_id": [*"abcd"], "emb": ["[1,2,3,4,5,6]"] * 2 + ["[1]", "x"]},
            r"row 4: .*1 numbers.*\n.*row 5: no vec",
        ),
        ({"query_id": ["a"], "emb": ["[1, 2]"]}, "vectors of 2 numbers; space given holds 6"),
    ],
)
def test_rows_that_cannot_be_asked_are_all_named_and_nothing_is_written(
    plain: Searcher, tmp_path: Path, columns: dict[str, Sequence[Any]], said: str
) -> None:
    queries = write_table(tmp_path / "q.csv", columns)
    with pytest.raises(SourceError, match=said):
        run(plain, queries)
    assert not (tmp_path / "hits.parquet").exists()


def test_a_file_of_another_kind_is_refused(plain: Searcher, tmp_path: Path) -> None:
    with pytest.raises(QueryError, match=r"written as .parquet or .csv"):
        answer_batch([plain], tmp_path, tmp_path / "hits.json", Request())
    with pytest.raises(SourceError, match="no such file or folder"):
        run(plain, tmp_path / "nowhere.csv")
