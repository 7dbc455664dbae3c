"""What sets two sets of records apart: columns of words, and numbers such as places along axes or phrases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64

from explorer.geometry.contrast import Sets
from explorer.geometry.finding import Skipped
from explorer.geometry.grouping import UNKNOWN, code_names
from explorer.geometry.many_tests import adjust_p

N_SHUFFLES = 999
MAX_VALUES = 50
"""Different values of a column that are compared; rarer ones are put together."""
MIN_UNITS = 5
_SKIPPED = "separation"


@dataclass(frozen=True, kw_only=True)
class Separation:
    """How far one column, phrase or axis sets two sets apart.

    Attributes:
        name: Of it.
        kind: `category`, `number`, `phrase` or `axis`.
        measure: `Cramér's V`, in [0, 1], or `Cliff's delta`, in [-1, 1], above 0 where the second set has the larger.
        value: Of that measure.
        low: Lower end of its 95 % interval. So is `high`.
        high: Upper end.
        null_low: The 2.5 % point over shuffled sets. So is `null_high`.
        null_high: The 97.5 % point.
        p: By permutation, of occurrences; of delta two-sided.
        q: p after Benjamini and Hochberg (1995) over all that were compared in one call.
        n: Occurrences of the first and of the second set that have a value.
        reading: One sentence for a person.
    """

    name: str
    kind: str
    measure: str
    value: float
    low: float
    high: float
    null_low: float
    null_high: float
    p: float
    q: float
    n: tuple[int, int]
    reading: str


def separate_by_scores(
    sets: Sets,
    scores: Float64[np.ndarray, "n t"],
    names: Sequence[str],
    kind: str,
    *,
    n_shuffles: int = N_SHUFFLES,
    seed: int = 0,
) -> list[Separation | Skipped]:
    """How far each score sets the two sets apart: Cliff's delta (1993, Psychol. Bull. 114, 494).

    The chance that an occurrence of the second set has the larger score, less the chance of the smaller; 0 where the
    score tells nothing. The interval is DeLong's (1988, Biometrics 44, 837).

    Args:
        sets: Of n records.
        scores: Of each record, nan where it has none; a column per name.
        names: Of the scores.
        kind: What they are: `number`, `phrase` or `axis`.
        n_shuffles: Of the sets.
        seed: Fixes them.

    Returns:
        The largest first; a name with fewer than 5 occurrences of either set is skipped.
    """
    found: list[Separation | Skipped] = []
    for name, column in zip(names, scores.T, strict=True):
        along = sets.units.average(column[sets.records].astype(np.float64))
        known = np.isfinite(along)
        counts = _count(sets, known)
        if min(counts) < MIN_UNITS:
            found.append(_skip(name, kind, counts))
            continue
        found.append(_measure_delta(sets, along, known, (name, kind), n_shuffles, seed))
    return adjust_separations(found)


def _measure_delta(
    sets: Sets,
    along: Float64[np.ndarray, " m"],
    known: Bool[np.ndarray, " m"],
    name: tuple[str, str],
    n_shuffles: int,
    seed: int,
) -> Separation:
    from scipy.stats import rankdata

    ranks = rankdata(along[known])
    chunks = [_find_deltas(labels[:, known], ranks) for labels in sets.shuffle(n_shuffles, seed)]
    shuffled = np.concatenate(chunks) if chunks else np.empty(0)
    value, error = estimate_delta(along[known & ~sets.is_second], along[known & sets.is_second])
    ends = (max(value - 1.96 * error, -1.0), min(value + 1.96 * error, 1.0))
    side = "larger" if value > 0 else "smaller"
    reading = (
        f"{name[0]}: an occurrence of the second set has the {side} value with a chance of {(1 + abs(value)) / 2:.2f} "
        f"(Cliff's delta {value:+.2f} [{ends[0]:+.2f}, {ends[1]:+.2f}])."
    )
    return _make_separation(
        name,
        "Cliff's delta",
        value,
        ends,
        shuffled,
        np.abs(shuffled) >= abs(value) - 1e-12,
        _count(sets, known),
        reading,
    )


def _find_deltas(labels: Float64[np.ndarray, "c m"], ranks: Float64[np.ndarray, " m"]) -> Float64[np.ndarray, " c"]:
    n_second = labels.sum(axis=1)
    pairs = n_second * (len(ranks) - n_second)
    wins = labels @ ranks - n_second * (n_second + 1) / 2
    deltas: Float64[np.ndarray, " c"] = np.divide(2 * wins, pairs, out=np.ones(len(pairs)), where=pairs > 0) - 1
    return deltas


def estimate_delta(first: Float64[np.ndarray, " a"], second: Float64[np.ndarray, " b"]) -> tuple[float, float]:
    """Cliff's delta of the second sample against the first, and its standard error after DeLong et al. (1988)."""
    placements = []
    for own, other in ((second, np.sort(first)), (first, np.sort(second))):
        below, upto = (np.searchsorted(other, own, side=side) for side in ("left", "right"))
        placements.append((below + upto) / 2 / len(other))
    variance = sum(float(found.var(ddof=1)) / len(found) for found in placements)
    return float(2 * placements[0].mean() - 1), 2 * float(np.sqrt(variance))


