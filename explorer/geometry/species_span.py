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
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from explorer.geometry.finding import Estimate, Finding, Side, Used, conclude, find_error, find_ratio
from explorer.geometry.grouping import assign_blocks, recode, shuffle_in_groups, sum_groups

HELD = 0.9
"""Share of the between-species variance that the span holds where no number of dimensions is asked for."""
N_BLOCKS = 10
"""Blocks of species that are held out in turn."""
MIN_SPECIES = 8

Blocks = Bool[np.ndarray, " b"]


@dataclass(frozen=True, kw_only=True)
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
        kept = chosen[self.blocks]
        noise = self.noise[kept].mean() * self.within(chosen)
        between: Float64[np.ndarray, "d d"] = np.cov(self.means[kept], rowvar=False) - noise
        return between

    @property
    def all_blocks(self) -> Blocks:
        """The choice of every block."""
        return np.ones(len(self.inside), dtype=bool)


def has_species_for(n_dimensions: int, n_species: int) -> bool:
    """Whether each span of k dimensions rests on 2 k differences between species or more, two blocks being left out."""
    return n_species - 2 * math.ceil(n_species / N_BLOCKS) - 1 >= 2 * n_dimensions


def find_span(between: Float64[np.ndarray, "d d"], n_dimensions: int) -> Float64[np.ndarray, "d k"]:
    """The leading eigenvectors, the first one last."""
    basis: Float64[np.ndarray, "d k"] = np.linalg.eigh(between)[1][:, -n_dimensions:]
    return basis


def count_dimensions(between: Float64[np.ndarray, "d d"], held: float = HELD) -> int:
    """How many leading directions hold that share of the between-species variance; 1 or more."""
    values = np.clip(np.linalg.eigvalsh(between)[::-1], 0, None)
    if not values.any():
        return 1
    return int(np.searchsorted(np.cumsum(values), held * values.sum() * (1 - 1e-12)) + 1)


def measure_inside(scatter: Float64[np.ndarray, "d d"], basis: Float64[np.ndarray, "d k"]) -> float:
    """tr(V' S V)."""
    return float(((scatter @ basis) * basis).sum())


def hold_out_blocks(
    scatter: Scatter, n_dimensions: int, measure: Callable[[int, Float64[np.ndarray, "d k"]], tuple[float, float]]
) -> tuple[float, float]:
    """A share, and its standard error, of blocks of species measured against the span of the others.

    The error is that of the delete-a-block jackknife; a block that is left out is left out of every span too.

    Args:
        scatter: Gives the spans.
        n_dimensions: k.
        measure: Given a block and the basis of a span, what of it lies inside and how much there is.
    """
    n = len(scatter.inside)

    def sum_parts(left_out: int | None) -> float:
        chosen = [block for block in range(n) if block != left_out]
        parts = []
        for block in chosen:
            others = scatter.all_blocks
            others[[one for one in (block, left_out) if one is not None]] = False
            parts.append(measure(block, spans[tuple(np.flatnonzero(~others))]))
        inside, whole = np.sum(parts, axis=0)
        return find_ratio(inside, whole)

    spans = {gone: _span_without(scatter, gone, n_dimensions) for gone in _list_pairs(n)}
    return sum_parts(None), find_error(np.array([sum_parts(block) for block in range(n)]))


def _list_pairs(n: int) -> list[tuple[int, ...]]:
    return [(one,) for one in range(n)] + [(one, other) for one in range(n) for other in range(one + 1, n)]


def _span_without(scatter: Scatter, gone: Sequence[int], n_dimensions: int) -> Float64[np.ndarray, "d k"]:
    kept = scatter.all_blocks
    kept[list(gone)] = False
    return find_span(scatter.between(kept), n_dimensions)


def gather_scatter(vectors: Float64[np.ndarray, "n d"], species: Int64[np.ndarray, " n"]) -> Scatter:
    """The scatter of these records; codes run from 0 without gaps."""
    counts = np.bincount(species)
    means = sum_groups(vectors, species, len(counts)) / counts[:, None]
    blocks = assign_blocks(len(counts), N_BLOCKS)
    n_blocks = int(blocks.max()) + 1
    residuals = vectors - means[species]
    parts = [residuals[blocks[species] == block] for block in range(n_blocks)]
    return Scatter(
        means=means,
        noise=1 / counts,
        blocks=blocks,
        inside=np.stack([part.T @ part for part in parts]),
        degrees=np.bincount(blocks, weights=counts - 1, minlength=n_blocks).astype(np.int64),
    )


