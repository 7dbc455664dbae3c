"""Traits between species: what is planted is found, what is only phylogeny is not."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace

import numpy as np
import pytest

from explorer.geometry.between import BetweenSpecies, measure_between
from explorer.geometry.finding import Finding, Skipped
from explorer.geometry.many_tests import adjust_p
from explorer.geometry.partitioning import measure_partition, partition_variance
from explorer.geometry.phylogeny import SpeciesDistances, measure_taxonomy
from explorer.geometry.species_means import SpeciesMeans, average_species, draw_species, reduce_dimensions
from explorer.geometry.trait_distances import measure_distances, measure_kinship
from explorer.geometry.trait_neighbours import measure_neighbours
from explorer.geometry.trait_probes import (
    PENALTIES,
    _balance_accuracy,
    classify_apart,
    probe_trait,
    read_apart,
)
from explorer.geometry.trait_sample import TraitSample, find_independent, sample_trait
from explorer.geometry.traits import Trait, make_trait


@dataclass(frozen=True, kw_only=True)
class Planted:
    vectors: np.ndarray
    occurrences: np.ndarray
    lineages: np.ndarray
    value: np.ndarray

    def average(self) -> SpeciesMeans:
        return average_species(self.vectors, self.occurrences, self.lineages)

    def cut(self, *shares: float) -> Trait:
        cuts = np.quantile(self.value, np.cumsum(shares))
        return make_trait("diet", ["abcdef"[place] for place in np.digitize(self.value, cuts)])


def plant(
    seed: int, *, n_genera: int = 24, n_each: int = 2, ecology: float = 0.0, genus_ecology: float = 0.0, d: int = 8
) -> Planted:
    """Species of which value and vectors have equal parts from family, genus and species; four species to a genus."""
    rng = np.random.default_rng(seed)
    genus = np.repeat(np.arange(n_genera), 4)
    family = genus // 2
    n = len(genus)
    value = rng.normal(size=n_genera)[family] + rng.normal(size=n_genera)[genus] + rng.normal(size=n)
    rows = rng.normal(size=(n_genera, d))[family] + rng.normal(size=(n_genera, d))[genus] + rng.normal(size=(n, d))
    rows[:, 0] += ecology * value
    rows[:, 1] += genus_ecology * (np.bincount(genus, weights=value) / 4)[genus]
    species = np.repeat(np.arange(n), n_each)
    vectors = rows[species] + 0.5 * rng.normal(size=(len(species), d))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    lineages = np.zeros((n, 7), dtype=np.int64)
    lineages[:, 3], lineages[:, 4], lineages[:, 5] = 100 + family // 3, 200 + family, 300 + genus
    lineages[:, 6] = 1000 + np.arange(n)
    return Planted(vectors=vectors, occurrences=np.arange(len(species)), lineages=lineages[species], value=value)


def sample(planted: Planted, trait: Trait | None = None, n_shuffles: int = 19) -> TraitSample:
    found = sample_trait(planted.average(), trait or make_trait("beak", planted.value.tolist()), n_shuffles=n_shuffles)
    assert isinstance(found, TraitSample)
    return found


def name_all(found: BetweenSpecies) -> dict[str, Finding]:
    return {one.statistic: one for one in found.findings}


def test_an_ecology_that_moves_the_vectors_is_found_by_every_statistic() -> None:
    planted = plant(0, ecology=2.0)
    for trait, n in ((make_trait("beak", planted.value.tolist()), 12), (planted.cut(0.4, 0.3), 11)):
        found = measure_between(planted.average(), trait, n_shuffles=99)
        assert not found.skipped
        assert len(found.findings) == n
        for one in found.findings:
            assert one.p == pytest.approx(0.01), one
            assert one.low < one.value < one.high
            assert one.n == 192
            assert one.n_groups == (24 if one.statistic == "species_rho" else 12)
        assert found.partition is not None
        parts = found.partition
        assert parts.trait + parts.shared + parts.taxonomy + parts.rest == pytest.approx(1)
        assert name_all(found)["variance_trait"].value == parts.trait


def test_a_trait_that_only_follows_the_phylogeny_gives_even_p() -> None:
    p: dict[str, list[float]] = {}
    for seed in range(30):
        planted = plant(seed, genus_ecology=2.0, n_genera=16, n_each=1)
        found = measure_between(planted.average(), planted.cut(0.5), n_shuffles=19, seed=seed)
        for one in found.findings:
            p.setdefault(one.statistic, []).append(one.p)
    assert len(p) == 11
    for statistic, values in p.items():
        assert np.mean(np.array(values) <= 0.05) <= 0.2, statistic
        assert 0.3 < np.mean(values) < 0.75, statistic


def test_turning_stretching_and_the_order_of_records_change_nothing() -> None:
    planted = plant(1, ecology=1.0)
    rng = np.random.default_rng(0)
    turn = np.linalg.qr(rng.normal(size=(8, 8)))[0]
    order = rng.permutation(len(planted.vectors))
    turned = Planted(
        vectors=3 * planted.vectors[order] @ turn + 5,
        occurrences=planted.occurrences[order],
        lineages=planted.lineages[order],
        value=planted.value,
    )
    for trait in (planted.cut(0.3, 0.3), make_trait("beak", np.exp(planted.value).tolist())):
        one, other = (name_all(measure_between(some.average(), trait, n_shuffles=19)) for some in (planted, turned))
        assert one.keys() == other.keys()
        for name in one:
            for part in ("value", "low", "high", "p", "null_low"):
                assert getattr(other[name], part) == pytest.approx(getattr(one[name], part), abs=1e-6), name


def test_an_occurrence_with_many_images_moves_its_species_no_more_than_another() -> None:
    planted = plant(2)
    many = np.r_[np.arange(len(planted.vectors)), np.zeros(50, np.int64)]
    more = Planted(
        vectors=planted.vectors[many],
        occurrences=planted.occurrences[many],
        lineages=planted.lineages[many],
        value=planted.value,
    )
    np.testing.assert_allclose(more.average().directions, planted.average().directions, atol=1e-12)
    assert more.average().counts[0] == 52


def test_one_image_per_species_is_enough() -> None:
    planted = plant(3, n_each=1, ecology=2.0)
    found = measure_between(planted.average(), make_trait("beak", planted.value.tolist()), n_shuffles=19)
    assert not found.skipped
    assert all(one.p == pytest.approx(0.05) for one in found.findings)


def test_neighbours_are_those_of_a_slow_reference() -> None:
    planted = plant(4, ecology=1.0)
    for trait in (planted.cut(0.6, 0.3), make_trait("beak", planted.value.tolist())):
        some = sample(planted, trait)
        for apart, groups in ((None, np.arange(96)), ("genus", some.genera), ("family", some.families)):
            scores, expected = [], []
            for i in range(96):
                others = np.flatnonzero(groups != groups[i])
                nearest = others[np.argsort(-(some.rows[others] @ some.rows[i]))[:10]]
                if some.n_values:
                    scores.append(np.mean(some.values[nearest] == some.values[i]))
                    expected.append(np.mean(some.values[others] == some.values[i]))
                else:
                    scores.append(np.abs(some.values[nearest] - some.values[i]).mean())
                    expected.append(np.abs(some.values[others] - some.values[i]).mean())
            found = measure_neighbours(some, apart)
            assert isinstance(found, Finding)
            if some.n_values:
                by_value = [np.mean(np.array(scores)[some.values == v]) for v in range(some.n_values)]
                chances = [np.mean(np.array(expected)[some.values == v]) for v in range(some.n_values)]
                assert found.value == pytest.approx(np.mean(by_value))
                assert found.chance == pytest.approx(np.mean(chances))
            else:
                assert found.value == pytest.approx(np.sum(scores) / np.sum(expected))


def test_the_probe_is_scikit_learns_ridge_with_the_penalty_of_the_least_gcv() -> None:
    from sklearn.linear_model import Ridge

    rng = np.random.default_rng(5)
    rows, folds = rng.normal(size=(60, 5)), np.arange(60) % 4
    wanted = rows[:, 0] + rng.normal(size=60)
    found = read_apart(rows, np.column_stack([wanted, rng.normal(size=60)]), folds)[:, 0]
    scaled = rows - rows.mean(axis=0)
    scaled /= np.sqrt((scaled**2).mean())
    for fold in range(4):
        train, losses, fits = folds != fold, [], []
        centred = scaled[train] - scaled[train].mean(axis=0)
        for penalty in PENALTIES:
            fit = Ridge(alpha=penalty * 45).fit(scaled[train], wanted[train])
            hat = centred @ np.linalg.solve(centred.T @ centred + penalty * 45 * np.eye(5), centred.T) + 1 / 45
            losses.append(((wanted[train] - fit.predict(scaled[train])) ** 2).sum() / (45 - np.trace(hat)) ** 2)
            fits.append(fit)
        best = fits[int(np.argmin(losses))]
        np.testing.assert_allclose(found[~train], scaled[~train] @ best.coef_, atol=1e-9)


def test_categories_are_read_by_the_nearest_mean_in_the_shrunk_metric(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("explorer.geometry.trait_probes.PENALTIES", (0.1,))
    rng = np.random.default_rng(5)
    codes, folds = rng.choice(3, 60, p=[0.6, 0.3, 0.1]), np.arange(60) % 4
    rows = rng.normal(size=(60, 5)) + 2 * np.eye(5)[codes]
    read = classify_apart(rows, np.column_stack([codes, rng.permutation(codes)]), folds, 3)[:, 0]
    scaled = (rows - rows.mean(axis=0)) / np.sqrt(((rows - rows.mean(axis=0)) ** 2).mean())
    for fold in range(4):
        train = folds != fold
        inverse = np.linalg.inv(np.cov(scaled[train], rowvar=False, bias=True) + 0.1 * np.eye(5))
        steps = scaled[~train][:, None] - np.array(
            [scaled[train & (codes == value)].mean(axis=0) for value in range(3)]
        )
        nearest = np.einsum("mcd,de,mce->mc", steps, inverse, steps).argmin(axis=1)
        np.testing.assert_array_equal(read[~train], nearest)


def test_balanced_accuracy_is_that_of_scikit_learn() -> None:
    from sklearn.metrics import balanced_accuracy_score

    rng = np.random.default_rng(0)
    truths, read, folds = rng.integers(0, 3, (40, 2)), rng.integers(0, 3, (40, 2)), np.arange(40) % 4
    found = _balance_accuracy(read, truths, folds, 3)
    expected = [balanced_accuracy_score(truths[:, place], read[:, place]) for place in (0, 1)]
    np.testing.assert_allclose(found, expected)


def test_unbalanced_values_have_the_same_chance() -> None:
    values = []
    for seed in range(12):
        planted = plant(seed)
        rng = np.random.default_rng(seed)
        random = make_trait("diet", rng.choice(["a", "b"], 96, p=[0.85, 0.15]).tolist())
        found = probe_trait(sample(planted, random), "genus")
        assert isinstance(found, Finding)
        values.append(found.value)
    assert np.mean(values) == pytest.approx(0.5, abs=0.06)


def test_a_value_of_one_family_cannot_be_learnt_from_others_and_does_not_count() -> None:
    planted = plant(6, ecology=2.0)
    means = planted.average()
    texts = np.where(planted.value > 0, "a", "b").astype(object)
    texts[means.lineages[:, 4] == 200] = "only here"
    found = probe_trait(sample(planted, make_trait("diet", texts.tolist())), "family")
    assert isinstance(found, Finding)
    assert found.chance == 0.5
    assert found.value > 0.65
    assert found.left_out == 16
    assert "values of fewer than 3 families left out" in found.reading


def test_distances_of_shuffled_traits_are_those_of_the_plain_formulas() -> None:
    planted = plant(7, ecology=1.0)
    some = sample(planted, n_shuffles=3)
    found = {one.statistic: one for one in measure_distances(some) if isinstance(one, Finding)}
    shuffled = replace(some, values=some.values[some.shuffles[1]], shuffles=some.shuffles[:0])
    again = {one.statistic: one for one in measure_distances(shuffled) if isinstance(one, Finding)}
    middle = replace(some, shuffles=some.shuffles[1:2])
    alone = {one.statistic: one for one in measure_distances(middle) if isinstance(one, Finding)}
    for statistic in found:
        assert alone[statistic].null_low == pytest.approx(again[statistic].value, abs=1e-9)
        assert math.isnan(again[statistic].p)


def test_a_given_tree_replaces_the_taxonomy_and_species_without_are_left_out() -> None:
    planted = plant(8, ecology=1.0)
    means = planted.average()
    distances = measure_taxonomy(means.lineages).distances ** 2
    distances[:8], distances[:, :8] = np.nan, np.nan
    tree = SpeciesDistances(distances=distances, source="distance in birds.nwk", reading="")
    trait = make_trait("beak", planted.value.tolist())
    found = name_all(measure_between(means, trait, kinship=tree, n_shuffles=19))
    assert found["partial_mantel"].left_out == 16
    assert "given distance in birds.nwk" in found["partial_mantel"].reading
    assert found["knn_gap"].left_out == 0


def test_vectors_that_follow_the_taxonomy_say_so() -> None:
    planted = plant(9)
    findings = measure_kinship(planted.average(), n_shuffles=99)
    for found in findings:
        assert isinstance(found, Finding)
        assert found.p == pytest.approx(0.01)
        assert found.low < found.value < found.high
        assert found.column == ""


def test_the_partition_is_that_of_ordinary_least_squares() -> None:
    planted = plant(10, ecology=1.0)
    some = sample(planted, planted.cut(0.3, 0.4))
    trait = (some.values[:, None] == [1, 2]).astype(float)
    genus = (some.genera[:, None] == np.unique(some.genera)[1:]).astype(float)
    response = some.rows[:, 0]

    def fit(*predictors: np.ndarray) -> float:
        x = np.column_stack([np.ones(96), *predictors])
        left = ((response - x @ np.linalg.lstsq(x, response, rcond=None)[0]) ** 2).sum() / (96 - x.shape[1])
        return float(1 - left / response.var(ddof=1))

    both, by_trait, by_genus = fit(trait, genus), fit(trait), fit(genus)
    expected = [both - by_genus, by_trait + by_genus - both, both - by_trait, 1 - both]
    np.testing.assert_allclose(partition_variance(response[:, None], trait, some.genera), expected, atol=1e-9)


def test_the_share_of_the_trait_alone_is_the_planted_one() -> None:
    # A trait that is independent of the genus and explains 0.2 of the variance.
    rng = np.random.default_rng(11)
    genus = np.repeat(np.arange(300), 4)
    trait = rng.normal(size=1200)
    rows = (
        math.sqrt(0.2) * trait + math.sqrt(0.3) * rng.normal(size=300)[genus] + math.sqrt(0.5) * rng.normal(size=1200)
    )
    shares = partition_variance(rows[:, None], trait[:, None], genus)
    np.testing.assert_allclose(shares, [0.2, 0, 0.3, 0.5], atol=0.05)


def test_the_shuffled_shares_are_those_of_fresh_fits() -> None:
    planted = plant(12, ecology=1.0)
    some = sample(planted, planted.cut(0.5), n_shuffles=2)
    found = measure_partition(some)
    assert not isinstance(found, Skipped)
    shares = [partition_variance(some.rows, some.values[places][:, None], some.genera)[0] for places in some.shuffles]
    assert found[1].null_low == pytest.approx(min(shares) + 0.025 * (max(shares) - min(shares)))


def test_values_move_inside_families_where_genera_have_one_species_and_the_reading_says_so() -> None:
    planted = plant(13, ecology=2.0)
    planted.lineages[:, 5] = 300 + planted.lineages[:, 6]
    some = sample(planted)
    assert some.exchange_rank == "family"
    assert (some.families[some.shuffles] == some.families).all()
    found = measure_between(planted.average(), make_trait("beak", planted.value.tolist()), n_shuffles=19)
    assert all("inside each family, where 96 species have" in one.reading for one in found.findings)
    assert [one.statistic for one in found.skipped] == ["species_rho"]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (["a"] * 96, "the same value"),
        (["a", "b"] * 4 + [None] * 88, "no species have a value that 5 species share"),
        ([None] * 96, "no species have a value"),
        ([f"{genus}" for genus in range(12) for _ in range(8)], "hardly ever differ"),
    ],
)
def test_too_little_is_not_measured_and_says_why(values: list[str | None], reason: str) -> None:
    found = measure_between(plant(14).average(), make_trait("diet", values))
    assert not found.findings
    assert {one.statistic for one in found.skipped} >= {"partial_mantel", "variance_trait"}
    assert all(re.search(reason, one.reason) for one in found.skipped)


def test_vectors_that_are_all_the_same_are_not_measured() -> None:
    planted = plant(15)
    same = np.tile(planted.vectors[:1], (len(planted.vectors), 1)).astype(np.float32)
    means = average_species(same, planted.occurrences, planted.lineages)
    found = measure_between(means, make_trait("beak", planted.value.tolist()))
    assert "the same" in found.skipped[0].reason
    assert all(isinstance(one, Skipped) for one in measure_kinship(means))


def test_rare_values_and_unknown_species_are_left_out_and_counted() -> None:
    planted = plant(16)
    planted.lineages[:4, 6] = -1
    texts = planted.cut(0.5)
    values: list[str | float | None] = [texts.names[code] for code in texts.codes[2:]]
    values[:3] = ["rare"] * 3
    values[3] = None
    found = measure_between(planted.average(), make_trait("diet", values), n_shuffles=0)
    (one, *_) = found.findings
    assert one.left_out == 4 + 2 * 4
    assert "values of fewer than 5 species left out: rare" in one.reading


def test_intervals_generalise_over_families_else_over_genera_else_over_species() -> None:
    lineages = plant(20).average().lineages
    assert len(np.unique(find_independent(lineages))) == 12
    lineages[:4, 4] = -1  # counts with its genus
    assert len(np.unique(find_independent(lineages))) == 13
    lineages[:, 4] = 200
    assert len(np.unique(find_independent(lineages))) == 24
    lineages[:, 5] = 300
    assert len(np.unique(find_independent(lineages))) == 96


def test_a_column_that_is_none_of_species_is_called_so() -> None:
    planted = plant(17)
    sexes = replace(planted.cut(0.5), purity=0.55)
    assert "Only 55%" in measure_between(planted.average(), sexes, n_shuffles=0).reading


def test_whole_genera_are_drawn_where_there_are_too_many_species() -> None:
    genera = np.repeat(np.arange(50), 4)
    kept = draw_species(genera, 41, np.random.default_rng(0))
    assert kept.sum() == 40
    assert set(np.bincount(genera[kept], minlength=50)) == {0, 4}
    planted = plant(18)
    some = sample_trait(planted.average(), make_trait("beak", planted.value.tolist()), n_shuffles=0, n_most=40)
    assert isinstance(some, TraitSample)
    assert len(some) == 40
    assert "56 more species were not drawn" in some.note


def test_principal_dimensions_keep_what_there_is() -> None:
    rows = np.random.default_rng(0).normal(size=(12, 30))
    centred = rows - rows.mean(axis=0)
    reduced = reduce_dimensions(rows, 20)
    np.testing.assert_allclose(reduced @ reduced.T, centred @ centred.T, atol=1e-9)
    assert reduce_dimensions(rows.T, 4).shape == (30, 4)


def test_q_are_those_of_the_example_of_benjamini_and_hochberg() -> None:
    planted = plant(19)
    p = [
        0.0001,
        0.0004,
        0.0019,
        0.0095,
        0.0201,
        0.0278,
        0.0298,
        0.0344,
        0.0459,
        0.324,
        0.4262,
        0.5719,
        0.6528,
        0.759,
        1,
    ]
    (one, *_) = measure_between(planted.average(), planted.cut(0.5), n_shuffles=0).findings
    findings = [replace(one, p=value) for value in (*p[::-1], math.nan)]
    q = adjust_p(findings)
    assert sum(value <= 0.05 for value in q) == 4  # section 3.2 of the paper
    expected = [min(p[j] * 15 / (j + 1) for j in range(i, 15)) for i in range(15)]
    np.testing.assert_allclose(q[:15], expected[::-1])
    assert math.isnan(q[15])
    assert adjust_p([]) == ()
