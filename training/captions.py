"""What is written under a training picture: names in five forms, higher taxa, and captions made of traits.

The five forms are those of BioCLIP (Stevens et al. 2024, table 3), which BioCLIP 2 (Gu et al. 2025) keeps; ranks that
are missing are skipped. A caption carries the claims that it makes, a picture the facts that hold for it, so that a
loss can tell which texts of a batch fit which pictures.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from indexer.terms import RANKS
from training.settings import CaptionConfig, DrawPer, TextType

if TYPE_CHECKING:
    import numpy as np

    from training.examples import Example

Claim: TypeAlias = tuple[str, str]
"""A column or rank, and what is said of it."""

Option = TypeVar("Option")

VERNACULAR = "vernacularName"
NEAREST = {
    TextType.COMMON: (TextType.SCIENTIFIC, TextType.TAXON),
    TextType.SCIENTIFIC: (TextType.TAXON, TextType.COMMON),
    TextType.TAXON: (TextType.SCIENTIFIC, TextType.COMMON),
    TextType.SCIENTIFIC_COMMON: (TextType.SCIENTIFIC, TextType.TAXON_COMMON, TextType.TAXON, TextType.COMMON),
    TextType.TAXON_COMMON: (TextType.TAXON, TextType.SCIENTIFIC_COMMON, TextType.SCIENTIFIC, TextType.COMMON),
}
"""Which forms stand in for one that a record's names do not allow; as in BioCLIP, common falls back to scientific."""
ADJECTIVE_CHANCE, PHRASE_CHANCE = 0.5, 0.35
"""How often a trait caption says a value that the record has."""
COMMON_NOUN_CHANCE, GENUS_NOUN_CHANCE = 0.12, 0.12
"""How often the noun of a trait caption is the common name or the genus where there is a value of the noun columns."""
FALLBACK_NOUN = "organism"
UNSPOKEN = frozenset(
    {
        *("", "unknown", "undetermined", "indeterminate", "not recorded", "unspecified"),
        *("na", "n/a", "nan", "none", "null"),
    }
)
"""Values that say nothing; they are neither facts nor written (compared in lower case)."""
CLASS, FAMILY, GENUS = 2, 4, 5
"""Places in the seven ranks."""


@dataclass(frozen=True, kw_only=True)
class Caption:
    """A training text with what it says: it fits every picture for which all its claims hold."""

    text: str
    claims: tuple[Claim, ...]


def write_names(ranks: Sequence[str | None], vernacular: str | None) -> dict[TextType, str]:
    """The forms that these names allow, from seven ranks (the last one the binomial) and a common name.

    Missing ranks are skipped. Without a common name the forms that need one are left out, without a binomial the
    scientific ones. In the taxon form the binomial gives its epithet after its own genus, and is written in full where
    the genus is missing or another one.
    """
    genus, binomial = ranks[GENUS], ranks[-1]
    last = binomial.removeprefix(f"{genus} ") if binomial and genus else binomial
    taxon = " ".join(name for name in (*ranks[:-1], last) if name)
    texts = {TextType.COMMON: vernacular, TextType.SCIENTIFIC: binomial, TextType.TAXON: taxon or None}
    if vernacular:
        texts[TextType.SCIENTIFIC_COMMON] = f"{binomial} with common name {vernacular}" if binomial else None
        texts[TextType.TAXON_COMMON] = f"{taxon} with common name {vernacular}" if taxon else None
    return {form: text for form, text in texts.items() if text}


def write_prompt(text: str) -> str:
    """The text in BioCLIP's template, `a photo of ….`."""
    return f"a photo of {text.removesuffix('.')}."


def list_facts(example: Example, columns: Iterable[str]) -> tuple[Claim, ...]:
    """All that holds for a picture and that a caption may claim: its taxa, its common name, its values in `columns`.

    The value of a taxon is its lineage (see `list_taxa`); common names and traits are compared in lower case. Each fact
    comes once.
    """
    taxa = [taxon for taxon in list_taxa(example.ranks) if taxon is not None]
    common = [_claim(VERNACULAR, example.vernacular)] if example.vernacular else []
    traits = [_claim(column, value) for column in columns for value in _read_values(example, column)]
    return tuple(dict.fromkeys((*taxa, *common, *traits)))


