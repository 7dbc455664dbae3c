from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from explorer.filters import find_rows
from explorer.fusion import Fusion
from explorer.links import fit_view, fits_link, read_params, write_params
from explorer.query import RecordPart, TextPart, VectorPart
from explorer.tokens import pack_image
from explorer.viewstate import (
    SIMILARITY,
    Ask,
    AskKind,
    RangeFilter,
    ValuesFilter,
    View,
    build_filter,
    build_query,
    describe_filter,
    describe_query,
)
from indexer.errors import QueryError
from tests.corpora import angles, make_vector_corpus

IMAGE = pack_image(np.array([3, 0, 0, 4], np.float32), fingerprint="f00d", name="finch.jpg")
FULL = View(
    asks=(
        Ask(kind=AskKind.TEXT, value="pale & <b>bold</b> ünïcode"),
        Ask(kind=AskKind.WITHOUT, value="a leaf"),
        Ask(kind=AskKind.LIKE, value="a/b.jpg"),
        Ask(kind=AskKind.LIKE, value="r2"),
        Ask(kind=AskKind.UNLIKE, value="r3"),
        Ask(kind=AskKind.IMAGE, value=IMAGE),
    ),
    template="photo",
    spaces=("bioclip-2", "siglip2"),
    fusion=Fusion.PERCENTILE,
    n_hits=48,
    all_images=True,
    per_species=2,
    diverse=0.3,
    no_duplicates=True,
    offset=96,
    taxon="Parus major",
    filters=(
        ValuesFilter(column="sex", values=("male", "")),
        RangeFilter(column="beak.depth", low=-1.5, high=2e-7),
        RangeFilter(column="year", high=1990.0, with_missing=True),
    ),
    colour=SIMILARITY,
    selection=(0, 5, 1000),
    record="r2",
)


def through_link(view: View) -> tuple[View, tuple[str, ...]]:
    return read_params(parse_qs(urlencode(write_params(view), doseq=True), keep_blank_values=True))


def test_a_link_opens_the_same_view() -> None:
    assert through_link(FULL) == (FULL, ())


def test_the_view_of_a_new_visitor_has_an_empty_link() -> None:
    assert write_params(View()) == {}
    assert read_params({}) == (View(), ())


@given(
    text=st.text(min_size=1, max_size=50).filter(lambda text: text.strip() and "\x00" not in text),
    values=st.lists(st.text(max_size=10), min_size=1, max_size=5, unique=True),
    low=st.none() | st.floats(allow_nan=False, allow_infinity=False),
)
def test_any_text_survives_the_link(text: str, values: list[str], low: float | None) -> None:
    filters = (ValuesFilter(column="a.b~c", values=tuple(values)), RangeFilter(column="n", low=low))
    view = View(asks=(Ask(kind=AskKind.TEXT, value=text),), filters=filters, taxon=text)
    encoded = urlencode(write_params(view), doseq=True, errors="surrogatepass")
    again, problems = read_params(parse_qs(encoded, keep_blank_values=True, errors="surrogatepass"))
    assert (again, problems) == (view, ())


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"k": ["many"]}, "k=many"),
        ({"k": ["0"]}, "from 1 to"),
        ({"k": ["1000000000"]}, "from 1 to"),
        ({"range.year": ["1990"]}, None),
        ({"range.year": ["a~b"]}, "range.year"),
        ({"range.year": ["nan~"]}, "finite"),
        ({"range.year": ["1~2~maybe"]}, "LOW~HIGH"),
        ({"template": ["{}.__class__"]}, "raw or photo"),
        ({"rows": ["%%%"]}, "selection"),
        ({"image": ["zzz"]}, "image"),
        ({"text": ["x" * 5_000]}, "5,000 characters"),
        ({"like": [f"r{i}" for i in range(99)]}, "more than 16"),
        ({"<script>": ["1"]}, "not a part of a link"),
        ({"from": ["-1"]}, "from 0"),
        ({"diverse": ["2"]}, "from 0 to 1"),
        ({"per-species": ["0"]}, "from 1 to"),
        ({"fuse": ["magic"]}, "fuse=magic"),
    ],
)
def test_what_a_link_says_wrongly_is_left_out_and_said(params: Mapping[str, Sequence[str]], said: str | None) -> None:
    view, problems = read_params({**params, "taxon": ["Parus"]})
    assert view.taxon == "Parus"
    if said is None:
        assert not problems
    else:
        (problem,) = problems
        assert said in problem
        assert "left out" in problem


def test_a_view_of_another_corpus_loses_what_this_one_has_not() -> None:
    columns = {"sex": False, "beak.depth": True}
    view, problems = fit_view(FULL, columns=columns, spaces=["bundled"], n_rows=6)
    assert [condition.column for condition in view.filters] == ["sex", "beak.depth"]
    assert view.space is None
    assert view.selection == (0, 5)
    assert [part for part in ("'year'", "'bioclip-2'", "1 selected rows") if part in " ".join(problems)] == [
        "'year'",
        "'bioclip-2'",
        "1 selected rows",
    ]


def test_a_filter_of_values_on_a_column_of_numbers_is_left_out() -> None:
    view = View(filters=(ValuesFilter(column="year", values=("1990",)),), colour="gone")
    fitted, problems = fit_view(view, columns={"year": True}, spaces=[], n_rows=0)
    assert fitted == View()
    assert len(problems) == 2


