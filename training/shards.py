"""TreeOfLife's tars as a dataset: names are read from the texts beside each image, and only where they are certain.

BioCLIP's tars hold per key `.jpg` (squashed to 224 x 224), the bare names `.scientific_name.txt`, `.common_name.txt`
and `.taxonomic_name.txt`, and the captions `.sci.txt`, `.com.txt`, `.taxon.txt`, `.taxonTag.txt`, `.sci_com.txt`,
`.taxon_com.txt`, `.taxonTag_com.txt`, each as `a photo of ….` Sources: scripts/evobio10m/make_wds_reproduce.py of
Imageomics/bioclip; processing/src/tol2webdataset/utils.py of Imageomics/TreeOfLife-toolbox, which writes five of the
ten, none with a common name. Extensions are compared in lower case, as webdataset does.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from indexer.errors import InputError
from indexer.images import decode_image
from indexer.names import TaxonName, complete_name, read_binomial
from indexer.terms import RANKS, find_term
from training.annotations import VERNACULAR, find_described
from training.progress import Progress, keep_quiet
from training.tars import fetch_tars, list_places, list_tars, open_cache, read_bytes, read_contents

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from jaxtyping import Int64, UInt8

    from training.settings import TrainingConfig

TAG_TEXTS = ("taxontag.txt", "taxontag_com.txt")
TAXON_TEXTS = ("taxonomic_name.txt", "taxon.txt", "taxon_com.txt")
SCIENTIFIC_TEXTS = ("scientific_name.txt", "sci.txt", "sci_com.txt")
COMMON_TEXTS = ("common_name.txt", "com.txt")
BOTH_TEXTS = ("sci_com.txt", "taxon_com.txt", "taxontag_com.txt")
TEXTS = tuple(dict.fromkeys((*TAG_TEXTS, *TAXON_TEXTS, *SCIENTIFIC_TEXTS, *COMMON_TEXTS, *BOTH_TEXTS)))
_WITH_COMMON = " with common name "
_TAG = re.compile(rf"(?<!\S)({'|'.join(RANKS)})(?!\S)")
_MISSING_WORDS = frozenset({"unknown", "nan", "none", "null", "na", "n/a", "#n/a", "<na>"})
_MISSING = _MISSING_WORDS | {"", "unknown taxonomy", "(unidentified)"}
"""What writers of tables put where there is no name, in lower case."""
_OCCURRENCE = ("occurrenceID", "gbifID", "source_id")
MAX_PARSED = 100_000


@dataclass(frozen=True, kw_only=True)
class Names:
    """What is certain about the names of a sample: seven ranks, the last the binomial, and a common name."""

    ranks: tuple[str | None, ...]
    vernacular: str | None


@dataclass(frozen=True, kw_only=True, eq=False)
class ShardDataset:
    """The images of tars with their records; see `training.examples.Dataset`.

    Attributes:
        tars: The tars.
        places: Per picture `tar` (place in `tars`), `start` and `size` of its bytes.
    """

    name: str
    records: pa.Table
    tars: tuple[Path, ...]
    places: Int64[np.ndarray, "n 3"]

    def __len__(self) -> int:
        """How many pictures there are."""
        return int(self.records.num_rows)

    def read_image(self, position: int) -> UInt8[np.ndarray, "h w 3"]:
        """The picture's upright pixels; InputError names tar and key where it cannot be read."""
        tar, start, size = self.places[position].tolist()
        key = self.records["record_id"][position].as_py()
        return decode_image(read_bytes(self.tars[tar], start, size), name=f"{self.tars[tar]}, {key}").pixels


def open_shards(
    config: TrainingConfig, *, announce: Callable[[str], None], progress: Progress = keep_quiet
) -> ShardDataset:
    """The samples of the tars that `data.source` names, which have an image and a name or a value to be said.

    Raises:
        InputError: A tar is missing, cannot be fetched, is damaged or cut short, or no sample can be learned from.
    """
    source = config.data.source
    cache = open_cache(config.data.cache)
    tars = tuple(fetch_tars(list_tars(source), cache, progress=progress))
    contents = read_contents(tars, cache, progress=progress)
    records = make_records(contents, tars, config.columns)
    described = find_described(records, config.captions.columns)
    if len(described) == 0:
        raise InputError(
            f"{source}: none of its {contents.num_rows:,} images has a name beside it; texts such as KEY.taxonTag.txt "
            "or KEY.sci.txt are read. Image-caption pairs (KEY.txt) belong into replay.source."
        )
    if len(described) < records.num_rows:
        announce(f"{source}: {records.num_rows - len(described):,} images have neither name nor trait and are left out")
    places = list_places(contents)[described]
    return ShardDataset(name=source, records=records.take(described), tars=tars, places=places)


