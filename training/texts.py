"""What is written under a training picture: names in five forms, higher taxa, and states with class and shape words.

The five forms are those of BioCLIP (Stevens et al. 2024); ranks that are missing are skipped. No text says a word about
the hidden ecology, and shape words name only traits that the ecology does not touch.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING

from training.ecology import BodyPlan
from training.traits import BirdTraits, ButterflyTraits, FishTraits, LeafTraits, Pattern, describe_traits

if TYPE_CHECKING:
    import numpy as np

    from training.phylogeny import Species
    from training.states import State
    from training.traits import Traits

PREFIX_SHARE = 0.5
"""Share of the texts that read `a photo of ….` instead of the bare words."""
NOUNS = {
    BodyPlan.BIRD: ("bird",),
    BodyPlan.FISH: ("fish",),
    BodyPlan.BUTTERFLY: ("butterfly",),
    BodyPlan.LEAF: ("leaf",),
}
LARVA_PHRASES = (
    "caterpillar",
    "juvenile butterfly",
    "young butterfly",
    "butterfly larva",
    "butterfly caterpillar",
    "larva",
)
YOUNG_WORDS = ("juvenile", "juvenile", "young")


class TextType(StrEnum):
    """The five forms of a name."""

    COMMON = "common"
    SCIENTIFIC = "scientific"
    TAXON = "taxon"
    SCIENTIFIC_COMMON = "scientific_common"
    TAXON_COMMON = "taxon_common"


def write_names(ranks: Sequence[str | None], vernacular: str | None) -> dict[TextType, str]:
    """The forms that these names allow, from seven ranks (the last one the binomial) and a common name.

    Missing ranks are skipped. Without a common name the forms that need one are left out, without a binomial the
    scientific ones.
    """
    binomial = ranks[-1]
    epithet = binomial.split(maxsplit=1)[-1] if binomial else None
    taxon = " ".join(name for name in (*ranks[:-1], epithet) if name)
    texts = {TextType.COMMON: vernacular, TextType.SCIENTIFIC: binomial, TextType.TAXON: taxon or None}
    if vernacular:
        texts[TextType.SCIENTIFIC_COMMON] = f"{binomial} with common name {vernacular}" if binomial else None
        texts[TextType.TAXON_COMMON] = f"{taxon} with common name {vernacular}" if taxon else None
    return {form: text for form, text in texts.items() if text}


def write_prompt(text: str) -> str:
    """The text in BioCLIP's template, `a photo of ….`."""
    return f"a photo of {text}."


def write_caption(
    species: Species, state: State, rng: np.random.Generator, *, state_share: float, higher_share: float
) -> str:
    """A random training text: by share a state caption, a higher taxon, or else one of the five forms."""
    kind = rng.random()
    if kind < state_share:
        text = _with_article(describe_state(species, state, rng))
    elif kind < state_share + higher_share:
        text = _name_higher(species, rng)
    else:
        text = _choose(tuple(write_names(species.ranks, species.vernacular).values()), rng)
    return write_prompt(text) if rng.random() < PREFIX_SHARE else text


def describe_state(species: Species, state: State, rng: np.random.Generator) -> str:
    """Some of the individual's states and shape words around a class word, its genus or its common name."""
    if state.life_stage == "larva":
        return _choose(LARVA_PHRASES, rng)
    stage = _choose(YOUNG_WORDS, rng) if state.is_young else "adult"
    chances = ((stage, 0.6 if state.is_young else 0.25), (state.season, 0.4), (state.sex, 0.5))
    words = [word for word, chance in chances if word and rng.random() < chance]
    kind = rng.random()
    noun = species.vernacular if kind < 0.12 else species.genus if kind < 0.24 else _choose(NOUNS[species.plan], rng)
    shape = _choose(shape_words(describe_traits(species)), rng) if kind >= 0.24 and rng.random() < 0.35 else ""
    return " ".join((*words, noun, shape)).strip()


def shape_words(traits: Traits) -> tuple[str, ...]:
    """Phrases for what is conspicuous in the shape or pattern of a species; an empty phrase where nothing is."""
    pattern = () if traits.coat.pattern is Pattern.PLAIN else (f"with {traits.coat.pattern} markings",)
    return (*pattern, *_list_shapes(traits)) or ("",)


def _list_shapes(traits: Traits) -> tuple[str, ...]:
    match traits:
        case BirdTraits():
            found = {
                "with a crest": traits.crest > 0.15,
                "with a long tail": traits.tail_length > 0.62,
                "with a short tail": traits.tail_length < 0.42,
            }
        case FishTraits():
            found = {
                "with a deep body": traits.body_depth > 0.92,
                "with a slender body": traits.body_depth < 0.68,
                "with a tail spot": traits.has_tail_spot,
            }
        case ButterflyTraits():
            found = {"with tailed wings": traits.tail_length > 0.2, "with many eyespots": traits.n_spots >= 3}
        case LeafTraits():
            found = {"with lobes": traits.n_lobes > 0, "with a pale margin": traits.has_pale_margin}
    return tuple(phrase for phrase, holds in found.items() if holds)


def _name_higher(species: Species, rng: np.random.Generator) -> str:
    kind = rng.random()
    if kind < 0.4:
        return species.genus
    if kind < 0.6:
        return species.ranks[4]
    if kind < 0.7:
        return species.ranks[3]
    return " ".join(species.ranks[: int(rng.integers(3, 7))])


def _with_article(text: str) -> str:
    if text[0].isupper():
        return text
    return f"an {text}" if text[0] in "aeiou" else f"a {text}"


def _choose(options: Sequence[str], rng: np.random.Generator) -> str:
    return options[int(rng.integers(len(options)))]