def test_a_selection_that_is_too_long_stays_out_of_the_link() -> None:
    rows = tuple(np.random.default_rng(0).choice(1_000_000, 30_000, replace=False).tolist())
    view = View(selection=rows, taxon="Parus")
    assert not fits_link(rows)
    assert write_params(view) == {"taxon": ["Parus"]}


def test_an_image_is_asked_of_each_space_by_its_own_vector_and_shown_once() -> None:
    other = pack_image(np.array([0, 1, 0], np.float32), fingerprint="beef", name="finch.jpg")
    view = View().with_ask(AskKind.IMAGE, IMAGE).with_ask(AskKind.IMAGE, other)
    for fingerprint, dimension in (("f00d", 4), ("beef", 3)):
        query = build_query(view, fingerprint=fingerprint)
        assert query is not None
        (part,) = query.parts
        assert isinstance(part, VectorPart)
        assert part.vector.shape == (dimension,)
    with pytest.raises(QueryError, match="Upload the image again"):
        build_query(view, fingerprint="cafe")
    assert len(view.shown_asks) == 1
    assert view.without_ask(view.shown_asks[0]).asks == ()


def test_the_query_has_the_parts_in_order_with_their_weights() -> None:
    query = build_query(FULL, fingerprint="f00d")
    assert query is not None
    image, text, without, like, _, unlike = query.parts
    assert text == TextPart(text="pale & <b>bold</b> ünïcode", weight=1, template="a photo of {}.")
    assert without == TextPart(text="a leaf", weight=-0.5, template="a photo of {}.")
    assert like == RecordPart(record_id="a/b.jpg", weight=0.375)
    assert unlike == RecordPart(record_id="r3", weight=-0.25)
    assert isinstance(image, VectorPart)
    np.testing.assert_allclose(image.vector, [0.6, 0, 0, 0.8], atol=0.005)


def test_nothing_asked_is_no_query_and_only_pushing_away_is_refused() -> None:
    assert build_query(View(), fingerprint="f") is None
    with pytest.raises(QueryError, match="keep away from"):
        build_query(View().with_ask(AskKind.UNLIKE, "r1"), fingerprint="f")


def test_asking_for_more_of_what_was_less_turns_it_around() -> None:
    view = View(offset=24).with_ask(AskKind.UNLIKE, "r1").with_ask(AskKind.LIKE, "r1")
    assert view.asks == (Ask(kind=AskKind.LIKE, value="r1"),)
    assert view.offset == 0


def test_a_new_text_takes_the_place_of_the_old_and_an_empty_one_removes_it() -> None:
    view = View().with_ask(AskKind.TEXT, "bird").with_ask(AskKind.LIKE, "r1").with_ask(AskKind.TEXT, "fish")
    assert [ask.value for ask in view.asks] == ["r1", "fish"]
    assert [ask.value for ask in view.with_ask(AskKind.TEXT, "").asks] == ["r1"]
    assert view.without_ask(view.asks[0]).value_of(AskKind.TEXT) == "fish"


def test_a_condition_takes_the_place_of_its_columns_own() -> None:
    view = View().with_filter(ValuesFilter(column="sex")).with_filter(ValuesFilter(column="sex", values=("male",)))
    assert view.filters == (ValuesFilter(column="sex", values=("male",)),)
    assert view.without_filter("sex").filters == ()


@pytest.mark.parametrize(
    ("filters", "rows"),
    [
        ((ValuesFilter(column="sex"),), None),
        ((ValuesFilter(column="sex", values=("male",)),), [0, 2]),
        ((ValuesFilter(column="sex", values=("male", "")),), [0, 2, 3]),
        ((RangeFilter(column="year", low=2),), [1, 2]),
        ((RangeFilter(column="year", low=2, with_missing=True),), [1, 2, 3]),
        ((RangeFilter(column="year", with_missing=True),), [0, 1, 2, 3]),
        ((RangeFilter(column="year"),), [0, 1, 2]),
        ((RangeFilter(column="year", high=2, with_missing=True), ValuesFilter(column="sex", values=("",))), [3]),
    ],
)
def test_filters_let_the_right_rows_through(
    tmp_path: Path, filters: tuple[ValuesFilter | RangeFilter, ...], rows: list[int] | None
) -> None:
    columns: dict[str, Sequence[Any]] = {"sex": ["male", "female", "male", None], "year": [1, 2, 3, None]}
    corpus, _ = make_vector_corpus(tmp_path / "f.corpus", angles(0, 10, 20, 30), columns=columns)
    found = find_rows(corpus, build_filter(View(filters=filters)))
    assert (None if found is None else found.tolist()) == rows


def test_queries_and_filters_are_described_in_words() -> None:
    assert describe_query(FULL).startswith("text pale & <b>bold</b> ünïcode; without a leaf; like a/b.jpg")
    assert describe_query(FULL).endswith("image finch.jpg")
    assert describe_filter(FULL) == (
        "taxon: Parus major; sex: male or (missing); beak.depth: -1.5 to 2e-07; year: lowest to 1990 or (missing)"
    )
