"""Links: the view in the address of a page, so that a pasted link opens the same view.

A link is plain to read: `?text=a+juvenile+bird&like=rec-7&is.sex=male&range.year=1990~2010&colour=lifeStage`.
Nothing in it is trusted: what cannot be read is left out and said.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from math import isfinite
from typing import Any

from explorer.fusion import Fusion
from explorer.query import TEMPLATES
from explorer.tokens import SELECTION_LIMIT, image_name, pack_rows, unpack_rows
from explorer.viewstate import N_HITS, SIMILARITY, AskKind, ColumnFilter, RangeFilter, ValuesFilter, View
from indexer.errors import QueryError

MAX_TEXT = 1_000
MAX_ASKS = 16
AXIS_COLOUR = "*axis "
"""What precedes an axis's name in a view's colour. Axes belong to a space, so the map says where there is none."""


def write_params(view: View) -> dict[str, list[str]]:
    """The parameters of the view's link. A selection that is too long for a link is left out (see `fits_link`)."""
    found: dict[str, list[str]] = {}
    for ask in view.asks:
        found.setdefault(ask.kind, []).append(ask.value)
    for condition in view.filters:
        name, values = _write_filter(condition)
        if values:
            found[name] = values
    if view.spaces:
        found["space"] = list(view.spaces)
    plain = {
        "template": view.template if view.template != "raw" else "",
        "fuse": view.fusion if view.fusion is not Fusion.RANK else "",
        "k": str(view.n_hits) if view.n_hits != N_HITS[1] else "",
        "all": "1" if view.all_images else "",
        "per-species": str(view.per_species or ""),
        "diverse": f"{view.diverse:g}" if view.diverse else "",
        "no-duplicates": "1" if view.no_duplicates else "",
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
    view: View, *, columns: Mapping[str, bool], spaces: Sequence[str], n_rows: int
) -> tuple[View, tuple[str, ...]]:
    """The view without what this corpus does not have, and a sentence for each part left out.

    Args:
        view: as a link gave it.
        columns: name → whether it holds numbers.
        spaces: names.
        n_rows: rows run below it.
    """
    problems = []
    kept = tuple(condition for condition in view.filters if columns.get(condition.column) is _is_range(condition))
    for condition in view.filters:
        if condition not in kept:
            kind = "of numbers" if _is_range(condition) else "of names"
            problems.append(f"link: the corpus has no column {kind} {condition.column!r}; its filter was left out.")
    is_ours = view.colour == SIMILARITY or (view.colour or "").startswith(AXIS_COLOUR)
    if view.colour and not is_ours and view.colour not in columns:
        problems.append(f"link: the corpus has no column {view.colour!r} to colour by.")
        view = replace(view, colour=None)
    problems += [
        f"link: the corpus has no space {name!r}; there is {', '.join(spaces)}."
        for name in view.spaces
        if name not in spaces
    ]
    view = replace(view, spaces=tuple(name for name in view.spaces if name in spaces))
    rows = tuple(row for row in view.selection if row < n_rows)
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
    if not isfinite(number):
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


def _read_spaces(view: View, values: Sequence[str]) -> View:
    return replace(view, spaces=tuple(dict.fromkeys(values)))


def _read_share(text: str) -> float:
    share = float(text)
    if not 0 <= share <= 1:
        raise ValueError("from 0 to 1 is allowed")
    return share


def _set(field: str, read: Callable[[str], Any]) -> _Reader:
    def change(view: View, values: Sequence[str]) -> View:
        return replace(view, **{field: read(values[0])})

    return change


_PLAIN_READERS: dict[str, _Reader] = {
    "template": _set("template", _read_template),
    "space": _read_spaces,
    "fuse": _set("fusion", Fusion),
    "k": _set("n_hits", lambda text: _read_count(text, low=1, high=N_HITS[-1])),
    "all": _set("all_images", lambda text: bool(_read_count(text, low=0, high=1))),
    "per-species": _set("per_species", lambda text: _read_count(text, low=1, high=N_HITS[-1])),
    "diverse": _set("diverse", _read_share),
    "no-duplicates": _set("no_duplicates", lambda text: bool(_read_count(text, low=0, high=1))),
    "from": _set("offset", lambda text: _read_count(text, low=0, high=10**9)),
    "taxon": _set("taxon", str),
    "colour": _set("colour", str),
    "rows": _set("selection", unpack_rows),
    "record": _set("record", str),
}
