"""Scientific names as written in records and folders: what may be concluded from them, and what may not.

A binomial is read only from `Genus epithet`, `Genus (Subgenus) epithet`, each with or without infraspecific epithet and
authority. Nothing is read from open nomenclature (`Aus sp.`, `Aus cf. bus`), hybrids (`Aus × bus`), species groups,
alternatives (`Aus bus/cus`), uninomials, viruses, or English words that merely look like a name (`Red fox`).
Ranks are never joined by position, and a lineage with holes keeps them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

_BINOMIAL = re.compile(
    r"([A-Z][a-zäëïöü]+(?:-[a-zA-Z][a-z]+)?)"  # genus
    r"(?: \([A-Z][a-z]+\))?"  # subgenus
    r" ([a-zäëïöü]{2,}(?:-[a-zäëïöü]+)*)(?=$|[ ,(])(.*)"  # epithet, and the rest
)
_EPITHET = re.compile(r"[a-zäëïöü]{2,}(?:-[a-zäëïöü]+)*")
_UNSURE = re.compile(
    r"[×?/]|(?:^| )[xX](?: |$)|\b(?:complex|group|agg|hybrid|or|vs|virus|phage|viroid)\b", re.IGNORECASE
)
_OPEN_WORDS = """
sp spp cf aff nr near indet undet gen nov ined morphosp morphospecies species
"""
_OPEN = frozenset(_OPEN_WORDS.split())
_INFRASPECIFIC = frozenset({"subsp", "ssp", "var", "v", "f", "forma"})
# Second words that are no epithet: marks of rank, and the particles of authors ("Ammophila de Geer").
_NO_EPITHET_WORDS = """
ssp subsp var forma cv sect ser subg subgen auct non nec sensu emend nom incertae de da do dos du des del della di
den der van von vom zu zur la le ten ter af al el et ex in and
"""
_NO_EPITHET = _OPEN | frozenset(_NO_EPITHET_WORDS.split())
# English words that folders and label columns put where a genus or an epithet would stand.
_ENGLISH_WORDS = """
image images photo photos picture pictures pic pics img imgs scan scans data dataset raw edited final new old good
bad best test train training val valid validation batch set sets part plate folder file files backup copy misc other
unknown unsorted sorted camera cam trap traps site sites plot plots station field lab museum collection specimen
specimens drawer box tray day night left right top bottom side front back view dorsal ventral lateral head wing
wings leaf leaves flower flowers fruit male female males females adult adults juvenile juveniles larva larvae egg
eggs spring summer autumn fall winter north south east west northern southern eastern western january february march
april may june july august september october november december the my our and with without for from of on at no not
all one two three first second third low high small large big little great giant lesser greater common red orange
yellow green blue purple brown black white grey gray golden silver dark light pale spotted striped banded barred
crested tailed headed footed winged necked backed throated billed eared horned american african asian european
australian indian asiatic arctic domestic wild house wood water river sea forest mountain desert garden tree bear
fox wolf dog cat deer elk moose boar pig sheep goat cow cattle horse donkey zebra monkey ape baboon elephant rhino
hippo giraffe lion tiger leopard cheetah jaguar cougar lynxes bobcat coyote jackal badger otter weasel marten skunk
raccoon rabbit hare squirrel mouse mice rat rats bat bats mole shrew hedgehog beaver seal whale dolphin shark fish
salmon trout eel frog frogs toad newt snake snakes lizard lizards turtle tortoise crocodile bird birds owl owls hawk
eagle falcon duck ducks goose geese swan gull tern crow raven jay finch finches sparrow robin thrush wren warbler
woodpecker penguin chicken hen turkey pigeon dove parrot insect insects bug bugs beetle beetles butterfly
butterflies moth moths bee bees wasp wasps ant ants fly flies dragonfly spider spiders crab lobster snail snails
worm worms plant plants grass fern moss fungus fungi mushroom mushrooms animal animals oak pine maple birch rose
lily daisy orchid
"""
_ENGLISH = frozenset(_ENGLISH_WORDS.split())


@dataclass(frozen=True, kw_only=True)
class Binomial:
    """A species' name, and what was written after it (infraspecific epithet, authority), "" where nothing was."""

    genus: str
    epithet: str
    rest: str = ""

    def __str__(self) -> str:
        return f"{self.genus} {self.epithet}"


@dataclass(frozen=True, kw_only=True)
class TaxonName:
    """The cells of one record that name its species; None where a cell is empty."""

    scientific: str | None = None
    rank: str | None = None
    genus: str | None = None
    species: str | None = None
    epithet: str | None = None


