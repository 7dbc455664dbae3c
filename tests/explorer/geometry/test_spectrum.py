"""Dimensions, isotropy, hubs and neighbours of vectors of known shape."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from explorer.geometry import neighbourhoods
from explorer.geometry.finding import Estimate, Finding, Skipped
from explorer.geometry.neighbourhoods import (
    assign_linked,
    draw_graph,
    estimate_dimension,
    estimate_hubness,
    find_twonn,
    measure_agreement,
)
from explorer.geometry.spectrum import (
    estimate_effective_dimension,
    estimate_entropy_dimension,
    estimate_mean_cosine,
    find_centred_ratio,
    find_ratio_about_origin,
    gather_moments,
    measure_spectrum,
)
from tests.explorer.geometry.samples import make_species, unit

VARIANCES = 1 / np.arange(1, 13)
RATIO = VARIANCES.sum() ** 2 / (VARIANCES**2).sum()


def draw(seed: int, n: int, mean: float = 0.0) -> np.ndarray:
    return np.asarray(np.random.default_rng(seed).normal(size=(n, 12)) * np.sqrt(VARIANCES) + mean)


def cover(truth: float, estimate: Callable[[int], Estimate], n: int) -> float:
    intervals = [estimate(seed).find_interval() for seed in range(n)]
    return float(np.mean([low <= truth <= high for low, high in intervals]))


def test_both_traces_of_the_centred_ratio_are_those_of_products_of_different_records() -> None:
    """Chen, Zhang & Zhong's (2010) average over all sets of four different records, written out."""
    rows = np.random.default_rng(0).exponential(size=(7, 3))
    n, products = len(rows), rows @ rows.T
    squared, traces = [], []
    for i in range(n):
        for j in range(n):
            for k in range(n):
                for m in range(n):
                    if len({i, j, k, m}) == 4:
                        step = (products[i, j] - products[i, m] - products[k, j] + products[k, m]) ** 2 / 4
                        squared.append(step)
                        first, second = rows[i] - rows[k], rows[j] - rows[m]
                        traces.append((first @ first / 2) * (second @ second / 2))
    moments = gather_moments(rows, shift=True)
    assert find_centred_ratio(*moments.choose(None)) == pytest.approx(np.mean(traces) / np.mean(squared))


def test_the_ratio_about_the_origin_is_that_of_products_of_pairs() -> None:
    rows = np.random.default_rng(1).normal(size=(20, 4)) + 1
    products, different = (rows @ rows.T) ** 2, ~np.eye(20, dtype=bool)
    squares = (rows**2).sum(axis=1)
    expected = np.outer(squares, squares)[different].sum() / products[different].sum()
    assert find_ratio_about_origin(*gather_moments(rows, shift=False).choose(None)) == pytest.approx(expected)


def test_the_effective_dimension_has_no_bias_where_records_are_few() -> None:
    found = [
        estimate_effective_dimension(gather_moments(draw(i, 40, 5.0), shift=True), centred=True).value
        for i in range(300)
    ]
    assert np.mean(found) == pytest.approx(RATIO, rel=0.03)
    rows = draw(0, 40)
    shares = np.linalg.eigvalsh(np.cov(rows, rowvar=False))
    assert shares.sum() ** 2 / (shares**2).sum() < 0.9 * RATIO


@pytest.mark.parametrize("shift", [True, False])
def test_intervals_of_the_effective_dimension_hold_the_truth(shift: bool) -> None:
    moments = np.diag(VARIANCES) + (0 if shift else 0.25)
    truth = RATIO if shift else np.trace(moments) ** 2 / (moments**2).sum()
    covered = cover(
        truth,
        lambda i: estimate_effective_dimension(gather_moments(draw(i, 150, 0.5), shift=shift), centred=shift),
        150,
    )
    assert 0.88 <= covered <= 1


def test_the_entropy_dimension_has_hardly_any_bias() -> None:
    shares = VARIANCES / VARIANCES.sum()
    truth = np.exp(-(shares * np.log(shares)).sum())
    found = [estimate_entropy_dimension(gather_moments(draw(i, 60, 3.0), shift=True)) for i in range(150)]
    assert np.mean([one.value for one in found]) == pytest.approx(truth, rel=0.02)
    assert np.mean([one.find_interval()[0] <= truth <= one.find_interval()[1] for one in found]) >= 0.88


