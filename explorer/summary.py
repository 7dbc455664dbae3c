"""What a corpus holds and how it was made: one account for `morphospace info` and the Corpus page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from explorer.reliability_store import Reliability, list_reliabilities
from indexer.corpus import OWN_COLUMNS, STATUS_IMAGE, Corpus, Space
from indexer.index.facts import IndexFacts
from indexer.index.storage import has_index, read_index
from indexer.rejections import Rejection, read_rejections
from indexer.terms import RANKS
from indexer.vectors import live_rows

if TYPE_CHECKING:
    import pyarrow as pa

MAX_CATEGORIES = 100


@dataclass(frozen=True, kw_only=True)
class ColumnSummary:
    """One column of the records.

    Attributes:
        kind: `category` (at most 100 different texts), `text`, `number` or `boolean`.
        n_missing: records without a value.
        n_distinct: different values.
        counts: value → records, most frequent first; empty for text and number.
        low, high: smallest and largest value; None unless the column holds numbers.
        is_integer: whether its type holds whole numbers only.
    """

    name: str
    kind: str
    n_missing: int
    n_distinct: int
    counts: dict[str, int]
    low: float | None
    high: float | None
    is_integer: bool


@dataclass(frozen=True, kw_only=True)
class SpaceSummary:
    """One space.

    Attributes:
        n_vectors: images embedded, those of removed records apart.
        index: what is known of its index; None while there is none.
        map_facts: how its map was made; None while there is none.
        reliabilities: how far identifications can be believed, by each method that was asked of this index.
    """

    space: Space
    n_vectors: int
    index: IndexFacts | None
    map_facts: dict[str, Any] | None
    reliabilities: tuple[Reliability, ...] = ()


@dataclass(frozen=True, kw_only=True)
class CorpusSummary:
    """A corpus in numbers.

    Attributes:
        n_records: records, with or without image; removed ones are counted nowhere but in `n_removed`.
        n_images: records with an image.
        n_occurrences: different occurrences.
        taxa: rank → different names there, for the ranks that are there.
        columns: of the records, ours left out.
        rejections: refused images.
        n_removed: records that were removed and can be brought back.
        created, created_with: when, and with which version.
    """

    n_records: int
    n_images: int
    n_occurrences: int
    taxa: dict[str, int]
    columns: tuple[ColumnSummary, ...]
    spaces: tuple[SpaceSummary, ...]
    rejections: tuple[Rejection, ...]
    n_removed: int
    created: str
    created_with: str


def summarise(corpus: Corpus) -> CorpusSummary:
    """The account of a corpus; reads all columns but the thumbnails once."""
    import pyarrow.compute as pc

    from indexer.files import read_json

    facts = read_json(corpus.path / "corpus.json")
    names = list(corpus.column_types())
    table = corpus.read_columns(names) if names else None
    columns = (
        tuple(summarise_column(name, table.column(name)) for name in names if name not in OWN_COLUMNS) if table else ()
    )
    images = pc.sum(pc.equal(table.column("status"), STATUS_IMAGE)).as_py() if table else 0
    return CorpusSummary(
        n_records=table.num_rows if table else 0,
        n_images=images or 0,
        n_occurrences=pc.count_distinct(table.column("occurrence_id")).as_py() if table else 0,
        taxa={column.name: column.n_distinct for column in columns if column.name in RANKS},
        columns=columns,
        spaces=tuple(_summarise_space(space) for space in corpus.spaces().values()),
        rejections=tuple(read_rejections(corpus.rejected_path).values()),
        n_removed=len(corpus.removed_rows()),
        created=facts["created"],
        created_with=facts["created_with"],
    )


def summarise_column(name: str, column: pa.ChunkedArray) -> ColumnSummary:
    """One column: missing values, and its counts or range."""
    import pyarrow as pa
    import pyarrow.compute as pc

    n_distinct = pc.count_distinct(column).as_py()
    is_integer = pa.types.is_integer(column.type)
    is_number = is_integer or pa.types.is_floating(column.type)
    kind = "number" if is_number else "boolean" if pa.types.is_boolean(column.type) else "text"
    counts: dict[str, int] = {}
    if kind == "boolean" or (kind == "text" and n_distinct <= MAX_CATEGORIES):
        kind = "category" if kind == "text" else kind
        pairs = ((item["values"], item["counts"]) for item in column.value_counts().to_pylist())
        counts = {_say(value): n for value, n in sorted(pairs, key=lambda pair: -pair[1]) if value is not None}
    bounds = pc.min_max(column).as_py() if is_number else {"min": None, "max": None}
    return ColumnSummary(
        name=name,
        kind=kind,
        n_missing=column.null_count,
        n_distinct=n_distinct,
        counts=counts,
        low=None if bounds["min"] is None else float(bounds["min"]),
        high=None if bounds["max"] is None else float(bounds["max"]),
        is_integer=is_integer,
    )


def print_summary(corpus: Corpus) -> None:
    """Print the account of a corpus."""
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
    summary = summarise(corpus)
    console.print(f"{corpus.path}: made {summary.created[:10]} with {summary.created_with}")
    console.print(
        f"records: {summary.n_records:,}, of {summary.n_occurrences:,} occurrences; "
        f"{summary.n_images:,} with an image; {len(summary.rejections):,} images rejected"
        + (f"; {summary.n_removed:,} more were removed" if summary.n_removed else "")
    )
    if summary.taxa:
        console.print("taxa: " + ", ".join(f"{n:,} {rank}" for rank, n in summary.taxa.items()))
    for column in summary.columns:
        console.print(f"  {column.name}: {describe_column(column)}")
    for space in summary.spaces:
        console.print(describe_space(space))


def describe_column(column: ColumnSummary) -> str:
    """A column in one line."""
    missing = f", {column.n_missing:,} missing" if column.n_missing else ""
    if column.kind == "number" and column.low is not None:
        return f"{column.low:g} to {column.high:g}{missing}"
    top = ", ".join(f"{value} {n:,}" for value, n in list(column.counts.items())[:5])
    more = ", …" if len(column.counts) > 5 else ""
    return f"{column.n_distinct:,} values{missing}" + (f" ({top}{more})" if top else "")


def describe_space(summary: SpaceSummary) -> str:
    """A space in one line: encoder, vectors, index with its recall, map with its trust."""
    encoder = summary.space.encoder
    made = encoder.describe() if encoder else "imported vectors, encoder not known"
    index = "no index yet"
    if summary.index:
        index = f"{summary.index.kind} index of {summary.index.n:,}, because {summary.index.reason}"
        index += "" if summary.index.is_exact else f", {summary.index.describe_recall()}"
    drawn = "no map yet"
    if summary.map_facts:
        drawn = f"map by {summary.map_facts['method']}, trustworthiness {summary.map_facts['trustworthiness']:.3f}"
    return (
        f"space {summary.space.name}: {made}; {summary.n_vectors:,} vectors of {summary.space.dimension} dimensions; "
        f"{index}; {drawn}" + "".join(f"; {found.describe()}" for found in summary.reliabilities)
    )


def _say(value: object) -> str:
    """A value as SQL writes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _summarise_space(space: Space) -> SpaceSummary:
    from indexer.files import read_json

    stored = read_index(space) if has_index(space) else None
    return SpaceSummary(
        space=space,
        n_vectors=len(live_rows(space)),
        index=stored.facts if stored else None,
        reliabilities=tuple(list_reliabilities(space, stored.digest)) if stored else (),
        map_facts=read_json(space.map_path()) if space.map_path().exists() else None,
    )
