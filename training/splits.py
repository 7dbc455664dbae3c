"""The pictures to learn from and those kept back to measure on, with a check that nothing leaks between the two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from indexer.errors import InputError
from indexer.files import read_json, write_atomically, write_json
from training.settings import DataConfig, SplitBy

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from jaxtyping import Bool, Int64

DIGEST = "sha256"
"""Column that a dataset may bring: a digest of the image's bytes, equal for copies of one image."""
TABLE, DESCRIPTION = "split.parquet", "split.json"
TRAINING, VALIDATION = "training", "validation"
_STREAM = 103


@dataclass(frozen=True, kw_only=True)
class Split:
    """Two parts of a dataset's pictures, as ascending positions.

    Attributes:
        training: To learn from.
        validation: To measure on; may be empty.
        by: What the two do not share.
        share: Share of the groups that was asked for the validation part.
        seed: What the groups were drawn with.
        n_groups: Groups in all that were never torn apart.
    """

    training: Int64[np.ndarray, " n"]
    validation: Int64[np.ndarray, " m"]
    by: SplitBy
    share: float
    seed: int
    n_groups: int


def split_dataset(records: pa.Table, config: DataConfig, seed: int) -> Split:
    """Splits the records into a training part and a validation part, by occurrence or by species.

    Records that share an occurrence (`occurrence_id`; without one each record is its own), the bytes of their image
    (where there is a column `sha256`) or, by species, the species, stay together, directly or through others. Of these
    groups `config.validation_share`, rounded, is drawn for validation. By species, records without a species that are
    not tied to one all go to training.

    Raises:
        InputError: A share is asked for, but there are fewer than two groups to draw from.
    """
    import numpy as np

    groups = _find_groups(records, config.split_by)
    chosen = np.zeros(len(records), dtype=bool)
    drawable = np.unique(groups[_is_named(records)] if config.split_by is SplitBy.SPECIES else groups)
    if config.validation_share:
        if len(drawable) < 2:
            raise InputError(
                f"data.validation_share = {config.validation_share}: the records hold {len(drawable)} "
                f"{config.split_by.value} to split by that shares nothing with the rest; at least 2 are needed. "
                "Set data.validation_share = 0, or give more records."
            )
        n_chosen = max(1, round(config.validation_share * len(drawable)))
        drawn = np.random.default_rng([seed, _STREAM]).permutation(drawable)[:n_chosen]
        chosen = np.isin(groups, drawn)
    return Split(
        training=np.flatnonzero(~chosen),
        validation=np.flatnonzero(chosen),
        by=config.split_by,
        share=config.validation_share,
        seed=seed,
        n_groups=len(np.unique(groups)),
    )


def check_leaks(records: pa.Table, split: Split) -> list[str]:
    """What lies in both parts, a sentence per kind: records, occurrences, image bytes and, by species, species.

    An empty list says that these records name nothing that is shared; photographs of one organism under different
    occurrences cannot be told from the records.
    """
    faults = []
    for noun, column in _list_keys(records, split.by):
        parts = [{column[position] for position in part.tolist()} for part in (split.training, split.validation)]
        shared = sorted(value for value in parts[0] & parts[1] if value)
        if shared:
            faults.append(f"{len(shared):,} {noun} in both parts, such as {shared[0]!r}")
    return faults


def tell_unnamed(records: pa.Table, split: Split) -> str:
    """What the split could not know, as the end of a sentence; empty where every record names what it is split by."""
    noun = split.by.value
    n_unnamed = count_unnamed(records, f"{noun}_id" if split.by is SplitBy.OCCURRENCE else noun)
    if not n_unnamed:
        return ""
    if split.by is SplitBy.OCCURRENCE:
        return f"; {n_unnamed:,} pictures name no occurrence and count as their own"
    return f"; {n_unnamed:,} pictures name no species and cannot be told apart by it"


def count_unnamed(records: pa.Table, column: str) -> int:
    """Records without a value in the column."""
    return sum(not value for value in records[column].to_pylist())


