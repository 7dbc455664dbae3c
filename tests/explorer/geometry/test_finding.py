"""The numbers of a reading, and species means of nobody."""

from __future__ import annotations

import math

import numpy as np
import pytest

from explorer.geometry.finding import Estimate, Finding, Side, Used, conclude, write_numbers
from explorer.geometry.species_means import average_species

NONE = (math.nan, math.nan)


@pytest.mark.parametrize(
    ("value", "interval", "null", "p", "text"),
    [
        (0.312, (0.2, 0.42), (-0.081, 0.09), 0.005, "0.31 [0.20, 0.42]; shuffled -0.08 to 0.09, p = 0.005"),
        (0.21, (0.18, 0.25), (-0.003, 0.004), 0.005, "0.21 [0.18, 0.25]; shuffled 0.00 to 0.00, p = 0.005"),
        (0.0021, (0.0018, 0.0024), NONE, math.nan, "0.002 [0.002, 0.002]"),
        (0.5, NONE, (0.4, 0.6), 0.5, "0.50 (too little for an interval); shuffled 0.40 to 0.60, p = 0.5"),
        (math.nan, NONE, NONE, math.nan, "no value, because the vectors do not vary"),
    ],
)
def test_a_reading_has_neither_nan_nor_a_negative_zero(
    value: float, interval: tuple[float, float], null: tuple[float, float], p: float, text: str
) -> None:
    assert write_numbers(value, interval, null, p) == text


def test_an_estimate_without_error_says_that_there_is_no_interval() -> None:
    estimate = Estimate(value=0.4, error=math.nan, degrees=0, shuffled=np.zeros(0))

    def say(numbers: str) -> str:
        return f"So it is: {numbers}."

    used = Used(n=1, n_groups=1, left_out=0)
    found = conclude(estimate, name=("x", ""), chance=0, side=Side.GREATER, bounds=(0, 1), used=used, say=say)
    assert isinstance(found, Finding)
    assert math.isnan(found.low)
    assert found.reading == "So it is: 0.40 (too little for an interval)."


def test_no_species_can_be_taken() -> None:
    lineages = np.full((6, 7), -1, dtype=np.int64)
    means = average_species(np.eye(6), np.arange(6), lineages)
    assert len(means) == 0
    assert (means.take(np.zeros(0, dtype=bool)).places == -1).all()
    lineages[:, -1] = np.repeat([0, 1, 2], 2)
    taken = average_species(np.eye(6), np.arange(6), lineages).take(np.array([True, False, True]))
    assert taken.places.tolist() == [0, 0, -1, -1, 1, 1]
