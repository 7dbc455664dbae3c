"""Species' names of a corpus found among those of a trait table or a tree: by rule, never by resemblance."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

from indexer.names import read_binomial

MIN_LIKENESS = 88.0
"""From which a name is suggested, in rapidfuzz's ratio of 0 to 100."""
MIN_WORD_LIKENESS = 80.0
"""The same for genus and epithet each, so that no Anolis is taken for an Anas."""
_IN_BRACKETS = re.compile(r"\(([A-Z][a-z]+(?:-[a-z]+)? [a-z-]+)\)\s*$")
_RANK_MARKS = frozenset({"subsp.", "subsp", "ssp.", "ssp", "var.", "var", "f.", "forma"})
# A word in lower case after a binomial that belongs to an author, not to a subspecies.
_PARTICLE_WORDS = "al and auct d da de del della den der des di do dos du et ex in la le ms ter van von zu zur"
_PARTICLES = frozenset(_PARTICLE_WORDS.split())


class MatchRule(StrEnum):
    """How a name was found, the surest first."""

    EXACT = "exact"
    SPELLING = "case, spaces or underscores"
    AUTHORITY = "without authority"
    BRACKETS = "in brackets"


@dataclass(frozen=True, kw_only=True)
class Match:
    """A species and the names that it was found under."""

    species: str
    found: tuple[str, ...]
    rule: MatchRule


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """A name that may be meant; nothing was joined by it.

    Attributes:
        species: As the corpus writes it.
        candidate: As the table or the tree writes it.
        reason: Why it may be the same, and why it may not.
    """

    species: str
    candidate: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class NameMatching:
    """What became of the names that were looked for.

    Attributes:
        matches: By name.
        unmatched: Names that were not found, those with a suggestion among them.
        doubtful: Suggestions, for a person to judge.
    """

    matches: Mapping[str, Match]
    unmatched: tuple[str, ...]
    doubtful: tuple[Suggestion, ...]

    def count_rules(self) -> dict[MatchRule, int]:
        """How many names each rule found; rules that found none are left out."""
        counts = {rule: sum(match.rule is rule for match in self.matches.values()) for rule in MatchRule}
        return {rule: n for rule, n in counts.items() if n}


@dataclass(frozen=True, kw_only=True)
class _Key:
    """What of a name is compared.

    Attributes:
        text: The binomial, or the whole name where none can be read, in lower case.
        in_brackets: Whether it stood in brackets after a vernacular name.
        is_lower_taxon: Whether it names a subspecies, variety or form.
    """

    text: str
    in_brackets: bool = False
    is_lower_taxon: bool = False


def match_names(names: Sequence[str], known: Iterable[str]) -> NameMatching:
    """Each name's own among the known ones.

    Names are the same where they are the same binomial after case, spaces, underscores and authority are set aside; a
    known name may stand in brackets behind a vernacular one, as in `Adelie Penguin (Pygoscelis adeliae)`. A name that
    is no binomial must be the same but for case, spaces and underscores. Synonyms are not known here.

    What merely resembles is never joined but listed as doubtful: a subspecies of the species, a spelling one or two
    letters off, the same epithet in another genus where its own is known too.

    Args:
        names: Of the corpus' species.
        known: Of the table or the tree; they may repeat.
    """
    species_names: dict[str, list[str]] = defaultdict(list)
    lower_names: dict[str, list[str]] = defaultdict(list)
    for name in dict.fromkeys(known):
        key = _read_key(name)
        (lower_names if key.is_lower_taxon else species_names)[key.text].append(name)
    matches: dict[str, Match] = {}
    unmatched: list[str] = []
    for name in dict.fromkeys(names):
        key = _read_key(name)
        found = [] if key.is_lower_taxon else species_names.get(key.text, [])
        if found:
            matches[name] = Match(species=name, found=tuple(found), rule=_find_rule(name, found))
        else:
            unmatched.append(name)
    return NameMatching(
        matches=matches,
        unmatched=tuple(unmatched),
        doubtful=tuple(
            _suggest(unmatched, species_names, lower_names, taken={_read_key(name).text for name in matches})
        ),
    )