def measure_span(
    vectors: Float64[np.ndarray, "n d"],
    species: Int64[np.ndarray, " n"],
    *,
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
        n_dimensions: Each k to measure at; None for as many as hold 90 % of the between-species variance. A k for which
            there are too few species (`has_species_for`) is left out.
        n_shuffles: 0 for no null.
        seed: Fixes the shuffles.

    Returns:
        One finding per k, named `span_share` for None, else `span10_share`; none where fewer than 8 species are there
        or fewer than half of them have two records.
    """
    known = species >= 0
    if not known.any():
        return ()
    codes = recode(species[known])
    counts = np.bincount(codes)
    if len(counts) < MIN_SPECIES or (counts > 1).mean() < 0.5:
        return ()
    rows = np.asarray(vectors[known], dtype=np.float64)
    rows = rows - rows.mean(axis=0)
    scatter = gather_scatter(rows, codes)
    d = rows.shape[1]
    free = count_dimensions(scatter.between(scatter.all_blocks))
    asked_sizes = [k for k in n_dimensions if k is None or has_species_for(min(k, d), len(counts))]
    sizes = [min(k or free, d) for k in asked_sizes]
    seen = _measure_plainly(rows, rows.T @ rows, codes, sizes)
    shuffled = _shuffle_names(rows, codes, sizes, n_shuffles=n_shuffles, seed=seed)
    used = Used(n=len(rows), n_groups=len(counts), left_out=int((~known).sum()))
    findings = []
    for place, (asked, k) in enumerate(zip(asked_sizes, sizes, strict=True)):
        value, error = hold_out_blocks(
            scatter, k, lambda b, basis: (measure_inside(scatter.inside[b], basis), float(np.trace(scatter.inside[b])))
        )
        estimate = Estimate(
            value=value,
            error=error,
            degrees=len(scatter.inside) - 1,
            shuffled=shuffled[:, place],
            seen=float(seen[place]),
        )
        findings.append(_conclude(estimate, f"span{asked or ''}_share", (k, d), used))
    return tuple(findings)


def _conclude(estimate: Estimate, statistic: str, size: tuple[int, int], used: Used) -> Finding:
    k, d = size
    warning = (
        f"; p only asks whether species are groups at all; for orthogonality compare the interval with {k / d:.2f}"
        if math.isfinite(estimate.find_p(Side.LESS))
        else ""
    )

    def say(numbers: str) -> str:
        return (
            f"Of the variation inside species this share lies in the {k} directions (of {d}) in which other species "
            f"differ: {numbers}; a direction at random has {k / d:.2f}{warning}."
        )

    return conclude(estimate, name=(statistic, ""), chance=k / d, side=Side.LESS, bounds=(0, 1), used=used, say=say)


def _measure_plainly(
    rows: Float64[np.ndarray, "n d"],
    total: Float64[np.ndarray, "d d"],
    codes: Int64[np.ndarray, " n"],
    sizes: Sequence[int],
) -> Float64[np.ndarray, " k"]:
    """The shares against the span of the very same species; one eigendecomposition for all sizes."""
    counts = np.bincount(codes)
    means = sum_groups(rows, codes, len(counts)) / counts[:, None]
    inside = total - (means.T * counts) @ means
    between = np.cov(means, rowvar=False) - np.mean(1 / counts) * inside / max(1, len(rows) - len(counts))
    basis = np.linalg.eigh(between)[1]
    shares = ((inside @ basis) * basis).sum(axis=0)[::-1]
    held: Float64[np.ndarray, " k"] = np.array([find_ratio(shares[:k].sum(), np.trace(inside)) for k in sizes])
    return held


def _shuffle_names(
    rows: Float64[np.ndarray, "n d"],
    codes: Int64[np.ndarray, " n"],
    sizes: Sequence[int],
    *,
    n_shuffles: int,
    seed: int,
) -> Float64[np.ndarray, "p k"]:
    total = rows.T @ rows
    shuffles = shuffle_in_groups(np.zeros_like(codes), n_shuffles=n_shuffles, rng=np.random.default_rng(seed))
    shares = [_measure_plainly(rows, total, codes[places], sizes) for places in shuffles]
    return np.array(shares).reshape(n_shuffles, len(sizes))
