"""What the encoder in data/bundled promises, on pictures drawn anew; floors well below what its model card reports."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from training.progress import keep_quiet
from training.settings import ModelConfig, SmallConfig
from training.synthetic.ecology import BodyPlan
from training.synthetic.phylogeny import Species, grow_tree
from training.synthetic.pictures import PictureSet, Stream, draw_set, list_sitters
from training.synthetic.states import State
from training.towers import Towers, open_towers

BUNDLED = Path(__file__).resolve().parents[2] / "data" / "bundled"


@pytest.fixture(scope="module")
def towers() -> Towers:
    return open_towers(ModelConfig(start=f"local-dir:{BUNDLED}"), SmallConfig(), texts=None, announce=print)


@pytest.fixture(scope="module")
def tree() -> tuple[Species, ...]:
    return grow_tree(0)


@pytest.fixture(scope="module")
def pictures(tree: tuple[Species, ...]) -> PictureSet:
    chosen = tree[::3]
    return draw_set(
        list_sitters(chosen, 288, seed=99, stream=Stream.EVALUATION), side=96, n_processes=1, progress=keep_quiet
    )


@pytest.fixture(scope="module")
def vectors(towers: Towers, pictures: PictureSet) -> np.ndarray:
    return towers.encode_pixels(pictures.pixels)


def test_the_folder_is_small_enough_to_ship() -> None:
    assert (BUNDLED / "open_clip_model.safetensors").stat().st_size <= 4_000_000
    assert sum(path.stat().st_size for path in BUNDLED.iterdir()) <= 4_500_000


@pytest.mark.parametrize(
    ("text", "plan", "fits"),
    [
        ("a juvenile bird", BodyPlan.BIRD, lambda state: state.is_young),
        ("a caterpillar", BodyPlan.BUTTERFLY, lambda state: state.is_young),
        ("a male butterfly", BodyPlan.BUTTERFLY, lambda state: state.is_male),
        ("an autumn leaf", BodyPlan.LEAF, lambda state: state.season == "autumn"),
        ("a fish", BodyPlan.FISH, lambda state: True),
    ],
)
def test_a_state_word_finds_pictures_in_that_state(
    towers: Towers,
    tree: tuple[Species, ...],
    pictures: PictureSet,
    vectors: np.ndarray,
    text: str,
    plan: BodyPlan,
    fits: Callable[[State], bool],
) -> None:
    hits = np.argsort(-(vectors @ towers.encode_texts([text])[0]))[:10]
    right = [tree[pictures.numbers[hit]].plan is plan and fits(pictures.states[hit]) for hit in hits]
    assert np.mean(right) >= 0.7


def test_a_genus_name_finds_its_genus(
    towers: Towers, tree: tuple[Species, ...], pictures: PictureSet, vectors: np.ndarray
) -> None:
    genera = sorted({one.genus for one in tree})
    named = (vectors @ towers.encode_texts(genera).T).argmax(axis=1)
    right = [tree[number].genus == genera[row] for number, row in zip(pictures.numbers, named, strict=True)]
    assert np.mean(right) >= 0.6
