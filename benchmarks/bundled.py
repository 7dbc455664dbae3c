"""The encoders of the synthetic tree, beside what knows less and what knows all: one table, and the data behind it.

    .venv/bin/python -m benchmarks.bundled runs/seed0 runs/seed1 --out data/bundled/metrics.json

Judged on new pictures of its tree (see `training.synthetic.trial`): each encoder given (a run, or its encoder's
folder), the same towers with random weights, the principal components of bare pixels, and an oracle that knows every
trait and state that shaped the organism. Intervals are 95 %: over species (names, words, search by picture) or
genera (probes). Prints a Markdown table; the data hold every figure with its interval, chance, nulls and p.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from explorer.geometry.ecology import conclude_ecology, estimate_ecology
from explorer.geometry.finding import Finding, Used, average_estimates
from explorer.geometry.species_span import measure_span
from explorer.geometry.variants import (
    Contrast,
    choose_contrast,
    conclude_states,
    estimate_states,
    measure_direction,
    measure_separation,
)
from training.settings import ModelConfig, SmallConfig, TrainingConfig, read_config
from training.synthetic.controls import project_pixels
from training.synthetic.trial import (
    Facts,
    Score,
    Trial,
    Vectors,
    describe_truth,
    draw_trial,
    judge_encoder,
    judge_vectors,
)

if TYPE_CHECKING:
    from training.towers import Towers

SPAN_SIZES = (None, 10, 32)
TREE = ", tree "
WITHOUT = "–"
DECIMALS = 4

TITLES = {
    "species_top1": "species among 216, by taxon and common name (top 1)",
    "species_top5": "the same, top 5",
    "species_top1_scientific": "species by scientific name alone",
    "species_top1_common": "species by common name alone",
    "genus_top1_seen": "genus among 72 by its bare name, species seen in training",
    "genus_top1_unseen": "genus among 72 by its bare name, **species never seen**",
    "image_map_seen": "picture → pictures of its species (mAP), seen",
    "image_map_unseen": "picture → pictures of its species (mAP), **never seen**",
    "nearest_unseen": "nearest picture is of its species, never seen",
    "p20_stage": "first 20 hits of life stage words",
    "p20_sex": "first 20 hits of “male”",
    "p20_shape": "first 20 hits of shape words",
    "stage_auc": "life stage, probe fitted on other genera (AUC)",
    "sex_auc": "sex, probe fitted on other genera (AUC)",
    "ecology_rho": "**ecology** inside genera, probe fitted on other genera, single pictures (ρ)",
    "ecology_species_rho": "**ecology** inside genera, probe fitted on other genera, means of species (ρ)",
    "span_share": "variation inside species within the species span (90 %)",
    "span10_share": "the same, span of 10 dimensions",
    "span32_share": "the same, span of 32 dimensions",
    "stage_direction_share": "step juvenile – adult within the species span (90 %)",
    "stage_direction10_share": "the same, span of 10 dimensions",
    "stage_direction32_share": "the same, span of 32 dimensions",
    "sex_direction_share": "step female – male within the species span (90 %)",
    "sex_direction10_share": "the same, span of 10 dimensions",
    "sex_direction32_share": "the same, span of 32 dimensions",
    "stage_fisher": "Fisher ratio of life stage inside species",
    "sex_fisher": "Fisher ratio of sex inside species",
}
"""Rows of the table, in their order; figures without a title are in the data alone."""
OF_OWN_SIZE = ("span_share", "stage_direction_share", "sex_direction_share")
"""Figures of a span as large as each encoder needs it: chance is each encoder's own."""
NOTE = (
    "AUC and ρ are means over the body plans, each of which is probed alone; spans, steps and Fisher ratios take all "
    "body plans together, so that a span tells birds from fish as well as species from species. All of them pool the "
    "species that training has seen with those it has not: a probe reads genera that it was not fitted on, but of "
    "every genus the encoder has seen other species. p is one-sided, against shuffled labels. A span for 90 % has as "
    "many dimensions as each encoder needs; its chance stands in parentheses."
)


def measure_facts(vectors: Vectors, facts: Facts, *, n_shuffles: int = 199) -> list[Score]:
    """The statistics of emergence: states and ecology within each body plan, the mean over plans; spans over all."""
    rows = np.asarray(vectors, dtype=np.float64)
    states = {"stage": facts.life_stages, "sex": facts.sexes}
    scores = []
    for name, values in states.items():
        contrast = choose_contrast(name, values, facts.species)
        if contrast is not None:
            scores += _measure_state(rows, facts, contrast, n_shuffles)
    scores += _measure_ecology(rows, facts, n_shuffles)
    spans = measure_span(rows, facts.species, n_dimensions=_list_sizes(rows), n_shuffles=n_shuffles)
    # Their p asks whether species are groups at all, which nobody doubts; beside the share it would be misread.
    return scores + [replace(_to_score(found, found.statistic), p=math.nan) for found in spans]


