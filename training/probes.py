"""Is the hidden ecology readable from vectors, among relatives, without having been told?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32, Float64, Int64

from training.ecology import BodyPlan

if TYPE_CHECKING:
    from training.phylogeny import Species

N_FOLDS = 6
PENALTIES = (1.0, 10.0, 100.0, 1000.0)
"""Ridge penalties to choose from, on standardised vectors."""
N_NULLS = 20


@dataclass(frozen=True, kw_only=True)
class EcologyProbe:
    """Rank correlations in [-1, 1] between read and true ecology inside genera, averaged over the axes.

    Attributes:
        rho: Of the true ecology.
        null_low: Lowest of the repeats with the ecology shuffled among the species of each genus.
        null_high: Highest of them.
        by_plan: rho of each body plan, its two axes averaged.
    """

    rho: float
    null_low: float
    null_high: float
    by_plan: dict[BodyPlan, float]


def probe_ecology(
    vectors: Float32[np.ndarray, "n d"],
    numbers: Int64[np.ndarray, " n"],
    species: Sequence[Species],
    *,
    n_nulls: int = N_NULLS,
) -> EcologyProbe:
    """How well a ridge fitted on other genera reads the ecology of single pictures, apart from what the genus tells.

    Whole genera are left out of the fit, and both the reading and the truth are taken relative to the mean of their
    genus: leave-one-out correlations over all species would be biased downwards, and the species of a genus share more
    than ecology.

    Args:
        vectors: One row per picture.
        numbers: Place in `species` of each picture.
        species: The tree.
        n_nulls: Repeats of the null; 0 gives nan for its bounds.
    """
    rng = np.random.default_rng(0)
    truth = np.array([[one.ecology.first, one.ecology.second] for one in species])
    readings = {plan: _Readings(vectors, numbers, species, plan) for plan in BodyPlan}
    by_plan = {plan: float(np.mean(reading.correlate(truth))) for plan, reading in readings.items()}
    nulls = []
    for _ in range(n_nulls):
        shuffled = truth[_shuffle_in_genera(species, rng)]
        nulls.append(float(np.mean([reading.correlate(shuffled) for reading in readings.values()])))
    low, high = (min(nulls), max(nulls)) if nulls else (float("nan"), float("nan"))
    return EcologyProbe(rho=float(np.mean(list(by_plan.values()))), null_low=low, null_high=high, by_plan=by_plan)


class _Readings:
    """The pictures of one body plan, ready to be read again and again."""

    def __init__(
        self,
        vectors: Float32[np.ndarray, "n d"],
        numbers: Int64[np.ndarray, " n"],
        species: Sequence[Species],
        plan: BodyPlan,
    ) -> None:
        chosen = np.array([species[number].plan is plan for number in numbers])
        rows = vectors[chosen].astype(np.float64)
        self.rows = (rows - rows.mean(axis=0)) / (rows.std(axis=0) + 1e-9)
        self.numbers = numbers[chosen]
        genera = sorted({one.genus for one in species if one.plan is plan})
        self.genera = np.array([genera.index(species[number].genus) for number in self.numbers])

    def correlate(self, truth: Float64[np.ndarray, "s 2"]) -> list[float]:
        """Rank correlation of reading and truth inside genera, for each axis."""
        from scipy.stats import spearmanr
        from sklearn.linear_model import RidgeCV
        from sklearn.model_selection import GroupKFold

        wanted = truth[self.numbers]
        read = np.empty_like(wanted)
        for fitted, left_out in GroupKFold(N_FOLDS).split(self.rows, groups=self.genera):
            ridge = RidgeCV(PENALTIES).fit(self.rows[fitted], wanted[fitted])
            read[left_out] = ridge.predict(self.rows[left_out])
        pairs = ((self._centre(read[:, axis]), self._centre(wanted[:, axis])) for axis in range(2))
        return [float(spearmanr(reading, true).statistic) for reading, true in pairs]

    def _centre(self, values: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
        counts = np.bincount(self.genera)
        means = np.bincount(self.genera, weights=values) / counts
        centred: Float64[np.ndarray, " n"] = values - means[self.genera]
        return centred


def _shuffle_in_genera(species: Sequence[Species], rng: np.random.Generator) -> Int64[np.ndarray, " s"]:
    genera = np.array([one.genus for one in species])
    order = np.arange(len(species))
    for genus in np.unique(genera):
        places = np.flatnonzero(genera == genus)
        order[places] = rng.permutation(places)
    return order
