"""The plots of the report as PNG and SVG files, drawn with matplotlib."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from explorer.charts import PALETTE, shorten
from explorer.geometry_report.figures import (
    CHANCE_COLOUR,
    CHANCE_NAME,
    GRID_COLOUR,
    NULL_COLOUR,
    NULL_NAME,
    colour_series,
    list_labels,
    spread_spaces,
)
from explorer.geometry_report.plots import IntervalPlot, Panel, Plot, Series, SeriesPlot
from indexer.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, HEAD, LINE, SPACE = 8.6, 0.78, 0.14, 0.17
"""In inches: of the picture, above a panel's lines, and what a line takes for itself and for each space."""
CURVE_HEIGHT, BAR_HEIGHT = 3.6, 0.36
DOTS_PER_INCH = 160
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "font.family": "DejaVu Sans",
    "svg.fonttype": "none",
    # Without a salt the names inside an SVG are random, and the same report would give another file.
    "svg.hashsalt": "morphospace",
}


def write_plots(plots: Iterable[Plot], folder: Path) -> list[Path]:
    """Write each plot as PNG and SVG under its name; the files."""
    from matplotlib import rc_context

    files = []
    with rc_context(STYLE):
        for plot in plots:
            picture = _draw_intervals(plot) if isinstance(plot, IntervalPlot) else _draw_series(plot)
            files += [_save(picture, folder / f"{plot.name}.{form}") for form in ("png", "svg")]
    return files


def _save(picture: Figure, file: Path) -> Path:
    form = file.suffix[1:]
    facts = {"Date": None} if form == "svg" else None
    write_atomically(file, lambda part: picture.savefig(part, format=form, dpi=DOTS_PER_INCH, metadata=facts))
    return file


def _open(height: float, n_panels: int = 1, ratios: list[float] | None = None) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure

    picture = Figure(figsize=(WIDTH, height), layout="constrained")
    grid = {"height_ratios": ratios} if ratios else None
    panels: list[Axes] = list(picture.subplots(n_panels, 1, squeeze=False, gridspec_kw=grid)[:, 0])
    for panel in panels:
        panel.spines[["top", "right", "left"]].set_visible(False)
        panel.spines["bottom"].set_color(GRID_COLOUR)
        panel.set_axisbelow(True)
        panel.tick_params(length=0)
    return picture, panels


def _draw_intervals(plot: IntervalPlot) -> Figure:
    heights = [HEAD + (LINE + SPACE * len(plot.spaces)) * len(list_labels(panel)) for panel in plot.panels]
    picture, axes = _open(sum(heights) + 0.5, len(heights), heights)
    for panel, ground in zip(plot.panels, axes, strict=True):
        _draw_panel(plot, panel, ground)
    named = {name: handle for ground in reversed(axes) for handle, name in zip(*_list_legend(ground), strict=True)}
    order = [name for name in (NULL_NAME, CHANCE_NAME, *map(shorten, plot.spaces)) if name in named]
    handles = [named[name] for name in order]
    picture.legend(handles, order, loc="outside upper left", ncols=min(4, len(handles)), frameon=False)
    return picture


def _list_legend(ground: Axes) -> tuple[list[Artist], list[str]]:
    handles, names = ground.get_legend_handles_labels()
    return handles, names


def _draw_panel(plot: IntervalPlot, panel: Panel, ground: Axes) -> None:
    labels, offsets = list_labels(panel), spread_spaces(plot)
    places = np.array([labels.index(row.label) + offsets[row.space] for row in panel.rows])
    nulls = np.array([(row.null_low, row.null_high) for row in panel.rows]).reshape(-1, 2)
    known = np.isfinite(nulls).all(axis=1)
    if known.any():
        ground.hlines(places[known], nulls[known, 0], nulls[known, 1], color=NULL_COLOUR, linewidth=6, label=NULL_NAME)
    chances = np.array([row.chance for row in panel.rows])
    if np.isfinite(chances).any():
        ground.plot(chances, places, "|", color=CHANCE_COLOUR, markersize=9, label=CHANCE_NAME)
    for number, space in enumerate(plot.spaces):
        own = [i for i, row in enumerate(panel.rows) if row.space == space]
        values = np.array([panel.rows[i].value for i in own])
        reach = [values - [panel.rows[i].low for i in own], [panel.rows[i].high for i in own] - values]
        ground.errorbar(
            values,
            places[own],
            xerr=np.clip(np.nan_to_num(np.array(reach).reshape(2, -1)), 0, None),
            fmt="o",
            color=PALETTE[number % len(PALETTE)],
            markersize=5,
            linewidth=1.3,
            capsize=2,
            label=shorten(space),
        )
    ground.set_yticks(range(len(labels)), [shorten(label) for label in labels])
    ground.set_ylim(len(labels) - 0.5, -0.5)
    ground.set_xlim(*panel.find_range())
    ground.set_title(panel.title, loc="left", fontsize=9, fontweight="bold")
    ground.grid(axis="x", color=GRID_COLOUR, linewidth=0.7)


def _draw_series(plot: SeriesPlot) -> Figure:
    height = 1.1 + BAR_HEIGHT * len(plot.places) if plot.is_stacked else CURVE_HEIGHT
    picture, (ground,) = _open(height)
    if plot.is_stacked:
        _draw_bars(plot, ground)
    else:
        for series, colour in zip(plot.series, colour_series(plot), strict=True):
            _draw_line(plot, series, colour, ground)
        ground.set_ylabel(plot.axis)
        ground.grid(axis="y", color=GRID_COLOUR, linewidth=0.7)
    handles, names = ground.get_legend_handles_labels()
    picture.legend(handles, names, loc="outside upper left", ncols=min(4, len(handles)), frameon=False)
    return picture


def _draw_line(plot: SeriesPlot, series: Series, colour: str, ground: Axes) -> None:
    look = ":" if series.is_reference else "o-"
    values = np.array(series.values)
    if not series.lows:
        ground.plot(plot.places, values, look, color=colour, markersize=4.5, label=series.name)
        return
    reach = np.clip(np.nan_to_num(np.array([values - series.lows, np.array(series.highs) - values])), 0, None)
    ground.errorbar(
        plot.places, values, yerr=reach, fmt=look, color=colour, markersize=4.5, capsize=2, label=series.name
    )


def _draw_bars(plot: SeriesPlot, ground: Axes) -> None:
    """Parts side by side on a bar; those below 0 go to the left."""
    right, left = np.zeros(len(plot.places)), np.zeros(len(plot.places))
    for series, colour in zip(plot.series, colour_series(plot), strict=True):
        values = np.nan_to_num(np.array(series.values))
        starts = np.where(values >= 0, right, left)
        fill = NULL_COLOUR if series.is_reference else colour
        ground.barh(range(len(values)), values, left=starts, height=0.6, color=fill, label=series.name)
        right, left = right + np.maximum(values, 0), left + np.minimum(values, 0)
    ground.set_yticks(range(len(plot.places)), [shorten(place) for place in plot.places])
    ground.invert_yaxis()
    ground.set_xlabel(plot.axis)
    ground.grid(axis="x", color=GRID_COLOUR, linewidth=0.7)
