"""Meta-Album: seven of its sets of plankton, insects, plants and fungi (Ullah et al. 2022, NeurIPS Datasets).

Layout of a set as published (ihsaan-ullah/meta-album: labels.csv and info.json beside a folder `images`; the file that
describes it is stored without its path)::

    PLK_Mini/labels.csv        FILE_NAME, CATEGORY, SUPER_CATEGORY
    PLK_Mini/images/<FILE_NAME>

or, as the competition and BioCLIP hold it, `PLK_Mini/val/<CATEGORY>/<FILE_NAME>` (Imageomics/bioclip-2:slurm/eval.sh,
WBAD-174/bioclip-2:src/evaluation/build_meta_album_metadata.py), where the accents of a folder's name may be composed in
another way than in the table.

Protocol of BioCLIP 2: PLK, INS, INS_2, PLT_NET, FNG, PLT_VIL and MED_LF in their Mini versions, all pictures, text type
`asis`: the category as it stands, underscores and all ("Guinardia_flaccida", "Grape___healthy"; see
Imageomics/bioclip:data/annotation/meta-album/*/metadata.csv). Other sets of Meta-Album are judged alike.
"""

from __future__ import annotations

import unicodedata
from pathlib import Path

from indexer.errors import SourceError
from training.judge.protocols.base import JudgeProtocol, read_csv, require, require_columns
from training.judge.protocols.classification import NamingSet, NamingTask
from training.judge.protocols.pictures import require_pictures

LAYOUT = "labels.csv beside images/ or val/, or folders that hold them (PLK_Mini, set0/PLK_Mini …)"
TITLES = {
    "PLK": "Plankton",
    "INS": "Insects",
    "INS_2": "Insects 2",
    "PLT_NET": "PlantNet",
    "FNG": "Fungi",
    "PLT_VIL": "PlantVillage",
    "MED_LF": "Medicinal Leaf",
}
"""What BioCLIP's tables call the sets."""

MAX_DEPTH = 3
VERSIONS = ("_Micro", "_Mini", "_Extended")


def load_meta_album(folder: Path) -> NamingTask:
    """The sets in a folder; where it holds several, their mean as well.

    Raises:
        SourceError: there is no set, or a set lacks pictures.
    """
    require(folder, (), benchmark="Meta-Album", layout=LAYOUT)
    tables = _find_tables(folder)
    if not tables:
        raise SourceError(f"{folder}: no labels.csv in it or below it; Meta-Album needs {LAYOUT}.")
    paths: list[Path] = []
    sets: list[NamingSet] = []
    for table in tables:
        files, texts = _read_set(table)
        sets.append(NamingSet(name=_title(table.parent), start=len(paths), texts=tuple(texts)))
        paths += files
    return NamingTask(
        pictures=require_pictures(paths, where=folder, benchmark="Meta-Album"),
        sets=tuple(sets),
        mean=f"Meta-Album, mean of {len(sets)} sets" if len(sets) > 1 else None,
    )


def _find_tables(folder: Path) -> list[Path]:
    found = [folder / "labels.csv"] if (folder / "labels.csv").is_file() else []
    for depth in range(1, MAX_DEPTH):
        found += sorted(folder.glob("*/" * depth + "labels.csv"))
    return found


def _title(folder: Path) -> str:
    name = folder.name
    for version in VERSIONS:
        name = name.removesuffix(version)
    return TITLES.get(name, folder.name)


def _read_set(table: Path) -> tuple[list[Path], list[str]]:
    rows = read_csv(table)
    require_columns(rows, ("FILE_NAME", "CATEGORY"), where=table)
    names, texts = rows["FILE_NAME"].to_pylist(), rows["CATEGORY"].to_pylist()
    folder = table.parent
    if (folder / "images").is_dir():
        return [folder / "images" / name for name in names], texts
    if (folder / "val").is_dir():
        folders = {_compose(path.name): path for path in (folder / "val").iterdir() if path.is_dir()}
        own = (folders.get(_compose(text), folder / "val" / text) for text in texts)
        return [path / name for path, name in zip(own, names, strict=True)], texts
    raise SourceError(f"{folder}: neither images/ nor val/ is there; Meta-Album needs {LAYOUT}.")


def _compose(name: str) -> str:
    return unicodedata.normalize("NFC", name)


META_ALBUM = JudgeProtocol(
    name="meta-album",
    title="Meta-Album",
    layout=LAYOUT,
    measures="top-1 and top-5 without examples, top-1 after 1 and 5, per set and as their mean",
    load=load_meta_album,
)
