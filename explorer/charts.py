"""Charts: the map, and the plots of reports, as plotly figures. The only module that imports plotly.

A figure is the same, byte for byte, for the same drawing, because plotly in Streamlit drops the user's selection when
the figure changes. Names and categories are untrusted, and plotly reads a little HTML in them: they are escaped here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go

from explorer.captions import MISSING

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Bool, Float32, Float64, Int64

    from explorer.reliability import RankReliability

MAX_CATEGORIES = 20
# Paul Tol's "muted" scheme, told apart by all common kinds of colour vision (personal.sron.nl/~pault, 2021). Beyond its
# nine colours the symbol changes, so that no two categories look alike.
PALETTE = ("#332288", "#CC6677", "#117733", "#88CCEE", "#DDCC77", "#882255", "#44AA99", "#999933", "#AA4499")
SYMBOLS = ("circle", "diamond", "triangle-up")
OTHER_COLOUR = "#A9A9A9"
MISSING_COLOUR = "#D3D3D3"
HIDDEN_COLOUR = "#EDEDEB"
RING_COLOUR = "#1A1A1A"
PLAIN_COLOUR = "#33668F"
NUMBER_SCALE = "Viridis"
MAX_LEGEND_TEXT = 28
HEIGHT = 640
FONT = {"family": "Source Sans, Source Sans Pro, system-ui, sans-serif", "size": 13, "color": "#2B2B2B"}
NO_ROW = -1
"""The custom data of points that cannot be picked."""

Trace = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Colouring:
    """What colours the points; exactly one of the two, or neither, is given.

    Attributes:
        title: of the legend or colour bar.
        labels: one category per point; None is missing.
        numbers: one number per point; nan is missing.
    """

    title: str = ""
    labels: Sequence[str | None] | None = None
    numbers: Float64[np.ndarray, " n"] | None = None


@dataclass(frozen=True, kw_only=True)
class MapDrawing:
    """What a map shows.

    Attributes:
        rows: of the records, beside everything else.
        positions: in map units.
        names: what a point says when pointed at.
        is_shown: False for records that the filter leaves out; they stay as a pale ground and cannot be picked.
        colouring: of the points shown.
        ringed: rows of the current hits.
        selected: rows that are drawn as picked from the start.
    """

    rows: Int64[np.ndarray, " n"]
    positions: Float32[np.ndarray, "n 2"]
    names: Sequence[str]
    is_shown: Bool[np.ndarray, " n"]
    colouring: Colouring
    ringed: Sequence[int] = ()
    selected: Sequence[int] = ()


@dataclass(frozen=True, kw_only=True)
class _Group:
    """Points that look alike."""

    name: str
    points: Int64[np.ndarray, " m"]
    marker: dict[str, Any]


def draw_reliability(ranks: Mapping[str, RankReliability]) -> go.Figure:
    """The reliability curve of each rank: confidence and share right, both from 0 to 1, beside the diagonal."""
    diagonal = {"x": [0, 1], "y": [0, 1], "mode": "lines", "line": {"color": OTHER_COLOUR, "dash": "dot"}}
    traces = [go.Scatter(diagonal, name="ideal", hoverinfo="skip")]
    for (rank, found), colour in zip(ranks.items(), PALETTE, strict=False):
        line = {"x": [point.confidence for point in found.curve], "y": [point.right for point in found.curve]}
        traces.append(go.Scatter(line, name=rank, mode="lines+markers", line={"color": colour}))
    figure = go.Figure(traces)
    figure.update_layout(
        height=380,
        margin={"l": 0, "r": 0, "t": 8, "b": 0},
        xaxis={"title": {"text": "confidence"}, "range": [0, 1.02]},
        yaxis={"title": {"text": "share right"}, "range": [0, 1.02]},
    )
    return figure


def draw_map(drawing: MapDrawing) -> go.Figure:
    """The map as a WebGL figure with equal axes, lasso at hand, one entry of the legend per category.

    The custom data of a point is its row; `NO_ROW` where it cannot be picked.
    """
    groups = _group_points(drawing)
    traces = [_draw_hidden(drawing), *(_draw_group(drawing, group) for group in groups), _draw_rings(drawing)]
    figure = go.Figure([go.Scattergl(trace) for trace in traces if trace])
    axis = {"visible": False, "showgrid": False, "zeroline": False}
    figure.update_layout(
        height=HEIGHT,
        margin={"l": 0, "r": 0, "t": 8, "b": 0},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "Source Sans, sans-serif", "size": 13, "color": "#2B2B2B"},
        xaxis=axis,
        yaxis={**axis, "scaleanchor": "x", "scaleratio": 1},
        dragmode="lasso",
        hovermode="closest",
        hoverlabel={"bgcolor": "white", "bordercolor": "#9A9A9A", "font": {"color": "#1A1A1A", "size": 13}},
        legend={
            "title": {"text": "" if drawing.colouring.labels is None else escape_text(drawing.colouring.title)},
            "itemsizing": "constant",
            "font": {"size": 12},
            "x": 1.0,
            "xanchor": "right",
            "y": 0.95,
            "bgcolor": "rgba(255,255,255,0.8)",
        },
        modebar={"bgcolor": "rgba(255,255,255,0.8)", "color": "#8A8A85", "activecolor": "#22241F"},
        uirevision="map",
    )
    return figure


def make_figure(parts: Mapping[str, Any]) -> go.Figure:
    """The figure of `data` and `layout` as plotly's JSON names them."""
    return go.Figure(parts)


