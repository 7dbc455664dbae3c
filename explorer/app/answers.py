"""Answers: the view's query put to its space. Answers and encoders are kept over reruns and sessions."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

import streamlit as st

from explorer.app.opened import OpenedCorpus, index_digest, open_searcher, space_fingerprint
from explorer.query import Query
from explorer.search import Searcher, SearchResult, pin_model
from explorer.viewstate import View, build_filter, build_query
from indexer.corpus import Space
from indexer.errors import InputError

if TYPE_CHECKING:
    from explorer.similarity import Similarity
    from indexer.encoders import Encoder

_ENCODER_LOCK = threading.Lock()
_ENCODERS: dict[str, Encoder] = {}
_WARMED: set[str] = set()
_log = logging.getLogger(__name__)


def answer(opened: OpenedCorpus, space: Space, view: View) -> SearchResult | None:
    """The hits of the view's query; None while nothing is asked."""
    query = build_query(view, fingerprint=space_fingerprint(space))
    if query is None:
        return None
    searcher = _prepare(open_searcher(opened, space), query)
    decisive = View(
        asks=view.asks,
        template=view.template,
        n_hits=view.n_hits,
        all_images=view.all_images,
        taxon=view.taxon,
        filters=view.filters,
    )
    return _answer(opened.key, space.name, index_digest(space), decisive, searcher, query)


@st.cache_resource(max_entries=32, show_spinner=False)
def _answer(
    key: tuple[str, int], space_name: str, digest: str, view: View, _searcher: Searcher, _query: Query
) -> SearchResult:
    return _searcher.search(_query, k=view.n_hits, record_filter=build_filter(view), all_images=view.all_images)


def measure_similarity(opened: OpenedCorpus, space: Space, view: View) -> Similarity | None:
    """The similarity of every record of the space to the view's query; None while nothing is asked."""
    query = build_query(view, fingerprint=space_fingerprint(space))
    if query is None:
        return None
    searcher = _prepare(open_searcher(opened, space), query)
    decisive = View(asks=view.asks, template=view.template)
    return _measure(opened.key, space.name, index_digest(space), decisive, searcher, query)


@st.cache_resource(max_entries=4, show_spinner=False)
def _measure(
    key: tuple[str, int], space_name: str, digest: str, view: View, _searcher: Searcher, _query: Query
) -> Similarity:
    from explorer.similarity import score_rows
    from indexer.vectors import embedded_rows

    return score_rows(_searcher, _query, embedded_rows(_searcher.space))


def load_encoder(searcher: Searcher) -> None:
    """Load the space's encoder once, however many sessions ask; EncoderError where it cannot be loaded."""
    spec = searcher.space.encoder
    with _ENCODER_LOCK:
        if spec is not None and spec.fingerprint in _ENCODERS:
            # A job made the index anew, and with it came a new searcher; the model is the same.
            searcher.use_encoder(_ENCODERS[spec.fingerprint])
        _ENCODERS[searcher.encoder.spec.fingerprint] = searcher.encoder


def warm_up(opened: OpenedCorpus, space: Space) -> None:
    """Load the encoder in the background while the user still reads, unless that would mean a download."""
    searcher = open_searcher(opened, space)
    if space.encoder is None or searcher.is_encoder_loaded or searcher.space.name in _WARMED:
        return
    _WARMED.add(searcher.space.name)
    threading.Thread(target=_load_local_encoder, args=(searcher, pin_model(space.encoder)), daemon=True).start()


def _load_local_encoder(searcher: Searcher, model: str) -> None:
    from indexer.encoders import describe_download

    try:
        if describe_download(model) is None:
            load_encoder(searcher)
    except InputError as error:
        _log.warning("the encoder of space %s was not loaded ahead: %s", searcher.space.name, error)


def _prepare(searcher: Searcher, query: Query) -> Searcher:
    """The searcher with what the query needs loaded; says so where that takes a while."""
    if not query.needs_encoder or searcher.is_encoder_loaded:
        return searcher
    with st.spinner("Loading the encoder; only the first question waits for it."):
        load_encoder(searcher)
    return searcher
