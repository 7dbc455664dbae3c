"""The image files that a table names: where they lie, and what each is called in the corpus."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from indexer.folders import list_files
from indexer.object_storage import is_object, list_objects, read_address

_ELSEWHERE = re.compile(r"^(https?|ftp|s3|gs)://", re.IGNORECASE)
_ABSOLUTE = re.compile(r"^([A-Za-z]:)?/")


@dataclass(frozen=True, kw_only=True)
class ImageFile:
    """One image file: its absolute path, and its path relative to the source folder where it lies under it.

    `by_name` says that it was found by its name, in another folder than the table says.
    """

    uri: str
    name: str
    is_there: bool
    by_name: bool = False


def is_remote(cell: str) -> bool:
    """Whether the cell is an address that no image is read from: of the web, or of a store other than S3."""
    return bool(_ELSEWHERE.match(cell)) and not is_object(cell)


def _place(cell: str, root: str) -> str:
    """Where the cell's file should be. Tables written on Windows divide folders by backslashes."""
    path = cell.removeprefix("file://").replace("\\", "/")
    return os.path.normpath(path if _ABSOLUTE.match(path) else f"{root}/{path}").replace(os.sep, "/")


def _find(cell: str, roots: Sequence[str]) -> ImageFile:
    places = [_place(cell, root) for root in roots]
    there = next((place for place in places if Path(place).is_file()), None)
    found = there or places[0]
    return ImageFile(uri=found, name=found.removeprefix(f"{roots[0]}/"), is_there=there is not None)


def _key(path: str) -> str:
    """How paths are compared: in any letter case, and with accents as one character or as two."""
    return unicodedata.normalize("NFC", path).lower()


def _unique_keys(keys: Iterable[tuple[str, str]]) -> dict[str, str | None]:
    """Path per key, and per key without its suffix; None where several files bear it."""
    known: dict[str, str | None] = {}
    for key, path in keys:
        for name in {key, str(PurePosixPath(key).with_suffix(""))}:
            known[name] = None if name in known else path
    return known


def _agree(one: str, other: str) -> bool:
    """Whether the folders of one path are the last folders of the other: `trip/siteA/1.jpg` and `siteA/1.jpg`."""
    folders = [reversed(PurePosixPath(_key(path)).parent.parts) for path in (one, other)]
    return all(here == there for here, there in zip(*folders, strict=False))


def _guess_by_place(cell: str, places: Mapping[str, str | None], roots: Sequence[str]) -> str | None:
    """The image that lies below the first root where the cell says, under whichever root that is."""
    keys = [_key(_place(cell, root)).removeprefix(_key(f"{roots[0]}/")) for root in roots]
    return next((places[key] for key in keys if places.get(key)), None)


def _guess_by_name(cell: str, names: Mapping[str, str | None], roots: Sequence[str]) -> str | None:
    """The image of that name, unless the cell names a folder that is there or that is called otherwise."""
    places = [_place(cell, root) for root in roots]
    match = names.get(_key(PurePosixPath(places[0]).name))
    if match is None or not re.search(r"[/\\]", cell):
        return match
    has_folder = any(Path(place).parent.is_dir() for place in places)
    return None if has_folder or not _agree(places[0].removeprefix(f"{roots[0]}/"), match) else match


def _guess_images(cells: Mapping[int, str], roots: Sequence[str]) -> dict[int, ImageFile]:
    """The image that each cell may mean, by row: at its place in another spelling, else elsewhere by its name."""
    images = list_files(Path(roots[0])).images
    places = _unique_keys((_key(path), path) for path in images)
    names = _unique_keys((_key(PurePosixPath(path).name), path) for path in images)
    guesses = {}
    for row, cell in cells.items():
        at_place = _guess_by_place(cell, places, roots)
        path = at_place or _guess_by_name(cell, names, roots)
        if path is not None:
            uri = f"{roots[0]}/{path}"
            guesses[row] = ImageFile(uri=uri, name=path, is_there=True, by_name=at_place is None)
    return guesses


def _find_object(cell: str, root: str) -> ImageFile:
    return ImageFile(uri=cell, name=cell.removeprefix(f"{root}/"), is_there=True)


def _find_objects(cells: Sequence[str], root: str) -> list[ImageFile]:
    names = [cell if is_object(cell) else _place(cell, "/")[1:].lstrip("/") for cell in cells]
    there = set() if all(map(is_object, names)) else set(list_objects(root))
    return [
        _find_object(name, root)
        if is_object(name)
        else ImageFile(uri=f"{root}/{name}", name=name, is_there=name in there)
        for name in names
    ]


def find_images(cells: Sequence[str], roots: Sequence[Path]) -> list[ImageFile]:
    """The file that each cell names, relative to the first of `roots` under which it is.

    Below the first root, a file that is not at its place is looked for there in any letter case, in either Unicode form
    of its accents (NFC, NFD) and where the cell leaves the suffix out; then, by its name, in the other folders. That is
    done only where the cell names no folder, or one that does not exist and does not contradict the file's own folder
    (`trip/siteA/1.jpg` may be `siteA/1.jpg`, not `siteB/1.jpg`), since cameras number their pictures alike. A name that
    several images bear finds none, and a file that another row names or finds as well is not guessed. A file that
    is nowhere keeps the place where it should be, and the reader of images then refuses it.

    A cell may be an address of object storage, and so may the first root, under which names are then taken as written.
    """
    folders = [read_address(root) or root.as_posix() for root in roots]
    if is_object(folders[0]):
        return _find_objects(cells, folders[0])
    found = [_find_object(cell, folders[0]) if is_object(cell) else _find(cell, folders) for cell in cells]
    if all(image.is_there for image in found):
        return found
    guesses = _guess_images({row: cells[row] for row, image in enumerate(found) if not image.is_there}, folders)
    n_claims = Counter(image.uri for image in (*guesses.values(), *found))
    for row, image in guesses.items():
        if n_claims[image.uri] == 1:
            found[row] = image
    return found
