from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from explorer.charts import (
    MAX_CATEGORIES,
    NO_ROW,
    Colouring,
    MapDrawing,
    choose_marker_size,
    draw_map,
    escape_text,
    rank_categories,
    style_category,
)


def drawing(n: int = 6, **changes: Any) -> MapDrawing:
    positions = np.stack([np.arange(n), np.arange(n) % 3], axis=1).astype(np.float32)
    given: dict[str, Any] = {
        "rows": np.arange(n, dtype=np.int64) * 10,
        "positions": positions,
        "names": [f"name {i}" for i in range(n)],
        "is_shown": np.ones(n, bool),
        "colouring": Colouring(),
    }
    return MapDrawing(**{**given, **changes})


def traces(of: MapDrawing) -> dict[str, Any]:
    return {trace.name: trace for trace in draw_map(of).data}


def test_every_point_carries_its_row() -> None:
    (trace,) = draw_map(drawing()).data
    assert trace.type == "scattergl"
    assert list(trace.customdata) == [0, 10, 20, 30, 40, 50]
    assert list(trace.hovertext) == [f"name {i}" for i in range(6)]


def test_the_same_drawing_gives_the_same_figure() -> None:
    labels = ["a", "b", None, "a", "b", "c"]
    figures = [draw_map(drawing(colouring=Colouring(title="x", labels=labels))).to_json() for _ in range(2)]
    assert figures[0] == figures[1]


def test_categories_are_traces_most_frequent_first_above_the_missing() -> None:
    found = traces(drawing(colouring=Colouring(title="sex", labels=["b", "a", "b", None, "b", "a"])))
    assert list(found) == ["(missing)", "b", "a"]
    assert list(found["b"].customdata) == [0, 20, 40]
    assert found["(missing)"].marker.color == "#D3D3D3"
    assert found["b"].marker.color == style_category(0)["color"]
    assert found["a"].hovertext[0] == "name 1<br>sex: a"


def test_more_than_twenty_categories_share_a_grey_rest() -> None:
    labels = [f"species {i:02d}" for i in range(25)] * 2 + ["species 24"]
    found = traces(drawing(51, colouring=Colouring(title="species", labels=labels)))
    assert len(found) == MAX_CATEGORIES + 1
    assert "species 24" in found
    assert len(found["other (5 more)"].customdata) == 10


def test_no_two_categories_look_alike() -> None:
    looks = {tuple(style_category(place).values()) for place in range(MAX_CATEGORIES)}
    assert len(looks) == MAX_CATEGORIES


def test_equally_frequent_categories_are_ranked_by_name() -> None:
    assert rank_categories(["b", "a", None, "b", "a"]) == (["a", "b"], 0)


def test_numbers_colour_along_a_scale_and_missing_ones_are_grey() -> None:
    numbers = np.array([1, 2, np.nan, 4, 5, 6])
    found = traces(drawing(colouring=Colouring(title="depth <mm>", numbers=numbers)))
    assert list(found["with a number"].marker.color) == [1, 2, 4, 5, 6]
    assert found["with a number"].marker.colorbar.title.text == "depth &lt;mm&gt;"
    assert list(found["(missing)"].customdata) == [20]
    assert found["(missing)"].hovertext[0] == "name 2<br>depth &lt;mm&gt;: (missing)"


def test_filtered_points_stay_as_a_ground_that_cannot_be_picked() -> None:
    shown = np.array([True, True, False, True, False, True])
    found = traces(drawing(is_shown=shown, colouring=Colouring(title="x", labels=list("aabbcc"))))
    assert list(found["filtered out"].customdata) == [NO_ROW, NO_ROW]
    assert found["filtered out"].hoverinfo == "skip"
    assert sorted(row for name in "abc" for row in found[name].customdata) == [0, 10, 30, 50]


def test_hits_are_ringed_and_the_rings_cannot_be_picked() -> None:
    rings = traces(drawing(ringed=[50, 10, 999]))["hits"]
    assert list(rings.x) == [1, 5]
    assert set(rings.customdata) == {NO_ROW}
    assert rings.marker.symbol == "circle-open"


def test_a_selection_is_drawn_in_every_trace() -> None:
    found = traces(drawing(selected=(10, 50), colouring=Colouring(title="x", labels=list("ababab"))))
    assert list(found["b"].selectedpoints) == [0, 2]
    assert list(found["a"].selectedpoints) == []
    assert draw_map(drawing()).data[0].selectedpoints is None


@pytest.mark.parametrize("text", ["<script>alert(1)</script>", "<b>x</b> & <a href='javascript:x'>y</a>"])
def test_names_are_never_markup(text: str) -> None:
    labels: list[str | None] = [text, None, "a", "a", "a", "a"]
    figure = draw_map(drawing(names=[text] * 6, colouring=Colouring(title=text, labels=labels)))
    for trace in figure.data:
        assert "<" not in trace.name
        assert all("<" not in hover.replace("<br>", "", 1) for hover in trace.hovertext)
    assert "<" not in figure.layout.legend.title.text


def test_escaping_keeps_the_text_readable() -> None:
    assert escape_text("a < b & c") == "a &lt; b &amp; c"


def test_axes_are_equal_and_the_lasso_is_at_hand() -> None:
    layout = draw_map(drawing()).layout
    assert layout.yaxis.scaleanchor == "x"
    assert layout.dragmode == "lasso"


def test_points_get_smaller_where_there_are_more() -> None:
    sizes = [choose_marker_size(n) for n in (10, 2_000, 10_000, 100_000, 1_000_000)]
    assert sizes == sorted(sizes, reverse=True)
