"""The image files that a table names: where they lie, and what each is called in the corpus."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from indexer.folders import list_files

_ELSEWHERE = re.compile(r"^(https?|ftp|s3|gs)://", re.IGNORECASE)
_ABSOLUTE = re.compile(r"^([A-Za-z]:)?/")


@dataclass(frozen=True, kw_only=True)
class ImageFile:
    """One image file: its absolute path, and its path relative to the source folder where it lies under it."""

    uri: str
    name: str
    is_there: bool
    by_name: bool = False


def is_remote(cell: str) -> bool:
    """Whether the cell is an address of the web or of an object store instead of a file."""
    return bool(_ELSEWHERE.match(cell))


def _place(cell: str, root: str) -> str:
    """Where the cell's file should be. Tables written on Windows divide folders by backslashes."""
    path = cell.removeprefix("file://").replace("\\", "/")
    return os.path.normpath(path if _ABSOLUTE.match(path) else f"{root}/{path}").replace(os.sep, "/")


def _find(cell: str, roots: Sequence[str]) -> ImageFile:
    places = [_place(cell, root) for root in roots]
    there = next((place for place in places if Path(place).is_file()), None)
    found = there or places[0]
    return ImageFile(uri=found, name=found.removeprefix(f"{roots[0]}/"), is_there=there is not None)


def _unique_names(files: Sequence[str]) -> dict[str, str | None]:
    """Path per file name in lower case, with and without suffix; None where several files bear it."""
    known: dict[str, str | None] = {}
    for path in files:
        name = PurePosixPath(path)
        for key in {name.name.lower(), name.stem.lower()}:
            known[key] = None if key in known else path
    return known


def find_images(cells: Sequence[str], roots: Sequence[Path]) -> list[ImageFile]:
    """The file that each cell names, relative to the first of `roots` under which it is.

    A file that is not at its place is looked for by its name, in any letter case and also where the cell leaves the
    suffix out, anywhere under the first root; a name that several files bear finds none. A file that is nowhere keeps
    the place where it should be, and the reader of images then refuses it.
    """
    folders = [root.as_posix() for root in roots]
    found = [_find(cell, folders) for cell in cells]
    if all(image.is_there for image in found):
        return found
    known = _unique_names(list_files(roots[0]))
    for position, image in enumerate(found):
        match = None if image.is_there else known.get(image.name.rpartition("/")[2].lower())
        if match is not None:
            found[position] = ImageFile(uri=f"{folders[0]}/{match}", name=match, is_there=True, by_name=True)
    return found
