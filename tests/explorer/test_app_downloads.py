from __future__ import annotations

import csv
import io
import math

import pytest

from explorer.downloads import Provenance, defuse, hits_csv, rejections_csv, selection_csv
from explorer.search import Hit
from indexer.rejections import Rejection

MADE = Provenance(
    query="text a bird", filter="sex: male", corpus="c", space="s", fingerprint="f00d", date="2026-01-01T00:00:00+00:00"
)


def read(data: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"))))


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("=HYPERLINK(1)", "'=HYPERLINK(1)"),
        ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
        ("@SUM(1)", "'@SUM(1)"),
        ("-x", "'-x"),
        ("\tx", "'\tx"),
        ("-12.5", "-12.5"),
        ("+1e3", "+1e3"),
        (-0.25, "-0.25"),
        (0.123456789, "0.123457"),
        (None, ""),
        (math.nan, ""),
        ("Parus major", "Parus major"),
        ("a=b", "a=b"),
        (7, "7"),
    ],
)
def test_no_cell_runs_as_a_formula(value: object, cell: str) -> None:
    assert defuse(value) == cell


def test_hits_are_downloaded_with_credit_and_with_what_made_them() -> None:
    record = {"record_id": "=r1", "license": "CC0", "rightsHolder": 'Ada "A", Bo', "scientificName": "Pärus\nmajor"}
    hit = Hit(rank=1, row=7, record_id="=r1", score=0.5, percentile=99.5, n_images=2, record=record)
    (line,) = read(hits_csv([hit], MADE))
    assert line["row"] == "7"
    assert line["record_id"] == "'=r1"
    assert (line["rank"], line["score"], line["percentile"], line["n_images"]) == ("1", "0.5", "99.5", "2")
    assert line["rightsHolder"] == 'Ada "A", Bo'
    assert line["name"] == "Pärus\nmajor"
    assert line["uri"] == ""
    assert [line[name] for name in ("query", "filter", "corpus", "space", "fingerprint", "date")] == [
        "text a bird",
        "sex: male",
        "c",
        "s",
        "f00d",
        "2026-01-01T00:00:00+00:00",
    ]


def test_a_selection_has_scores_only_where_a_query_gave_them() -> None:
    records = [{"row": 3, "record_id": "r3"}, {"row": 1, "record_id": "r1"}]
    first, second = read(selection_csv(records, MADE, scores={1: (0.25, 80.0)}))
    assert (first["record_id"], first["score"], first["percentile"]) == ("r3", "", "")
    assert (second["record_id"], second["score"], second["percentile"]) == ("r1", "0.25", "80")


def test_an_empty_download_still_has_its_header() -> None:
    assert read(hits_csv([], MADE)) == []
    assert b"record_id" in hits_csv([], MADE)


def test_rejected_images_are_downloaded_with_their_reasons() -> None:
    rejection = Rejection(uri="a.jpg", record_id="a", reason="cut short", n_bytes=1, modified_ns=2)
    assert read(rejections_csv([rejection])) == [{"record_id": "a", "reason": "cut short", "uri": "a.jpg"}]
