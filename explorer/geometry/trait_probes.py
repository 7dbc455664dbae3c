"""Linear probes that read a trait from species whose relatives they never saw."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float64, Int64

from explorer.geometry.finding import Estimate, Finding, Skipped, find_error
from explorer.geometry.grouping import assign_folds
from explorer.geometry.trait_sample import MIN_GROUPS, TraitSample, number_groups

N_FOLDS = 8
PENALTIES = (0.001, 0.01, 0.1, 1.0, 10.0)
"""Ridge penalties to choose from, per species, on directions scaled to unit variance per dimension on average."""
MIN_SPREAD = 3
"""Taxa of the rank held out that a category needs."""
HELD_OUT = ("species", "genus", "family")
_PLURALS = {"species": "species", "genus": "genera", "family": "families"}


def name_probe(is_numeric: bool, rank: str) -> str:
    """The name of the statistic."""
    return f"{'rho' if is_numeric else 'accuracy'}_{rank}_out"


def probe_trait(sample: TraitSample, rank: str) -> Finding | Skipped:
    """How well a linear probe reads the trait of species from the directions of others, whole taxa being held out.

    For categories the balanced accuracy of a linear discriminant (`classify_apart`): the mean over values of the
    share of their species that are read rightly. Values of fewer than 3 taxa of that rank are left out.
    For numbers Spearman's rank correlation with what a ridge reads, less its intercept, which depends on the fold and
    would make the correlation of a useless probe negative. Either sees at most 96 principal directions and chooses its
    penalty on the species it is fitted on, by generalised cross-validation (Golub, Heath & Wahba 1979, eq. 1.4), for
    shuffled values too.

    The interval leaves out blocks of families (genera, species, where there are few) from everything in turn.

    Args:
        sample: The species.
        rank: "species", "genus" or "family": what the probe must not have seen.
    """
    statistic = name_probe(not sample.n_values, rank)
    groups = {"species": np.arange(len(sample)), "genus": sample.genera, "family": sample.families}[rank]
    kept = (groups >= 0) & ~_is_local(sample, groups)
    used = sample if kept.all() else sample.take(kept)
    if used is None:
        reason = f"too few of its species have a known {rank}, and a value that {MIN_SPREAD} {_PLURALS[rank]} have"
        return Skipped(statistic=statistic, column=sample.column, reason=reason)
    if used.n_values < sample.n_values:
        note = f"{used.note}; values of fewer than {MIN_SPREAD} {_PLURALS[rank]} left out"
        used = replace(used, note=note)
    groups = number_groups(groups[kept])
    n_groups = int(groups.max()) + 1
    if n_groups < MIN_GROUPS:
        reason = (
            f"its species belong to {n_groups} {rank if n_groups == 1 else _PLURALS[rank]}, and {MIN_GROUPS} are needed"
        )
        return Skipped(statistic=statistic, column=sample.column, reason=reason)
    blocks = assign_folds(used.find_groups(), N_FOLDS)
    estimate = _estimate(_Problem(used, assign_folds(groups, N_FOLDS)), blocks)
    if not np.isfinite(estimate.value):
        return Skipped(
            statistic=statistic, column=sample.column, reason=f"each value is of one group of {_PLURALS[rank]}"
        )
    if not np.isfinite(estimate.value):
        reason = f"each of its values is in one fold of {_PLURALS[rank]} alone"
        return Skipped(statistic=statistic, column=sample.column, reason=reason)
    return _conclude(used, estimate, (statistic, rank))


def _is_local(sample: TraitSample, groups: Int64[np.ndarray, " g"]) -> Bool[np.ndarray, " g"]:
    """Which species have a category that too few groups have to be learnt from some and read in others.

    Leaving them out spoils no null: given where they are, the other values may lie as they like.
    """
    if not sample.n_values:
        return np.zeros(len(sample), dtype=bool)
    codes = sample.values.astype(np.int64)
    cells = np.unique(np.column_stack([codes, groups])[groups >= 0], axis=0)
    local: Bool[np.ndarray, " g"] = (np.bincount(cells[:, 0], minlength=sample.n_values) < MIN_SPREAD)[codes]
    return local


def _conclude(sample: TraitSample, estimate: Estimate, name: tuple[str, str]) -> Finding:
    subject = f"A linear probe fitted on other {_PLURALS[name[1]]}"
    if sample.n_values:
        chance = 1 / sample.n_values
        sentence = (
            f"{subject} reads {sample.column} of a species with this accuracy, values counted alike: {{numbers}}; "
            f"{chance:.2f} by chance"
        )
        return sample.conclude(estimate, name[0], chance=chance, bounds=(0, 1), sentence=sentence)
    sentence = f"{subject} reads {sample.column} of a species with this rank correlation: {{numbers}}"
    return sample.conclude(estimate, name[0], chance=0.0, bounds=(-1, 1), sentence=sentence)


def _estimate(problem: _Problem, blocks: Int64[np.ndarray, " g"]) -> Estimate:
    sample = problem.sample
    values = problem.score(sample.shuffle(), np.ones(len(sample), dtype=bool))
    without = np.array(
        [problem.score(sample.values[None], blocks != block)[0] for block in range(int(blocks.max()) + 1)]
    )
    return Estimate(value=float(values[0]), error=find_error(without), degrees=len(without) - 1, shuffled=values[1:])


@dataclass(frozen=True, kw_only=False, eq=False)
class _Problem:
    """Species and the folds in which they are read."""

    sample: TraitSample
    folds: Int64[np.ndarray, " g"]

    def score(self, truths: Float64[np.ndarray, "p g"], kept: np.ndarray) -> Float64[np.ndarray, " p"]:
        """The statistic of each row of values, on the kept species alone."""
        folds, rows, truths = self.folds[kept], self.sample.principal[kept], truths[:, kept]
        n_values = self.sample.n_values
        if not n_values:
            return _correlate_ranks(read_apart(rows, truths.T, folds), truths.T)
        codes = truths.astype(np.int64).T
        return _balance_accuracy(classify_apart(rows, codes, folds, n_values), codes, folds, n_values)


def _balance_accuracy(
    read: Int64[np.ndarray, "g p"], truths: Int64[np.ndarray, "g p"], folds: Int64[np.ndarray, " g"], n_values: int
) -> Float64[np.ndarray, " p"]:
    """The mean recall over values that two folds or more have; nan where there are none."""
    right = read == truths
    n_folds = int(folds.max()) + 1
    accuracies = np.full(truths.shape[1], np.nan)
    for place in range(truths.shape[1]):
        cells = np.bincount(folds * n_values + truths[:, place], minlength=n_folds * n_values)
        can_be_learnt = (cells.reshape(n_folds, n_values) > 0).sum(axis=0) > 1
        counts = np.bincount(truths[:, place], minlength=n_values)[can_be_learnt]
        hits = np.bincount(truths[:, place], weights=right[:, place], minlength=n_values)[can_be_learnt]
        if can_be_learnt.any():
            accuracies[place] = (hits / counts).mean()
    return accuracies


def _correlate_ranks(one: Float64[np.ndarray, "g p"], other: Float64[np.ndarray, "g p"]) -> Float64[np.ndarray, " p"]:
    """Spearman's correlation of each column; 0 where one side does not vary."""
    from scipy.stats import rankdata

    left, right = (rankdata(np.round(values, 12), axis=0) for values in (one, other))
    left, right = left - left.mean(axis=0), right - right.mean(axis=0)
    spread = np.sqrt((left**2).sum(axis=0) * (right**2).sum(axis=0))
    correlation: Float64[np.ndarray, " p"] = np.zeros(one.shape[1])
    np.divide((left * right).sum(axis=0), spread, out=correlation, where=spread > 0)
    return correlation


