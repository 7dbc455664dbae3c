from __future__ import annotations

import math

import pytest

from explorer.captions import (
    count_others,
    credit_record,
    explain_percentile,
    list_traits,
    name_record,
    say_exactness,
    say_percentile,
    shorten_licence,
)


def test_a_record_is_named_by_the_best_name_it_has() -> None:
    record = {"record_id": "r1", "scientificName": "Parus major", "display_name": None, "vernacularName": "great tit"}
    assert name_record(record) == "Parus major"
    assert name_record(record | {"display_name": "Parus major ♂"}) == "Parus major ♂"
    assert name_record({"record_id": "r1", "species": ""}) == "r1"


def test_traits_do_not_repeat_the_name() -> None:
    record = {"record_id": "r1", "vernacularName": "great tit", "lifeStage": "juvenile", "sex": None}
    assert list_traits(record) == "juvenile"
    assert list_traits(record | {"display_name": "Parus major"}) == "great tit · juvenile"


@pytest.mark.parametrize(
    ("record", "line"),
    [
        ({}, "licence not stated"),
        ({"license": " ", "rightsHolder": "Ada"}, "licence not stated · Ada"),
        ({"license": "CC0"}, "CC0"),
        ({"license": "CC BY 4.0", "rightsHolder": "Ada", "creator": "Bo"}, "CC BY 4.0 · Ada"),
        ({"license": "CC BY 4.0", "creator": "Bo"}, "CC BY 4.0 · Bo"),
    ],
)
def test_every_image_has_a_credit_line(record: dict[str, str], line: str) -> None:
    assert credit_record(record) == line


@pytest.mark.parametrize(
    ("licence", "short"),
    [
        ("http://creativecommons.org/licenses/by-nc/4.0/legalcode", "CC BY-NC 4.0"),
        ("https://creativecommons.org/publicdomain/zero/1.0/", "CC0 1.0"),
        ("https://creativecommons.org/publicdomain/mark/1.0/", "Public Domain Mark 1.0"),
        ("http://example.org/licenses/by/4.0", "http://example.org/licenses/by/4.0"),
    ],
)
def test_licence_addresses_are_written_as_people_write_them(licence: str, short: str) -> None:
    assert shorten_licence(licence) == short


@pytest.mark.parametrize(
    ("percentile", "said"),
    [
        (100.0, "closer than 100 %"),
        (99.999, "closer than 99.99 %"),
        (99.96, "closer than 99.96 %"),
        (99.89, "closer than 99.8 %"),
        (98.9, "closer than 98 %"),
        (0.0, "closer than 0 %"),
        (math.nan, "no scale to compare with"),
    ],
)
def test_a_percentile_is_never_rounded_up(percentile: float, said: str) -> None:
    assert say_percentile(percentile) == said


def test_the_explanation_names_what_was_compared_and_the_cosine() -> None:
    assert "random pairs of records are to each other" in explain_percentile(99.7, 0.81234, with_pairs=True)
    text = explain_percentile(99.7, 0.81234, with_pairs=False)
    assert "Closer to this question than 99.70 % of randomly drawn records." in text
    assert "Score (cosine): 0.812" in text
    assert explain_percentile(math.nan, 0.5, with_pairs=False).startswith("Score")


def test_collapsed_images_are_counted() -> None:
    assert [count_others(n) for n in (1, 2, 3)] == [
        "",
        "+1 image of this occurrence",
        "+2 images of this occurrence",
    ]


def test_exactness_is_said_plainly() -> None:
    assert say_exactness(is_exact=True, n_matching=2000, recall=1) == "exact: all 2,000 images compared"
    assert "recall@10 0.981 measured" in say_exactness(is_exact=False, n_matching=10**6, recall=0.9812)
