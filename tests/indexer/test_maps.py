from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from indexer.errors import CorpusError
from indexer.maps import MapSettings, has_current_map, load_map, make_map
from tests.corpora import angles, make_vector_corpus


def silent(line: str) -> None:
    """Hear nothing."""


def test_two_groups_lie_apart_on_the_map_and_one_seed_gives_one_map(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    centres = np.repeat(np.eye(2, 6), 60, axis=0)
    vectors = (centres + 0.05 * rng.standard_normal((120, 6))).astype(np.float32)
    _, space = make_vector_corpus(tmp_path / "m.corpus", vectors)
    assert not has_current_map(space)
    assert make_map(space, announce=silent, settings=MapSettings(seed=3))
    first = load_map(space)
    assert has_current_map(space)
    assert first.rows.tolist() == list(range(120))
    gap = np.linalg.norm(first.positions[:60].mean(0) - first.positions[60:].mean(0))
    spread = first.positions[:60].std(0).max()
    assert gap > 3 * spread
    assert first.facts["trustworthiness"] > 0.8
    assert first.facts["seed"] == 3
    make_map(space, announce=silent, settings=MapSettings(seed=3))
    np.testing.assert_array_equal(load_map(space).positions, first.positions)


def test_equal_vectors_do_not_break_the_map(tmp_path: Path) -> None:
    vectors = np.concatenate([angles(*[10] * 40), angles(*range(100, 140))])
    _, space = make_vector_corpus(tmp_path / "e.corpus", vectors)
    assert make_map(space, announce=silent)
    assert np.isfinite(load_map(space).positions).all()


def test_too_few_vectors_make_no_map_and_say_so(tmp_path: Path) -> None:
    _, space = make_vector_corpus(tmp_path / "f.corpus", angles(0, 1, 2))
    heard: list[str] = []
    assert not make_map(space, announce=heard.append)
    assert heard == ["map of given: not made, because 3 vectors are fewer than 10"]
    assert has_current_map(space)


def test_a_missing_map_names_the_command_that_makes_it(tmp_path: Path) -> None:
    _, space = make_vector_corpus(tmp_path / "g.corpus", angles(*range(20)))
    with pytest.raises(CorpusError, match=r"morphospace map .*g\.corpus"):
        load_map(space)
