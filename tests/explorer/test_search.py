from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from explorer.filters import ColumnCondition, Filter
from explorer.query import Query, RecordPart, TextPart, VectorPart, build_query
from explorer.search import Searcher
from indexer.corpus import create_corpus
from indexer.encoder_spec import EncoderSpec, Precision
from indexer.encoders import load_encoder
from indexer.errors import EncoderError, QueryError
from indexer.index.facts import Modality
from indexer.model_names import parse_model_name, pin_model
from indexer.preprocessing import Preprocessing
from tests.corpora import angles, make_vector_corpus


def like(*record_ids: str) -> Query:
    return build_query(like=record_ids)


@pytest.fixture
def fan(tmp_path: Path) -> Searcher:
    """Six records at 0, 10, 20, 40, 80 and 160 degrees."""
    columns: dict[str, list[Any]] = {
        "sex": ["male", "female", "male", None, "female", "male"],
        "genus": ["Parus", "Parus", "Turdus", "Turdus", "Turdus", "Parus"],
        "beakDepth": [1.0, 2.0, 3.0, 4.0, None, 6.0],
    }
    return Searcher(*make_vector_corpus(tmp_path / "fan.corpus", angles(0, 10, 20, 40, 80, 160), columns=columns))


def test_hits_come_in_the_order_of_the_angle(fan: Searcher) -> None:
    result = fan.search(like("r0"), k=5)
    assert [hit.record_id for hit in result.hits] == ["r1", "r2", "r3", "r4", "r5"]
    np.testing.assert_allclose([hit.score for hit in result.hits], np.cos(np.radians([10, 20, 40, 80, 160])), atol=2e-3)
    assert [hit.rank for hit in result.hits] == [1, 2, 3, 4, 5]
    assert result.is_exact


def test_a_record_answers_itself_only_when_asked(fan: Searcher) -> None:
    assert fan.search(like("r2"), k=1).hits[0].record_id != "r2"
    asked = fan.search(like("r2"), k=1, include_queried=True).hits[0]
    assert asked.record_id == "r2"
    assert asked.score == pytest.approx(1, abs=1e-3)


def test_a_filter_keeps_k_however_far_its_records_lie(fan: Searcher) -> None:
    result = fan.search(like("r0"), k=2, record_filter=Filter(where="sex = 'male'"))
    assert [hit.record_id for hit in result.hits] == ["r2", "r5"]
    assert result.n_matching == 3


def test_a_short_answer_says_why(fan: Searcher) -> None:
    result = fan.search(like("r0"), k=5, record_filter=Filter(taxon="turdus"))
    assert [hit.record_id for hit in result.hits] == ["r2", "r3", "r4"]
    assert result.notes == ("only 3 hits: no more records match (3 images may answer)",)


def test_a_filter_that_nothing_meets_gives_no_hit(fan: Searcher) -> None:
    result = fan.search(like("r0"), k=5, record_filter=Filter(where="beakDepth > 100"))
    assert result.hits == ()
    assert result.notes == ("no hit: no record passes the filter",)


def test_conditions_hold_values_ranges_and_missing(fan: Searcher) -> None:
    missing = Filter(conditions=(ColumnCondition(column="sex", values=("female", "")),))
    assert {hit.record_id for hit in fan.search(like("r0"), k=9, record_filter=missing).hits} == {"r1", "r3", "r4"}
    ranged = Filter(conditions=(ColumnCondition(column="beakDepth", low=2, high=4),))
    assert {hit.record_id for hit in fan.search(like("r0"), k=9, record_filter=ranged).hits} == {"r1", "r2", "r3"}


def test_less_like_this_pushes_away(fan: Searcher) -> None:
    towards = RecordPart(record_id="r2")
    away = RecordPart(record_id="r0", weight=-0.9)
    vector = fan.encode(Query(parts=(towards, away)))
    plain = angles(20)[0] - 0.9 * angles(0)[0]
    np.testing.assert_allclose(vector, plain / np.linalg.norm(plain), atol=5e-3)


