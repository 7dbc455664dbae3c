from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jaxtyping import Float32, Int64

from explorer.diversity import DUPLICATE_SCORE, Candidates, Diversity, admit, pick_diverse
from explorer.query import build_query
from explorer.request import Request
from explorer.search import Searcher
from indexer.errors import QueryError
from tests.corpora import angles, make_vector_corpus


def unit(vectors: Float32[np.ndarray, "n d"]) -> Float32[np.ndarray, "n d"]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    result: Float32[np.ndarray, "n d"] = (vectors / lengths).astype(np.float32)
    return result


def ref_admit(
    vectors: Float32[np.ndarray, "n d"],
    occurrences: Int64[np.ndarray, " n"],
    species: Int64[np.ndarray, " n"],
    n: int,
    most: int,
) -> list[int]:
    """The plain loop: down the candidates, each held against every one admitted before."""
    admitted: list[int] = []
    seen: set[int] = set()
    for place in range(len(vectors)):
        if occurrences[place] in seen:
            continue
        seen.add(int(occurrences[place]))
        fellows = sum(species[other] == species[place] for other in admitted)
        is_copy = any(vectors[place] @ vectors[other] >= DUPLICATE_SCORE for other in admitted)
        if (species[place] < 0 or fellows < most) and not is_copy and len(admitted) < n:
            admitted.append(place)
    return admitted


def ref_mmr(
    scores: Float32[np.ndarray, " n"], vectors: Float32[np.ndarray, "n d"], k: int, diverse: float
) -> list[int]:
    """Carbonell & Goldstein's equation as it is printed, over similarities stretched to [0, 1]."""
    likeness = vectors @ vectors.T
    pairs = [likeness[i, j] for i in range(len(vectors)) for j in range(len(vectors)) if i != j]
    near = (scores - scores.min()) / (scores.max() - scores.min())
    alike = (likeness - min(pairs)) / (max(pairs) - min(pairs))
    picked = [0]
    while len(picked) < k:
        rest = [i for i in range(len(scores)) if i not in picked]
        merit = [(1 - diverse) * near[i] - diverse * max(alike[i, j] for j in picked) for i in rest]
        picked.append(rest[int(np.argmax(merit))])
    return picked