def list_taxa(ranks: Sequence[str | None]) -> list[Claim | None]:
    """A claim per rank: the named ranks down to it, joined by "|", so that homonyms stay apart; None where unnamed.

    Ranks without a name are skipped. The same species with more or fewer of its higher ranks filled in therefore counts
    as another taxon: harmonise the names of a table before training on it.
    """
    claims: list[Claim | None] = []
    lineage: list[str] = []
    for rank, name in zip(RANKS, ranks, strict=True):
        if name:
            lineage.append(name)
        claims.append((rank, "|".join(lineage)) if name else None)
    return claims


def hash_claims(claims: Iterable[Claim]) -> list[int]:
    """A code above 0 and below 2**63 per claim: BLAKE2b, the same on every machine and in every process."""
    return [_hash_claim(claim) for claim in claims]


def hash_lineage(example: Example) -> list[int]:
    """The codes of the seven taxa, kingdom to species, as `hash_claims` gives them; 0 where a rank is not named."""
    return [0 if taxon is None else _hash_claim(taxon) for taxon in list_taxa(example.ranks)]


@functools.lru_cache(maxsize=2**16)
def _hash_claim(claim: Claim) -> int:
    digest = hashlib.blake2b("\x1f".join(claim).encode(), digest_size=8).digest()
    return max(1, int.from_bytes(digest, "little") >> 1)


def write_caption(
    example: Example, config: CaptionConfig, rng: np.random.Generator, *, step_rng: np.random.Generator
) -> Caption:
    """A random training text: by share a trait caption, one higher taxon, or else a name in one of the five forms.

    Args:
        example: The record; where it does not allow a kind of text a name is written, or its traits if it has no name.
        config: The shares, and the columns of the traits.
        rng: For this sample alone.
        step_rng: For `DrawPer.STEP`: seeded by the step, the same for all samples of it. It is only looked at, never
            moved on, so that one generator serves the whole batch.

    Raises:
        ValueError: The record has neither a name nor a trait, so that nothing can be written.
    """
    chance = rng.random()
    caption = None
    if chance < config.trait_share:
        caption = _describe_traits(example, config, rng)
    elif chance < config.trait_share + config.higher_share:
        caption = _name_higher(example, rng)
    caption = caption or _name_species(example, config, rng, step_rng) or _describe_traits(example, config, rng)
    if caption is None:
        raise ValueError("the record has neither a name nor a trait; such records are no training examples")
    if rng.random() < config.template_share:
        return Caption(text=write_prompt(caption.text), claims=caption.claims)
    return caption


def _name_species(
    example: Example, config: CaptionConfig, rng: np.random.Generator, step_rng: np.random.Generator
) -> Caption | None:
    names = write_names(example.ranks, example.vernacular)
    if not names:
        return None
    if config.draw is DrawPer.STEP:
        asked = config.types[int(step_rng.bit_generator.seed_seq.generate_state(1)[0]) % len(config.types)]
    else:
        asked = _choose([form for form in config.types if form in names] or config.types, rng)
    form = next(form for form in (asked, *NEAREST[asked], *names) if form in names)
    return Caption(text=names[form], claims=_list_name_claims(example, form))


def _list_name_claims(example: Example, form: TextType) -> tuple[Claim, ...]:
    """A common name speaks of all that bear it; beside a binomial it adds nothing."""
    taxa = [taxon for taxon in list_taxa(example.ranks) if taxon is not None]
    common = (_claim(VERNACULAR, example.vernacular),) if example.vernacular else ()
    if form is TextType.COMMON:
        return common
    says_both = form is TextType.TAXON_COMMON and not example.ranks[-1]
    return (taxa[-1], *common) if says_both else (taxa[-1],)


