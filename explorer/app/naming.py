"""Naming: "What is it?" of a record or an uploaded image, answered by its neighbours, rank by rank."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import streamlit as st

from explorer.app.messages import show_small, showing_problems
from explorer.app.opened import OpenedCorpus, open_searcher, space_fingerprint
from explorer.app.session import current_view
from explorer.classification import Classification, Classifier, Verdict
from explorer.electorate import Question
from explorer.query import Part, VectorPart
from explorer.viewstate import build_query
from indexer.corpus import Space
from indexer.vectors import read_vectors

if TYPE_CHECKING:
    from explorer.search import Searcher


def offer_record_naming(opened: OpenedCorpus, row: int) -> None:
    """The question about a record, as if it had no name: its occurrence has no vote."""
    if st.button("What is it?", key=f"name-record-{row}", type="tertiary", help="Asked as if it had no name yet"):
        space = opened.corpus.open_space(current_view().space)
        with showing_problems():
            vector = read_vectors(space, [row])[0]
            _answer(opened, space, Question(query_id=str(row), vector=vector, row=row))


def offer_upload_naming(opened: OpenedCorpus, space: Space) -> None:
    """The question about each uploaded image of the query."""
    with showing_problems():
        query = build_query(current_view(), fingerprint=space_fingerprint(space))
        for place, image in enumerate(_list_uploads(query.parts if query else ())):
            if st.button("What is it?", key=f"name-upload-{place}", type="tertiary", help=image.describe()):
                _answer(opened, space, Question(query_id=image.name, vector=image.vector))


def _list_uploads(parts: Sequence[Part]) -> list[VectorPart]:
    return [part for part in parts if isinstance(part, VectorPart)]


def _answer(opened: OpenedCorpus, space: Space, question: Question) -> None:
    with st.spinner("Comparing with records whose names are known"):
        classifier = _open_classifier(opened.key[0], space.name, space_fingerprint(space), open_searcher(opened, space))
        (found,) = classifier.classify([question])
    _show(found)


@st.cache_resource(max_entries=4, show_spinner=False)
def _open_classifier(path: str, space_name: str, fingerprint: str, _searcher: Searcher) -> Classifier:
    return Classifier(_searcher)


def _show(found: Classification) -> None:
    if found.verdict is Verdict.UNLIKE:
        show_small("Nothing like this here: even the nearest record is no nearer than random records often are.")
        return
    if found.verdict is Verdict.UNSURE:
        show_small("Not sure at any rank. The likeliest lineage:")
    for answer in found.lineage:
        confidence = "not calibrated" if answer.confidence is None else f"{100 * answer.confidence:.0f} % sure"
        mark = "  ← as far as it can be told" if answer is found.answer and answer is not found.lineage[-1] else ""
        st.text(f"{answer.rank}: {answer.name}, {confidence}{mark}")
    show_small(
        "Confidence is calibrated on held-out occurrences of this corpus; a look-alike that it lacks may still fool it."
    )
