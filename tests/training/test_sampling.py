"""Batches: which species come up how often, whose pictures come in turn, and that a step depends on the seed alone."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pyarrow as pa
import pytest
from jaxtyping import Int64

import training.sampling
from indexer.errors import InputError
from training.sampling import limit_weights, number_taxa, plan_batches, species_weights
from training.settings import DataConfig, Sampling

RANKS = ("kingdom", "phylum", "class", "order", "family", "genus", "species")
COUNTS = np.array([1, 2, 4, 8, 16, 64, 3, 3, 9, 25])
SPECIES = np.random.default_rng(0).permutation(np.repeat(np.arange(10) * 7, COUNTS))
EVERY = np.arange(len(SPECIES))


def draw(
    n_steps: int, *, batch_size: int = 5, seed: int = 0, first_step: int = 0, **config: object
) -> Int64[np.ndarray, "k b"]:
    batches = plan_batches(SPECIES, EVERY, DataConfig(**config), batch_size, seed, first_step=first_step)  # type: ignore[arg-type]
    return np.stack(list(islice(batches, n_steps)))


def count_species(batches: Int64[np.ndarray, "k b"]) -> Int64[np.ndarray, " s"]:
    return np.bincount(SPECIES[batches].ravel() // 7, minlength=len(COUNTS))


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        (Sampling.NATURAL, [1 / 30, 4 / 30, 25 / 30]),
        (Sampling.CAPPED, [1 / 9, 4 / 9, 4 / 9]),
        (Sampling.SQRT, [1 / 8, 2 / 8, 5 / 8]),
        (Sampling.BALANCED, [1 / 3, 1 / 3, 1 / 3]),
    ],
)
def test_the_weights_of_three_species_are_those_of_a_pencil(sampling: Sampling, expected: list[float]) -> None:
    np.testing.assert_allclose(species_weights(np.array([1, 4, 25]), sampling, cap=4), expected)


def test_a_species_that_fills_every_batch_leaves_the_rest_to_the_others() -> None:
    np.testing.assert_allclose(limit_weights(np.array([0.1, 0.1, 0.8]), 2), [0.25, 0.25, 0.5])
    np.testing.assert_allclose(limit_weights(np.array([0.02, 0.08, 0.3, 0.6]), 3), [1 / 15, 4 / 15, 1 / 3, 1 / 3])
    np.testing.assert_allclose(limit_weights(np.array([0.5, 0.3, 0.2]), 3), [1 / 3] * 3)
    np.testing.assert_allclose(limit_weights(np.array([0.3, 0.4, 0.3]), 1), [0.3, 0.4, 0.3])


@pytest.mark.parametrize("unique", [True, False])
@pytest.mark.parametrize("sampling", list(Sampling))
def test_species_come_up_as_often_as_their_weights_say(sampling: Sampling, unique: bool) -> None:
    batches = draw(2000, sampling=sampling, cap=4, unique_species=unique)
    weights = species_weights(COUNTS, sampling, cap=4)
    expected = limit_weights(weights, 5) if unique else weights
    np.testing.assert_allclose(count_species(batches) / batches.size, expected, atol=0.004)


@pytest.mark.parametrize("sampling", list(Sampling))
def test_no_species_comes_twice_in_a_batch(sampling: Sampling) -> None:
    species = np.sort(SPECIES[draw(500, sampling=sampling)], axis=1)
    assert (np.diff(species, axis=1) > 0).all()


def test_species_repeat_in_a_batch_where_they_may() -> None:
    species = np.sort(SPECIES[draw(500, unique_species=False, batch_size=8)], axis=1)
    n_repeats = (np.diff(species, axis=1) == 0).sum(axis=1).mean()
    independent = 8 - 10 * (1 - 0.9**8)
    assert n_repeats == pytest.approx(independent, rel=0.1)


@pytest.mark.parametrize("unique", [True, False])
def test_species_meet_each_other_evenly(unique: bool) -> None:
    """As many common batches for each pair of species; a batch is no fixed neighbourhood."""
    batches = SPECIES[draw(3000, unique_species=unique, batch_size=4)] // 7
    met = np.zeros((10, 10))
    for batch in batches:
        met[np.ix_(np.unique(batch), np.unique(batch))] += 1
    pairs = met[np.triu_indices(10, 1)]
    assert pairs.min() > 0.85 * pairs.mean()
    assert pairs.max() < 1.15 * pairs.mean()


@pytest.mark.parametrize("unique", [True, False])
def test_the_pictures_of_a_species_come_in_turn_and_are_reshuffled(unique: bool) -> None:
    batches = draw(400, unique_species=unique)
    mine = batches[SPECIES[batches] == 4 * 7]
    rounds = [mine[start : start + 16].tolist() for start in range(0, len(mine) - 15, 16)]
    own = sorted(np.flatnonzero(SPECIES == 4 * 7).tolist())
    assert len(rounds) >= 8
    assert all(sorted(one) == own for one in rounds)
    assert len({tuple(one) for one in rounds}) == len(rounds)


def test_a_natural_pass_shows_every_picture_once() -> None:
    seen = draw(27 * 3, sampling=Sampling.NATURAL, unique_species=False).ravel()
    for number in range(3):
        assert sorted(seen[number * 135 : (number + 1) * 135]) == EVERY.tolist()
    assert seen[:135].tolist() != seen[135:270].tolist()


def test_a_capped_pass_shows_at_most_the_cap_of_each_species() -> None:
    asked = np.minimum(COUNTS, 4)
    n_steps = int(asked.sum())
    batches = draw(n_steps, sampling=Sampling.CAPPED, cap=4, unique_species=False)
    for number in range(5):
        assert count_species(batches.ravel()[number * n_steps :][:n_steps]).tolist() == asked.tolist()


@pytest.mark.parametrize("unique", [True, False])
@pytest.mark.parametrize("sampling", list(Sampling))
def test_a_start_in_the_middle_gives_the_same_batches(sampling: Sampling, unique: bool) -> None:
    whole = draw(120, sampling=sampling, cap=4, unique_species=unique)
    for first in (1, 27, 100):
        assert (draw(20, sampling=sampling, cap=4, unique_species=unique, first_step=first) == whole[first:][:20]).all()


def test_the_seed_alone_decides() -> None:
    assert (draw(30) == draw(30)).all()
    assert (draw(30) != draw(30, seed=1)).any()


def test_only_the_given_positions_are_drawn() -> None:
    kept = np.array([p for p in EVERY if p % 3])
    batches = plan_batches(SPECIES, kept, DataConfig(unique_species=False), 4, 0)
    drawn = np.unique(np.stack(list(islice(batches, 400))))
    assert set(drawn.tolist()) == set(kept.tolist())


def test_pictures_of_unknown_species_are_species_of_their_own() -> None:
    species = np.array([-1, -1, -1, 4, 4])
    batches = np.stack(list(islice(plan_batches(species, np.arange(5), DataConfig(), 4, 0), 50)))
    assert all({0, 1, 2} < set(batch.tolist()) for batch in batches)


def _make_records(*lineages: str) -> pa.Table:
    """Records of lineages as "kingdom//class", empty where unnamed."""
    rows = [[name or None for name in (lineage + "/" * 6).split("/")[:7]] for lineage in lineages]
    return pa.table(
        {rank: pa.array(cells, pa.string()) for rank, cells in zip(RANKS, zip(*rows, strict=True), strict=True)}
    )


def test_a_record_has_the_number_of_its_lowest_taxon() -> None:
    pica, corvid = "Animalia/Chordata/Aves/Passeriformes/Corvidae/Pica", "Animalia/Chordata/Aves/Passeriformes/Corvidae"
    records = _make_records(
        f"{pica}/Pica pica", "//////Pica pica", pica, pica, corvid, "", " ", "Plantae/////Pica", corvid
    )
    first, same, genus, again, family, none, blank, homonym, kin = number_taxa(records).tolist()
    assert first == same
    assert genus == again
    assert family == kin
    assert none == blank == -1
    assert len({first, genus, family, homonym, -1}) == 5


def test_pictures_of_a_genus_alone_come_up_as_one_species_does() -> None:
    records = _make_records(*["/////Pica/Pica pica"] * 5, *["/////Corvus/Corvus corax"] * 5, *["/////Vanessa"] * 90)
    taxa = number_taxa(records)
    config = DataConfig(sampling=Sampling.BALANCED, unique_species=False)
    drawn = np.stack(list(islice(plan_batches(taxa, np.arange(100), config, 10, 0), 300)))
    assert np.mean(drawn >= 10) == pytest.approx(1 / 3, abs=0.02)


def test_long_passes_are_cut_and_keep_the_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training.sampling, "LONGEST_PASS", 20)
    for unique in (True, False):
        batches = draw(3000, sampling=Sampling.NATURAL, unique_species=unique)
        weights = species_weights(COUNTS, Sampling.NATURAL, cap=1)
        expected = limit_weights(weights, 5) if unique else weights
        np.testing.assert_allclose(count_species(batches) / batches.size, expected, atol=0.005)


def test_the_share_of_a_process_holds_all_kinds_of_species() -> None:
    """A process takes a run of the batch, so the order inside a batch must be free of the species."""
    first = SPECIES[draw(3000, sampling=Sampling.NATURAL)][:, 0] // 7
    expected = limit_weights(species_weights(COUNTS, Sampling.NATURAL, cap=1), 5)
    np.testing.assert_allclose(np.bincount(first, minlength=10) / len(first), expected, atol=0.03)


def test_too_large_batches_are_refused_with_a_way_out() -> None:
    with pytest.raises(InputError, match=r"holds 10 species.*at most 10, or data\.unique_species = false"):
        draw(1, batch_size=11)
    with pytest.raises(InputError, match=r"holds 135 pictures.*at most 135"):
        draw(1, batch_size=136, unique_species=False)
