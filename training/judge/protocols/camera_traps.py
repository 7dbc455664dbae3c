"""IDLE-OO Camera Traps: 2,586 pictures of five LILA BC collections, balanced by species (Gu et al. 2025).

Layout as on the hub (`imageomics/IDLE-OO-Camera-Traps`, its card; that the tables hold kingdom, phylum, cls, order,
family, genus, species, common_name, and a filepath below data/test, as in "ENA24/<uuid>.png", is said in
WBAD-174/bioclip-2:slurm/eval_hypothesis1.sh, which runs on them)::

    desert-lion-balanced.csv, ENA24-balanced.csv, island-balanced.csv, ohio-small-animals-balanced.csv,
    orinoquia-balanced.csv
    data/test/<collection>/<picture>

BioCLIP 2's own slurm/eval.sh holds the pictures in `images/<collection>/`; that is read as well. The rows of the tables
themselves could not be seen.

Protocol: text type `taxon_com`; the mean over the five, as "CamTrap" in BioCLIP 2's tables. Its pictures of one burst
are not marked, so intervals take every picture for an occurrence of its own and are somewhat too narrow.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from indexer.errors import SourceError
from indexer.terms import RANKS
from training.judge.protocols.base import JudgeProtocol, read_csv, require, require_columns
from training.judge.protocols.classification import NamingSet, NamingTask
from training.judge.protocols.pictures import find_missing, require_pictures
from training.judge.protocols.rare_species import write_taxa

if TYPE_CHECKING:
    import pyarrow as pa

COLLECTIONS = ("desert-lion", "ENA24", "island", "ohio-small-animals", "orinoquia")
COLUMNS = {**{rank: rank for rank in RANKS}, "class": "cls", "common": "common_name"}
LAYOUT = "the five tables <collection>-balanced.csv and data/test/<collection>/, as on the hub"


def load_camera_traps(folder: Path) -> NamingTask:
    """The five collections, each a set with its own species.

    Raises:
        SourceError: a table, a column or a picture is missing.
    """
    tables = {collection: f"{collection}-balanced.csv" for collection in COLLECTIONS}
    require(folder, tuple(tables.values()), benchmark="IDLE-OO Camera Traps", layout=LAYOUT)
    paths: list[Path] = []
    sets: list[NamingSet] = []
    for collection, name in tables.items():
        table = read_csv(folder / name)
        require_columns(table, (*COLUMNS.values(), "filepath"), where=folder / name)
        sets.append(NamingSet(name=collection, start=len(paths), texts=tuple(write_taxa(table, COLUMNS))))
        paths += _find_pictures(folder, collection, table)
    return NamingTask(
        pictures=require_pictures(paths, where=folder, benchmark="IDLE-OO Camera Traps"),
        sets=tuple(sets),
        mean="IDLE-OO Camera Traps, mean of 5",
    )


def _find_pictures(folder: Path, collection: str, table: pa.Table) -> list[Path]:
    """The pictures below the first folder that holds the first of them; below data/test where none does."""
    cells = table["filepath"].to_pylist()
    if not cells:
        raise SourceError(f"{folder / f'{collection}-balanced.csv'}: holds no picture. Download the table again.")
    roots = [folder / "data" / "test", folder / "images" / collection, folder / "images", folder]
    root = next((root for root in roots if not find_missing([root / cells[0]])), roots[0])
    return [root / cell for cell in cells]


CAMERA_TRAPS = JudgeProtocol(
    name="camera-traps",
    title="IDLE-OO Camera Traps",
    layout=LAYOUT,
    measures="top-1 and top-5 without examples, top-1 after 1 and 5, per collection and as their mean",
    load=load_camera_traps,
)
