from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import f_oneway, rankdata

from explorer.geometry.axes import (
    AxisUnits,
    Level,
    arrange_groups,
    fit_direction,
    gather_units,
    judge_direction,
    limit_units,
    measure_axis,
)
from explorer.geometry.axis_ranking import Scale, find_scale, measure_taxonomy, pick_quantiles, rank_records
from explorer.geometry.finding import Finding, Skipped
from explorer.geometry.two_groups import (
    TwoGroups,
    estimate_area,
    find_area,
    find_effect,
    find_second_order_error,
    hold_out,
    rank_inside,
    weigh_strata,
)
from indexer.errors import QueryError
from tests.explorer.geometry.planted import Planted, plant


def name_taxa(species: np.ndarray, genera: np.ndarray) -> np.ndarray:
    lineages = np.full((len(species), 7), -1, dtype=np.int64)
    lineages[:, 6] = np.where(species >= 0, species + 1000, -1)
    lineages[:, 5] = genera
    return lineages


def gather(planted: Planted, **options: Level) -> AxisUnits:
    n = len(planted.species)
    taxa = name_taxa(planted.species, planted.genera)
    return gather_units(planted.vectors.astype(np.float32), np.arange(n), taxa, planted.states, **options)


def measure(units: AxisUnits, n_shuffles: int = 199) -> Finding:
    found = measure_axis(units, "age", n_shuffles=n_shuffles)
    assert isinstance(found, Finding)
    return found


def test_the_direction_is_the_weighted_mean_of_the_steps_inside_species() -> None:
    planted = plant(1, n_genera=5, step=1.0)
    units = gather(planted)
    total = np.zeros(12)
    for species in np.unique(planted.species):
        here = planted.species == species
        young, old = (planted.vectors[here & (planted.states == state)] for state in (0, 1))
        if len(young) and len(old):
            total += (old.mean(axis=0) - young.mean(axis=0)) / (1 / len(young) + 1 / len(old) + 0.25)
    np.testing.assert_allclose(fit_direction(units), total / np.linalg.norm(total), atol=1e-5)


def test_taxonomy_does_not_leak_into_the_direction_where_species_differ_in_their_share() -> None:
    rng = np.random.default_rng(2)
    species = np.repeat(np.arange(30), 20)
    states = (rng.random(600) < np.where(species % 2, 0.8, 0.2)).astype(np.int64)
    rows = rng.normal(size=(600, 8))
    rows[:, 0] += 8 * (species % 2)
    rows[:, 1] += 2 * states
    units = gather_units(rows.astype(np.float32), np.arange(600), name_taxa(species, species // 3), states)
    direction = fit_direction(units)
    naive = rows[states == 1].mean(axis=0) - rows[states == 0].mean(axis=0)
    assert direction[1] > 0.97
    assert naive[1] / np.linalg.norm(naive) < 0.5


def test_images_of_an_occurrence_count_once() -> None:
    planted = plant(3, n_genera=6, step=1.0)
    n = len(planted.species)
    again = np.concatenate([np.arange(n), np.repeat(np.arange(0, n, 7), 9)])
    taxa = name_taxa(planted.species, planted.genera)[again]
    units = gather_units(planted.vectors[again].astype(np.float32), again, taxa, planted.states[again])
    once, many = measure(gather(planted), n_shuffles=19), measure(units, n_shuffles=19)
    assert many.value == pytest.approx(once.value, abs=1e-6)
    assert (many.low, many.p) == pytest.approx((once.low, once.p), abs=1e-6)


def test_turning_and_scaling_the_vectors_changes_nothing() -> None:
    planted = plant(4, n_genera=6, step=0.8)
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(12, 12)))[0]
    turned = replace(planted, vectors=3 * planted.vectors @ turn + 5)
    one, other = (measure(gather(each), n_shuffles=19) for each in (planted, turned))
    assert other.value == pytest.approx(one.value, abs=1e-3)
    assert other.low == pytest.approx(one.low, abs=5e-3)


def test_the_order_of_records_changes_neither_direction_nor_area() -> None:
    planted = plant(5, n_genera=6, step=1.0)
    order = np.random.default_rng(0).permutation(len(planted.species))
    taxa = name_taxa(planted.species, planted.genera)
    shuffled = gather_units(planted.vectors[order].astype(np.float32), order, taxa[order], planted.states[order])
    np.testing.assert_allclose(fit_direction(shuffled), fit_direction(gather(planted)), atol=1e-5)
    assert measure(shuffled, n_shuffles=0).value == pytest.approx(measure(gather(planted), n_shuffles=0).value)


