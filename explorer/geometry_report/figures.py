"""The plots of the report as interactive figures, for its page and for the app."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from explorer.charts import FONT, PALETTE, Trace, escape_text, make_figure, shorten
from explorer.geometry_report.plots import IntervalPlot, IntervalRow, Panel, Plot, Series, SeriesPlot

NULL_COLOUR = "#D5D5CF"
CHANCE_COLOUR = "#6E6E69"
GRID_COLOUR = "#ECECE8"
NULL_NAME, CHANCE_NAME = "shuffled labels, 95 %", "chance by formula"
HEAD, FOOT, LEGEND = 36, 34, 44
"""In pixels: above and below the lines of a panel, and the legend's share of the figure."""
TITLE_WIDTH, TITLE_HEIGHT = 46, 17
"""Characters of a line of a panel's title, so that it fits a narrow page, and the height of a line."""
LINE_HEIGHT, SPACE_HEIGHT = 12, 16
"""What a line takes, for itself and for each space."""
CURVE_HEIGHT, BAR_HEIGHT = 320, 34
SPREAD = 0.7
"""Share of a line's height over which the spaces are spread."""

Axis = dict[str, Any]


def draw_plot(plot: Plot) -> Any:
    """The plot as a plotly figure, as wide as its place."""
    return make_figure(_draw_intervals(plot) if isinstance(plot, IntervalPlot) else _draw_series(plot))


def spread_spaces(plot: IntervalPlot) -> dict[str, float]:
    """How far each space stands below the middle of a line, in lines."""
    n = len(plot.spaces)
    return {space: (place - (n - 1) / 2) * SPREAD / n for place, space in enumerate(plot.spaces)}


def list_labels(panel: Panel) -> list[str]:
    """The lines of a panel, from top to bottom."""
    return list(dict.fromkeys(row.label for row in panel.rows))


def _draw_intervals(plot: IntervalPlot) -> dict[str, Any]:
    """Panels one below the other, each with an axis of its own; the spaces beside each other on a line."""
    line = LINE_HEIGHT + SPACE_HEIGHT * len(plot.spaces)
    heads = [HEAD + TITLE_HEIGHT * (len(_wrap(panel.title)) - 1) for panel in plot.panels]
    heights = [head + FOOT + line * len(list_labels(panel)) for panel, head in zip(plot.panels, heads, strict=True)]
    total, top = sum(heights), float(sum(heights))
    layout, data = _lay_out(total), []
    named: set[str] = set()
    layout["annotations"] = []
    for place, (panel, height) in enumerate(zip(plot.panels, heights, strict=True)):
        number = str(place + 1) if place else ""
        domain = [(top - height + FOOT) / total, (top - heads[place]) / total]
        layout |= _place_axes(number, panel, domain)
        layout["annotations"].append(_head_panel(number, panel.title, domain[1]))
        for trace in _trace_panel(plot, panel):
            is_new = trace["name"] not in named and any(x is not None for x in trace["x"])
            named |= {trace["name"]} if is_new else set()
            data.append(trace | {"xaxis": f"x{number}", "yaxis": f"y{number}", "showlegend": is_new})
        top -= height
    return {"data": data, "layout": layout}


def _place_axes(number: str, panel: Panel, domain: Sequence[float]) -> dict[str, Axis]:
    axis = {"gridcolor": GRID_COLOUR, "zeroline": False, "showline": False, "fixedrange": True}
    labels = list_labels(panel)
    across = {"anchor": f"y{number}", "range": panel.find_range(), "nticks": 8}
    down = {
        "anchor": f"x{number}",
        "domain": domain,
        "range": [len(labels) - 0.5, -0.5],
        "tickvals": list(range(len(labels))),
        "ticktext": [escape_text(shorten(label)) for label in labels],
        "showgrid": False,
        "automargin": True,
        "ticklabelstandoff": 6,
    }
    return {f"xaxis{number}": axis | across, f"yaxis{number}": axis | down}


def _head_panel(number: str, title: str, height: float) -> dict[str, Any]:
    return {
        "text": "<br>".join(f"<b>{escape_text(line)}</b>" for line in _wrap(title)),
        "xref": f"x{number} domain",
        "yref": "paper",
        "x": 0,
        "y": height,
        "xanchor": "left",
        "yanchor": "bottom",
        "yshift": 5,
        "showarrow": False,
        "align": "left",
    }


def _wrap(title: str) -> list[str]:
    from textwrap import wrap

    return wrap(title, TITLE_WIDTH) or [title]


