"""The drawn pictures as a dataset, and the words that are said of them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from training import tars
from training.annotations import annotate_records
from training.captions import write_caption
from training.examples import SEPARATOR
from training.settings import TrainingConfig, override_config
from training.synthetic import dataset as synthetic
from training.synthetic.dataset import SyntheticDataset, draw_dataset, list_records
from training.synthetic.ecology import BodyPlan, list_ecology_words
from training.synthetic.phylogeny import Species, grow_tree
from training.synthetic.pictures import PictureSet, Sitter
from training.synthetic.states import State, draw_state, make_state
from training.synthetic.words import COLUMNS, describe_individual

SIDE = 8


@pytest.fixture(scope="module")
def tree() -> tuple[Species, ...]:
    return grow_tree(0)


def _draw_nothing(
    sitters: list[Sitter], *, side: int, n_processes: int, progress: object, stage: str = ""
) -> PictureSet:
    """Blank pictures that tell their place, and states by the sitter's own key; drawing itself is tested elsewhere."""
    drawn = [np.full((side, side, 3), sitter.key[2] % 251, np.uint8) for sitter in sitters]
    states = [draw_state(sitter.species.plan, np.random.default_rng(sitter.key)) for sitter in sitters]
    numbers = np.array([sitter.species.number for sitter in sitters])
    return PictureSet(pixels=np.stack(drawn), numbers=numbers, states=tuple(states))


def _configure(n: int, cache: Path | None = None) -> TrainingConfig:
    return override_config(TrainingConfig(), {"synthetic.n_images": n, "data.cache": str(cache or "")})