def make_groups(seed: int, *, n_strata: int = 9, n_folds: int = 4, n: int = 120, d: int = 6) -> TwoGroups:
    rng = np.random.default_rng(seed)
    strata = np.concatenate([np.arange(n_strata), rng.integers(0, n_strata, n - n_strata)])
    values = rng.integers(0, 2, n)
    rows = rng.normal(size=(n, d))
    rows[:, 1] += values
    return TwoGroups(
        rows=rows - rows.mean(axis=0),
        values=values,
        strata=strata,
        folds=strata % n_folds,
        swaps=strata,
        has_whole_strata=True,
    )


def test_places_are_those_of_a_plain_loop_that_leaves_each_fold_out() -> None:
    groups = make_groups(6)
    found = hold_out(groups, n_shuffles=0)
    for fold in range(4):
        direction = np.zeros(6)
        for stratum in np.unique(groups.strata[groups.folds != fold]):
            cells = [groups.rows[(groups.strata == stratum) & (groups.values == value)] for value in (0, 1)]
            if min(map(len, cells)):
                weight = 1 / (1 / len(cells[0]) + 1 / len(cells[1]) + 0.25)
                direction += weight * (cells[1].mean(axis=0) - cells[0].mean(axis=0))
        part = groups.folds == fold
        fitted = groups.rows[~part] @ direction
        expected = (groups.rows[part] @ direction - fitted.mean()) / fitted.std()
        np.testing.assert_allclose(found.scores[part, 0], expected, atol=1e-8)


def test_the_whitened_direction_is_the_linear_discriminant_of_scikit_learn() -> None:
    from sklearn.covariance import ledoit_wolf_shrinkage
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    rng = np.random.default_rng(7)
    values = np.repeat([0, 1], 90)
    rows = rng.normal(size=(180, 5)) @ rng.normal(size=(5, 5))
    rows[:, 0] += 2 * values
    folds = np.arange(180) % 3
    groups = TwoGroups(
        rows=rows, values=values, strata=folds.copy(), folds=folds, swaps=folds.copy(), has_whole_strata=False
    )
    found = hold_out(groups, is_whitened=True, n_shuffles=0)
    assert ledoit_wolf_shrinkage(rows) < 0.05
    for fold in range(3):
        fitted = LinearDiscriminantAnalysis(solver="lsqr").fit(rows[folds != fold], values[folds != fold])
        expected = rows[folds == fold] @ fitted.coef_[0]
        assert np.corrcoef(found.scores[folds == fold, 0], expected)[0, 1] > 0.99


def test_ranks_inside_strata_are_those_of_scipy() -> None:
    rng = np.random.default_rng(8)
    scores, strata = rng.integers(0, 5, 80).astype(float), rng.integers(0, 6, 80)
    expected = np.empty(80)
    for stratum in range(6):
        expected[strata == stratum] = rankdata(scores[strata == stratum])
    np.testing.assert_array_equal(rank_inside(scores, strata), expected)


def test_the_area_is_that_of_scikit_learn_in_one_stratum_and_of_counted_pairs_in_several() -> None:
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(9)
    scores, values, strata = rng.integers(0, 9, 60).astype(float), rng.integers(0, 2, 60), rng.integers(0, 4, 60)
    assert find_area(scores, values, np.zeros(60, np.int64)) == pytest.approx(roc_auc_score(values, scores))
    weights, areas = weigh_strata(values, strata), []
    for stratum in range(4):
        first, second = (scores[(strata == stratum) & (values == value)] for value in (0, 1))
        areas.append(np.mean((second[:, None] > first) + 0.5 * (second[:, None] == first)))
    assert find_area(scores, values, strata) == pytest.approx(np.average(areas, weights=weights))


def test_the_effect_is_cohens_d_in_one_stratum() -> None:
    rng = np.random.default_rng(10)
    first, second = rng.normal(size=30), rng.normal(1, 1, size=30)
    pooled = np.sqrt((first.var(ddof=1) + second.var(ddof=1)) / 2)
    found = find_effect(np.concatenate([first, second]), np.repeat([0, 1], 30), np.zeros(60, np.int64))
    assert found == pytest.approx((second.mean() - first.mean()) / pooled)


def test_a_statistic_without_pairs_has_the_error_of_the_plain_jackknife() -> None:
    numbers = np.random.default_rng(11).normal(size=10)
    whole = numbers.mean()
    without: dict[tuple[int, ...], float] = {(i,): float(np.delete(numbers, i).mean()) for i in range(10)}
    without |= {(i, j): float(np.delete(numbers, [i, j]).mean()) for i in range(10) for j in range(i + 1, 10)}
    error, n_folds = find_second_order_error(float(whole), without)
    assert n_folds == 10
    assert error == pytest.approx(numbers.std(ddof=1) / np.sqrt(10))


