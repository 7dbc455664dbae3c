"""The page Search: a query and its hits; while nothing is asked, the records themselves."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from explorer.app.answers import answer
from explorer.app.cards import Card, card_of_hit, show_gallery
from explorer.app.downloading import offer_csv, state_provenance
from explorer.app.messages import show_note, show_small, showing_problems
from explorer.app.naming import offer_upload_naming
from explorer.app.opened import OpenedCorpus, find_matching, read_records
from explorer.app.paging import show_paging
from explorer.app.query_bar import show_query_bar
from explorer.app.record_view import show_open_record
from explorer.app.session import current_view
from explorer.captions import say_exactness
from explorer.downloads import hits_csv
from explorer.search import SearchResult
from explorer.viewstate import build_filter, describe_filter
from indexer.corpus import Space

_EXPLAIN = (
    "“Closer than 99.7 %” compares a hit with chance: for one image or record, with random pairs of records of this "
    "space; for words, or several things asked at once, with how near this question is to random records. Cosines "
    "themselves differ too much between models to be read."
)


def show_search_page(opened: OpenedCorpus, spaces: Sequence[Space]) -> None:
    """The page."""
    show_query_bar(opened, spaces)
    offer_upload_naming(opened, spaces[0])
    with showing_problems():
        result = answer(opened, spaces, current_view())
        if result is None:
            _show_records(opened)
        else:
            _show_hits(opened, spaces, result)
    show_open_record(opened)


def _show_hits(opened: OpenedCorpus, spaces: Sequence[Space], result: SearchResult) -> None:
    view = current_view()
    exactness = say_exactness(is_exact=result.is_exact, n_matching=result.n_matching, recall=result.recall)
    limits = [describe_filter(view), view.diversity.describe()]
    filtered = " · ".join(limit for limit in limits if limit)
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center", key="answered"):
        st.text(f"{len(result.hits):,} nearest · {exactness}" + (f" · {filtered}" if filtered else ""), help=_EXPLAIN)
        if result.hits:
            provenance = state_provenance(opened, spaces, view)
            offer_csv("Download CSV", lambda: hits_csv(result.hits, provenance), file_name="hits.csv", key="hits-csv")
    for note in result.notes:
        show_note(note[0].upper() + note[1:] + ".")
    if not result.hits:
        show_note("No record matches. Loosen or clear the filters on the left.")
    with_pairs = result.query.compares_with_pairs
    show_gallery(opened, [card_of_hit(hit, with_pairs=with_pairs) for hit in result.hits], name="hits")


def _show_records(opened: OpenedCorpus) -> None:
    """A page of the records that pass the filter, in an order that mixes them."""
    rows = _mix(opened)
    if not rows:
        show_note("No record matches. Loosen or clear the filters on the left.")
        return
    page = show_paging(len(rows), what="records")
    show_gallery(opened, [Card(record=record) for record in read_records(opened, rows[page])], name="records")
    show_small("In mixed order, the same each time.")


def _mix(opened: OpenedCorpus) -> list[int]:
    """The rows that pass the filter, shuffled with a fixed seed, so that a first page shows the breadth."""
    import numpy as np

    matching = find_matching(opened, build_filter(current_view()))
    rows = opened.corpus.live_rows() if matching is None else matching
    mixed: list[int] = np.random.default_rng(0).permutation(rows).tolist()
    return mixed
