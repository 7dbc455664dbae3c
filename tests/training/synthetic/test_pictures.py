"""The drawings: whole in the frame, the same from the same seed, shaped by states and ecology."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from training.progress import keep_quiet
from training.synthetic.drawing.colours import Tint, darken, lighten, mix
from training.synthetic.ecology import BodyPlan
from training.synthetic.individuals import draw_individual
from training.synthetic.phylogeny import Species, grow_tree
from training.synthetic.pictures import DRAWN_SIDE, Stream, draw_set, draw_sitter, list_sitters, squash
from training.synthetic.scene import (
    MARGIN,
    draw_figure,
    draw_picture,
    draw_plate,
    draw_pose,
    measure_extent,
    place_figure,
)
from training.synthetic.states import make_state
from training.synthetic.traits import BirdTraits, FishTraits, LeafTraits, describe_traits


@pytest.fixture(scope="module")
def tree() -> tuple[Species, ...]:
    return grow_tree(0)


def test_every_species_lies_whole_in_the_frame_in_any_pose(tree: tuple[Species, ...]) -> None:
    rng = np.random.default_rng(5)
    for one in tree:
        individual = draw_individual(one, rng)
        figure = draw_figure(individual.traits, individual.state)
        low, high = measure_extent(figure, place_figure(figure, draw_pose(one.plan, rng), side=100))
        assert low.min() >= 100 * MARGIN - 1e-6
        assert high.max() <= 100 * (1 - MARGIN) + 1e-6
        assert (high - low).max() >= 75


def test_nothing_is_painted_on_the_rim_of_a_plate(tree: tuple[Species, ...]) -> None:
    states = [make_state(BodyPlan.BIRD, young=young, male=True, showy=True) for young in (False, True)]
    for one, state in itertools.product(tree[::9], states):
        pixels = np.asarray(draw_plate(one, state, side=64))
        rim = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
        assert (rim == rim[0]).all()
        assert (pixels != rim[0]).any(axis=2).mean() > 0.05


def test_the_same_seed_draws_the_same_pictures_with_one_or_two_processes(tree: tuple[Species, ...]) -> None:
    sitters = list_sitters(tree[::50], 66, seed=1, stream=Stream.EVALUATION)
    one = draw_set(sitters, side=32, n_processes=1, progress=keep_quiet)
    two = draw_set(sitters, side=32, n_processes=2, progress=keep_quiet)
    np.testing.assert_array_equal(one.pixels, two.pixels)
    assert one.states == two.states
    assert one.numbers[:6].tolist() == [0, 50, 100, 150, 200, 250]


def test_no_stream_shares_a_picture_with_another(tree: tuple[Species, ...]) -> None:
    pictures = [draw_sitter(list_sitters(tree[:1], 1, seed=0, stream=stream)[0], side=32)[0] for stream in Stream]
    assert len({picture.tobytes() for picture in pictures}) == len(Stream)


def test_a_large_picture_squashed_looks_like_the_training_picture_squashed(tree: tuple[Species, ...]) -> None:
    for one in tree[::40]:
        individual = draw_individual(one, np.random.default_rng(2))
        small, large = (
            squash(draw_picture(individual, np.random.default_rng(3), side=side), 96).astype(float)
            for side in (DRAWN_SIDE, 256)
        )
        assert np.abs(small - large).mean() < 2.5


def test_progress_counts_up_to_the_number_of_pictures(tree: tuple[Species, ...]) -> None:
    told: list[tuple[str, int, int]] = []
    sitters = list_sitters(tree[:1], 70, seed=1, stream=Stream.DEMO)
    draw_set(sitters, side=32, n_processes=1, progress=lambda *said: told.append(said))
    assert told == [("drawing", 64, 70), ("drawing", 70, 70)]


@pytest.mark.parametrize("plan", list(BodyPlan))
def test_sex_stage_and_season_change_the_picture_where_they_can_be_seen(
    tree: tuple[Species, ...], plan: BodyPlan
) -> None:
    one = next(one for one in tree if one.plan is plan)
    choices = itertools.product((False, True), repeat=3)
    states = {make_state(plan, young=young, male=male, showy=showy) for young, male, showy in choices}
    pictures = {draw_plate(one, state, side=48).tobytes() for state in states}
    visible = {BodyPlan.BIRD: 5, BodyPlan.FISH: 5, BodyPlan.BUTTERFLY: 5, BodyPlan.LEAF: 3}
    assert len(pictures) == visible[plan]


def test_a_state_says_only_what_can_be_seen() -> None:
    larva = make_state(BodyPlan.BUTTERFLY, young=True, male=True, showy=True)
    assert (larva.life_stage, larva.sex, larva.season, larva.is_young) == ("larva", None, None, True)
    fledgling = make_state(BodyPlan.BIRD, young=True, male=True, showy=True)
    assert (fledgling.life_stage, fledgling.sex, fledgling.season) == ("juvenile", None, None)
    leaf = make_state(BodyPlan.LEAF, young=False, male=True, showy=True)
    assert (leaf.life_stage, leaf.sex, leaf.season, leaf.is_showy) == ("adult", None, "autumn", True)


def test_ecology_shapes_the_body(tree: tuple[Species, ...]) -> None:
    from scipy.stats import spearmanr

    def correlate(plan: BodyPlan, kind: type, trait: str, axis: str) -> float:
        chosen = [one for one in tree if one.plan is plan]
        traits = [describe_traits(one) for one in chosen]
        assert all(isinstance(one, kind) for one in traits)
        axes = [getattr(one.ecology, axis) for one in chosen]
        return float(spearmanr([getattr(one, trait) for one in traits], axes).statistic)

    assert correlate(BodyPlan.BIRD, BirdTraits, "beak_depth", "first") > 0.8
    assert correlate(BodyPlan.FISH, FishTraits, "tail_fork", "second") > 0.8
    assert correlate(BodyPlan.LEAF, LeafTraits, "blade_width", "first") < -0.8
    assert correlate(BodyPlan.LEAF, LeafTraits, "tip_shape", "second") < -0.8


def test_congeners_differ_more_in_traits_under_ecology_than_in_others(tree: tuple[Species, ...]) -> None:
    def spread(trait: str) -> float:
        birds = [one for one in tree if one.plan is BodyPlan.BIRD]
        values = np.array([getattr(describe_traits(one), trait) for one in birds]).reshape(-1, 4)
        return float((values.std(axis=1) / values.std()).mean())

    hidden = min(spread(trait) for trait in ("beak_depth", "leg_length", "wing_length"))
    assert hidden > 1.5 * max(spread(trait) for trait in ("tail_length", "body_length", "crest"))


def test_a_heavy_beak_is_twelve_pixels_deep_at_96_pixels(tree: tuple[Species, ...]) -> None:
    hardest = max((one for one in tree if one.plan is BodyPlan.BIRD), key=lambda one: one.ecology.first)
    state = make_state(BodyPlan.BIRD, young=False, male=False, showy=True)
    pixels = np.asarray(draw_plate(hardest, state, side=96)).astype(int)
    orange = (np.abs(pixels - (232, 150, 48)).max(axis=2) < 60).nonzero()
    assert np.ptp(orange[1]) >= 12
    assert np.ptp(orange[0]) >= 12


def test_oklch_white_black_and_grey_are_what_they_should_be() -> None:
    assert Tint(lightness=1, chroma=0, hue=0).to_colour() == (255, 255, 255)
    assert Tint(lightness=0, chroma=0, hue=0).to_colour() == (0, 0, 0)
    assert Tint(lightness=0.62796, chroma=0.25768, hue=29.234).to_colour() == pytest.approx((255, 0, 0), abs=1)
    assert mix((0, 0, 0), (100, 200, 50), 0.5) == (50, 100, 25)
    assert darken((200, 200, 200), 0) == lighten((200, 200, 200), 0) == (200, 200, 200)
