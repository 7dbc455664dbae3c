"""The corpus: a directory that Morphospace owns. `data/README.md` is the normative text of its format."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from indexer.errors import CorpusError, QueryError
from indexer.files import explaining_full_disk, is_table, read_json, remove_leftovers, write_json
from indexer.object_storage import read_address
from indexer.removals import REMOVED_FILE, is_among, read_removed_rows, without_rows

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from jaxtyping import Int64

    from indexer.encoder_spec import EncoderSpec

FORMAT_VERSION = 1
OWN_COLUMNS = (
    "row",
    "record_id",
    "occurrence_id",
    "uri",
    "sha256",
    "n_bytes",
    "width",
    "height",
    "status",
    "thumbnail",
)
STATUS_IMAGE = "image"
STATUS_NO_IMAGE = "no image"
_SPACE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, kw_only=True)
class Space:
    """One encoder's view of a corpus: its vectors, index and maps.

    Attributes:
        name: unique within the corpus; the name of its folder.
        folder: `spaces/<name>` inside the corpus.
        dimension: of its vectors.
        encoder: the spec that made the vectors; None where vectors were imported and their encoder is not known,
            so that only records and vectors can be asked with, not texts or images.
    """

    name: str
    folder: Path
    dimension: int
    encoder: EncoderSpec | None

    @property
    def vectors_path(self) -> Path:
        """The Lance table of vectors."""
        return self.folder / "vectors.lance"

    @property
    def index_path(self) -> Path:
        """The description of the index; it names the index file."""
        return self.folder / "index.json"

    @property
    def corpus_path(self) -> Path:
        """The directory of its corpus."""
        return self.folder.parent.parent

    def removed_rows(self) -> Int64[np.ndarray, " m"]:
        """The rows of the corpus that were removed, ascending, whether they have a vector here or not."""
        return read_removed_rows(self.corpus_path / REMOVED_FILE)

    def map_path(self, name: str = "umap") -> Path:
        """The description of a map; it names the file of coordinates."""
        return self.folder / "maps" / name / "map.json"


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """A corpus on disk. Holds no open file: every read sees the latest committed version."""

    path: Path

    @property
    def name(self) -> str:
        """The directory's name, as messages give it."""
        return self.path.name

    @property
    def records_path(self) -> Path:
        """The Lance table of records."""
        return self.path / "records.lance"

    @property
    def rejected_path(self) -> Path:
        """The CSV of refused images."""
        return self.path / "rejected.csv"

    @property
    def removed_path(self) -> Path:
        """The list of removed records."""
        return self.path / REMOVED_FILE

    def open_records(self) -> Any:
        """The latest version of the records table (a `lance.LanceDataset`), removed records included.

        CorpusError while there is none.
        """
        return _open_table(self.records_path, f"{self.name}: no record is stored yet")

    def has_records(self) -> bool:
        """Whether any record has been committed."""
        return is_table(self.records_path)

    def count_rows(self) -> int:
        """How many rows were given, those of removed records included; the next record gets this one."""
        return int(self.open_records().count_rows()) if self.has_records() else 0

    def count_records(self) -> int:
        """How many records the corpus shows: all but the removed ones."""
        return self.count_rows() - len(self.removed_rows())

    def removed_rows(self) -> Int64[np.ndarray, " m"]:
        """The rows of removed records, ascending. Reading it again costs microseconds while nothing changes."""
        return read_removed_rows(self.removed_path)

    def live_rows(self) -> Int64[np.ndarray, " n"]:
        """The rows of all records but the removed ones, ascending."""
        import numpy as np

        return without_rows(np.arange(self.count_rows()), self.removed_rows())

    def column_types(self) -> dict[str, pa.DataType]:
        """The type of every column of the records, thumbnails left out."""
        if not self.has_records():
            return {}
        return {field.name: field.type for field in self.open_records().schema if field.name != "thumbnail"}

    def read_columns(self, columns: Sequence[str], *, with_removed: bool = False) -> pa.Table:
        """The named columns of the records, in row order.

        Args:
            columns: names.
            with_removed: whether removed records are among them. Only then is the place of a record its row.
        """
        import numpy as np

        table = self.open_records().to_table(columns=list(columns))
        removed = self.removed_rows()
        if with_removed or not len(removed):
            return table
        return table.filter(~is_among(np.arange(table.num_rows), removed))

    def read_rows(
        self, rows: Sequence[int] | Int64[np.ndarray, " n"], columns: Sequence[str] | None = None
    ) -> pa.Table:
        """The records of the given rows, in the order asked for; all columns but the thumbnail where none is named."""
        names = list(columns) if columns is not None else list(self.column_types())
        return self.open_records().take([int(row) for row in rows], columns=names)

    def read_thumbnails(self, rows: Sequence[int] | Int64[np.ndarray, " n"]) -> list[bytes | None]:
        """The WebP thumbnails of the given rows; None where a record has no image."""
        found: list[bytes | None] = self.read_rows(rows, ["thumbnail"]).column("thumbnail").to_pylist()
        return found

    def find_record(self, record_id: str) -> int:
        """The row of a record; QueryError, with the nearest ids, where there is none, and where it was removed."""
        row = self.find_row(record_id)
        if row in self.removed_rows():
            raise QueryError(
                f"{self.name}: the record {record_id!r} was removed. Bring it back with: "
                f"morphospace remove {self.path} --record-id {record_id!r} --undo"
            )
        return row

    def find_records(self, record_ids: Iterable[str]) -> dict[str, int]:
        """The row of each record by its id, at one look; QueryError as in `find_record`."""
        wanted = dict.fromkeys(record_ids)
        quoted = ", ".join("'" + record_id.replace("'", "''") + "'" for record_id in wanted)
        table = self.open_records().to_table(columns=["row", "record_id"], filter=f"record_id IN ({quoted})")
        found = dict(zip(table.column("record_id").to_pylist(), table.column("row").to_pylist(), strict=True))
        removed = set(self.removed_rows().tolist())
        for record_id in wanted:
            if record_id not in found or found[record_id] in removed:
                self.find_record(record_id)
        return found

    def find_row(self, record_id: str) -> int:
        """The row of a record, removed or not; QueryError, with the nearest ids, where there is none."""
        quoted = record_id.replace("'", "''")
        found = self.open_records().to_table(columns=["row"], filter=f"record_id = '{quoted}'")
        if found.num_rows == 0:
            raise QueryError(f"{self.name}: no record has the id {record_id!r}.{self._suggest_ids(record_id)}")
        return int(found.column("row")[0].as_py())

    def _suggest_ids(self, record_id: str) -> str:
        from difflib import get_close_matches

        ids = self.read_columns(["record_id"]).column("record_id").to_pylist()
        close = get_close_matches(record_id, ids[:50_000], n=3, cutoff=0.5)
        return f" Did you mean {' or '.join(map(repr, close))}?" if close else " List ids with `morphospace export`."

    def spaces(self) -> dict[str, Space]:
        """The spaces by name, in the order in which they were made."""
        descriptions = sorted(
            ((read_json(file), file.parent) for file in self.path.glob("spaces/*/space.json")),
            key=lambda pair: (str(pair[0]["created"]), pair[1].name),
        )
        return {folder.name: _read_space(folder, facts) for facts, folder in descriptions}

    def open_space(self, name: str | None = None) -> Space:
        """The named space, or the first one made; CorpusError, with the names there are, where it is absent."""
        spaces = self.spaces()
        if not spaces:
            raise CorpusError(
                f"{self.name}: has no space yet. Make one with: morphospace index SOURCE --corpus {self.path}"
            )
        if name is None:
            return next(iter(spaces.values()))
        if name not in spaces:
            raise CorpusError(f"{self.name}: has no space {name!r}; there is {', '.join(spaces)}. Name one of these.")
        return spaces[name]

    def add_space(self, name: str, *, dimension: int, encoder: EncoderSpec | None) -> Space:
        """Make an empty space; the caller holds the lock. CorpusError for a name that is taken or not usable."""
        if not _SPACE_NAME.fullmatch(name):
            raise CorpusError(
                f"--space {name!r}: not a usable name; letters, digits, '.', '_' and '-' are allowed, 64 at most."
            )
        folder = self.path / "spaces" / name
        if (folder / "space.json").exists():
            raise CorpusError(f"{self.name}: the space {name!r} exists already. Choose another name with --space.")
        facts: dict[str, Any] = {"name": name, "created": _now(), "dimension": dimension}
        facts["encoder"] = encoder.to_json() if encoder else None
        facts["fingerprint"] = encoder.fingerprint if encoder else None
        write_json(folder / "space.json", facts)
        return _read_space(folder, facts)

    def name_encoder(self, space: Space, encoder: EncoderSpec) -> Space:
        """State which encoder made the vectors of a space that was imported without one; the caller holds the lock."""
        facts = {**read_json(space.folder / "space.json"), "encoder": encoder.to_json()}
        facts["fingerprint"] = encoder.fingerprint
        write_json(space.folder / "space.json", facts)
        return _read_space(space.folder, facts)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the corpus for writing; CorpusError at once where another job holds it.

        The lock is the operating system's own, so that it falls with its process, however that ends.
        """
        from filelock import FileLock, Timeout

        lock = FileLock(self.path / ".lock")
        holder = self.path / ".lock-holder"
        try:
            lock.acquire(timeout=0)
        except Timeout:
            who = holder.read_text(encoding="utf-8") if holder.exists() else "another process"
            raise CorpusError(
                f"{self.name}: {who} is writing to it. Wait for that job or stop it, then run this again."
            ) from None
        try:
            with explaining_full_disk(self.path):
                remove_leftovers(self.path)
                holder.write_text(f"a job (process {os.getpid()}, since {_now()})", encoding="utf-8")
                yield
        finally:
            holder.unlink(missing_ok=True)
            lock.release()


def open_corpus(path: Path) -> Corpus:
    """The corpus at `path`; CorpusError where there is none, or one of a format that this version cannot read."""
    _refuse_storage(path)
    description = path / "corpus.json"
    if not description.exists():
        source, place = (path, f"{path}.corpus") if path.is_dir() and any(path.iterdir()) else ("SOURCE", path)
        raise CorpusError(
            f"{path}: not a corpus (it has no corpus.json). Make one with: morphospace index {source} --corpus {place}"
        )
    found = read_json(description).get("format_version")
    if found != FORMAT_VERSION:
        raise CorpusError(
            f"{path}: format version {found!r}; Morphospace {version('morphospace')} reads version {FORMAT_VERSION}. "
            "Use the version that made it, or index its source again."
        )
    return Corpus(path=path)


def create_corpus(path: Path) -> Corpus:
    """The corpus at `path`, made where it is absent; CorpusError where `path` holds something else."""
    _refuse_storage(path)
    if (path / "corpus.json").exists():
        return open_corpus(path)
    if path.exists() and (not path.is_dir() or any(not _is_beginning(file) for file in path.iterdir())):
        raise CorpusError(f"{path}: exists and is not a corpus. Name a new or empty directory, as {path}.corpus.")
    facts = {
        "format_version": FORMAT_VERSION,
        "created": _now(),
        "created_with": f"morphospace {version('morphospace')}",
    }
    write_json(path / "corpus.json", facts)
    return Corpus(path=path)


def _refuse_storage(path: Path) -> None:
    """A corpus is locked by the operating system and its index is mapped into memory: neither works in a bucket."""
    address = read_address(path)
    if address:
        raise CorpusError(
            f"{address}: a corpus lies on a local or shared disk; object storage is for its source alone. "
            "Name a local directory, and copy the finished corpus with `aws s3 sync`."
        )


def _is_beginning(file: Path) -> bool:
    """Whether a file is all that a kill in the first moment of a corpus leaves."""
    return file.name.startswith(".corpus.json.") and file.suffix == ".part"


def _read_space(folder: Path, facts: dict[str, Any]) -> Space:
    from indexer.encoder_spec import EncoderSpec

    spec = facts["encoder"]
    encoder = EncoderSpec.from_json(spec) if spec else None
    return Space(name=folder.name, folder=folder, dimension=int(facts["dimension"]), encoder=encoder)


def _open_table(path: Path, absent: str) -> Any:
    if not is_table(path):
        raise CorpusError(f"{absent}. Run `morphospace index` to fill it.")
    import lance

    return lance.dataset(str(path))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