def test_isotropy_is_the_isoscore() -> None:
    """Algorithm 1 of Rudman et al. (2022), step by step, on as many records as make the bias small."""
    rows = draw(0, 20_000)
    variances = np.linalg.eigvalsh(np.cov(rows, rowvar=False))
    d = len(variances)
    normed = variances / np.linalg.norm(variances) * np.sqrt(d)
    defect = np.linalg.norm(normed - 1) / np.sqrt(2 * (d - np.sqrt(d)))
    used = (d - defect**2 * (d - np.sqrt(d))) ** 2 / d**2
    expected = (d * used - 1) / (d - 1)
    ratio = estimate_effective_dimension(gather_moments(rows, shift=True), centred=True).value
    assert (ratio - 1) / (d - 1) == pytest.approx(expected, rel=0.005)


def test_the_mean_cosine_is_that_of_all_pairs() -> None:
    rows = unit(draw(0, 50, 0.4)).astype(np.float64)
    expected = (rows @ rows.T)[~np.eye(50, dtype=bool)].mean()
    assert estimate_mean_cosine(gather_moments(rows, shift=False)).value == pytest.approx(expected)


def test_hubness_is_the_skewness_of_how_often_records_are_neighbours() -> None:
    from scipy.stats import skew
    from sklearn.neighbors import NearestNeighbors

    rows = unit(np.random.default_rng(0).normal(size=(400, 20)) + 0.5)
    lists = NearestNeighbors(n_neighbors=11).fit(rows).kneighbors(rows, return_distance=False)[:, 1:]
    expected = skew(np.bincount(lists.ravel(), minlength=400))
    assert estimate_hubness(draw_graph(rows)).value == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize("d", [2, 5])
def test_the_intrinsic_dimension_is_that_of_the_sphere_wherever_it_lies(d: int) -> None:
    ball = unit(np.random.default_rng(d).normal(size=(1_500, d + 1)))
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(30, 30)))[0][: d + 1]
    found = estimate_dimension(draw_graph(unit(ball @ turn)))
    assert found.find_interval()[0] < d < found.find_interval()[1]


def test_twonn_is_the_slope_through_the_origin() -> None:
    ratios = np.random.default_rng(0).pareto(7, size=400) + 1
    ordered = np.sort(ratios)[:360]
    heights = -np.log(1 - np.arange(1, 361) / 400)
    slope = np.linalg.lstsq(np.log(ordered)[:, None], heights, rcond=None)[0][0]
    assert find_twonn(ratios) == pytest.approx(slope)
    assert find_twonn(ratios) == pytest.approx(7, rel=0.15)


def test_intervals_of_hubs_and_dimension_hold_what_they_promise(monkeypatch: pytest.MonkeyPatch) -> None:
    graphs = [draw_graph(unit(np.random.default_rng(i).normal(size=(200, 9)))) for i in range(100)]
    for estimate in (estimate_hubness, estimate_dimension):
        found = [estimate(graph) for graph in graphs]
        truth = np.mean([one.value for one in found])
        assert np.mean([one.find_interval()[0] <= truth <= one.find_interval()[1] for one in found]) >= 0.87


def test_linked_records_share_a_block() -> None:
    blocks = assign_linked(np.array([0, 3, 5, 9]), np.array([3, 7, 6, 6]))
    assert blocks[0] == blocks[1]
    assert blocks[2] == blocks[3]
    assert blocks[0] != blocks[2]


def agreement_of(vectors: np.ndarray, lineages: np.ndarray, occurrences: np.ndarray | None = None) -> list[Finding]:
    codes = np.arange(len(vectors)) if occurrences is None else occurrences
    found = measure_agreement(vectors, codes, lineages, n_shuffles=39)
    return [one for one in found if isinstance(one, Finding)]


def test_agreement_is_the_share_of_nearest_neighbours_with_the_same_taxon() -> None:
    vectors, names = make_species(0, n_species=10, n_each=9, spread=0.9)
    species = np.unique(names, return_inverse=True)[1]
    lineages = np.full((len(names), 7), -1)
    lineages[:, 6], lineages[:, 5] = species, species // 3
    scores = vectors @ vectors.T
    np.fill_diagonal(scores, -2)
    nearest = scores.argmax(axis=1)
    genus, found = agreement_of(vectors, lineages)
    assert (genus.column, found.column) == ("genus", "species")
    assert found.value == pytest.approx((species == species[nearest]).mean())
    assert found.chance == pytest.approx(8 / 89)
    assert found.null_low < found.chance < found.null_high
    assert found.p == pytest.approx(1 / 40)
    assert found.n == 90


