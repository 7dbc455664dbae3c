"""What a plot of the report shows, apart from how it is drawn: on the page by plotly, in files by matplotlib."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class IntervalRow:
    """One finding as a line of a panel; nan for what there is none of.

    Attributes:
        label: Of the line, as the column.
        space: Decides the colour.
        value: The point.
        low: Lower end of its interval. So is `high` the upper one.
        high: Upper end.
        null_low: Lower end of what shuffles give. So is `null_high` the upper one.
        null_high: Upper end.
        chance: By formula.
        note: What the point says when pointed at.
    """

    label: str
    space: str
    value: float
    low: float
    high: float
    null_low: float
    null_high: float
    chance: float
    note: str

    def list_numbers(self) -> list[float]:
        """Everything finite that the line spans."""
        numbers = (self.value, self.low, self.high, self.null_low, self.null_high, self.chance)
        return [number for number in numbers if math.isfinite(number)]


@dataclass(frozen=True, kw_only=True)
class Panel:
    """The lines of one statistic, which share an axis.

    Attributes:
        title: The statistic in words.
        rows: From top to bottom.
    """

    title: str
    rows: tuple[IntervalRow, ...]

    def find_range(self) -> tuple[float, float]:
        """The span of the axis: all that is drawn, and a little more."""
        numbers = [number for row in self.rows for number in row.list_numbers()] or [0.0, 1.0]
        low, high = min(numbers), max(numbers)
        margin = 0.06 * (high - low) or max(0.1, 0.1 * abs(high))
        return low - margin, high + margin


@dataclass(frozen=True, kw_only=True)
class IntervalPlot:
    """Findings as points with intervals, a panel for each statistic.

    Attributes:
        name: Of its files.
        spaces: In the order of their colours.
        panels: From top to bottom.
    """

    name: str
    spaces: tuple[str, ...]
    panels: tuple[Panel, ...]


@dataclass(frozen=True, kw_only=True)
class Series:
    """Numbers over the places of a plot, one for each; nan for none.

    Attributes:
        name: In the legend.
        values: One per place.
        is_reference: Whether it is what chance gives, and so drawn in grey.
        lows: Lower ends of the values' intervals; empty where there are none. So is `highs`.
        highs: Upper ends.
    """

    name: str
    values: tuple[float, ...]
    is_reference: bool = False
    lows: tuple[float, ...] = ()
    highs: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class SeriesPlot:
    """Lines, or stacked bars, over named places.

    Attributes:
        name: Of its files.
        title: What is shown.
        places: Along the axis, as the ranks.
        axis: What the numbers are.
        series: At least one.
        is_stacked: Whether the series are parts of a whole, a bar for each place.
    """

    name: str
    title: str
    places: tuple[str, ...]
    axis: str
    series: tuple[Series, ...]
    is_stacked: bool = False


Plot = IntervalPlot | SeriesPlot


def name_plot(what: str, space: str) -> str:
    """The name of a plot of one space, fit for a file; `what` alone where `space` is ""."""
    plain = re.sub(r"[^A-Za-z0-9._]+", "-", space).strip("-.")
    return f"{what}-{plain}" if plain else what


def series_plot_to_json(plot: SeriesPlot) -> dict[str, Any]:
    """The plot as JSON holds it: nan is null."""
    return {
        "name": plot.name,
        "title": plot.title,
        "places": list(plot.places),
        "axis": plot.axis,
        "is_stacked": plot.is_stacked,
        "series": [
            {
                "name": one.name,
                "is_reference": one.is_reference,
                "values": _to_json(one.values),
                "lows": _to_json(one.lows),
                "highs": _to_json(one.highs),
            }
            for one in plot.series
        ],
    }


def series_plot_from_json(stored: Mapping[str, Any]) -> SeriesPlot:
    """The plot that `series_plot_to_json` gave."""
    series = tuple(
        Series(
            name=one["name"],
            is_reference=one["is_reference"],
            values=_from_json(one["values"]),
            lows=_from_json(one["lows"]),
            highs=_from_json(one["highs"]),
        )
        for one in stored["series"]
    )
    return SeriesPlot(
        name=stored["name"],
        title=stored["title"],
        places=tuple(stored["places"]),
        axis=stored["axis"],
        series=series,
        is_stacked=stored["is_stacked"],
    )


def _to_json(numbers: Sequence[float]) -> list[float | None]:
    return [number if math.isfinite(number) else None for number in numbers]


def _from_json(stored: Sequence[float | None]) -> tuple[float, ...]:
    return tuple(math.nan if number is None else float(number) for number in stored)
