"""Reliability: closed forms, and a calibration that gives back the odds it was drawn from."""

from __future__ import annotations

import numpy as np
import pytest

from explorer.held_out import SEEN, Material, expect_unseen, find_left_out, hold_out
from explorer.reliability import Answers, draw_curve, expect_error, fit_ranks, rate_answers
from explorer.taxonomy import Descent, build_taxonomy


def test_the_error_is_the_weighted_gap_between_confidence_and_share_right() -> None:
    confidence = np.array([0.9] * 10 + [0.2] * 10)
    is_right = np.array([True] * 7 + [False] * 3 + [True] * 4 + [False] * 6)
    assert expect_error(confidence, is_right, np.ones(20)) == pytest.approx((0.2 + 0.2) / 2)
    heavier = np.array([3.0] * 10 + [1.0] * 10)
    assert expect_error(confidence, is_right, heavier) == pytest.approx(0.2)
    assert [point.right for point in draw_curve(confidence, is_right, np.ones(20))] == pytest.approx([0.4, 0.7])


def test_perfect_confidence_has_no_error() -> None:
    is_right = np.array([True, False, True, False])
    assert expect_error(is_right.astype(float), is_right, np.ones(4)) == 0


def test_the_calibration_gives_back_the_odds_it_was_drawn_from() -> None:
    rng = np.random.default_rng(0)
    n = 4_000
    shares = rng.uniform(0.1, 0.99, n)
    closeness = rng.uniform(0.3, 0.9, n)
    truth = 1 / (1 + np.exp(-(-4 + np.log(shares / (1 - shares)) + 8 * closeness)))
    path = np.full((n, 7), -1)
    path[:, 6] = 0
    own = np.full((n, 7), -1)
    own[:, 6] = np.where(rng.random(n) < truth, 0, 1)
    all_shares = np.zeros((n, 7))
    all_shares[:, 6] = shares
    descent = Descent(path=path, shares=all_shares)
    answers = Answers(descent=descent, closeness=closeness[:, None], own=own, weights=np.ones(n), groups=np.arange(n))
    ranks = fit_ranks(answers)
    assert list(ranks) == ["species"]
    assert ranks["species"].error < 0.03
    assert ranks["species"].error_low <= ranks["species"].error_high < 0.06
    rated = rate_answers(descent, closeness[:, None], ranks)
    assert np.abs(rated[:, 6] - truth).mean() < 0.03
    assert np.isnan(rated[:, :6]).all()


def test_a_higher_taxon_is_as_sure_as_the_lower_one() -> None:
    n = 60
    path = np.tile([0, -1, -1, -1, -1, 1, 2], (n, 1))
    own = path.copy()
    own[:40, 0] = 9
    descent = Descent(path=path, shares=np.where(path >= 0, 0.9, 0))
    closeness = np.full((n, 1), 0.5)
    answers = Answers(descent=descent, closeness=closeness, own=own, weights=np.ones(n), groups=np.arange(n))
    rated = rate_answers(descent, closeness, fit_ranks(answers))
    np.testing.assert_allclose(rated[0, 6], 61 / 62)
    np.testing.assert_allclose(rated[0, [0, 5]], rated[0, 6])


def test_ranks_with_few_answers_are_left_out() -> None:
    path = np.zeros((49, 7), np.int64)
    descent = Descent(path=path, shares=np.ones((49, 7)))
    answers = Answers(descent=descent, closeness=np.ones((49, 1)), own=path, weights=np.ones(49), groups=np.arange(49))
    assert fit_ranks(answers) == {}


def material_of(species: list[str | None], occurrences: list[int]) -> Material:
    import pyarrow as pa

    genera = [None if name is None else name.split()[0] for name in species]
    taxonomy = build_taxonomy(
        pa.table({"genus": pa.array(genera, pa.string()), "species": pa.array(species, pa.string())})
    )
    return Material(taxonomy=taxonomy, occurrences=np.array(occurrences), rows=np.arange(len(species)))


def test_one_record_of_each_named_occurrence_is_held_out() -> None:
    material = material_of(["A a", "A a", "A b", None, "B c"], [0, 0, 1, 2, 3])
    held_out = hold_out(material)
    assert material.occurrences[held_out.rows].tolist() == [0, 1, 3]
    assert len(hold_out(material, n_most=2).rows) == 2


def test_each_question_is_asked_once_for_each_thing_that_can_be_new() -> None:
    material = material_of(["A a", "A a", "A b", "A b", "B c", "B c"], [0, 1, 2, 3, 4, 5])
    held_out = hold_out(material)
    genus, species = 5, 6
    first = held_out.question == 0
    assert held_out.novel_from[first].tolist() == [SEEN, species, genus]
    of_only_species = held_out.question == 4
    assert held_out.novel_from[of_only_species].tolist() == [SEEN, genus]
    assert held_out.weights.sum() == pytest.approx(1)
    assert held_out.weights[held_out.novel_from == SEEN].sum() == pytest.approx(0.9)


def test_an_only_occurrence_is_new_as_it_is() -> None:
    material = material_of(["A a", "A b", "B c", "B d"], [0, 1, 2, 3])
    held_out = hold_out(material)
    assert SEEN not in held_out.novel_from
    assert expect_unseen(material, novelty=0.1) == {5: 0.05, 6: 0.9}


def test_the_chance_of_a_new_species_is_turings_where_that_is_larger() -> None:
    material = material_of(["A a", "A a", "A a", "A b", "B c", "B c", "B c", "B c"], list(range(8)))
    assert expect_unseen(material, novelty=0.1) == {5: 0.05, 6: pytest.approx(1 / 8)}
    assert expect_unseen(material, novelty=0.0)[5] == 0


def test_left_out_neighbours_agree_with_a_plain_search() -> None:
    rng = np.random.default_rng(1)
    n = 60
    species = [f"{'AB'[i % 2]} {'abc'[i % 3]}" for i in range(n)]
    material = material_of(list(species), [i // 2 for i in range(n)])
    vectors = rng.normal(size=(n, 8)).astype(np.float32)
    held_out = hold_out(material, n_most=9)
    blocks = iter([(np.arange(0, 25), vectors[:25]), (np.arange(25, n), vectors[25:])])
    rows, scores = find_left_out(material, held_out, vectors[held_out.rows], blocks, 2)
    lineages = material.lineages_of(np.arange(n))
    for place, level in enumerate(held_out.levels):
        for question, row in enumerate(held_out.rows):
            out = material.occurrences == material.occurrences[row]
            for former in held_out.levels[1 : place + 1]:
                out |= lineages[:, former] == lineages[row, former]
            expected = np.where(out, -np.inf, vectors @ vectors[row])
            n_left = min(16, int((~out).sum()))
            assert rows[place, question, :n_left].tolist() == np.argsort(-expected)[:n_left].tolist()
            assert (rows[place, question, n_left:] == -1).all()
            np.testing.assert_allclose(scores[place, question, :n_left], np.sort(expected)[::-1][:n_left], atol=1e-5)
        assert level == held_out.levels[place]
