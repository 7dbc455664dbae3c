"""Messages: plain text in a coloured box. Streamlit's own boxes read Markdown, and messages quote metadata."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

import streamlit as st

from indexer.errors import InputError

_serial = count()


def show_problem(text: str) -> None:
    """Say what could not be done."""
    _show("problem", text)


def show_note(text: str) -> None:
    """Say what is good to know."""
    _show("note", text)


def show_small(text: str) -> None:
    """Say something in small grey print."""
    with st.container(key=_new_key("small")):
        st.text(text)


def show_head(text: str) -> None:
    """Head a plot or a table."""
    _show("head", text)


@contextmanager
def showing_problems() -> Iterator[None]:
    """Show an InputError as a message; anything else is our bug and keeps its traceback."""
    try:
        yield
    except InputError as error:
        show_problem(str(error))


def _show(kind: str, text: str) -> None:
    with st.container(key=_new_key(kind)):
        st.text(text)


def _new_key(kind: str) -> str:
    return f"{kind}-{next(_serial)}"
