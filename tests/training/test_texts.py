"""The training texts and the vocabulary learned from them."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from training.ecology import list_ecology_words
from training.phylogeny import Species, grow_tree
from training.states import draw_state, make_state
from training.texts import Caption, TextType, describe_state, match_captions, write_caption, write_names, write_prompt
from training.vocabulary import train_vocabulary, write_vocabulary

RANKS = ("Animalia", "Chordata", "Aves", "Passeriformes", "Corvidae", "Pica", "Pica hudsonia")


@pytest.fixture(scope="module")
def tree() -> tuple[Species, ...]:
    return grow_tree(0)


@pytest.fixture(scope="module")
def captions(tree: tuple[Species, ...]) -> list[tuple[Species, str]]:
    rng = np.random.default_rng(0)
    chosen = [tree[i % len(tree)] for i in range(30_000)]
    return [
        (one, write_caption(one, draw_state(one.plan, rng), rng, state_share=0.18, higher_share=0.12).text)
        for one in chosen
    ]


def test_the_five_forms_read_as_in_bioclip() -> None:
    names = write_names(RANKS, "black-billed magpie")
    taxon = "Animalia Chordata Aves Passeriformes Corvidae Pica hudsonia"
    assert names == {
        TextType.COMMON: "black-billed magpie",
        TextType.SCIENTIFIC: "Pica hudsonia",
        TextType.TAXON: taxon,
        TextType.SCIENTIFIC_COMMON: "Pica hudsonia with common name black-billed magpie",
        TextType.TAXON_COMMON: f"{taxon} with common name black-billed magpie",
    }
    assert write_prompt(names[TextType.SCIENTIFIC]) == "a photo of Pica hudsonia."


def test_missing_ranks_are_skipped() -> None:
    assert write_names((None, "Chordata", None, None, "", "Pica", None), None) == {TextType.TAXON: "Chordata Pica"}
    assert write_names((None,) * 7, "magpie") == {TextType.COMMON: "magpie"}


def test_no_training_text_contains_a_word_of_the_hidden_ecology(captions: list[tuple[Species, str]]) -> None:
    said = {word for _, caption in captions for word in re.findall(r"[a-z]+", caption.lower())}
    assert len(list_ecology_words()) > 30
    assert {"seeds", "plankton", "rainforest", "aridity", "habitat"} <= list_ecology_words()
    assert said.isdisjoint(list_ecology_words())


def test_no_name_of_the_tree_contains_a_word_of_the_hidden_ecology(tree: tuple[Species, ...]) -> None:
    named = {word for one in tree for word in " ".join((*one.ranks, one.vernacular)).lower().split()}
    assert named.isdisjoint(list_ecology_words())


def test_captions_keep_to_their_shares(captions: list[tuple[Species, str]]) -> None:
    def bare(caption: str) -> str:
        return caption.removeprefix("a photo of ").removesuffix(".")

    names = {one.number: set(write_names(one.ranks, one.vernacular).values()) for one, _ in captions}
    higher = {
        one.number: {one.genus, *one.ranks[3:5], *(" ".join(one.ranks[:k]) for k in range(3, 7))} for one, _ in captions
    }
    kinds = Counter(
        "name" if bare(text) in names[one.number] else "higher" if bare(text) in higher[one.number] else "state"
        for one, text in captions
    )
    assert kinds["state"] / len(captions) == pytest.approx(0.18, abs=0.02)
    assert kinds["higher"] / len(captions) == pytest.approx(0.12, abs=0.02)
    assert np.mean([text.startswith("a photo of ") for _, text in captions]) == pytest.approx(0.5, abs=0.02)


def test_a_caterpillar_is_called_a_juvenile_butterfly_too(tree: tuple[Species, ...]) -> None:
    one = tree[2 * 72]
    rng = np.random.default_rng(0)
    larva = make_state(one.plan, young=True, male=False, showy=False)
    said = {describe_state(one, larva, rng).text for _ in range(100)}
    assert {"a caterpillar", "a juvenile butterfly", "a butterfly larva"} <= said


def test_a_state_caption_never_says_what_is_not_so(tree: tuple[Species, ...]) -> None:
    rng = np.random.default_rng(0)
    adult = make_state(tree[0].plan, young=False, male=True, showy=True)
    for _ in range(300):
        words = describe_state(tree[0], adult, rng).text.split()
        assert not {"juvenile", "young", "female", "non-breeding"} & set(words)


def test_a_caption_matches_every_picture_that_it_describes(tree: tuple[Species, ...]) -> None:
    one, sibling, stranger, fish = tree[0], tree[1], tree[40], tree[80]
    young = make_state(one.plan, young=True, male=True, showy=False)
    adult = make_state(one.plan, young=False, male=True, showy=False)
    captions = [
        Caption(text=one.vernacular, rank=6, taxon=one.binomial),
        Caption(text=one.genus, rank=5, taxon=one.genus),
        Caption(text="a juvenile bird", rank=2, taxon="Aves", is_young=True),
        Caption(text="a male fish", rank=2, taxon="Actinopterygii", sex="male"),
    ]
    matches = match_captions(captions, [one, sibling, stranger, fish], [young, adult, young, adult])
    assert matches.tolist() == [
        [True, True, True, False],
        [False, True, False, False],
        [False, False, True, False],
        [False, False, False, True],
    ]


def test_a_caption_describes_its_own_picture_whatever_it_says(tree: tuple[Species, ...]) -> None:
    rng = np.random.default_rng(1)
    for one in tree * 5:
        state = draw_state(one.plan, rng)
        assert write_caption(one, state, rng, state_share=0.6, higher_share=0.3).describes(one, state)


def test_the_vocabulary_lower_cases_frames_and_loads_as_hugging_face_files(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = train_vocabulary(["a photo of Pica hudsonia.", "a juvenile bird"] * 20, size=150)
    write_vocabulary(tokenizer, tmp_path, context_length=24)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    codes = loaded("A JUVENILE BIRD")["input_ids"]
    assert codes == tokenizer.encode("a juvenile bird").ids
    assert (codes[0], codes[-1]) == (2, 3)
    assert loaded.pad_token_id == 0
    assert 1 not in codes
