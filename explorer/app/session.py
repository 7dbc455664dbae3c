"""The session: the view of this browser tab, kept in step with its link."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import streamlit as st

from explorer.links import read_params, write_params
from explorer.viewstate import View

_VIEW, _WRITTEN, _TOUCHED, _PAGE, _PROBLEMS = "view", "written", "touched", "page", "problems"

Fit = Callable[[View], tuple[View, tuple[str, ...]]]


def sync_view(page: str, fit: Fit) -> View:
    """The view to show now, with the address bar brought to it.

    The link decides when the session begins and when it changed in the browser (back, forward); otherwise what the
    user did since decides. Changing the page empties the address bar, which is no wish to forget the view.

    Args:
        page: that is shown.
        fit: leaves out what the corpus does not have, and says so.
    """
    state = st.session_state
    params = {name: st.query_params.get_all(name) for name in st.query_params}
    page_changed = state.get(_PAGE, page) != page
    if _VIEW not in state or (_link_changed(params) and not (page_changed and not params)):
        view, unread = read_params(params)
        view, unfit = fit(view)
        state[_VIEW], state[_PROBLEMS] = view, (*unread, *unfit)
        forget_widgets()
        mark_drawn()
    state[_TOUCHED], state[_PAGE] = False, page
    _write_link(params)
    return current_view()


def current_view() -> View:
    """The view of this session."""
    view: View = st.session_state[_VIEW]
    return view


def change_view(view: View) -> None:
    """Make it the view of this session; for callbacks, which run before the page is drawn."""
    st.session_state[_VIEW] = view
    st.session_state[_TOUCHED] = True
    st.session_state[_PROBLEMS] = ()


def update_view(**changes: Any) -> None:
    """Change some fields of the view; the page of the gallery begins anew unless it is what changes."""
    change_view(replace(current_view(), **({"offset": 0} | changes)))


def link_problems() -> Sequence[str]:
    """What of the link could not be shown."""
    problems: Sequence[str] = st.session_state.get(_PROBLEMS, ())
    return problems


def set_widget(key: str, value: Any) -> str:
    """Bring a widget to the view before it is drawn; its key."""
    if st.session_state.get(key) != value:
        st.session_state[key] = value
    return key


def forget_widgets() -> None:
    """Let widgets that keep something of their own (an upload, a lasso) begin anew."""
    st.session_state["generation"] = generation() + 1


def generation() -> int:
    """How often widgets began anew; part of their keys."""
    count: int = st.session_state.get("generation", 0)
    return count


def mark_drawn() -> None:
    """Let the next map show the selection as part of the figure."""
    st.session_state["drawn"] = None


def drawn_selection(figure_key: tuple[Any, ...]) -> tuple[int, ...]:
    """The selection that the figure of the map shows by itself.

    A lasso lives in the browser and only as long as the figure stays the same. So the selection enters the figure only
    when the figure changes anyway.

    Args:
        figure_key: everything else that decides the figure.
    """
    drawn = st.session_state.get("drawn")
    if drawn is None or drawn[0] != figure_key:
        drawn = (figure_key, current_view().selection)
        st.session_state["drawn"] = drawn
    selection: tuple[int, ...] = drawn[1]
    return selection


def _link_changed(params: dict[str, list[str]]) -> bool:
    return params != st.session_state.get(_WRITTEN) and not st.session_state.get(_TOUCHED, False)


def _write_link(params: dict[str, list[str]]) -> None:
    wanted = write_params(current_view())
    if wanted != params:
        st.query_params.from_dict(wanted)
    st.session_state[_WRITTEN] = wanted
