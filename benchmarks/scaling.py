"""What grows with the number of training pictures: the same training on 1k to 64k, and what differs at 16k.

    .venv/bin/python -m benchmarks.scaling --work WORK --draw              # the pictures, once
    .venv/bin/python -m benchmarks.scaling --work WORK --only 1k:0 4k:0    # these cells, one after the other
    .venv/bin/python -m benchmarks.scaling --work WORK --list              # all cells, and which are done
    .venv/bin/python -m benchmarks.scaling --work WORK --plot              # docs/scaling.png, docs/scaling.json, table

Every cell is shown equally many pictures (38,400: 300 steps of 128), on one thread in float32; what changes is how
many different ones, and the seed of tree, pictures, first weights and batches. Fewer pictures are the first of more. At
64k a picture is shown once at most, at 1k 36 times; the bundled encoders, trained longer on 32k, stand beside. A cell
that is done is not done again, one that was stopped goes on; several processes may work on different cells at once. The
pictures of the evaluation are those of `benchmarks.bundled`, as are the figures.

The pictures are kept under a name made of the drawing code: run the study from a copy of the checkout that is not
edited meanwhile.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from benchmarks.bundled import (
    TREE,
    judge_controls,
    measure_facts,
    open_encoder,
    read_scores,
    tell_scores,
    write_table,
)
from indexer.files import write_atomically
from training.settings import TrainingConfig, override_config
from training.synthetic.trial import Score, Trial, draw_trial, judge_encoder

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZES = {"1k": 1_080, "4k": 4_104, "16k": 16_416, "32k": 32_832, "64k": 65_664}
"""Whole multiples of the 216 species."""
SEEDS = (0, 1)
N_SHOWN = 38_400
VARIED_SIZE = "16k"
VARIATIONS: Mapping[str, Mapping[str, Any]] = {
    "dimension-512": {"small.dimension": 512},
    "repeated-species": {"data.unique_species": False},
    "no-trait-captions": {"captions.trait_share": 0.0},
}
PANELS = (
    "species_top1",
    "genus_top1_unseen",
    "image_map_unseen",
    "stage_auc",
    "sex_auc",
    "ecology_rho",
    "ecology_species_rho",
    "stage_fisher",
    "sex_fisher",
    "span10_share",
    "span32_share",
    "stage_direction10_share",
)
SHORT_TITLES = {
    "species_top1": "Species by name, top 1 of 216",
    "genus_top1_unseen": "Genus of unseen species, top 1 of 72",
    "image_map_unseen": "Search by picture, unseen species (mAP)",
    "stage_auc": "Life stage, probe fitted on\nother genera (AUC)",
    "sex_auc": "Sex, probe fitted on\nother genera (AUC)",
    "ecology_rho": "Ecology inside genera, probe fitted\non others, single pictures (ρ)",
    "ecology_species_rho": "Ecology inside genera, probe fitted\non others, means of species (ρ)",
    "stage_fisher": "Fisher ratio of life stage",
    "sex_fisher": "Fisher ratio of sex",
    "span10_share": "Variation inside species\nwithin 10 species dimensions",
    "span32_share": "Variation inside species\nwithin 32 species dimensions",
    "stage_direction10_share": "Step juvenile – adult\nwithin 10 species dimensions",
}
LINES = {"pixel PCA": ("#b45f06", "--"), "untrained": ("#777777", "-."), "oracle": ("#38761d", ":")}
MARKS = {
    "dimension-512": ("s", "#7a3e9d", "512 dimensions"),
    "repeated-species": ("^", "#cc0000", "species repeat in a batch"),
    "no-trait-captions": ("D", "#0b7a75", "no trait captions"),
}


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One training of the study."""

    name: str
    n_images: int
    seed: int
    changes: Mapping[str, Any] = field(default_factory=dict)

    def configure(self, work: Path, *, n_shown: int) -> TrainingConfig:
        """Its settings."""
        return override_config(
            TrainingConfig(),
            {
                "seed": self.seed,
                "synthetic.tree_seed": self.seed,
                "synthetic.n_images": self.n_images,
                "data.cache": str(work / "pictures"),
                # The trial has pictures of its own.
                "data.validation_share": 0.0,
                # As in the first stage of the bundled encoder.
                "captions.bare_noun_share": 0.0,
                "engine.n_samples": n_shown,
                "engine.accelerator": "cpu",
                "engine.precision": "fp32",
                "engine.n_threads": 1,
                "engine.checkpoint_every": 100,
                "engine.keep_checkpoints": 1,
                **self.changes,
            },
        )

    def find_result(self, work: Path) -> Path:
        """Where its figures are kept."""
        return work / "cells" / f"{self.name.replace(':', '-')}.json"


