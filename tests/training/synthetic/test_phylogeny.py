"""The synthetic tree of life and its names."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest

from training.synthetic.ecology import BodyPlan, Ecology, name_diet, name_habitat
from training.synthetic.phylogeny import Species, grow_tree


@pytest.fixture(scope="module")
def tree() -> tuple[Species, ...]:
    return grow_tree(0)


def test_the_tree_has_72_species_of_each_body_plan_and_holds_one_of_each_genus_out(tree: tuple[Species, ...]) -> None:
    assert Counter(one.plan for one in tree) == dict.fromkeys(BodyPlan, 72)
    assert Counter(one.genus for one in tree if one.held_out) == dict.fromkeys({one.genus for one in tree}, 1)
    assert [one.number for one in tree] == list(range(288))


def test_every_species_has_seven_ranks_of_which_the_last_is_its_binomial(tree: tuple[Species, ...]) -> None:
    for one in tree:
        assert len(one.ranks) == 7
        assert all(one.ranks)
        assert re.fullmatch(rf"{one.genus} [a-z]+", one.binomial)


def test_names_are_unique_and_a_genus_lies_in_one_family(tree: tuple[Species, ...]) -> None:
    assert len({one.binomial for one in tree}) == len({one.vernacular for one in tree}) == 288
    assert len({one.genus for one in tree}) == len({one.ranks[4:6] for one in tree}) == 72
    assert len({one.ranks[4] for one in tree}) == len({one.ranks[3:5] for one in tree}) == 24
    words = [name for one in tree for name in (one.ranks[3], one.ranks[4], one.genus)]
    assert len(set(words)) == 8 + 24 + 72


def test_the_same_seed_grows_the_same_tree_and_another_seed_another() -> None:
    assert grow_tree(3) == grow_tree(3)
    assert {one.binomial for one in grow_tree(3)}.isdisjoint(one.binomial for one in grow_tree(4))


def test_relatives_inherit_alike(tree: tuple[Species, ...]) -> None:
    latents = np.array([one.latents for one in tree])
    genera = np.array([one.genus for one in tree])
    within = np.mean([latents[genera == genus].var(axis=0) for genus in set(genera)], axis=0)
    assert (within < 0.6 * latents.var(axis=0)).all()
    assert (within[:12] < 0.05 * latents.var(axis=0)[:12]).all(), "colours are nearly fixed within a genus"


def test_congeners_live_apart(tree: tuple[Species, ...]) -> None:
    ecology = np.array([(one.ecology.first, one.ecology.second) for one in tree]).reshape(-1, 4, 2)
    gaps = np.linalg.norm(ecology[:, :, None] - ecology[:, None], axis=3)[:, *np.triu_indices(4, 1)]
    assert gaps.min() > 0.6
    within = ecology.var(axis=1).mean()
    assert within > 0.6, "most of the ecology's variance, which is 1, lies inside genera"


def test_ecology_is_standard_within_a_body_plan_and_named_by_thirds(tree: tuple[Species, ...]) -> None:
    for plan in BodyPlan:
        first = [one.ecology.first for one in tree if one.plan is plan]
        assert abs(sum(first)) < 1e-9
        assert sum(value**2 for value in first) == pytest.approx(72)
    low, middle, high = (Ecology(first=value, second=-value) for value in (-1.0, 0.0, 1.0))
    assert [name_diet(BodyPlan.BIRD, one) for one in (low, middle, high)] == ["insects", "fruit", "seeds"]
    assert [name_habitat(BodyPlan.FISH, one) for one in (low, middle, high)] == ["ocean", "estuary", "reef"]
    assert name_diet(BodyPlan.LEAF, high) is None
    assert name_habitat(BodyPlan.LEAF, high) == "desert"
