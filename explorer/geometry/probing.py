"""Linear probes that never see the group they read: ridge regression in closed form, for many targets at once."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Float64, Int64

N_FOLDS = 8
PENALTIES = (0.001, 0.01, 0.1, 1.0)
"""Ridge penalties to choose from, per training record, on vectors scaled to unit variance per dimension on average."""


@dataclass(frozen=True, kw_only=True)
class _Moments:
    """Sums over some records, from which a ridge with an intercept is fitted."""

    n: int
    rows: Float64[np.ndarray, " d"]
    targets: Float64[np.ndarray, " t"]
    products: Float64[np.ndarray, "d d"]
    answers: Float64[np.ndarray, "d t"]

    def __sub__(self, other: _Moments) -> _Moments:
        return _Moments(
            n=self.n - other.n,
            rows=self.rows - other.rows,
            targets=self.targets - other.targets,
            products=self.products - other.products,
            answers=self.answers - other.answers,
        )

    def fit(self) -> _Fit:
        values, directions = np.linalg.eigh(self.products - np.outer(self.rows, self.rows) / self.n)
        answers = directions.T @ (self.answers - np.outer(self.rows, self.targets / self.n))
        return _Fit(n=self.n, values=values, directions=directions, answers=answers, moments=self)


@dataclass(frozen=True, kw_only=True)
class _Fit:
    n: int
    values: Float64[np.ndarray, " d"]
    directions: Float64[np.ndarray, "d d"]
    answers: Float64[np.ndarray, "d t"]
    moments: _Moments

    def read(
        self, rows: Float64[np.ndarray, "m d"], penalties: Float64[np.ndarray, "a t"]
    ) -> Float64[np.ndarray, "m a t"]:
        """What ridges read from the rows, one per row of the penalties, each column of which goes with a target."""
        shrunk = self.answers[:, None] / (self.values.clip(0)[:, None, None] + self.n * penalties)
        centred = (rows - self.moments.rows / self.n) @ self.directions
        read: Float64[np.ndarray, "m a t"] = (centred @ shrunk.reshape(len(shrunk), -1)).reshape(
            len(rows), *shrunk.shape[1:]
        )
        read += self.moments.targets / self.n
        return read


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What probes read from records that they did not see.

    Attributes:
        read: Every record's targets, as read by a probe fitted on the other folds.
        without: The first targets once more for each fold that is left out of everything; its own rows are nan. The
            statistic on these is what the delete-a-group jackknife asks for, with probes that differ as they would.
    """

    read: Float64[np.ndarray, "n t"]
    without: Float64[np.ndarray, "f n u"]


def read_held_out(
    vectors: Float64[np.ndarray, "n d"],
    targets: Float64[np.ndarray, "n t"],
    folds: Int64[np.ndarray, " n"],
    *,
    n_first: int = 1,
    penalties: tuple[float, ...] = PENALTIES,
) -> Reading:
    """Each record's targets as read by a ridge fitted on the other folds.

    The penalty is chosen for each target and fold alone, by the squared error on the other folds, each read by a ridge
    that saw neither it nor the fold to be read (nested cross-validation). Every target goes through the same, so that
    shuffled targets give a valid null. Turning the vectors changes nothing.

    Args:
        vectors: One row per record.
        targets: One column per target.
        folds: Codes 0 … f - 1, three folds or more; what must not be seen together lies in one fold.
        n_first: Targets that are read once more without each fold.
        penalties: To choose from, per training record.
    """
    rows = vectors - vectors.mean(axis=0)
    scale = np.sqrt((rows**2).mean())
    rows = rows / scale if scale > 0 else rows
    probes = _Probes(rows, targets, folds, penalties)
    errors, inner = probes.read_pairs(n_first)
    best = errors.argmin(axis=1)
    read = np.empty_like(targets)
    for fold, part in enumerate(probes.parts):
        fit = (probes.whole - probes.moments[fold]).fit()
        read[part] = fit.read(rows[part], np.array(penalties)[best[fold]][None])[:, 0]
    chosen = best[folds][:, :n_first]
    without = np.take_along_axis(inner, chosen[None, None], axis=1)[:, 0]
    return Reading(read=read, without=without)


class _Probes:
    """The folds of a problem and their moments."""

    def __init__(
        self,
        rows: Float64[np.ndarray, "n d"],
        targets: Float64[np.ndarray, "n t"],
        folds: Int64[np.ndarray, " n"],
        penalties: tuple[float, ...],
    ) -> None:
        self.rows, self.targets, self.penalties = rows, targets, penalties
        self.parts = [folds == fold for fold in range(int(folds.max()) + 1)]
        self.moments = [_gather(rows[part], targets[part]) for part in self.parts]
        self.whole = _gather(rows, targets)

    def read_pairs(self, n_first: int) -> tuple[Float64[np.ndarray, "f a t"], Float64[np.ndarray, "f a n u"]]:
        """Squared errors by outer fold and penalty, and what was read of the first targets without each fold.

        The fit without two folds serves both as the outer one.
        """
        n_folds, n_penalties, n_targets = len(self.parts), len(self.penalties), self.targets.shape[1]
        all_penalties = np.repeat(np.array(self.penalties)[:, None], n_targets, axis=1)
        errors = np.zeros((n_folds, n_penalties, n_targets))
        inner = np.full((n_folds, n_penalties, len(self.rows), n_first), np.nan)
        for one, other in combinations(range(n_folds), 2):
            fit = (self.whole - self.moments[one] - self.moments[other]).fit()
            for outer, left in ((one, other), (other, one)):
                part = self.parts[left]
                read = fit.read(self.rows[part], all_penalties)
                inner[outer][:, part] = read[:, :, :n_first].swapaxes(0, 1)
                read -= self.targets[part][:, None]
                errors[outer] += np.einsum("nat,nat->at", read, read)
        return errors, inner


def _gather(rows: Float64[np.ndarray, "n d"], targets: Float64[np.ndarray, "n t"]) -> _Moments:
    return _Moments(
        n=len(rows),
        rows=rows.sum(axis=0),
        targets=targets.sum(axis=0),
        products=rows.T @ rows,
        answers=rows.T @ targets,
    )
