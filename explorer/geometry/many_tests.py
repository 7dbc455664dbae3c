"""Many tests at once: which p stay small when so many were looked at."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np


class Tested(Protocol):
    """What a test found; p is nan where none was made."""

    @property
    def p(self) -> float:
        """By permutation."""


def adjust_p(findings: Sequence[Tested]) -> tuple[float, ...]:
    """Each finding's q: the least share of false discoveries at which it would be counted among the discoveries.

    Benjamini & Hochberg (1995), valid for tests that are independent or depend positively, as statistics of one column
    do. Hand in every test that was made, not those that look well. Findings without a p get nan and count for nothing.
    """
    from scipy.stats import false_discovery_control

    places = [place for place, finding in enumerate(findings) if math.isfinite(finding.p)]
    adjusted = np.full(len(findings), np.nan)
    if places:
        adjusted[places] = false_discovery_control([findings[place].p for place in places], method="bh")
    return tuple(float(q) for q in adjusted)
