"""The page Review: the suspects of a report, one by one with their pictures, and what people decide about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import streamlit as st

from explorer.app.cards import open_record, show_picture
from explorer.app.downloading import offer_csv
from explorer.app.kept_reports import choose_report, read_reports
from explorer.app.messages import show_note, show_problem, show_small, showing_problems
from explorer.app.opened import OpenedCorpus, find_matching, read_records
from explorer.app.paging import show_steps
from explorer.app.record_view import show_open_record
from explorer.app.session import current_view
from explorer.captions import credit_record, list_traits, name_record
from explorer.geometry.suspects import Suspect, SuspectKind
from explorer.geometry_report.settings import GeometrySettings
from explorer.geometry_report.store import KeptReport
from explorer.geometry_report.suspect_words import ROLES, TITLES, say_head, say_score
from explorer.review import Decision, Verdict, decide, drop_removed, format_review, read_decisions, withdraw
from explorer.viewstate import build_filter, describe_filter
from indexer.errors import InputError

if TYPE_CHECKING:
    from indexer.corpus import Corpus, Space

PAGE_SIZE = 8
_OFFSET, _KINDS, _WITH_DECIDED = "review-offset", "review-kinds", "review-decided"
_LAST, _PROBLEM = "review-last", "review-problem"
_VERDICTS = {
    Verdict.KEEP: "The record is right as it is",
    Verdict.FIX: "The record is wrong; a note for whoever owns the data, nothing is changed here",
    Verdict.IGNORE: "Do not ask again",
}
_DONE = {Verdict.KEEP: "kept", Verdict.FIX: "to be fixed", Verdict.IGNORE: "ignored"}

Decisions = Mapping[tuple[SuspectKind, str], Decision]


@dataclass(frozen=True, kw_only=True)
class _Item:
    """A suspect, and a name for its widgets that stays while the report does."""

    suspect: Suspect
    name: str


def show_review_page(opened: OpenedCorpus, spaces: Sequence[Space]) -> None:
    """The page, for the first space."""
    space = spaces[0]
    with showing_problems():
        kept = read_reports(space)
        if kept:
            _show_review(opened, choose_report(kept))
        else:
            _say_unmeasured(opened, space)
    show_open_record(opened)


def _say_unmeasured(opened: OpenedCorpus, space: Space) -> None:
    show_note(
        f"Nothing was measured in space {space.name} yet, so that there is nothing to review: labels that neighbours "
        "deny, images unlike their taxon, near-duplicates, species in two clusters. Measure on the page Geometry, or "
        "in a terminal:"
    )
    st.code(GeometrySettings(space=space.name).say_command(opened.corpus.path), language=None)


def _show_review(opened: OpenedCorpus, kept: KeptReport) -> None:
    queue = drop_removed(opened.corpus, kept.report.suspects)
    decisions = read_decisions(opened.corpus)
    if kept.report.facts.records_version != opened.version:
        show_note("The records have changed since this was measured. Measure again to include the changes.")
    problem = st.session_state.pop(_PROBLEM, None)
    if problem:
        show_problem(problem)
    if not queue:
        show_note("No record of this report looks wrong.")
        return
    items = _pick_matching(opened, queue, kept.key)
    is_with_decided, kinds = _show_controls(opened.corpus, queue, items, decisions)
    _offer_undo(opened.corpus, decisions)
    shown = [
        one for one in items if one.suspect.kind in kinds and (is_with_decided or _find(decisions, one.suspect) is None)
    ]
    if shown:
        _show_items(opened, shown, decisions)
    elif items:
        show_note("All of these are decided. “Show decided” brings them back.")
    else:
        show_note("No suspect meets the filters on the left.")


def _pick_matching(opened: OpenedCorpus, queue: Sequence[Suspect], key: str) -> list[_Item]:
    """The suspects whose record passes the filters of the sidebar."""
    import numpy as np

    items = [_Item(suspect=one, name=f"{key}-{one.kind}-{one.row}") for one in queue]
    matching = find_matching(opened, build_filter(current_view()))
    if matching is None:
        return items
    is_matching = np.isin([one.row for one in queue], matching)
    return [item for item, passes in zip(items, is_matching.tolist(), strict=True) if passes]


def _show_controls(
    corpus: Corpus, queue: Sequence[Suspect], items: Sequence[_Item], decisions: Decisions
) -> tuple[bool, set[SuspectKind]]:
    """Whether decided ones are shown, and which kinds."""
    counts = {kind: sum(one.suspect.kind is kind for one in items) for kind in SuspectKind}
    there = [kind for kind in SuspectKind if counts[kind]]
    n_decided = sum(_find(decisions, one.suspect) is not None for one in items)
    filtered = describe_filter(current_view())
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center", key="answered"):
        st.text(f"{n_decided:,} of {len(items):,} decided" + (f" · {filtered}" if filtered else ""))
        offer_csv("Download CSV", lambda: format_review(corpus, queue), file_name="review.csv", key="review-csv")
    with st.container(horizontal=True, vertical_alignment="center", key="reviewcontrols"):
        chosen = _choose_kinds(there, counts) if len(there) > 1 else []
        is_with_decided = st.toggle("Show decided", key=_WITH_DECIDED, on_change=_go_to, args=(0,))
    return is_with_decided, set(chosen or there)


def _choose_kinds(there: Sequence[SuspectKind], counts: Mapping[SuspectKind, int]) -> Sequence[SuspectKind]:
    """The kinds that are picked out; none where all are wanted."""
    chosen: Sequence[SuspectKind] = st.pills(
        "Kinds",
        there,
        selection_mode="multi",
        format_func=lambda kind: f"{TITLES[kind]} · {counts[kind]:,}",
        key=_KINDS,
        on_change=_go_to,
        args=(0,),
        label_visibility="collapsed",
        width="content",
        wrap=True,
    )
    return chosen


def _show_items(opened: OpenedCorpus, shown: Sequence[_Item], decisions: Decisions) -> None:
    offset: int = st.session_state.get(_OFFSET, 0)
    page = shown[show_steps(len(shown), what="suspects", size=PAGE_SIZE, offset=offset, turn=_go_to)]
    rows = sorted({row for one in page for row in (one.suspect.row, *one.suspect.evidence)})
    records = dict(zip(rows, read_records(opened, rows), strict=True))
    thumbnails = dict(zip(rows, opened.corpus.read_thumbnails(rows), strict=True))
    for item in page:
        _show_item(opened.corpus, item, records, thumbnails, _find(decisions, item.suspect))


def _show_item(
    corpus: Corpus,
    item: _Item,
    records: Mapping[int, Mapping[str, Any]],
    thumbnails: Mapping[int, bytes | None],
    decision: Decision | None,
) -> None:
    one = item.suspect
    own, beside = ROLES[one.kind]
    with st.container(key=f"suspect-{item.name}"):
        with st.container(horizontal=True, vertical_alignment="center", key=f"suspecthead-{item.name}"):
            st.text(say_head(one))
            st.text(say_score(one) if one.kind is SuspectKind.SPLIT else f"{say_score(one)} · {one.subject}")
        st.text(one.reading)
        with st.container(key=f"strip-{item.name}"):
            _show_shot(
                records[one.row], thumbnails[one.row], own, f"{'own' if own != beside else 'beside'}-{item.name}"
            )
            for row in one.evidence:
                _show_shot(records[row], thumbnails[row], beside, f"beside-{item.name}-{row}")
        if decision:
            _say_decision(decision)
        _offer_verdicts(corpus, item, decision)


def _show_shot(record: Mapping[str, Any], thumbnail: bytes | None, role: str, key: str) -> None:
    """A record beside others; always the same lines, which the style sheet tells apart by their place."""
    with st.container(key=f"shot-{key}"):
        show_picture(record, thumbnail, key)
        st.text(role)
        st.text(name_record(record))
        st.text(list_traits(record))
        st.text(credit_record(record))
        with st.container(key=f"act-{key}", horizontal=True):
            st.button("Record", key=f"open-{key}", type="tertiary", on_click=open_record, args=(record["record_id"],))


def _say_decision(decision: Decision) -> None:
    note = f": {decision.note}" if decision.note else ""
    show_small(f"{_DONE[decision.verdict].capitalize()}, {decision.decided[:16].replace('T', ' ')} UTC{note}")


def _offer_verdicts(corpus: Corpus, item: _Item, decision: Decision | None) -> None:
    """A form, so that the note is sent with the verdict."""
    with (
        st.form(key=f"verdict-{item.name}", border=False, enter_to_submit=False),
        st.container(horizontal=True, vertical_alignment="bottom"),
    ):
        st.text_input(
            "Note",
            value=decision.note if decision else "",
            key=_note_key(item),
            placeholder="Note, if you like",
            label_visibility="collapsed",
            width=200,
        )
        for verdict, meaning in _VERDICTS.items():
            st.form_submit_button(
                verdict.capitalize(),
                key=f"{verdict}-{item.name}",
                help=meaning,
                type="primary" if decision and decision.verdict is verdict else "secondary",
                on_click=_decide,
                args=(corpus, item, verdict),
            )
        if decision:
            st.form_submit_button(
                "Take back",
                key=f"takeback-{item.name}",
                type="tertiary",
                on_click=_withdraw,
                args=(corpus, item.suspect),
            )


def _offer_undo(corpus: Corpus, decisions: Decisions) -> None:
    """The way back from what this visitor decided last, which has left the list."""
    last: Suspect | None = st.session_state.get(_LAST)
    decision = _find(decisions, last) if last else None
    if last is None or decision is None:
        return
    with st.container(horizontal=True, vertical_alignment="center", key="lastdecided"):
        st.text(f"{last.subject}: {_DONE[decision.verdict]}.")
        st.button("Take back", key="takeback", type="tertiary", on_click=_withdraw, args=(corpus, last))


def _decide(corpus: Corpus, item: _Item, verdict: Verdict) -> None:
    note = str(st.session_state.get(_note_key(item)) or "").strip()
    try:
        decide(corpus, [item.suspect], verdict, note=note)
    except (InputError, OSError) as error:
        st.session_state[_PROBLEM] = f"The decision was not kept. {error}"
        return
    st.session_state[_LAST] = item.suspect


def _withdraw(corpus: Corpus, suspect: Suspect) -> None:
    try:
        withdraw(corpus, [suspect])
    except (InputError, OSError) as error:
        st.session_state[_PROBLEM] = f"The decision was not taken back. {error}"


def _find(decisions: Decisions, suspect: Suspect) -> Decision | None:
    return decisions.get((suspect.kind, suspect.subject))


def _note_key(item: _Item) -> str:
    return f"remark-{item.name}"


def _go_to(offset: int) -> None:
    st.session_state[_OFFSET] = offset
