"""Mirrored, moved, lit and cropped pictures, against plain references."""

from __future__ import annotations

import numpy as np
import pytest

from indexer.preprocessing import ResizeMode, resize_pixels
from tests.training.small_datasets import square
from training.settings import DataConfig
from training.views import MAX_RATIO, N_DRAWS, View, frame_picture, make_views, show_picture

STILL = DataConfig(mirror=False, max_shift=0, light=0)


def _draw(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((n, N_DRAWS))


def _noise(height: int = 24, width: int = 24) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def _show(picture: np.ndarray, view: View) -> np.ndarray:
    out = np.empty_like(picture)
    show_picture(picture, view, out)
    return out


def test_with_every_effect_off_the_picture_stays_as_it_is() -> None:
    picture = _noise()
    for view in make_views(_draw(5), STILL, side=24):
        assert frame_picture(picture, square(size=24), view) is picture
        np.testing.assert_array_equal(_show(picture, view), picture)


def test_mirrored_and_moved_pictures_equal_a_plain_reference() -> None:
    picture, reach = _noise(), 3
    views = make_views(_draw(60), DataConfig(mirror=True, max_shift=reach / 24, light=0), side=24)
    for view in views:
        plain = picture[:, ::-1] if view.mirrored else picture
        padded = np.pad(plain, ((reach, reach), (reach, reach), (0, 0)), mode="edge")
        top, left = reach - view.rows, reach - view.columns
        np.testing.assert_array_equal(_show(picture, view), padded[top : top + 24, left : left + 24])
    assert {view.rows for view in views} == {view.columns for view in views} == set(range(-reach, reach + 1))
    assert 15 < sum(view.mirrored for view in views) < 45


def test_light_scales_every_channel_and_stops_at_white() -> None:
    picture = _noise()
    data = DataConfig(mirror=False, max_shift=0, light=0.5)
    draws = _draw(20)
    for row, view in zip(draws, make_views(draws, data, side=24), strict=True):
        light = (0.5 + row[3]) * (1 + (2 * row[4:7] - 1) / 6)
        plain = np.minimum(picture * light, 255)
        assert np.abs(_show(picture, view) - plain).max() < 0.5 + 255 / 256
    brightest = make_views(np.full((1, N_DRAWS), 1 - 1e-9), data, side=24)[0]
    assert _show(np.full((24, 24, 3), 255, np.uint8), brightest).min() == 255


def test_crops_lie_in_the_frame_and_keep_area_and_ratio() -> None:
    for view in make_views(_draw(300), DataConfig(min_crop=0.4), side=24):
        assert view.box is not None
        top, left, height, width = view.box
        assert min(top, left) >= 0
        assert max(top + height, left + width) <= 1 + 1e-12
        assert height * width >= 0.4 - 1e-12
        assert 1 / MAX_RATIO - 1e-12 <= height / width <= MAX_RATIO + 1e-12


def test_without_a_crop_a_picture_is_framed_as_at_inference() -> None:
    picture, view = _noise(40, 30), make_views(_draw(1), STILL, side=24)[0]
    for resize in ResizeMode:
        preprocessing = square(resize, 24)
        expected = resize_pixels(picture, preprocessing).transpose(1, 2, 0)
        np.testing.assert_array_equal(frame_picture(picture, preprocessing, view), expected)


@pytest.mark.parametrize("resize", list(ResizeMode))
def test_a_crop_of_nearly_everything_shows_nearly_what_inference_shows(resize: ResizeMode) -> None:
    ramp = np.linspace(0, 255, 60)[:, None] * np.ones((60, 40))
    picture = np.repeat(ramp[:, :, None], 3, axis=2).astype(np.uint8)
    view = make_views(_draw(1), DataConfig(mirror=False, max_shift=0, light=0, min_crop=0.999), side=24)[0]
    preprocessing = square(resize, 24)
    whole = resize_pixels(picture, preprocessing).transpose(1, 2, 0).astype(int)
    shown = frame_picture(picture, preprocessing, view).astype(int)
    assert np.median(np.abs(shown - whole)) <= 3


def test_a_crop_enlarges_what_it_keeps() -> None:
    picture = np.zeros((80, 80, 3), np.uint8)
    picture[30:50, 30:50] = 255
    view = View(box=(0.25, 0.25, 0.5, 0.5), rows=0, columns=0, mirrored=False, factors=None)
    shown = frame_picture(picture, square(size=16), view)
    assert (shown > 127).mean() == pytest.approx(0.25, abs=0.03)
