from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from explorer.query import Query, TextPart, VectorPart, build_query, resolve_template
from indexer.errors import QueryError


def test_weights_are_set_by_kind() -> None:
    query = build_query(
        text="a bird", images=[Path("a.jpg")], like=["r1"], minus=["grass"], weights=["image=0.25", "minus=2"]
    )
    assert [(type(part).__name__, part.weight) for part in query.parts] == [
        ("TextPart", 1.0),
        ("ImagePart", 0.25),
        ("RecordPart", 0.75),
        ("TextPart", -2.0),
    ]
    assert query.describe() == "+1 text 'a bird' +0.25 image a.jpg +0.75 record r1 -2 text 'grass'"


def test_relevant_and_irrelevant_records_move_the_query_as_rocchio_has_it() -> None:
    query = build_query(text="a bird", like=["r1", "r2", "r3"], unlike=["r4", "r5"])
    assert [part.weight for part in query.parts] == [1, 0.25, 0.25, 0.25, -0.125, -0.125]
    assert [part.weight for part in build_query(like=["r1"], unlike=["r2"], weights=["unlike=1"]).parts] == [0.75, -1]


def test_a_template_holds_the_text() -> None:
    part = build_query(text="Parus major", template="photo").parts[0]
    assert isinstance(part, TextPart)
    assert part.sentence() == "a photo of Parus major."
    assert resolve_template("a drawing of {}") == "a drawing of {}"


def test_an_unknown_template_is_refused() -> None:
    with pytest.raises(QueryError, match="use raw, photo or a sentence"):
        resolve_template("fancy")


@pytest.mark.parametrize("pair", ["image", "image=x", "colour=1", "image=-1", "image=inf", "image=nan"])
def test_a_weight_that_cannot_be_read_is_refused(pair: str) -> None:
    with pytest.raises(QueryError, match="not of the form KIND=NUMBER"):
        build_query(text="x", weights=[pair])


def test_only_one_image_or_record_compares_with_random_pairs() -> None:
    vector = VectorPart(vector=np.ones(2, np.float32), name="x")
    assert build_query(like=["r1"]).compares_with_pairs
    assert build_query(images=[Path("a.jpg")]).compares_with_pairs
    assert Query(parts=(vector,)).compares_with_pairs
    assert not build_query(text="a bird").compares_with_pairs
    assert not build_query(like=["r1", "r2"]).compares_with_pairs
    assert not build_query(like=["r1"], minus=["grass"]).compares_with_pairs


def test_pushing_away_alone_is_no_question() -> None:
    with pytest.raises(QueryError, match="nothing to look for"):
        build_query(minus=["grass"])
