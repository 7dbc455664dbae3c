"""Answers: the view's query put to its space. Answers and encoders are kept over reruns and sessions."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import streamlit as st

from explorer.app.opened import CorpusKey, OpenedCorpus, index_digest, open_searcher, space_fingerprint
from explorer.fusion import SpaceQuery, search_spaces
from explorer.query import Query
from explorer.search import Searcher, SearchResult
from explorer.viewstate import View, build_query, build_request
from indexer.corpus import Space
from indexer.errors import InputError
from indexer.model_names import pin_model

if TYPE_CHECKING:
    from explorer.similarity import Similarity
    from indexer.encoders import Encoder

_ENCODER_LOCK = threading.Lock()
_ENCODERS: dict[str, Encoder] = {}
_WARMED: set[str] = set()
_log = logging.getLogger(__name__)


def answer(opened: OpenedCorpus, spaces: Sequence[Space], view: View) -> SearchResult | None:
    """The hits of the view's query in all of the spaces together; None while nothing is asked."""
    asked = []
    for space in spaces:
        query = build_query(view, fingerprint=space_fingerprint(space))
        if query is None:
            return None
        asked.append(SpaceQuery(searcher=_prepare(open_searcher(opened, space), query), query=query))
    decisive = replace(view, offset=0, colour=None, selection=(), record=None)
    digests = tuple((space.name, index_digest(space)) for space in spaces)
    return _answer(opened.key, digests, decisive, asked)


@st.cache_resource(max_entries=32, show_spinner=False)
def _answer(
    key: CorpusKey, digests: tuple[tuple[str, str], ...], view: View, _asked: Sequence[SpaceQuery]
) -> SearchResult:
    return search_spaces(_asked, build_request(view), fusion=view.fusion)


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
    key: CorpusKey, space_name: str, digest: str, view: View, _searcher: Searcher, _query: Query
) -> Similarity:
    from explorer.similarity import score_rows
    from indexer.vectors import live_rows

    return score_rows(_searcher, _query, live_rows(_searcher.space))


def load_encoder(searcher: Searcher) -> None:
    """Load the space's encoder once, however many sessions ask; EncoderError where it cannot be loaded."""
    spec = searcher.space.encoder
    with _ENCODER_LOCK:
        if spec is not None and spec.fingerprint in _ENCODERS:
            # Another space of the same model, or a new searcher of this one.
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
