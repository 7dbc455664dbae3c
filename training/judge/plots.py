"""The plot of a comparison: headline figures with their intervals and chance levels. Draws with matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from training.judge.figures import Task

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from training.judge.comparison import Comparison, Row

COLOURS = ("#332288", "#CC6677", "#117733", "#88CCEE", "#DDCC77", "#882255", "#44AA99", "#999933", "#AA4499")
"""Paul Tol's "muted" scheme, told apart by all common kinds of colour vision (personal.sron.nl/~pault, 2021)."""
MARKERS = ("o", "s", "D", "^", "v", "P")
CHANCE_COLOUR = "#8a8a8a"
WIDTH, ROW_HEIGHT, HEAD_HEIGHT = 9.0, 0.3, 0.85
"""In inches."""
SPREAD = 0.5
"""Share of a row's height over which the encoders' points are spread."""


def draw_comparison(comparison: Comparison, file: Path) -> None:
    """Write the headline figures as PNG: a panel per task, a line per figure, a point with its interval per encoder."""
    from matplotlib.figure import Figure

    rows = comparison.headlines() or comparison.rows
    groups = [(task, own) for task in Task if (own := [row for row in rows if row.figures[0].task is task])]
    heights = [ROW_HEIGHT * len(own) + HEAD_HEIGHT for _, own in groups]
    picture = Figure(figsize=(WIDTH, sum(heights) + 0.6), layout="constrained")
    panels = picture.subplots(len(groups), 1, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
    for panel, (task, own) in zip(panels, groups, strict=True):
        _draw_task(panel, task, own)
    handles, labels = panels[0].get_legend_handles_labels()
    names = [comparison.encoders[int(label)] if label.isdigit() else label for label in labels]
    picture.legend(handles, names, loc="outside upper center", ncols=min(4, len(handles)), frameon=False)
    picture.supxlabel(
        f"on {comparison.on}; bars: 95 % intervals, where enough is there to resample", fontsize=9, color=CHANCE_COLOUR
    )
    picture.savefig(file, format="png", dpi=150)


def _draw_task(panel: Axes, task: Task, rows: Sequence[Row]) -> None:
    n_encoders = len(rows[0].figures)
    places = np.arange(len(rows))[::-1]
    offsets = np.linspace(SPREAD / 2, -SPREAD / 2, n_encoders) if n_encoders > 1 else np.zeros(1)
    for number, offset in enumerate(offsets):
        estimates = [row.figures[number].estimate for row in rows]
        values = np.array([estimate.value for estimate in estimates])
        reach = [values - [one.low for one in estimates], [one.high for one in estimates] - values]
        panel.errorbar(
            values,
            places + offset,
            xerr=np.clip(np.nan_to_num(reach), 0, None),
            fmt=MARKERS[number % len(MARKERS)],
            color=COLOURS[number % len(COLOURS)],
            markersize=4.5,
            linewidth=1.4,
            label=str(number),
        )
    chances = [np.nan if row.figures[0].chance is None else row.figures[0].chance for row in rows]
    panel.plot(chances, places, "|", color=CHANCE_COLOUR, markersize=13, markeredgewidth=1.6, label="chance")
    panel.set_yticks(places, [_label_row(row) for row in rows], fontsize=8)
    panel.set_ylim(-0.7, len(rows) - 0.3)
    panel.set_title(_title(task, rows), loc="left", fontsize=10, fontweight="bold")
    if all(row.figures[0].is_share for row in rows):
        panel.set_xlim(-0.02, 1.02)
    else:
        highest = np.nanmax([*chances, *(figure.estimate.high for row in rows for figure in row.figures)])
        panel.set_xlim(-0.02 * highest, 1.04 * highest)
    panel.grid(axis="x", color="#e4e4e4", linewidth=0.7)
    panel.tick_params(axis="x", labelsize=8)
    panel.spines[["top", "right", "left"]].set_visible(False)
    panel.set_axisbelow(True)


def _label_row(row: Row) -> str:
    figure = row.figures[0]
    detail = f": {figure.detail}" if figure.detail else ""
    n_classes = f"; {figure.n_classes:,} classes" if figure.n_classes and figure.n_classes > 1 else ""
    return f"{figure.label}{detail} (n = {figure.n:,}{n_classes})"


def _title(task: Task, rows: Sequence[Row]) -> str:
    measures = list(dict.fromkeys(row.figures[0].measure for row in rows))
    less = "; less is better" if not rows[0].figures[0].is_share else ""
    return f"{task} ({' or '.join(measures)}{less})"
