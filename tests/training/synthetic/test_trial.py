"""The figures by which an encoder of the synthetic tree is judged."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest

from training.synthetic import trial as trials
from training.synthetic.ecology import BodyPlan
from training.synthetic.phylogeny import grow_tree
from training.synthetic.pictures import PictureSet
from training.synthetic.states import State, draw_state
from training.synthetic.trial import (
    Facts,
    Score,
    Trial,
    describe_truth,
    draw_trial,
    find_answers,
    judge_encoder,
    judge_vectors,
    list_facts,
    list_queries,
)


def make_trial() -> Trial:
    species = grow_tree(1)
    rng = np.random.default_rng(0)

    def fake(numbers: list[int]) -> PictureSet:
        states: tuple[State, ...] = tuple(draw_state(species[number].plan, rng) for number in numbers)
        pixels = np.zeros((len(numbers), 3, 3, 3), dtype=np.uint8)
        pixels[:, 0, 0, 0], pixels[:, 0, 0, 1] = np.array(numbers) % 256, np.array(numbers) // 256
        pixels[:, 0, 0, 2] = [state.is_young + 2 * state.is_male for state in states]
        return PictureSet(pixels=pixels, numbers=np.array(numbers), states=states)

    seen = [one.number for one in species if not one.held_out] * 3
    return Trial(species=species, seen=fake(seen), unseen=fake([one.number for one in species if one.held_out] * 3))


class PerfectEncoder:
    """Reads species and state off the picture, and names, stage and sex off the text."""

    def __init__(self, trial: Trial) -> None:
        self._species = trial.species

    def encode_pixels(self, pixels: np.ndarray) -> np.ndarray:
        rows = np.zeros((len(pixels), 290), dtype=np.float32)
        rows[np.arange(len(pixels)), pixels[:, 0, 0, :2].astype(int) @ (1, 256)] = 1
        rows[:, 288] = 0.1 * (pixels[:, 0, 0, 2] % 2)
        rows[:, 289] = 0.1 * (pixels[:, 0, 0, 2] // 2)
        return rows

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        rows = np.zeros((len(texts), 290), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            words = text.strip(".").split()
            for one in self._species:
                epithet = one.binomial.split()[1]
                row[one.number] = one.vernacular in text or epithet in words or text == one.genus or one.plan in words
            row[288], row[289] = 100 * ("juvenile" in words), 100 * ("male" in words)
            if "caterpillar" in words:
                row[288] = 100
                row[[one.number for one in self._species if one.plan is BodyPlan.BUTTERFLY]] = 1
        return rows


def score(scores: Iterable[Score], name: str) -> Score:
    return next(one for one in scores if one.name == name)


def test_an_encoder_that_reads_everything_off_the_picture_gets_full_marks() -> None:
    trial = make_trial()
    scores = judge_encoder(trial, PerfectEncoder(trial))
    full = [one for one in scores if one.name.startswith(("species_", "genus_top1", "image_map", "nearest", "p20_s"))]
    full = [one for one in full if one.name != "p20_shape"]
    assert len(full) == 12
    assert {one.name: one.value for one in full} == pytest.approx(dict.fromkeys([one.name for one in full], 1.0))
    assert all(one.high == 1.0 and one.low > 0.9 for one in full)


def test_vectors_that_know_nothing_get_chance() -> None:
    trial = make_trial()
    vectors = np.random.default_rng(0).normal(size=(len(trial.numbers), 8)).astype(np.float32)
    scores = judge_vectors(trial, vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    found = score(scores, "nearest_unseen")
    assert found.low <= found.chance <= found.high
    assert found.chance == pytest.approx(2 / 215)
    assert found.n == 72


def test_chance_of_search_by_picture_is_what_random_orders_score() -> None:
    trial = make_trial()
    rng = np.random.default_rng(0)
    scores = judge_vectors(trial, rng.normal(size=(len(trial.numbers), 4)).astype(np.float32))
    same = np.arange(215) < 2
    expected = np.mean([(np.arange(1, 3) / (np.flatnonzero(rng.permutation(same)) + 1)).mean() for _ in range(20_000)])
    assert score(scores, "image_map_unseen").chance == pytest.approx(expected, rel=0.03)
    assert expected > 2 * 2 / 215


def test_words_are_resampled_by_species() -> None:
    trial = make_trial()
    words = [one for one in judge_encoder(trial, PerfectEncoder(trial)) if one.name.startswith("p20 a juvenile")]
    assert words
    for one in words:
        assert one.n == 288
        assert one.value == one.high == 1.0
        # At most 20 species can stand among the first 20.
        assert one.low <= 0.025 ** (1 / 20) + 1e-9


def test_a_query_is_answered_by_its_body_plan_in_that_state() -> None:
    trial = make_trial()
    query = next(query for query in list_queries(trial) if query.text == "a male butterfly")
    right = find_answers(trial, query)
    assert 0.05 < right.mean() < 0.15
    for is_right, number, state in zip(right, trial.numbers, trial.states, strict=True):
        assert is_right == (trial.species[number].plan is BodyPlan.BUTTERFLY and state.sex == "male")


def test_a_shape_is_not_asked_of_a_larva() -> None:
    trial = make_trial()
    queries = [query for query in list_queries(trial) if query.kind == "shape" and query.plan is BodyPlan.BUTTERFLY]
    assert queries
    larvae = np.array([state.life_stage == "larva" for state in trial.states])
    assert not any(find_answers(trial, query)[larvae].any() for query in queries)


def test_the_first_20_of_a_resampled_collection_count_a_picture_as_often_as_it_was_drawn() -> None:
    likeness = np.array([[3.0, 2.0, 1.0]], dtype=np.float32)
    right = np.array([[True, False, True]])
    weights = np.array([[10, 10, 5], [0, 5, 30], [30, 0, 0]], dtype=np.float32)
    found = trials._first_hits(likeness, right, np.arange(3), weights)
    np.testing.assert_allclose(found, [10 / 20, 15 / 20, 1.0])
    of_two_species = trials._first_hits(likeness, right, np.array([0, 0, 1]), np.array([[5, 10], [0, 20]], np.float32))
    np.testing.assert_allclose(of_two_species, [15 / 20, 1.0])


def test_statistics_are_given_the_vectors_with_the_facts_of_the_same_pictures() -> None:
    trial = make_trial()

    def measure(vectors: np.ndarray, facts: Facts) -> list[Score]:
        np.testing.assert_array_equal(vectors.argmax(axis=1), facts.species)
        return [Score(name="agree", value=1.0, low=1.0, high=1.0, chance=0.0, n=1)]

    vectors = np.eye(288, dtype=np.float32)[trial.numbers]
    assert score(judge_vectors(trial, vectors, measure), "agree").value == 1.0
    facts = list_facts(trial)
    assert len(np.unique(facts.genera)) == 72
    assert set(facts.life_stages) == {"adult", "juvenile"}
    np.testing.assert_array_equal(
        facts.ecology[5], [trial.species[facts.species[5]].ecology.first, facts.ecology[5, 1]]
    )


def test_a_trial_is_kept_and_drawn_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "N_PER_SEEN", 1)
    monkeypatch.setattr(trials, "N_PER_UNSEEN", 1)
    drawn: list[int] = []

    def draw(sitters: Sequence[object], **_settings: object) -> PictureSet:
        drawn.append(len(sitters))
        states = tuple(State(life_stage="adult", sex="male", season=None) for _ in sitters)
        return PictureSet(
            pixels=np.full((len(sitters), 2, 2, 3), 7, np.uint8), numbers=np.arange(len(sitters)), states=states
        )

    monkeypatch.setattr(trials, "draw_set", draw)
    first, second = (draw_trial(tree_seed=0, side=2, folder=tmp_path) for _ in range(2))
    assert drawn == [216, 72]
    np.testing.assert_array_equal(first.pixels, second.pixels)
    assert first.states == second.states
    monkeypatch.setattr(trials, "N_PER_UNSEEN", 2)
    assert len(draw_trial(tree_seed=0, side=2, folder=tmp_path).unseen.numbers) == 144


def test_the_oracle_knows_the_stage_of_every_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "N_PER_SEEN", 1)
    monkeypatch.setattr(trials, "N_PER_UNSEEN", 1)
    trial = make_trial()
    vectors = describe_truth(trial)
    assert len(vectors) == 288
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    plans = [str(one.plan) for held_out in (False, True) for one in trial.species if one.held_out is held_out]
    nearest = (vectors @ vectors.T - 2 * np.eye(288)).argmax(axis=1)
    assert all(plans[i] == plans[j] for i, j in enumerate(nearest))
