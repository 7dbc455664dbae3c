"""The view: everything that decides what the app shows, and how a link carries it.

A link is plain to read: `?text=a+juvenile+bird&like=rec-7&is.sex=male&range.year=1990~2010&colour=lifeStage`.
Nothing in it is trusted: what cannot be read is left out and said.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from math import isfinite, isnan
from typing import Any

from explorer.filters import ColumnCondition, Filter, quote_name
from explorer.query import TEMPLATES, WEIGHTS, Part, Query, RecordPart, TextPart, VectorPart
from explorer.tokens import SELECTION_LIMIT, image_name, pack_rows, unpack_image, unpack_rows
from indexer.errors import QueryError

N_HITS = (12, 24, 48, 96, 192)
SIMILARITY = "*similarity"
"""The colour that stands for the score of the current query; no column can have this name in a link."""
MAX_TEXT = 1_000
MAX_ASKS = 16


class AskKind(StrEnum):
    """How a part of the query is meant; also its name in a link."""

    TEXT = "text"
    WITHOUT = "without"
    LIKE = "like"
    UNLIKE = "unlike"
    IMAGE = "image"


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One part of the query as a link holds it: a text, a record id, or an image's token."""

    kind: AskKind
    value: str

    @property
    def is_wanted(self) -> bool:
        """Whether the part pulls towards; otherwise it pushes away."""
        return self.kind not in (AskKind.WITHOUT, AskKind.UNLIKE)

    @property
    def label(self) -> str:
        """What the part says, without the kind."""
        return image_name(self.value) if self.kind is AskKind.IMAGE else self.value


@dataclass(frozen=True, kw_only=True)
class ValuesFilter:
    """A column held to some values; the empty text stands for "missing", no value at all for "any"."""

    column: str
    values: tuple[str, ...] = ()

    def describe(self) -> str:
        """The condition in words; empty where every record meets it."""
        return f"{self.column}: {' or '.join(value or '(missing)' for value in self.values)}" if self.values else ""


@dataclass(frozen=True, kw_only=True)
class RangeFilter:
    """A column of numbers held to a range, ends included.

    Attributes:
        low, high: in the column's unit; None is unbounded.
        with_missing: whether records without a number pass too.
    """

    column: str
    low: float | None = None
    high: float | None = None
    with_missing: bool = False

    def describe(self) -> str:
        """The condition in words."""
        low = "lowest" if self.low is None else f"{self.low:g}"
        high = "highest" if self.high is None else f"{self.high:g}"
        return f"{self.column}: {low} to {high}" + (" or (missing)" if self.with_missing else "")


ColumnFilter = ValuesFilter | RangeFilter


@dataclass(frozen=True, kw_only=True)
class View:
    """What the app shows.

    Attributes:
        asks: parts of the query, in the order in which they were added.
        template: name of the template of its texts.
        space: None is the first one made.
        n_hits: cards of an answer, or of a page of records.
        all_images: whether images of one occurrence each take a card.
        offset: first record of the page shown while nothing is asked, or of the selection.
        taxon: a name at any rank.
        filters: one per column.
        colour: column, or SIMILARITY, that colours the map; None leaves it to the app.
        selection: rows picked on the map.
        record: record_id of the record view; None while it is closed.
    """

    asks: tuple[Ask, ...] = ()
    template: str = "raw"
    space: str | None = None
    n_hits: int = N_HITS[1]
    all_images: bool = False
    offset: int = 0
    taxon: str | None = None
    filters: tuple[ColumnFilter, ...] = ()
    colour: str | None = None
    selection: tuple[int, ...] = ()
    record: str | None = None

    @property
    def has_wanted(self) -> bool:
        """Whether the query looks for something; without that nothing can be pushed away from."""
        return any(ask.is_wanted for ask in self.asks)

    def with_ask(self, kind: AskKind, value: str) -> View:
        """The view with one more part; a text replaces the text there is, an empty one removes it."""
        single = kind in (AskKind.TEXT, AskKind.WITHOUT)
        kept = tuple(
            ask
            for ask in self.asks
            if not (ask.kind is kind if single else ask.value == value and ask.kind is not AskKind.TEXT)
        )
        added = (Ask(kind=kind, value=value),) if value else ()
        return replace(self, asks=(*kept, *added), offset=0)

    def without_ask(self, ask: Ask) -> View:
        """The view with one part less."""
        return replace(self, asks=tuple(other for other in self.asks if other != ask), offset=0)

    def value_of(self, kind: AskKind) -> str:
        """The text of that kind; empty where there is none."""
        return next((ask.value for ask in self.asks if ask.kind is kind), "")

    def with_filter(self, condition: ColumnFilter) -> View:
        """The view with a column's condition added, or put in the place of the one there is."""
        if any(other.column == condition.column for other in self.filters):
            changed = tuple(condition if other.column == condition.column else other for other in self.filters)
        else:
            changed = (*self.filters, condition)
        return replace(self, filters=changed, offset=0)

    def without_filter(self, column: str) -> View:
        """The view without a column's condition."""
        return replace(self, filters=tuple(other for other in self.filters if other.column != column), offset=0)


