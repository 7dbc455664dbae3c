"""The Darwin Core vocabulary that Morphospace recognises, and how a table's columns are given its names.

A column is recognised whatever its case and however its words are joined (`Scientific Name`, `scientific_name`), with
or without a prefix (`dwc:`, `dcterms:`) or as a full URI. Terms follow the Darwin Core quick reference guide
(https://dwc.tdwg.org/terms/) and, for licence and credit, Dublin Core and Audubon Core. `species` is the full binomial,
as in GBIF's downloads. Aliases are those met in TreeOfLife, GBIF, iNaturalist, EOL and emb-explorer files.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from indexer.errors import SourceError

RANKS = ("kingdom", "phylum", "class", "order", "family", "genus", "species")

# What Morphospace itself asks of a table, beside the terms of Darwin Core.
FILE, RECORD_ID, DISPLAY_NAME = "file", "record_id", "display_name"

# Columns of a corpus or of an answer: a table's own column of that name is kept as `<name>_given`.
_RESERVED_WORDS = """
row record_id occurrence_id uri file folder display_name sha256 size n_bytes width height format status reason
thumbnail emb uuid vector score percentile rank
"""
RESERVED = frozenset(_RESERVED_WORDS.split())

# Canonical name: the aliases, the preferred first. The canonical spelling itself always comes before them.
_VOCABULARY: Mapping[str, str] = {
    FILE: "filename filepath imagefile imagefilename imagepath image img path photo photofile uri",
    RECORD_ID: "uuid imageuuid photouuid mediauuid imageid photoid mediaid",
    DISPLAY_NAME: "",
    "scientificName": "scientificname sciname taxonname taxon latinname",
    "vernacularName": "commonname common vernacular englishname",
    "kingdom": "taxonkingdomname",
    "phylum": "taxonphylumname division",
    "class": "taxonclassname",
    "order": "taxonordername",
    "family": "taxonfamilyname",
    "genus": "taxongenusname",
    "species": "taxonspeciesname binomial speciesname",
    "specificEpithet": "speciesepithet epithet",
    "infraspecificEpithet": "subspecies ssp subspeciesepithet",
    "scientificNameAuthorship": "authorship authority",
    "taxonRank": "rank",
    "taxonID": "",
    "taxonKey": "",
    "sex": "gender",
    "lifeStage": "stage",
    "reproductiveCondition": "",
    "behavior": "behaviour",
    "habitat": "",
    "occurrenceID": "observationuuid observationid specimenid",
    "gbifID": "",
    "catalogNumber": "catalognum cataloguenumber",
    "recordNumber": "",
    "institutionCode": "institution",
    "collectionCode": "",
    "source_id": "",
    "basisOfRecord": "",
    "occurrenceStatus": "",
    "preparations": "",
    "eventDate": "observedon dateobserved observationdate date",
    "verbatimEventDate": "",
    "year": "",
    "month": "",
    "day": "",
    "recordedBy": "collector observer",
    "identifiedBy": "determiner",
    "identificationQualifier": "",
    "identificationVerificationStatus": "",
    "continent": "",
    "country": "placecountryname",
    "countryCode": "",
    "stateProvince": "placestatename state province",
    "county": "placecountyname",
    "locality": "placeguess",
    "decimalLatitude": "latitude lat",
    "decimalLongitude": "longitude lon lng",
    "coordinateUncertaintyInMeters": "positionalaccuracy",
    "verbatimLatitude": "",
    "verbatimLongitude": "",
    "verbatimElevation": "",
    "minimumElevationInMeters": "elevationm elevationinmeters altitudem",
    "maximumElevationInMeters": "",
    "minimumDepthInMeters": "depthm depthinmeters",
    "maximumDepthInMeters": "",
    "occurrenceRemarks": "",
    "license": "licence licensename licencename",
    "rightsHolder": "credit copyrightowner attribution",
    "creator": "photographer artist",
    "publisher": "",
    "identifier": "imageurl imgurl sourceurl mediaurl accessuri eolfullsizecopyurl",
    "references": "url link occurrenceurl pageurl",
    "datasetName": "datasource sourcedataset",
    "datasetKey": "",
}

TERMS = tuple(name for name in _VOCABULARY if name not in (FILE, RECORD_ID, DISPLAY_NAME))


@dataclass(frozen=True, kw_only=True)
class NumberRange:
    """Lowest and highest value that a numeric term may take, ends included."""

    low: float
    high: float
    whole: bool = False


# Every other term is text, also where it looks like a number: catalogNumber 00417 is not 417.
NUMBERS: Mapping[str, NumberRange] = MappingProxyType(
    {
        "decimalLatitude": NumberRange(low=-90, high=90),
        "decimalLongitude": NumberRange(low=-180, high=180),
        "coordinateUncertaintyInMeters": NumberRange(low=0, high=50_000_000),
        "minimumElevationInMeters": NumberRange(low=-12_000, high=9_000),
        "maximumElevationInMeters": NumberRange(low=-12_000, high=9_000),
        "minimumDepthInMeters": NumberRange(low=-9_000, high=12_000),
        "maximumDepthInMeters": NumberRange(low=-9_000, high=12_000),
        "year": NumberRange(low=-10_000, high=9_999, whole=True),
        "month": NumberRange(low=1, high=12, whole=True),
        "day": NumberRange(low=1, high=31, whole=True),
    }
)

_ORDER: Mapping[str, int] = {term: position for position, term in enumerate(_VOCABULARY)}
_PREFIX = re.compile(r"^(dwc|dwciri|dcterms|dc|ac|gbif|xmp|xmprights):", re.IGNORECASE)


def plain_name(name: str) -> str:
    """The name in lower case without prefix, URI, spaces, underscores, hyphens and dots: how columns are compared."""
    if "://" in name:
        name = re.split(r"[/#]", name.rstrip("/#"))[-1]
    return re.sub(r"[\s_.\-]+", "", _PREFIX.sub("", name.strip())).lower()


def _read_vocabulary() -> dict[str, tuple[str, int]]:
    known: dict[str, tuple[str, int]] = {}
    for term, aliases in _VOCABULARY.items():
        for priority, alias in enumerate([plain_name(term), *aliases.split()]):
            known.setdefault(alias, (term, priority))
    return known


_KNOWN: Mapping[str, tuple[str, int]] = _read_vocabulary()


def find_term(name: str) -> str | None:
    """The canonical name that a column's name stands for; None where it is nobody's alias."""
    known = _KNOWN.get(plain_name(name))
    return known[0] if known else None


def _preference(name: str) -> tuple[bool, int]:
    term, priority = _KNOWN[plain_name(name)]
    return name != term, priority


def canonical_columns(names: Iterable[str]) -> dict[str, str]:
    """Canonical name per recognised column, in the order of the columns; others are left out.

    Where several columns stand for one term the canonical spelling wins, then the alias that the vocabulary names
    first; the losers are left out and so keep their own names.
    """
    names = list(names)
    best: dict[str, str] = {}
    for name in names:
        term = find_term(name)
        if term is not None and (term not in best or _preference(name) < _preference(best[term])):
            best[term] = name
    chosen = {name: term for term, name in best.items()}
    return {name: chosen[name] for name in names if name in chosen}


def find_asked(column_map: Mapping[str, str], term: str) -> str | None:
    """The column that `column_map` gives to the term, by its name or an alias; None where it gives none."""
    return next((column for asked, column in column_map.items() if find_term(asked) == term), None)


def _hint(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.75)
    return f" Did you mean '{close[0]}'?" if close else ""


def _target(asked: str, column: str) -> str:
    """The name that `--column asked=column` gives: a term where `asked` is one or its alias, else a name of its own."""
    term = find_term(asked)
    if term is not None:
        return term
    hint = _hint(asked, _VOCABULARY)
    if hint and not asked.startswith("verbatim"):
        raise SourceError(
            f"--column {asked}={column}: '{asked}' is not a Darwin Core term that is known here; "
            f"write a term, or a name that resembles none to keep the column under it.{hint}"
        )
    return asked


def _explicit(names: list[str], column_map: Mapping[str, str], where: str) -> dict[str, str]:
    targets: dict[str, str] = {}
    for asked, column in column_map.items():
        if column not in names:
            raise SourceError(
                f"{where}: no column '{column}', which --column {asked}={column} asks for; "
                f"the columns are {', '.join(names)}.{_hint(column, names)}"
            )
        target = _target(asked, column)
        if target in targets:
            raise SourceError(
                f"--column: '{targets[target]}' and '{column}' are both to be {target}; "
                "one column gives one term. Leave one out."
            )
        targets[target] = column
    return targets


def sort_columns(names: Iterable[str]) -> list[str]:
    """The names with those of the vocabulary first, in its order, and the others as they came."""
    return sorted(names, key=lambda name: _ORDER.get(name, len(_ORDER)))


def own_name(name: str, taken: Iterable[str]) -> str:
    """The name under which a column that is no term is kept: without dots, and unlike every taken name but for case."""
    name = name.replace(".", "_")
    if name.lower() in RESERVED:
        name = f"{name}_given"
    lowered = {other.lower() for other in taken}
    candidate, count = name, 1
    while candidate.lower() in lowered:
        count += 1
        candidate = f"{name}_{count}"
    return candidate


def assign_columns(names: Iterable[str], column_map: Mapping[str, str], *, where: str) -> dict[str, str]:
    """Column of the table per name it gets in the records: terms in the vocabulary's order, then the others.

    `column_map` ({term: column}, the command line's `--column term=column`) comes first and moves the column: under its
    old meaning it is gone, except that the column of image files stays one. A column that an alias or `column_map`
    displaces keeps its own name, with `_2` where that is taken.

    Raises:
        SourceError: `column_map` names an unknown column or a misspelt term.
    """
    names = list(names)
    targets = _explicit(names, column_map, where)
    moved = set(targets.values())
    for column, term in canonical_columns(n for n in names if n not in moved or find_term(n) == FILE).items():
        targets.setdefault(term, column)
    used = set(targets.values())
    assigned = {term: targets[term] for term in sort_columns(targets) if term in _VOCABULARY}
    for target, column in targets.items():
        if target not in _VOCABULARY:
            assigned[own_name(target, assigned)] = column
    for column in names:
        if column not in used:
            assigned[own_name(column, assigned)] = column
    return assigned
