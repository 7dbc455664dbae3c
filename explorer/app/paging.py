"""Paging through a gallery that is longer than a page."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from explorer.app.session import current_view, update_view


def show_paging(n: int, *, what: str) -> slice:
    """The part of `n` items that the view's page shows, with buttons to go on and back."""
    view = current_view()
    return show_steps(
        n, what=what, size=view.n_hits, offset=view.offset, turn=lambda offset: update_view(offset=offset)
    )


def show_steps(n: int, *, what: str, size: int, offset: int, turn: Callable[[int], None]) -> slice:
    """The same for pages that the view does not know.

    Args:
        n: Items, one at least.
        what: They are, in words.
        size: Of a page.
        offset: An item of the page that is shown; beyond the end for the last page.
        turn: Called with the first item of the page to go to.
    """
    start = min(offset, max(0, n - 1)) // size * size
    end = min(start + size, n)
    with st.container(horizontal=True, vertical_alignment="center", key=f"paging-{what}"):
        st.text(f"{start + 1:,} to {end:,} of {n:,} {what}")
        if n > size:
            _step(":material/chevron_left:", "Previous page", lambda: turn(start - size), disabled=start == 0)
            _step(":material/chevron_right:", "Next page", lambda: turn(start + size), disabled=end >= n)
    return slice(start, end)


def _step(label: str, explanation: str, go: Callable[[], None], *, disabled: bool) -> None:
    st.button(label, key=f"step-{explanation}", type="tertiary", help=explanation, disabled=disabled, on_click=go)
