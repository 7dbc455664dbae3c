"""The query bar: where a question is put together from texts, images and records."""

from __future__ import annotations

import hashlib

import streamlit as st

from explorer.app.answers import load_encoder
from explorer.app.cards import show_image
from explorer.app.messages import show_note, showing_problems
from explorer.app.opened import OpenedCorpus, open_searcher, space_fingerprint
from explorer.app.session import change_view, current_view, forget_widgets, generation, set_widget, update_view
from explorer.captions import name_record
from explorer.query import TEMPLATES
from explorer.tokens import pack_image
from explorer.viewstate import N_HITS, Ask, AskKind
from indexer.corpus import Space
from indexer.errors import QueryError

IMAGE_TYPES = ["jpg", "jpeg", "png", "webp", "tif", "tiff", "gif", "bmp", "avif", "heic", "heif"]
_TEXT, _WITHOUT, _TEMPLATE, _COUNT, _ALL = "ask-text", "ask-without", "template", "n-hits", "all-images"
_SAY_TEMPLATE = {"raw": "the words as they are", "photo": "“a photo of …”"}
_KIND_WORDS = {
    AskKind.TEXT: "text",
    AskKind.WITHOUT: "less of",
    AskKind.LIKE: "more like",
    AskKind.UNLIKE: "less like",
    AskKind.IMAGE: "image",
}


def show_query_bar(opened: OpenedCorpus, space: Space) -> None:
    """Text box, upload and options, and below them the parts of the query."""
    can_encode = space.encoder is not None
    with st.container(key="halves-query"):
        text_side, image_side = st.columns([3, 2], vertical_alignment="bottom")
    with text_side:
        st.text_input(
            "Describe what you look for",
            key=set_widget(_TEXT, current_view().value_of(AskKind.TEXT)),
            placeholder="e.g. a juvenile bird, or a name" if can_encode else "not possible in this space",
            max_chars=1_000,
            disabled=not can_encode,
            on_change=_change_text,
            args=(AskKind.TEXT, _TEXT),
        )
    with image_side:
        if can_encode:
            _take_upload(opened, space)
    if not can_encode:
        show_note(
            f"The vectors of space {space.name} were imported without naming the model that made them, so words "
            "and new images cannot be compared with them. Start from any record below with 'More like this'."
        )
    with st.container(horizontal=True, vertical_alignment="center", key="asks"):
        show_chips(opened)
        _show_options(can_encode)


def _change_text(kind: AskKind, key: str) -> None:
    change_view(current_view().with_ask(kind, st.session_state[key].strip()))


def _take_upload(opened: OpenedCorpus, space: Space) -> None:
    """The upload; its image enters the query as a vector, in the precision that a link keeps."""
    uploaded = st.file_uploader(
        "or an image that it resembles", type=IMAGE_TYPES, key=f"upload-{generation()}", max_upload_size=100
    )
    if uploaded is None:
        return
    with showing_problems():
        data = uploaded.getvalue()
        with st.spinner("Looking at the image"):
            searcher = open_searcher(opened, space)
            load_encoder(searcher)
            vector = searcher.encode_image_bytes(data, uploaded.name)
        token = pack_image(vector, fingerprint=space_fingerprint(space), name=uploaded.name)
        _keep_preview(token, data, uploaded.name)
        change_view(current_view().with_ask(AskKind.IMAGE, token))
        forget_widgets()
        st.rerun()


def _keep_preview(token: str, data: bytes, name: str) -> None:
    """Remember a small picture of an upload for its chip, in this session only: a link has no room for it."""
    from io import BytesIO

    from PIL import Image

    from indexer.images import decode_image

    image = Image.fromarray(decode_image(data, name=name).pixels)
    image.thumbnail((64, 64))
    file = BytesIO()
    image.save(file, "WEBP")
    st.session_state.setdefault("previews", {})[token] = file.getvalue()


def show_chips(opened: OpenedCorpus) -> None:
    """The parts of the query, each with its way out."""
    for ask in current_view().asks:
        name = hashlib.sha256(f"{ask.kind}{ask.value}".encode()).hexdigest()[:12]
        side = "towards" if ask.is_wanted else "away"
        with st.container(key=f"chip-{side}-{name}", horizontal=True, vertical_alignment="center"):
            picture, text = _describe_ask(opened, ask)
            if picture is not None:
                show_image(picture, text)
            st.text(f"{_KIND_WORDS[ask.kind]}: {text}")
            st.button(
                ":material/close:", key=f"drop-{name}", type="tertiary", help="Remove", on_click=_drop, args=(ask,)
            )


def _describe_ask(opened: OpenedCorpus, ask: Ask) -> tuple[bytes | None, str]:
    """The picture and the words of a part; a record that is not there is named by its id, and the search says why."""
    if ask.kind is AskKind.IMAGE:
        return st.session_state.get("previews", {}).get(ask.value), ask.label
    if ask.kind not in (AskKind.LIKE, AskKind.UNLIKE):
        return None, ask.value
    try:
        row = opened.corpus.find_record(ask.value)
    except QueryError:
        return None, ask.value
    record = opened.corpus.read_rows([row]).to_pylist()[0]
    return opened.corpus.read_thumbnails([row])[0], name_record(record)


def _drop(ask: Ask) -> None:
    change_view(current_view().without_ask(ask))


def _show_options(can_encode: bool) -> None:
    view = current_view()
    counts = sorted({*N_HITS, view.n_hits})
    with st.popover("Options", type="tertiary"):
        st.selectbox(
            "Hits shown",
            counts,
            key=set_widget(_COUNT, view.n_hits),
            on_change=lambda: update_view(n_hits=st.session_state[_COUNT]),
        )
        st.checkbox(
            "Show every image of an occurrence",
            key=set_widget(_ALL, view.all_images),
            on_change=lambda: update_view(all_images=st.session_state[_ALL]),
            help="Otherwise the best image stands for the specimen or event that its images share.",
        )
        if not can_encode:
            return
        st.text_input(
            "Less of (in words)",
            key=set_widget(_WITHOUT, view.value_of(AskKind.WITHOUT)),
            max_chars=1_000,
            on_change=_change_text,
            args=(AskKind.WITHOUT, _WITHOUT),
            help="Pushes away from this text, at half the weight of what you look for.",
        )
        st.selectbox(
            "Words are asked as",
            list(TEMPLATES),
            key=set_widget(_TEMPLATE, view.template),
            format_func=lambda name: _SAY_TEMPLATE.get(name, name),
            on_change=lambda: update_view(template=st.session_state[_TEMPLATE]),
        )
