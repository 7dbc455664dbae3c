"""The figures that a training run logs, and the words and numbers of a finding."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from explorer.geometry.emergence import make_measure, measure_emergence, read_numbers
from explorer.geometry.finding import Estimate, Side, average_estimates, find_error, find_uneven_error
from tests.explorer.geometry.planted import Planted, plant


def list_records(planted: Planted) -> pa.Table:
    return pa.table(
        {
            "species": [f"Genus{g} species{s}" for g, s in zip(planted.genera, planted.species, strict=True)],
            "genus": [f"Genus{genus}" for genus in planted.genera],
            "lifeStage": ["juvenile | young" if state else "adult" for state in planted.states],
            "beakDepth": [f"{value:.4f}" for value in planted.ecology[:, 0]],
            "sex": pa.nulls(len(planted.species), pa.string()),
        }
    )


def test_a_measure_logs_every_figure_that_the_records_allow() -> None:
    planted = plant(0, step=2.0, ecology=2.0)
    measure = make_measure(("lifeStage", "sex", "beakDepth", "absent"), n_shuffles=9)
    figures = measure(planted.vectors.astype(np.float32), list_records(planted))
    assert {name for name in figures if not any(part in name for part in ("_low", "_high", "_p", "_chance"))} == {
        "span_share",
        "span10_share",
        "fisher/lifeStage",
        "direction10_share/lifeStage",
        "auc/lifeStage",
        "rho/beakDepth",
        "species_rho/beakDepth",
    }
    assert figures["auc/lifeStage"] > 0.8
    assert figures["auc_p/lifeStage"] == pytest.approx(0.1)
    assert all(np.isfinite(value) for value in figures.values())


def test_a_reading_is_a_sentence_with_its_numbers() -> None:
    planted = plant(0, ecology=2.0)
    found = measure_emergence(planted.vectors, list_records(planted), ["beakDepth"], n_shuffles=9)
    rho = next(one for one in found if one.statistic == "rho")
    assert rho.reading.startswith("Inside genera that it never saw, a linear probe reads beakDepth from single records")
    assert f"{rho.value:.2f} [{rho.low:.2f}, {rho.high:.2f}]; shuffled" in rho.reading
    assert rho.reading.endswith("p = 0.1.")


def test_an_occurrence_counts_once_inside_species() -> None:
    planted = plant(1, step=2.0, n_each=4)
    images = np.repeat(np.arange(240), np.arange(240) % 5 + 1)
    records = list_records(planted).append_column("occurrence_id", pa.array([f"o{i}" for i in range(240)]))
    single = measure_emergence(planted.vectors, records, ["lifeStage"], n_shuffles=9)
    many = measure_emergence(planted.vectors[images], records.take(images), ["lifeStage"], n_shuffles=9)
    assert [one.statistic for one in single] == ["span_share", "span10_share", "fisher", "auc"]
    assert [one.value for one in many] == pytest.approx([one.value for one in single])
    assert [one.p for one in many] == pytest.approx([one.p for one in single])
    assert many[2].n > single[2].n


def test_numbers_are_told_from_words() -> None:
    np.testing.assert_array_equal(read_numbers(["1.5", None, "", "-2"]), [1.5, np.nan, np.nan, -2])
    assert read_numbers(["1.5", "adult"]) is None
    assert read_numbers([None, ""]) is None


def test_p_counts_the_data_as_one_shuffle_and_ties_as_extreme() -> None:
    estimate = Estimate(value=0.5, error=0.1, degrees=9, shuffled=np.array([0.1, 0.5, 0.9, 0.2]))
    assert estimate.find_p(Side.GREATER) == pytest.approx(3 / 5)
    assert estimate.find_p(Side.LESS) == pytest.approx(4 / 5)
    assert estimate.find_interval() == pytest.approx((0.5 - 0.2262, 0.5 + 0.2262), abs=1e-4)


def test_the_jackknife_of_a_mean_is_its_standard_error() -> None:
    values = np.random.default_rng(0).normal(size=30)
    without = (values.sum() - values) / 29
    assert find_error(without) == pytest.approx(values.std(ddof=1) / np.sqrt(30))
    assert np.isnan(find_error(without[:1]))


def test_blocks_of_unequal_size_have_the_error_of_a_mean_all_the_same() -> None:
    values = np.random.default_rng(0).normal(size=(2000, 12))
    sizes = np.array([1, 1, 1, 1, 2, 2, 4])
    ends = np.cumsum(sizes)
    errors = []
    for row in values:
        without = np.array(
            [np.delete(row, np.arange(end - size, end)).mean() for size, end in zip(sizes, ends, strict=True)]
        )
        errors.append(find_uneven_error(row.mean(), without, sizes) ** 2)
    assert np.mean(errors) == pytest.approx(1 / 12, rel=0.05)
    without = (values[0].sum() - values[0]) / 11
    even = find_uneven_error(values[0].mean(), without, np.ones(12, dtype=int))
    assert even == pytest.approx(find_error(without))
    assert np.isnan(find_uneven_error(0.0, without[:1], np.ones(1, dtype=int)))


def test_the_mean_of_strata_has_the_error_of_a_mean() -> None:
    one = Estimate(value=0.2, error=0.3, degrees=7, shuffled=np.array([0.0, 0.2]))
    other = Estimate(value=0.6, error=0.4, degrees=7, shuffled=np.array([0.2, 0.0]))
    mean = average_estimates([one, other])
    assert (mean.value, mean.error, mean.degrees) == pytest.approx((0.4, 0.25, 14))
    np.testing.assert_allclose(mean.shuffled, [0.1, 0.1])