def separate_by_values(
    sets: Sets, values: Sequence[str | None], name: str, *, n_shuffles: int = N_SHUFFLES, seed: int = 0
) -> Separation | Skipped:
    """How far a column of words sets the two sets apart: Cramér's V without its bias.

    After Bergsma (2013, J. Korean Stat. Soc. 42, 323). Of the 50 commonest values; the others are put together. An
    occurrence has the first value that its records give. The interval takes occurrences as independent, also those that
    are in both sets.

    Args:
        sets: Of n records.
        values: Of each record; None where it has none.
        name: Of the column.
        n_shuffles: Of the sets.
        seed: Fixes them.

    Returns:
        Skipped where either set has fewer than 5 occurrences with a value, all have the same, or nearly all their own.
    """
    codes, n_names = _code_values(sets, values)
    known = codes >= 0
    counts = _count(sets, known)
    if min(counts) < MIN_UNITS:
        return _skip(name, "category", counts)
    if len(np.unique(codes[known])) < 2 or n_names > known.sum() / 2:
        reason = f"{known.sum():,} occurrences have {n_names:,} different values; two or more that recur are needed"
        if n_names == 1:
            reason = f"all {known.sum():,} occurrences have the same value"
        return Skipped(statistic=_SKIPPED, column=name, reason=reason)
    shown = np.eye(int(codes.max()) + 1)[codes[known]]
    totals = shown.sum(axis=0)
    chunks = [_list_associations(labels[:, known] @ shown, totals) for labels in sets.shuffle(n_shuffles, seed)]
    shuffled = np.concatenate(chunks) if chunks else np.empty(0)
    second = sets.is_second[known]
    seen = _list_associations(second.astype(np.float64)[None] @ shown, totals)[0]
    value = _take_root(seen)
    ends = bound_association(np.stack([totals - second @ shown, second @ shown]))
    reading = (
        f"{name}: {_describe_shares(sets, values, codes)} (Cramér's V {value:.2f} [{ends[0]:.2f}, {ends[1]:.2f}])."
    )
    is_beyond = shuffled >= seen - 1e-12
    return _make_separation(
        (name, "category"), "Cramér's V", value, ends, _take_root(shuffled), is_beyond, counts, reading
    )


def find_association(tables: Float64[np.ndarray, "c 2 k"]) -> Float64[np.ndarray, " c"]:
    """Cramér's V squared without its bias, so that it may be below 0, of tables of counts (Bergsma 2013, eq. 6 to 8).

    nan where a table has one row or one column of counts.
    """
    n = tables.sum(axis=(1, 2))
    rows, columns = tables.sum(axis=2), tables.sum(axis=1)
    expected = rows[:, :, None] * columns[:, None] / n[:, None, None]
    ratios = np.divide((tables - expected) ** 2, expected, out=np.zeros_like(tables), where=expected > 0)
    r, k = (rows > 0).sum(axis=1), (columns > 0).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        phi = ratios.sum(axis=(1, 2)) / n - (r - 1) * (k - 1) / (n - 1)
        least = np.minimum(r - (r - 1) ** 2 / (n - 1), k - (k - 1) ** 2 / (n - 1)) - 1
        found: Float64[np.ndarray, " c"] = np.where(least > 0, phi / least, np.nan)
    return found


def _list_associations(
    second: Float64[np.ndarray, "c k"], totals: Float64[np.ndarray, " k"]
) -> Float64[np.ndarray, " c"]:
    return find_association(np.stack([totals - second, second], axis=1))


def _take_root(squared: Any) -> Any:
    return np.sqrt(np.maximum(squared, 0.0))