def write_split(split: Split, records: pa.Table, folder: Path) -> None:
    """Writes `split.parquet` (record_id, part; a row per record) and `split.json` (how it was drawn, counts, leaks).

    A record that names no occurrence counts as one of its own; `without_occurrence` says how many there are.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    parts = np.full(len(records), TRAINING, dtype=object)
    parts[split.validation] = VALIDATION
    table = pa.table({"record_id": records["record_id"], "part": pa.array(parts, pa.string())})
    write_atomically(folder / TABLE, lambda part: pq.write_table(table, part))
    description: dict[str, Any] = {
        "by": split.by.value,
        "seed": split.seed,
        "validation_share": split.share,
        "n_groups": split.n_groups,
        TRAINING: _count_part(records, split.training),
        VALIDATION: _count_part(records, split.validation),
        "leaks": check_leaks(records, split),
    }
    write_json(folder / DESCRIPTION, description)


def read_split(folder: Path, records: pa.Table) -> Split:
    """The split that `write_split` left in `folder`, as positions in these records.

    Raises:
        InputError: There is no split, or the records are not those that were split.
    """
    import numpy as np
    import pyarrow.parquet as pq

    path = folder / TABLE
    if not path.is_file():
        raise InputError(f"{path}: there is no such file; the run's folder holds no split. Give the folder of a run.")
    table = pq.read_table(path)
    _check_records(path, table["record_id"].to_pylist(), records["record_id"].to_pylist())
    parts = dict(zip(table["record_id"].to_pylist(), table["part"].to_pylist(), strict=True))
    chosen = np.array([parts[name] == VALIDATION for name in records["record_id"].to_pylist()], dtype=bool)
    description = read_json(folder / DESCRIPTION)
    return Split(
        training=np.flatnonzero(~chosen),
        validation=np.flatnonzero(chosen),
        by=SplitBy(description["by"]),
        share=description["validation_share"],
        seed=description["seed"],
        n_groups=description["n_groups"],
    )


def _check_records(path: Path, former: Sequence[str], present: Sequence[str]) -> None:
    missing, new = sorted(set(former) - set(present)), sorted(set(present) - set(former))
    faults = [
        f"{len(names):,} records {what}, such as {names[0]!r}"
        for what, names in (("are gone", missing), ("are new", new))
        if names
    ]
    if faults:
        raise InputError(
            f"{path}: the data changed since the split was drawn: {'; '.join(faults)}. "
            "Give the data of the run, or start a new run in another folder."
        )


def _find_groups(records: pa.Table, by: SplitBy) -> Int64[np.ndarray, " n"]:
    """A number per record, the same for all that must stay together: connected components over the shared keys."""
    import numpy as np
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n_records = len(records)
    rows, columns, n_nodes = [], [], n_records
    for _, values in _list_keys(records, by):
        known = [(row, value) for row, value in enumerate(values) if value]
        codes = {value: n_nodes + code for code, value in enumerate(dict.fromkeys(value for _, value in known))}
        rows += [row for row, _ in known]
        columns += [codes[value] for _, value in known]
        n_nodes += len(codes)
    graph = coo_array((np.ones(len(rows), dtype=np.int8), (rows, columns)), shape=(n_nodes, n_nodes))
    labels: Int64[np.ndarray, " n"] = connected_components(graph, directed=False)[1][:n_records]
    return labels


def _list_keys(records: pa.Table, by: SplitBy) -> list[tuple[str, list[str | None]]]:
    """What must not be shared, with its value per record."""
    names = records["record_id"].to_pylist()
    occurrences = records["occurrence_id"].to_pylist()
    keys: list[tuple[str, list[str | None]]] = [("records", names), ("occurrences", occurrences)]
    if DIGEST in records.column_names:
        keys.append(("image files", records[DIGEST].to_pylist()))
    if by is SplitBy.SPECIES:
        keys.append(("species", records["species"].to_pylist()))
    return keys


def _is_named(records: pa.Table) -> Bool[np.ndarray, " n"]:
    import numpy as np

    return np.array([bool(name) for name in records["species"].to_pylist()], dtype=bool)


def _count_part(records: pa.Table, positions: Int64[np.ndarray, " p"]) -> dict[str, int]:
    part = records.take(positions)
    occurrences, species = (set(part[name].to_pylist()) - {None, ""} for name in ("occurrence_id", "species"))
    n_unnamed = count_unnamed(part, "occurrence_id")
    return {
        "pictures": len(part),
        "occurrences": len(occurrences) + n_unnamed,
        "without_occurrence": n_unnamed,
        "species": len(species),
    }