def build_query(view: View, *, fingerprint: str) -> Query | None:
    """The query of a view; None while nothing is asked. QueryError where a part cannot be asked in this space."""
    if not view.asks:
        return None
    if not view.has_wanted:
        raise QueryError(
            "query: it only says what to keep away from. Describe what to look for, or press 'More like this'."
        )
    return Query(parts=tuple(_build_part(ask, view.template, fingerprint) for ask in view.asks))


def build_filter(view: View) -> Filter:
    """The filter of a view."""
    conditions, clauses = [], []
    for condition in view.filters:
        if isinstance(condition, ValuesFilter):
            if condition.values:
                conditions.append(ColumnCondition(column=condition.column, values=condition.values))
            continue
        span = ColumnCondition(column=condition.column, low=_whole(condition.low), high=_whole(condition.high))
        if condition.with_missing:
            clauses.append(f"(({span.to_sql()}) OR {quote_name(condition.column)} IS NULL)")
        else:
            conditions.append(span)
    return Filter(where=" AND ".join(clauses) or None, taxon=view.taxon, conditions=tuple(conditions))


def _whole(bound: float | None) -> float | None:
    """The bound as an int where it is whole, because Lance compares columns of integers with integers only."""
    return int(bound) if bound is not None and bound.is_integer() else bound


def describe_query(view: View) -> str:
    """The query in words, as pages and downloads give it; empty while nothing is asked."""
    return "; ".join(f"{ask.kind} {ask.label}" for ask in view.asks)


def describe_filter(view: View) -> str:
    """The filter in words; empty where every record passes."""
    parts = [f"taxon: {view.taxon}"] if view.taxon else []
    return "; ".join(parts + [text for text in (condition.describe() for condition in view.filters) if text])


def write_params(view: View) -> dict[str, list[str]]:
    """The parameters of the view's link. A selection that is too long for a link is left out (see `fits_link`)."""
    found: dict[str, list[str]] = {}
    for ask in view.asks:
        found.setdefault(ask.kind, []).append(ask.value)
    for condition in view.filters:
        name, values = _write_filter(condition)
        if values:
            found[name] = values
    plain = {
        "template": view.template if view.template != "raw" else "",
        "space": view.space or "",
        "k": str(view.n_hits) if view.n_hits != N_HITS[1] else "",
        "all": "1" if view.all_images else "",
        "from": str(view.offset) if view.offset else "",
        "taxon": view.taxon or "",
        "colour": view.colour or "",
        "rows": pack_selection(view.selection) if fits_link(view.selection) else "",
        "record": view.record or "",
    }
    return found | {name: [value] for name, value in plain.items() if value}


def read_params(params: Mapping[str, Sequence[str]]) -> tuple[View, tuple[str, ...]]:
    """The view of a link, and a sentence for each of its parts that could not be read and was left out."""
    view, problems = View(), []
    for name, values in params.items():
        reader = _find_reader(name)
        if reader is None:
            problems.append(f"link: {name!r} is not a part of a link of this app; it was left out.")
            continue
        try:
            view = reader(view, values)
        except (QueryError, ValueError) as error:
            reason = error if isinstance(error, QueryError) else f"{name}={values[0][:40]}: {error}."
            problems.append(f"link: {reason} This part was left out.")
    return view, tuple(problems)


def fit_view(
    view: View, *, columns: Mapping[str, bool], spaces: Sequence[str], n_records: int
) -> tuple[View, tuple[str, ...]]:
    """The view without what this corpus does not have, and a sentence for each part left out.

    Args:
        view: as a link gave it.
        columns: name → whether it holds numbers.
        spaces: names.
        n_records: rows run below it.
    """
    problems = []
    kept = tuple(condition for condition in view.filters if columns.get(condition.column) is _is_range(condition))
    for condition in view.filters:
        if condition not in kept:
            kind = "of numbers" if _is_range(condition) else "of names"
            problems.append(f"link: the corpus has no column {kind} {condition.column!r}; its filter was left out.")
    if view.colour and view.colour != SIMILARITY and view.colour not in columns:
        problems.append(f"link: the corpus has no column {view.colour!r} to colour by.")
        view = replace(view, colour=None)
    if view.space and view.space not in spaces:
        problems.append(f"link: the corpus has no space {view.space!r}; there is {', '.join(spaces)}.")
        view = replace(view, space=None)
    rows = tuple(row for row in view.selection if row < n_records)
    if len(rows) < len(view.selection):
        problems.append(f"link: {len(view.selection) - len(rows):,} selected rows are not in this corpus.")
    return replace(view, filters=kept, selection=rows), tuple(problems)


