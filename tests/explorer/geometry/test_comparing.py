"""Two spaces of the same records, against plain references and scipy."""

from __future__ import annotations

import numpy as np
import pytest

from explorer.geometry.comparing import (
    Pair,
    align_samples,
    centre_kernel,
    compare_samples,
    estimate_cka,
    estimate_overlap,
    estimate_procrustes,
    measure_likeness,
)
from explorer.geometry.finding import Finding, Side, Skipped
from tests.explorer.geometry.samples import make_sample, unit


def make_pair(seed: int, n: int = 120, noise: float = 0.7) -> Pair:
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=(n, 6))
    other = shared @ np.random.default_rng(99).normal(size=(6, 9)) + noise * rng.normal(size=(n, 9))
    return Pair(first=unit(shared + 1), second=unit(other), blocks=rng.permutation(n) % 10)


def unrelated(seed: int, n: int = 60) -> Pair:
    rng = np.random.default_rng(seed)
    return Pair(first=unit(rng.normal(size=(n, 6))), second=unit(rng.normal(size=(n, 30))), blocks=np.arange(n) % 10)


def find_hsic_plainly(one: np.ndarray, other: np.ndarray) -> float:
    """Song et al. (2012): the average over all sets of different records, by sums over the kernels."""
    n, ones = len(one), np.ones(len(one))
    first, second = one @ one.T, other @ other.T
    np.fill_diagonal(first, 0)
    np.fill_diagonal(second, 0)
    middle = (ones @ first @ ones) * (ones @ second @ ones) / ((n - 1) * (n - 2))
    return float((np.trace(first @ second) + middle - 2 / (n - 2) * (ones @ first @ second @ ones)) / (n * (n - 3)))


def test_cka_is_that_of_the_kernels_written_out() -> None:
    pair = make_pair(0)
    one, other = pair.first.astype(np.float64), pair.second.astype(np.float64)
    expected = find_hsic_plainly(one, other) / np.sqrt(find_hsic_plainly(one, one) * find_hsic_plainly(other, other))
    assert estimate_cka(pair, n_shuffles=0).value == pytest.approx(expected)
    kernels = centre_kernel(one), centre_kernel(other)
    assert (kernels[0] * kernels[1]).sum() == pytest.approx(120 * 117 * find_hsic_plainly(one, other))


def test_the_overlap_is_the_share_of_common_neighbours() -> None:
    pair = make_pair(2)
    lists = []
    for rows in (pair.first, pair.second):
        centred = unit(rows - rows.mean(axis=0))
        scores = centred @ centred.T
        np.fill_diagonal(scores, -2)
        lists.append(np.argsort(-scores, axis=1)[:, :10])
    expected = np.mean([len(set(one) & set(other)) / 10 for one, other in zip(*lists, strict=True)])
    assert estimate_overlap(pair).value == pytest.approx(expected)


def test_procrustes_nears_what_scipy_says_where_records_are_many() -> None:
    from scipy.spatial import procrustes

    pair = make_pair(3, n=4_000)
    second = np.pad(pair.first, ((0, 0), (0, 3)))
    disparity = procrustes(second, pair.second)[2]
    assert estimate_procrustes(pair, n_shuffles=0).value == pytest.approx(1 - disparity, abs=0.01)


def test_a_space_turned_and_moved_is_the_same() -> None:
    rows = np.random.default_rng(0).normal(size=(80, 6))
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(6, 6)))[0]
    pair = Pair(
        first=rows.astype(np.float32), second=(3 * rows @ turn + 2).astype(np.float32), blocks=np.arange(80) % 10
    )
    for estimate in (
        estimate_cka(pair, n_shuffles=19),
        estimate_overlap(pair),
        estimate_procrustes(pair, n_shuffles=19),
    ):
        assert estimate.value == pytest.approx(1, abs=1e-4)


def test_unrelated_spaces_share_nothing_and_are_rarely_called_alike() -> None:
    found = [
        (estimate_cka(unrelated(i), n_shuffles=19), estimate_procrustes(unrelated(i), n_shuffles=19)) for i in range(60)
    ]
    for estimates in zip(*found, strict=True):
        assert 0 <= np.mean([one.find_p(Side.GREATER) <= 0.05 for one in estimates]) <= 0.11
    assert np.mean([one.value for one, _ in found]) == pytest.approx(0, abs=0.01)
    assert np.mean([one.value for _, one in found]) <= 0


def test_intervals_hold_the_value_of_many_records() -> None:
    truth = estimate_cka(make_pair(1_000, n=20_000), n_shuffles=0).value
    found = [estimate_cka(make_pair(i), n_shuffles=0).find_interval() for i in range(100)]
    assert np.mean([low <= truth <= high for low, high in found]) >= 0.87


def test_samples_are_compared_on_the_records_that_both_hold() -> None:
    pair = make_pair(5)
    ids = [f"r{i}" for i in range(120)]
    first = make_sample(pair.first, {"species": ["a"] * 120}, space="one", record_ids=ids)
    kept = np.random.default_rng(0).permutation(120)[:90]
    second = make_sample(
        pair.second[kept], {"species": ["a"] * 90}, space="one", record_ids=[ids[place] for place in kept]
    )
    one, other = align_samples(first, second)
    assert (one == np.sort(kept)).all()
    assert [first.records.column("record_id")[i].as_py() for i in one[:9]] == [
        second.records.column("record_id")[i].as_py() for i in other[:9]
    ]
    (comparison,) = compare_samples([first, second], n_shuffles=9)
    assert (comparison.n, comparison.only_first, comparison.only_second) == (90, 30, 0)
    assert (comparison.first, comparison.second) == ("one", "one (2)")
    assert [found.statistic for found in comparison.findings] == ["cka", "overlap", "procrustes"]
    assert {found.space for found in comparison.findings if isinstance(found, Finding)} == {"one and one (2)"}
    assert "hold 90 records in common; 30 are only in one and 0 only in one (2)" in comparison.reading


def test_one_record_of_each_occurrence_is_compared() -> None:
    pair = make_pair(6)
    found = measure_likeness(
        np.repeat(pair.first, 3, axis=0), np.repeat(pair.second, 3, axis=0), np.repeat(np.arange(120), 3), n_shuffles=0
    )
    once = measure_likeness(pair.first, pair.second, np.arange(120), n_shuffles=0)
    for one, other in zip(found, once, strict=True):
        assert isinstance(one, Finding)
        assert isinstance(other, Finding)
        assert (one.n, one.left_out) == (120, 240)
        assert one.value == pytest.approx(other.value, abs=0.02)


def test_few_common_records_are_not_compared() -> None:
    sample = make_sample(np.random.default_rng(0).normal(size=(30, 4)), {"species": ["a"] * 30})
    (comparison,) = compare_samples([sample, sample])
    reasons = {found.reason for found in comparison.findings if isinstance(found, Skipped)}
    assert reasons == {"the spaces share 30 occurrences and 40 are needed"}
    assert comparison.reading.endswith("too few to compare.")
