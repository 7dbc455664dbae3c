"""What `morphospace evaluate` judges on: a corpus, the validation part of a run, or a folder or table of images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from indexer.corpus import STATUS_IMAGE, Corpus, open_corpus
from indexer.errors import ImageError, InputError
from training.judge.figures import Omission
from training.judge.protocols.pictures import FilePictures, embed_pictures

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from jaxtyping import Bool, Float32, Int64, UInt8

    from indexer.corpus import Space
    from indexer.encoding import Encoder
    from training.examples import Dataset
    from training.judge.protocols.pictures import Pictures
    from training.progress import Progress

MAX_PICTURES = 20_000
"""Pictures that an evaluation takes; of more it draws occurrences until there are so many."""
MANIFEST = "manifest.csv"
N_LISTED = 3

Announce = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, eq=False)
class Target:
    """Pictures with their records, to be judged on.

    Attributes:
        name: for messages and tables.
        records: one row per picture.
        pictures: in the records' order.
        corpus: where vectors may lie already; None for none.
        notes: what a reader should know.
    """

    name: str
    records: pa.Table
    pictures: Pictures
    corpus: Corpus | None = None
    notes: tuple[Omission, ...] = ()

    def take(self, places: Int64[np.ndarray, " m"], *notes: Omission) -> Target:
        """Some of the pictures."""
        return replace(
            self,
            records=self.records.take(places),
            pictures=_Part(self.pictures, places),
            notes=(*self.notes, *notes),
        )


@dataclass(frozen=True)
class _Part:
    """Some of the pictures of a larger set."""

    pictures: Pictures
    places: Int64[np.ndarray, " m"]

    def __len__(self) -> int:
        return len(self.places)

    def read(self, position: int) -> UInt8[np.ndarray, "h w 3"]:
        return self.pictures.read(int(self.places[position]))


@dataclass(frozen=True)
class _DatasetPictures:
    """The pictures of a training dataset."""

    dataset: Dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def read(self, position: int) -> UInt8[np.ndarray, "h w 3"]:
        return self.dataset.read_image(position)


class _Forgiving:
    """Pictures of which one that cannot be read becomes a black one, and is remembered."""

    def __init__(self, pictures: Pictures) -> None:
        self._pictures = pictures
        self.refused: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._pictures)

    def read(self, position: int) -> UInt8[np.ndarray, "h w 3"]:
        import numpy as np

        try:
            return self._pictures.read(position)
        except ImageError as error:
            self.refused[position] = str(error)
            return np.zeros((8, 8, 3), np.uint8)


def open_target(
    on: Path, columns: Sequence[str], *, seed: int, announce: Announce, progress: Progress, limit: int = MAX_PICTURES
) -> Target:
    """The pictures at `on`, at most `limit`.

    Args:
        on: a corpus, the folder of a run, a folder of images (with its `manifest.csv`, if it has one), or a table.
        columns: columns that will be asked about.
        seed: of the draw where there are too many.
        announce: told how the source was read.
        progress: told how drawing and reading go on.
        limit: pictures to take.

    Raises:
        InputError: there is nothing of that kind, no picture, or no occurrence within the limit.
    """
    from training.run_folder import RunFolder

    if (on / "corpus.json").exists():
        target = _open_corpus(on)
    elif RunFolder(on).config.exists():
        target = _open_run(on, columns, announce=announce, progress=progress)
    elif on.exists():
        target = _open_images(on, announce=announce)
    else:
        raise InputError(
            f"--on {on}: there is no such thing; give a corpus, the folder of a run, or a folder or table of images."
        )
    if not target.records.num_rows:
        raise InputError(f"--on {on}: holds no picture to judge on; give one that does.")
    return _draw(_name_as_asked(target, columns), limit=limit, seed=seed)


def _name_as_asked(target: Target, columns: Sequence[str]) -> Target:
    """The target with columns under the names that were asked too, as `subspecies` for infraspecificEpithet."""
    from indexer.terms import find_term

    records = target.records
    for column in columns:
        term = find_term(column)
        if column not in records.column_names and term in records.column_names:
            records = records.append_column(column, records.column(term))
    return replace(target, records=records)


def _open_corpus(path: Path) -> Target:
    import numpy as np

    corpus = open_corpus(path)
    records = corpus.read_columns(list(corpus.column_types()))
    places = np.flatnonzero(np.array(records.column("status").to_pylist()) == STATUS_IMAGE)
    chosen = records.take(places)
    paths = tuple(Path(uri) for uri in chosen.column("uri").to_pylist())
    return Target(name=corpus.name, records=chosen, pictures=FilePictures(paths), corpus=corpus)


def _open_images(path: Path, *, announce: Announce) -> Target:
    import pyarrow as pa

    from indexer.files import hash_file
    from indexer.sources import open_source

    manifest = path / MANIFEST
    source = open_source(path, manifest=manifest if manifest.is_file() else None)
    for note in source.notes:
        announce(note)
    paths = tuple(Path(uri) for uri in source.records.column("uri").to_pylist())
    digests = pa.array([hash_file(file) if file.is_file() else None for file in paths], pa.string())
    return Target(name=path.name, records=source.records.append_column("sha256", digests), pictures=FilePictures(paths))


def _open_run(path: Path, columns: Sequence[str], *, announce: Announce, progress: Progress) -> Target:
    """The pictures that a run kept from training."""
    from training.datasets import open_dataset
    from training.run_folder import RunFolder
    from training.settings import override_config, read_config
    from training.splits import read_split

    run = RunFolder(path)
    config = read_config(run.config)
    measured = list(dict.fromkeys((*config.data.measure, *columns)))
    asked = override_config(config, {"data.measure": measured})
    dataset = open_dataset(asked, image_side=_read_side(run.encoder), announce=announce, progress=progress)
    places = read_split(path, dataset.records).validation
    whole = Target(name=f"{path.name} (validation part)", records=dataset.records, pictures=_DatasetPictures(dataset))
    return whole.take(places)


def _read_side(encoder: Path) -> int:
    """The side of the pictures that a run's encoder takes, in pixels."""
    from indexer.files import read_json
    from indexer.model_names import CONFIG_NAME

    if not (encoder / CONFIG_NAME).is_file():
        raise InputError(f"{encoder}: the run has exported no encoder yet. Let it finish: morphospace train …")
    return int(read_json(encoder / CONFIG_NAME)["model_cfg"]["vision_cfg"]["image_size"])