def test_agreement_passes_over_the_own_occurrence_and_over_neighbours_without_a_name() -> None:
    rng = np.random.default_rng(0)
    vectors, names = make_species(1, n_species=6, n_each=10, spread=0.3)
    species = np.unique(names, return_inverse=True)[1]
    lineages = np.full((len(names), 7), -1)
    lineages[:, 6] = species
    lineages[rng.choice(len(names), 20, replace=False), 6] = -1
    assert agreement_of(vectors, lineages)[0].value == 1
    # Two images of each occurrence, which has no other of its species: nothing agrees by itself.
    doubled = np.repeat(unit(rng.normal(size=(40, 16))), 2, axis=0)
    lineages = np.full((80, 7), -1)
    lineages[:, 6] = np.repeat(rng.permutation(40) % 2, 2)
    found = agreement_of(doubled, lineages, np.repeat(np.arange(40), 2))[0]
    assert found.n == 40
    assert found.value < 0.9


def test_names_that_mean_nothing_are_rejected_as_rarely_as_promised() -> None:
    rng = np.random.default_rng(0)
    p = []
    for _ in range(150):
        lineages = np.full((60, 7), -1)
        lineages[:, 6] = rng.permutation(60) % 4
        p.append(agreement_of(unit(rng.normal(size=(60, 5))), lineages)[0].p)
    assert 0.01 <= np.mean(np.array(p) <= 0.05) <= 0.1


def test_turning_and_reordering_change_nothing_that_is_not_drawn() -> None:
    vectors, names = make_species(3)
    lineages = np.full((len(names), 7), -1)
    lineages[:, 6] = np.unique(names, return_inverse=True)[1]
    turn = np.linalg.qr(np.random.default_rng(9).normal(size=(16, 16)))[0]
    one, other = (
        measure_spectrum(rows, np.arange(len(names)), lineages, n_shuffles=9)
        for rows in (vectors, unit(vectors @ turn))
    )
    for a, b in zip(one, other, strict=True):
        assert a.statistic == b.statistic
        if isinstance(a, Finding) and isinstance(b, Finding):
            assert [a.value, a.low, a.high] == pytest.approx([b.value, b.low, b.high], rel=1e-3)


def test_every_figure_has_a_sentence_or_a_reason() -> None:
    vectors, names = make_species(4)
    lineages = np.full((len(names), 7), -1)
    lineages[:, 6] = np.unique(names, return_inverse=True)[1]
    found = measure_spectrum(vectors, np.arange(len(names)), lineages, n_shuffles=9)
    figures = {(one.statistic, one.column): one for one in found}
    assert len(figures) == len(found) == 6 + 2 * 9
    assert isinstance(figures["agreement", "kingdom"], Skipped)
    for one in found:
        assert (one.reading if isinstance(one, Finding) else one.reason).strip()
    dimension = figures["effective_dimension_centred", ""]
    assert isinstance(dimension, Finding)
    assert 1 < dimension.value < 16
    assert dimension.n == len(names)


@pytest.mark.parametrize(
    ("vectors", "reason"),
    [
        (np.ones((40, 4), dtype=np.float32) / 2, "all vectors are the same"),
        (unit(np.random.default_rng(0).normal(size=(12, 4))), "there are 12 occurrences and 30 are needed"),
    ],
)
def test_vectors_that_allow_nothing_are_skipped_with_a_reason(vectors: np.ndarray, reason: str) -> None:
    found = measure_spectrum(vectors, np.arange(len(vectors)), np.zeros((len(vectors), 7), np.int64))
    assert [one.reason for one in found if isinstance(one, Skipped)] == [reason]


def test_fewer_records_than_twice_the_dimensions_have_no_entropy_dimension() -> None:
    rows = unit(np.random.default_rng(0).normal(size=(50, 40)))
    found = {one.statistic: one for one in measure_spectrum(rows, np.arange(50), np.full((50, 7), -1))}
    skipped = found["entropy_dimension_centred"]
    assert isinstance(skipped, Skipped)
    assert skipped.reason == "there are 50 occurrences, and 40 dimensions need 80"


def test_large_samples_are_drawn_and_what_is_left_out_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbourhoods, "N_GRAPH", 60)
    vectors, names = make_species(5)
    found = measure_spectrum(vectors, np.arange(len(names)), np.full((len(names), 7), -1), n_shuffles=0)
    hubness = next(one for one in found if one.statistic == "hubness")
    assert isinstance(hubness, Finding)
    assert (hubness.n, hubness.left_out) == (60, len(names) - 60)
