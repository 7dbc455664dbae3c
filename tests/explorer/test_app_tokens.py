from __future__ import annotations

import base64
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from explorer.tokens import SELECTION_LIMIT, image_name, pack_image, pack_rows, unpack_image, unpack_rows
from indexer.errors import QueryError


@pytest.mark.parametrize("dimension", [4, 128, 768, 1024])
def test_an_image_in_a_link_asks_in_the_direction_of_the_true_vector(dimension: int) -> None:
    vectors = np.random.default_rng(0).standard_normal((200, dimension)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    for vector in vectors:
        again = unpack_image(pack_image(vector, fingerprint="f", name="a.jpg"), fingerprint="f")
        assert np.linalg.norm(again) == pytest.approx(1, abs=1e-6)
        assert float(again @ vector) > 0.999


def test_an_image_of_768_dimensions_takes_about_a_thousand_characters() -> None:
    vector = np.random.default_rng(0).standard_normal(768).astype(np.float32)
    assert len(pack_image(vector, fingerprint="0123456789abcdef", name="a.jpg")) < 1_060


def test_an_image_keeps_its_name_whatever_that_holds() -> None:
    token = pack_image(np.ones(4, np.float32), fingerprint="f", name="a~b <i>.jpg")
    assert image_name(token) == "a~b <i>.jpg"


def test_an_image_of_another_encoder_is_refused() -> None:
    token = pack_image(np.ones(4, np.float32), fingerprint="aaaa", name="finch.jpg")
    with pytest.raises(QueryError, match=r"image finch\.jpg: .* encoder aaaa, this space with bbbb"):
        unpack_image(token, fingerprint="bbbb")


@pytest.mark.parametrize("token", ["", "f", "f~", "~AAAA~x", "f~AA AA~x", "f~é~x", "f~A~x", "f~AAAA~x", "f~~x"])
def test_a_damaged_image_is_refused(token: str) -> None:
    with pytest.raises(QueryError, match="image"):
        unpack_image(token, fingerprint="f")


@given(st.sets(st.integers(min_value=0, max_value=2**40), max_size=200))
def test_rows_come_back_ascending(rows: set[int]) -> None:
    assert unpack_rows(pack_rows(list(rows))) == tuple(sorted(rows))


def test_a_selection_of_neighbouring_rows_is_short() -> None:
    assert len(pack_rows(range(50_000, 60_000))) < 60


def test_four_thousand_scattered_rows_fit_a_link() -> None:
    rows = np.random.default_rng(0).choice(100_000, 4_000, replace=False).tolist()
    assert len(pack_rows(rows)) <= SELECTION_LIMIT


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        ("AAAA", "selection"),
        ("§", "selection"),
        (pack_rows(range(100, 200))[:-4], "selection"),
        (base64.urlsafe_b64encode(zlib.compress(b"\x80")).decode(), "inside a number"),
        (base64.urlsafe_b64encode(zlib.compress(b"\xff" * 12)).decode(), "63 bits"),
        (base64.urlsafe_b64encode(zlib.compress(b"\0" * 3_000_000)).decode(), "more than 2,000,000"),
    ],
)
def test_a_damaged_selection_is_refused(token: str, reason: str) -> None:
    with pytest.raises(QueryError, match=reason):
        unpack_rows(token)
