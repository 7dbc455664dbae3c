from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from explorer.export import export_records
from explorer.hits import choose_format, format_csv, format_json, format_table, write_hits
from explorer.query import build_query
from explorer.search import Hit, Searcher
from indexer.errors import QueryError
from tests.corpora import angles, make_vector_corpus


@pytest.fixture
def searcher(tmp_path: Path) -> Searcher:
    columns: dict[str, list[Any]] = {
        "display_name": ["Parus major", "[bold]MVZ:bird:1[/bold]", "=cmd()"],
        "beakDepth": [1.5, None, 2.5],
    }
    return Searcher(*make_vector_corpus(tmp_path / "a.corpus", angles(0, 30, 60), columns=columns))


def hits(searcher: Searcher, record_id: str = "r0") -> tuple[Hit, ...]:
    return searcher.search(build_query(like=[record_id]), k=2).hits


def test_an_export_has_all_columns_but_the_thumbnails(searcher: Searcher, tmp_path: Path) -> None:
    assert export_records(searcher.corpus, tmp_path / "out.csv", where="beakDepth > 2") == 1
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as file:
        (record,) = csv.DictReader(file)
    assert (record["record_id"], record["display_name"], record["beakDepth"]) == ("r2", "=cmd()", "2.5")
    assert "thumbnail" not in record


def test_vectors_are_written_as_emb_explorer_reads_them(searcher: Searcher, tmp_path: Path) -> None:
    assert export_records(searcher.corpus, tmp_path / "out.parquet", space_name="given") == 3
    table = pq.read_table(tmp_path / "out.parquet")
    assert table.column("uuid").to_pylist() == ["r0", "r1", "r2"]
    assert table.schema.field("emb").type.value_type == pa.float32()
    np.testing.assert_allclose(np.array(table.column("emb").to_pylist()), angles(0, 30, 60), atol=1e-3)


def test_another_kind_of_file_is_refused(searcher: Searcher, tmp_path: Path) -> None:
    with pytest.raises(QueryError, match=r"\.parquet and \.csv are written"):
        export_records(searcher.corpus, tmp_path / "out.xlsx")
    with pytest.raises(QueryError, match="vectors do not fit a CSV"):
        export_records(searcher.corpus, tmp_path / "out.csv", space_name="given")


def test_json_hits_have_the_promised_keys_and_the_records_columns(searcher: Searcher) -> None:
    first, second = json.loads(format_json(hits(searcher)))
    assert list(first)[:5] == ["rank", "row", "record_id", "score", "percentile"]
    assert (first["record_id"], first["beakDepth"], second["display_name"]) == ("r1", None, "=cmd()")


def test_csv_hits_have_a_header_even_when_there_are_none() -> None:
    assert format_csv(()).startswith("rank,row,record_id,score,percentile")


def test_csv_hits_keep_record_ids_that_look_like_formulas(tmp_path: Path) -> None:
    ids = ["a", "=1+1", "@b"]
    corpus, space = make_vector_corpus(tmp_path / "f.corpus", angles(0, 30, 60), record_ids=ids)
    lines = csv.DictReader(format_csv(hits(Searcher(corpus, space), "a")).splitlines())
    assert [line["record_id"] for line in lines] == ["=1+1", "@b"]


def test_the_table_shows_names_as_they_are(searcher: Searcher) -> None:
    assert "[bold]MVZ:bird:1[/bold]" in format_table(hits(searcher))


def test_parquet_hits_need_a_file(searcher: Searcher, tmp_path: Path) -> None:
    with pytest.raises(QueryError, match="Name one with --out"):
        write_hits(hits(searcher), "parquet", None)
    write_hits(hits(searcher), "parquet", tmp_path / "hits.parquet")
    assert pq.read_table(tmp_path / "hits.parquet").column("record_id").to_pylist() == ["r1", "r2"]


def test_the_format_follows_the_file_and_a_contradiction_is_refused() -> None:
    assert choose_format(None, None) == "table"
    assert choose_format(None, Path("hits.CSV")) == "csv"
    assert choose_format("json", Path("hits.txt")) == "json"
    with pytest.raises(QueryError, match="would be read as parquet"):
        choose_format("csv", Path("hits.parquet"))
