"""Cards: a gallery of thumbnails with name, closeness, credit and what can be asked next."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st

from explorer.app.opened import OpenedCorpus
from explorer.app.session import change_view, current_view, update_view
from explorer.captions import (
    count_others,
    credit_record,
    explain_percentile,
    explain_standings,
    list_traits,
    name_record,
    say_percentile,
    say_standings,
)
from explorer.search import Hit
from explorer.viewstate import AskKind


@dataclass(frozen=True, kw_only=True)
class Card:
    """What a card shows.

    Attributes:
        closeness, explanation: how near to the query, in short and in full; empty where nothing was asked.
        others: that it stands for several images; empty where it does not.
    """

    record: Mapping[str, Any]
    closeness: str = ""
    explanation: str = ""
    others: str = ""


def card_of_hit(hit: Hit, *, with_pairs: bool) -> Card:
    """The card of a hit, counting the images of its occurrence unless each has a card of its own."""
    explained = explain_percentile(hit.percentile, hit.score, with_pairs=with_pairs)
    return Card(
        record=hit.record,
        closeness=say_standings(hit.standings) or say_percentile(hit.percentile),
        explanation=explain_standings(hit.standings) or explained,
        others="" if current_view().all_images else count_others(hit.n_images),
    )


def show_gallery(opened: OpenedCorpus, cards: Sequence[Card], *, name: str) -> None:
    """Lay the cards out in as many columns as fit. `name` tells galleries of a page apart."""
    thumbnails = opened.corpus.read_thumbnails([card.record["row"] for card in cards]) if cards else []
    with st.container(key=f"gallery-{name}"):
        for card, thumbnail in zip(cards, thumbnails, strict=True):
            _show_card(card, thumbnail, f"{name}-{card.record['row']}")


def show_image(data: bytes, alt: str) -> None:
    """An image as it is stored. As a data address, because Streamlit would encode WebP anew on every rerun."""
    st.image(f"data:image/webp;base64,{base64.b64encode(data).decode('ascii')}", alt=alt)


def show_picture(record: Mapping[str, Any], thumbnail: bytes | None, key: str) -> None:
    """The thumbnail of a record, or a box that says that there is none."""
    if thumbnail is None:
        with st.container(key=f"noimage-{key}"):
            st.text("no image")
    else:
        show_image(thumbnail, name_record(record))


def _show_card(card: Card, thumbnail: bytes | None, key: str) -> None:
    with st.container(key=f"card-{key}"):
        show_picture(card.record, thumbnail, key)
        # Always five lines, empty ones too: the style sheet tells them apart by their place, because a container for
        # each would give the browser half as much again to draw.
        st.text(name_record(card.record))
        st.text(list_traits(card.record))
        st.text(card.closeness, help=card.explanation or None)
        st.text(card.others)
        st.text(credit_record(card.record))
        _show_actions(card.record["record_id"], key)


def _show_actions(record_id: str, key: str) -> None:
    with st.container(key=f"act-{key}", horizontal=True):
        st.button("More like this", key=f"more-{key}", type="tertiary", on_click=_ask, args=(AskKind.LIKE, record_id))
        if current_view().has_wanted:
            st.button(
                "Less like this", key=f"less-{key}", type="tertiary", on_click=_ask, args=(AskKind.UNLIKE, record_id)
            )
        st.button("Record", key=f"open-{key}", type="tertiary", on_click=open_record, args=(record_id,))


def _ask(kind: AskKind, record_id: str) -> None:
    change_view(current_view().with_ask(kind, record_id))


def open_record(record_id: str) -> None:
    """Open the record view; for callbacks."""
    update_view(record=record_id, offset=current_view().offset)