def _draw(target: Target, *, limit: int, seed: int) -> Target:
    """Whole occurrences at random until the limit is reached."""
    import numpy as np

    n = target.records.num_rows
    if n <= limit:
        return target
    ids = target.records.column("record_id").to_pylist()
    own = target.records.column("occurrence_id").to_pylist() if "occurrence_id" in target.records.column_names else ids
    _, codes, counts = np.unique(
        [occurrence or record for occurrence, record in zip(own, ids, strict=True)],
        return_inverse=True,
        return_counts=True,
    )
    order = np.random.default_rng(seed).permutation(len(counts))
    places = np.flatnonzero(np.isin(codes, _fill(order, counts, limit)))
    if not len(places):
        raise InputError(
            f"--on {target.name}: every occurrence has more than {limit:,} pictures, which is more than are judged; "
            "give its records finer occurrence ids."
        )
    why = f"{limit:,} are enough for narrow intervals; whole occurrences were drawn at random"
    return target.take(places, Omission(what=f"{n - len(places):,} of {n:,} pictures", why=why))


def _fill(order: Int64[np.ndarray, " o"], counts: Int64[np.ndarray, " o"], limit: int) -> list[int]:
    """The occurrences, in this order, that still fit into the limit when they come up."""
    chosen, total = [], 0
    for occurrence in order.tolist():
        if total + counts[occurrence] <= limit:
            chosen.append(occurrence)
            total += int(counts[occurrence])
    return chosen


def embed_target(
    encoder: Encoder, target: Target, *, announce: Announce, progress: Progress
) -> tuple[Float32[np.ndarray, "n d"], dict[int, str]]:
    """The unit vector of each picture, and why some have none (by place; their rows are filler).

    Vectors that the corpus holds of the same encoder are taken from there: they were stored in float16, which moves a
    cosine by less than 1e-3.
    """
    import numpy as np

    n = target.records.num_rows
    vectors = np.zeros((n, encoder.spec.dimension), np.float32)
    has_vector = _fill_from_space(encoder, target, vectors, announce=announce)
    missing = np.flatnonzero(~has_vector)
    pictures = _Forgiving(_Part(target.pictures, missing))
    if len(missing):
        vectors[missing] = embed_pictures(encoder, pictures, progress=progress)
    return vectors, {int(missing[place]): reason for place, reason in pictures.refused.items()}


def _fill_from_space(
    encoder: Encoder, target: Target, vectors: Float32[np.ndarray, "n d"], *, announce: Announce
) -> Bool[np.ndarray, " n"]:
    """Fills in the vectors that a space of this encoder holds, and tells which these are."""
    import numpy as np

    from indexer.vectors import load_vectors, open_vectors

    found = np.zeros(len(vectors), bool)
    space = _find_space(encoder, target.corpus)
    if space is not None and open_vectors(space) is not None:
        stored = load_vectors(space)
        rows = target.records.column("row").to_numpy()
        places = np.minimum(np.searchsorted(stored.rows, rows), len(stored.rows) - 1)
        found = stored.rows[places] == rows
        vectors[found] = stored.values[places[found]]
        announce(f"{int(found.sum()):,} vectors are taken from space {space.name}")
    return found


def _find_space(encoder: Encoder, corpus: Corpus | None) -> Space | None:
    spaces = corpus.spaces().values() if corpus is not None else ()
    known = (space for space in spaces if space.encoder and space.encoder.fingerprint == encoder.spec.fingerprint)
    return next(known, None)


def leave_out_refused(target: Target, refused: dict[int, str]) -> tuple[Target, Int64[np.ndarray, " m"]]:
    """The pictures that could be read, and their places.

    Raises:
        InputError: none could.
    """
    import numpy as np

    places = np.array([place for place in range(target.records.num_rows) if place not in refused], np.int64)
    if not refused:
        return target, places
    reasons = "; ".join(list(refused.values())[:N_LISTED])
    more = "; …" if len(refused) > N_LISTED else ""
    if not len(places):
        raise InputError(f"--on {target.name}: none of its {len(refused):,} pictures can be read: {reasons}{more}")
    note = Omission(what=f"{len(refused):,} pictures that cannot be read", why=f"{reasons}{more}")
    return target.take(places, note), places
