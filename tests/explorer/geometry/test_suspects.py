"""Suspects that were put there are found, with the records that speak against them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from explorer.geometry.dip import P_LEAST, find_dip, rate_dip
from explorer.geometry.duplicates import IDENTICAL, find_duplicates
from explorer.geometry.neighbours import centre_vectors, find_neighbours
from explorer.geometry.splits import find_splits, project_on_first, split_in_two
from explorer.geometry.strangers import find_medians, find_strangers, measure_likeness
from explorer.geometry.suspects import SuspectKind, find_suspects
from tests.explorer.geometry.samples import make_sample, make_species, unit

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"


def taxa_of(names: list[str]) -> dict[str, list[str]]:
    return {"genus": [name.split()[0] for name in names], "species": names}


def test_swapped_labels_are_found_and_the_right_name_is_suggested() -> None:
    vectors, names = make_species(0, n_species=15, n_each=15)
    true = list(names)
    swapped = [3, 40, 77, 120, 200]
    for place in swapped:
        names[place] = names[(place + 60) % len(names)]
    queue = find_suspects(make_sample(vectors, taxa_of(names)))
    labels = [one for one in queue.suspects if one.kind is SuspectKind.LABEL]
    assert {one.row - 100 for one in labels} == set(swapped)
    for one in labels:
        assert one.suggestion in {true[one.row - 100], true[one.row - 100].split()[0]}
        assert one.taxon in names[one.row - 100]
        assert one.score >= 4
        assert {true[row - 100] for row in one.evidence} == {true[one.row - 100]}
        assert one.subject == f"r{one.row - 100}"
        assert f"It is labelled {one.taxon}" in one.reading
    assert not [one for one in queue.suspects if one.kind is SuspectKind.STRANGER]


def test_a_species_with_a_single_record_is_not_called_mislabelled() -> None:
    vectors, names = make_species(1, n_species=12, n_each=12)
    names[5] = "Genus0 lonely"
    queue = find_suspects(make_sample(vectors, taxa_of(names)))
    assert not [one for one in queue.suspects if one.kind is SuspectKind.LABEL]


def test_images_of_the_own_occurrence_do_not_vouch_for_a_label() -> None:
    vectors, names = make_species(2, n_species=12, n_each=12)
    names[0] = names[60]
    doubled = np.repeat(vectors, 2, axis=0)
    sample = make_sample(
        doubled, taxa_of([name for name in names for _ in range(2)]), occurrences=np.repeat(np.arange(len(names)), 2)
    )
    queue = find_suspects(sample)
    assert {one.row for one in queue.suspects if one.kind is SuspectKind.LABEL} == {100, 101}


def test_images_of_something_else_are_strangers() -> None:
    rng = np.random.default_rng(30)
    vectors, names = make_species(3, n_species=12, n_each=12, d=24)
    blank = unit(rng.normal(size=(1, 24)) * 3)
    places = [10, 70, 130]
    vectors[places] = unit(blank + 0.3 * rng.normal(size=(3, 24)))
    queue = find_suspects(make_sample(vectors, taxa_of(names)))
    strangers = [one for one in queue.suspects if one.kind is SuspectKind.STRANGER]
    assert {one.row - 100 for one in strangers} == set(places)
    assert all(one.score >= 3.5 and one.taxon == names[one.row - 100] for one in strangers)
    assert [one.score for one in strangers] == sorted((one.score for one in strangers), reverse=True)
    assert "perhaps a label, a track, an empty frame" in strangers[0].reading


def test_likeness_is_the_mean_cosine_with_other_occurrences() -> None:
    rng = np.random.default_rng(0)
    vectors, codes = unit(rng.normal(size=(30, 5))), np.arange(30) % 3
    occurrences = np.arange(30) // 6 * 3 + codes
    found = measure_likeness(vectors, occurrences, codes)
    for place in range(30):
        others = [
            vectors[(codes == codes[place]) & (occurrences == one)].mean(axis=0)
            for one in np.unique(occurrences[codes == codes[place]])
            if one != occurrences[place]
        ]
        assert found[place] == pytest.approx(np.mean([vectors[place] @ other for other in others]), abs=1e-5)


def test_a_rare_form_with_others_like_it_is_no_stranger() -> None:
    vectors, names = make_species(4, n_species=6, n_each=20)
    form = unit(np.random.default_rng(9).normal(size=(1, 16)))
    vectors[:3] = unit(form + 0.1 * np.random.default_rng(8).normal(size=(3, 16)))
    sample = make_sample(vectors, taxa_of(names))
    centred = centre_vectors(sample.vectors)
    neighbours = find_neighbours(centred, sample.occurrences, np.arange(len(names)), k=10)
    found, n_compared = find_strangers(centred, sample.occurrences, sample.lineages, neighbours)
    assert n_compared == len(names)
    assert not {0, 1, 2} & {one.place for one in found}


def test_medians_are_those_of_each_group() -> None:
    values, codes = np.random.default_rng(0).normal(size=41), np.arange(41) % 4
    expected = [np.median(values[codes == code]) for code in range(4)]
    np.testing.assert_allclose(find_medians(values, codes), expected)


def test_copies_in_other_occurrences_are_put_together_and_relatives_are_not() -> None:
    rng = np.random.default_rng(5)
    vectors, names = make_species(5, n_species=12, n_each=12)
    copies = unit(vectors[[7, 7, 90]] + 0.004 * rng.normal(size=(3, 16)))
    sample = make_sample(np.concatenate([vectors, copies]), taxa_of([*names, names[7], names[7], names[90]]))
    queue = find_suspects(sample)
    groups = [one for one in queue.suspects if one.kind is SuspectKind.DUPLICATE]
    assert {one.subject for one in groups} == {"r7 = r144 = r145", "r90 = r146"}
    assert groups[0].score >= groups[1].score > queue.duplicate_threshold
    assert next(one for one in groups if one.row == 107).evidence == (244, 245)


def test_too_few_records_to_measure_a_threshold_leave_identical_ones() -> None:
    rows = unit(np.random.default_rng(0).normal(size=(20, 6)))
    rows[4] = rows[13]
    neighbours = find_neighbours(rows, np.arange(20), np.arange(20), k=5)
    found = find_duplicates(neighbours, np.arange(20))
    assert (found.threshold, found.n_reference) == (IDENTICAL, 0)
    assert [one.places for one in found.groups] == [(4, 13)]


@pytest.mark.parametrize("n", [6, 9, 12])
def test_the_dip_is_the_distance_to_the_nearest_distribution_with_one_mode(n: int) -> None:
    """Against a linear programme over all such distributions."""
    rng = np.random.default_rng(n)
    for values in (rng.random(n), np.r_[rng.normal(size=n // 2), rng.normal(5, 1, n - n // 2)]):
        assert find_dip(values) == pytest.approx(find_dip_plainly(values), abs=1e-6)
        assert find_dip(3 * values + 7) == pytest.approx(find_dip(values))
        assert find_dip(-values) == pytest.approx(find_dip(values))


def find_dip_plainly(values: np.ndarray) -> float:
    """The least t with a distribution within t of the empirical one, convex before one of the values, concave after."""
    from scipy.optimize import linprog

    x, n = np.sort(values), len(values)
    best = np.inf
    for mode in range(n):
        before, distance = n, n + 1  # The value just before the mode, where the distribution may jump; and t.
        lines: list[np.ndarray] = []
        limits: list[float] = []

        def add(
            terms: dict[int, float], limit: float, lines: list[np.ndarray] = lines, limits: list[float] = limits
        ) -> None:
            line = np.zeros(n + 2)
            line[list(terms)] = list(terms.values())
            lines.append(line)
            limits.append(limit)

        for i in range(n):
            left = before if i == mode else i
            add({left: 1, distance: -1}, i / n)
            add({left: -1, distance: -1}, -i / n)
            add({i: 1, distance: -1}, (i + 1) / n)
            add({i: -1, distance: -1}, -(i + 1) / n)
        add({before: 1, mode: -1}, 0)
        for places, points, sign in (
            ([*range(mode), before], x[: mode + 1], 1),
            ([*range(mode, n)], x[mode:], -1),
        ):
            steps = np.diff(points)
            for a in range(len(places) - 1):
                add({places[a]: 1, places[a + 1]: -1}, 0)
            for a in range(len(places) - 2):
                add(
                    {
                        places[a]: -sign / steps[a],
                        places[a + 1]: sign / steps[a] + sign / steps[a + 1],
                        places[a + 2]: -sign / steps[a + 1],
                    },
                    0,
                )
        found = linprog(np.eye(n + 2)[distance], A_ub=np.array(lines), b_ub=limits, bounds=[(0, 1)] * (n + 2))
        assert found.fun is not None
        best = min(best, float(found.fun))
    return float(best)


def test_two_points_of_equal_weight_have_the_greatest_dip() -> None:
    assert find_dip(np.repeat([0.0, 1.0], 200)) == pytest.approx(0.25)
    assert find_dip(np.arange(10.0)) == pytest.approx(1 / 20)
    assert np.isnan(find_dip(np.empty(0)))


@pytest.mark.parametrize("n", [11, 40])
def test_even_draws_are_rejected_as_often_as_promised_and_normal_ones_no_more(n: int) -> None:
    rng = np.random.default_rng(n)
    even, normal = (
        [rate_dip(find_dip(values), n) for values in draws]
        for draws in (rng.random((600, n)), rng.normal(size=(300, n)))
    )
    assert 0.03 <= np.mean(np.array(even) <= 0.05) <= 0.075
    assert 0.4 <= np.mean(np.array(even) <= 0.5) <= 0.6
    assert np.mean(np.array(normal) <= 0.05) <= 0.05


def test_p_falls_with_the_dip_between_one_and_its_least() -> None:
    dips = np.linspace(1 / 80, 0.25, 60)
    p = [rate_dip(dip, 40) for dip in dips]
    assert p[0] == 1
    assert p[-1] == P_LEAST
    assert (np.diff(p) <= 0).all()
    assert np.isnan(rate_dip(0.1, 9))
    assert rate_dip(0.05, 5_000) == P_LEAST


def test_a_species_in_two_clusters_is_found_and_even_ones_are_not() -> None:
    rng = np.random.default_rng(60)
    vectors, names = make_species(6, n_species=10, n_each=40, d=24)
    step = rng.normal(size=24)
    vectors[:14] = unit(vectors[:14] + 0.6 * step / np.linalg.norm(step))
    queue = find_suspects(make_sample(vectors, taxa_of(names)))
    (found,) = [one for one in queue.suspects if one.kind is SuspectKind.SPLIT]
    assert found.subject == names[0]
    assert "fall in two clusters of 14 and 26" in found.reading
    assert 0 <= found.row - 100 < 14
    assert {row - 100 < 14 for row in found.evidence[2:]} == {False}


def test_clusters_of_images_inside_occurrences_are_no_split() -> None:
    rng = np.random.default_rng(7)
    rows = rng.normal(size=(40, 12))
    views = np.stack([rows + 4, rows - 4], axis=1).reshape(80, 12)
    found, n_tested = find_splits(unit(views), np.repeat(np.arange(40), 2), np.zeros(80, dtype=np.int64))
    assert (found, n_tested) == ((), 1)
    apart, _ = find_splits(unit(views), np.arange(80), np.zeros(80, dtype=np.int64))
    assert apart[0].sizes == (40, 40)


def test_the_split_in_two_is_the_one_with_the_least_squares() -> None:
    from sklearn.cluster import KMeans

    values = np.random.default_rng(0).normal(size=30)
    values[:11] += 4
    labels = KMeans(2, n_init=20, random_state=0).fit_predict(values[:, None])
    low = labels[values.argmin()]
    assert split_in_two(values) == (labels == low).sum()


def test_coordinates_on_the_first_component_are_those_of_scikit_learn() -> None:
    from sklearn.decomposition import PCA

    rows = np.random.default_rng(0).normal(size=(20, 6)) * [3, 1, 1, 1, 1, 1]
    found, expected = project_on_first(rows), PCA(1).fit_transform(rows)[:, 0]
    np.testing.assert_allclose(np.abs(found), np.abs(expected), atol=1e-8)
    assert not project_on_first(np.ones((12, 3))).any()


def test_kinds_that_the_records_do_not_allow_are_named_with_their_reason() -> None:
    rng = np.random.default_rng(0)
    queue = find_suspects(make_sample(rng.normal(size=(40, 5)), {"species": [f"s{i}" for i in range(40)]}))
    assert {one.statistic for one in queue.skipped} == {"suspects_label", "suspects_stranger", "suspects_split"}
    assert all("occurrences" in one.reason for one in queue.skipped)
    small = find_suspects(make_sample(rng.normal(size=(5, 5)), {"species": ["s"] * 5}))
    assert len(small.skipped) == 4
    assert small.suspects == ()
    assert small.reading.startswith("Of 5 records a person should look at 0 labels")


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.exists(), reason="../shared/data is absent")
def test_known_copies_among_real_photographs_are_found_and_butterflies_are_not() -> None:
    table = pq.read_table(SHARED / "vectors" / "mobilenet_v2_imagenet.parquet")
    manifest = pa_csv.read_csv(SHARED / "images" / "manifest.csv").to_pylist()
    scientific = {line["file"]: line["scientific_name"] or "" for line in manifest}
    files = table.column("file").to_pylist()
    names = [" ".join(scientific[file].split()[:2]) for file in files]
    vectors = np.stack(table.column("emb").to_numpy())
    specimens = [file.removesuffix("_D_lowres.png").removesuffix("_V_lowres.png") for file in files]
    sample = make_sample(vectors, {"species": names}, occurrences=np.array(specimens), record_ids=files)
    copies = [one.subject for one in find_suspects(sample).suspects if one.kind is SuspectKind.DUPLICATE]
    assert "fungi/armsin_0.jpg = fungi/armsin_1.jpg" in copies
    assert len(copies) >= 8
    assert not [subject for subject in copies if "heliconius" in subject]
