"""Whether the step from one state to the other points the same way in every species.

The cosine of two estimated steps is pulled towards 0 by their noise, the more so the fewer the records: two steps that
are the same in truth show 0.3 where each is mostly noise. Here numerator and denominator are both free of it:

    mean over pairs of species of d_s · d_t   /   mean over species of (|d_s|² - noise of d_s)

Species share no occurrence, so that the products are unbiased; the denominator is the mean over all ways to split a
species' occurrences in two of the product of the halves' steps (a U-statistic). The ratio is the mean cosine weighted
by the lengths of the steps: 1 where all species take the same step, 0 where their directions are unrelated; being free
of bias, an estimate from few records may lie a little outside [-1, 1]. It is ours;
the BioCLIP 2 paper (Gu et al. 2025, section 5.4) is not known to us to define one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from explorer.geometry.finding import Estimate, Finding, Side, Skipped, conclude, find_error, find_uneven_error
from explorer.geometry.grouping import assign_folds, sum_groups
from explorer.geometry.species_span import MIN_SPECIES, N_BLOCKS
from explorer.geometry.states import States
from explorer.geometry.steps import measure_steps
from explorer.geometry.transfer import HeldOut, explain_few
from explorer.geometry.variants import Contrast


def measure_agreement(
    states: States, contrast: Contrast, between: HeldOut, *, n_shuffles: int = 999, seed: int = 0
) -> Finding | Skipped:
    """The mean cosine of the steps of two species (or of two species of different genera), free of sampling noise.

    Shuffles turn the steps of whole species (genera) around at random, which keeps their lengths and their noise: p
    asks whether directions agree, given that there are steps. The interval is over species (genera); where directions
    are unrelated it is wide (97 to 99 % of simulations are covered).

    Args:
        states: Two occurrences of either state per species.
        contrast: Names the states.
        between: Pairs of species, or only those of different genera, whose agreement is no mere kinship.
        n_shuffles: 0 for no null.
        seed: Fixes the shuffles.

    Returns:
        `species_step_cosine` or `genus_step_cosine`; skipped where fewer than 8 species (genera) show both states twice
        or where the states lie no further apart than sampling noise would put them.
    """
    statistic = f"{between}_step_cosine"
    kin = np.arange(states.n_species) if between is HeldOut.SPECIES else states.genera
    n_kin = int(kin.max()) + 1
    if n_kin < MIN_SPECIES:
        reason = explain_few(n_kin, between, contrast, n_each=2)
        return Skipped(statistic=statistic, column=contrast.column, reason=reason)
    steps = _Steps.gather(states, kin)
    if not steps.is_certain():
        reason = f"{contrast.names[0]} and {contrast.names[1]} lie no further apart than chance puts them"
        return Skipped(statistic=statistic, column=contrast.column, reason=reason)
    estimate = steps.estimate(n_shuffles=n_shuffles, seed=seed)
    which, plural = ("different species", "species") if between is HeldOut.SPECIES else ("different genera", "genera")

    def say(numbers: str) -> str:
        return (
            f"The steps from {contrast.names[0]} to {contrast.names[1]} in {which} have this cosine on average (1: the "
            f"same direction, 0: unrelated ones), freed of sampling noise: {numbers}; shuffled means that steps are "
            f"turned around in whole {plural}{states.note}."
        )

    return conclude(
        estimate,
        name=(statistic, contrast.column),
        chance=0.0,
        side=Side.GREATER,
        # Freed of noise, an estimate may pass 1; what it estimates does not.
        bounds=(min(-1.0, estimate.value), max(1.0, estimate.value)),
        used=states.count_used(n_kin),
        say=say,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Steps:
    """Steps of species with their squared lengths, and their kin.

    Attributes:
        steps: One row per species.
        squares: Their squared lengths, less their noise.
        kin: Species or genera, coded from 0 without gaps.
        blocks: Block of each species; kin stay whole.
    """

    steps: Float64[np.ndarray, "s d"]
    squares: Float64[np.ndarray, " s"]
    kin: Int64[np.ndarray, " s"]
    blocks: Int64[np.ndarray, " s"]

    @classmethod
    def gather(cls, states: States, kin: Int64[np.ndarray, " s"]) -> _Steps:
        found = measure_steps(states)
        noise = np.bincount(found.species, weights=found.weights * (found.residuals**2).sum(axis=1))
        return cls(
            steps=found.means,
            squares=(found.means**2).sum(axis=1) - noise,
            kin=kin,
            blocks=assign_folds(kin, min(N_BLOCKS, int(kin.max()) + 1)),
        )

    def is_certain(self) -> bool:
        """Whether the mean squared step lies two standard errors above 0."""
        without = np.array([self.squares[self.blocks != block].mean() for block in np.unique(self.blocks)])
        mean = float(self.squares.mean())
        return mean > 0 and mean > 2 * find_error(without)

    def estimate(self, *, n_shuffles: int, seed: int) -> Estimate:
        """The ratio, beside that of steps turned around at random."""
        n_kin = int(self.kin.max()) + 1
        signs = np.random.default_rng([seed, 7]).choice([-1.0, 1.0], size=(n_shuffles, n_kin))
        everyone = np.ones(len(self.kin), dtype=bool)
        without = np.array([self._measure(self.blocks != block) for block in np.unique(self.blocks)])
        sums = sum_groups(self.steps, self.kin, n_kin)
        own = (sums**2).sum()
        pairs, value = self._count_pairs(everyone), self._measure(everyone)
        sizes = np.array([len(np.unique(self.kin[self.blocks == block])) for block in np.unique(self.blocks)])
        return Estimate(
            value=value,
            error=find_uneven_error(value, without, sizes),
            degrees=len(without) - 1,
            shuffled=(((signs @ sums) ** 2).sum(axis=1) - own) / pairs / self.squares.mean(),
        )

    def _measure(self, chosen: Bool[np.ndarray, " s"]) -> float:
        steps, length = self.steps[chosen], float(self.squares[chosen].mean())
        sums = sum_groups(steps, self.kin[chosen], int(self.kin.max()) + 1)
        products = ((sums.sum(axis=0) ** 2).sum() - (sums**2).sum()) / self._count_pairs(chosen)
        return float(products / length) if length > 0 else math.nan

    def _count_pairs(self, chosen: Bool[np.ndarray, " s"]) -> int:
        """Ordered pairs of species that are not kin."""
        counts = np.bincount(self.kin[chosen])
        return int(counts.sum() ** 2 - (counts**2).sum())
