"""Rare Species: 11,983 pictures of 400 animals of the IUCN Red List, held out of TreeOfLife-10M (Stevens et al. 2024).

Layout as on the hub (`imageomics/rare-species`; the card is
Imageomics/bioclip:docs/imageomics/RareSpecies_DatasetCard.md, the Parquet files are read by a script that is stored
without its path, `port_rare_species.py`)::

    data/train-*.parquet   a struct of `bytes` and `path` (`file_name`, once `image`), kingdom … species (the epithet),
                           sciName, common

or, exported, `metadata.csv` with the same columns and `file_name` = `dataset/<lineage>/<file>.jpg` beside it.

Protocol of BioCLIP 2 (slurm/eval.sh): text type `taxon_com`, "Animalia Chordata … Genus epithet with common name …".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from indexer.errors import SourceError
from indexer.terms import RANKS
from training.captions import write_names
from training.judge.protocols.base import JudgeProtocol, read_csv, require, require_columns
from training.judge.protocols.classification import NamingSet, NamingTask
from training.judge.protocols.pictures import ParquetPictures, Pictures, require_pictures
from training.settings import TextType

if TYPE_CHECKING:
    import pyarrow as pa

LAYOUT = "data/train-*.parquet as on the hub, or metadata.csv beside dataset/"


def load_rare_species(folder: Path) -> NamingTask:
    """The pictures with their lineage and common name.

    Raises:
        SourceError: the folder holds neither layout, or lacks columns or pictures.
    """
    require(folder, (), benchmark="Rare Species", layout=LAYOUT)
    files = sorted([*folder.glob("data/train-*.parquet"), *folder.glob("train-*.parquet")])
    table, pictures = _read_hub(files) if files else _read_export(folder)
    texts = write_taxa(table, {**{rank: rank for rank in RANKS}, "common": "common"})
    return NamingTask(pictures=pictures, sets=(NamingSet(name="Rare Species", start=0, texts=tuple(texts)),))


def _read_hub(files: Sequence[Path]) -> tuple[pa.Table, Pictures]:
    import pyarrow as pa
    import pyarrow.parquet

    schema = pyarrow.parquet.read_schema(files[0])
    image = find_image_column(schema, where=files[0])
    wanted = [name for name in schema.names if name != image]
    # A shard in which a column is empty throughout may have it as null.
    parts = [pyarrow.parquet.read_table(file, columns=wanted) for file in files]
    table = pa.concat_tables(parts, promote_options="default")
    require_columns(table, (*RANKS, "common"), where=files[0])
    return table, ParquetPictures(files, image)


def _read_export(folder: Path) -> tuple[pa.Table, Pictures]:
    require(folder, ("metadata.csv",), benchmark="Rare Species", layout=LAYOUT)
    table = read_csv(folder / "metadata.csv")
    require_columns(table, (*RANKS, "common", "file_name"), where=folder / "metadata.csv")
    paths = [folder / name for name in table["file_name"].to_pylist()]
    return table, require_pictures(paths, where=folder, benchmark="Rare Species")


def find_image_column(schema: pa.Schema, *, where: Path) -> str:
    """The column that holds pictures: a struct with a field `bytes`.

    Raises:
        SourceError: there is none.
    """
    import pyarrow as pa

    for field in schema:
        if pa.types.is_struct(field.type) and field.type.get_field_index("bytes") >= 0:
            return str(field.name)
    raise SourceError(
        f"{where}: no column of pictures (a struct with `bytes`). Download the Parquet files as published."
    )


def write_taxa(table: pa.Table, columns: Mapping[str, str]) -> list[str]:
    """The text of each row's species: its lineage, and its common name where it has one.

    `columns` gives the table's name for each rank and for `common`; its species column holds the epithet.

    Raises:
        SourceError: a row names no taxon.
    """
    cells = {rank: [cell or None for cell in table[name].to_pylist()] for rank, name in columns.items()}
    texts = []
    for row in range(table.num_rows):
        *higher, genus, epithet = (cells[rank][row] for rank in RANKS)
        species = f"{genus} {epithet}" if genus and epithet else epithet
        written = write_names((*higher, genus, species), cells["common"][row])
        text = written.get(TextType.TAXON_COMMON) or written.get(TextType.TAXON) or written.get(TextType.COMMON)
        if text is None:
            raise SourceError(f"row {row + 1:,} of the table names no taxon; every picture needs one.")
        texts.append(text)
    return texts


RARE_SPECIES = JudgeProtocol(
    name="rare-species",
    title="Rare Species",
    layout=LAYOUT,
    measures="top-1 and top-5 without examples, top-1 after 1 and 5, of 400 species",
    load=load_rare_species,
)
