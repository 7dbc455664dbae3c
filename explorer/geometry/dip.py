"""Hartigan's dip: whether numbers have one mode or more (Hartigan & Hartigan 1985).

The dip is the greatest distance between the empirical distribution and the unimodal one nearest to it. p compares it
with numbers drawn evenly from an interval, which of all distributions with one mode has the greatest dips for large n:
for a normal distribution p is too large, so that few true differences are called, and no mode is invented.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64, Int64

P_LEAST = 1e-5
"""No p is smaller: the quantiles were simulated no further."""
_LEVELS = (0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 0.9995, 0.9999, 0.99999)
_QUANTILES: dict[int, tuple[float, ...]] = {
    10: (0.3092, 0.3611, 0.4126, 0.4415, 0.4769, 0.5045, 0.5281, 0.5716, 0.5868, 0.6195, 0.6648),
    12: (0.3155, 0.3682, 0.416, 0.4505, 0.4896, 0.5145, 0.537, 0.5865, 0.6044, 0.6421, 0.6839),
    15: (0.3238, 0.372, 0.4262, 0.4597, 0.4988, 0.5263, 0.5508, 0.6006, 0.6203, 0.6638, 0.7154),
    20: (0.328, 0.381, 0.4347, 0.4703, 0.5116, 0.54, 0.5662, 0.6198, 0.641, 0.6874, 0.7472),
    30: (0.3368, 0.3905, 0.4468, 0.4833, 0.5266, 0.5561, 0.5838, 0.641, 0.6642, 0.7117, 0.777),
    50: (0.3455, 0.4006, 0.4587, 0.4968, 0.542, 0.573, 0.6023, 0.6636, 0.6873, 0.7405, 0.8065),
    100: (0.3548, 0.4115, 0.4715, 0.5108, 0.558, 0.5906, 0.6216, 0.6878, 0.713, 0.7691, 0.8304),
    200: (0.3616, 0.4195, 0.4805, 0.5209, 0.569, 0.6034, 0.635, 0.7032, 0.7296, 0.7877, 0.8591),
    500: (0.3681, 0.4266, 0.4889, 0.53, 0.5794, 0.614, 0.6459, 0.715, 0.7415, 0.8, 0.8723),
}
"""Of sqrt(n) times the dip of n even draws, by n: 3,000,000 simulations each, 1,000,000 or more beyond 50."""
_SIZES = np.array(list(_QUANTILES))
_TABLE = np.array(list(_QUANTILES.values()))
_LOGS = np.log(1 - np.array(_LEVELS))


def find_dip(values: Float64[np.ndarray, " n"]) -> float:
    """The dip, from 1 / (2 n) to 1 / 4; nan without values.

    The algorithm of Hartigan & Hartigan (1985, section 4): the interval that holds the mode is narrowed down, from the
    greatest convex minorant on its left and the least concave majorant on its right.
    """
    n = len(values)
    if not n:
        return float("nan")
    points, counts = np.unique(values, return_counts=True)
    above = np.cumsum(counts).astype(np.float64)
    below = above - counts
    first, last, dip = 0, len(points) - 1, 1.0
    while first < last:
        inside = slice(first, last + 1)
        convex = first + find_hull(points[inside], below[inside])
        concave = first + find_hull(points[inside], -above[inside])
        low = np.interp(points[inside], points[convex], below[convex])
        high = np.interp(points[inside], points[concave], above[concave])
        corners = np.union1d(convex, concave)
        gaps = (high - low)[corners - first]
        if gaps.max() <= dip:
            break
        widest = corners[gaps.argmax()]
        left = int(convex[convex <= widest].max())
        right = int(concave[concave >= widest].min())
        before, after = slice(first, left + 1), slice(right, last + 1)
        dip = max(
            dip,
            float((above[before] - low[: left + 1 - first]).max()),
            float((high[right - first :] - below[after]).max()),
        )
        if (left, right) == (first, last):
            break
        first, last = left, right
    return dip / (2 * n)


def rate_dip(dip: float, n: int) -> float:
    """How often n even draws have a dip as great, from simulated quantiles; between 1e-5 and 1, nan for fewer than 10.

    Between the sample sizes of the table, and between its levels on a scale of log p, it is interpolated; beyond 500
    draws the last line serves, for sqrt(n) times the dip has a limit distribution.
    """
    if n < _SIZES[0] or not np.isfinite(dip):
        return float("nan")
    place = min(int(np.searchsorted(_SIZES, n, side="right")), len(_SIZES) - 1)
    before, after = np.log(_SIZES[place - 1]), np.log(_SIZES[place])
    share = min((np.log(n) - before) / (after - before), 1.0)
    quantiles = (1 - share) * _TABLE[place - 1] + share * _TABLE[place]
    # No dip of n values is below 1 / (2 n), where p is 1.
    p = np.exp(np.interp(np.sqrt(n) * dip, [0.5 / np.sqrt(n), *quantiles], [0.0, *_LOGS]))
    return float(max(p, P_LEAST))


def find_hull(points: Float64[np.ndarray, " n"], heights: Float64[np.ndarray, " n"]) -> Int64[np.ndarray, " m"]:
    """The corners of the greatest convex function below these heights, at ascending points."""
    x, y = points.tolist(), heights.tolist()
    corners: list[int] = []
    for i in range(len(x)):
        while len(corners) > 1:
            a, b = corners[-2], corners[-1]
            if (y[b] - y[a]) * (x[i] - x[b]) < (y[i] - y[b]) * (x[b] - x[a]):
                break
            corners.pop()
        corners.append(i)
    return np.array(corners, dtype=np.int64)