def _plain(name: str) -> str:
    return " ".join(name.replace("_", " ").split()).casefold()


@cache
def _read_key(name: str) -> _Key:
    spaced = " ".join(name.replace("_", " ").split())
    bracketed = _IN_BRACKETS.search(spaced)
    binomial = read_binomial(spaced) or read_binomial(spaced[:1].upper() + spaced[1:].lower())
    if bracketed and binomial is None:
        inner = read_binomial(bracketed[1])
        if inner:
            return _Key(text=str(inner).casefold(), in_brackets=True)
    if binomial is None:
        return _Key(text=_plain(name))
    first = binomial.rest.split(" ")[0]
    is_epithet = bool(re.fullmatch(r"[a-zäëïöü-]{3,}", first)) and first not in _PARTICLES
    is_lower = first in _RANK_MARKS or is_epithet
    return _Key(text=str(binomial).casefold(), is_lower_taxon=is_lower)


def _find_rule(name: str, found: Sequence[str]) -> MatchRule:
    if name in found:
        return MatchRule.EXACT
    if _plain(name) in {_plain(one) for one in found}:
        return MatchRule.SPELLING
    return MatchRule.BRACKETS if all(_read_key(one).in_brackets for one in found) else MatchRule.AUTHORITY


def _suggest(
    unmatched: Sequence[str],
    known: Mapping[str, Sequence[str]],
    lower: Mapping[str, Sequence[str]],
    *,
    taken: Set[str],
) -> Iterable[Suggestion]:
    """At most one suggestion for each name: its subspecies, else the likest spelling, else its epithet elsewhere.

    The last one not where it is `taken`, the name of another species of the corpus.
    """
    if not unmatched:
        return
    by_start, by_epithet = defaultdict(list), defaultdict(list)
    # Elsewhere the epithet says nothing: a vulgaris may be a plant or a bird.
    genera = {text.partition(" ")[0] for text in known}
    for text in known:
        genus, _, epithet = text.partition(" ")
        by_start[genus[:2]].append(text)
        if epithet:
            by_epithet[_find_stem(epithet)].append(text)
    for name in unmatched:
        text = _read_key(name).text
        genus, _, epithet = text.partition(" ")
        elsewhere = by_epithet[_find_stem(epithet)] if epithet else []
        likest = _find_likest(text, [*by_start[genus[:2]], *elsewhere])
        if text in lower:
            yield Suggestion(species=name, candidate=lower[text][0], reason="a subspecies or variety of it")
        elif text in known:
            yield Suggestion(species=name, candidate=known[text][0], reason="the species of this subspecies")
        elif likest:
            yield Suggestion(species=name, candidate=known[likest][0], reason="spelt alike; perhaps another species")
        elif len(elsewhere) == 1 and genus in genera and elsewhere[0] not in taken:
            reason = "the same epithet in another genus; perhaps a synonym"
            yield Suggestion(species=name, candidate=known[elsewhere[0]][0], reason=reason)


def _find_stem(epithet: str) -> str:
    """The epithet without the ending that follows the gender of the genus: caeruleus and caerulea have one stem."""
    return re.sub(r"(us|um|is|er|a|e)$", "", epithet)


def _find_likest(text: str, candidates: Sequence[str]) -> str | None:
    """The candidate that is likest as a whole, of those that are alike in every word."""
    from rapidfuzz import fuzz, process

    found = process.extract(text, candidates, scorer=fuzz.ratio, score_cutoff=MIN_LIKENESS, limit=None)
    for candidate, _, _ in found:
        words, others = text.split(), candidate.split()
        if len(words) == len(others) and min(map(fuzz.ratio, words, others)) >= MIN_WORD_LIKENESS:
            return candidate
    return None