def _list_sizes(rows: np.ndarray) -> list[int | None]:
    return [k for k in SPAN_SIZES if k is None or k < rows.shape[1]]


def _measure_state(rows: np.ndarray, facts: Facts, contrast: Contrast, n_shuffles: int) -> list[Score]:
    estimates = []
    for part in _list_plans(facts).values():
        codes = np.where(part, contrast.codes, -1)
        inside = Contrast(column=contrast.column, names=contrast.names, codes=codes)
        estimates.append(estimate_states(rows, facts.species, facts.genera, inside, n_shuffles=n_shuffles))
    present = [estimate for estimate in estimates if estimate is not None]
    scores = []
    if present:
        used = _use(facts, contrast.codes >= 0)
        scores.append(_to_score(conclude_states(average_estimates(present), contrast.column, contrast.names, used)))
    inside_species = [measure_separation(rows, facts.species, contrast, n_shuffles=n_shuffles)]
    inside_species += [
        measure_direction(rows, facts.species, contrast, n_dimensions=k, n_shuffles=n_shuffles)
        for k in _list_sizes(rows)
    ]
    return scores + [_to_score(found) for found in inside_species if found is not None]


def _measure_ecology(rows: np.ndarray, facts: Facts, n_shuffles: int) -> list[Score]:
    scores, found = [], []
    for plan, part in _list_plans(facts).items():
        species = np.where(part, facts.species, -1)
        estimates = estimate_ecology(rows, facts.ecology, species, facts.genera, n_shuffles=n_shuffles)
        if estimates is not None:
            found.append(estimates)
            one = conclude_ecology(estimates.of_records, "ecology", _use(facts, part))
            scores.append(_to_score(one, f"ecology_rho_{plan}"))
    if not found:
        return []
    everything = _use(facts, np.ones(len(rows), dtype=bool))
    of_records = conclude_ecology(average_estimates([one.of_records for one in found]), "ecology", everything)
    of_species = conclude_ecology(
        average_estimates([one.of_species for one in found]), "ecology", everything, of_species=True
    )
    return [_to_score(of_records), _to_score(of_species), *scores]


def _list_plans(facts: Facts) -> dict[str, np.ndarray]:
    plans = np.array(facts.plans)
    return {plan: plans == plan for plan in sorted(set(facts.plans))}


def _use(facts: Facts, part: np.ndarray) -> Used:
    return Used(n=int(part.sum()), n_groups=len(np.unique(facts.genera[part])), left_out=int((~part).sum()))


def _to_score(finding: Finding, name: str | None = None) -> Score:
    return Score(
        name=name or f"{finding.column}_{finding.statistic}",
        value=finding.value,
        low=finding.low,
        high=finding.high,
        chance=finding.chance,
        n=finding.n_groups,
        p=finding.p,
        null_low=finding.null_low,
        null_high=finding.null_high,
    )


def open_encoder(folder: Path) -> Towers:
    """The encoder of a run, or of an encoder's own folder."""
    from training.towers import open_towers

    inner = folder / "encoder"
    start = f"local-dir:{inner if inner.is_dir() else folder}"
    return open_towers(ModelConfig(start=start), SmallConfig(), texts=None, announce=print)


def open_untrained(config: TrainingConfig, trial: Trial) -> Towers:
    """The architecture "small" with random weights; its vocabulary learned from the names of the tree."""
    import torch

    from training.towers import open_towers

    torch.manual_seed(config.seed)
    names = [f"a photo of {' '.join(one.ranks)} with common name {one.vernacular}." for one in trial.species]
    return open_towers(ModelConfig(), config.small, texts=names, announce=print)


def judge_controls(trial: Trial, config: TrainingConfig) -> dict[str, tuple[Score, ...]]:
    """The figures of what has not learned (pixels, random weights) and of what knows all (the oracle)."""
    n_components = min(config.small.dimension, len(trial.pixels) - 1)
    return {
        "pixel PCA": judge_vectors(trial, project_pixels(trial.pixels, n_components=n_components), measure_facts),
        "untrained": judge_encoder(trial, open_untrained(config, trial), measure_facts),
        "oracle": judge_vectors(trial, describe_truth(trial), measure_facts),
    }


def judge_folders(folders: Sequence[Path], *, folder: Path | None, n_processes: int) -> dict[str, tuple[Score, ...]]:
    """The figures of encoders, each on pictures of its own tree, after those of the controls on each tree."""
    configs = [read_run_config(one) for one in folders]
    trials: dict[int, Trial] = {}
    scores: dict[str, tuple[Score, ...]] = {}
    for config in configs:
        tree = config.synthetic.tree_seed
        if tree not in trials:
            side = config.small.image_side
            trials[tree] = draw_trial(tree_seed=tree, side=side, folder=folder, n_processes=n_processes)
            controls = judge_controls(trials[tree], config)
            scores |= {f"{who}{TREE}{tree}": found for who, found in controls.items()}
    for one, config in zip(folders, configs, strict=True):
        scores[one.name] = judge_encoder(trials[config.synthetic.tree_seed], open_encoder(one), measure_facts)
    return scores


