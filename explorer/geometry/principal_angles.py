"""Principal angles between the directions in which species differ and those in which the states inside them do.

The span of the species is that of `species_span`: the leading eigenvectors V of the covariance of their means, less its
sampling noise. The span of the steps is that of the leading eigenvectors U of the mean of d_s d_s', less its noise, d_s
the step from one state to the other in species s. The principal angles are the arc cosines of the singular values of
V'U (Björck & Golub 1973; Golub & Van Loan 2013, section 6.4.3); their squared cosines are averaged. Two spans at random
of k and m dimensions out of d overlap by max(k, m) / d in that mean.

U and V come from different halves of the species and are then exchanged, so that no noise is in both. U has as many
dimensions, 1 to 3, as steps have variances above those of shuffled ones (parallel analysis, Horn 1965). Spans that are
known badly lie further apart than they do in truth: angles are upper bounds, to be read beside their null and at the
same k and m. The BioCLIP 2 paper (Gu et al. 2025, section 5.4) shows such planes in pictures; that it gives these
angles could not be verified.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from explorer.geometry.finding import Estimate, Finding, Side, Skipped, conclude, find_error
from explorer.geometry.species_span import MOST_SHUFFLED, Blocks, Scatter, find_span
from explorer.geometry.states import States
from explorer.geometry.steps import StepsInside, average_steps, gather_middles
from explorer.geometry.variants import Contrast

SPAN_SIZES = (10, 5, 3)
"""Dimensions of the species' span: the first for which there are enough species."""
MOST_STEPS = 3
"""Dimensions of the steps' span."""
N_PARALLEL = 39
"""Shuffles that tell a direction of steps from noise."""


@dataclass(frozen=True, kw_only=True)
class PrincipalAngles:
    """How the span of the steps lies to that of the species.

    Attributes:
        finding: The mean squared cosine, `angle10_overlap` where the species' span has 10 dimensions.
        degrees: The angles, ascending; 90 is orthogonal. Of the mean squared cosine over both exchanges of the halves.
        null_low: The 2.5 % point of each angle with states shuffled; empty without shuffles. So is `null_high`.
        null_high: The 97.5 % point.
    """

    finding: Finding
    degrees: tuple[float, ...]
    null_low: tuple[float, ...]
    null_high: tuple[float, ...]


def measure_angles(
    states: States, contrast: Contrast, *, n_shuffles: int = 99, seed: int = 0
) -> PrincipalAngles | Skipped:
    """The principal angles of up to three directions of steps to the species' span of 10 dimensions (5, 3 for few).

    Shuffles move the states inside species (or paired occurrences): the steps are then noise, and a small p says that
    the steps lie more orthogonal to the species than the rest of the variation inside them. Both are measured with the
    noise left in. The interval leaves out blocks of species. Of more than 1,000 species so many are drawn at random.

    Args:
        states: Two occurrences of either state per species.
        contrast: Names the states.
        n_shuffles: 0 for no null.
        seed: Fixes the shuffles.

    Returns:
        Skipped for fewer than 18 species, each half of which must show twice as many differences as dimensions, for
        vectors of no more than 4 dimensions, and where no direction of steps stands out from shuffled ones.
    """
    k = choose_size(states.n_species, states.rows.shape[1])
    if k is None:
        reason = (
            f"{states.n_species} species show both {contrast.names[0]} and {contrast.names[1]} twice, in "
            f"{states.rows.shape[1]} dimensions; 18 species and 5 dimensions are needed"
        )
        return Skipped(statistic="angle_overlap", column=contrast.column, reason=reason)
    drawn = states.draw_species(MOST_SHUFFLED, seed)
    m = count_steps(drawn, drawn.axes, seed)
    if m == 0:
        reason = f"steps from {contrast.names[0]} to {contrast.names[1]} are no longer in any direction than chance"
        return Skipped(statistic=f"angle{k}_overlap", column=contrast.column, reason=reason)
    halves = _Halves.gather(drawn, drawn.axes, (k, m))
    everyone = halves.scatter.all_blocks
    cosines = halves.measure(everyone)
    n = len(everyone)
    without = np.array([halves.measure(np.arange(n) != block).mean() for block in range(n)])
    seen, shuffled = halves.shuffle(drawn, n_shuffles=n_shuffles, seed=seed)
    estimate = Estimate(
        value=float(cosines.mean()),
        error=find_error(without),
        degrees=n - 1,
        shuffled=shuffled.mean(axis=1),
        seen=float(seen.mean()),
    )
    degrees = _to_degrees(cosines)
    finding = _conclude(estimate, contrast, drawn, (k, states.rows.shape[1]), degrees)
    ends = np.quantile(shuffled, [0.975, 0.025], axis=0) if n_shuffles else np.empty((2, 0))
    return PrincipalAngles(
        finding=finding, degrees=degrees, null_low=_to_degrees(ends[0]), null_high=_to_degrees(ends[1])
    )


def choose_size(n_species: int, d: int) -> int | None:
    """The dimensions of the species' span: half of the species, a block left out, must show 2 k differences."""
    n_half = math.floor(0.4 * n_species)
    sizes = [k for k in SPAN_SIZES if n_half - 1 >= 2 * k and k + 1 < d]
    return sizes[0] if sizes else None