@lru_cache(maxsize=8)
def pack_selection(rows: tuple[int, ...]) -> str:
    """The selection's token; empty where nothing is selected."""
    return pack_rows(rows) if rows else ""


def fits_link(rows: tuple[int, ...]) -> bool:
    """Whether a selection is short enough for a link (6,000 characters: about 4,000 scattered records, or more)."""
    return len(pack_selection(rows)) <= SELECTION_LIMIT


def _build_part(ask: Ask, template: str, fingerprint: str) -> Part:
    if ask.kind is AskKind.IMAGE:
        vector = unpack_image(ask.value, fingerprint=fingerprint)
        return VectorPart(vector=vector, name=ask.label, weight=WEIGHTS["image"])
    if ask.kind in (AskKind.LIKE, AskKind.UNLIKE):
        return RecordPart(record_id=ask.value, weight=WEIGHTS["like"] if ask.is_wanted else -WEIGHTS["minus"])
    weight = WEIGHTS["text"] if ask.is_wanted else -WEIGHTS["minus"]
    return TextPart(text=ask.value, weight=weight, template=TEMPLATES[template])


def _is_range(condition: ColumnFilter) -> bool:
    return isinstance(condition, RangeFilter)


def _write_filter(condition: ColumnFilter) -> tuple[str, list[str]]:
    if isinstance(condition, ValuesFilter):
        return f"is.{condition.column}", list(condition.values)
    bounds = ["" if bound is None else repr(bound) for bound in (condition.low, condition.high)]
    return f"range.{condition.column}", ["~".join(bounds + ["missing"] * condition.with_missing)]


_Reader = Callable[[View, Sequence[str]], View]


def _find_reader(name: str) -> _Reader | None:
    if name in {kind.value for kind in AskKind}:
        return lambda view, values: _read_asks(view, AskKind(name), values)
    kind, _, column = name.partition(".")
    if kind == "is" and column:
        return lambda view, values: view.with_filter(ValuesFilter(column=column, values=tuple(values)))
    if kind == "range" and column:
        return lambda view, values: view.with_filter(_read_range(column, values[0]))
    return _PLAIN_READERS.get(name)


def _read_asks(view: View, kind: AskKind, values: Sequence[str]) -> View:
    if len(view.asks) + len(values) > MAX_ASKS:
        raise ValueError(f"more than {MAX_ASKS} parts of a query")
    for value in values:
        if kind is AskKind.IMAGE:
            image_name(value)
        elif not 0 < len(value.strip()) <= MAX_TEXT:
            raise ValueError(f"{len(value):,} characters; 1 to {MAX_TEXT:,} are allowed")
        view = view.with_ask(kind, value)
    return view


def _read_range(column: str, text: str) -> RangeFilter:
    low, _, rest = text.partition("~")
    high, _, missing = rest.partition("~")
    if missing not in ("", "missing"):
        raise ValueError("not of the form LOW~HIGH or LOW~HIGH~missing")
    return RangeFilter(column=column, low=_read_bound(low), high=_read_bound(high), with_missing=missing == "missing")


def _read_bound(text: str) -> float | None:
    if not text:
        return None
    number = float(text)
    if not isfinite(number) or isnan(number):
        raise ValueError("a bound is not a finite number")
    return number


def _read_count(text: str, *, low: int, high: int) -> int:
    number = int(text)
    if not low <= number <= high:
        raise ValueError(f"from {low} to {high:,} are allowed")
    return number


def _read_template(text: str) -> str:
    if text not in TEMPLATES:
        raise ValueError(f"use {' or '.join(TEMPLATES)}")
    return text


def _set(field: str, read: Callable[[str], Any]) -> _Reader:
    def change(view: View, values: Sequence[str]) -> View:
        return replace(view, **{field: read(values[0])})

    return change


_PLAIN_READERS: dict[str, _Reader] = {
    "template": _set("template", _read_template),
    "space": _set("space", str),
    "k": _set("n_hits", lambda text: _read_count(text, low=1, high=N_HITS[-1])),
    "all": _set("all_images", lambda text: bool(_read_count(text, low=0, high=1))),
    "from": _set("offset", lambda text: _read_count(text, low=0, high=10**9)),
    "taxon": _set("taxon", str),
    "colour": _set("colour", str),
    "rows": _set("selection", unpack_rows),
    "record": _set("record", str),
}
