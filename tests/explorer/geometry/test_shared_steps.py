"""Cosines of steps and angles of spans, against plain loops and SciPy, on vectors whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from explorer.geometry.finding import Finding, Skipped
from explorer.geometry.principal_angles import PrincipalAngles, choose_size, find_cosines, measure_angles
from explorer.geometry.shared_steps import measure_agreement
from explorer.geometry.steps import measure_steps
from explorer.geometry.transfer import HeldOut
from tests.explorer.geometry.planted import Images, plant, plant_images


def agree(images: Images, between: HeldOut = HeldOut.GENUS, n_shuffles: int = 19, seed: int = 0) -> Finding:
    found = measure_agreement(images.gather(), images.contrast, between, n_shuffles=n_shuffles, seed=seed)
    assert isinstance(found, Finding)
    return found


def test_the_cosine_is_the_mean_product_over_pairs_of_species_of_different_genera() -> None:
    images = plant_images(0, step=2.0, shared=0.5, n_genera=9)
    states = images.gather()
    steps = measure_steps(states)
    noise = np.bincount(steps.species, weights=steps.weights * (steps.residuals**2).sum(axis=1))
    length = np.mean((steps.means**2).sum(axis=1) - noise)
    for between, kin in ((HeldOut.GENUS, states.genera), (HeldOut.SPECIES, np.arange(states.n_species))):
        products = [
            steps.means[one] @ steps.means[other]
            for one in range(states.n_species)
            for other in range(states.n_species)
            if kin[one] != kin[other]
        ]
        assert agree(images, between).value == pytest.approx(np.mean(products) / length)


@pytest.mark.parametrize("shared", [0.0, 0.5, 1.0])
def test_the_cosine_is_free_of_sampling_noise(shared: float) -> None:
    found = [agree(plant_images(s, step=2.5, shared=shared, n_each=6)) for s in range(40)]
    assert np.mean([one.value for one in found]) == pytest.approx(shared, abs=0.07)
    assert np.mean([one.low <= shared <= one.high for one in found]) >= 0.85
    if shared == 1:
        steps = [measure_steps(plant_images(s, step=2.5, n_each=6).gather()).means for s in range(5)]
        plain = [_cosine(rows) for rows in steps]
        assert np.mean(plain) < 0.6


def _cosine(rows: np.ndarray) -> float:
    units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return float((units @ units.T)[np.triu_indices(len(rows), 1)].mean())


def test_steps_that_agree_inside_genera_alone_do_not_agree_between_them() -> None:
    found = [agree(plant_images(s, step=3.0, shared=0, shared_in_genus=True, n_per_genus=3), seed=s) for s in range(60)]
    assert np.mean([one.p <= 0.05 for one in found]) <= 0.12
    assert np.mean([one.value for one in found]) == pytest.approx(0, abs=0.03)


def test_states_that_do_not_differ_have_no_direction_to_compare() -> None:
    images = plant_images(0)
    found = measure_agreement(images.gather(), images.contrast, HeldOut.SPECIES)
    assert isinstance(found, Skipped)
    assert found.reason == "female and male lie no further apart than chance puts them"
    few = plant_images(0, n_genera=4, n_per_genus=2, step=3.0)
    skipped = measure_agreement(few.gather(), few.contrast, HeldOut.GENUS)
    assert isinstance(skipped, Skipped)
    assert skipped.reason == "4 genera have 2 occurrences of both female and male; 8 are needed"


def test_turning_scaling_and_many_images_of_an_occurrence_change_nothing() -> None:
    images = plant_images(4, step=1.5, most_images=3)
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(10, 10)))[0]
    other = Images(**{**vars(images), "vectors": 5 * images.vectors @ turn + 3})
    first = np.unique(images.occurrences, return_index=True)[1]
    single = Images(**{name: value[first] for name, value in vars(images).items()})
    one = agree(images)
    for same in (agree(other), agree(single)):
        assert [one.value, one.low, one.p] == pytest.approx([same.value, same.low, same.p])


def test_angles_are_scipys() -> None:
    from scipy.linalg import subspace_angles

    rng = np.random.default_rng(0)
    one, other = (np.linalg.qr(rng.normal(size=(12, k)))[0] for k in (5, 3))
    np.testing.assert_allclose(
        np.sort(np.arccos(np.sqrt(find_cosines(one, other)))), np.sort(subspace_angles(one, other)), atol=1e-7
    )


def give(seed: int, **planted: float) -> Images:
    found = plant(seed, n_genera=30, n_per_genus=3, n_each=12, d=24, **planted)
    return Images(
        vectors=found.vectors,
        species=found.species,
        genera=found.genera,
        states=found.states,
        occurrences=np.arange(len(found.species)),
        batches=found.states,
    )


@pytest.mark.parametrize(("inside", "degrees"), [(0.0, 90), (0.5, 45), (1.0, 0)])
def test_a_step_lies_at_its_angle_to_the_species(inside: float, degrees: float) -> None:
    images = give(0, step=4.0, step_inside=inside)
    found = measure_angles(images.gather(), images.contrast, n_shuffles=19)
    assert isinstance(found, PrincipalAngles)
    assert len(found.degrees) == 1
    # The species differ in 4 directions; the 6 further ones of 10 hold some of any step by chance.
    chance = 6 / 20 * np.sin(np.radians(degrees)) ** 2
    expected = np.degrees(np.arccos(np.sqrt(np.cos(np.radians(degrees)) ** 2 + chance)))
    assert found.degrees[0] == pytest.approx(expected, abs=12)
    assert found.finding.chance == pytest.approx(10 / 24)
    assert found.finding.low <= found.finding.value <= found.finding.high
    assert (found.finding.value > found.finding.null_high) == (inside == 1)
    assert len(found.null_low) == len(found.null_high) == 1


def test_angles_need_species_and_steps() -> None:
    assert [choose_size(n, 64) for n in (17, 18, 28, 53)] == [None, 3, 5, 10]
    assert choose_size(100, 4) is None
    images = give(0)
    found = measure_angles(images.gather(), images.contrast)
    assert isinstance(found, Skipped)
    assert found.reason == "steps from female to male are no longer in any direction than chance"
    few = plant_images(0, n_genera=8, n_per_genus=2)
    skipped = measure_angles(few.gather(), few.contrast)
    assert isinstance(skipped, Skipped)
    assert "18 species" in skipped.reason
