"""The controls: whether the hidden ecology is drawn visibly, before anyone asks an encoder for it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from benchmarks.ecology_controls import probe_oracle, probe_plans
from training.progress import keep_quiet
from training.synthetic.controls import (
    ControlSettings,
    choose_genera,
    describe_individuals,
    encode_untrained,
    list_targets,
    project_pixels,
    train_supervised,
)
from training.synthetic.ecology import BodyPlan
from training.synthetic.individuals import draw_individual
from training.synthetic.phylogeny import Species, grow_tree
from training.synthetic.pictures import PictureSet, Stream, draw_set, list_sitters
from training.synthetic.traits import BirdTraits

SETTINGS = ControlSettings(width=8, n_samples=64, batch_size=16)


@pytest.fixture(scope="module")
def tree() -> tuple[Species, ...]:
    return grow_tree(0)


@pytest.fixture(scope="module")
def pictures(tree: tuple[Species, ...]) -> PictureSet:
    sitters = list_sitters(tree, 288, seed=3, stream=Stream.EVALUATION)
    return draw_set(sitters, side=32, n_processes=1, progress=keep_quiet)


def test_a_description_holds_every_trait_and_the_state_and_nothing_of_other_body_plans(
    tree: tuple[Species, ...],
) -> None:
    individuals = [draw_individual(one, np.random.default_rng(one.number)) for one in tree[::16]]
    vectors = describe_individuals(individuals)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    birds = np.array([one.species.plan is BodyPlan.BIRD for one in individuals])
    assert not (vectors[birds] != 0).any(axis=0)[(vectors[~birds] != 0).any(axis=0)].any()
    before = describe_individuals(individuals)[0]
    traits = individuals[0].traits
    assert isinstance(traits, BirdTraits)
    ground = traits.coat.ground
    changes = [
        dataclasses.replace(individuals[0], traits=dataclasses.replace(traits, beak_depth=traits.beak_depth * 2)),
        dataclasses.replace(individuals[0], state=dataclasses.replace(individuals[0].state, life_stage="other")),
        dataclasses.replace(
            individuals[0],
            traits=dataclasses.replace(
                traits, coat=dataclasses.replace(traits.coat, ground=dataclasses.replace(ground, hue=ground.hue + 180))
            ),
        ),
    ]
    for changed in changes:
        after = describe_individuals([changed, *individuals[1:]])[0]
        assert len(after) != len(before) or abs(after - before).max() > 0.01


def test_units_of_the_traits_do_not_matter(tree: tuple[Species, ...]) -> None:
    individuals = [draw_individual(one, np.random.default_rng(one.number)) for one in tree[:72]]
    scaled = [
        dataclasses.replace(one, traits=dataclasses.replace(one.traits, beak_depth=1000 * one.traits.beak_depth))
        for one in individuals
        if isinstance(one.traits, BirdTraits)
    ]
    assert len(scaled) == 72
    np.testing.assert_allclose(describe_individuals(scaled), describe_individuals(individuals), atol=1e-5)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_true_traits_tell_the_ecology_of_other_genera(seed: int) -> None:
    tree = grow_tree(seed)
    found = probe_oracle(list_sitters(tree, 576, seed=0, stream=Stream.EVALUATION), tree)
    assert set(found) == set(BodyPlan)
    assert min(found.values()) > 0.85


def test_vectors_that_know_nothing_tell_no_ecology(tree: tuple[Species, ...]) -> None:
    vectors = np.random.default_rng(0).normal(size=(1152, 8)).astype(np.float32)
    found = probe_plans(vectors, np.arange(1152) % len(tree), tree)
    assert max(abs(value) for value in found.values()) < 0.2


def test_one_genus_of_each_family_is_left_out(tree: tuple[Species, ...]) -> None:
    numbers = np.arange(len(tree))
    parts = [choose_genera(numbers, tree, place) for place in range(3)]
    assert (np.sum(parts, axis=0) == 1).all()
    for part in parts:
        chosen = [one for one in tree if part[one.number]]
        assert len({one.genus for one in chosen}) == len({one.ranks[4] for one in chosen}) == 24
        assert len(chosen) == 96


def test_a_target_stands_in_the_columns_of_its_own_body_plan(tree: tuple[Species, ...]) -> None:
    targets = list_targets(np.array([100, 0]), tree)
    assert tree[100].plan is BodyPlan.FISH
    assert np.flatnonzero(~np.isnan(targets[0])).tolist() == [2, 3]
    assert np.flatnonzero(~np.isnan(targets[1])).tolist() == [0, 1]
    assert targets[0, 2:4].tolist() == pytest.approx([tree[100].ecology.first, tree[100].ecology.second])


def test_projected_pixels_are_unit_vectors_that_find_a_repeated_picture(pictures: PictureSet) -> None:
    twice = np.concatenate([pictures.pixels[:40], pictures.pixels[:40]])
    vectors = project_pixels(twice, n_components=16)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(vectors[:40], vectors[40:], atol=1e-3)


def test_an_untrained_tower_gives_the_same_vectors_for_the_same_seed(pictures: PictureSet) -> None:
    first, second = (encode_untrained(pictures.pixels[:4], SETTINGS, dimension=8) for _ in range(2))
    other = encode_untrained(pictures.pixels[:4], dataclasses.replace(SETTINGS, seed=1), dimension=8)
    np.testing.assert_array_equal(first, second)
    assert first.shape == (4, 8)
    assert not np.allclose(first, other)


def test_the_supervised_control_reports_both_axes_of_every_body_plan(
    tree: tuple[Species, ...], pictures: PictureSet
) -> None:
    told: list[tuple[str, int, int]] = []
    outcome = train_supervised(pictures, tree, SETTINGS, progress=lambda *said: told.append(said))
    assert told[-1] == ("supervised control", 4, 4)
    assert set(outcome.by_axis) == set(BodyPlan)
    assert all(-1 <= value <= 1 for axes in outcome.by_axis.values() for value in axes)
    assert outcome.rho == pytest.approx(np.mean(list(outcome.by_axis.values())))


def test_a_tower_that_is_told_learns_what_is_drawn_large(tree: tuple[Species, ...]) -> None:
    pixels = np.zeros((len(tree), 32, 32, 3), dtype=np.uint8)
    for one in tree:
        for row, value in ((0, one.ecology.first), (16, one.ecology.second)):
            pixels[one.number, row : row + 16] = np.clip(128 + 40 * value, 0, 255)
    told = PictureSet(pixels=pixels, numbers=np.arange(len(tree)), states=())
    settings = ControlSettings(width=8, n_samples=3200, batch_size=32, max_shift=0)
    assert train_supervised(told, tree, settings).rho > 0.8
