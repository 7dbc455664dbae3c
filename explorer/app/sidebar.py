"""The sidebar: filters that all pages share."""

from __future__ import annotations

from dataclasses import replace

import streamlit as st

from explorer.app.messages import show_small
from explorer.app.opened import OpenedCorpus, TaxonName, find_matching, read_summary, read_taxa
from explorer.app.session import change_view, current_view, forget_widgets, set_widget, update_view
from explorer.captions import MISSING
from explorer.summary import ColumnSummary
from explorer.viewstate import ColumnFilter, RangeFilter, ValuesFilter, build_filter
from indexer.errors import InputError

LARGEST_SLIDER_INTEGER = 2**53 - 1
"""Streamlit refuses larger ones, which JavaScript could not hold; identifiers may be."""
_TAXON, _ADD, _SPACE = "filter-taxon", "filter-add", "space"


def show_sidebar(opened: OpenedCorpus) -> None:
    """The filters, with how many records pass them."""
    summary = read_summary(opened)
    columns = {column.name: column for column in summary.columns}
    with st.sidebar:
        with st.container(key="corpusname"):
            st.text(opened.corpus.name)
        _choose_space([space.space.name for space in summary.spaces])
        _show_count(opened, summary.n_records)
        _choose_taxon(read_taxa(opened))
        for condition in current_view().filters:
            _show_filter(condition, columns[condition.column])
        _add_filter({name: column for name, column in columns.items() if _can_filter(column)})
        if current_view().filters or current_view().taxon:
            st.button("Clear filters", on_click=_clear, width="stretch")


def _can_filter(column: ColumnSummary) -> bool:
    return column.kind in ("category", "boolean") or (column.kind == "number" and column.low is not None)


def _show_count(opened: OpenedCorpus, n_records: int) -> None:
    with st.container(key="count"):
        try:
            matching = find_matching(opened, build_filter(current_view()))
        except InputError:
            # The page says why.
            st.text("this filter cannot be applied")
        else:
            n_matching = "" if matching is None else f"{len(matching):,} of "
            st.text(f"{n_matching}{n_records:,} records" + (" match" if n_matching else ""))


def _choose_space(names: list[str]) -> None:
    if len(names) < 2:
        return
    st.multiselect(
        "Spaces",
        names,
        key=set_widget(_SPACE, list(current_view().spaces) or names[:1]),
        on_change=_change_spaces,
        args=(names[0],),
        help="Each space is one model's view of the same images. Several are asked together and their ranks fused, "
        "because scores of two spaces cannot be compared; the map shows the first.",
    )


def _change_spaces(first: str) -> None:
    chosen = tuple(st.session_state[_SPACE])
    update_view(spaces=() if chosen == (first,) else chosen)


def _choose_taxon(taxa: dict[str, TaxonName]) -> None:
    if not taxa and not current_view().taxon:
        return
    chosen = current_view().taxon
    options = list(taxa) if chosen is None or chosen in taxa else [chosen, *taxa]
    st.selectbox(
        "Taxon",
        options,
        index=None,
        key=set_widget(_TAXON, chosen),
        format_func=lambda name: _say_taxon(name, taxa),
        placeholder="a name at any rank",
        accept_new_options=True,
        on_change=_change_taxon,
        help="Scientific at any rank, or vernacular.",
    )


def _say_taxon(name: str, taxa: dict[str, TaxonName]) -> str:
    taxon = taxa.get(name)
    return f"{name} · {taxon.ranks[0]} · {taxon.n_records:,}" if taxon else name


def _change_taxon() -> None:
    update_view(taxon=(st.session_state[_TAXON] or "").strip() or None)


def _add_filter(columns: dict[str, ColumnSummary]) -> None:
    used = {condition.column for condition in current_view().filters}
    st.selectbox(
        "Add filter",
        [name for name in columns if name not in used],
        index=None,
        key=set_widget(_ADD, None),
        placeholder="Add filter: choose a column",
        label_visibility="collapsed",
        on_change=_open_filter,
        args=(columns,),
    )


def _open_filter(columns: dict[str, ColumnSummary]) -> None:
    name = st.session_state[_ADD]
    if name in columns:
        is_number = columns[name].kind == "number"
        added: ColumnFilter = RangeFilter(column=name) if is_number else ValuesFilter(column=name)
        change_view(current_view().with_filter(added))


def _show_filter(condition: ColumnFilter, column: ColumnSummary) -> None:
    head = f"filterhead-{condition.column}"
    with st.container(key=head, horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        with st.container(key=f"column-{condition.column}"):
            st.text(condition.column)
        st.button(
            ":material/close:",
            key=f"drop-{condition.column}",
            type="tertiary",
            help="Remove this filter",
            on_click=_drop_filter,
            args=(condition.column,),
        )
    if isinstance(condition, ValuesFilter):
        _choose_values(condition, column)
    else:
        _choose_range(condition, column)


def _drop_filter(name: str) -> None:
    change_view(current_view().without_filter(name))


def _choose_values(condition: ValuesFilter, column: ColumnSummary) -> None:
    counts = dict(column.counts)
    if column.n_missing:
        counts[""] = column.n_missing
    counts |= {value: 0 for value in condition.values if value not in counts}
    key = f"values-{condition.column}"
    st.multiselect(
        "Values",
        list(counts),
        key=set_widget(key, list(condition.values)),
        format_func=lambda value: (value or MISSING) + (f" · {counts[value]:,}" if counts[value] else ""),
        placeholder="any value",
        label_visibility="collapsed",
        on_change=_change_values,
        args=(condition, key),
    )


def _change_values(condition: ValuesFilter, key: str) -> None:
    change_view(current_view().with_filter(replace(condition, values=tuple(st.session_state[key]))))


def _choose_range(condition: RangeFilter, column: ColumnSummary) -> None:
    low, high = column.low, column.high
    if low is None or high is None:
        return
    key, missing_key = f"range-{condition.column}", f"missing-{condition.column}"
    if low < high:
        start = min(max(low if condition.low is None else condition.low, low), high)
        end = max(min(high if condition.high is None else condition.high, high), start)
        kind = int if column.is_integer and max(-low, high) <= LARGEST_SLIDER_INTEGER else float
        st.slider(
            "Range",
            kind(low),
            kind(high),
            key=set_widget(key, (kind(start), kind(end))),
            label_visibility="collapsed",
            on_change=_change_range,
            args=(condition, column, key),
        )
    else:
        show_small(f"every value is {low:g}")
    if column.n_missing:
        st.checkbox(
            f"with the {column.n_missing:,} records that have no value",
            key=set_widget(missing_key, condition.with_missing),
            on_change=_change_missing,
            args=(condition, missing_key),
        )


def _change_range(condition: RangeFilter, column: ColumnSummary, key: str) -> None:
    """Keep the chosen bounds; an end that stands at the edge of the slider is no bound."""
    low, high = st.session_state[key]
    change_view(
        current_view().with_filter(
            replace(
                condition,
                low=None if low == column.low else float(low),
                high=None if high == column.high else float(high),
            )
        )
    )


def _change_missing(condition: RangeFilter, key: str) -> None:
    change_view(current_view().with_filter(replace(condition, with_missing=st.session_state[key])))


def _clear() -> None:
    update_view(filters=(), taxon=None)
    forget_widgets()