def count_steps(states: States, axes: Float64[np.ndarray, "d p"], seed: int) -> int:
    """How many leading variances of the steps, at most 3, exceed nearly all of those of shuffled steps."""
    rows = states.rows @ axes
    spectra = []
    for values in (states.values, *states.values[states.shuffle(N_PARALLEL, seed)]):
        steps = average_steps(states, values, rows)
        # The shorter side gives the same values.
        products = steps.T @ steps if len(steps) > steps.shape[1] else steps @ steps.T
        spectra.append(np.linalg.eigvalsh(products)[::-1][:MOST_STEPS])
    beyond = spectra[0] > np.max(spectra[1:], axis=0) * (1 + 1e-9)
    return int(np.cumprod(beyond).sum())


def find_cosines(one: Float64[np.ndarray, "d k"], other: Float64[np.ndarray, "d m"]) -> Float64[np.ndarray, " m"]:
    """The squared cosines of the principal angles of two spans with orthonormal bases, descending."""
    values = np.linalg.svd(one.T @ other, compute_uv=False)
    squared: Float64[np.ndarray, " m"] = np.clip(values, 0, 1) ** 2
    return squared


def _average_cosines(
    ones: Sequence[Float64[np.ndarray, "d k"]], others: Sequence[Float64[np.ndarray, "d m"]]
) -> Float64[np.ndarray, " m"]:
    cosines: Float64[np.ndarray, " m"] = np.mean(
        [find_cosines(one, other) for one, other in zip(ones, others, strict=True)], axis=0
    )
    return cosines


def _to_degrees(squared: Float64[np.ndarray, " m"]) -> tuple[float, ...]:
    return tuple(float(angle) for angle in np.degrees(np.arccos(np.sqrt(np.clip(squared, 0, 1)))))


def _conclude(
    estimate: Estimate, contrast: Contrast, states: States, size: tuple[int, int], degrees: tuple[float, ...]
) -> Finding:
    k, d = size
    many = "one main direction" if len(degrees) == 1 else f"{len(degrees)} main directions"
    angles = ", ".join(f"{angle:.0f}°" for angle in degrees)

    def say(numbers: str) -> str:
        return (
            f"The steps from {contrast.names[0]} to {contrast.names[1]} have {many}, at {angles} to the {k} directions "
            f"(of {d:,}) in which other species differ, a mean squared cosine of {numbers}; directions at random have "
            f"{k / d:.2g}{states.note}."
        )

    return conclude(
        estimate,
        name=(f"angle{k}_overlap", contrast.column),
        chance=max(k, len(degrees)) / d,
        side=Side.LESS,
        bounds=(0, 1),
        used=states.used,
        say=say,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Halves:
    """Two halves of the species (even and odd blocks), each of which gives a span of species and one of steps.

    Attributes:
        scatter: Of the species' middles.
        steps: Their steps.
        axes: In which both are given.
        size: Dimensions of the two spans.
    """

    scatter: Scatter
    steps: StepsInside
    axes: Float64[np.ndarray, "d p"]
    size: tuple[int, int]

    @classmethod
    def gather(cls, states: States, axes: Float64[np.ndarray, "d p"], size: tuple[int, int]) -> _Halves:
        scatter = gather_middles(states, axes)
        return cls(scatter=scatter, steps=StepsInside.gather(states, axes, scatter.blocks), axes=axes, size=size)

    def _split(self, chosen: Blocks) -> tuple[Blocks, Blocks]:
        even = np.arange(len(chosen)) % 2 == 0
        return chosen & even, chosen & ~even

    def _find_steps_span(self, steps: Float64[np.ndarray, "s p"], half: Blocks, *, noisy: bool) -> np.ndarray:
        part = steps[half[self.steps.blocks]]
        moments = part.T @ part
        return find_span(moments if noisy else moments - self.steps.noise[half].sum(axis=0), self.size[1])

    def measure(self, chosen: Blocks) -> Float64[np.ndarray, " m"]:
        """The squared cosines, descending, the mean over both exchanges of the halves of the chosen blocks."""
        one, other = self._split(chosen)
        spans = [find_span(self.scatter.between(half), self.size[0]) for half in (one, other)]
        steps = [self._find_steps_span(self.steps.steps, half, noisy=False) for half in (other, one)]
        return _average_cosines(spans, steps)

    def shuffle(
        self, states: States, *, n_shuffles: int, seed: int
    ) -> tuple[Float64[np.ndarray, " m"], Float64[np.ndarray, "p m"]]:
        """The squared cosines with the noise left in, as the states are and shuffled."""
        halves = self._split(self.scatter.all_blocks)
        spans = [find_span(self.scatter.between(half), self.size[0]) for half in halves]
        rows = states.rows @ self.axes
        found = []
        for values in (states.values, *states.values[states.shuffle(n_shuffles, seed)]):
            steps = average_steps(states, values, rows)
            bases = [self._find_steps_span(steps, half, noisy=True) for half in reversed(halves)]
            found.append(_average_cosines(spans, bases))
        return found[0], np.array(found[1:]).reshape(n_shuffles, self.size[1])
