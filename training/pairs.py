"""General image-caption pairs for experience replay: tars with a `.txt` beside each image, or a table of files."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from indexer.errors import InputError
from indexer.images import decode_image, read_image
from training.progress import Progress, keep_quiet
from training.tars import fetch_tars, list_places, list_tars, open_cache, read_bytes, read_contents

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from jaxtyping import Int64, UInt8

    from training.examples import Captioned

CAPTION_TEXT = "txt"
"""Extension of a caption in a tar, as in CC3M, LAION and img2dataset."""
COLUMNS = ("file", "caption")


@dataclass(frozen=True, kw_only=True, eq=False)
class TarPairs:
    """Pairs in tars; `places` has tar, start and size of each image, `contents` the columns `key` and `txt`."""

    name: str
    tars: tuple[Path, ...]
    places: Int64[np.ndarray, "n 3"]
    contents: pa.Table

    def __len__(self) -> int:
        """How many pairs there are."""
        return int(self.contents.num_rows)

    def read_image(self, position: int) -> UInt8[np.ndarray, "h w 3"]:
        """The picture's upright pixels; InputError names tar and key where it cannot be read."""
        tar, start, size = self.places[position].tolist()
        key = self.contents["key"][position].as_py()
        return decode_image(read_bytes(self.tars[tar], start, size), name=f"{self.tars[tar]}, {key}").pixels

    def read_caption(self, position: int) -> str:
        """Its caption."""
        return str(self.contents[CAPTION_TEXT][position].as_py())


@dataclass(frozen=True, kw_only=True, eq=False)
class FilePairs:
    """Pairs in files; `table` has `file`, relative to `folder`, and `caption` of each."""

    name: str
    folder: Path
    table: pa.Table

    def __len__(self) -> int:
        """How many pairs there are."""
        return int(self.table.num_rows)

    def read_image(self, position: int) -> UInt8[np.ndarray, "h w 3"]:
        """The picture's upright pixels; InputError names the file where it cannot be read."""
        return read_image(self.folder / self.table["file"][position].as_py()).pixels

    def read_caption(self, position: int) -> str:
        """Its caption."""
        return str(self.table["caption"][position].as_py())


def open_pairs(
    source: str,
    cache: str,
    *,
    announce: Callable[[str], None] = lambda _line: None,
    progress: Progress = keep_quiet,
) -> Captioned:
    """The pairs of a source: tars as for `data.source`, or a CSV or Parquet table with the columns file and caption.

    Files of a table are relative to its folder. Pairs without a caption, or without a file, are left out; `announce`
    hears how many.

    Args:
        source: Setting `replay.source`.
        cache: Setting `data.cache`; "" for the user's own.
        announce: Told what was left out.
        progress: Told how fetching and reading go on.

    Raises:
        InputError: The source is not there, lacks a column, or holds no pair.
    """
    from training.datasets import is_tars

    is_tar = is_tars(source)
    tars: tuple[Path, ...] = ()
    if is_tar:
        folder = open_cache(cache)
        tars = tuple(fetch_tars(list_tars(source), folder, progress=progress))
        table = read_contents(tars, folder, progress=progress)
    else:
        table = _read_table(Path(source).expanduser())
    columns = ("key", CAPTION_TEXT) if is_tar else COLUMNS
    if columns[1] not in table.column_names:
        raise InputError(f"{source}: no image has a caption beside it; each KEY.jpg needs its KEY.txt.")
    kept = table.filter(_is_whole(table, columns))
    if kept.num_rows == 0:
        raise InputError(f"{source}: holds no pair of an image and a caption; give another replay.source.")
    if kept.num_rows < table.num_rows:
        what = "images have no caption" if is_tar else "rows lack the file or the caption"
        announce(f"{source}: {table.num_rows - kept.num_rows:,} {what} and are left out")
    if is_tar:
        contents = kept.select(["key", CAPTION_TEXT]).combine_chunks()
        return TarPairs(name=source, tars=tars, places=list_places(kept), contents=contents)
    return FilePairs(name=source, folder=Path(source).expanduser().parent, table=kept)


def _is_whole(table: pa.Table, columns: Sequence[str]) -> pa.ChunkedArray:
    """Whether each row has a text in all of the columns."""
    import pyarrow.compute as pc

    cells = (pc.utf8_trim_whitespace(pc.fill_null(table[name], "")) for name in columns)
    return functools.reduce(pc.and_, (pc.not_equal(texts, "") for texts in cells))


def _read_table(path: Path) -> pa.Table:
    import pyarrow as pa
    from pyarrow import csv, parquet

    if not path.is_file():
        raise InputError(
            f"replay.source = '{path}': there is no such file; give tars (….tar), or a CSV or Parquet table with the "
            "columns file and caption."
        )
    try:
        table = parquet.read_table(path) if path.suffix in (".parquet", ".pq") else csv.read_csv(path)
    except pa.ArrowInvalid as error:
        raise InputError(f"{path}: cannot be read as a table ({error}). Write it as CSV or Parquet.") from error
    missing = [name for name in COLUMNS if name not in table.column_names]
    if missing:
        raise InputError(
            f"{path}: has no column {' and '.join(missing)}; its columns are {', '.join(table.column_names)}. "
            "Name the columns file and caption."
        )
    try:
        return table.select(list(COLUMNS)).cast(pa.schema([(name, pa.string()) for name in COLUMNS]))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InputError(
            f"{path}: file and caption are {' and '.join(str(table.schema.field(name).type) for name in COLUMNS)}; "
            "both must be text."
        ) from error
