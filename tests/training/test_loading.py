"""Batches: what they hold, and that processes, workers and a restart do not change them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from jaxtyping import Int64

from indexer.errors import InputError
from indexer.preprocessing import ResizeMode, resize_pixels
from tests.training.small_datasets import SIDE, CodeLetters, MemoryDataset, make_dataset, make_pairs, square
from training import loading
from training.examples import Batch
from training.loading import draw_generators, load_batches, order_replay, write_sample_captions
from training.settings import TrainingConfig, override_config

STILL = {"data.mirror": False, "data.max_shift": 0, "data.light": 0}


def _configure(**changes: object) -> TrainingConfig:
    named = {name.replace("__", "."): value for name, value in changes.items()}
    return override_config(TrainingConfig(), {"captions.trait_share": 0.5, **named})


def _plan(n: int, n_steps: int, size: int = 6) -> list[Int64[np.ndarray, " b"]]:
    rng = np.random.default_rng(0)
    return [rng.permutation(n)[:size] for _ in range(n_steps)]


def _load(
    dataset: MemoryDataset, batches: list[Int64[np.ndarray, " b"]], config: TrainingConfig, **options: int
) -> list[Batch]:
    return list(load_batches(dataset, batches, config, square(), CodeLetters(), **options))  # type: ignore[arg-type]


def _assert_same(left: Batch, right: Batch) -> None:
    for name, one, other in zip(Batch._fields, left, right, strict=True):
        assert (one is None) == (other is None), name
        assert one is None or other is None or torch.equal(one, other), name


def test_a_batch_holds_the_pictures_of_its_positions() -> None:
    dataset, plan = make_dataset(30), _plan(30, 3)
    batches = _load(dataset, plan, _configure(**STILL))
    for positions, batch in zip(plan, batches, strict=True):
        assert batch.pixels.shape == (6, 3, SIDE, SIDE)
        np.testing.assert_array_equal(batch.pixels.permute(0, 2, 3, 1).numpy(), dataset.pixels[positions])
        same = batch.lineage[:, 6][:, None] == batch.lineage[:, 6]
        np.testing.assert_array_equal(same.numpy(), (positions[:, None] - positions) % 3 == 0)


def test_larger_pictures_are_framed_as_at_inference() -> None:
    dataset = make_dataset(4, height=40, width=30)
    preprocessing = square(ResizeMode.CROP)
    config = _configure(**STILL)
    batch = next(load_batches(dataset, [np.arange(4)], config, preprocessing, CodeLetters()))
    expected = np.stack([resize_pixels(pixels, preprocessing) for pixels in dataset.pixels])
    np.testing.assert_array_equal(batch.pixels.numpy(), expected)


def test_every_claim_of_a_text_is_a_fact_of_its_picture() -> None:
    n_claims = 0
    for batch in _load(make_dataset(30), _plan(30, 20), _configure()):
        held = (batch.claims[:, :, None] == batch.facts[:, None, :]).any(dim=2)
        assert bool((held | (batch.claims == 0)).all())
        n_claims = max(n_claims, int((batch.claims > 0).sum(dim=1).max()))
    assert n_claims >= 3


def test_codes_are_those_of_the_captions() -> None:
    batches = _load(make_dataset(30), _plan(30, 5), _configure(captions__template_share=1.0))
    assert all(row.tolist() == [ord(letter) for letter in "a photo of "] for row in batches[0].codes[:, :11])


def test_two_processes_share_out_the_very_batches_of_one() -> None:
    dataset, plan, config = make_dataset(30), _plan(30, 4), _configure(data__min_crop=0.5)
    whole = _load(dataset, plan, config)
    halves = [_load(dataset, plan, config, process=process, n_processes=2) for process in (0, 1)]
    for batch, *parts in zip(whole, *halves, strict=True):
        for part, *shares in zip(batch[:5], *(one[:5] for one in parts), strict=True):
            assert part is not None
            assert torch.equal(part, torch.cat([share for share in shares if share is not None]))


def test_a_run_that_goes_on_sees_the_batches_it_would_have_seen() -> None:
    dataset, plan, config = make_dataset(30), _plan(30, 6), _configure()
    whole, rest = _load(dataset, plan, config), _load(dataset, plan[4:], config, first_step=4)
    for one, other in zip(whole[4:], rest, strict=True):
        _assert_same(one, other)
    with pytest.raises(AssertionError):
        _assert_same(whole[0], _load(dataset, plan, config, first_step=1)[0])


def test_another_seed_gives_other_views_and_texts() -> None:
    dataset, plan = make_dataset(30), _plan(30, 1)
    one, other = (_load(dataset, plan, _configure(seed=seed))[0] for seed in (0, 1))
    assert not torch.equal(one.pixels, other.pixels)
    assert not torch.equal(one.codes, other.codes)


def test_workers_give_the_same_batches_substitutes_and_errors() -> None:
    plan = [*_plan(20, 3), np.arange(18, 24), np.array([21, 21])]
    dataset, pairs = make_dataset(24, height=20, width=30, broken=(3, 21)), make_pairs(7, broken=(2,))
    config = _configure(data__min_crop=0.8, replay__batch_size=2)
    told: dict[int, list[str]] = {0: [], 1: []}
    alone, batches = (
        load_batches(
            dataset,
            plan,
            override_config(config, {"data.n_workers": n}),
            square(),
            CodeLetters(),
            replay=pairs,
            announce=told[n].append,
        )
        for n in (0, 1)
    )
    global_state = torch.random.get_rng_state()
    for batch in itertools.islice(alone, 4):
        _assert_same(next(batches), batch)
    assert torch.equal(torch.random.get_rng_state(), global_state)
    assert told[0] == told[1]
    assert told[0][0].startswith("memory: 1 pictures could not be read so far, such as: p")
    for loader in (alone, batches):
        with pytest.raises(InputError, match=r"^memory: none of the 2 pictures .* picture 21: is broken; fetch it"):
            next(loader)


def test_another_picture_of_the_batch_stands_in_for_one_that_cannot_be_read() -> None:
    plan, config = [np.arange(6)] * 40, _configure(**STILL, captions__trait_share=0, replay__batch_size=4)
    dataset, pairs = make_dataset(6, broken=(1, 4)), make_pairs(4, broken=(0,))
    batches = list(load_batches(dataset, plan, config, square(), CodeLetters(), replay=pairs))
    whole = _load(make_dataset(6), plan, config)
    places = set()
    for batch, unbroken in zip(batches, whole, strict=True):
        squares = batch.pixels.permute(0, 2, 3, 1).numpy()
        shown = [int(np.flatnonzero((dataset.pixels == one).all(axis=(1, 2, 3)))[0]) for one in squares]
        assert [shown[i] for i in (0, 2, 3, 5)] == [0, 2, 3, 5]
        assert {shown[1], shown[4]} <= {0, 2, 3, 5}
        assert torch.equal(batch.lineage, unbroken.lineage[shown])
        places.add((shown[1], shown[4]))
        assert batch.replay_pixels is not None
        assert batch.replay_codes is not None
        for pixels, codes in zip(batch.replay_pixels.permute(0, 2, 3, 1).numpy(), batch.replay_codes, strict=True):
            np.testing.assert_array_equal(pixels, pairs.pixels[int(chr(int(codes[0])))])
    assert len(places) > 8
    assert max(dataset.reads.count(1), dataset.reads.count(4)) == 1


def test_substitutes_are_the_same_for_processes_and_after_a_restart() -> None:
    plan, config = _plan(30, 6), _configure(data__min_crop=0.5)
    broken = tuple(range(0, 30, 7))
    whole = _load(make_dataset(30, broken=broken), plan, config)
    halves = [_load(make_dataset(30, broken=broken), plan, config, process=i, n_processes=2) for i in (0, 1)]
    rest = _load(make_dataset(30, broken=broken), plan[4:], config, first_step=4)
    for batch, *parts in zip(whole, *halves, strict=True):
        assert torch.equal(batch.pixels, torch.cat([part.pixels for part in parts]))
        assert torch.equal(batch.codes, torch.cat([part.codes for part in parts]))
    for one, other in zip(whole[4:], rest, strict=True):
        _assert_same(one, other)


def test_a_run_with_too_many_unreadable_pictures_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "N_JUDGED", 60)
    few, many = make_dataset(30, broken=(4,)), make_dataset(30, broken=tuple(range(5)))
    lines: list[str] = []
    plan = [np.arange(30)] * 9
    assert len(_load(few, plan, _configure())) == 9
    loader = load_batches(many, plan, _configure(), square(), CodeLetters(), announce=lines.append)
    next(loader)
    with pytest.raises(
        InputError, match=r"^memory: 10 of 60 pictures asked for could not be read.* at most 10%\. Mend"
    ):
        next(loader)
    assert lines == [
        "memory: 5 pictures could not be read so far, such as: picture 4: is broken; fetch it again; others of their "
        "batches stand in for them"
    ]


def test_a_batch_that_cannot_be_shared_evenly_is_refused() -> None:
    with pytest.raises(InputError, match=r"a batch of 6 pictures .* by 4 processes; set engine\.batch_size"):
        _load(make_dataset(10), _plan(10, 1), _configure(), n_processes=4)


def test_generators_follow_from_seed_step_and_place_alone() -> None:
    def draw(step: int, places: slice, seed: int) -> list[float]:
        return [rng.random() for rng in draw_generators(step, places, seed=seed)]

    whole = draw(5, slice(0, 1000), 3)
    assert draw(5, slice(400, 500), 3) == whole[400:500]
    assert len({*whole, *draw(6, slice(0, 1000), 3), *draw(5, slice(0, 1000), 4)}) == 3000
    assert np.mean(whole) == pytest.approx(0.5, abs=0.04)


def test_the_replay_shows_every_pair_once_before_any_comes_again() -> None:
    seen = np.concatenate([order_replay(step, 4, 10, seed=3) for step in range(10)])
    for turn in range(4):
        assert sorted(seen[turn * 10 : turn * 10 + 10].tolist()) == list(range(10))
    assert seen[:10].tolist() != seen[10:20].tolist()
    assert sorted(order_replay(0, 25, 10, seed=3).tolist()[:10]) == list(range(10))


def test_the_order_of_the_replay_is_drawn_once_a_turn() -> None:
    loading._order_turn.cache_clear()
    for step in range(10):
        order_replay(step, 4, 20, seed=3)
    assert loading._order_turn.cache_info().misses == 2


def test_replay_pictures_come_with_their_own_captions() -> None:
    pairs, config = make_pairs(9), _configure(**STILL, replay__batch_size=4)
    loader = load_batches(make_dataset(6), _plan(6, 2), config, square(), CodeLetters(), replay=pairs)
    for step, batch in enumerate(loader):
        positions = order_replay(step, 4, 9, seed=0)
        assert batch.replay_pixels is not None
        assert batch.replay_codes is not None
        np.testing.assert_array_equal(batch.replay_pixels.permute(0, 2, 3, 1).numpy(), pairs.pixels[positions])
        assert batch.replay_codes[:, 0].tolist() == [ord(str(position)) for position in positions]


def test_a_picture_is_decoded_once_as_long_as_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = [np.arange(4)] * 5
    dataset = make_dataset(4, height=20, width=30)
    _load(dataset, plan, _configure())
    assert sorted(dataset.reads) == [0, 1, 2, 3]
    monkeypatch.setattr(loading, "KEPT_BYTES", 2 * SIDE * SIDE * 3)
    cramped = make_dataset(4, height=20, width=30)
    batches = _load(cramped, plan, _configure())
    assert len(cramped.reads) == 2 + 5 * 2
    _assert_same(batches[3], _load(dataset, plan, _configure())[3])


def test_crops_are_taken_from_the_whole_picture_each_time() -> None:
    dataset = make_dataset(4, height=20, width=30)
    _load(dataset, [np.arange(4)] * 3, _configure(data__min_crop=0.5))
    assert len(dataset.reads) == 12


def test_a_loader_that_is_closed_stops() -> None:
    endless = itertools.repeat(np.arange(6))
    loader = load_batches(make_dataset(6), endless, _configure(), square(), CodeLetters())
    next(loader)
    loader.close()  # type: ignore[attr-defined]
    assert list(loader) == []


def test_sample_captions_are_texts_of_the_asked_pictures() -> None:
    dataset, config = make_dataset(9), _configure(captions__trait_share=0.0)
    texts = list(write_sample_captions(dataset, [2, 5], config, 40))
    assert texts == list(write_sample_captions(dataset, [2, 5], config, 40))
    assert len(texts) == 40
    words = ("Vanessa", "Nymphalidae", "Lepidoptera", "Insecta")
    assert all(any(word in text for word in words) for text in texts)