def read_apart(
    rows: Float64[np.ndarray, "g k"], targets: Float64[np.ndarray, "g t"], folds: Int64[np.ndarray, " g"]
) -> Float64[np.ndarray, "g t"]:
    """Each row's targets, less the intercept, as read by a ridge fitted on the other folds.

    Args:
        rows: Of the species.
        targets: One column per target.
        folds: Of each row.
    """
    rows = _scale(rows)
    read = np.empty_like(targets)
    for part, moments in _leave_out_folds(rows, targets, folds):
        read[part] = rows[part] @ moments.fit()
    return read


def classify_apart(
    rows: Float64[np.ndarray, "g k"], codes: Int64[np.ndarray, "g p"], folds: Int64[np.ndarray, " g"], n_values: int
) -> Int64[np.ndarray, "g p"]:
    """Each row's category, as read by a linear discriminant fitted on the other folds.

    The category whose mean is nearest in the metric of the shrunk covariance, Σ = S / n + penalty, as if all were
    equally common (Hastie, Tibshirani & Friedman 2009, eq. 4.10, with the covariance of all species). Σ⁻¹ times a mean
    is what a ridge fits to an indicator of the category, which is where the penalty comes from.

    Args:
        rows: Of the species.
        codes: One column per set of categories, 0 … `n_values` - 1.
        folds: Of each row.
        n_values: How many categories there are.
    """
    rows = _scale(rows)
    shares = np.bincount(codes[:, 0], minlength=n_values).clip(1) / len(rows)
    targets = ((codes[:, :, None] == np.arange(n_values)) / np.sqrt(shares)).reshape(len(rows), -1)
    read = np.empty_like(codes)
    for part, moments in _leave_out_folds(rows, targets, folds):
        counts = moments.targets * np.tile(np.sqrt(shares), codes.shape[1])
        per_mean = np.tile(np.sqrt(shares), codes.shape[1]) / np.where(counts > 0.5, counts, np.nan)
        directions = moments.fit(n_values) * (moments.n * per_mean)
        offsets = 0.5 * np.einsum("kt,kt->t", moments.find_answers() * per_mean, directions)
        scores = (rows[part] - moments.rows / moments.n) @ directions - offsets
        scores = np.where(np.isnan(scores), -np.inf, scores).reshape(-1, *codes.shape[1:], n_values)
        read[part] = scores.argmax(axis=2)
    return read


