"""How much of the variation inside species lies in the directions in which species differ.

BioCLIP 2 (Gu et al. 2025, section 5.4) claims that life stages and sexes spread in directions orthogonal to those that
tell species apart, more so with more data. No code of theirs computes it; the formulas here are ours:

- Between-species covariance B: that of the species' means minus the sampling noise of the means, mean_s(1/n_s) W, the
  method-of-moments estimate of a one-way random-effects model (Searle et al. 1992, section 3.6). Without that
  correction the directions of greatest *within*-species variance leak into the span, and any space looks less
  orthogonal. With it a span known badly because W / n_s is as large as B still leans towards them.
- The span: the k leading eigenvectors V of B.
- The share: tr(V' W V) / tr(W), with W the covariance inside species. Each species is measured against the span of
  *other* species (blocks of species are held out in turn), so that no noise is on both sides.

A direction drawn evenly gets k / d. The share depends on k: compare spaces at the same k, or beside k / d.

Few species know only some of the directions in which species differ, and the span of the others then misses what it
should hold: the share is too small and poses as orthogonality. A fixed k is therefore measured only where every span
rests on 2 k differences between species at least (`has_species_for`). Above that bound, and for the k that holds 90 %
of the variance, a bias downwards remains: where 64 dimensions decay as 1 / i inside species and between them alike, the
share in 10 is 0.62; 60 species find 0.54 (and 20, which are too few, 0.45). Compare spaces on the same species.

What is done for speed where there is much, and said in the reading: of more than 20,000 occurrences those of the
commonest species are thinned at random; spans are looked for inside the first 256 principal axes of the vectors (a
share is still of all variation, and k / d of all dimensions); shuffles use at most 1,000 species.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64

from explorer.geometry.finding import Estimate, Finding, Side, Used, conclude, find_error, find_ratio
from explorer.geometry.grouping import (
    Units,
    assign_blocks,
    average_groups,
    cap_groups,
    collapse_occurrences,
    recode,
    shuffle_in_groups,
    sum_groups,
)

HELD = 0.9
"""Share of the between-species variance that the span holds where no number of dimensions is asked for."""
N_BLOCKS = 10
"""Blocks of species that are held out in turn."""
MIN_SPECIES = 8
N_AXES = 256
"""Principal axes inside which spans are looked for."""
MOST_SHUFFLED = 1000
"""Species whose names are shuffled."""

Blocks = Bool[np.ndarray, " b"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Scatter:
    """What B and W of some species are computed from.

    Attributes:
        means: One row per species.
        noise: Variance of each species' mean, as a multiple of W.
        blocks: Block of each species.
        inside: Sum of the squared deviations inside species (or their cells), by block.
        degrees: Degrees of freedom of those sums.
    """

    means: Float64[np.ndarray, "g d"]
    noise: Float64[np.ndarray, " g"]
    blocks: Int64[np.ndarray, " g"]
    inside: Float64[np.ndarray, "b d d"]
    degrees: Int64[np.ndarray, " b"]

    def within(self, chosen: Blocks) -> Float64[np.ndarray, "d d"]:
        """The covariance inside the species of these blocks, pooled."""
        pooled: Float64[np.ndarray, "d d"] = self.inside[chosen].sum(axis=0) / max(1, self.degrees[chosen].sum())
        return pooled

    def between(self, chosen: Blocks) -> Float64[np.ndarray, "d d"]:
        """The covariance between the species of these blocks, without the noise of their means; perhaps indefinite."""
        sums, products = self._moments
        kept = chosen[self.blocks]
        n, total = int(kept.sum()), sums[chosen].sum(axis=0)
        covariance = (products[chosen].sum(axis=0) - np.outer(total, total) / n) / (n - 1)
        between: Float64[np.ndarray, "d d"] = covariance - self.noise[kept].mean() * self.within(chosen)
        return between

    @cached_property
    def _moments(self) -> tuple[Float64[np.ndarray, "b d"], Float64[np.ndarray, "b d d"]]:
        """Sums and products of the means by block, from which any choice of blocks is put together."""
        centred = self.means - self.means.mean(axis=0)
        parts = [centred[self.blocks == block] for block in range(len(self.inside))]
        return np.stack([part.sum(axis=0) for part in parts]), np.stack([part.T @ part for part in parts])

    @property
    def all_blocks(self) -> Blocks:
        """The choice of every block."""
        return np.ones(len(self.inside), dtype=bool)


def has_species_for(n_dimensions: int, n_species: int) -> bool:
    """Whether each span of k dimensions rests on 2 k differences between species or more, two blocks being left out."""
    return n_species - 2 * math.ceil(n_species / N_BLOCKS) - 1 >= 2 * n_dimensions


def find_span(between: Float64[np.ndarray, "d d"], n_dimensions: int) -> Float64[np.ndarray, "d k"]:
    """The leading eigenvectors, the first one last."""
    from scipy.linalg import eigh

    d = len(between)
    # A subset is found faster only where it is small (256 dimensions: 10 of them in 5 ms, 206 in 29, all in 10).
    if 4 * n_dimensions < d:
        return np.asarray(eigh(between, subset_by_index=[d - n_dimensions, d - 1])[1])
    basis: Float64[np.ndarray, "d k"] = np.linalg.eigh(between)[1][:, -n_dimensions:]
    return basis


def find_main_axes(rows: Float64[np.ndarray, "n d"], n_axes: int = N_AXES) -> Float64[np.ndarray, "d p"]:
    """Orthonormal axes of the greatest variance of rows whose mean is 0; all of space where it has no more of them."""
    d = rows.shape[1]
    if d <= n_axes:
        return np.eye(d)
    # Evenly spaced rows do: the axes only bound where a span is looked for.
    sample = rows[:: max(1, len(rows) // 4000)]
    return find_span(sample.T @ sample, n_axes)


def count_dimensions(between: Float64[np.ndarray, "d d"], held: float = HELD) -> int:
    """How many leading directions hold that share of the between-species variance; 1 or more."""
    values = np.clip(np.linalg.eigvalsh(between)[::-1], 0, None)
    if not values.any():
        return 1
    return int(np.searchsorted(np.cumsum(values), held * values.sum() * (1 - 1e-12)) + 1)


def measure_inside(scatter: Float64[np.ndarray, "d d"], basis: Float64[np.ndarray, "d k"]) -> float:
    """tr(V' S V)."""
    return float(((scatter @ basis) * basis).sum())


Spans = dict[tuple[int, ...], Float64[np.ndarray, "d k"]]


def list_spans(scatter: Scatter, n_dimensions: int) -> Spans:
    """The span without each block and without each two of them, by the blocks left out; the first direction last."""
    n = len(scatter.inside)
    pairs = [(one,) for one in range(n)] + [(one, other) for one in range(n) for other in range(one + 1, n)]
    return {gone: _span_without(scatter, gone, n_dimensions) for gone in pairs}


def _span_without(scatter: Scatter, gone: Sequence[int], n_dimensions: int) -> Float64[np.ndarray, "d k"]:
    kept = scatter.all_blocks
    kept[list(gone)] = False
    return find_span(scatter.between(kept), n_dimensions)


def hold_out_blocks(
    spans: Spans,
    n_blocks: int,
    n_dimensions: int,
    measure: Callable[[int, Float64[np.ndarray, "d k"]], tuple[float, float]],
) -> tuple[float, float]:
    """A share, and its standard error, of blocks of species measured against the span of the others.

    The error is that of the delete-a-block jackknife; a block that is left out is left out of every span too.

    Args:
        spans: Of k dimensions or more.
        n_blocks: Blocks of species.
        n_dimensions: k.
        measure: Given a block and the basis of a span, what of it lies inside and how much there is.
    """

    def sum_parts(left_out: int | None) -> float:
        parts = []
        for block in range(n_blocks):
            if block != left_out:
                gone = tuple(sorted({block} if left_out is None else {block, left_out}))
                parts.append(measure(block, spans[gone][:, -n_dimensions:]))
        inside, whole = np.sum(parts, axis=0)
        return find_ratio(inside, whole)

    return sum_parts(None), find_error(np.array([sum_parts(block) for block in range(n_blocks)]))


def gather_scatter(vectors: Float64[np.ndarray, "n d"], species: Int64[np.ndarray, " n"]) -> Scatter:
    """The scatter of these records; codes run from 0 without gaps."""
    counts = np.bincount(species)
    means = average_groups(vectors, species)
    blocks = assign_blocks(len(counts), N_BLOCKS)
    return Scatter(
        means=means,
        noise=1 / counts,
        blocks=blocks,
        inside=multiply_blocks(vectors - means[species], blocks[species]),
        degrees=np.bincount(blocks, weights=counts - 1).astype(np.int64),
    )


def multiply_blocks(
    residuals: Float64[np.ndarray, "n d"], blocks: Int64[np.ndarray, " n"]
) -> Float64[np.ndarray, "b d d"]:
    """The residuals' products, summed by block."""
    parts = [residuals[blocks == block] for block in range(int(blocks.max()) + 1)]
    return np.stack([part.T @ part for part in parts])


def measure_span(
    vectors: Float[np.ndarray, "n d"],
    species: Int64[np.ndarray, " n"],
    *,
    occurrences: Int64[np.ndarray, " n"] | None = None,
    n_dimensions: Sequence[int | None] = (None,),
    n_shuffles: int = 199,
    seed: int = 0,
) -> tuple[Finding, ...]:
    """The share of within-species variation inside the span of other species, beside k / d and shuffled species names.

    Shuffling gives the share if the species were no groups at all: their means then follow the directions of greatest
    variance, so that the null lies above k / d wherever a space is not round. p is the share of shuffles with a share
    as small as the one seen, both measured without holding out.

    Args:
        vectors: One row per record.
        species: A code per record; those below 0 are left out.
        occurrences: A code per record, 0 or more: an occurrence counts once, with the mean of its records; by default
            each record is its own.
        n_dimensions: Each k to measure at; None for as many as hold 90 % of the between-species variance (at most 256).
            A k for which there are too few species (`has_species_for`) is left out.
        n_shuffles: 0 for no null.
        seed: Fixes the shuffles, and the draw where there are more than 20,000 occurrences.

    Returns:
        One finding per k, named `span_share` for None, else `span10_share`; none where fewer than 8 species are there
        or fewer than half of them have two occurrences.
    """
    units = _gather_units(vectors, species, occurrences)
    if units is None:
        return ()
    kept = cap_groups(recode(units.species), rng=np.random.default_rng([seed, 2]))
    note = "" if kept.all() else f" (from {kept.sum():,} of {len(units):,} occurrences, drawn at random)"
    n = int(units.counts[kept].sum())
    codes = recode(units.species[kept])
    used = Used(n=n, n_groups=int(codes.max()) + 1, left_out=len(species) - n)
    rows = units.vectors[kept].astype(np.float64)
    return _Shares(rows - rows.mean(axis=0), codes).conclude_all(
        n_dimensions, used, note, n_shuffles=n_shuffles, seed=seed
    )


def _gather_units(
    vectors: Float[np.ndarray, "n d"], species: Int64[np.ndarray, " n"], occurrences: Int64[np.ndarray, " n"] | None
) -> Units | None:
    known = species >= 0
    if not known.any():
        return None
    whole = np.arange(len(species)) if occurrences is None else occurrences
    units = collapse_occurrences(vectors[known], whole[known], None, species[known])
    counts = np.bincount(recode(units.species))
    return None if len(counts) < MIN_SPECIES or (counts > 1).mean() < 0.5 else units


class _Shares:
    """Variation inside species, of rows whose mean is 0, against the spans of their species."""

    def __init__(self, rows: Float64[np.ndarray, "n d"], codes: Int64[np.ndarray, " n"]) -> None:
        self.d = rows.shape[1]
        self.reduced, self.codes = rows @ find_main_axes(rows), codes
        self.scatter = gather_scatter(self.reduced, codes)
        squares = ((rows - average_groups(rows, codes)[codes]) ** 2).sum(axis=1)
        self.wholes = np.bincount(self.scatter.blocks[codes], weights=squares)

    def conclude_all(
        self, n_dimensions: Sequence[int | None], used: Used, note: str, *, n_shuffles: int, seed: int
    ) -> tuple[Finding, ...]:
        """One finding for each number of dimensions."""
        scatter, most = self.scatter, self.reduced.shape[1]
        free = count_dimensions(scatter.between(scatter.all_blocks))
        asked_sizes = [k for k in n_dimensions if k is None or has_species_for(min(k, self.d), used.n_groups)]
        sizes = [min(k or free, most) for k in asked_sizes]
        if not sizes:
            return ()
        spans = list_spans(scatter, max(sizes))
        seen, shuffled = self._shuffle_names(sizes, n_shuffles=n_shuffles, seed=seed)
        findings = []
        for place, (asked, k) in enumerate(zip(asked_sizes, sizes, strict=True)):
            value, error = hold_out_blocks(spans, len(self.wholes), k, self._measure_block)
            estimate = Estimate(
                value=value,
                error=error,
                degrees=len(self.wholes) - 1,
                shuffled=shuffled[:, place],
                seen=float(seen[place]),
            )
            findings.append(_conclude(estimate, f"span{asked or ''}_share", (k, self.d), used, note))
        return tuple(findings)

    def _measure_block(self, block: int, basis: Float64[np.ndarray, "d k"]) -> tuple[float, float]:
        return measure_inside(self.scatter.inside[block], basis), float(self.wholes[block])

    def _shuffle_names(
        self, sizes: Sequence[int], *, n_shuffles: int, seed: int
    ) -> tuple[Float64[np.ndarray, " k"], Float64[np.ndarray, "p k"]]:
        """The shares of the names as they are, and of shuffled ones, in at most 1,000 species."""
        rng = np.random.default_rng([seed, 3])
        n_species = len(self.scatter.means)
        drawn = rng.permutation(n_species)[:MOST_SHUFFLED]
        chosen = np.isin(self.codes, drawn)
        codes, rows = recode(self.codes[chosen]), self.reduced[chosen]
        rows = rows - rows.mean(axis=0)
        # What lies outside the main axes counts as inside species, as it nearly does.
        rest = float(self.wholes.sum() - np.trace(self.scatter.inside.sum(axis=0))) * len(rows) / len(self.codes)
        total = rows.T @ rows
        seen = _measure_plainly(rows, total, codes, sizes, rest)
        shuffles = shuffle_in_groups(np.zeros_like(codes), n_shuffles=n_shuffles, rng=rng)
        shares = [_measure_plainly(rows, total, codes[places], sizes, rest) for places in shuffles]
        return seen, np.array(shares).reshape(n_shuffles, len(sizes))


def _conclude(estimate: Estimate, statistic: str, size: tuple[int, int], used: Used, note: str) -> Finding:
    k, d = size
    warning = (
        f"; p only asks whether species are groups at all; for orthogonality compare the interval with {k / d:.2g}"
        if math.isfinite(estimate.find_p(Side.LESS))
        else ""
    )

    def say(numbers: str) -> str:
        return (
            f"Of the variation inside species this share lies in the {k} directions (of {d:,}) in which other species "
            f"differ: {numbers}; a direction at random has {k / d:.2g}{warning}{note}."
        )

    return conclude(estimate, name=(statistic, ""), chance=k / d, side=Side.LESS, bounds=(0, 1), used=used, say=say)


def _measure_plainly(
    rows: Float64[np.ndarray, "n p"],
    total: Float64[np.ndarray, "p p"],
    codes: Int64[np.ndarray, " n"],
    sizes: Sequence[int],
    rest: float,
) -> Float64[np.ndarray, " k"]:
    """The shares against the span of the very same species; one eigendecomposition for all sizes."""
    counts = np.bincount(codes)
    means = sum_groups(rows, codes, len(counts)) / counts[:, None]
    inside = total - (means.T * counts) @ means
    centred = means - means.mean(axis=0)
    noise = np.mean(1 / counts) / max(1, len(rows) - len(counts))
    basis = find_span(centred.T @ centred / (len(means) - 1) - noise * inside, max(sizes))
    shares = ((inside @ basis) * basis).sum(axis=0)[::-1]
    held: Float64[np.ndarray, " k"] = np.array([find_ratio(shares[:k].sum(), np.trace(inside) + rest) for k in sizes])
    return held
