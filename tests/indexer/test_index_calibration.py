"""Calibration: there and back, fitted, judged and kept or not, against what a person can compute."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from indexer.errors import CorpusError
from indexer.index.calibrating import (
    NamedSample,
    fit_calibration,
    measure_agreement,
    measure_hubness,
    name_sample,
)
from indexer.index.calibration import Calibration, estimate_calibration, has_spread, open_calibration
from indexer.terms import RANKS


def unit(vectors: np.ndarray) -> np.ndarray:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True), np.float32)


def draw_cone(n: int = 1_200, *, n_species: int = 30, nuisance: float, seed: int = 0) -> NamedSample:
    """Vectors whose species differ in 24 faint dimensions, beneath 4 wide ones that say nothing of species."""
    rng = np.random.default_rng(seed)
    species = rng.integers(0, n_species, n)
    faint = rng.normal(size=(n_species, 24))[species] * 0.3 + rng.normal(size=(n, 24)) * 0.25
    vectors = np.hstack([faint, rng.normal(size=(n, 4)) * nuisance, np.full((n, 1), 6.0)])
    return NamedSample(vectors=unit(vectors), names=species[:, None], ranks=("species",), occurrences=np.arange(n))


def test_a_calibration_scales_directions_by_the_power_of_their_variance() -> None:
    vectors = np.array([[3, 1], [3, -1], [-3, 1], [-3, -1]], np.float32) + np.float32(7)
    calibration = estimate_calibration(vectors)
    # Variances 9 and 1 with mean 5: ((9 + 5) / 5) ** -1/4 and ((1 + 5) / 5) ** -1/4.
    np.testing.assert_allclose(calibration.mean, [7, 7])
    np.testing.assert_allclose(calibration.transform, np.diag([2.8**-0.25, 1.2**-0.25]), atol=1e-6)
    moved, lengths = calibration.apply(np.array([[10, 7]], np.float32))
    np.testing.assert_allclose(moved, [[1, 0]], atol=1e-6)
    np.testing.assert_allclose(lengths, [3 * 2.8**-0.25], rtol=1e-6)


def test_raw_scores_come_back_from_calibrated_half_precision_vectors() -> None:
    sample = draw_cone(nuisance=2.0)
    calibration = estimate_calibration(sample.vectors)
    stored, lengths = calibration.apply(sample.vectors)
    queries = unit(np.random.default_rng(1).normal(size=(50, 29)))
    directions, offsets = calibration.translate(queries)
    found = offsets[:, None] + directions @ stored.astype(np.float16).astype(np.float32).T * lengths
    np.testing.assert_allclose(found, queries @ sample.vectors.T, atol=3e-4)


def test_the_mean_itself_keeps_its_raw_score() -> None:
    calibration = estimate_calibration(draw_cone(nuisance=2.0).vectors)
    moved, lengths = calibration.apply(calibration.mean[None])
    directions, offsets = calibration.translate(calibration.mean[None])
    assert lengths[0] == 0
    assert np.linalg.norm(moved[0]) == 1
    score = offsets[0] + lengths[0] * directions[0] @ moved[0]
    assert score == pytest.approx(float(calibration.mean @ calibration.mean), abs=1e-6)


def test_no_vector_and_one_vector_can_be_moved() -> None:
    calibration = estimate_calibration(draw_cone(nuisance=2.0).vectors)
    moved, lengths = calibration.apply(np.empty((0, 29), np.float32))
    assert moved.shape == (0, 29)
    assert lengths.shape == (0,)


def test_equal_vectors_have_no_spread() -> None:
    same = np.tile(unit(np.ones((1, 5))), (20, 1))
    assert not has_spread(same)
    assert not has_spread(same[:1])
    assert not has_spread(same[:0])
    assert has_spread(np.eye(5, dtype=np.float32))


def test_a_calibration_that_reveals_species_is_kept() -> None:
    trial = fit_calibration(draw_cone(nuisance=2.0), seed=0)
    assert trial.calibration is not None
    assert trial.gain_low > 0.05
    assert trial.gain_low < trial.gain < trial.gain_high
    assert trial.n_judged == 1_200
    species = trial.ranks["species"]
    assert species.calibrated - species.raw == pytest.approx(trial.gain, abs=1e-5)
    stated = trial.to_json()
    assert stated["is_kept"] is True
    assert stated["ranks"]["species"]["n_records"] == 1_200


def test_a_calibration_that_hides_species_is_not_kept() -> None:
    # Here the wide dimensions are those of the species, and what calibration raises is noise.
    rng = np.random.default_rng(2)
    species = rng.integers(0, 40, 1_200)
    vectors = np.hstack([rng.normal(size=(40, 4))[species] * 3, rng.normal(size=(1_200, 60)) * 0.9])
    sample = NamedSample(
        vectors=unit(vectors), names=species[:, None], ranks=("species",), occurrences=np.arange(1_200)
    )
    trial = fit_calibration(sample, seed=0)
    assert trial.calibration is None
    assert trial.gain < 0
    assert "do not surely share" in trial.reason
    assert trial.to_json()["is_kept"] is False


@pytest.mark.parametrize("n", [0, 1, 2, 60])
def test_nothing_is_concluded_from_few_records(n: int) -> None:
    trial = fit_calibration(draw_cone(nuisance=2.0).take(np.arange(n)), seed=0)
    assert trial.calibration is None
    assert trial.n_judged == 0
    assert "gain" not in trial.to_json()


def test_nothing_is_concluded_without_names() -> None:
    sample = draw_cone(nuisance=2.0)
    nameless = name_sample(sample.vectors, np.arange(1_200), pa.table({"habitat": ["reef"] * 1_200}), RANKS)
    trial = fit_calibration(nameless, seed=0)
    assert nameless.names.shape == (1_200, 0)
    assert trial.calibration is None
    assert "fewer than 100" in trial.reason


def test_equal_vectors_are_not_calibrated() -> None:
    sample = draw_cone(nuisance=2.0)
    same = NamedSample(
        vectors=np.tile(sample.vectors[:1], (1_200, 1)),
        names=sample.names,
        ranks=sample.ranks,
        occurrences=sample.occurrences,
    )
    assert "no spread" in fit_calibration(same, seed=0).reason


def test_the_same_seed_gives_the_same_calibration() -> None:
    first, second = (fit_calibration(draw_cone(nuisance=2.0), seed=3) for _ in range(2))
    assert first.calibration is not None
    assert second.calibration is not None
    assert first.to_json() == second.to_json()
    np.testing.assert_array_equal(first.calibration.transform, second.calibration.transform)


def test_agreement_leaves_out_the_own_occurrence_and_what_cannot_be_found() -> None:
    angles = np.deg2rad([0, 1, 20, 50, 51, 90])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    sample = NamedSample(
        vectors=vectors,
        names=np.array([[0], [0], [0], [1], [0], [-1]]),
        ranks=("species",),
        occurrences=np.array([0, 0, 1, 2, 3, 4]),
    )
    # Of the first two the nearest is each other, but of one occurrence; the next is the third. The third's nearest of
    # another is the second. The fourth is alone of its name. The fifth's nearest is the fourth.
    np.testing.assert_array_equal(measure_agreement(vectors, sample)[:, 0], [1, 1, 1, np.nan, 0, np.nan])


def test_names_and_occurrences_are_numbered_by_row() -> None:
    columns = pa.table(
        {"genus": ["Aus", None, "Bus", "Aus"], "species": ["", "", "", ""], "occurrence_id": ["x", "y", "y", "z"]}
    )
    sample = name_sample(np.eye(3, dtype=np.float32), np.array([3, 0, 1]), columns, RANKS)
    assert sample.ranks == ("genus", "species")
    assert sample.names[0, 0] == sample.names[1, 0] >= 0
    assert sample.names[2, 0] == -1
    assert (sample.names[:, 1] == -1).all()
    assert len(np.unique(sample.occurrences)) == 3


def test_hubness_sees_a_hub() -> None:
    rng = np.random.default_rng(0)
    even = unit(rng.normal(size=(300, 3)))
    high = unit(rng.normal(size=(300, 200)))
    hub = unit(np.vstack([high[1:], high.mean(axis=0)]))
    assert abs(measure_hubness(even)) < 0.6
    assert measure_hubness(hub) > measure_hubness(even) + 1
    assert np.isnan(measure_hubness(even[:11]))


def test_a_calibration_is_stored_and_read_back(tmp_path: Path) -> None:
    calibration = estimate_calibration(draw_cone(nuisance=2.0).vectors)
    calibration.write(tmp_path / "calibration.npz")
    again = open_calibration(tmp_path / "calibration.npz")
    np.testing.assert_array_equal(again.mean, calibration.mean)
    np.testing.assert_array_equal(again.transform, calibration.transform)


@pytest.mark.parametrize("damage", ["truncated", "empty", "absent", "text", "shape"])
def test_a_damaged_calibration_is_noticed(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "calibration.npz"
    Calibration(mean=np.zeros(29, np.float32), transform=np.eye(29, dtype=np.float32)).write(path)
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-100])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "absent":
        path.unlink()
    elif damage == "text":
        path.write_text("mean")
    else:
        Calibration(mean=np.zeros(28, np.float32), transform=np.eye(29, dtype=np.float32)).write(path)
    with pytest.raises(CorpusError, match="Run `morphospace index` again"):
        open_calibration(path)


@pytest.mark.shared
def test_real_vectors_gain_neighbours_of_their_taxon(shared_data: Path) -> None:
    table = pq.read_table(shared_data / "vectors" / "bioclip2_treeoflife_1k.parquet")
    flat = np.asarray(table.column("emb").combine_chunks().flatten(), np.float32)
    sample = name_sample(unit(flat.reshape(len(table), -1)), np.arange(len(table)), table, RANKS)
    trial = fit_calibration(sample, seed=0)
    assert trial.calibration is not None
    assert trial.gain_low > 0.02
    assert trial.ranks["class"].calibrated > trial.ranks["class"].raw + 0.03
    assert trial.ranks["order"].calibrated > trial.ranks["order"].raw + 0.05
    assert trial.hubness_raw > 3
    assert trial.hubness_calibrated < 1
