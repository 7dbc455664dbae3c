"""The pages without a browser: what they say of corpora that lack something."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

import explorer.app
from explorer.server import CORPUS_VARIABLE
from indexer.corpus import create_corpus, open_corpus
from indexer.removals import remove_records
from tests.corpora import angles, make_vector_corpus


def open_page(
    monkeypatch: pytest.MonkeyPatch, corpus: Path | None, page: str = "", params: Mapping[str, str] | None = None
) -> AppTest:
    """The app as it draws itself for a new visitor of that page."""
    if corpus is None:
        monkeypatch.delenv(CORPUS_VARIABLE, raising=False)
    else:
        monkeypatch.setenv(CORPUS_VARIABLE, str(corpus))
    app = AppTest.from_file(str(Path(explorer.app.__file__).with_name("main.py")), default_timeout=60)
    for name, value in (params or {}).items():
        app.query_params[name] = value
    if page:
        app.switch_page(page)
    return app.run()


def said(app: AppTest) -> str:
    return "\n".join(text.value for text in app.text)


def link(app: AppTest) -> dict[str, str]:
    """The parameters of the address, which AppTest gives as a list or, where it is of one, as its text."""
    return {name: value if isinstance(value, str) else "|".join(value) for name, value in app.query_params.items()}


@pytest.fixture
def fan(tmp_path: Path) -> Path:
    """Six imported vectors without images, encoder or map."""
    columns: dict[str, Sequence[Any]] = {
        "scientificName": ["Parus major", "Parus ater", "Turdus merula", None, "Turdus merula", "Parus major"],
        "year": [1990, 1995, None, 2000, 2005, 2010],
        "captive": [True, False, None, False, False, True],
    }
    corpus, _ = make_vector_corpus(
        tmp_path / "fan.corpus",
        angles(0, 10, 20, 40, 80, 160),
        columns=columns,
        occurrence_ids=["a", "b", "b", "c", "d", "e"],
    )
    return corpus.path


def test_a_space_without_an_encoder_is_asked_by_record_and_says_so(monkeypatch: pytest.MonkeyPatch, fan: Path) -> None:
    app = open_page(monkeypatch, fan)
    assert "words and new images cannot be compared" in said(app)
    assert app.text_input[0].disabled
    app.button(key="more-records-0").click().run()
    assert not app.exception
    assert link(app)["like"] == "r0"
    assert "exact: all 6 images compared" in said(app)
    assert "+1 image of this occurrence" in said(app)
    assert [text.value for text in app.text if text.value == "Parus ater"] == ["Parus ater"]


def test_a_text_for_a_space_without_an_encoder_is_refused_in_words(monkeypatch: pytest.MonkeyPatch, fan: Path) -> None:
    app = open_page(monkeypatch, fan, params={"text": "a bird"})
    assert "imported without naming their model" in said(app)
    assert not app.exception


def test_a_booleans_values_can_be_filtered(monkeypatch: pytest.MonkeyPatch, fan: Path) -> None:
    app = open_page(monkeypatch, fan, params={"is.captive": "true"})
    assert "2 of 6 records match" in said(app)
    assert app.multiselect[0].options == ["false · 3", "true · 2", "(missing) · 1"]


def test_a_range_keeps_records_without_a_number_on_request(monkeypatch: pytest.MonkeyPatch, fan: Path) -> None:
    app = open_page(monkeypatch, fan, params={"range.year": "1995~2005"})
    assert "3 of 6 records match" in said(app)
    assert app.slider(key="range-year").value == (1995, 2005)
    app.checkbox(key="missing-year").check().run()
    assert "4 of 6 records match" in said(app)
    app.slider(key="range-year").set_range(1990, 2005).run()
    assert "5 of 6 records match" in said(app)
    assert link(app)["range.year"] == "~2005.0~missing"


def test_a_column_of_measures_is_held_to_fractions(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    columns: dict[str, Sequence[Any]] = {"beakDepth": [10.0, 10.5, 12.0], "year": [2000, 2001, 2001]}
    corpus, _ = make_vector_corpus(tmp_path / "beaks.corpus", angles(0, 10, 20), columns=columns)
    app = open_page(monkeypatch, corpus.path, params={"range.beakDepth": "10.5~", "range.year": "~"})
    depth, year = app.slider(key="range-beakDepth"), app.slider(key="range-year")
    assert depth.value == (10.5, 12.0)
    assert isinstance(depth.step, float)
    assert (year.value, year.step) == ((2000, 2001), 1)
    assert "2 of 3 records match" in said(app)


def test_a_column_of_huge_numbers_can_be_filtered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    columns: dict[str, Sequence[Any]] = {"key": [1, 2**60, None]}
    corpus, _ = make_vector_corpus(tmp_path / "huge.corpus", angles(0, 10, 20), columns=columns)
    app = open_page(monkeypatch, corpus.path, params={"range.key": "2~"})
    assert not app.exception
    assert "1 of 3 records match" in said(app)


def test_a_sum_of_records_is_compared_with_random_records(monkeypatch: pytest.MonkeyPatch, fan: Path) -> None:
    def explained(params: Mapping[str, str]) -> str:
        return "".join(text.help or "" for text in open_page(monkeypatch, fan, params=params).text)

    assert "random pairs of records are to each other" in explained({"like": "r0"})
    assert "of randomly drawn records" in explained({"like": "r0", "unlike": "r5"})


def test_a_taxon_can_be_named_at_any_rank(monkeypatch: pytest.MonkeyPatch, fan: Path) -> None:
    app = open_page(monkeypatch, fan, params={"taxon": "turdus merula"})
    assert "2 of 6 records match" in said(app)


def test_an_unknown_taxon_names_the_nearest(monkeypatch: pytest.MonkeyPatch, fan: Path) -> None:
    app = open_page(monkeypatch, fan, params={"taxon": "Parus majr"})
    assert "Did you mean Parus major" in said(app)


def test_a_part_of_the_query_can_be_removed(monkeypatch: pytest.MonkeyPatch, fan: Path) -> None:
    app = open_page(monkeypatch, fan, params={"like": "r0", "unlike": "r5"})
    chips = [button for button in app.button if (button.key or "").startswith("drop-")]
    chips[0].click().run()
    assert "it only says what to keep away from" in said(app)
    assert link(app)["unlike"] == "r5"
    assert "like" not in link(app)


def test_a_record_view_tells_everything(monkeypatch: pytest.MonkeyPatch, fan: Path) -> None:
    app = open_page(monkeypatch, fan, params={"record": "r3"})
    assert "This record has no image here" in said(app)
    assert "2000" in [text.value for text in app.text]
    assert not app.exception


def test_a_record_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch, fan: Path) -> None:
    app = open_page(monkeypatch, fan, params={"record": "r99"})
    assert "no record has the id 'r99'" in said(app)


def test_paging_goes_on_and_back(monkeypatch: pytest.MonkeyPatch, fan: Path) -> None:
    app = open_page(monkeypatch, fan, params={"k": "4"})
    assert "1 to 4 of 6 records" in said(app)
    app.button(key="step-Next page").click().run()
    assert "5 to 6 of 6 records" in said(app)
    assert link(app)["from"] == "4"
    app.button(key="step-Previous page").click().run()
    assert "from" not in link(app)


def test_an_approximate_index_says_its_recall(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    corpus, _ = make_vector_corpus(tmp_path / "ivf.corpus", angles(*np.arange(0, 180, 0.1)), exact_up_to=50)
    app = open_page(monkeypatch, corpus.path, params={"like": "r0", "k": "4"})
    assert "approximate: recall@10" in said(app)


def test_without_a_corpus_the_app_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert "morphospace explore CORPUS" in said(open_page(monkeypatch, None))
    assert "not a corpus" in said(open_page(monkeypatch, tmp_path))
    assert "no record is stored yet" in said(open_page(monkeypatch, create_corpus(tmp_path / "new.corpus").path))


def test_a_column_of_many_names_can_be_filtered_by_a_link(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    columns = {"locality": [f"place {i}" for i in range(120)]}
    corpus, _ = make_vector_corpus(tmp_path / "many.corpus", angles(*range(120)), columns=columns)
    app = open_page(monkeypatch, corpus.path, params={"is.locality": "place 7"})
    assert "1 of 120 records match" in said(app)
    assert not app.exception


def test_words_that_look_like_code_are_only_words(monkeypatch: pytest.MonkeyPatch, fan: Path) -> None:
    params = {"like": "r0' OR '1'='1", "record": "x'; --", "taxon": "' OR 1=1 --", "is.captive": "') OR ('1'='1"}
    app = open_page(monkeypatch, fan, params=params)
    assert 'no record has the id "x\'; --"' in said(app)
    assert "0 of 6 records match" in said(app) or "cannot be applied" in said(app)
    assert not app.exception


def test_a_removed_record_leaves_every_page_of_a_running_app(monkeypatch: pytest.MonkeyPatch, fan: Path) -> None:
    app = open_page(monkeypatch, fan, params={"like": "r0", "record": "r1"})
    assert "exact: all 6 images compared" in said(app)
    remove_records(open_corpus(fan), np.array([1, 2]))
    app.run()
    assert "exact: all 4 images compared" in said(app)
    assert "'r1' was removed" in said(app)
    assert "Parus ater" not in said(app)
    assert "4 records" in said(app)
    assert not app.exception
