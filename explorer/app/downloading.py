"""Download buttons: what they hold is made when they are pressed, not on every rerun."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import streamlit as st

from explorer.app.opened import OpenedCorpus
from explorer.downloads import Provenance, now
from explorer.viewstate import View, describe_filter, describe_query
from indexer.corpus import Space


def offer_csv(label: str, make: Callable[[], bytes], *, file_name: str, key: str) -> None:
    """A button that downloads a CSV."""
    st.download_button(label, make, file_name=file_name, mime="text/csv", key=key, on_click="ignore")


def state_provenance(opened: OpenedCorpus, spaces: Sequence[Space], view: View) -> Provenance:
    """What made the download, for its lines."""
    return Provenance(
        query=describe_query(view),
        filter=describe_filter(view),
        corpus=opened.corpus.name,
        space=" + ".join(space.name for space in spaces),
        fingerprint=" + ".join(space.encoder.fingerprint for space in spaces if space.encoder),
        date=now(),
    )