def list_cells(sizes: Mapping[str, int] = SIZES) -> dict[str, Cell]:
    """All cells by name: sizes by seeds, and the variations."""
    cells = [Cell(name=f"{size}:{seed}", n_images=n, seed=seed) for size, n in sizes.items() for seed in SEEDS]
    varied = sizes.get(VARIED_SIZE, max(sizes.values()))
    cells += [Cell(name=name, n_images=varied, seed=0, changes=changes) for name, changes in VARIATIONS.items()]
    return {cell.name: cell for cell in cells}


def draw_pools(work: Path, sizes: Mapping[str, int]) -> None:
    """Draws the largest set of pictures of each seed, of which the smaller ones are the beginning, and the trial."""
    from training.synthetic.dataset import draw_dataset

    for seed in SEEDS:
        config = Cell(name="", n_images=max(sizes.values()), seed=seed).configure(work, n_shown=N_SHOWN)
        draw_dataset(config, side=config.small.image_side, progress=_say_progress)
        _open_trial(work, seed, n_processes=2)


def run_cell(cell: Cell, work: Path, *, n_shown: int) -> None:
    """Trains, judges, and writes the figures; nothing to do where they are there."""
    from training.engine import train_encoder

    result = cell.find_result(work)
    if result.exists():
        print(f"{cell.name}: done before")
        return
    started = time.perf_counter()
    run = work / "runs" / result.stem
    report = train_encoder(cell.configure(work, n_shown=n_shown), run, announce=print, tell_loss=_say_loss)
    trained = time.perf_counter()
    scores = judge_encoder(_open_trial(work, cell.seed), open_encoder(run), measure_facts)
    told = {
        "cell": cell.name,
        "n_images": cell.n_images,
        "seed": cell.seed,
        "changes": dict(cell.changes),
        "n_samples": report.n_samples,
        "losses": list(report.losses),
        "seconds": {"training": round(trained - started, 1), "judging": round(time.perf_counter() - trained, 1)},
        "scores": tell_scores({cell.name: scores})[cell.name],
    }
    _write(result, told)
    print(f"{cell.name}: {told['seconds']}")


def judge_lines(work: Path) -> dict[str, tuple[Score, ...]]:
    """The controls' figures on each tree, computed once."""
    path = work / "cells" / "controls.json"
    if not path.exists():
        found: dict[str, tuple[Score, ...]] = {}
        for seed in SEEDS:
            controls = judge_controls(_open_trial(work, seed), override_config(TrainingConfig(), {"seed": seed}))
            found |= {f"{who}{TREE}{seed}": scores for who, scores in controls.items()}
        _write(path, tell_scores(found))
    return read_scores(json.loads(path.read_text(encoding="utf-8")))


def _open_trial(work: Path, seed: int, *, n_processes: int = 1) -> Trial:
    side = TrainingConfig().small.image_side
    return draw_trial(tree_seed=seed, side=side, folder=work / "pictures", n_processes=n_processes)


def _write(path: Path, value: Mapping[str, Any]) -> None:
    text = json.dumps(value, indent=1, ensure_ascii=False) + "\n"
    write_atomically(path, lambda part: part.write_text(text, encoding="utf-8"))


def _say_loss(step: int, loss: float) -> None:
    print(f"  step {step}: {loss:.3f} nats", flush=True)


def _say_progress(stage: str, done: int, total: int) -> None:
    if done % 4096 < 64 or done == total:
        print(f"{stage}: {done:,} of {total:,}", flush=True)


