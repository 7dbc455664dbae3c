"""Plots of a run's metrics as PNG files; the one module of training, beside the judge's, that draws with matplotlib."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from indexer.files import write_atomically

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from training.run_folder import RunFolder

WIDTH, HEIGHT = 7.0, 2.6
"""Of one panel, in inches."""
INK, GREY = "#1f5a7a", "#8a8a8a"

Line = Mapping[str, Any]


ENDINGS = ("_null_low", "_null_high", "_low", "_high", "_chance", "_p")
"""What a figure's name ends in, before the column, where it belongs to another figure."""

Points = list[tuple[int, float]]


@dataclass(frozen=True, kw_only=True)
class Series:
    """A measured figure over the run, as (pictures shown, value) pairs.

    Attributes:
        points: Its values.
        interval: Lower and upper ends; None where no interval was measured.
        null: Lower and upper ends of what chance gives; None where that was not measured.
    """

    points: Points
    interval: tuple[Points, Points] | None
    null: tuple[Points, Points] | None


def plot_run(run: RunFolder) -> None:
    """Writes `plots/loss.png`, and `plots/measures.png` where something was measured, over the pictures shown."""
    lines = run.read_metrics()
    steps = [line for line in lines if "loss" in line]
    if steps:
        _save(_draw_training(steps), run.plots / "loss.png")
    series = collect_series(lines)
    if series:
        _save(_draw_measures(series), run.plots / "measures.png")


def collect_series(lines: Sequence[Line]) -> dict[str, Series]:
    """Every measured figure with its bands, in the order in which they were first measured.

    `auc_low/sex` and `auc_high/sex` are the interval of `auc/sex`, `auc_null_low/sex` and `auc_null_high/sex` its null.
    """
    values: dict[str, Points] = defaultdict(list)
    for line in lines:
        for name, value in line.get("measures", {}).items():
            values[name].append((line["samples"], value))
    return {
        name: Series(
            points=points,
            interval=_find_band(values, name, ("_low", "_high")),
            null=_find_band(values, name, ("_null_low", "_null_high")),
        )
        for name, points in values.items()
        if not any(_drop_ending(name, ending) in values for ending in ENDINGS)
    }


def _drop_ending(name: str, ending: str) -> str | None:
    statistic, slash, column = name.partition("/")
    return f"{statistic.removesuffix(ending)}{slash}{column}" if statistic.endswith(ending) else None


def _find_band(values: Mapping[str, Points], name: str, endings: tuple[str, str]) -> tuple[Points, Points] | None:
    statistic, slash, column = name.partition("/")
    low, high = (values.get(f"{statistic}{ending}{slash}{column}") for ending in endings)
    return (low, high) if low and high else None


def _draw_training(steps: Sequence[Line]) -> Figure:
    shown = [line["samples"] for line in steps]
    losses = {"biology": [line["loss"] for line in steps]}
    if "replay_loss" in steps[0]:
        losses["replay"] = [line["replay_loss"] for line in steps]
    figure, panels = _open_figure(3)
    # A line of one point has no length.
    marker = "o" if len(steps) == 1 else ""
    for (name, values), colour in zip(losses.items(), (INK, GREY), strict=False):
        panels[0].plot(shown, values, color=colour, linewidth=1.2, marker=marker, label=name)
    if len(losses) > 1:
        panels[0].legend(frameon=False)
    panels[0].set_ylabel("loss (nats)")
    panels[1].plot(shown, [line["gradient_norm"] for line in steps], color=INK, linewidth=1.0, marker=marker)
    panels[1].set_ylabel("gradient norm")
    panels[1].set_yscale("log")
    panels[1].yaxis.set_major_formatter("{x:g}")
    panels[1].yaxis.set_minor_formatter("{x:g}")
    panels[2].plot(shown, [line["learning_rate"] for line in steps], color=INK, linewidth=1.2, marker=marker)
    panels[2].set_ylabel("learning rate")
    panels[2].ticklabel_format(axis="y", style="sci", scilimits=(-3, 3))
    _label_samples(panels)
    return figure


def _draw_measures(series: Mapping[str, Series]) -> Figure:
    figure, panels = _open_figure(len(series))
    for panel, (name, one) in zip(panels, series.items(), strict=True):
        shown, values = zip(*one.points, strict=True)
        _fill_band(panel, one.null, GREY, "null")
        _fill_band(panel, one.interval, INK, "interval")
        panel.plot(shown, values, color=INK, linewidth=1.2, marker="o", markersize=4)
        panel.set_title(name, loc="left", fontsize=9)
        panel.annotate(
            f"{values[-1]:.3g}", one.points[-1], xytext=(6, 0), textcoords="offset points", fontsize=8, va="center"
        )
        panel.margins(x=0.08)
    first_band = next((panel for panel in panels if panel.get_legend_handles_labels()[1]), None)
    if first_band is not None:
        first_band.legend(frameon=False, fontsize=8, loc="best")
    _label_samples(panels)
    return figure


def _fill_band(panel: Axes, band: tuple[Points, Points] | None, colour: str, label: str) -> None:
    if band is None:
        return
    shown, low = zip(*band[0], strict=True)
    _, high = zip(*band[1], strict=True)
    if len(low) == len(high):
        panel.fill_between(shown, low, high, color=colour, alpha=0.18, linewidth=0, label=label)


def _open_figure(n_panels: int) -> tuple[Figure, list[Axes]]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, HEIGHT * n_panels), layout="constrained")
    FigureCanvasAgg(figure)
    panels: list[Axes] = list(figure.subplots(n_panels, 1, sharex=True, squeeze=False)[:, 0])
    for panel in panels:
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(axis="y", color="#e6e6e6", linewidth=0.6)
        panel.set_axisbelow(True)
    return figure, panels


def _label_samples(panels: Sequence[Axes]) -> None:
    from matplotlib.ticker import EngFormatter

    panels[-1].set_xlabel("pictures shown")
    panels[-1].xaxis.set_major_formatter(EngFormatter(sep=""))


def _save(figure: Figure, path: Path) -> None:
    write_atomically(path, lambda part: figure.savefig(part, format="png", dpi=150))