def write_figure(figure: go.Figure, name: str) -> str:
    """The figure as a piece of HTML for a page that holds plotly's script (`read_plotly_script`) before it."""
    html: str = figure.to_html(
        full_html=False,
        include_plotlyjs=False,
        div_id=f"plot-{name}",
        config={"displaylogo": False, "responsive": True, "modeBarButtonsToRemove": ["lasso2d", "select2d"]},
    )
    return html


def read_plotly_script() -> str:
    """plotly.js itself, to be put into a page once."""
    from plotly.offline import get_plotlyjs

    script: str = get_plotlyjs()
    return script


def escape_text(text: str) -> str:
    """The text as plotly shows it literally: plotly knows these three entities and no markup without `<`."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def rank_categories(labels: Sequence[str | None]) -> tuple[list[str], int]:
    """The categories that get a colour of their own, most frequent first, and how many are left over."""
    counts = Counter(label for label in labels if label is not None)
    ordered = sorted(counts, key=lambda label: (-counts[label], label))
    return ordered[:MAX_CATEGORIES], max(0, len(ordered) - MAX_CATEGORIES)


def style_category(position: int) -> dict[str, str]:
    """Colour and symbol of the category at that place of the ranking."""
    return {
        "color": PALETTE[position % len(PALETTE)],
        "symbol": SYMBOLS[position // len(PALETTE) % len(SYMBOLS)],
    }


def choose_marker_size(n_points: int) -> int:
    """Diameter in pixels: smaller where there are more points."""
    return next((size for limit, size in ((500, 10), (3_000, 7), (20_000, 5), (100_000, 3)) if n_points <= limit), 2)


def _group_points(drawing: MapDrawing) -> list[_Group]:
    import numpy as np

    shown = np.flatnonzero(drawing.is_shown)
    colouring = drawing.colouring
    if colouring.numbers is not None:
        return _group_numbers(shown, colouring.numbers, colouring.title)
    if colouring.labels is not None:
        return _group_labels(shown, colouring.labels)
    return [_Group(name="records", points=shown, marker={"color": PLAIN_COLOUR})]


def _group_labels(shown: Int64[np.ndarray, " m"], labels: Sequence[str | None]) -> list[_Group]:
    import numpy as np

    own = [labels[point] for point in shown.tolist()]
    ranked, n_left = rank_categories(own)
    places = {label: place for place, label in enumerate(ranked)}
    other, missing = len(ranked), len(ranked) + 1
    codes = np.array([missing if label is None else places.get(label, other) for label in own], np.int64)
    names = [*ranked, f"other ({n_left:,} more)", MISSING]
    markers: list[dict[str, Any]] = [dict(style_category(place)) for place in range(len(ranked))]
    markers += [{"color": OTHER_COLOUR}, {"color": MISSING_COLOUR}]
    # The grey ones first, so that they lie below.
    order = [missing, other, *range(len(ranked))]
    groups = [_Group(name=names[code], points=shown[codes == code], marker=markers[code]) for code in order]
    return [group for group in groups if len(group.points)]


def _group_numbers(shown: Int64[np.ndarray, " m"], numbers: Float64[np.ndarray, " n"], title: str) -> list[_Group]:
    import numpy as np

    is_missing = np.isnan(numbers[shown])
    known = shown[~is_missing]
    groups = []
    if is_missing.any():
        groups.append(_Group(name=MISSING, points=shown[is_missing], marker={"color": MISSING_COLOUR}))
    if len(known):
        bar = {"title": {"text": escape_text(title)}, "thickness": 14, "len": 0.6, "y": 0.5, "outlinewidth": 0}
        marker = {"color": numbers[known], "colorscale": NUMBER_SCALE, "colorbar": bar}
        groups.append(_Group(name="with a number", points=known, marker=marker))
    return groups


def _draw_group(drawing: MapDrawing, group: _Group) -> Trace:
    import numpy as np

    has_legend = drawing.colouring.labels is not None or group.name == MISSING
    trace = _place(drawing, group.points) | {
        "name": escape_text(shorten(group.name)),
        # As an array of objects plotly takes it as it is; it would look at every element of a list.
        "hovertext": np.array([_say_point(drawing, point) for point in group.points.tolist()], object),
        "hovertemplate": "%{hovertext}<extra></extra>",
        "customdata": drawing.rows[group.points],
        "marker": {"size": choose_marker_size(len(drawing.rows)), "opacity": 0.85, **group.marker},
        "unselected": {"marker": {"opacity": 0.12}},
        "showlegend": has_legend,
        "legendrank": 2_000 if group.name == MISSING or group.name.startswith("other (") else 1_000,
    }
    if drawing.selected:
        trace["selectedpoints"] = np.flatnonzero(np.isin(drawing.rows[group.points], drawing.selected)).tolist()
    return trace


def _say_point(drawing: MapDrawing, point: int) -> str:
    """The name, and below it the value that colours the point."""
    colouring = drawing.colouring
    name = escape_text(shorten(drawing.names[point], 80))
    if colouring.numbers is not None:
        number = float(colouring.numbers[point])
        return f"{name}<br>{escape_text(colouring.title)}: {MISSING if number != number else f'{number:.4g}'}"
    if colouring.labels is not None:
        label = colouring.labels[point]
        return f"{name}<br>{escape_text(colouring.title)}: {escape_text(shorten(label or MISSING, 80))}"
    return name


def _draw_hidden(drawing: MapDrawing) -> Trace | None:
    import numpy as np

    hidden = np.flatnonzero(~drawing.is_shown)
    if not len(hidden):
        return None
    size = max(2, choose_marker_size(len(drawing.rows)) - 1)
    return _place(drawing, hidden) | {
        "name": "filtered out",
        "customdata": np.full(len(hidden), NO_ROW),
        "hoverinfo": "skip",
        "marker": {"size": size, "color": HIDDEN_COLOUR},
        "showlegend": drawing.colouring.labels is not None,
        "legendrank": 3_000,
    }


def _draw_rings(drawing: MapDrawing) -> Trace | None:
    import numpy as np

    points = np.flatnonzero(np.isin(drawing.rows, np.array(drawing.ringed, np.int64)))
    if not len(points):
        return None
    size = choose_marker_size(len(drawing.rows)) + 7
    line = {"width": 2, "color": RING_COLOUR}
    return _place(drawing, points) | {
        "name": "hits",
        "customdata": np.full(len(points), NO_ROW),
        "hoverinfo": "skip",
        "marker": {"size": size, "symbol": "circle-open", "color": RING_COLOUR, "line": line},
        "unselected": {"marker": {"opacity": 1}},
        "showlegend": True,
        "legendrank": 500,
    }


def _place(drawing: MapDrawing, points: Int64[np.ndarray, " m"]) -> Trace:
    places = drawing.positions[points]
    return {"x": places[:, 0], "y": places[:, 1], "mode": "markers"}


def shorten(text: str, limit: int = MAX_LEGEND_TEXT) -> str:
    """The text, cut with an ellipsis where it is longer."""
    return text if len(text) <= limit else text[: limit - 1] + "…"
