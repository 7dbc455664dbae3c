"""The figures by which an encoder is judged."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from training.ecology import BodyPlan
from training.evaluation import (
    STATE_QUERIES,
    Trial,
    average_precision,
    find_answers,
    judge_genus_names,
    judge_pictures,
    judge_species_names,
)
from training.phylogeny import grow_tree
from training.pictures import PictureSet
from training.probes import probe_ecology
from training.states import State, draw_state


def test_average_precision_of_a_ranking_worked_out_by_hand() -> None:
    scores = np.array([[0.9, 0.8, 0.7, 0.6], [0.1, 0.2, 0.3, 0.4], [1, 2, 3, 4]], dtype=np.float32)
    relevant = np.array([[True, False, True, False], [True, True, False, False], [False] * 4])
    np.testing.assert_allclose(average_precision(scores, relevant), [(1 + 2 / 3) / 2, (1 / 3 + 2 / 4) / 2, np.nan])


def make_trial() -> Trial:
    species = grow_tree(1)
    rng = np.random.default_rng(0)

    def fake(numbers: list[int]) -> PictureSet:
        states: tuple[State, ...] = tuple(draw_state(species[number].plan, rng) for number in numbers)
        pixels = np.zeros((len(numbers), 3, 3, 3), dtype=np.uint8)
        pixels[:, 0, 0, 0], pixels[:, 0, 0, 1] = np.array(numbers) % 256, np.array(numbers) // 256
        return PictureSet(pixels=pixels, numbers=np.array(numbers), states=states)

    seen = [one.number for one in species if not one.held_out] * 3
    return Trial(species=species, seen=fake(seen), unseen=fake([one.number for one in species if one.held_out] * 3))


def test_an_encoder_that_reads_the_species_off_the_picture_gets_full_marks() -> None:
    trial = make_trial()
    basis = np.eye(288, dtype=np.float32)

    def encode_pixels(pixels: np.ndarray) -> np.ndarray:
        rows: np.ndarray = basis[pixels[:, 0, 0].astype(int) @ (1, 256, 0)]
        return rows

    def encode_texts(texts: Sequence[str]) -> np.ndarray:
        rows = np.zeros((len(texts), 288), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            for one in trial.species:
                epithet = one.binomial.split()[1]
                row[one.number] = one.vernacular in text or epithet in text or text == one.genus
        return rows

    seen, unseen = encode_pixels(trial.seen.pixels), encode_pixels(trial.unseen.pixels)
    figures = judge_species_names(trial, seen, encode_texts) | judge_pictures(trial, seen, unseen)
    figures |= judge_genus_names(trial, seen, unseen, encode_texts)
    full = [name for name in figures if name.startswith(("species_", "genus_top1", "picture_map", "nearest_same"))]
    assert len(full) == 12
    assert {figures[name] for name in full} == {1.0}
    assert figures["genus_name_p20"] == pytest.approx(12 / 20), "each genus has twelve pictures"


def test_a_state_query_is_answered_by_its_body_plan_in_that_state() -> None:
    trial = make_trial()
    query = next(query for query in STATE_QUERIES if query.text == "a male butterfly")
    right = find_answers(trial, query)
    numbers = np.concatenate([trial.seen.numbers, trial.unseen.numbers])
    states = (*trial.seen.states, *trial.unseen.states)
    assert 0.05 < right.mean() < 0.15
    for is_right, number, state in zip(right, numbers, states, strict=True):
        assert is_right == (trial.species[number].plan is BodyPlan.BUTTERFLY and state.sex == "male")


def test_the_ecology_probe_finds_what_is_there_and_nothing_in_noise() -> None:
    species = grow_tree(0)
    numbers = np.repeat(np.arange(288), 4)
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(len(numbers), 10)).astype(np.float32)
    blind = probe_ecology(noise, numbers, species, n_nulls=3)
    assert abs(blind.rho) < 0.1
    telling = noise.copy()
    telling[:, 3] = [species[number].ecology.first for number in numbers]
    telling[:, 7] = [-species[number].ecology.second for number in numbers]
    found = probe_ecology(telling, numbers, species, n_nulls=3)
    assert found.rho > 0.95
    assert found.null_high < 0.3


def test_the_ecology_probe_is_not_fooled_by_vectors_that_tell_the_genus_alone() -> None:
    species = grow_tree(0)
    numbers = np.repeat(np.arange(288), 4)
    genera = sorted({one.genus for one in species})
    own = np.random.default_rng(0).normal(size=(72, 20)).astype(np.float32)
    vectors = own[[genera.index(species[number].genus) for number in numbers]]
    vectors += 1e-3 * np.random.default_rng(1).normal(size=vectors.shape).astype(np.float32)
    assert abs(probe_ecology(vectors, numbers, species, n_nulls=0).rho) < 0.1
