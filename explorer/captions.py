"""Captions: what a card says about a record, in plain text that is never read as HTML or Markdown."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from math import isnan
from typing import TYPE_CHECKING, Any

from indexer.terms import DISPLAY_NAME

if TYPE_CHECKING:
    from explorer.search import Standing

MISSING = "(missing)"
LICENCE_UNKNOWN = "licence not stated"
_NAMES = (DISPLAY_NAME, "scientificName", "species", "label", "vernacularName", "genus", "record_id")
_TRAITS = ("vernacularName", "lifeStage", "sex")
# https://creativecommons.org/licenses/by-nc/4.0/legalcode, https://creativecommons.org/publicdomain/zero/1.0/
_CC_LICENCE = re.compile(r"https?://creativecommons\.org/licenses/([a-z-]+)/(\d\.\d)(?:/\S*)?", re.IGNORECASE)
_CC_ZERO = re.compile(r"https?://creativecommons\.org/publicdomain/zero/(\d\.\d)(?:/\S*)?", re.IGNORECASE)
_CC_MARK = re.compile(r"https?://creativecommons\.org/publicdomain/mark/(\d\.\d)(?:/\S*)?", re.IGNORECASE)


def name_record(record: Mapping[str, Any]) -> str:
    """The name that a card shows: the best one the record has, else its record id."""
    return next(str(record[name]) for name in _NAMES if record.get(name))


def list_traits(record: Mapping[str, Any]) -> str:
    """Vernacular name, life stage and sex, as far as they are known and the name does not say them already."""
    name = name_record(record)
    found = [str(record[trait]) for trait in _TRAITS if record.get(trait)]
    return " · ".join(trait for trait in found if trait != name)


def credit_record(record: Mapping[str, Any]) -> str:
    """Licence and rights holder (or creator) in one line; says so where no licence is stated."""
    licence = shorten_licence(str(record.get("license") or "").strip()) or LICENCE_UNKNOWN
    holder = str(record.get("rightsHolder") or record.get("creator") or "").strip()
    return f"{licence} · {holder}" if holder else licence


def shorten_licence(licence: str) -> str:
    """A Creative Commons address as people write it (CC BY-NC 4.0); anything else as it stands."""
    if found := _CC_LICENCE.fullmatch(licence):
        return f"CC {found[1].upper()} {found[2]}"
    if found := _CC_ZERO.fullmatch(licence):
        return f"CC0 {found[1]}"
    if found := _CC_MARK.fullmatch(licence):
        return f"Public Domain Mark {found[1]}"
    return licence


def say_percentile(percentile: float) -> str:
    """How close a hit is, as a card says it. Rounded down, so that only what beats every pair reads 100 %."""
    if isnan(percentile):
        return "no scale to compare with"
    if percentile >= 100:
        return "closer than 100 %"
    digits = 0 if percentile < 99 else 1 if percentile < 99.9 else 2
    floor = int(percentile * 10**digits) / 10**digits
    return f"closer than {floor:.{digits}f} %"


def explain_percentile(percentile: float, score: float, *, with_pairs: bool) -> str:
    """The same in full, with the cosine, as a tooltip says it.

    Args:
        percentile: in [0, 100]; nan where there is nothing to compare with.
        score: cosine.
        with_pairs: whether it compares with random pairs of records, see `Query.compares_with_pairs`.
    """
    compared = (
        "the query than {} of random pairs of records are to each other"
        if with_pairs
        else "this question than {} of randomly drawn records"
    )
    scale = "" if isnan(percentile) else f"Closer to {compared.format(f'{percentile:.2f} %')}. "
    return (
        f"{scale}Score (cosine): {score:.3f}. A score means little by itself: its usual range differs between models."
    )


def say_standings(standings: Sequence[Standing]) -> str:
    """Where a hit stands in each of several spaces, as a card says it; empty where one space was asked."""
    return " · ".join(f"{standing.space} {_say_rank(standing)}" for standing in standings)


def explain_standings(standings: Sequence[Standing]) -> str:
    """The same in full; empty where one space was asked."""
    lines = [
        f"{standing.space}: "
        + (
            "does not hold this record."
            if isnan(standing.score)
            else f"{_say_rank(standing)}, {say_percentile(standing.percentile)}, score {standing.score:.3f}."
        )
        for standing in standings
    ]
    return " ".join(["The rank that each space gives it by itself.", *lines]) if lines else ""


def _say_rank(standing: Standing) -> str:
    return f"#{standing.rank:,}" if standing.rank else "far behind"


def count_others(n_images: int) -> str:
    """What a card says when it stands for several images of one occurrence; empty where it is the only one."""
    others = n_images - 1
    return f"+{others} image{'s' * (others > 1)} of this occurrence" if others > 0 else ""


def say_exactness(*, is_exact: bool, n_matching: int, recall: float | None) -> str:
    """Whether everything was compared, in one sentence."""
    if is_exact:
        return f"exact: all {n_matching:,} images compared"
    if recall is None:
        return f"approximate: recall not measured for this search, {n_matching:,} images may answer"
    return f"approximate: recall@10 {recall:.3f} measured, {n_matching:,} images indexed"