def _trace_panel(plot: IntervalPlot, panel: Panel) -> list[Trace]:
    """The band of the shuffles, the mark of chance, and a point with its interval for each space."""
    labels, offsets = list_labels(panel), spread_spaces(plot)
    places = [labels.index(row.label) + offsets[row.space] for row in panel.rows]
    band: list[float | None] = []
    levels: list[float | None] = []
    for row, place in zip(panel.rows, places, strict=True):
        band += [_plain(row.null_low), _plain(row.null_high), None]
        levels += [place, place, None]
    tick = {"symbol": "line-ns", "size": 12, "line": {"color": CHANCE_COLOUR, "width": 1.5}}
    common = {"type": "scatter", "hoverinfo": "skip"}
    chances = [_plain(row.chance) for row in panel.rows]
    ground: list[Trace] = [
        common
        | {"x": band, "y": levels, "mode": "lines", "name": NULL_NAME, "line": {"color": NULL_COLOUR, "width": 9}},
        common | {"x": chances, "y": places, "mode": "markers", "name": CHANCE_NAME, "marker": tick},
    ]
    rows = list(zip(panel.rows, places, strict=True))
    return ground + [
        _trace_points([pair for pair in rows if pair[0].space == space], space, PALETTE[number % len(PALETTE)])
        for number, space in enumerate(plot.spaces)
    ]


def _trace_points(own: Sequence[tuple[IntervalRow, float]], space: str, colour: str) -> Trace:
    rows = [row for row, _ in own]
    reach = {
        "type": "data",
        "symmetric": False,
        "array": [_reach(row.high, row.value) for row in rows],
        "arrayminus": [_reach(row.value, row.low) for row in rows],
        "thickness": 1.6,
        "width": 4,
    }
    return {
        "type": "scatter",
        "x": [row.value for row in rows],
        "y": [place for _, place in own],
        "mode": "markers",
        "name": escape_text(shorten(space)),
        "marker": {"color": colour, "size": 8},
        "error_x": reach,
        "hovertext": [f"{escape_text(shorten(row.label, 60))}<br>{escape_text(row.note)}" for row in rows],
        "hovertemplate": "%{hovertext}<extra></extra>",
    }


def _draw_series(plot: SeriesPlot) -> dict[str, Any]:
    """Lines over the places, or a bar with its parts for each place."""
    data = [
        _trace_bar(plot, one, colour) if plot.is_stacked else _trace_line(plot, one, colour)
        for one, colour in zip(plot.series, colour_series(plot), strict=True)
    ]
    title = {"text": escape_text(plot.axis), "standoff": 8}
    numbers = {"title": title, "gridcolor": GRID_COLOUR, "zeroline": False}
    named = {"type": "category", "showgrid": False}
    if plot.is_stacked:
        layout = _lay_out(90 + BAR_HEIGHT * len(plot.places), bottom=56)
        down = {"autorange": "reversed", "automargin": True}
        return {"data": data, "layout": layout | {"barmode": "relative", "xaxis": numbers, "yaxis": named | down}}
    return {"data": data, "layout": _lay_out(CURVE_HEIGHT, left=64, bottom=28) | {"xaxis": named, "yaxis": numbers}}


def colour_series(plot: SeriesPlot) -> list[str]:
    """The colour of each series: grey for what chance gives, else the next of the palette."""
    ranked = iter(range(len(plot.series)))
    return [CHANCE_COLOUR if one.is_reference else PALETTE[next(ranked) % len(PALETTE)] for one in plot.series]


def _trace_line(plot: SeriesPlot, series: Series, colour: str) -> Trace:
    trace: Trace = {
        "type": "scatter",
        "x": [escape_text(place) for place in plot.places],
        "y": [_plain(number) for number in series.values],
        "mode": "lines" if series.is_reference else "lines+markers",
        "name": escape_text(series.name),
        "line": {"color": colour, "dash": "dot" if series.is_reference else "solid"},
        "hovertemplate": "%{x}: %{y:.3f}<extra>" + escape_text(series.name) + "</extra>",
    }
    if series.lows:
        up = [_reach(high, value) for high, value in zip(series.highs, series.values, strict=True)]
        down = [_reach(value, low) for low, value in zip(series.lows, series.values, strict=True)]
        trace["error_y"] = {
            **{"type": "data", "symmetric": False, "array": up, "arrayminus": down},
            **{"thickness": 1.4, "width": 4},
        }
    return trace


def _trace_bar(plot: SeriesPlot, series: Series, colour: str) -> Trace:
    return {
        "type": "bar",
        "orientation": "h",
        "x": [_plain(number) for number in series.values],
        "y": [escape_text(shorten(place)) for place in plot.places],
        "name": escape_text(series.name),
        "marker": {"color": NULL_COLOUR if series.is_reference else colour},
        "hovertemplate": "%{y}: %{x:.3f}<extra>" + escape_text(series.name) + "</extra>",
    }


def _lay_out(height: float, *, left: int = 8, bottom: int = 0) -> dict[str, Any]:
    """What all plots share: their size, the legend above, no ground of their own."""
    legend = {"orientation": "h", "x": 0, "xanchor": "left", "y": 1, "yref": "container", "yanchor": "top"}
    return {
        "height": height + LEGEND,
        "margin": {"l": left, "r": 14, "t": LEGEND, "b": bottom},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": FONT,
        "hoverlabel": {"bgcolor": "white", "bordercolor": "#9A9A9A", "font": {"color": "#1A1A1A", "size": 13}},
        "legend": legend | {"itemclick": False, "itemdoubleclick": False},
    }


def _plain(number: float) -> float | None:
    return number if math.isfinite(number) else None


def _reach(end: float, start: float) -> float | None:
    return _plain(end - start)