def read_results(work: Path, cells: Mapping[str, Cell]) -> dict[str, dict[str, Any]]:
    """What the cells that are done told, by name."""
    paths = {name: cell.find_result(work) for name, cell in cells.items()}
    return {name: json.loads(path.read_text(encoding="utf-8")) for name, path in paths.items() if path.exists()}


def plot_study(
    results: Mapping[str, Mapping[str, Any]],
    controls: Mapping[str, Sequence[Score]],
    longer: Mapping[str, Mapping[str, Any]],
    path: Path,
) -> None:
    """Small multiples over the number of training pictures: both seeds, the variations, and the controls as lines."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    plt.rcParams.update({"font.size": 12, "axes.titlesize": 12, "axes.spines.top": False, "axes.spines.right": False})
    figure, grid = plt.subplots(3, 4, figsize=(16, 10.5), sharex=True, layout="constrained")
    told = _average_trees(controls)
    names = {n_images: name for name, n_images in SIZES.items()}
    labels: dict[str, Any] = {}
    for axes, name in zip(grid.flat, PANELS, strict=True):
        _draw_lines(axes, name, told, labels)
        _draw_points(axes, name, results, labels)
        _draw_longer(axes, name, longer, labels)
        axes.set_title(SHORT_TITLES[name], loc="left")
        axes.set_xscale("log")
        axes.grid(axis="y", color="#e6e6e6", linewidth=0.8)
        axes.set_axisbelow(True)
        sizes = sorted({int(found["n_images"]) for found in results.values()})
        axes.set_xticks(sizes, [names.get(size, str(size)) for size in sizes])
        axes.set_xlim(sizes[0] / 1.5, sizes[-1] * 1.9)
        axes.minorticks_off()
    for axes in grid[-1]:
        axes.set_xlabel("training pictures")
    figure.suptitle(
        "What grows with the number of training pictures, equally many shown (two seeds and trees; bars: 95 %)",
        x=0.01,
        ha="left",
        fontsize=15,
    )
    figure.legend(labels.values(), labels.keys(), loc="outside lower center", ncols=5, frameon=False, fontsize=12)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _average_trees(controls: Mapping[str, Sequence[Score]]) -> dict[str, dict[str, tuple[float, float]]]:
    """Value and chance of each control's figures, the mean over the trees."""
    found: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for who, scores in controls.items():
        figures = found.setdefault(who.partition(TREE)[0], {})
        for score in scores:
            figures.setdefault(score.name, []).append((score.value, score.chance))
    return {
        who: {
            name: (fmean(value for value, _ in pairs), fmean(chance for _, chance in pairs))
            for name, pairs in of.items()
        }
        for who, of in found.items()
    }


def _draw_lines(
    axes: Axes, name: str, told: Mapping[str, Mapping[str, tuple[float, float]]], labels: dict[str, Any]
) -> None:
    # Chance in a span depends on the dimensions, which the untrained towers share with the trained ones.
    if name in told.get("untrained", {}):
        chance = told["untrained"][name][1]
        labels["chance"] = axes.axhline(chance, color="black", linewidth=1, linestyle=(0, (1, 3)))
    for who, (colour, style) in LINES.items():
        if name in told.get(who, {}):
            labels[who] = axes.axhline(told[who][name][0], color=colour, linewidth=1.6, linestyle=style)


