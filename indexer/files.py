"""Files that are either whole or not there: atomic writes, and artefacts published through a JSON description."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from indexer.errors import CorpusError


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Call `write` with a temporary path beside `path`, then put the finished file in its place.

    A reader sees the former file or the new one, never a part; a killed writer leaves only a `.part` file,
    which `remove_leftovers` clears.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write `value` as indented JSON, atomically."""
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    write_atomically(path, lambda part: part.write_text(text, encoding="utf-8"))


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file of a corpus; CorpusError where it is absent or not JSON."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CorpusError(f"{path}: the file is missing. Run `morphospace index` again to make it anew.") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CorpusError(f"{path}: not readable as JSON ({error}). Restore it from a copy of the corpus.") from error
    if not isinstance(value, dict):
        raise CorpusError(f"{path}: holds a {type(value).__name__}; an object is expected. Restore it from a copy.")
    return value


def hash_file(path: Path) -> str:
    """SHA-256 of a file's bytes, as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def publish(
    description: Path, stem: str, suffix: str, write: Callable[[Path], object], facts: Mapping[str, Any]
) -> None:
    """Write an artefact under a name made of its digest, then the JSON description that names it.

    The description is the commit: it adds `file` and `digest` to `facts`, and replaces the former description in
    one step, so that it never stands beside an artefact it does not describe. The former artefact is then removed
    (a reader that has it open keeps it).
    """
    folder = description.parent
    draft = folder / f".{stem}{suffix}.draft"
    write_atomically(draft, write)
    digest = hash_file(draft)
    name = f"{stem}-{digest[:12]}{suffix}"
    draft.replace(folder / name)
    write_json(description, {**facts, "file": name, "digest": digest})
    for former in folder.glob(f"{stem}-*{suffix}"):
        if former.name != name:
            former.unlink(missing_ok=True)


def is_table(path: Path) -> bool:
    """Whether a Lance table has been committed; a writer killed in its very first commit leaves data and no version."""
    return (path / "_versions").is_dir()


def remove_leftovers(folder: Path) -> None:
    """Clear what a killed writer left in the corpus `folder`; call it only while holding the corpus's lock."""
    for table in (folder / "records.lance", *folder.glob("spaces/*/vectors.lance")):
        if table.is_dir() and not is_table(table):
            shutil.rmtree(table)
    for pattern in ("**/.*.part", "**/.*.draft"):
        for leftover in folder.glob(pattern):
            leftover.unlink(missing_ok=True)
