"""The app's entry: `morphospace explore` runs this file with Streamlit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import streamlit as st

from explorer.app.answers import warm_up
from explorer.app.corpus_page import show_corpus_page
from explorer.app.geometry_page import show_geometry_page
from explorer.app.map_page import show_map_page
from explorer.app.messages import show_problem, showing_problems
from explorer.app.opened import OpenedCorpus, open_app_corpus, open_spaces, read_summary
from explorer.app.review_page import show_review_page
from explorer.app.search_page import show_search_page
from explorer.app.session import current_view, link_problems, sync_view
from explorer.app.sidebar import show_sidebar
from explorer.links import fit_view, write_params
from explorer.viewstate import View


def main() -> None:
    """Draw the page that the address names."""
    st.set_page_config(page_title="Morphospace", page_icon=str(Path(__file__).with_name("icon.svg")), layout="wide")
    st.html(Path(__file__).with_name("style.css"))
    with showing_problems():
        opened = open_app_corpus()
        pages = [
            st.Page(lambda: _show_search(opened), title="Search", url_path="search", default=True),
            st.Page(lambda: _show_map(opened), title="Map", url_path="map"),
            st.Page(lambda: _show_geometry(opened), title="Geometry", url_path="geometry"),
            st.Page(lambda: _show_review(opened), title="Review", url_path="review"),
            st.Page(lambda: show_corpus_page(opened), title="Corpus", url_path="corpus"),
        ]
        page = st.navigation(pages, position="hidden")
        sync_view(page.url_path, lambda view: _fit(opened, view))
        _link_pages(pages)
        for problem in link_problems():
            show_problem(problem)
        show_sidebar(opened)
        page.run()


def _link_pages(pages: Sequence[st.Page]) -> None:
    """The way to the other pages. The links carry the view, so that it also opens in a new tab and on the way back."""
    with st.container(horizontal=True, key="pages"):
        for page in pages:
            st.page_link(page, query_params=write_params(current_view()))


def _fit(opened: OpenedCorpus, view: View) -> tuple[View, tuple[str, ...]]:
    summary = read_summary(opened)
    return fit_view(
        view,
        columns={column.name: column.kind == "number" for column in summary.columns},
        spaces=[space.space.name for space in summary.spaces],
        n_rows=opened.corpus.count_rows(),
    )


def _show_search(opened: OpenedCorpus) -> None:
    spaces = open_spaces(opened, current_view())
    show_search_page(opened, spaces)
    for space in spaces:
        warm_up(opened, space)


def _show_map(opened: OpenedCorpus) -> None:
    show_map_page(opened, open_spaces(opened, current_view()))


def _show_geometry(opened: OpenedCorpus) -> None:
    show_geometry_page(opened, open_spaces(opened, current_view()))


def _show_review(opened: OpenedCorpus) -> None:
    show_review_page(opened, open_spaces(opened, current_view()))


if __name__ == "__main__":
    main()
