"""Folders of images: which files are candidates, and which folders are named after a species."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from indexer.names import TaxonName, read_folder_name
from indexer.object_storage import list_objects, read_address

# Files that lie beside images and are known not to be any. All others are tried, so that a broken or misnamed image is
# refused by name instead of being passed over.
_SIDECAR_SUFFIXES = """
.csv .tsv .tab .txt .xlsx .xls .ods .parquet .parq .pq .arrow .feather .json .jsonl .geojson .xml .eml .xmp .aae .md
.rst .rtf .yaml .yml .toml .ini .cfg .log .html .htm .css .js .py .r .rmd .ipynb .sh .bat .sqlite .db .lnk .npy .npz
.md5 .sha256
"""
_SIDECARS = frozenset(_SIDECAR_SUFFIXES.split())
_CLUTTER = frozenset({"thumbs.db", "desktop.ini", "__macosx"})


@dataclass(frozen=True, kw_only=True)
class FolderFiles:
    """The files below a folder, as sorted paths relative to it with `/` between the parts.

    `misnamed` are those that cannot be used since their paths are not UTF-8, each in readable form: `a\\xe9.jpg`.
    """

    paths: tuple[str, ...]
    misnamed: tuple[str, ...] = ()

    @property
    def images(self) -> list[str]:
        """Every path that may be an image."""
        return [path for path in self.paths if not is_sidecar(path)]


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in _CLUTTER


def is_sidecar(path: str) -> bool:
    """Whether the file is a table, text or setting that lies beside images, told by its suffix."""
    return PurePosixPath(path).suffix.lower() in _SIDECARS


def _enters(folder: Path, seen: set[tuple[int, int]]) -> bool:
    """Whether the folder is to be searched: once only, and not where it is a corpus of ours or a Lance table."""
    try:
        status = folder.stat()
    except OSError:  # a link to nowhere
        return False
    identity = (status.st_dev, status.st_ino)
    if identity in seen or folder.suffix == ".lance" or (folder / "corpus.json").is_file():
        return False
    seen.add(identity)
    return True


def _walk(root: Path) -> Iterator[str]:
    seen: set[tuple[int, int]] = set()
    _enters(root, seen)
    for parent, folders, files in os.walk(root, followlinks=True):
        here = Path(parent)
        folders[:] = [name for name in sorted(folders) if not _is_hidden(name) and _enters(here / name, seen)]
        prefix = "" if here == root else here.relative_to(root).as_posix() + "/"
        yield from (prefix + name for name in files if not _is_hidden(name))


def readable_name(path: str) -> str:
    """The path as it can be stored and printed; another string than `path` where that is not UTF-8 on disk."""
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:  # os.fsdecode stands in a surrogate for each byte that it cannot decode
        return os.fsencode(path).decode("utf-8", "backslashreplace")
    return path


def list_files(root: Path) -> FolderFiles:
    """Every file under the folder that is not hidden.

    Links to folders are followed, each folder is searched once; corpora of ours are passed over.
    """
    address = read_address(root)
    found = sorted(_walk(root) if address is None else _list_storage(address), key=lambda path: path.split("/"))
    readable = [readable_name(path) for path in found]
    return FolderFiles(
        paths=tuple(path for path, name in zip(found, readable, strict=True) if path == name),
        misnamed=tuple(name for path, name in zip(found, readable, strict=True) if path != name),
    )


def _list_storage(folder: str) -> Iterator[str]:
    return (key for key in list_objects(folder) if not any(_is_hidden(part) for part in key.split("/")))


def nearest_names(files: Sequence[str], root: Path) -> tuple[list[TaxonName], list[str | None]]:
    """Per file the species that the nearest folder above it (`root` included) is named after, and its folder's path.

    An empty name says that no folder is named after a species; the folder's path is None directly under `root`.
    """
    known: dict[str, TaxonName] = {"": read_folder_name(root.name) or TaxonName()}

    def name_of(folder: str) -> TaxonName:
        if folder not in known:
            parent, _, last = folder.rpartition("/")
            known[folder] = read_folder_name(last) or name_of(parent)
        return known[folder]

    folders = [path.rpartition("/")[0] for path in files]
    return [name_of(folder) for folder in folders], [folder or None for folder in folders]
