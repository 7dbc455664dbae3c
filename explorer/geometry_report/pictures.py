"""Pictures of suspects for a report: small WebP images as data addresses, each with its name and credit."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from io import BytesIO
from typing import TYPE_CHECKING

from explorer.captions import credit_record, name_record
from explorer.geometry.suspects import Suspect, SuspectKind
from explorer.geometry_report.suspect_words import ROLES, TITLES, pick_listed, say_head, say_score

if TYPE_CHECKING:
    from explorer.geometry_report.report import Report
    from indexer.corpus import Corpus

N_PICTURED = 4
"""Records beside a suspect."""
SIDE = 176
"""Longest side, in pixels; shown at two thirds of it, so that it is sharp on dense screens."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A record as a report shows it.

    Attributes:
        image: WebP; None for a record without an image.
        name, record_id, credit: In the record's own words, not escaped.
    """

    image: bytes | None
    name: str
    record_id: str
    credit: str


def read_pictures(corpus: Corpus, report: Report) -> dict[int, Picture]:
    """The records that the report's list of suspects shows, by row; empty where none of them has an image."""
    listed = [one for kind in SuspectKind for one in pick_listed(report.suspects, kind)[0]]
    rows = sorted({row for one in listed for row in (one.row, *one.evidence[:N_PICTURED])})
    if not rows:
        return {}
    images = corpus.read_thumbnails(rows)
    if not any(images):
        return {}
    return {
        row: Picture(
            image=_shrink(image) if image else None,
            name=name_record(record),
            record_id=record["record_id"],
            credit=credit_record(record),
        )
        for row, record, image in zip(rows, corpus.read_rows(rows).to_pylist(), images, strict=True)
    }


def write_suspects(report: Report, pictures: Mapping[int, Picture]) -> str:
    """The most suspect of each kind as HTML, each with its picture and those that speak against it."""
    parts = []
    for kind in SuspectKind:
        shown, reading = pick_listed(report.suspects, kind)
        if shown:
            parts.append(f"<h3>{TITLES[kind]}</h3><p>{reading}</p>")
            parts += [_write_suspect(one, pictures) for one in shown]
    return "".join(parts)


def _write_suspect(one: Suspect, pictures: Mapping[int, Picture]) -> str:
    own, beside = ROLES[one.kind]
    figures = [_write_figure(pictures[one.row], own, "own" if own != beside else "beside")]
    figures += [_write_figure(pictures[row], beside, "beside") for row in one.evidence[:N_PICTURED]]
    return (
        f'<article class="suspect"><p><b>{escape(say_head(one))}</b> <span class="small">{escape(say_score(one))}'
        f'</span></p><p class="reading">{escape(one.reading)}</p>'
        f'<div class="pictures">{"".join(figures)}</div></article>'
    )


def _write_figure(picture: Picture, role: str, kind: str) -> str:
    shown = '<div class="noimage">no image</div>'
    if picture.image:
        address = f"data:image/webp;base64,{b64encode(picture.image).decode('ascii')}"
        shown = f'<img src="{address}" alt="{escape(picture.name)}">'
    lines = [f"<b>{escape(picture.name)}</b>", escape(picture.record_id), f"<small>{escape(picture.credit)}</small>"]
    return (
        f'<figure class="{kind}">{shown}<figcaption><span class="role">{role}</span><br>{"<br>".join(lines)}'
        "</figcaption></figure>"
    )


def _shrink(image: bytes) -> bytes:
    """The image with its longest side at most `SIDE`."""
    from PIL import Image

    small = Image.open(BytesIO(image)).convert("RGB")
    small.thumbnail((SIDE, SIDE))
    file = BytesIO()
    small.save(file, "WEBP", quality=78)
    return file.getvalue()
