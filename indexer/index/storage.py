"""The folder of an index on disk: written whole under another name, then named by `index.json`, which is the commit."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from indexer.errors import CorpusError
from indexer.files import hash_file, read_json, read_stamp, write_json
from indexer.index.calibration import Calibration, open_calibration
from indexer.index.facts import IndexFacts

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from jaxtyping import Float16, Float32, Int64

    from indexer.corpus import Space

VECTORS = "vectors.npy"
ROWS = "rows.npy"
CODES = "codes.faiss"
TAXA = "taxa.parquet"
CALIBRATION = "calibration.npz"
LENGTHS = "lengths.npy"
DRAFT = ".index.draft"


@dataclass(frozen=True, kw_only=True)
class StoredIndex:
    """A committed index on disk.

    Attributes:
        space: whose index it is.
        facts: what is known of it.
        folder: holds its files.
        digests: file name → SHA-256.
        digest: SHA-256 over the files' digests; names the folder.
    """

    space: Space
    facts: IndexFacts
    folder: Path
    digests: Mapping[str, str]
    digest: str

    def require_whole(self) -> None:
        """CorpusError where one of the files is not what was committed, or an array has not the shape it should have.

        A file that is no younger than its description is taken for unchanged, so that this costs microseconds; one that
        is younger is hashed. What changed without leaving a trace in the times (a failing disk) is found by
        `morphospace check` alone. FileNotFoundError where the folder has been replaced since.
        """
        import numpy as np

        committed = self.space.index_path.stat().st_mtime_ns
        for name, digest in self.digests.items():
            file = self.folder / name
            if file.stat().st_mtime_ns > committed and _hash_once(file, read_stamp(file)) != digest:
                raise CorpusError(
                    f"{file}: is not the file that index.json describes (its digest differs); it would give wrong "
                    f"answers. {say_how_to_rebuild(self.space)}"
                )
        n = self.facts.n
        for name, shape in {VECTORS: (n, self.facts.dimension), ROWS: (n,), LENGTHS: (n,)}.items():
            if name not in self.digests:
                continue
            found = np.load(self.folder / name, mmap_mode="r" if n else None).shape
            if found != shape:
                raise CorpusError(
                    f"{self.folder / name}: holds values of shape {found}, not {shape} as index.json says. "
                    f"{say_how_to_rebuild(self.space)}"
                )

    def open_vectors(self) -> Float16[np.ndarray, "n d"]:
        """The vectors by position, mapped from disk; FileNotFoundError where the folder has been replaced since."""
        import numpy as np

        # numpy maps no empty file.
        vectors: Float16[np.ndarray, "n d"] = np.load(self.folder / VECTORS, mmap_mode="r" if self.facts.n else None)
        return vectors

    def load_rows(self) -> Int64[np.ndarray, " n"]:
        """The row at each position, in memory."""
        import numpy as np

        rows: Int64[np.ndarray, " n"] = np.load(self.folder / ROWS)
        return rows

    def load_lengths(self) -> Float32[np.ndarray, " n"] | None:
        """The length that each calibrated vector had before it was brought to unit length; None without calibration."""
        import numpy as np

        if LENGTHS not in self.digests:
            return None
        lengths: Float32[np.ndarray, " n"] = np.load(self.folder / LENGTHS)
        return lengths

    def open_calibration(self) -> Calibration | None:
        """The calibration of its vectors; None where they are those that the encoder made."""
        return open_calibration(self.folder / CALIBRATION) if CALIBRATION in self.digests else None

    def read_taxa(self) -> pa.Table:
        """Where each taxon stands: `rank`, `name`, `start`, `stop` (positions, stop excluded), sorted by name."""
        import pyarrow.parquet as pq

        return pq.read_table(self.folder / TAXA)


def has_index(space: Space) -> bool:
    """Whether an index has been committed."""
    return space.index_path.exists()


def read_index(space: Space) -> StoredIndex:
    """The committed index; CorpusError where there is none, or its description is not one.

    The folder may be replaced by a job at any moment: where one of its files turns out to be gone, read again.
    """
    if not has_index(space):
        raise CorpusError(f"{space.name}: has no index yet. {say_how_to_rebuild(space)}")
    try:
        stored = json.loads(space.index_path.read_text(encoding="utf-8"))
        folder, digest, digests = space.folder / stored.pop("folder"), stored.pop("digest"), stored.pop("files")
        made_for = stored.pop("space")
        facts = IndexFacts.from_json(stored)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CorpusError(
            f"{space.index_path}: not the description of an index as this version writes it "
            f"({type(error).__name__}: {error}). {say_how_to_rebuild(space)}"
        ) from error
    if made_for != _identify(space):
        raise CorpusError(
            f"{space.index_path}: describes the index of another space ({made_for.get('name')!r}, made "
            f"{made_for.get('created')}), which would give answers from there. {say_how_to_rebuild(space)}"
        )
    if digest != combine_digests(digests) or folder != _folder_of(space, digest):
        raise CorpusError(
            f"{space.index_path}: the digest of the index is not that of the files it lists. "
            f"{say_how_to_rebuild(space)}"
        )
    return StoredIndex(space=space, facts=facts, folder=folder, digests=digests, digest=digest)


def say_how_to_rebuild(space: Space) -> str:
    """What a user does where an index cannot be used: no record and no vector is lost with it."""
    return f"Build it from the stored vectors, which are not touched, with: morphospace map {space.corpus_path}"


@contextmanager
def draft_index(space: Space) -> Iterator[Path]:
    """An empty folder to write an index in; what is left there at the end is removed. The caller holds the lock."""
    draft = space.folder / DRAFT
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    try:
        yield draft
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def publish_index(space: Space, draft: Path, facts: IndexFacts) -> StoredIndex:
    """Make a drafted folder the index of the space, in one step, and remove the former one.

    A reader that has the former one open keeps what it has mapped.
    """
    digests = _hash_files(draft)
    digest = combine_digests(digests)
    folder = _folder_of(space, digest)
    # The folder that readers hold stays where it is if it already holds the same, and gives way where it is damaged.
    if not folder.is_dir() or _hash_files(folder) != digests:
        shutil.rmtree(folder, ignore_errors=True)
        draft.rename(folder)
    stored = StoredIndex(space=space, facts=facts, folder=folder, digests=digests, digest=digest)
    return describe_index(space, stored)


def describe_index(space: Space, stored: StoredIndex) -> StoredIndex:
    """Write `index.json`, which makes `stored` the index of the space, and remove what it does not name."""
    named = {"folder": stored.folder.name, "digest": stored.digest, "files": dict(stored.digests)}
    write_json(space.index_path, {**named, "space": _identify(space), **stored.facts.to_json()})
    for former in space.folder.glob("index-*"):
        if former.is_dir() and former != stored.folder:
            shutil.rmtree(former, ignore_errors=True)
        elif former.is_file():
            former.unlink()
    return stored


def combine_digests(digests: Mapping[str, str]) -> str:
    """The digest of an index from those of its files."""
    return hashlib.sha256("\n".join(f"{name} {digests[name]}" for name in sorted(digests)).encode()).hexdigest()


def _folder_of(space: Space, digest: str) -> Path:
    return space.folder / f"index-{digest[:12]}"


def _identify(space: Space) -> dict[str, Any]:
    """What tells a space from every other; its encoder may be named later and does not belong to it."""
    facts = read_json(space.folder / "space.json")
    return {name: facts[name] for name in ("name", "created", "dimension")}


@lru_cache(maxsize=32)
def _hash_once(file: Path, stamp: tuple[int, ...]) -> str:
    """The digest of a file, computed once for as long as it stays the same."""
    return hash_file(file)


def _hash_files(folder: Path) -> dict[str, str]:
    return {file.name: hash_file(file) for file in sorted(folder.iterdir())}
