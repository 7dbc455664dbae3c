"""The geometry reports that a space keeps, for the pages that show them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import streamlit as st

from explorer.geometry_report.store import FILE, FOLDER, KeptReport, list_reports
from indexer.corpus import Space
from indexer.files import read_stamp

if TYPE_CHECKING:
    from explorer.geometry_report.report import Report

_REPORT = "geometry-report"


def read_reports(space: Space) -> list[KeptReport]:
    """The reports of a space, the latest first; CorpusError for one of another form."""
    files = sorted((space.folder / FOLDER).glob(f"*/{FILE}"))
    return _load_reports(space, tuple((str(file), read_stamp(file)) for file in files))


@st.cache_resource(max_entries=4, show_spinner=False)
def _load_reports(_space: Space, files: tuple[tuple[str, tuple[int, ...]], ...]) -> list[KeptReport]:
    return list_reports(_space)


def choose_report(kept: Sequence[KeptReport]) -> KeptReport:
    """The one that is shown: the latest, until another is chosen."""
    if len(kept) == 1:
        return kept[0]
    names = {one.key: _name_report(one.report) for one in kept}
    if st.session_state.get(_REPORT) not in names:
        st.session_state.pop(_REPORT, None)
    key = st.selectbox("Report", list(names), key=_REPORT, format_func=lambda key: names[key])
    return next(one for one in kept if one.key == key)


def _name_report(report: Report) -> str:
    settings = report.settings
    columns = [settings["columns within species"], settings["columns between species"]]
    named = ", ".join(text for text in columns if text != "none") or "no columns"
    compared = f"; with {settings['compared with']}" if settings["compared with"] != "nothing" else ""
    chosen = f"; {settings['filter']}" if settings["filter"] != "none" else ""
    return f"{report.facts.made[:16].replace('T', ' ')}: {named}{compared}{chosen}"
