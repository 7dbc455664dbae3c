"""States inside species: separation, direction and probe, on vectors whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from explorer.geometry.variants import choose_contrast, measure_direction, measure_separation, probe_states
from tests.explorer.geometry.planted import plant


def test_the_contrast_is_of_the_two_values_that_most_species_show() -> None:
    values = [
        "adult",
        "adult",
        "egg",
        "egg",
        "adult",
        "adult",
        "larva",
        "larva",
        None,
        "adult",
        "adult",
        "larva",
        "larva",
    ]
    species = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1, 2, 2, 2, 2])
    contrast = choose_contrast("lifeStage", values, species)
    assert contrast is not None
    assert contrast.names == ("adult", "larva")
    assert contrast.codes.tolist() == [0, 0, -1, -1, 0, 0, 1, 1, -1, 0, 0, 1, 1]
    assert choose_contrast("sex", ["male", "female"], np.array([0, 1])) is None
    assert choose_contrast("sex", ["male", None], np.array([0, 0])) is None


def test_the_fisher_ratio_is_the_squared_step_over_both_variances() -> None:
    found = [
        measure_separation(p.vectors, p.species, p.contrast, n_shuffles=0)
        for p in (plant(s, step=2.0) for s in range(60))
    ]
    values = [one.value for one in found if one]
    assert np.mean(values) == pytest.approx(4 / 24, abs=0.01)
    assert np.mean([one.low <= 4 / 24 <= one.high for one in found if one]) >= 0.88


def test_states_that_do_not_differ_have_no_separation_and_are_rejected_as_rarely_as_promised() -> None:
    p, values = [], []
    for seed in range(60):
        planted = plant(seed, n_genera=6, d=8)
        found = measure_separation(planted.vectors, planted.species, planted.contrast, n_shuffles=19, seed=seed)
        assert found is not None
        p.append(found.p)
        values.append(found.value)
    assert np.mean(values) == pytest.approx(0, abs=0.02)
    assert np.mean(np.array(p) <= 0.05) <= 0.11


@pytest.mark.parametrize("inside", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("stage_share", [0.4, None])
def test_the_share_of_a_step_in_the_span_is_found_also_where_states_are_unbalanced(
    inside: float, stage_share: float | None
) -> None:
    found = []
    for seed in range(30):
        planted = plant(seed, step=2.0, step_inside=inside, stage_share=stage_share)
        found.append(
            measure_direction(planted.vectors, planted.species, planted.contrast, n_dimensions=4, n_shuffles=0)
        )
    assert np.mean([one.value for one in found if one]) == pytest.approx(inside, abs=0.06)
    assert np.mean([one.low <= inside <= one.high for one in found if one]) >= 0.8


def test_a_step_outside_the_span_is_told_from_the_rest_of_the_variation() -> None:
    planted = plant(0, step=2.0)
    found = measure_direction(planted.vectors, planted.species, planted.contrast, n_dimensions=4, n_shuffles=99)
    assert found is not None
    assert found.statistic == "direction4_share"
    assert found.p == pytest.approx(0.01)
    assert found.null_low < 4 / 12 < found.null_high
    assert found.reading.endswith(
        "0.33; p asks whether the step is more orthogonal to the species than the rest of the variation inside them."
    )


def test_a_probe_reads_the_states_of_genera_it_never_saw() -> None:
    from scipy.stats import norm

    planted = plant(0, step=1.5, n_genera=24)
    found = probe_states(planted.vectors, planted.species, planted.genera, planted.contrast, n_shuffles=19)
    assert found is not None
    # The best that can be: the step over the spread of a difference of two records.
    assert found.value == pytest.approx(norm.cdf(1.5 / np.sqrt(2)), abs=0.04)
    assert found.low < norm.cdf(1.5 / np.sqrt(2))
    assert found.p == pytest.approx(0.05)
    assert found.n_groups == 24


def test_what_the_species_alone_tells_about_the_state_is_in_the_null() -> None:
    p = []
    for seed in range(40):
        planted = plant(seed, stage_share=None, n_genera=16, n_each=6, d=8)
        found = probe_states(
            planted.vectors, planted.species, planted.genera, planted.contrast, n_shuffles=19, seed=seed
        )
        assert found is not None
        p.append(found.p)
    assert np.mean(np.array(p) <= 0.05) <= 0.13


def test_too_little_gives_no_figure() -> None:
    planted = plant(0, n_genera=2)
    few = (planted.vectors, planted.species)
    assert measure_separation(*few, planted.contrast) is None
    assert measure_direction(*few, planted.contrast) is None
    assert probe_states(*few, planted.genera, planted.contrast) is None


def test_a_direction_in_a_fixed_span_needs_more_species_than_one_in_a_free_one() -> None:
    planted = plant(0, n_genera=6, n_each=12)
    asked = (planted.vectors, planted.species, planted.contrast)
    assert measure_direction(*asked, n_dimensions=10, n_shuffles=0) is None
    assert measure_direction(*asked, n_shuffles=0) is not None


def test_vectors_that_are_all_the_same_have_no_figure_and_no_p() -> None:
    planted = plant(0)
    same = np.ones_like(planted.vectors)
    for measure in (measure_separation, measure_direction):
        found = measure(same, planted.species, planted.contrast, n_shuffles=9)
        assert found is not None
        assert np.isnan([found.value, found.p, found.null_high]).all()
