from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import chi2_contingency
from sklearn.covariance import ledoit_wolf_shrinkage

from explorer.geometry.contrast import Sets, compare_sets, gather_sets
from explorer.geometry.finding import Finding, Skipped
from explorer.geometry.matching import Kin, match_pairs
from explorer.geometry.separation import (
    Separation,
    adjust_separations,
    bound_association,
    estimate_delta,
    find_association,
    separate_by_scores,
    separate_by_values,
)
from explorer.geometry.two_groups import TwoGroups, hold_out
from indexer.errors import QueryError

NAMELESS = np.full((400, 7), -1, dtype=np.int64)


def draw(seed: int, n: tuple[int, int] = (40, 60), step: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    values = np.repeat([0, 1], n)
    rows = rng.normal(size=(len(values), 8)) * np.linspace(0.3, 2, 8)
    rows[:, 0] += step * values
    return rows.astype(np.float32), values


def gather(values: np.ndarray, occurrences: np.ndarray | None = None) -> Sets:
    places = np.arange(len(values)) if occurrences is None else occurrences
    return gather_sets(np.zeros((len(values), 1), np.float32), places, values)


def compare(rows: np.ndarray, values: np.ndarray, n_shuffles: int) -> list[Finding]:
    found = compare_sets(rows, np.arange(len(rows)), NAMELESS[: len(rows)], values, n_shuffles=n_shuffles)
    assert all(isinstance(one, Finding) for one in found)
    return [one for one in found if isinstance(one, Finding)]


def separation(found: Separation | Skipped) -> Separation:
    assert isinstance(found, Separation)
    return found


def test_sets_that_differ_in_a_small_direction_are_told_apart_along_the_discriminant() -> None:
    rows, values = draw(1, step=0.6)
    area, effect = compare(rows, values, n_shuffles=99)
    assert area.p == 0.01
    assert 0.75 < area.low < area.value < 1
    # The means are 0.6 apart where the spread is 0.3.
    assert effect.value == pytest.approx(2, abs=0.6)
    assert "it says that the sets differ, not why" in area.reading


def test_fewer_units_than_dimensions_are_solved_in_their_span_as_in_the_whole_space() -> None:
    rows, values = draw(2, n=(15, 15), step=1)
    wide = np.hstack([rows, np.zeros((30, 30), np.float32)])
    folds = np.arange(30) % 3
    groups = TwoGroups(
        rows=wide.astype(float), values=values, strata=folds, folds=folds, swaps=folds, has_whole_strata=False
    )
    found = hold_out(groups, is_whitened=True, n_shuffles=0).scores[:, 0]
    shrinkage = ledoit_wolf_shrinkage(wide.astype(float))
    for fold in range(3):
        kept = folds != fold
        covariance = np.cov(wide[kept].T, bias=True)
        covariance = (1 - shrinkage) * covariance + shrinkage * np.trace(covariance) / 38 * np.eye(38)
        steps = [
            wide[(folds == other) & (values == 1)].mean(axis=0) - wide[(folds == other) & (values == 0)].mean(axis=0)
            for other in range(3)
            if other != fold
        ]
        along = wide @ np.linalg.solve(covariance, np.mean(steps, axis=0))
        expected = (along - along[kept].mean()) / along[kept].std()
        np.testing.assert_allclose(found[~kept], expected[~kept], atol=1e-4)


def test_sets_of_one_kind_are_not_told_apart() -> None:
    ps = [compare(*draw(seed), n_shuffles=19)[0].p for seed in range(12)]
    assert 0.2 < np.mean(ps) < 0.8


def test_inside_species_the_difference_between_species_is_gone() -> None:
    rng = np.random.default_rng(3)
    species = np.repeat(np.arange(10), 20)
    values = (rng.random(200) < np.where(species < 5, 0.2, 0.8)).astype(np.int64)
    rows = (rng.normal(size=(200, 6)) + 4 * (species < 5)[:, None]).astype(np.float32)
    taxa = NAMELESS[:200].copy()
    taxa[:, 6] = species
    plain = compare_sets(rows, np.arange(200), taxa, values, n_shuffles=19)[0]
    inside = compare_sets(rows, np.arange(200), taxa, values, inside_species=True, n_shuffles=19)[0]
    assert isinstance(plain, Finding)
    assert isinstance(inside, Finding)
    assert plain.value > 0.7
    assert abs(inside.value - 0.5) < 0.15
    assert (inside.statistic, inside.n_groups) == ("contrast_auc_inside_species", 10)


def test_without_a_species_in_both_sets_nothing_is_compared_inside() -> None:
    rows, values = draw(4)
    for found in compare_sets(rows, np.arange(100), NAMELESS[:100], values, inside_species=True):
        assert isinstance(found, Skipped)
        assert found.reason == "no species is in both sets"


def test_too_few_occurrences_are_skipped_and_an_empty_set_is_refused() -> None:
    rows, values = draw(5, n=(2, 9))
    assert all(isinstance(one, Skipped) for one in compare_sets(rows, np.arange(11), NAMELESS[:11], values))
    with pytest.raises(QueryError, match="no record is in the second set"):
        gather(np.zeros(4, np.int64))


def test_cliffs_delta_and_its_error_are_those_of_counted_pairs() -> None:
    rng = np.random.default_rng(6)
    first, second = rng.integers(0, 6, 25).astype(float), rng.integers(1, 8, 30).astype(float)
    wins = np.sign(second[:, None] - first)
    value, error = estimate_delta(first, second)
    assert value == pytest.approx(wins.mean())
    rows, columns = (1 + wins.mean(axis=1)) / 2, (1 + wins.mean(axis=0)) / 2
    assert error == pytest.approx(2 * np.sqrt(rows.var(ddof=1) / 30 + columns.var(ddof=1) / 25))


def test_the_p_of_delta_is_near_that_of_mann_and_whitney() -> None:
    from scipy.stats import mannwhitneyu

    rng = np.random.default_rng(7)
    values = np.repeat([0, 1], 40)
    scores = rng.normal(size=(80, 2)) + np.array([0.45, 0]) * values[:, None]
    found = {one.name: one for one in map(separation, separate_by_scores(gather(values), scores, ["a", "b"], "number"))}
    for name, column in zip("ab", scores.T, strict=True):
        expected = mannwhitneyu(column[values == 1], column[values == 0]).pvalue
        assert found[name].p == pytest.approx(expected, abs=0.03)
    assert "larger value" in found["a"].reading


def test_an_occurrence_with_many_images_counts_once() -> None:
    rng = np.random.default_rng(8)
    occurrences = np.concatenate([np.arange(40), np.repeat([0, 25], 30)])
    values = np.repeat([0, 1], 20)[occurrences]
    scores = rng.normal(size=40)[occurrences][:, None]
    once = separate_by_scores(gather(values[:40]), scores[:40], ["x"], "number")
    many = separate_by_scores(gather(values, occurrences), scores, ["x"], "number")
    assert separation(many[0]).value == pytest.approx(separation(once[0]).value)
    assert separation(many[0]).n == (20, 20)


def test_two_views_of_every_specimen_are_shuffled_in_pairs() -> None:
    rng = np.random.default_rng(9)
    occurrences, values = np.repeat(np.arange(30), 2), np.tile([0, 1], 30)
    specimen = 10 * rng.normal(size=30)[occurrences]
    found = separate_by_scores(gather(values, occurrences), (specimen + values)[:, None], ["x"], "number")
    # The step is small beside the specimens, but all thirty pairs have it.
    assert separation(found[0]).p == 0.001


def test_v_without_bias_is_bergsmas_of_scipys_chi_squared() -> None:
    table = np.array([[12.0, 30, 7], [25, 14, 9]])
    n, (r, k) = table.sum(), table.shape
    phi = chi2_contingency(table, correction=False).statistic / n
    least = min(r - (r - 1) ** 2 / (n - 1), k - (k - 1) ** 2 / (n - 1)) - 1
    assert find_association(table[None])[0] == pytest.approx((phi - (r - 1) * (k - 1) / (n - 1)) / least)
    assert find_association(np.array([[[5.0, 0], [0, 5]]]))[0] == pytest.approx(1)
    assert np.isnan(find_association(np.array([[[5.0], [5]]]))[0])


def test_the_interval_of_v_holds_the_truth_about_as_often_as_it_says() -> None:
    shares = np.array([[0.5, 0.3, 0.2], [0.3, 0.3, 0.4]])
    expected = shares.mean(axis=0)
    truth = np.sqrt(((shares - expected) ** 2 / expected).sum() / 2)
    rng = np.random.default_rng(11)
    ends = [bound_association(np.stack([rng.multinomial(80, row) for row in shares]).astype(float)) for _ in range(120)]
    assert 0.9 <= np.mean([low <= truth <= high for low, high in ends]) <= 0.99
    low, high = bound_association(np.array([[25.0, 25], [25, 25]]))
    assert low == 0
    assert 0.1 < high < 0.3


def test_a_column_of_words_that_separates_says_which_word_does() -> None:
    values = np.repeat([0, 1], 50)
    words = ["wood" if i < 40 or i > 95 else "meadow" for i in range(100)]
    words[3:5] = [None, None]  # type: ignore[list-item]
    found = separation(separate_by_values(gather(values), words, "habitat"))
    assert found.p == 0.001
    assert found.low < found.value < found.high
    assert found.n == (48, 50)
    assert "habitat: 21 % of the first set and 92 % of the second have 'meadow'" in found.reading


def test_columns_that_cannot_separate_are_skipped_with_their_reason() -> None:
    values = np.repeat([0, 1], 20)
    constant, ids = separate_by_values(gather(values), ["a"] * 40, "x"), [str(i) for i in range(40)]
    unique = separate_by_values(gather(values), ids, "x")
    rare = separate_by_values(gather(values), [*(["a", "b"] * 10), *([None] * 20)], "x")
    assert isinstance(constant, Skipped)
    assert isinstance(unique, Skipped)
    assert isinstance(rare, Skipped)
    assert constant.reason == "all 40 occurrences have the same value"
    assert "have 40 different values" in unique.reason
    assert rare.reason == "20 and 0 occurrences have this category; 5 of either set are needed"


def test_rare_values_are_put_together() -> None:
    values = np.repeat([0, 1], 300)
    words = [f"w{i % 60:02}" for i in range(600)]
    found = separation(separate_by_values(gather(values), words, "x", n_shuffles=19))
    assert found.value == pytest.approx(0, abs=0.1)


def test_q_is_that_of_statsmodels() -> None:
    from statsmodels.stats.multitest import multipletests

    values = np.repeat([0, 1], 20)
    one = separation(separate_by_scores(gather(values), np.arange(40.0)[:, None], ["x"], "number", n_shuffles=19)[0])
    ps = [0.01, 0.04, 0.03, 0.5]
    found = adjust_separations([replace(one, name=str(p), p=p) for p in ps])
    expected = dict(zip(map(str, ps), multipletests(ps, method="fdr_bh")[1], strict=True))
    assert {each.name: each.q for each in map(separation, found)} == pytest.approx(expected)
    assert next(each.name for each in map(separation, found)) == "0.01"


def test_matched_pairs_are_each_others_nearest() -> None:
    rng = np.random.default_rng(10)
    vectors = rng.normal(size=(50, 6)).astype(np.float32)
    values = np.repeat([0, 1], 25)
    pairs = match_pairs(gather(values), vectors, np.arange(50), np.zeros(50, np.int64))
    rows = vectors - (vectors[:25].mean(axis=0) + vectors[25:].mean(axis=0)) / 2
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    scores = rows[:25] @ rows[25:].T
    expected = {
        (i, 25 + j) for i in range(25) for j in range(25) if scores[i, j] == scores[i].max() == scores[:, j].max()
    }
    assert {(pair.first, pair.second) for pair in pairs} == expected
    assert [pair.score for pair in pairs] == sorted((pair.score for pair in pairs), reverse=True)
    assert pairs[0].score == pytest.approx(scores.max(), abs=1e-5)
    assert pairs[0].percentile > 99


def test_kin_and_occurrence_decide_who_may_be_matched() -> None:
    # A mimic (species 1) beside its model (species 0), and another image of the model's own specimen.
    vectors = np.array([[1, 0], [0, 1], [1, 0.01], [1, 0.2], [-1, 0], [1, 0]], np.float32)
    values, species = np.array([0, 0, 1, 1, 1, 1]), np.array([0, 0, 1, 0, 0, 0])
    occurrences = np.array([0, 1, 2, 3, 4, 0])
    sets = gather_sets(vectors, occurrences, values)

    def match(kin: Kin) -> set[tuple[int, int]]:
        return {(pair.first, pair.second) for pair in match_pairs(sets, vectors, occurrences, species, kin=kin)}

    assert (0, 2) in match(Kin.ANY)
    assert match(Kin.OTHER_SPECIES) == {(0, 2)}
    assert (0, 3) in match(Kin.SAME_SPECIES)
    assert match_pairs(sets, vectors, np.zeros(6, np.int64), species) == ()
