"""Probes inside species and between them, against plain loops, and on vectors whose truth is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from explorer.geometry.finding import Finding, Skipped
from explorer.geometry.grouping import assign_folds
from explorer.geometry.states import States
from explorer.geometry.transfer import HeldOut, find_areas_in_strata, probe_transfer, probe_within
from tests.explorer.geometry.planted import Images, plant_images


def transfer(images: Images, held_out: HeldOut = HeldOut.GENUS, n_shuffles: int = 19, seed: int = 0) -> Finding:
    found = probe_transfer(images.gather(n_each=1), images.contrast, held_out, n_shuffles=n_shuffles, seed=seed)
    assert isinstance(found, Finding)
    return found


def probe_own(images: Images, n_shuffles: int = 19, seed: int = 0) -> Finding:
    found = probe_within(images.gather(), images.contrast, n_shuffles=n_shuffles, seed=seed)
    assert isinstance(found, Finding)
    return found


def test_areas_are_scikit_learns_and_ties_count_half() -> None:
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(0)
    strata = rng.permutation(np.repeat(np.arange(6), 9))
    scores = rng.integers(0, 6, (54, 3)).astype(float)
    is_second = rng.random(54) < 0.5
    areas = find_areas_in_strata(scores, is_second, strata)
    for stratum in range(6):
        part = strata == stratum
        for column in range(3):
            expected = roc_auc_score(is_second[part], scores[part, column])
            assert areas[stratum, column] == pytest.approx(expected)


def read_slowly(states: States, kin: np.ndarray) -> float:
    """The mean area with a discriminant fitted anew on the species outside each fold."""
    from sklearn.covariance import ledoit_wolf
    from sklearn.metrics import roc_auc_score

    strata = states.strata
    inside = np.array([row - states.rows[strata == s].mean(axis=0) for row, s in zip(states.rows, strata, strict=True)])
    covariance = ledoit_wolf(inside, assume_centered=True)[0]
    folds = assign_folds(kin[states.species], 8)
    areas: dict[int, list[float]] = {}
    for fold in range(8):
        step = np.zeros(inside.shape[1])
        for one in np.unique(strata[folds != fold]):
            first, second = (inside[(strata == one) & (states.values == state)] for state in (0, 1))
            weight = len(first) * len(second) / (len(first) + len(second))
            step += weight * (second.mean(axis=0) - first.mean(axis=0))
        scores = inside @ np.linalg.solve(covariance, step)
        for one in np.unique(strata[folds == fold]):
            part = strata == one
            area = roc_auc_score(states.values[part], scores[part])
            areas.setdefault(int(states.species[part][0]), []).append(area)
    return float(np.mean([np.mean(one) for one in areas.values()]))


@pytest.mark.parametrize("is_paired", [False, True])
def test_a_probe_on_other_genera_is_a_discriminant_fitted_fold_by_fold(is_paired: bool) -> None:
    images = plant_images(0, step=1.0, is_paired=is_paired, n_each=6)
    states = images.gather(n_each=1)
    assert transfer(images, n_shuffles=0).value == pytest.approx(read_slowly(states, states.genera))
    species = transfer(images, HeldOut.SPECIES, n_shuffles=0)
    assert species.value == pytest.approx(read_slowly(states, np.arange(states.n_species)))


def test_a_shared_step_is_read_from_other_genera() -> None:
    from scipy.stats import norm

    found = transfer(plant_images(0, step=1.5, n_each=20))
    # The best that can be: the step over the spread of a difference of two records.
    assert found.value == pytest.approx(norm.cdf(1.5 / np.sqrt(2)), abs=0.04)
    assert found.low < norm.cdf(1.5 / np.sqrt(2)) < found.high + 0.02
    assert found.p == pytest.approx(0.05)
    assert found.n_groups == 12
    assert found.statistic == "genus_transfer_auc"
    assert "of the same species" in found.reading


def test_steps_of_each_species_own_are_no_shared_direction() -> None:
    # Shuffled inside species instead, two in five of these would be rejected.
    found = [transfer(plant_images(s, step=3, shared=0, n_each=6), HeldOut.SPECIES, seed=s) for s in range(60)]
    assert np.mean([one.value for one in found]) == pytest.approx(0.5, abs=0.03)
    assert np.mean([one.p <= 0.05 for one in found]) <= 0.12
    assert np.mean([one.low <= 0.5 <= one.high for one in found]) >= 0.88


def test_steps_shared_inside_genera_alone_do_not_reach_other_genera() -> None:
    found = [
        (transfer(images, HeldOut.GENUS, seed=s), transfer(images, HeldOut.SPECIES, seed=s))
        for s, images in (
            (s, plant_images(s, step=3, shared=0, shared_in_genus=True, n_each=6, n_per_genus=3)) for s in range(40)
        )
    ]
    assert np.mean([genus.value for genus, _ in found]) == pytest.approx(0.5, abs=0.05)
    assert np.mean([species.value for _, species in found]) > 0.55
    assert np.mean([genus.p <= 0.05 for genus, _ in found]) <= 0.13


def test_a_batch_that_goes_with_the_state_is_taken_out_where_it_is_known() -> None:
    found = []
    for seed in range(25):
        images = plant_images(seed, batch=2.0, n_each=16)
        states = [images.gather(n_each=1, by_batch=by_batch) for by_batch in (False, True)]
        found.append([probe_transfer(one, images.contrast, HeldOut.GENUS, n_shuffles=19, seed=seed) for one in states])
    p = np.array([[one.p for one in pair if isinstance(one, Finding)] for pair in found])
    assert np.mean(p[:, 0] <= 0.05) > 0.9
    assert np.mean(p[:, 1] <= 0.05) <= 0.16


def test_a_probe_inside_species_is_a_difference_of_means_of_other_occurrences() -> None:
    from scipy.stats import norm

    images = plant_images(0, n_genera=8, n_per_genus=1, n_each=30, step=2.0)
    found = probe_own(images)
    assert norm.cdf(1.2 / np.sqrt(2)) < found.value < norm.cdf(2 / np.sqrt(2)) + 0.02
    assert found.p == pytest.approx(0.05)
    assert found.statistic == "within_auc"


@pytest.mark.parametrize("planted", [{"most_images": 15, "n_each": 8}, {"is_paired": True}, {"second_share": 0.2}])
def test_states_that_do_not_differ_cannot_be_told_apart_inside_species(planted: dict[str, Any]) -> None:
    found = [probe_own(plant_images(s, n_genera=8, **{"n_each": 16, **planted}), seed=s) for s in range(40)]
    assert np.mean([one.value for one in found]) == pytest.approx(0.5, abs=0.03)
    assert np.mean([one.p <= 0.05 for one in found]) <= 0.12
    assert np.mean([one.low <= 0.5 <= one.high for one in found]) >= 0.88


def test_turning_scaling_and_reordering_changes_nothing() -> None:
    images = plant_images(4, step=1.0, most_images=3)
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(10, 10)))[0]
    order = np.random.default_rng(1).permutation(len(images.species))
    other = Images(**{name: value[order] for name, value in vars(images).items()})
    other = Images(**{**vars(other), "vectors": 5 * other.vectors @ turn + 3})
    for measure in (transfer, probe_own):
        one, two = measure(images), measure(other)
        assert [one.value, one.low, one.p] == pytest.approx([two.value, two.low, two.p])


def test_too_little_is_skipped_with_its_reason() -> None:
    images = plant_images(0, n_genera=3, n_each=4)
    found = probe_transfer(images.gather(n_each=1), images.contrast, HeldOut.GENUS)
    assert isinstance(found, Skipped)
    assert found.reason == "3 genera have an occurrence of both female and male; 8 are needed"
    own = probe_within(images.gather(), images.contrast)
    assert isinstance(own, Skipped)
    assert own.reason == "0 species have 3 occurrences of both female and male; 8 are needed"
    many = plant_images(0)
    same = Images(**{**vars(many), "vectors": np.ones_like(many.vectors)})
    for skipped in (
        probe_within(same.gather(), same.contrast),
        probe_transfer(same.gather(), same.contrast, HeldOut.SPECIES),
    ):
        assert isinstance(skipped, Skipped)
        assert skipped.reason == "vectors do not differ inside species"