def read_binomial(text: str) -> Binomial | None:
    """The binomial that a name begins with; None where none can be read safely (see the module's rule)."""
    text = " ".join(text.split())
    match = _BINOMIAL.fullmatch(text)
    if match is None or _UNSURE.search(text):
        return None
    genus, epithet, rest = match.groups()
    if epithet in _NO_EPITHET or epithet in _ENGLISH or genus.lower() in _ENGLISH:
        return None
    return Binomial(genus=genus, epithet=epithet, rest=rest.strip())


def _is_epithet(text: str) -> bool:
    return bool(_EPITHET.fullmatch(text)) and text not in _NO_EPITHET


def _is_open(text: str) -> bool:
    """Whether the name stops short of a species: `sp.`, `Aus sp. 3`, `Aus cf. bus`, `sp1`."""
    return any(re.sub(r"[.\d]+$", "", word).lower() in _OPEN for word in text.split()[:2])


def _join_epithet(name: TaxonName, epithet: str, *, genus_known: bool) -> str | None:
    if name.genus and " " not in name.genus:
        return f"{name.genus} {epithet}"
    binomial = read_binomial(name.scientific or "")
    if binomial and binomial.epithet == epithet:
        return str(binomial)
    return None if genus_known else epithet


def _species_from_scientific(name: TaxonName) -> str | None:
    if name.rank and name.rank.lower() in ("kingdom", "phylum", "class", "order", "family", "genus", "subgenus"):
        return None
    binomial = read_binomial(name.scientific or "")
    if binomial is None or name.genus not in (None, binomial.genus):
        return None
    return str(binomial)


def _species_from_cells(name: TaxonName, *, genus_known: bool) -> str | None:
    text = name.species
    if text is None:
        if name.genus and name.epithet and _is_epithet(name.epithet):
            return _join_epithet(name, name.epithet, genus_known=genus_known)
        return _species_from_scientific(name)
    if text == name.genus or _is_open(text):
        return None
    if _is_epithet(text):
        return _join_epithet(name, text, genus_known=genus_known)
    binomial = read_binomial(text)
    return str(binomial) if binomial else text


def complete_name(name: TaxonName, *, genus_known: bool = True) -> TaxonName:
    """The record's name with `species` as a binomial, and genus and species filled where that is safe.

    - `species` given as an epithet is joined to the record's genus, and kept as epithet. Without a genus it becomes
      None, since `alba` alone would join unrelated species; in a table with no genus at all (`genus_known=False`) it
      stays as written.
    - `species` given as a binomial stays, freed of authority and subspecies (these move to an empty scientific name).
    - `species` that stops short of one (`Aus sp.`) becomes None. Any other text stays as written.
    - A missing species comes from genus and epithet, else from the scientific name, unless its rank is above species
      or the genus differs. A missing genus comes from the binomial.
    """
    species = _species_from_cells(name, genus_known=genus_known)
    given = name.species
    is_epithet = given is not None and _is_epithet(given)
    changes: dict[str, str | None] = {"species": species}
    if given and species != given and name.scientific is None and not is_epithet and given != name.genus:
        changes["scientific"] = given
    if is_epithet and species != given and name.epithet is None:
        changes["epithet"] = given
    binomial = read_binomial(species or "")
    if name.genus is None and binomial:
        changes["genus"] = binomial.genus
    return replace(name, **changes)


def read_folder_name(folder: str) -> TaxonName | None:
    """The species that a folder is named after (`Heliconius_melpomene`, `001 parus major`); None where it is none.

    Words may be joined by underscores or spaces, the genus may be in lower case and a number may precede it. English
    words (`camera_trap`, `Red fox`) are no names, but no list of them is complete: say which folders were read.
    """
    text = " ".join(re.sub(r"^\d+[._ -]+", "", folder).replace("_", " ").split())
    binomial = read_binomial(text[:1].upper() + text[1:])
    if binomial is None:
        return None
    first = binomial.rest.split(" ")[0]
    is_name = _is_epithet(first) or first.rstrip(".") in _INFRASPECIFIC or re.match(r"\(?[A-ZÀ-Þ]", first)
    keeps_rest = is_name and first.lower() not in _ENGLISH
    scientific = f"{binomial} {binomial.rest}" if keeps_rest else str(binomial)
    return TaxonName(scientific=scientific, genus=binomial.genus, species=str(binomial))