def candidates(seed: int, n: int) -> tuple[Candidates, Float32[np.ndarray, "n d"]]:
    rng = np.random.default_rng(seed)
    vectors = unit(rng.standard_normal((n, 3)).astype(np.float32))
    found = Candidates(
        scores=np.linspace(1, 0, n, dtype=np.float32),
        occurrences=rng.integers(0, n // 2, n),
        species=rng.integers(-1, 12, n),
        vectors_at=lambda places: vectors[places],
    )
    return found, vectors


@pytest.mark.parametrize("seed", range(5))
def test_candidates_are_admitted_as_the_plain_loop_has_it(seed: int) -> None:
    found, vectors = candidates(seed, 700)
    assert found.occurrences is not None
    assert found.species is not None
    expected = ref_admit(vectors, found.occurrences, found.species, 40, 3)
    assert admit(found, 40, Diversity(per_species=3, no_duplicates=True)).tolist() == expected


@pytest.mark.parametrize("diverse", [0.1, 0.3, 0.7, 1.0])
def test_marginal_relevance_is_that_of_the_paper(diverse: float) -> None:
    rng = np.random.default_rng(1)
    vectors = unit(rng.standard_normal((60, 5)).astype(np.float32))
    scores = np.sort(rng.random(60).astype(np.float32))[::-1]
    assert pick_diverse(scores, vectors, 12, diverse).tolist() == ref_mmr(scores, vectors, 12, diverse)


def test_marginal_relevance_without_diversity_is_the_order_of_nearness() -> None:
    vectors = angles(0, 10, 20, 30)
    scores = np.array([4, 3, 2, 1], np.float32)
    assert pick_diverse(scores, vectors, 9, 0.0).tolist() == [0, 1, 2, 3]
    assert pick_diverse(scores[:0], vectors[:0], 3, 0.5).tolist() == []
    assert pick_diverse(scores[:1], vectors[:1], 3, 0.5).tolist() == [0]
    assert pick_diverse(np.ones(3, np.float32), angles(0, 0, 0), 2, 0.5).tolist() == [0, 1]


@pytest.mark.parametrize(("field", "value"), [("per_species", 0), ("diverse", 1.5), ("diverse", -0.1)])
def test_a_diversity_without_meaning_is_refused(field: str, value: Any) -> None:
    with pytest.raises(QueryError, match="allowed"):
        Diversity(**{field: value})


@pytest.fixture
def crowd(tmp_path: Path) -> Searcher:
    """A query, 120 near records of one species, and beyond them 30 of other species and 3 without a name."""
    degrees = [0, *np.linspace(10, 60, 120), *np.linspace(70, 100, 30), 110, 120, 130]
    species: list[Any] = ["query", *["Parus major"] * 120, *[f"Turdus n{i % 10}" for i in range(30)], None, "", None]
    return Searcher(
        *make_vector_corpus(tmp_path / "crowd.corpus", angles(*degrees), columns={"scientificName": species})
    )


def test_a_species_has_at_most_its_share_however_many_it_has(crowd: Searcher) -> None:
    request = Request(k=24, diversity=Diversity(per_species=2))
    (result,) = crowd.answer([build_query(like=["r0"])], request)
    assert [hit.row for hit in result.hits] == [1, 2, *range(121, 141), 151, 152]
    assert not result.notes


def test_an_answer_cut_short_by_its_limits_says_so(crowd: Searcher) -> None:
    request = Request(k=50, diversity=Diversity(per_species=1, no_duplicates=True))
    (result,) = crowd.answer([build_query(like=["r0"])], request)
    # Within 11.5 degrees of the record asked for, or of a better hit, all are the same picture.
    assert result.hits[0].row in (4, 5)
    (note,) = result.notes
    assert note == (
        f"only {len(result.hits)} hits: no more records match with at most 1 of a species and no near-duplicates "
        "(154 images may answer)"
    )


def test_no_two_hits_are_near_duplicates(crowd: Searcher) -> None:
    request = Request(k=8, diversity=Diversity(no_duplicates=True), include_queried=True)
    (result,) = crowd.answer([build_query(like=["r0"])], request)
    at = [np.degrees(np.arccos(min(hit.score, 1))) for hit in result.hits]
    assert min(np.diff(at)) > np.degrees(np.arccos(DUPLICATE_SCORE)) - 0.2
    assert len(at) == 8


def test_diverse_hits_are_picked_from_the_nearest_hundred(crowd: Searcher) -> None:
    plain, spread = (
        crowd.answer([build_query(like=["r0"])], Request(k=5, diversity=Diversity(diverse=diverse)))[0].hits
        for diverse in (0.0, 0.6)
    )
    assert [hit.row for hit in plain] == [1, 2, 3, 4, 5]
    assert spread[0].row == 1
    assert spread[1].row == 100
    assert max(hit.row for hit in spread) == 100
    assert [hit.rank for hit in spread] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("above", [0.0, 50.0, 99.0, 99.9, 100.0])
@pytest.mark.parametrize("unlike", [(), ("r7",)])
def test_a_range_holds_everything_above_a_percentile(tmp_path: Path, above: float, unlike: tuple[str, ...]) -> None:
    rng = np.random.default_rng(0)
    searcher = Searcher(*make_vector_corpus(tmp_path / "r.corpus", rng.standard_normal((3000, 8)).astype(np.float32)))
    query = build_query(like=["r0"], unlike=unlike)
    everything = searcher.search(query, k=3000)
    (result,) = searcher.answer([query], Request(above=above))
    assert [hit.row for hit in result.hits] == [hit.row for hit in everything.hits if hit.percentile >= above]
    assert result.is_exact


def test_a_range_with_a_count_gives_the_best_of_it(crowd: Searcher) -> None:
    (result,) = crowd.answer([build_query(like=["r0"])], Request(above=10, k=3))
    assert [hit.row for hit in result.hits] == [1, 2, 3]
    (short,) = crowd.answer([build_query(like=["r150"])], Request(above=100, k=3, diversity=Diversity(per_species=1)))
    assert short.notes[0].startswith(
        f"only {len(short.hits)} hits: no more records reach percentile 100 with at most 1"
    )


def test_a_range_has_no_meaning_beyond_its_scale() -> None:
    with pytest.raises(QueryError, match="from 0 to 100"):
        Request(above=101)
    with pytest.raises(QueryError, match="needs a number of hits"):
        Request(above=99, diversity=Diversity(diverse=0.5))