def write_table(scores: Mapping[str, Sequence[Score]]) -> str:
    """A Markdown table: one row per titled figure, then per text; one column per encoder, intervals in brackets.

    Controls on several trees share a column, their values in the order of the trees. A line below says what the figures
    pool.
    """
    by_name: dict[str, list[dict[str, Score]]] = {}
    trees: dict[str, list[str]] = {}
    for whole, found in scores.items():
        who, _, tree = whole.partition(TREE)
        by_name.setdefault(who, []).append({score.name: score for score in found})
        trees.setdefault(who, []).append(tree)
    judged = [one for found in by_name.values() for one in found]
    every = list(dict.fromkeys(name for one in judged for name in one))
    heads = [f"{who}, trees {' / '.join(trees[who])}" if len(trees[who]) > 1 else who for who in by_name]
    lines = [f"| figure | chance | {' | '.join(heads)} |", "|---" * (2 + len(by_name)) + "|"]
    texts = {name: f"“{name[4:]}”, first 20 hits" for name in every if name.startswith("p20 ")}
    plans = {name: f"ecology, {name.rpartition('_')[2]} (ρ)" for name in every if name.startswith("ecology_rho_")}
    for name, title in {**TITLES, **plans, **texts}.items():
        if name in every:
            cells = [" / ".join(_write_cell(one.get(name)) for one in found) for found in by_name.values()]
            lines.append(f"| {title} | {_write_chance(name, judged)} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", NOTE])


def _write_chance(name: str, found: Iterable[Mapping[str, Score]]) -> str:
    if name in OF_OWN_SIZE:
        return WITHOUT
    chances = sorted({round(one[name].chance, 3) for one in found if name in one and math.isfinite(one[name].chance)})
    return f"{chances[0]:.3g}" if len(chances) == 1 else f"{chances[0]:.3g}–{chances[-1]:.3g}" if chances else WITHOUT


def _write_cell(score: Score | None) -> str:
    if score is None or not math.isfinite(score.value):
        return WITHOUT
    interval = f" [{score.low:.2f}, {score.high:.2f}]" if math.isfinite(score.low) else ""
    own = f" ({score.chance:.2f})" if score.name in OF_OWN_SIZE else ""
    # The p of a step compares it with noise inside species, not with chance: 0.24 of 0.08 may have 0.005.
    is_against_chance = math.isfinite(score.p) and not score.name.endswith("_share")
    return f"{score.value:.2f}{interval}{own}" + (f", p {score.p:.2g}" if is_against_chance else "")


def tell_scores(scores: Mapping[str, Sequence[Score]]) -> dict[str, dict[str, dict[str, float | int | None]]]:
    """The scores for JSON: by encoder and figure; what is not finite is null."""
    return {who: {score.name: _tell(score) for score in found} for who, found in scores.items()}


def _tell(score: Score) -> dict[str, float | int | None]:
    told = {name: value for name, value in asdict(score).items() if name != "name"}
    return {name: round(value, DECIMALS) if math.isfinite(value) else None for name, value in told.items()}


def read_scores(table: Mapping[str, Mapping[str, Mapping[str, float | int | None]]]) -> dict[str, tuple[Score, ...]]:
    """The scores that `tell_scores` told."""
    return {
        who: tuple(
            Score(name=name, **{key: math.nan if value is None else value for key, value in told.items()})  # type: ignore[arg-type]
            for name, told in found.items()
        )
        for who, found in table.items()
    }


def read_run_config(folder: Path) -> TrainingConfig:
    """The settings of the run that made the encoder; the defaults where they are not beside it."""
    for place in (folder / "config.toml", folder.parent / "config.toml"):
        if place.exists():
            return read_config(place)
    return TrainingConfig()


def main() -> None:
    """The table, printed, and the data, written."""
    parser = argparse.ArgumentParser(description="Encoders of the synthetic tree, judged beside their controls.")
    parser.add_argument("encoders", nargs="+", type=Path, help="runs, or encoders' folders")
    parser.add_argument("--out", type=Path, default=Path("data/bundled/metrics.json"), help="the data")
    parser.add_argument("--work", type=Path, help="folder in which the pictures are kept for the next time")
    parser.add_argument("--processes", type=int, default=2, help="to draw with (default: 2)")
    parser.add_argument("--threads", type=int, default=1, help="to compute with (default: 1)")
    asked = parser.parse_args()

    import torch

    torch.set_num_threads(asked.threads)
    scores = judge_folders(asked.encoders, folder=asked.work, n_processes=asked.processes)
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(json.dumps(tell_scores(scores), indent=1) + "\n", encoding="utf-8")
    print(write_table(scores))


if __name__ == "__main__":
    main()
