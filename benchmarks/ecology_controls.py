"""Prints how well the hidden ecology can be read inside genera, by body plan: what an encoder can hope for.

    nice .venv/bin/python -m benchmarks.ecology_controls

Takes about eight minutes of one core: 8,640 pictures, 38,400 shown to the tower that is told the ecology.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from explorer.geometry.ecology import estimate_ecology
from training.synthetic.controls import (
    ControlSettings,
    describe_individuals,
    encode_untrained,
    project_pixels,
    train_supervised,
)
from training.synthetic.ecology import BodyPlan
from training.synthetic.individuals import draw_individual
from training.synthetic.phylogeny import Species, grow_tree
from training.synthetic.pictures import Stream, draw_set, list_sitters

if TYPE_CHECKING:
    from jaxtyping import Float32, Int64

    from training.synthetic.pictures import Sitter

TREE_SEED = 0
SIDE = 96
N_PICTURES, N_PROBED = 8640, 2880
"""30 pictures of each species are drawn; the probes read the first ten."""


def probe_oracle(sitters: Sequence[Sitter], species: Sequence[Species]) -> dict[BodyPlan, float]:
    """The ecology as a ridge reads it from the true traits and states of individuals of other genera, by body plan."""
    numbers = np.array([sitter.species.number for sitter in sitters], dtype=np.int64)
    individuals = [draw_individual(sitter.species, np.random.default_rng(sitter.key)) for sitter in sitters]
    return probe_plans(describe_individuals(individuals), numbers, species)


def probe_plans(
    vectors: Float32[np.ndarray, "n d"], numbers: Int64[np.ndarray, " n"], species: Sequence[Species]
) -> dict[BodyPlan, float]:
    """Rank correlations of read and true ecology inside genera, single pictures, the mean of each plan's two axes.

    Args:
        vectors: One row per picture.
        numbers: Place in `species` of each picture.
        species: The tree.

    Raises:
        ValueError: A body plan has pictures of too few genera.
    """
    truth = np.array([[one.ecology.first, one.ecology.second] for one in species])[numbers]
    genera = np.unique([one.genus for one in species], return_inverse=True)[1].astype(np.int64)[numbers]
    plans = np.array([str(species[number].plan) for number in numbers])
    found = {}
    for plan in BodyPlan:
        own = np.where(plans == plan, numbers, -1)
        estimates = estimate_ecology(vectors.astype(np.float64), truth, own, genera, n_shuffles=0)
        if estimates is None:
            raise ValueError(f"too few genera of the plan {plan}")
        found[plan] = estimates.of_records.value
    return found


def main() -> None:
    """Print the table."""
    import torch

    torch.set_num_threads(1)
    tree = grow_tree(TREE_SEED)
    sitters = list_sitters(tree, N_PICTURES, seed=5, stream=Stream.TRAINING)
    pictures = draw_set(sitters, side=SIDE, n_processes=1, progress=_tell)
    numbers, pixels = pictures.numbers[:N_PROBED], pictures.pixels[:N_PROBED]
    settings = ControlSettings()
    print(f"{'rho inside genera':<24}" + "".join(f"{plan:>10}" for plan in BodyPlan) + f"{'mean':>10}")
    _print_row("oracle (true traits)", probe_oracle(sitters[:N_PROBED], tree))
    for name, vectors in (
        ("pixel PCA", project_pixels(pixels, n_components=128)),
        ("untrained tower", encode_untrained(pixels, settings)),
    ):
        _print_row(name, probe_plans(vectors, numbers, tree))
    told = train_supervised(pictures, tree, settings, progress=_tell)
    _print_row("supervised control", told.by_plan)
    for axis in range(2):
        _print_row(f"  axis {axis + 1}", {plan: axes[axis] for plan, axes in told.by_axis.items()})


def _print_row(name: str, by_plan: Mapping[BodyPlan, float]) -> None:
    values = [by_plan[plan] for plan in BodyPlan]
    print(f"{name:<24}" + "".join(f"{value:>10.2f}" for value in (*values, sum(values) / len(values))), flush=True)


def _tell(stage: str, done: int, total: int) -> None:
    print(f"\r{stage} {done}/{total} ", end="" if done < total else "\n", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