def _scale(rows: Float64[np.ndarray, "g k"]) -> Float64[np.ndarray, "g k"]:
    """The rows, centred, with a variance of 1 per dimension on average."""
    centred: Float64[np.ndarray, "g k"] = rows - rows.mean(axis=0)
    scale = np.sqrt((centred**2).mean())
    return centred / scale if scale > 0 else centred


def _leave_out_folds(
    rows: Float64[np.ndarray, "g k"], targets: Float64[np.ndarray, "g t"], folds: Int64[np.ndarray, " g"]
) -> Iterator[tuple[Bool[np.ndarray, " g"], _Moments]]:
    """Each fold's rows, and the moments of all others."""
    whole = _Moments.gather(rows, targets)
    for fold in np.unique(folds):
        part = folds == fold
        yield part, whole.without(_Moments.gather(rows[part], targets[part]))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Moments:
    """Sums over some species, from which a ridge with an intercept is fitted."""

    n: int
    rows: Float64[np.ndarray, " k"]
    products: Float64[np.ndarray, "k k"]
    targets: Float64[np.ndarray, " t"]
    squares: Float64[np.ndarray, " t"]
    answers: Float64[np.ndarray, "k t"]

    @classmethod
    def gather(cls, rows: Float64[np.ndarray, "m k"], targets: Float64[np.ndarray, "m t"]) -> _Moments:
        return cls(
            n=len(rows),
            rows=rows.sum(axis=0),
            products=rows.T @ rows,
            targets=targets.sum(axis=0),
            squares=np.einsum("mt,mt->t", targets, targets),
            answers=rows.T @ targets,
        )

    def without(self, part: _Moments) -> _Moments:
        return _Moments(
            n=self.n - part.n,
            rows=self.rows - part.rows,
            products=self.products - part.products,
            targets=self.targets - part.targets,
            squares=self.squares - part.squares,
            answers=self.answers - part.answers,
        )

    def find_answers(self) -> Float64[np.ndarray, "k t"]:
        """Products of centred rows and targets."""
        answers: Float64[np.ndarray, "k t"] = self.answers - np.outer(self.rows, self.targets / self.n)
        return answers

    def fit(self, n_together: int = 1) -> Float64[np.ndarray, "k t"]:
        """The coefficients of each target, with the penalty of the least generalised cross-validation.

        So many targets in turn as `n_together` says share one penalty, as the categories of one trait do.
        """
        values, basis = np.linalg.eigh(self.products - np.outer(self.rows, self.rows) / self.n)
        values = values.clip(0)
        answers = basis.T @ self.find_answers()
        squares = self.squares - self.targets**2 / self.n
        losses = np.array([self._validate(values, answers**2, squares, a) for a in PENALTIES])
        together = losses.reshape(len(PENALTIES), -1, n_together).sum(axis=2)
        chosen = np.repeat(np.array(PENALTIES)[together.argmin(axis=0)], n_together)
        coefficients: Float64[np.ndarray, "k t"] = basis @ (answers / (values[:, None] + self.n * chosen))
        return coefficients

    def _validate(
        self,
        values: Float64[np.ndarray, " k"],
        squared_answers: Float64[np.ndarray, "k t"],
        squares: Float64[np.ndarray, " t"],
        penalty: float,
    ) -> Float64[np.ndarray, " t"]:
        """n |y - ŷ|² / (n - tr H)², the intercept counted as one degree of freedom."""
        shrunk = values + self.n * penalty
        residual = squares - ((values + 2 * self.n * penalty) / shrunk**2) @ squared_answers
        free = self.n - 1 - (values / shrunk).sum()
        losses: Float64[np.ndarray, " t"] = self.n * residual / free**2
        return losses
