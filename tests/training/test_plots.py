"""Plots of a run's metrics."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from training.plots import Series, collect_series, plot_run
from training.run_folder import RunFolder

MEASURES = {
    "auc/sex": 0.7,
    "auc_low/sex": 0.6,
    "auc_high/sex": 0.8,
    "auc_p/sex": 0.01,
    "span": 0.2,
    "span_null_low": 0.1,
}


def test_figures_are_collected_with_their_bands() -> None:
    lines: list[dict[str, Any]] = [
        {"step": 1, "samples": 8, "loss": 1.0},
        {"step": 1, "samples": 8, "measures": MEASURES},
    ]
    lines += [{"step": 2, "samples": 16, "measures": MEASURES | {"span": 0.3, "map_low": 0.5}}]
    assert collect_series(lines) == {
        "auc/sex": Series(
            points=[(8, 0.7), (16, 0.7)], interval=([(8, 0.6), (16, 0.6)], [(8, 0.8), (16, 0.8)]), null=None
        ),
        "span": Series(points=[(8, 0.2), (16, 0.3)], interval=None, null=None),
        "map_low": Series(points=[(16, 0.5)], interval=None, null=None),
    }


def test_plots_are_written_for_what_there_is(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    line = {"step": 1, "samples": 8, "loss": 2.0, "gradient_norm": 1.0, "learning_rate": 1e-3}
    run.metrics.write_text(json.dumps(line) + "\n")
    plot_run(run)
    assert [path.name for path in run.plots.iterdir()] == ["loss.png"]
    with run.metrics.open("a") as file:
        file.write(json.dumps({"step": 1, "samples": 8, "measures": MEASURES}) + "\n")
    plot_run(run)
    assert {path.name for path in run.plots.iterdir()} == {"loss.png", "measures.png"}
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in run.plots.iterdir())


def test_a_run_without_metrics_has_no_plots(tmp_path: Path) -> None:
    plot_run(RunFolder(tmp_path))
    assert not RunFolder(tmp_path).plots.exists()
