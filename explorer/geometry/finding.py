"""What a statistic found: a value with its interval, what chance gives, and one plain sentence."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from jaxtyping import Float64, Int64

CONFIDENCE = 0.95


class Side(StrEnum):
    """Which outcomes count as at least as extreme as the one seen."""

    GREATER = "greater"
    LESS = "less"


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A statistic before it is put into words.

    Attributes:
        value: The statistic.
        error: Its standard error; nan where there are fewer than two blocks to leave out.
        degrees: Degrees of freedom of that error.
        shuffled: The same statistic on shuffled labels, one per shuffle; empty where none was made.
        seen: What is compared with `shuffled`, where that is not `value` itself.
    """

    value: float
    error: float
    degrees: int
    shuffled: Float64[np.ndarray, " p"]
    seen: float | None = None

    def find_interval(self) -> tuple[float, float]:
        """The 95 % interval: value ± Student's t times the error."""
        from scipy.stats import t

        if not math.isfinite(self.error):
            return math.nan, math.nan
        reach = float(t.ppf((1 + CONFIDENCE) / 2, self.degrees)) * self.error
        return self.value - reach, self.value + reach

    @property
    def _is_shuffled(self) -> bool:
        return bool(self.shuffled.size and np.isfinite(self.shuffled).all())

    def find_null(self) -> tuple[float, float]:
        """The central 95 % of the shuffles; nan without any, or where one is not finite."""
        if not self._is_shuffled:
            return math.nan, math.nan
        low, high = np.quantile(self.shuffled, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
        return float(low), float(high)

    def find_p(self, side: Side) -> float:
        """One-sided p by permutation, the data themselves counted as one shuffle (Phipson & Smyth 2010, eq. 2).

        nan without any shuffle, or where what is compared is not finite, as of vectors that are all the same.
        """
        seen = self.value if self.seen is None else self.seen
        if not self._is_shuffled or not math.isfinite(seen):
            return math.nan
        # Ties must count, also those that rounding broke.
        slack = 1e-12 * max(1.0, abs(seen))
        beyond = self.shuffled >= seen - slack if side is Side.GREATER else self.shuffled <= seen + slack
        return float((1 + beyond.sum()) / (1 + self.shuffled.size))


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One statistic of one column in one space.

    Attributes:
        statistic: Which one, as `rho`.
        column: Of which column; "" where it is of the species alone.
        value: The statistic.
        low: Lower end of its 95 % interval; nan where too little is there for one. So is `high`.
        high: Upper end.
        chance: What vectors that know nothing give, by formula.
        null_low: The 2.5 % point of the statistic on shuffled labels; nan where none was shuffled. So is `null_high`.
        null_high: The 97.5 % point.
        p: One-sided, by permutation; nan where none was made.
        n: Records that were used.
        n_groups: Species or genera over which the interval generalises.
        left_out: Records that could not be used.
        reading: One sentence for a person.
        space: Of which space; "" until the caller says so (`dataclasses.replace`).
    """

    statistic: str
    column: str
    value: float
    low: float
    high: float
    chance: float
    null_low: float
    null_high: float
    p: float
    n: int
    n_groups: int
    left_out: int
    reading: str
    space: str = ""


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """A statistic that these records do not allow.

    Attributes:
        statistic: Which one, as `rho`.
        column: Of which column; "" where it is of the species alone.
        reason: What is missing, with the number found and the number needed; a clause that can follow "because".
    """

    statistic: str
    column: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Used:
    """How much a statistic rests on: records, groups over which it generalises, records left out."""

    n: int
    n_groups: int
    left_out: int


def conclude(
    estimate: Estimate,
    *,
    name: tuple[str, str],
    chance: float,
    side: Side,
    bounds: tuple[float, float],
    used: Used,
    say: Callable[[str], str],
) -> Finding:
    """The estimate as a finding.

    Args:
        estimate: The estimate.
        name: Statistic and column.
        chance: What vectors that know nothing give.
        side: What counts as extreme.
        bounds: Range of the statistic, to which the interval is cut.
        used: What it rests on.
        say: Given the numbers as text (`write_numbers`), the sentence.
    """
    low, high = (float(np.clip(end, *bounds)) for end in estimate.find_interval())
    null_low, null_high = estimate.find_null()
    p = estimate.find_p(side)
    numbers = write_numbers(estimate.value, (low, high), (null_low, null_high), p)
    return Finding(
        statistic=name[0],
        column=name[1],
        value=estimate.value,
        low=low,
        high=high,
        chance=chance,
        null_low=null_low,
        null_high=null_high,
        p=p,
        n=used.n,
        n_groups=used.n_groups,
        left_out=used.left_out,
        reading=say(numbers),
    )


def write_numbers(value: float, interval: tuple[float, float], null: tuple[float, float], p: float) -> str:
    """The numbers of a reading, as "0.31 [0.20, 0.42]; shuffled -0.08 to 0.09, p = 0.005".

    Two decimals, or three where the value and its interval lie within 0.1 of 0; said in words where there is no value
    or no interval, and without the shuffles where there is no p.
    """
    if not math.isfinite(value):
        return "no value, because the vectors do not vary"
    ends = [end for end in interval if math.isfinite(end)]
    places = 2 if max(map(abs, [value, *ends])) >= 0.1 else 3
    between = f"[{write_number(interval[0], places)}, {write_number(interval[1], places)}]"
    numbers = f"{write_number(value, places)} {between if ends else '(too little for an interval)'}"
    if not math.isfinite(p):
        return numbers
    return f"{numbers}; shuffled {write_number(null[0], places)} to {write_number(null[1], places)}, p = {p:.2g}"


def write_number(number: float, places: int) -> str:
    """The number to so many decimals, without the sign of a zero."""
    return f"{round(number, places) + 0.0:.{places}f}"


def average_estimates(estimates: Sequence[Estimate]) -> Estimate:
    """The mean of independent estimates, as of several strata; their shuffles are paired by number."""
    n = len(estimates)
    return Estimate(
        value=float(np.mean([one.value for one in estimates])),
        error=math.sqrt(sum(one.error**2 for one in estimates)) / n,
        degrees=sum(one.degrees for one in estimates),
        shuffled=np.mean([one.shuffled for one in estimates], axis=0),
    )


def find_ratio(above: float, below: float) -> float:
    """One over the other; nan where the lower one is not above 0, as the spread of vectors that are all the same."""
    return float(above / below) if below > 0 else math.nan


def find_error(without: Float64[np.ndarray, " b"]) -> float:
    """The standard error of a statistic from its values with each block of the data left out in turn.

    The delete-a-group jackknife (Shao & Tu 1995, eq. 2.3), for blocks of about equal size; nan for fewer than two.
    """
    n = len(without)
    return float(np.sqrt((n - 1) / n * ((without - without.mean()) ** 2).sum())) if n > 1 else math.nan


def find_uneven_error(value: float, without: Float64[np.ndarray, " b"], sizes: Int64[np.ndarray, " b"]) -> float:
    """`find_error` for blocks of unequal size (Busing, Meijer & van der Leeden 1999, eq. 9).

    Args:
        value: The statistic on all data.
        without: The same without each block.
        sizes: Units in each block, of which the data are a sample: species or genera.
    """
    n = len(without)
    if n < 2:
        return math.nan
    parts = sizes.sum() / sizes
    pseudo = parts * value - (parts - 1) * without
    mean = n * value - ((1 - 1 / parts) * without).sum()
    return float(np.sqrt(((pseudo - mean) ** 2 / (parts - 1)).mean()))
