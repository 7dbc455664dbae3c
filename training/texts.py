"""What is written under a training picture: names in five forms, higher taxa, and states with class and shape words.

The five forms are those of BioCLIP (Stevens et al. 2024); ranks that are missing are skipped. No text says a word about
the hidden ecology, and shape words name only traits that the ecology does not touch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from training.traits import BirdTraits, ButterflyTraits, FishTraits, LeafTraits, Pattern, describe_traits

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Bool

    from training.phylogeny import Species
    from training.states import State
    from training.traits import Traits

PREFIX_SHARE = 0.5
"""Share of the texts that read `a photo of ….` instead of the bare words."""
CLASS, GENUS, SPECIES = 2, 5, 6
"""Places in the seven ranks."""
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


@dataclass(frozen=True, kw_only=True)
class Caption:
    """A training text with what it says: a taxon by its place in the ranks, and perhaps states and a shape."""

    text: str
    rank: int
    taxon: str
    is_young: bool | None = None
    sex: str | None = None
    season: str | None = None
    shape: str = ""

    def describes(self, species: Species, state: State) -> bool:
        """True where all that the text says holds for an individual of this species in this state."""
        return (
            species.ranks[self.rank] == self.taxon
            and self.is_young in (None, state.is_young)
            and self.sex in (None, state.sex)
            and self.season in (None, state.season)
            and (not self.shape or self.shape in shape_words(describe_traits(species)))
        )


def write_caption(
    species: Species, state: State, rng: np.random.Generator, *, state_share: float, higher_share: float
) -> Caption:
    """A random training text: by share a state caption, a higher taxon, or else one of the five forms."""
    kind = rng.random()
    if kind < state_share:
        caption = describe_state(species, state, rng)
    elif kind < state_share + higher_share:
        caption = _name_higher(species, rng)
    else:
        name = _choose(tuple(write_names(species.ranks, species.vernacular).values()), rng)
        caption = Caption(text=name, rank=SPECIES, taxon=species.binomial)
    return replace(caption, text=write_prompt(caption.text)) if rng.random() < PREFIX_SHARE else caption


def match_captions(
    captions: Sequence[Caption], species: Sequence[Species], states: Sequence[State]
) -> Bool[np.ndarray, "n n"]:
    """Which text (column) describes which picture (row), from the species and the state of each picture."""
    import numpy as np

    pictures = list(zip(species, states, strict=True))
    return np.array([[caption.describes(*picture) for caption in captions] for picture in pictures])


def describe_state(species: Species, state: State, rng: np.random.Generator) -> Caption:
    """Some of the individual's states and shape words around a class word, its genus or its common name."""
    if state.life_stage == "larva":
        text = _with_article(_choose(LARVA_PHRASES, rng))
        return Caption(text=text, rank=CLASS, taxon=species.ranks[CLASS], is_young=True)
    says_stage = rng.random() < (0.6 if state.is_young else 0.25)
    stage = (_choose(YOUNG_WORDS, rng) if state.is_young else "adult") if says_stage else None
    season = state.season if rng.random() < 0.4 else None
    sex = state.sex if rng.random() < 0.5 else None
    kind = rng.random()
    rank = SPECIES if kind < 0.12 else GENUS if kind < 0.24 else CLASS
    noun = {SPECIES: species.vernacular, GENUS: species.genus, CLASS: str(species.plan)}[rank]
    says_shape = rank == CLASS and rng.random() < 0.35
    shape = _choose(shape_words(describe_traits(species)), rng) if says_shape else ""
    return Caption(
        text=_with_article(" ".join(word for word in (stage, season, sex, noun, shape) if word)),
        rank=rank,
        taxon=species.ranks[rank],
        is_young=state.is_young if says_stage else None,
        sex=sex,
        season=season,
        shape=shape,
    )


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


def _name_higher(species: Species, rng: np.random.Generator) -> Caption:
    kind = rng.random()
    rank = GENUS if kind < 0.4 else 4 if kind < 0.6 else 3 if kind < 0.7 else int(rng.integers(CLASS, SPECIES))
    text = species.ranks[rank] if kind < 0.7 else " ".join(species.ranks[: rank + 1])
    return Caption(text=text, rank=rank, taxon=species.ranks[rank])


def _with_article(text: str) -> str:
    if text[0].isupper():
        return text
    return f"an {text}" if text[0] in "aeiou" else f"a {text}"


def _choose(options: Sequence[str], rng: np.random.Generator) -> str:
    return options[int(rng.integers(len(options)))]
