"""The record view: everything known about one record, and its image as large as there is one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from explorer.app.cards import show_image
from explorer.app.messages import show_small, showing_problems
from explorer.app.naming import offer_record_naming
from explorer.app.opened import OpenedCorpus, read_large_image
from explorer.app.session import current_view, update_view
from explorer.captions import credit_record, name_record
from indexer.corpus import OWN_COLUMNS

_NOT_SHOWN = ("thumbnail",)


def show_open_record(opened: OpenedCorpus) -> None:
    """The record view, where the view has one open."""
    record_id = current_view().record
    if record_id:
        _show_dialog(opened, record_id)


def _close() -> None:
    update_view(record=None, offset=current_view().offset)


@st.dialog("Record", width="large", on_dismiss=_close)
def _show_dialog(opened: OpenedCorpus, record_id: str) -> None:
    with showing_problems():
        row = opened.corpus.find_record(record_id)
        record = opened.corpus.read_rows([row]).to_pylist()[0]
        with st.container(key="recordname"):
            st.text(name_record(record))
        with st.container(key="halves-record"):
            picture_side, facts_side = st.columns(2)
        with picture_side:
            _show_portrait(opened, record)
            show_small(credit_record(record))
            offer_record_naming(opened, row)
        with facts_side:
            _show_facts(record)


def _show_portrait(opened: OpenedCorpus, record: Mapping[str, Any]) -> None:
    large = read_large_image(record["uri"] or "", record["sha256"] or "")
    thumbnail = opened.corpus.read_thumbnails([record["row"]])[0] if large is None else None
    image = large or thumbnail
    if image is None:
        show_small("This record has no image here; its vector was imported.")
        return
    with st.container(key="portrait"):
        show_image(image, name_record(record))
    if large is None:
        show_small(
            "This is the stored thumbnail: the image file is not where it was when it was indexed, or has changed."
        )


def _show_facts(record: Mapping[str, Any]) -> None:
    """Term and value, the record's own terms first; links stand as text, so that nobody is led by a record's word."""
    own = [name for name in OWN_COLUMNS if name in record and name not in _NOT_SHOWN]
    terms = [name for name in record if name not in own and name not in _NOT_SHOWN]
    with st.container(key="facts"):
        for place, name in enumerate([*terms, *own]):
            if record[name] is not None and record[name] != "":
                with st.container(key=f"term-{place}"):
                    st.text(name)
                st.text(str(record[name]))