def test_a_step_that_all_species_share_is_found_in_species_that_were_held_out() -> None:
    found = measure(gather(plant(12, step=1.5)), n_shuffles=99)
    assert found.p == 0.01
    assert 0.5 < found.low < found.value < found.high < 1
    assert found.n_groups == 59
    assert found.left_out == 8
    assert "Fitted on other species" in found.reading
    assert "an occurrence of the second group above one of the first group in the same species" in found.reading


def test_the_null_rejects_about_as_often_as_it_says() -> None:
    ps = [measure(gather(plant(seed, n_genera=2, stage_share=None)), n_shuffles=19).p for seed in range(40)]
    assert np.mean(np.array(ps) <= 0.05) <= 0.15
    assert 0.3 < np.mean(ps) < 0.7


def test_what_belongs_to_species_is_compared_inside_genera() -> None:
    rng = np.random.default_rng(13)
    species = np.repeat(np.arange(40), 3)
    wet = (np.arange(40) % 4 < 2).astype(np.int64)
    rows = rng.normal(size=(120, 6)) + 3 * rng.normal(size=(10, 6))[species // 12]
    rows[:, 2] += 3 * wet[species]
    units = gather_units(rows.astype(np.float32), np.arange(120), name_taxa(species, species // 4), wet[species])
    found = measure(units, n_shuffles=99)
    assert (units.level, units.owns_species, len(units.values)) == (Level.GENUS, True, 40)
    assert found.p <= 0.05
    assert "a species of the second group above one of the first group in the same genus" in found.reading


def test_groups_that_share_no_taxon_get_no_p() -> None:
    rng = np.random.default_rng(14)
    species = np.repeat(np.arange(12), 4)
    values = (species < 6).astype(np.int64)
    taxa = name_taxa(species, species // 2)
    units = gather_units(rng.normal(size=(48, 5)).astype(np.float32), np.arange(48), taxa, values)
    found = measure(units)
    assert units.level is Level.NONE
    assert np.isnan(found.p)
    assert "kinship alone may set them apart, and no p is given" in found.reading


def test_one_species_is_judged_by_its_other_occurrences_and_says_that_this_is_all() -> None:
    units = gather(plant(15, n_genera=1, n_per_genus=1, n_each=60, step=2.0))
    found = measure(units, n_shuffles=99)
    assert units.level is Level.SPECIES
    assert found.p <= 0.05
    assert (
        "both groups are shown by 1 species alone, so this does not say whether others share the axis" in found.reading
    )


def test_two_species_one_of_each_group_cannot_be_judged() -> None:
    rng = np.random.default_rng(16)
    species = np.repeat([0, 1], 20)
    taxa = name_taxa(species, species)
    units = gather_units(rng.normal(size=(40, 5)).astype(np.float32), np.arange(40), taxa, species)
    found = measure_axis(units, "kind")
    assert isinstance(found, Skipped)
    assert found.reason.startswith("the groups have 1 and 1 species; 3 of either are needed")


def test_both_views_of_a_specimen_are_shuffled_with_each_other_alone() -> None:
    rng = np.random.default_rng(17)
    occurrences = np.repeat(np.arange(40), 2)
    views = np.tile([0, 1], 40)
    taxa = name_taxa(occurrences // 10, occurrences // 20)
    units = gather_units(rng.normal(size=(80, 5)).astype(np.float32), occurrences, taxa, views)
    groups = arrange_groups(units, 0)
    assert groups is not None
    for labels in groups.shuffle(20, rng):
        assert (np.bincount(units.owners, weights=labels) == 1).all()


def test_perfect_order_has_an_interval_that_ends_below_1() -> None:
    species = np.repeat(np.arange(8), 4)
    states = np.tile([0, 0, 1, 1], 8)
    rows = np.column_stack([states * 10.0, np.random.default_rng(18).normal(size=32)])
    units = gather_units(rows.astype(np.float32), np.arange(32), name_taxa(species, species), states)
    found = measure(units, n_shuffles=19)
    assert (found.value, found.high) == (1, 1)
    assert found.low == pytest.approx(0.025 ** (1 / 8))


def test_vectors_that_are_all_the_same_give_no_direction() -> None:
    states = np.tile([0, 1], 10)
    species = np.repeat(np.arange(5), 4)
    units = gather_units(np.ones((20, 4), np.float32), np.arange(20), name_taxa(species, species), states)
    with pytest.raises(QueryError, match="same mean vector"):
        fit_direction(units)
    assert measure(units, n_shuffles=19).value == 0.5


def test_a_group_without_records_and_a_level_that_none_shows_are_refused() -> None:
    planted = plant(19, n_genera=3)
    vectors, taxa = planted.vectors.astype(np.float32), name_taxa(planted.species, planted.genera)
    places = np.arange(len(vectors))
    with pytest.raises(QueryError, match="no record is in the group 'to'"):
        gather_units(vectors, places, taxa, np.zeros(len(vectors), np.int64))
    with pytest.raises(QueryError, match="no family has records of both groups"):
        gather_units(vectors, places, taxa, planted.states, level=Level.FAMILY)


def test_records_without_a_species_are_left_out_and_counted() -> None:
    planted = plant(20, step=1.0)
    species = np.where(planted.species == 0, -1, planted.species)
    n = len(species)
    taxa = name_taxa(species, planted.genera)
    units = gather_units(planted.vectors.astype(np.float32), np.arange(n), taxa, planted.states)
    assert units.left_out >= (species < 0).sum()
    assert units.n_records + units.left_out == n


def test_a_direction_of_other_origin_is_judged_on_the_groups() -> None:
    planted = plant(21, step=1.5)
    units = gather(planted)
    found = judge_direction(units, fit_direction(gather(plant(21, step=1.5))), "age", n_shuffles=99)
    backwards = judge_direction(units, -fit_direction(units), "age", n_shuffles=99)
    assert isinstance(found, Finding)
    assert isinstance(backwards, Finding)
    assert found.p == 0.01
    assert backwards.value == pytest.approx(1 - found.value)
    assert backwards.p == 1


def test_of_very_many_units_whole_occurrences_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("explorer.geometry.axes.MAX_UNITS", 200)
    units = gather(plant(22, step=1.0))
    kept = limit_units(units, 0)
    assert 150 < len(kept.values) <= 200
    assert kept.n_records + kept.left_out == units.n_records + units.left_out
    groups = arrange_groups(kept, 0)
    assert groups is not None
    assert 0 <= estimate_area(groups, hold_out(groups, n_shuffles=0)).value <= 1


def test_residuals_have_no_species_mean_and_count_an_occurrence_once() -> None:
    along = np.array([1.0, 3.0, 3.0, 10.0, 20.0, 7.0])
    occurrences, species = np.array([0, 1, 1, 2, 3, 4]), np.array([5, 5, 5, 9, 9, -1])
    found = rank_records(along, Scale(origin=0, spread=2), occurrences, species)
    np.testing.assert_allclose(found.positions, along / 2)
    np.testing.assert_allclose(found.residuals, [-0.5, 0.5, 0.5, -2.5, 2.5, np.nan])
    np.testing.assert_allclose(found.percentiles[[0, 4]], [100 / 12, 1100 / 12])
    scale = find_scale(along)
    assert (scale.origin, scale.spread) == pytest.approx((along.mean(), along.std()))
    assert find_scale(np.ones(4)).spread == 1


def test_quantiles_show_different_occurrences() -> None:
    positions = np.append(np.arange(20.0), np.nan)
    picked = pick_quantiles(positions, np.append(np.arange(20) // 2, 99), n_places=3, n_each=2)
    assert [percentile for percentile, _ in picked] == [0, 50, 100]
    assert picked[0][1].tolist() == [0, 2]
    shown = np.concatenate([places for _, places in picked])
    assert len(set(shown // 2)) == 6
    assert 20 not in shown


def test_the_share_between_species_is_that_of_the_balanced_analysis_of_variance() -> None:
    rng = np.random.default_rng(23)
    species = np.repeat(np.arange(12), 5)
    positions = rng.normal(size=12)[species] + rng.normal(size=60)
    ratio = f_oneway(*(positions[species == one] for one in range(12))).statistic
    found = measure_taxonomy(positions, np.arange(60), species, "age")
    assert isinstance(found, Finding)
    assert found.value == pytest.approx((ratio - 1) / (ratio - 1 + 5))
    assert 0 <= found.low < found.value < found.high <= 1


def test_the_share_between_species_needs_two_species_and_a_repeat() -> None:
    found = measure_taxonomy(np.arange(4.0), np.arange(4), np.arange(4), "age")
    assert isinstance(found, Skipped)
    assert "4 occurrences of 4 named species" in found.reason
