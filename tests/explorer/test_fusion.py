from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from jaxtyping import Float32

from explorer.diversity import Diversity
from explorer.filters import Filter
from explorer.fusion import Fusion, SpaceQuery, fuse_percentiles, fuse_ranks, search_spaces
from explorer.hits import format_csv, format_json, format_table, write_hits
from explorer.query import Query, build_query
from explorer.request import Request
from explorer.search import Searcher
from indexer.corpus import Corpus
from indexer.errors import QueryError
from indexer.index.building import build_index
from indexer.index.settings import BuildSettings
from indexer.vectors import append_vectors
from tests.corpora import make_vector_corpus

N = 300


def add_space(corpus: Corpus, name: str, vectors: Float32[np.ndarray, "n d"], rows: list[int]) -> None:
    with corpus.lock():
        space = corpus.add_space(name, dimension=vectors.shape[1], encoder=None)
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        append_vectors(space, np.array(rows, np.int64), unit.astype(np.float32))
        build_index(space, announce=lambda line: None, settings=BuildSettings(calibrate=False))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """300 records of 150 occurrences in the spaces `given` and `other`, which lacks the last 50."""
    rng = np.random.default_rng(0)
    made, _ = make_vector_corpus(
        tmp_path_factory.mktemp("fusion") / "two.corpus",
        rng.standard_normal((N, 6)).astype(np.float32),
        occurrence_ids=[f"o{i // 2}" for i in range(N)],
        columns={"species": [f"s{i % 7}" for i in range(N)]},
    )
    add_space(made, "other", rng.standard_normal((N - 50, 4)).astype(np.float32), list(range(N - 50)))
    return made


def ask(corpus: Corpus, query: Query) -> list[SpaceQuery]:
    return [SpaceQuery(searcher=Searcher(corpus, corpus.open_space(name)), query=query) for name in ("given", "other")]


def test_reciprocal_ranks_add_up() -> None:
    shares = fuse_ranks(np.array([[1, 2, 0], [2, 0, 1]]))
    np.testing.assert_allclose(shares, [1 / 61 + 1 / 62, 1 / 62, 1 / 61])
    np.testing.assert_allclose(fuse_percentiles(np.array([[100, 50], [90, np.nan]])), [95, 25])


@pytest.mark.parametrize("fusion", list(Fusion))
@pytest.mark.parametrize("all_images", [False, True])
def test_fused_hits_are_those_of_the_plain_sum(corpus: Corpus, fusion: Fusion, all_images: bool) -> None:
    """Every list whole, each occurrence by its best image, summed record by record in a dictionary."""
    query = build_query(like=["r10"])
    keyed: dict[str, dict[str, tuple[int, float, int]]] = {}
    for one in ask(corpus, query):
        (alone,) = one.searcher.answer([query], Request(k=N, all_images=all_images))
        keyed[one.searcher.space.name] = {
            hit.record_id if all_images else hit.record["occurrence_id"]: (hit.rank, hit.percentile, hit.row)
            for hit in alone.hits
        }
    result = search_spaces(ask(corpus, query), Request(k=20, all_images=all_images), fusion=fusion)
    for hit in result.hits:
        key = hit.record_id if all_images else hit.record["occurrence_id"]
        for standing in hit.standings:
            rank, percentile, _ = keyed[standing.space].get(key, (None, np.nan, -1))
            assert standing.rank == rank
            np.testing.assert_allclose(standing.percentile, percentile, atol=1e-6)
    everyone = {key for found in keyed.values() for key in found}
    if fusion is Fusion.RANK:
        fused = {key: sum(1 / (60 + found[key][0]) for found in keyed.values() if key in found) for key in everyone}
    else:
        fused = {key: sum(found[key][1] for found in keyed.values() if key in found) / 2 for key in everyone}
    best = sorted(fused.values(), reverse=True)[:20]
    np.testing.assert_allclose([hit.score for hit in result.hits], best, rtol=1e-5)
    assert [hit.rank for hit in result.hits] == list(range(1, 21))


def test_a_record_that_one_space_lacks_is_found_by_the_other(corpus: Corpus) -> None:
    only = Filter(where="row >= 250")
    result = search_spaces(ask(corpus, build_query(like=["r10"])), Request(k=30, record_filter=only))
    assert len(result.hits) == 25
    assert result.n_matching == 50
    assert result.notes == ("only 25 hits: no more records match (50 images may answer)",)
    assert {standing.rank for hit in result.hits for standing in hit.standings if standing.space == "other"} == {None}


def test_a_fused_answer_is_spread_out_too(corpus: Corpus) -> None:
    request = Request(k=7, diversity=Diversity(per_species=1, diverse=0.2, no_duplicates=True))
    result = search_spaces(ask(corpus, build_query(like=["r10"])), request)
    assert sorted(hit.record["species"] for hit in result.hits) == [f"s{i}" for i in range(7)]


def test_one_space_is_answered_as_ever(corpus: Corpus) -> None:
    query = build_query(like=["r10"])
    one = ask(corpus, query)[:1]
    assert search_spaces(one, Request(k=4)).hits == one[0].searcher.search(query, k=4).hits


def test_a_space_is_asked_once_and_a_range_in_one_space(corpus: Corpus) -> None:
    query = build_query(like=["r10"])
    with pytest.raises(QueryError, match="--space given: named twice"):
        search_spaces([*ask(corpus, query)[:1], *ask(corpus, query)[:1]], Request())
    with pytest.raises(QueryError, match="--above: a percentile of one space"):
        search_spaces(ask(corpus, query), Request(above=99))


def test_the_ranks_of_each_space_are_written(corpus: Corpus, tmp_path: Path) -> None:
    hits = search_spaces(ask(corpus, build_query(like=["r10"])), Request(k=3)).hits
    first = json.loads(format_json(hits))[0]
    assert first["rank_given"] == hits[0].standings[0].rank
    assert first["percentile_other"] == pytest.approx(hits[0].standings[1].percentile)
    (line, *_) = csv.DictReader(io.StringIO(format_csv(hits)))
    assert line["rank_given"] == str(first["rank_given"])
    write_hits(hits, "parquet", tmp_path / "hits.parquet")
    assert pq.read_table(tmp_path / "hits.parquet").column("rank_given")[0].as_py() == first["rank_given"]
    assert "in given" in format_table(hits)
