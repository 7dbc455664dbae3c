"""Paging through a gallery that is longer than a page."""

from __future__ import annotations

import streamlit as st

from explorer.app.session import current_view, update_view


def show_paging(n: int, *, what: str) -> slice:
    """The part of `n` items that the view's page shows, with buttons to go on and back."""
    size = current_view().n_hits
    start = min(current_view().offset, max(0, n - 1)) // size * size
    end = min(start + size, n)
    with st.container(horizontal=True, vertical_alignment="center", key=f"paging-{what}"):
        st.text(f"{start + 1:,} to {end:,} of {n:,} {what}")
        if n > size:
            _step(":material/chevron_left:", start - size, "Previous page", disabled=start == 0)
            _step(":material/chevron_right:", start + size, "Next page", disabled=end >= n)
    return slice(start, end)


def _step(label: str, offset: int, explanation: str, *, disabled: bool) -> None:
    st.button(
        label,
        key=f"step-{explanation}",
        type="tertiary",
        help=explanation,
        disabled=disabled,
        on_click=lambda: update_view(offset=offset),
    )