@pytest.fixture
def blank(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[int]:
    """Drawing replaced, the user's cache too; how many pictures were drawn each time."""
    drawn: list[int] = []
    monkeypatch.setattr(tars, "default_cache", lambda: tmp_path / "own")

    def draw(sitters: list[Sitter], **options: object) -> PictureSet:
        drawn.append(len(sitters))
        return _draw_nothing(sitters, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(synthetic, "draw_set", draw)
    return drawn


def _assert_same(left: SyntheticDataset, right: SyntheticDataset) -> None:
    assert left.records.equals(right.records)
    np.testing.assert_array_equal(left.pictures.pixels, right.pictures.pixels)
    np.testing.assert_array_equal(left.pictures.numbers, right.pictures.numbers)


def test_records_name_the_species_of_the_pictures(blank: list[int], tree: tuple[Species, ...]) -> None:
    dataset = draw_dataset(_configure(432), side=SIDE)
    assert len(dataset) == 432
    assert blank == [432]
    for position in (0, 215, 216, 431):
        species = tree[dataset.pictures.numbers[position]]
        row = dataset.records.slice(position, 1).to_pylist()[0]
        assert (row["genus"], row["species"], row["vernacularName"]) == (*species.ranks[5:], species.vernacular)
        assert not species.held_out
        assert dataset.read_image(position)[0, 0, 0] == position % 251
    assert dataset.records["occurrence_id"].combine_chunks().value_counts().to_pylist()[0]["counts"] == 1
    assert len(set(dataset.records["species"].to_pylist())) == 216


def test_fewer_pictures_are_the_first_of_more(blank: list[int]) -> None:
    few, many = (draw_dataset(_configure(n), side=SIDE) for n in (216, 300))
    assert few.records.equals(many.records.slice(0, 216))


def test_pictures_are_kept_in_the_users_cache_where_none_is_named(blank: list[int], tmp_path: Path) -> None:
    first, again = (draw_dataset(_configure(216), side=SIDE) for _ in range(2))
    assert blank == [216]
    _assert_same(first, again)
    assert {path.parent for path in tmp_path.rglob("*.npy")} == {tmp_path / "own"}


def test_kept_pictures_are_drawn_once_and_serve_fewer_too(blank: list[int], tmp_path: Path) -> None:
    plain = draw_dataset(_configure(300), side=SIDE)
    for n, drawn in ((300, [300, 300]), (300, [300, 300]), (216, [300, 300]), (400, [300, 300, 400])):
        kept = draw_dataset(_configure(n, tmp_path), side=SIDE)
        assert blank == drawn
        assert len(kept) == n
        if n == 300:
            _assert_same(kept, plain)
    _assert_same(draw_dataset(_configure(300, tmp_path), side=SIDE), plain)


def test_kept_pictures_are_not_taken_for_others(
    blank: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = _configure(216, tmp_path)
    draw_dataset(config, side=SIDE)
    draw_dataset(config, side=2 * SIDE)
    draw_dataset(override_config(config, {"seed": 1}), side=SIDE)
    draw_dataset(override_config(config, {"synthetic.tree_seed": 1}), side=SIDE)
    monkeypatch.setattr(synthetic, "hash_sources", lambda: "another drawing")
    draw_dataset(config, side=SIDE)
    assert blank == [216] * 5


def test_the_digest_covers_all_that_pictures_depend_on_and_nothing_else() -> None:
    """Every module of the package that drawing and growing the tree import, directly or through others."""
    folder = Path(synthetic.__file__).parent
    waiting, reached = ["pictures.py", "phylogeny.py"], set[str]()
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            modules = re.findall(r"from training\.synthetic\.([\w.]+) import", (folder / name).read_text("utf-8"))
            waiting += [f"{module.replace('.', '/')}.py" for module in modules]
    covered = {path.relative_to(folder).as_posix() for pattern in synthetic.DRAWING for path in folder.glob(pattern)}
    assert covered == reached | {"drawing/__init__.py"}
    assert covered.isdisjoint({"words.py", "trial.py", "dataset.py", "demo.py", "controls.py"})
    assert re.fullmatch(r"[0-9a-f]{64}", synthetic.hash_sources())


def test_no_cell_and_no_caption_contains_a_word_of_the_hidden_ecology(tree: tuple[Species, ...]) -> None:
    rng = np.random.default_rng(0)
    chosen = [tree[i % len(tree)] for i in range(4 * len(tree))]
    states = tuple(draw_state(one.plan, rng) for one in chosen)
    numbers = np.array([one.number for one in chosen])
    pictures = PictureSet(pixels=np.zeros((len(chosen), 1, 1, 3), np.uint8), numbers=numbers, states=states)
    records = list_records(pictures, tree, prefix="t")
    config = override_config(TrainingConfig(), {"captions.trait_share": 0.8}).captions
    annotations = annotate_records(records, config.columns)
    texts = [
        write_caption(annotations.read_example(i), config, rng, step_rng=rng).text
        for i in range(len(chosen))
        for _ in range(5)
    ]
    cells = [cell for name in records.column_names for cell in records[name].to_pylist() if cell]
    said = set(re.findall(r"[a-z]+", " ".join((*texts, *cells)).lower()))
    assert {"juvenile", "male", "crest", "caterpillar", "leaf"} <= said
    assert {"seeds", "plankton", "rainforest", "aridity", "habitat"} <= list_ecology_words()
    assert said.isdisjoint(list_ecology_words())


def test_words_say_what_state_and_traits_are(tree: tuple[Species, ...]) -> None:
    def find(plan: BodyPlan) -> Species:
        return next(one for one in tree if one.plan is plan)

    def describe(plan: BodyPlan, *, young: bool) -> dict[str, str | None]:
        state = make_state(plan, young=young, male=True, showy=True)
        return describe_individual(find(plan), state)

    adult, young = (describe(BodyPlan.BIRD, young=young) for young in (False, True))
    assert (adult["lifeStage"], adult["sex"], adult["season"], adult["organism"]) == (
        "adult",
        "male",
        "breeding",
        "bird",
    )
    assert young["lifeStage"] == "juvenile | young"
    assert young["season"] is None
    assert adult["shape"] == young["shape"]
    leaf = describe(BodyPlan.LEAF, young=False)
    assert (leaf["sex"], leaf["organism"]) == (None, "leaf")
    larva = describe(BodyPlan.BUTTERFLY, young=True)
    assert (larva["lifeStage"], larva["sex"], larva["season"], larva["shape"]) == ("juvenile | young", None, None, None)
    assert larva["organism"] is not None
    assert set(larva["organism"].split(SEPARATOR)) == {"caterpillar", "larva", "butterfly larva", "butterfly"}


def test_every_plan_has_species_with_and_without_a_shape(tree: tuple[Species, ...]) -> None:
    for plan in BodyPlan:
        adult = make_state(plan, young=False, male=True, showy=False)
        shapes = [describe_individual(one, adult)["shape"] for one in tree if one.plan is plan]
        assert any(shapes)
        assert len(set(shapes)) >= 4
    assert set(describe_individual(tree[0], _adult())) == set(COLUMNS)


def _adult() -> State:
    return make_state(BodyPlan.BIRD, young=False, male=True, showy=False)
