"""Batches: many questions from a table or a folder of images, answered together, their hits in one table."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from explorer.fusion import Fusion, SpaceQuery, search_spaces
from explorer.query import RAW_TEMPLATE, Part, Query, RecordPart, TextPart, VectorPart
from explorer.request import Request
from explorer.search import Searcher, SearchResult
from indexer.errors import ImageError, QueryError, SourceError
from indexer.files import write_atomically

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from jaxtyping import Float32, UInt8

    from indexer.preprocessing import Preprocessing
    from indexer.tables import Faults, RawTable

QUERY_ID = "query_id"
BLOCK = 256
"""Questions that are encoded and put to the index together."""

_SUFFIXES = (".parquet", ".csv")
_DECODERS = 4


class AskedBy(StrEnum):
    """What a question is given as; also the name of its column."""

    EMB = "emb"
    TEXT = "text"
    IMAGE = "image"
    RECORD_ID = "record_id"


@dataclass(frozen=True, kw_only=True)
class QueryTable:
    """Questions as they were read.

    Attributes:
        path: of the table or folder.
        asked_by: what all of them are given as.
        ids: what the user calls each.
        cells: texts, paths of images, or record ids; empty where vectors were given.
        vectors: unit vectors; None where others were given.
        places: where each stands in its table, as messages name it: `queries.csv, row 17`.
    """

    path: Path
    asked_by: AskedBy
    ids: tuple[str, ...]
    cells: tuple[str, ...]
    vectors: Float32[np.ndarray, "q d"] | None
    places: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class BatchReport:
    """What came of a batch.

    Attributes:
        n_queries: answered.
        n_hits: written.
        refused: a sentence for each image that could not be read, with its place.
        short: the notes of the questions that have fewer hits than were asked for, each with its query id.
    """

    out: Path
    n_queries: int
    n_hits: int
    refused: tuple[str, ...]
    short: tuple[str, ...]

    def describe(self) -> list[str]:
        """The report in lines; of long lists the first ten."""
        lines = [f"{self.out}: {self.n_hits:,} hits of {self.n_queries:,} queries"]
        for what, listed in (("could not be read and are left out", self.refused), ("got fewer hits", self.short)):
            if listed:
                more = [f"… and {len(listed) - 10:,} more"] if len(listed) > 10 else []
                lines += [f"{len(listed):,} queries {what}:", *listed[:10], *more]
        return lines


def answer_batch(
    searchers: Sequence[Searcher],
    queries: Path,
    out: Path,
    request: Request,
    *,
    fusion: Fusion = Fusion.RANK,
    template: str = RAW_TEMPLATE,
    announce: Callable[[str], None] = lambda line: None,
) -> BatchReport:
    """Answer every question of a table or folder and write the hits.

    The file has a line per hit: `query_id`, `rank`, `row`, `record_id`, `score`, `percentile`, and with several spaces
    `rank_`, `score_` and `percentile_` of each by its name.

    Args:
        searchers: of the spaces that are asked, of one corpus.
        queries: a table (Parquet, CSV or TSV) with `query_id` and one of `emb`, `text`, `image`, `record_id`, or a
            folder, whose images are asked by their path.
        out: a .parquet or .csv file; it is there whole, or not at all.
        request: how each question is to be answered.
        fusion: how several spaces become one.
        template: of texts, with `{}`.
        announce: is told how far it is.

    Raises:
        SourceError: a row that cannot be asked, or an id that stands twice; all are listed, and nothing is written.
        QueryError: the request does not suit these spaces, or the file's ending is another.
    """
    if out.suffix.lower() not in _SUFFIXES:
        raise QueryError(f"--out {out}: hits of many queries are written as {' or '.join(_SUFFIXES)}. Rename the file.")
    table = read_queries(queries)
    _check_table(table, searchers)
    batch = _Batch(searchers, table, request, fusion, template)
    n_asked = len(table.ids)

    def write(part: Path) -> None:
        with batch.open_writer(part, out.suffix.lower()) as writer:
            for start in range(0, n_asked, BLOCK):
                stop = min(start + BLOCK, n_asked)
                writer.write_table(batch.answer(range(start, stop)))
                if stop < n_asked:
                    announce(f"{stop:,} of {n_asked:,} queries answered")

    write_atomically(out, write)
    return BatchReport(
        out=out,
        n_queries=batch.n_queries,
        n_hits=batch.n_hits,
        refused=tuple(batch.refused),
        short=tuple(batch.short),
    )


def read_queries(path: Path) -> QueryTable:
    """The questions of a table, or of a folder of images; SourceError with every row that cannot be asked."""
    if path.is_dir():
        return _read_folder(path)
    if not path.exists():
        raise SourceError(f"{path}: no such file or folder. Name a table of queries, or a folder of images.")
    return _read_query_table(path)


def _read_folder(path: Path) -> QueryTable:
    from indexer.folders import list_files

    names = list_files(path).images
    if not names:
        raise SourceError(f"{path}: no image in this folder. Name a folder of images, or a table of queries.")
    return QueryTable(
        path=path,
        asked_by=AskedBy.IMAGE,
        ids=tuple(names),
        cells=tuple(str(path / name) for name in names),
        vectors=None,
        places=tuple(names),
    )


def _read_query_table(path: Path) -> QueryTable:
    from indexer.tables import PARQUET_SUFFIXES, Faults, raw_from_arrow, read_parquet, read_table

    columns: dict[str, pa.ChunkedArray] = {}
    if path.suffix.lower() in PARQUET_SUFFIXES:
        table = read_parquet(path)
        raw = raw_from_arrow(path, table)
        columns = dict(zip(table.column_names, table.columns, strict=True))
    else:
        raw = read_table(path)
    columns |= raw.columns
    asked_by = _find_asked_by(list(columns), path)
    faults = Faults(path.name, first_row=raw.first_row)
    ids = _read_cells(columns[QUERY_ID], QUERY_ID, faults)
    _find_repeated_ids(ids, raw, faults)
    cells: tuple[str, ...] = ()
    vectors = None
    if asked_by is AskedBy.EMB:
        vectors = _read_vectors(columns[asked_by], faults)
    else:
        cells = _read_cells(columns[asked_by], asked_by, faults)
    if not ids:
        raise SourceError(f"{path}: no query; a table has one line per query. Fill it in.")
    faults.raise_any("Every query needs an id of its own and something to ask with; nothing was searched.")
    if asked_by is AskedBy.IMAGE:
        cells = tuple(str(_find_image(cell, path)) for cell in cells)
    places = tuple(f"{path.name}, row {row + raw.first_row}" for row in range(len(ids)))
    return QueryTable(path=path, asked_by=asked_by, ids=ids, cells=cells, vectors=vectors, places=places)


def _find_asked_by(columns: Sequence[str], path: Path) -> AskedBy:
    if QUERY_ID not in columns:
        raise SourceError(
            f"{path.name}: no column '{QUERY_ID}'; the columns are {', '.join(columns)}. Give every query an id."
        )
    found = [one for one in AskedBy if one in columns]
    if len(found) != 1:
        what = f"it has {' and '.join(found)}" if found else f"the columns are {', '.join(columns)}"
        raise SourceError(
            f"{path.name}: queries are asked by exactly one of {', '.join(AskedBy)}; {what}. "
            "Leave one of these columns."
        )
    return found[0]


def _read_cells(column: pa.ChunkedArray, name: str, faults: Faults) -> tuple[str, ...]:
    import pyarrow as pa

    cells = [(cell or "").strip() for cell in column.cast(pa.string()).to_pylist()]
    for row, cell in enumerate(cells):
        if not cell:
            faults.add(row, f"'{name}' is empty")
    return tuple(cells)


def _find_repeated_ids(ids: Sequence[str], raw: RawTable, faults: Faults) -> None:
    first: dict[str, int] = {}
    for row, query_id in enumerate(ids):
        if query_id and first.setdefault(query_id, row) != row:
            faults.add(row, f"'{QUERY_ID}' {query_id} stands in row {first[query_id] + raw.first_row} too")


def _read_vectors(column: pa.ChunkedArray, faults: Faults) -> Float32[np.ndarray, "q d"]:
    """The vectors at unit length; a table of text holds them as JSON lists."""
    import pyarrow as pa

    from indexer.vector_files import read_unit_vectors

    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        column = pa.chunked_array([pa.array([_read_list(cell) for cell in column.to_pylist()], pa.list_(pa.float32()))])
    vectors, _, rows, reasons = read_unit_vectors(column)
    for row, reason in reasons.items():
        faults.add(row, reason)
    return vectors if len(rows) == len(column) else vectors[:0]


def _read_list(cell: str | None) -> list[float] | None:
    try:
        found = json.loads(cell or "")
    except json.JSONDecodeError:
        return None
    is_list = isinstance(found, list) and all(isinstance(value, int | float) for value in found)
    return [float(value) for value in found] if is_list else None


def _find_image(cell: str, table: Path) -> Path:
    """A path of a table: as it stands beside the table, else as it stands here."""
    beside = table.parent / cell
    return beside if beside.exists() or not Path(cell).exists() else Path(cell)


def _check_table(table: QueryTable, searchers: Sequence[Searcher]) -> None:
    """SourceError for questions that these spaces cannot be asked."""
    if table.vectors is not None:
        names = ", ".join(one.space.name for one in searchers)
        if len(searchers) > 1:
            raise SourceError(f"{table.path.name}: its vectors are of one space, and {names} are asked. Name one.")
        dimension = searchers[0].space.dimension
        if table.vectors.shape[1] != dimension:
            raise SourceError(
                f"{table.path.name}: vectors of {table.vectors.shape[1]:,} numbers; space {names} holds {dimension:,}. "
                "Name the space that they were made for with --space."
            )
    if table.asked_by is AskedBy.RECORD_ID:
        _check_records(table, searchers)


def _check_records(table: QueryTable, searchers: Sequence[Searcher]) -> None:
    from indexer.tables import N_FAULTS_SHOWN
    from indexer.vectors import live_rows

    corpus = searchers[0].corpus
    columns = corpus.read_columns(["row", "record_id"])
    rows = dict(zip(columns.column("record_id").to_pylist(), columns.column("row").to_pylist(), strict=True))
    held = [(one.space.name, set(live_rows(one.space).tolist())) for one in searchers]
    faults = []
    for record_id, place in zip(table.cells, table.places, strict=True):
        if record_id not in rows:
            faults.append(f"{place}: no record has the id {record_id!r}")
            continue
        missing = [name for name, there in held if rows[record_id] not in there]
        if missing:
            faults.append(f"{place}: record {record_id!r} has no vector in space {', '.join(missing)}")
    if faults:
        more = [f"… and {len(faults) - N_FAULTS_SHOWN:,} more"] if len(faults) > N_FAULTS_SHOWN else []
        advice = (
            f"{corpus.name}: nothing was searched. Mend or leave out these rows; ids are those of `morphospace export`."
        )
        raise SourceError("\n".join([*faults[:N_FAULTS_SHOWN], *more, advice]))


class _Batch:
    """A batch under way: what is asked how, and what is to be said of it at the end."""

    def __init__(
        self, searchers: Sequence[Searcher], table: QueryTable, request: Request, fusion: Fusion, template: str
    ) -> None:
        self.n_queries = 0
        self.n_hits = 0
        self.refused: list[str] = []
        self.short: list[str] = []
        self._searchers = searchers
        self._table = table
        self._request = request
        self._fusion = fusion
        self._template = template

    @property
    def schema(self) -> pa.Schema:
        """The columns of the file."""
        import pyarrow as pa

        fields = [(QUERY_ID, pa.string()), ("rank", pa.int64()), ("row", pa.int64()), ("record_id", pa.string())]
        fields += [("score", pa.float64()), ("percentile", pa.float64())]
        for searcher in self._searchers if len(self._searchers) > 1 else ():
            fields += [(f"rank_{searcher.space.name}", pa.int64())]
            fields += [(f"{name}_{searcher.space.name}", pa.float64()) for name in ("score", "percentile")]
        return pa.schema(fields)

    def open_writer(self, path: Path, suffix: str) -> Any:
        """A writer of Arrow tables, to be used in a `with`."""
        import pyarrow.csv
        import pyarrow.parquet

        if suffix == ".parquet":
            return pyarrow.parquet.ParquetWriter(path, self.schema)
        return pyarrow.csv.CSVWriter(path, self.schema)

    def answer(self, places: Sequence[int]) -> pa.Table:
        """The hits of some questions, by their places in the table."""
        import pyarrow as pa

        answered, by_space = self._make_queries(places)
        lines = [
            line
            for place, result in zip(answered, self._search(by_space), strict=True)
            for line in self._list_hits(self._table.ids[place], result)
        ]
        columns = [
            pa.array([line[field.name] for line in lines], field.type, from_pandas=True) for field in self.schema
        ]
        return pa.Table.from_arrays(columns, schema=self.schema)

    def _search(self, by_space: Sequence[Sequence[Query]]) -> list[SearchResult]:
        if len(self._searchers) == 1:
            return self._searchers[0].answer(by_space[0], self._request)
        return [
            search_spaces(
                [SpaceQuery(searcher=one, query=query) for one, query in zip(self._searchers, asked, strict=True)],
                self._request,
                fusion=self._fusion,
            )
            for asked in zip(*by_space, strict=True)
        ]

    def _list_hits(self, query_id: str, result: SearchResult) -> list[dict[str, Any]]:
        """The lines of one question, which is counted."""
        self.n_queries += 1
        self.n_hits += len(result.hits)
        shortage = self._request.explain_shortage(len(result.hits), result.n_matching)
        if shortage:
            self.short.append(f"{query_id}: {shortage}")
        names = ("rank", "row", "record_id", "score", "percentile")
        return [
            {QUERY_ID: query_id} | {name: getattr(hit, name) for name in names} | hit.list_standings()
            for hit in result.hits
        ]

    def _make_queries(self, places: Sequence[int]) -> tuple[Sequence[int], list[list[Query]]]:
        """The places of the questions that can be asked, and for each space its queries."""
        table = self._table
        if table.asked_by is AskedBy.IMAGE:
            return self._make_image_queries(places)
        parts: Sequence[Part]
        if table.vectors is not None:
            parts = [VectorPart(vector=table.vectors[place], name=table.ids[place]) for place in places]
        elif table.asked_by is AskedBy.TEXT:
            parts = [TextPart(text=table.cells[place], template=self._template) for place in places]
        else:
            parts = [RecordPart(record_id=table.cells[place]) for place in places]
        queries = [Query(parts=(part,)) for part in parts]
        return places, [queries for _ in self._searchers]

    def _make_image_queries(self, places: Sequence[int]) -> tuple[Sequence[int], list[list[Query]]]:
        """Each image is decoded once, for all spaces; those that cannot be read are noted and left out."""
        from concurrent.futures import ThreadPoolExecutor

        import numpy as np

        table = self._table
        wanted = [searcher.encoder.spec.preprocessing for searcher in self._searchers]
        with ThreadPoolExecutor(_DECODERS) as pool:
            read = list(pool.map(lambda place: _read_squares(table.cells[place], wanted), places))
        good = [(place, squares) for place, squares in zip(places, read, strict=True) if isinstance(squares, list)]
        self.refused += [
            f"{table.places[place]}: {error}"
            for place, error in zip(places, read, strict=True)
            if isinstance(error, ImageError)
        ]
        by_space: list[list[Query]] = [[] for _ in self._searchers]
        for i, searcher in enumerate(self._searchers if good else ()):
            vectors = searcher.encoder.encode_pixels(np.stack([squares[i] for _, squares in good]))
            by_space[i] = [
                Query(parts=(VectorPart(vector=vector, name=table.ids[place]),))
                for (place, _), vector in zip(good, vectors, strict=True)
            ]
        return [place for place, _ in good], by_space


def _read_squares(path: str, wanted: Sequence[Preprocessing]) -> list[UInt8[np.ndarray, "3 s s"]] | ImageError:
    """The image as each preprocessing wants it, or the error that says why it cannot be read."""
    from indexer.images import read_image
    from indexer.preprocessing import resize_pixels

    try:
        pixels = read_image(Path(path)).pixels
    except ImageError as error:
        return error
    return [resize_pixels(pixels, preprocessing) for preprocessing in wanted]