def bound_association(table: Float64[np.ndarray, "2 k"]) -> tuple[float, float]:
    """The 95 % interval of V: of the noncentrality with which chi squared would be as seen (Smithson 2003, p. 39).

    Tables that are more even than chance makes them count for the upper end as chance would have them.
    """
    from scipy.optimize import brentq
    from scipy.stats import ncx2

    n, (r, k) = table.sum(), [int((table.sum(axis=side) > 0).sum()) for side in (1, 0)]
    degrees = (r - 1) * (k - 1)
    squared = float(find_association(table[None])[0])
    least = min(r - (r - 1) ** 2 / (n - 1), k - (k - 1) ** 2 / (n - 1)) - 1
    statistic = float(n * (squared * least + degrees / (n - 1)))
    ends = []
    for tail in (0.975, 0.025):
        seen = statistic if tail > 0.5 else max(statistic, degrees)
        if ncx2.cdf(seen, degrees, 1e-9) <= tail:
            ends.append(0.0)
            continue
        # A noncentrality of twice the statistic and some more leaves next to nothing below it.
        most = 2 * seen + 50
        found = brentq(lambda shift, seen=seen, tail=tail: ncx2.cdf(seen, degrees, shift) - tail, 1e-9, most)
        ends.append(min(float(np.sqrt(found / n / least)), 1.0))
    return ends[0], ends[1]


def _code_values(sets: Sets, values: Sequence[str | None]) -> tuple[Int64[np.ndarray, " m"], int]:
    """Each unit's first value, the rare ones under one code, and how many there were; -1 where it has none."""
    of_records = code_names([values[record] for record in sets.records])
    codes = np.full(len(sets.units), UNKNOWN)
    known = np.flatnonzero(of_records >= 0)[::-1]
    codes[sets.units.of_records[known]] = of_records[known]
    counts = np.bincount(codes[codes >= 0], minlength=1)
    places = np.empty(len(counts), np.int64)
    places[np.argsort(-counts, kind="stable")] = np.minimum(np.arange(len(counts)), MAX_VALUES)
    return np.where(codes >= 0, places[np.maximum(codes, 0)], UNKNOWN), int((counts > 0).sum())


def _describe_shares(sets: Sets, values: Sequence[str | None], codes: Int64[np.ndarray, " m"]) -> str:
    """The value whose share differs most between the sets, with both shares."""
    known = codes >= 0
    shares = [
        np.bincount(codes[known & (sets.is_second == side)], minlength=int(codes.max()) + 1)
        / (known & (sets.is_second == side)).sum()
        for side in (False, True)
    ]
    most = int(np.abs(shares[1] - shares[0]).argmax())
    units = sets.units.of_records
    names = {
        int(codes[unit]): values[record] for record, unit in zip(sets.records, units, strict=True) if values[record]
    }
    word = "a rarer value" if most == MAX_VALUES else repr(names[most])
    return f"{100 * shares[0][most]:.0f} % of the first set and {100 * shares[1][most]:.0f} % of the second have {word}"


def _count(sets: Sets, known: Bool[np.ndarray, " m"]) -> tuple[int, int]:
    return int((known & ~sets.is_second).sum()), int((known & sets.is_second).sum())


def _skip(name: str, kind: str, counts: tuple[int, int]) -> Skipped:
    have = "were not what this axis was fitted on" if kind == "axis" else f"have this {kind}"
    reason = f"{counts[0]:,} and {counts[1]:,} occurrences {have}; {MIN_UNITS} of either set are needed"
    return Skipped(statistic=_SKIPPED, column=name, reason=reason)


def _make_separation(
    name: tuple[str, str],
    measure: str,
    value: float,
    ends: tuple[float, float],
    shuffled: Float64[np.ndarray, " p"],
    is_beyond: Bool[np.ndarray, " p"],
    n: tuple[int, int],
    reading: str,
) -> Separation:
    p = (1 + int(is_beyond.sum())) / (1 + len(shuffled)) if len(shuffled) else np.nan
    null = np.quantile(shuffled, [0.025, 0.975]) if len(shuffled) else (np.nan, np.nan)
    return Separation(
        name=name[0],
        kind=name[1],
        measure=measure,
        value=float(value),
        low=float(ends[0]),
        high=float(ends[1]),
        null_low=float(null[0]),
        null_high=float(null[1]),
        p=p,
        q=p,
        n=n,
        reading=reading,
    )


def adjust_separations(found: Sequence[Separation | Skipped]) -> list[Separation | Skipped]:
    """The same with q over all of them (Benjamini & Hochberg 1995), the smallest q and largest value first."""
    made = [one for one in found if isinstance(one, Separation)]
    adjusted = [replace(one, q=q) for one, q in zip(made, adjust_p(made), strict=True)]
    adjusted.sort(key=lambda one: (one.q, -abs(one.value)))
    return [*adjusted, *(one for one in found if isinstance(one, Skipped))]