def _draw_points(axes: Axes, name: str, results: Mapping[str, Mapping[str, Any]], labels: dict[str, Any]) -> None:
    colours = ("#1f5fa8", "#6fa8dc")
    means: dict[int, list[float]] = {}
    for found in results.values():
        score = found["scores"].get(name)
        if score is None or score["value"] is None:
            continue
        value, is_varied = float(score["value"]), bool(found["changes"])
        plain = ("o", colours[found["seed"] % 2], f"seed {found['seed']}")
        marker, colour, label = MARKS[found["cell"]] if is_varied else plain
        # Side by side, or bars of one size would hide each other.
        place = list(MARKS).index(found["cell"]) + 1 if is_varied else -found["seed"]
        reach = None
        if score["low"] is not None:
            reach = [[max(0.0, value - score["low"])], [max(0.0, score["high"] - value)]]
        drawn = axes.errorbar(
            [found["n_images"] * 1.13**place],
            [value],
            yerr=reach,
            fmt=marker,
            color=colour,
            markersize=7,
            elinewidth=1.3,
        )
        if not is_varied:
            means.setdefault(found["n_images"], []).append(value)
        labels[label] = drawn
    line = sorted((n, sum(values) / len(values)) for n, values in means.items())
    axes.plot([n for n, _ in line], [value for _, value in line], color=colours[0], linewidth=1, alpha=0.5)


def _draw_longer(axes: Axes, name: str, longer: Mapping[str, Mapping[str, Any]], labels: dict[str, Any]) -> None:
    values = [found[name]["value"] for found in longer.values() if found.get(name, {}).get("value") is not None]
    if values:
        places = [SIZES["32k"] * 1.13] * len(values)  # they learned from as many
        labels["bundled encoders (trained longer)"] = axes.plot(places, values, "*", color="#e69138", markersize=12)[0]


def read_longer(metrics: Path) -> dict[str, dict[str, Any]]:
    """The figures of the bundled encoders, without their controls; none where there is no such file."""
    if not metrics.exists():
        return {}
    found: dict[str, dict[str, Any]] = json.loads(metrics.read_text(encoding="utf-8"))
    return {who: figures for who, figures in found.items() if TREE not in who}


def tell_study(work: Path, cells: Mapping[str, Cell], out: Path, metrics: Path) -> None:
    """Draws the plot, writes the data beside it, prints the table."""
    results, controls = read_results(work, cells), judge_lines(work)
    plot_study(results, controls, read_longer(metrics), out)
    data = {"cells": list(results.values()), "controls": tell_scores(controls)}
    _write(out.with_suffix(".json"), data)
    trained = read_scores({name: found["scores"] for name, found in results.items()})
    print(write_table({**controls, **trained}))


def _choose(cells: Mapping[str, Cell], names: Sequence[str] | None) -> Iterator[Cell]:
    for name in names or cells:
        if name not in cells:
            raise SystemExit(f"no cell '{name}'; the cells are {', '.join(cells)}")
        yield cells[name]


def main() -> None:
    """Draws, trains or plots, as asked."""
    parser = argparse.ArgumentParser(description="What grows with the number of training pictures.")
    parser.add_argument("--work", type=Path, required=True, help="folder of pictures, runs and figures")
    parser.add_argument("--only", nargs="+", help="these cells alone, in this order (default: all)")
    parser.add_argument("--draw", action="store_true", help="draw the pictures; stop")
    parser.add_argument("--list", action="store_true", help="list the cells and which are done; stop")
    parser.add_argument("--plot", action="store_true", help="plot and tabulate the cells that are done; stop")
    parser.add_argument("--out", type=Path, default=Path("docs/scaling.png"), help="the plot; the data lie beside it")
    bundled = Path("data/bundled/metrics.json")
    parser.add_argument("--metrics", type=Path, default=bundled, help="figures of the bundled encoders")
    parser.add_argument("--shown", type=int, default=N_SHOWN, help=f"pictures shown per cell (default: {N_SHOWN:,})")
    parser.add_argument("--tiny", action="store_true", help="216 and 432 pictures, to try the program itself")
    asked = parser.parse_args()
    sizes = {"216": 216, "432": 432} if asked.tiny else SIZES
    cells = list_cells(sizes)
    if asked.list:
        for cell in cells.values():
            print(f"{cell.name}: {'done' if cell.find_result(asked.work).exists() else 'to do'}")
    elif asked.draw:
        draw_pools(asked.work, sizes)
    elif asked.plot:
        tell_study(asked.work, cells, asked.out, asked.metrics)
    else:
        for cell in _choose(cells, asked.only):
            run_cell(cell, asked.work, n_shown=asked.shown)


if __name__ == "__main__":
    main()
