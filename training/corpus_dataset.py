"""A corpus as a dataset: whatever Morphospace has indexed, learned from where its files lie."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from indexer.corpus import STATUS_IMAGE, Corpus, open_corpus
from indexer.errors import InputError
from indexer.images import read_image
from indexer.names import TaxonName, complete_name
from indexer.terms import RANKS
from training.annotations import VERNACULAR, find_described

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from jaxtyping import UInt8

    from training.settings import TrainingConfig

KEYS = ("record_id", "occurrence_id", "sha256", "license")
"""Columns beside names and traits: identity, digest of the file (for the leak check), licence (for the model card)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class CorpusDataset:
    """The images of a corpus with their records; see `training.examples.Dataset`.

    Attributes:
        uris: Where each image lies.
    """

    name: str
    records: pa.Table
    uris: pa.ChunkedArray

    def __len__(self) -> int:
        """How many pictures there are."""
        return int(self.records.num_rows)

    def read_image(self, position: int) -> UInt8[np.ndarray, "h w 3"]:
        """The picture's upright pixels.

        Raises:
            InputError: The file is gone, cannot be decoded, or is no longer the one that was indexed.
        """
        path = Path(self.uris[position].as_py())
        image = read_image(path)
        if image.sha256 != self.records["sha256"][position].as_py():
            raise InputError(
                f"{path}: the file has changed since {self.name} was made. Restore it, or index it under a new name."
            )
        return image.pixels


def open_corpus_dataset(path: Path, config: TrainingConfig, *, announce: Callable[[str], None]) -> CorpusDataset:
    """The records of a corpus that have an image and a name or a value in the columns of the captions.

    A record without a species takes it from its scientific name where `indexer.names` finds that safe.

    Raises:
        CorpusError: There is no corpus at the path.
        InputError: No record can be learned from.
    """
    corpus = open_corpus(path)
    columns = config.columns
    table = _read_records(corpus, columns)
    described = find_described(table, config.captions.columns)
    if len(described) == 0:
        raise InputError(
            f"{corpus.name}: none of its {table.num_rows:,} images has a name, or a value in the columns "
            f"{', '.join(config.captions.columns)}. Index it again with a table of names: --manifest TABLE"
        )
    if len(described) < table.num_rows:
        announce(
            f"{corpus.name}: {table.num_rows - len(described):,} images have neither name nor trait and are left out"
        )
    _announce_missing(corpus, columns, announce)
    kept = table.take(described).combine_chunks()
    return CorpusDataset(name=corpus.name, records=kept.drop_columns(["uri"]), uris=kept["uri"])


def _read_records(corpus: Corpus, columns: Sequence[str]) -> pa.Table:
    """The records with an image, every column as text, all seven ranks and the common name among them."""
    import pyarrow as pa
    import pyarrow.compute as pc

    wanted = (*KEYS, *RANKS, VERNACULAR, *columns)
    there = corpus.column_types()
    asked = [name for name in dict.fromkeys((*wanted, "uri", "status", "scientificName", "taxonRank")) if name in there]
    table = corpus.read_columns(asked)
    table = table.filter(pc.equal(table["status"], STATUS_IMAGE))
    empty = pa.nulls(table.num_rows, pa.string())
    text = {name: pc.cast(table[name], pa.string()) if name in there else empty for name in (*KEYS, *RANKS, VERNACULAR)}
    text |= {name: pc.cast(table[name], pa.string()) for name in columns if name in there}
    text["species"] = _fill_species(table, text)
    text = {name: cells for name, cells in text.items() if name != "license" or name in there}
    return pa.table({**text, "uri": table["uri"]})


def _fill_species(table: pa.Table, text: dict[str, pa.ChunkedArray]) -> pa.Array:
    import pyarrow as pa

    if "scientificName" not in table.column_names:
        return text["species"]
    ranks = table["taxonRank"].to_pylist() if "taxonRank" in table.column_names else [None] * table.num_rows
    cells = zip(
        text["species"].to_pylist(), table["scientificName"].to_pylist(), ranks, text["genus"].to_pylist(), strict=True
    )
    return pa.array(
        [
            species or complete_name(TaxonName(scientific=name, rank=rank, genus=genus)).species
            for species, name, rank, genus in cells
        ],
        pa.string(),
    )


def _announce_missing(corpus: Corpus, columns: Sequence[str], announce: Callable[[str], None]) -> None:
    there = list(corpus.column_types())
    missing = [name for name in columns if name not in there]
    if missing:
        close = {name: difflib.get_close_matches(name, there, n=1, cutoff=0.8) for name in missing}
        names = [f"{name} (did you mean {close[name][0]}?)" if close[name] else name for name in missing]
        announce(f"{corpus.name}: has no column {', '.join(names)}; captions and measures do without")