def _name_higher(example: Example, rng: np.random.Generator) -> Caption | None:
    """One taxon above the species: 40 % genus, 20 % family, 10 % order, else any with its lineage before it.

    Kingdoms and phyla come only where nothing below them is named, any other named rank where the drawn one is missing.
    """
    named = [rank for rank in range(GENUS + 1) if example.ranks[rank]]
    named = [rank for rank in named if rank >= CLASS] or named
    if not named:
        return None
    chance = rng.random()
    wanted = GENUS if chance < 0.4 else FAMILY if chance < 0.6 else FAMILY - 1
    rank = wanted if chance < 0.7 and wanted in named else _choose(named, rng)
    first = rank if chance < 0.7 else 0
    taxon = list_taxa(example.ranks)[rank]
    assert taxon is not None
    return Caption(text=" ".join(name for name in example.ranks[first : rank + 1] if name), claims=(taxon,))


def _describe_traits(example: Example, config: CaptionConfig, rng: np.random.Generator) -> Caption | None:
    """Adjectives, a noun, a phrase: "a juvenile male bird with a crest"; None where the record has no trait.

    Each adjective is said in half of the texts, a phrase in a third. Where none of them was drawn the noun stands alone
    ("a caterpillar") as often as `bare_noun_share` says; else one is said where there is any. Of several values of a
    column one is said.
    """
    before = _draw_values(example, config.adjectives, ADJECTIVE_CHANCE, rng)
    after = _draw_values(example, config.phrases, PHRASE_CHANCE, rng)
    nouns = [(column, value) for column in config.nouns for value in _read_values(example, column)]
    if not (before or after) and not _says_bare_noun(nouns, config, rng):
        sayable = [name for name in (*config.adjectives, *config.phrases) if _read_values(example, name)]
        if sayable:
            column = _choose(sayable, rng)
            said = [(column, _choose(_read_values(example, column), rng))]
            before, after = (said, after) if column in config.adjectives else (before, said)
        elif not nouns:
            return None
    noun, claim = _choose_noun(example, nouns, rng)
    words = (*(value.lower() for _, value in before), noun, *(value for _, value in after))
    claims = (*(_claim(*pair) for pair in (*before, *after)), *claim)
    return Caption(text=_with_article(" ".join(words)), claims=tuple(dict.fromkeys(claims)))


def _says_bare_noun(nouns: Sequence[Claim], config: CaptionConfig, rng: np.random.Generator) -> bool:
    return bool(nouns) and config.bare_noun_share > 0 and rng.random() < config.bare_noun_share


def _draw_values(
    example: Example, columns: Iterable[str], chance: float, rng: np.random.Generator
) -> list[tuple[str, str]]:
    drawn = [(column, _read_values(example, column)) for column in columns]
    return [(column, _choose(values, rng)) for column, values in drawn if values and rng.random() < chance]


def _choose_noun(
    example: Example, nouns: Sequence[tuple[str, str]], rng: np.random.Generator
) -> tuple[str, tuple[Claim, ...]]:
    """Mostly a value of the noun columns, else the common name or the genus; without all of these the last rank."""
    chance = rng.random()
    genus, common = example.ranks[GENUS], example.vernacular
    common_chance = COMMON_NOUN_CHANCE if nouns else 0.5 if genus else 1.0
    genus_chance = GENUS_NOUN_CHANCE if nouns else 1.0
    taxa = [(name, taxon) for name, taxon in zip(example.ranks, list_taxa(example.ranks), strict=True) if taxon]
    if common and chance < common_chance:
        return common, (_claim(VERNACULAR, common),)
    if genus and chance < COMMON_NOUN_CHANCE + genus_chance:
        return genus, tuple(taxon for name, taxon in taxa if taxon[0] == RANKS[GENUS])
    if nouns:
        column, value = _choose(nouns, rng)
        return value, (_claim(column, value),)
    return (str(taxa[-1][0]), (taxa[-1][1],)) if taxa else (FALLBACK_NOUN, ())


def _read_values(example: Example, column: str) -> list[str]:
    return [value for value in example.traits.get(column, ()) if value.strip().lower() not in UNSPOKEN]


def _claim(column: str, value: str) -> Claim:
    return column, value.lower()


def _with_article(text: str) -> str:
    """The text after a or an; a name that starts with a capital gets none."""
    if text[0].isupper():
        return text
    return f"an {text}" if text[0] in "aeiou" else f"a {text}"


def _choose(options: Sequence[Option], rng: np.random.Generator) -> Option:
    return options[int(rng.random() * len(options))]