def make_records(contents: pa.Table, tars: Sequence[Path], columns: Sequence[str]) -> pa.Table:
    """The records of the samples: names from the texts, then what a `.json` beside the image adds.

    The record's id is the key, with the tar before it where a key comes twice; the occurrence that of the `.json`, else
    unknown.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    rows = [_make_record(texts, columns) for texts in _list_texts(contents)]
    names = ("occurrence_id", *RANKS, VERNACULAR, *columns)
    keys = contents["key"]
    if pc.count_distinct(keys).as_py() < len(keys):
        stems = pa.array([tars[tar].stem for tar in contents["tar"].to_pylist()], pa.string())
        keys = pc.binary_join_element_wise(stems, keys, "/")
    return pa.table(
        {"record_id": keys, **{name: pa.array([row.get(name) for row in rows], pa.string()) for name in names}}
    )


def _list_texts(contents: pa.Table) -> list[tuple[tuple[str, str], ...]]:
    """The texts of each sample, as (extension, text); equal ones can then be read once."""
    there = [name for name in (*TEXTS, "json") if name in contents.column_names]
    cells = (contents[name].to_pylist() for name in there)
    return [
        tuple((name, text) for name, text in zip(there, row, strict=True) if text) for row in zip(*cells, strict=True)
    ] or [()] * contents.num_rows


def _make_record(texts: tuple[tuple[str, str], ...], columns: Sequence[str]) -> dict[str, str | None]:
    names = _read_names_once(tuple(pair for pair in texts if pair[0] != "json"))
    record = dict(zip(RANKS, names.ranks, strict=True)) | {VERNACULAR: names.vernacular}
    facts = read_facts(dict(texts).get("json"))
    record |= {name: facts[name] for name in (*RANKS, VERNACULAR) if name in facts and not record[name]}
    record |= {name: facts[name] for name in columns if name in facts}
    record["occurrence_id"] = next((facts[name] for name in _OCCURRENCE if name in facts), None)
    return record


@functools.lru_cache(maxsize=MAX_PARSED)
def _read_names_once(texts: tuple[tuple[str, str], ...]) -> Names:
    return read_names(dict(texts))


def read_names(texts: Mapping[str, str]) -> Names:
    """The names that these texts, by their extensions, give with certainty.

    - Tagged ranks (`kingdom Animalia … species alba`) are what they say. The epithet is joined to its genus; a tag that
      gives the subspecies for the epithet (the toolbox takes the last word) is set right by the scientific name.
    - Without tags seven words, six capitals and an epithet, are the seven ranks. Fewer are never joined by position:
      genus and species then come from the scientific name, if it is a binomial.
    - A common name that only repeats the scientific or taxonomic name stands for none, as the writers fill it in.
    """
    scientific, taxon = _find(texts, SCIENTIFIC_TEXTS), _find(texts, TAXON_TEXTS)
    if scientific and not _MISSING_WORDS.isdisjoint(scientific.lower().split()):
        scientific = None
    tag = _find(texts, TAG_TEXTS)
    named = read_tag(tag) if tag else _read_full_taxon(taxon or "")
    name = complete_name(TaxonName(scientific=scientific, genus=named.get("genus")))
    species = _join_species(named, scientific) if "species" in named else name.species
    ranks = {**named, "genus": named.get("genus") or name.genus, "species": species}
    common = _find(texts, COMMON_TEXTS) or _find_common(texts)
    repeats = {text.lower() for text in (scientific, taxon, tag, species) if text}
    return Names(
        ranks=tuple(ranks.get(rank) for rank in RANKS),
        vernacular=common if common and common.lower() not in repeats else None,
    )


def read_tag(tag: str) -> dict[str, str]:
    """The ranks of a tagged text, as `kingdom Animalia phylum Chordata … species alba`, in the order of the ranks.

    A rank without a name, as `phylum class Aves`, is left out.
    """
    marks, last = [], -1
    for mark in _TAG.finditer(tag):
        if RANKS.index(mark[1]) > last:
            marks.append(mark)
            last = RANKS.index(mark[1])
    ends = [*(mark.start() for mark in marks), len(tag)][1:]
    found = {mark[1]: tag[mark.end() : end].strip() for mark, end in zip(marks, ends, strict=True)}
    return {rank: name for rank, name in found.items() if not _is_missing(name)}


def read_facts(text: str | None) -> dict[str, str]:
    """The plain values of a sample's JSON object by column, under Darwin Core's names where they are known.

    Nothing where the text is no JSON object: the file may be any program's.
    """
    if text is None:
        return {}
    try:
        value: Any = json.loads(text)
    except json.JSONDecodeError:
        return {}
    plain = (
        {key: cell for key, cell in value.items() if isinstance(cell, (str, int, float))}
        if isinstance(value, dict)
        else {}
    )
    return {find_term(key) or key: str(cell) for key, cell in plain.items() if not _is_missing(str(cell))}


def _read_full_taxon(taxon: str) -> dict[str, str]:
    words = taxon.split()
    if len(words) != len(RANKS) or not all(word[0].isupper() for word in words[:-1]) or words[-1][0].isupper():
        return {}
    return {rank: name for rank, name in zip(RANKS, words, strict=True) if not _is_missing(name)}


def _join_species(named: Mapping[str, str], scientific: str | None) -> str | None:
    """The binomial of a tagged epithet; None where there is no genus to join it to."""
    genus, epithet = named.get("genus"), named["species"]
    full = read_binomial(scientific or "")
    if full and genus in (None, full.genus) and epithet in (full.epithet, *full.rest.split()):
        return str(full)
    if genus is None:
        return None
    joined = read_binomial(epithet if epithet.startswith(f"{genus} ") else f"{genus} {epithet}")
    return str(joined) if joined else None


def _find(texts: Mapping[str, str], names: Sequence[str]) -> str | None:
    """The first of these texts without its template and common name; None where all are missing or unknown."""
    bare = (_strip_template(texts[name]).partition(_WITH_COMMON)[0].strip() for name in names if name in texts)
    return next((text for text in bare if not _is_missing(text)), None)


def _find_common(texts: Mapping[str, str]) -> str | None:
    parts = (_strip_template(texts[name]).partition(_WITH_COMMON)[2].strip() for name in BOTH_TEXTS if name in texts)
    return next((text for text in parts if not _is_missing(text)), None)


def _is_missing(name: str) -> bool:
    return name.strip().lower() in _MISSING


def _strip_template(text: str) -> str:
    text = text.strip()
    if text.startswith("a photo of "):
        return text.removeprefix("a photo of ").removesuffix(".").strip()
    return text
