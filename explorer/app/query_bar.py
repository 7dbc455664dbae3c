"""The query bar: where a question is put together from texts, images and records."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import streamlit as st

from explorer.app.answers import load_encoder
from explorer.app.cards import show_image
from explorer.app.messages import show_note, showing_problems
from explorer.app.opened import OpenedCorpus, open_searcher, space_fingerprint
from explorer.app.session import change_view, current_view, forget_widgets, generation, set_widget, update_view
from explorer.captions import name_record
from explorer.diversity import DUPLICATE_SCORE
from explorer.fusion import Fusion
from explorer.query import TEMPLATES
from explorer.tokens import pack_image
from explorer.viewstate import N_HITS, Ask, AskKind, View
from indexer.corpus import Space
from indexer.errors import QueryError

IMAGE_TYPES = ["jpg", "jpeg", "png", "webp", "tif", "tiff", "gif", "bmp", "avif", "heic", "heif"]
_TEXT, _WITHOUT, _TEMPLATE, _COUNT, _ALL = "ask-text", "ask-without", "template", "n-hits", "all-images"
_PER_SPECIES, _DIVERSE, _NO_DUPLICATES, _FUSION = "per-species", "diverse", "no-duplicates", "fusion"
_SPECIES_LIMITS = (1, 2, 3, 5, 10)
_SAY_FUSION = {Fusion.RANK: "their ranks", Fusion.PERCENTILE: "their percentiles"}
_SAY_TEMPLATE = {"raw": "the words as they are", "photo": "“a photo of …”"}
_KIND_WORDS = {
    AskKind.TEXT: "text",
    AskKind.WITHOUT: "less of",
    AskKind.LIKE: "more like",
    AskKind.UNLIKE: "less like",
    AskKind.IMAGE: "image",
}


def show_query_bar(opened: OpenedCorpus, spaces: Sequence[Space]) -> None:
    """Text box, upload and options, and below them the parts of the query."""
    unnamed = [space.name for space in spaces if space.encoder is None]
    can_encode = not unnamed
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
            _take_upload(opened, spaces)
    if not can_encode:
        show_note(
            f"The vectors of space {', '.join(unnamed)} were imported without naming the model that made them, so "
            "words and new images cannot be compared with them. Start from any record below with 'More like this'."
        )
    with st.container(horizontal=True, vertical_alignment="center", key="asks"):
        show_chips(opened)
        _show_options(can_encode)


def _change_text(kind: AskKind, key: str) -> None:
    change_view(current_view().with_ask(kind, st.session_state[key].strip()))


def _take_upload(opened: OpenedCorpus, spaces: Sequence[Space]) -> None:
    """The upload; its image enters the query as a vector of each space, in the precision that a link keeps."""
    uploaded = st.file_uploader(
        "or an image that it resembles", type=IMAGE_TYPES, key=f"upload-{generation()}", max_upload_size=100
    )
    if uploaded is None:
        return
    with showing_problems():
        data = uploaded.getvalue()
        view = current_view()
        with st.spinner("Looking at the image"):
            for space in spaces:
                searcher = open_searcher(opened, space)
                load_encoder(searcher)
                vector = searcher.encode_image_bytes(data, uploaded.name)
                token = pack_image(vector, fingerprint=space_fingerprint(space), name=uploaded.name)
                _keep_preview(token, data, uploaded.name)
                view = view.with_ask(AskKind.IMAGE, token)
        change_view(view)
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
    for ask in current_view().shown_asks:
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
        _show_diversity(view)
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


def _show_diversity(view: View) -> None:
    """How the answer is spread out, and how several spaces become one."""
    st.selectbox(
        "Hits of one species",
        sorted({*_SPECIES_LIMITS, *((view.per_species,) if view.per_species else ())}),
        index=None,
        key=set_widget(_PER_SPECIES, view.per_species),
        placeholder="any number",
        format_func=lambda limit: f"at most {limit}",
        on_change=lambda: update_view(per_species=st.session_state[_PER_SPECIES]),
        help="Records that name no species are not limited.",
    )
    st.slider(
        "Diversity",
        0.0,
        1.0,
        step=0.05,
        key=set_widget(_DIVERSE, view.diverse),
        on_change=lambda: update_view(diverse=st.session_state[_DIVERSE]),
        help="How much unlikeness to the hits before counts against nearness to the query (maximal marginal "
        "relevance): 0 gives the nearest, 1 the most varied of the near ones.",
    )
    st.checkbox(
        "Leave out near-duplicates",
        key=set_widget(_NO_DUPLICATES, view.no_duplicates),
        on_change=lambda: update_view(no_duplicates=st.session_state[_NO_DUPLICATES]),
        help=f"Images whose cosine with a better hit, or with a record asked for, is {DUPLICATE_SCORE:g} or more.",
    )
    if len(view.spaces) > 1:
        st.selectbox(
            "Spaces are fused by",
            list(Fusion),
            key=set_widget(_FUSION, view.fusion),
            format_func=lambda fusion: _SAY_FUSION[fusion],
            on_change=lambda: update_view(fusion=Fusion(st.session_state[_FUSION])),
            help="Ranks: the sum of 1 / (60 + rank). Percentiles: their mean, which says how near and not only in "
            "which order.",
        )
