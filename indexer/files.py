"""Files that are either whole or not there: atomic writes, and artefacts published through a JSON description."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from indexer.errors import CorpusError

_FULL_DISK = (r"No space left on device", r"os error 28\b", r"\d+ requested and \d+ written")
"""How Lance, FAISS and numpy say it; they give no error number."""


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


def read_stamp(path: Path) -> tuple[int, ...]:
    """What changes whenever a file is replaced or a folder gains or loses an entry; empty where there is none.

    Costs microseconds, so that a reader can ask before every answer.
    """
    try:
        stat = path.stat()
    except FileNotFoundError:
        return ()
    return stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


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


@contextmanager
def explaining_full_disk(folder: Path) -> Iterator[None]:
    """Turn the error of a full disk, which each library words in its own way, into a CorpusError that says so."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        if not _is_full_disk(error):
            raise
        free = shutil.disk_usage(folder).free
        raise CorpusError(
            f"{folder.name}: the disk is full ({free / 1e6:,.1f} MB free at {folder}); what was committed before is "
            "whole. Free some space and run the same command again."
        ) from error


def _is_full_disk(error: Exception) -> bool:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    return any(re.search(words, str(error)) for words in _FULL_DISK)


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
            # Records are removed without this lock: what begins so may be in the making.
            if leftover.is_dir():
                shutil.rmtree(leftover)
            elif not leftover.name.startswith(".removed.parquet."):
                leftover.unlink(missing_ok=True)
