"""Numbers of species read from vectors, among relatives."""

from __future__ import annotations

import numpy as np
import pytest

from explorer.geometry.ecology import probe_ecology
from explorer.geometry.grouping import assign_folds, centre_in_groups
from explorer.geometry.probing import PENALTIES, read_held_out
from tests.explorer.geometry.planted import Planted, plant


def probe(planted: Planted, n_shuffles: int = 19, seed: int = 0) -> tuple[float, float, float, float]:
    found = probe_ecology(
        planted.vectors,
        planted.ecology,
        planted.species,
        planted.genera,
        column="diet",
        n_shuffles=n_shuffles,
        seed=seed,
    )
    assert found is not None
    return found[0].value, found[0].low, found[0].high, found[0].p


def test_an_ecology_that_moves_the_vectors_is_read() -> None:
    value, low, high, p = probe(plant(0, ecology=3.0))
    assert value > 0.85
    assert low < value < high
    assert p == pytest.approx(0.05)


def test_an_ecology_that_is_only_phylogeny_is_rejected_as_rarely_as_promised() -> None:
    found = np.array(
        [probe(plant(seed, genus_ecology=3.0, n_genera=16, n_each=3, d=8), seed=seed) for seed in range(40)]
    )
    assert abs(found[:, 0].mean()) < 0.05
    assert np.mean(found[:, 3] <= 0.05) <= 0.12


def test_many_records_of_a_species_are_no_evidence_of_their_own() -> None:
    # A naive test over records rejects nearly always here: the species' own places agree with the ecology by accident.
    p = [probe(plant(seed, n_genera=16, n_per_genus=2, n_each=20, d=8), seed=seed)[3] for seed in range(40)]
    assert np.mean(np.array(p) <= 0.05) <= 0.15


def test_intervals_hold_the_expected_correlation() -> None:
    found = np.array([probe(plant(seed, ecology=1.0, n_each=4, d=8), n_shuffles=0) for seed in range(40)])
    truth = found[:, 0].mean()
    assert np.mean((found[:, 1] <= truth) & (truth <= found[:, 2])) >= 0.86


def test_one_record_per_species_is_enough() -> None:
    planted = plant(0, ecology=3.0, n_each=1, n_genera=30)
    assert probe(planted)[0] > 0.7


def test_genera_without_a_contrast_and_unknown_numbers_are_left_out() -> None:
    planted = plant(0, ecology=3.0)
    ecology = planted.ecology.copy()
    ecology[planted.genera == 0] = 1.0
    ecology[planted.species == 59] = np.nan
    found = probe_ecology(planted.vectors, ecology, planted.species, planted.genera, column="diet", n_shuffles=0)
    assert found is not None
    assert found[0].n_groups == 19
    assert found[0].left_out == 24 + 8
    assert probe_ecology(planted.vectors, ecology * np.nan, planted.species, planted.genera, column="diet") is None


def test_the_probe_is_scikit_learns_nested_ridge() -> None:
    from sklearn.linear_model import Ridge

    planted = plant(1, ecology=1.0, n_genera=16, n_each=2, d=8)
    rows = centre_in_groups(planted.vectors, planted.genera)
    rows = rows / np.sqrt((rows**2).mean())
    wanted = planted.ecology[:, 0]
    folds = assign_folds(planted.genera, 4)

    def fit(chosen: np.ndarray, penalty: float) -> Ridge:
        return Ridge(alpha=penalty * chosen.sum()).fit(rows[chosen], wanted[chosen])

    expected = np.empty_like(wanted)
    for outer in range(4):
        errors = [
            sum(
                (
                    (fit((folds != outer) & (folds != inner), a).predict(rows[folds == inner]) - wanted[folds == inner])
                    ** 2
                ).sum()
                for inner in set(range(4)) - {outer}
            )
            for a in PENALTIES
        ]
        best = PENALTIES[int(np.argmin(errors))]
        expected[folds == outer] = fit(folds != outer, best).predict(rows[folds == outer])
    found = read_held_out(rows, wanted[:, None], folds)
    np.testing.assert_allclose(found.read[:, 0], expected, atol=1e-9)
    assert np.isnan(found.without[2, folds == 2]).all()
    assert np.isfinite(found.without[2, folds != 2]).all()
