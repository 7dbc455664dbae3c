"""Every promise of the format, verified (`morphospace check`). `data/README.md` states the promises."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING

from indexer.corpus import STATUS_IMAGE, Corpus, Space
from indexer.errors import InputError
from indexer.files import hash_file, read_json
from indexer.index.opened import open_index
from indexer.index.storage import has_index, read_index
from indexer.maps import read_map
from indexer.object_storage import is_object
from indexer.records import own_types
from indexer.rejections import read_rejections
from indexer.removals import read_removals
from indexer.vectors import embedded_rows, open_vectors, vector_schema

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float32, Int64

# Rounding a unit vector of d values to float16 moves its length by at most about 2^-11.
LENGTH_TOLERANCE = 2e-3
BATCH = 65_536
FINDINGS = ("reliability", "axes", "geometry")
"""Folders of a space in which the explorer keeps JSON files, each written in one step."""


@dataclass(frozen=True, kw_only=True)
class CheckReport:
    """What a check found.

    Attributes:
        faults: broken promises, one sentence each; empty where the corpus is sound.
        pending: work that a job has not done yet, which is no fault; not looked for where there are faults.
        n_checked: promises verified.
    """

    faults: tuple[str, ...]
    pending: tuple[str, ...]
    n_checked: int


def check_corpus(corpus: Corpus) -> CheckReport:
    """Verify every promise of the format; reads all vectors once, and the images not at all."""
    faults: list[str] = []
    pending: list[str] = []
    checks: list[tuple[str, Callable[[], Iterator[str]]]] = [
        ("columns", lambda: _check_columns(corpus)),
        ("records", lambda: _check_records(corpus)),
        ("removed.parquet", lambda: _check_removals(corpus)),
        ("rejected.csv", lambda: _check_rejections(corpus)),
    ]
    spaces = _read_spaces(corpus, faults)
    for space in spaces:
        checks += [
            (f"space {space.name}: spec", lambda space=space: _check_spec(space)),  # type: ignore[misc]
            (f"space {space.name}: vectors", lambda space=space: _check_vectors(corpus, space)),  # type: ignore[misc]
            (f"space {space.name}: index", lambda space=space: _check_index(space)),  # type: ignore[misc]
            (f"space {space.name}: map", lambda space=space: _check_maps(space)),  # type: ignore[misc]
            (f"space {space.name}: findings", lambda space=space: _check_findings(space)),  # type: ignore[misc]
        ]
    for what, check in checks:
        try:
            faults += [f"{what}: {fault}" for fault in check()]
        except (InputError, ValueError, OSError, RuntimeError, KeyError, TypeError) as error:
            faults.append(f"{what}: cannot be read ({type(error).__name__}: {error})")
    if not faults:
        pending = [line for space in spaces for line in _list_pending(corpus, space)]
    return CheckReport(faults=tuple(faults), pending=tuple(pending), n_checked=len(checks))


def _read_spaces(corpus: Corpus, faults: list[str]) -> list[Space]:
    try:
        return list(corpus.spaces().values())
    except (InputError, KeyError, TypeError, ValueError) as error:
        faults.append(f"spaces: cannot be read ({type(error).__name__}: {error})")
        return []


def _check_records(corpus: Corpus) -> Iterator[str]:
    import numpy as np
    import pyarrow.compute as pc

    if not corpus.has_records():
        return
    dataset = corpus.open_records()
    table = dataset.to_table(columns=["row", "record_id", "occurrence_id", "status", "uri"])
    rows = table.column("row").to_numpy()
    if not np.array_equal(rows, np.arange(len(rows))):
        yield f"the rows are not 0 to {len(rows) - 1} in order"
    for name in ("record_id", "occurrence_id"):
        if table.column(name).null_count:
            yield f"{table.column(name).null_count} records have no {name}"
    repeated = len(rows) - len(pc.unique(table.column("record_id")))
    if repeated:
        yield f"{repeated} record ids are not unique"
    if any(not (PurePath(uri).is_absolute() or is_object(uri)) for uri in table.column("uri").drop_null().to_pylist()):
        yield "there are uris that are neither absolute paths nor s3:// addresses"
    images = pc.sum(pc.equal(table.column("status"), STATUS_IMAGE)).as_py() or 0
    for column in ("thumbnail", "sha256"):
        present = dataset.count_rows(filter=f"{column} IS NOT NULL")
        if present != images:
            yield f"{images} records have an image, {present} a {column}"


def _check_columns(corpus: Corpus) -> Iterator[str]:
    if not corpus.has_records():
        return
    schema = corpus.open_records().schema
    for name, kind in own_types().items():
        if name not in schema.names or schema.field(name).type != kind:
            yield f"the column {name} is missing or not {kind}"


def _check_removals(corpus: Corpus) -> Iterator[str]:
    import numpy as np

    rows = read_removals(corpus.removed_path).column("row").to_numpy()
    if (np.diff(rows) <= 0).any():
        yield "its rows are not ascending"
    strange = rows[(rows < 0) | (rows >= corpus.count_rows())]
    if len(strange):
        yield f"it lists {len(strange)} rows that are no record (first: {strange[0]})"


def _check_rejections(corpus: Corpus) -> Iterator[str]:
    for rejection in read_rejections(corpus.rejected_path).values():
        if not rejection.reason:
            yield f"{rejection.uri} was refused without a reason"


def _check_spec(space: Space) -> Iterator[str]:
    stored = read_json(space.folder / "space.json")
    computed = space.encoder.fingerprint if space.encoder else None
    if stored["fingerprint"] != computed:
        yield f"the stored fingerprint {stored['fingerprint']} is not that of the stored spec ({computed})"
    if space.encoder and space.encoder.dimension != space.dimension:
        yield f"the encoder makes {space.encoder.dimension} dimensions, the space holds {space.dimension}"


def _check_vectors(corpus: Corpus, space: Space) -> Iterator[str]:
    import numpy as np

    dataset = open_vectors(space)
    if dataset is None:
        return
    expected = vector_schema(space.dimension).field("vector").type
    if dataset.schema.field("vector").type != expected:
        yield f"the vectors are {dataset.schema.field('vector').type}, the format says {expected}"
        return
    seen: list[Int64[np.ndarray, " n"]] = []
    n_bad = 0
    for batch in dataset.to_batches(batch_size=BATCH):
        seen.append(batch.column("row").to_numpy())
        values = batch.column("vector")
        n_bad += _count_bad(values.flatten().to_numpy(zero_copy_only=False).reshape(-1, space.dimension))
    rows = np.concatenate(seen) if seen else np.empty(0, np.int64)
    if n_bad:
        yield f"{n_bad} vectors are not of unit length"
    if len(np.unique(rows)) != len(rows):
        yield f"{len(rows) - len(np.unique(rows))} rows have more than one vector"
    if len(rows) and (rows.min() < 0 or rows.max() >= corpus.count_rows()):
        yield "there are vectors of rows that are no record"


def _count_bad(values: Float32[np.ndarray, "n d"]) -> int:
    import numpy as np

    lengths = np.linalg.norm(values.astype(np.float32), axis=1)
    return int((~(np.abs(lengths - 1) <= LENGTH_TOLERANCE)).sum())


def _check_index(space: Space) -> Iterator[str]:
    import numpy as np

    if not has_index(space):
        return
    stored = read_index(space)
    for name, digest in stored.digests.items():
        if hash_file(stored.folder / name) != digest:
            yield f"{name} is not the file that index.json describes (its digest differs)"
            return
    rows = open_index(space).rows
    if len(np.unique(rows)) != len(rows):
        yield f"{len(rows) - len(np.unique(rows))} rows stand in it more than once"
    strange = np.setdiff1d(rows, embedded_rows(space))
    if len(strange):
        yield f"it holds {len(strange)} rows that have no vector (first: {strange[0]})"


def _check_maps(space: Space) -> Iterator[str]:
    import numpy as np

    for description in sorted(space.folder.glob("maps/*/map.json")):
        stored = read_map(space, description.parent.name)
        if hash_file(description.parent / read_json(description)["file"]) != stored.digest:
            yield f"{description.parent.name}: the coordinates are not those that map.json describes (digest differs)"
        if not np.isfinite(stored.positions).all():
            yield f"{description.parent.name}: holds positions that are not finite"
        if len(stored.rows) != stored.facts["n"] or len(np.unique(stored.rows)) != len(stored.rows):
            yield f"{description.parent.name}: does not hold the {stored.facts['n']} distinct rows that it says"
        strange = np.setdiff1d(stored.rows, embedded_rows(space))
        if len(strange):
            yield f"{description.parent.name}: shows {len(strange)} rows that have no vector (first: {strange[0]})"


def _check_findings(space: Space) -> Iterator[str]:
    """What the explorer keeps with a space: how far names can be believed, axes, reports on geometry."""
    for folder in FINDINGS:
        for file in sorted((space.folder / folder).rglob("*.json")):
            try:
                json.loads(file.read_text(encoding="utf-8"))
            except ValueError as error:
                name = file.relative_to(space.folder).as_posix()
                yield f"{name}: not readable as JSON ({error}); delete it, and it is made again when it is asked for"


def _rows_with_image(corpus: Corpus) -> Int64[np.ndarray, " n"]:
    """The rows that the corpus shows and that have an image."""
    import numpy as np
    import pyarrow.compute as pc

    if not corpus.has_records():
        return np.empty(0, np.int64)
    table = corpus.read_columns(["row", "status"])
    rows: Int64[np.ndarray, " n"] = table.column("row").filter(pc.equal(table["status"], STATUS_IMAGE)).to_numpy()
    return rows


def _list_pending(corpus: Corpus, space: Space) -> list[str]:
    import numpy as np

    from indexer.index.building import is_current
    from indexer.maps import has_current_map

    found = []
    n_waiting = len(np.setdiff1d(_rows_with_image(corpus), embedded_rows(space)))
    if space.encoder and n_waiting:
        found.append(f"space {space.name}: {n_waiting:,} images have no vector yet")
    if not is_current(space):
        found.append(f"space {space.name}: the index lacks vectors, or holds removed records still")
    if not has_current_map(space):
        found.append(f"space {space.name}: the map does not show every vector yet")
    return found