def test_the_images_of_one_occurrence_share_one_hit(tmp_path: Path) -> None:
    occurrences = ["a", "b", "b", "b", "c"]
    corpus, space = make_vector_corpus(
        tmp_path / "o.corpus", angles(0, 5, 6, 7, 50), occurrence_ids=occurrences, record_ids=list("vwxyz")
    )
    searcher = Searcher(corpus, space)
    collapsed = searcher.search(like("v"), k=2)
    assert [(hit.record_id, hit.n_images) for hit in collapsed.hits] == [("w", 3), ("z", 1)]
    assert [hit.record_id for hit in searcher.search(like("v"), k=4, all_images=True).hits] == list("wxyz")


def test_collapsing_still_fills_k_behind_a_crowd_of_one_occurrence(tmp_path: Path) -> None:
    crowd = angles(0, *np.linspace(1, 5, 50), 60, 70)
    occurrences = ["q", *["crowd"] * 50, "x", "y"]
    searcher = Searcher(*make_vector_corpus(tmp_path / "c.corpus", crowd, occurrence_ids=occurrences))
    assert [hit.record["occurrence_id"] for hit in searcher.search(like("r0"), k=3).hits] == ["crowd", "x", "y"]


def test_the_percentile_is_the_share_of_random_pairs_below(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((400, 8)).astype(np.float32)
    searcher = Searcher(*make_vector_corpus(tmp_path / "p.corpus", vectors))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    pairs = (unit @ unit.T)[np.triu_indices(400, 1)]
    for hit in searcher.search(like("r0"), k=400).hits[::40]:
        assert hit.percentile == pytest.approx(100 * (pairs < hit.score).mean(), abs=0.6)


@pytest.mark.parametrize("parts", [(("r0", 1.0), ("r1", 1.0)), (("r0", 1.0), ("r1", -0.5))])
def test_the_percentile_of_a_sum_is_the_share_of_records_below(
    tmp_path: Path, parts: tuple[tuple[str, float], ...]
) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((400, 8)).astype(np.float32) + 1  # a cone, where sums lie nearer to everything
    searcher = Searcher(*make_vector_corpus(tmp_path / "s.corpus", vectors))
    query = Query(parts=tuple(RecordPart(record_id=name, weight=weight) for name, weight in parts))
    result = searcher.search(query, k=400, include_queried=True)
    assert result.query is query
    np.testing.assert_allclose([hit.percentile for hit in result.hits], 100 * (399.5 - np.arange(400)) / 400, atol=0.3)


def test_a_query_vector_of_another_length_is_refused(fan: Searcher) -> None:
    with pytest.raises(QueryError, match="holds 2 dimensions"):
        fan.search(Query(parts=(VectorPart(vector=np.ones(3, np.float32), name="x"),)))


def test_a_text_needs_a_known_encoder(fan: Searcher) -> None:
    with pytest.raises(EncoderError, match="imported without naming their model"):
        fan.search(Query(parts=(TextPart(text="red"),)))


def test_parts_that_cancel_out_are_refused(fan: Searcher) -> None:
    parts = (RecordPart(record_id="r0"), RecordPart(record_id="r0", weight=-1.0))
    with pytest.raises(QueryError, match="cancel out"):
        fan.search(Query(parts=parts))


def test_an_unknown_record_brings_the_nearest_ids(fan: Searcher) -> None:
    with pytest.raises(QueryError, match=r"no record has the id 'r00'.*Did you mean"):
        fan.search(like("r00"))


def test_an_approximate_index_answers_filters_exactly(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    vectors = rng.standard_normal((3000, 16)).astype(np.float32)
    columns: dict[str, list[Any]] = {"rare": [i % 100 == 0 for i in range(3000)]}
    searcher = Searcher(*make_vector_corpus(tmp_path / "ivf.corpus", vectors, columns=columns, exact_up_to=1000))
    assert searcher.index.facts.kind == "ivf-rabitq"
    result = searcher.search(like("r1"), k=10, record_filter=Filter(where="rare"))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    expected = np.argsort(-(unit[::100] @ unit[1]))[:10] * 100
    assert [hit.row for hit in result.hits] == expected.tolist()
    assert result.is_exact
    assert not searcher.search(like("r1"), k=10).is_exact


def test_an_approximate_index_visits_every_list_rather_than_give_too_few(tmp_path: Path) -> None:
    fine = np.arange(0, 180, 0.1)
    searcher = Searcher(*make_vector_corpus(tmp_path / "ivf.corpus", angles(*fine), exact_up_to=100))
    facts = searcher.index.facts
    assert facts.settings_for(Modality.IMAGE).n_probe < facts.n_lists
    few = searcher.search(like("r0"), k=5)
    assert (len(few.hits), few.is_exact) == (5, False)
    result = searcher.search(like("r0"), k=1799)
    assert sorted(hit.row for hit in result.hits) == list(range(1, 1800))
    assert (result.is_exact, result.recall, result.notes) == (True, 1.0, ())
    short = searcher.search(like("r0"), k=2000)
    assert short.is_exact
    assert short.notes == ("only 1799 hits: no more records match (1,800 images may answer)",)


def test_an_approximate_index_counts_occurrences_over_all_lists(tmp_path: Path) -> None:
    """Every image of the near half is of one occurrence: the others lie in lists that are not visited at first."""
    occurrences = ["near" if i < 90 else f"far-{i}" for i in range(180)]
    searcher = Searcher(
        *make_vector_corpus(tmp_path / "o.corpus", angles(*range(0, 180)), occurrence_ids=occurrences, exact_up_to=100)
    )
    result = searcher.search(like("r0"), k=91)
    assert [hit.row for hit in result.hits] == [1, *range(90, 180)]
    assert result.is_exact


@pytest.fixture
def spec() -> EncoderSpec:
    return EncoderSpec(
        model="hf-hub:imageomics/bioclip-2",
        revision="9d1a2b",
        weights_digest="w",
        architecture_digest="a",
        preprocessing=Preprocessing.from_open_clip({"size": 224, "resize_mode": "squash"}),
        dimension=4,
        precision=Precision.FP32,
    )


def test_a_model_of_the_hub_is_asked_at_the_revision_that_made_the_vectors(spec: EncoderSpec) -> None:
    assert pin_model(spec) == "hf-hub:imageomics/bioclip-2@9d1a2b"
    assert parse_model_name(pin_model(spec)).is_bioclip
    assert pin_model(replace(spec, model="hf-hub:imageomics/bioclip-2@main")) == "hf-hub:imageomics/bioclip-2@main"
    for model in ("bundled", "ViT-B-32/openai", "local-dir:/models/mine"):
        assert pin_model(replace(spec, model=model)) == model
    assert pin_model(replace(spec, revision=None)) == "hf-hub:imageomics/bioclip-2"


def test_a_model_folder_that_was_moved_is_asked_back(tmp_path: Path, spec: EncoderSpec) -> None:
    corpus = create_corpus(tmp_path / "m.corpus")
    with corpus.lock():
        space = corpus.add_space("mine", dimension=4, encoder=replace(spec, model=f"local-dir:{tmp_path / 'gone'}"))
    with pytest.raises(EncoderError, match=r"made with the model in .*gone, which is not there any more.*back there"):
        Searcher(corpus, space).encode(build_query(text="red"))


def test_an_encoder_that_did_not_make_the_vectors_is_not_taken(
    tmp_path: Path, spec: EncoderSpec, colour_encoder: str
) -> None:
    corpus = create_corpus(tmp_path / "m.corpus")
    loaded = load_encoder(colour_encoder, device="cpu")
    with corpus.lock():
        other, same = (
            corpus.add_space(name, dimension=4, encoder=made_with)
            for name, made_with in (("other", spec), ("same", loaded.spec))
        )
    with pytest.raises(EncoderError, match=r"space 'other' was made with hf-hub:imageomics/bioclip-2"):
        Searcher(corpus, other).use_encoder(loaded)
    searcher = Searcher(corpus, same)
    assert not searcher.is_encoder_loaded
    searcher.use_encoder(loaded)
    assert searcher.is_encoder_loaded
    assert searcher.encoder is loaded
