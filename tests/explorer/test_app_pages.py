"""The pages without a browser: what they say of corpora that lack something."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, ClassVar

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

import explorer.app
from explorer.app import geometry_job
from explorer.geometry.suspects import SuspectKind
from explorer.geometry_report.store import keep_report
from explorer.review import REVIEW_FILE, Verdict, read_decisions
from explorer.server import CORPUS_VARIABLE
from indexer.corpus import create_corpus, open_corpus
from indexer.removals import remove_records
from tests.corpora import angles, make_vector_corpus
from tests.explorer.app_fixtures import HOSTILE
from tests.explorer.geometry_reports import make_suspect, write_report_by_hand


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


PAGE = """
from explorer.app.{name}_page import show_{name}_page
from explorer.app.opened import open_app_corpus, open_spaces
from explorer.app.session import current_view, sync_view

opened = open_app_corpus()
sync_view("{name}", lambda view: (view, ()))
show_{name}_page(opened, open_spaces(opened, current_view()))
"""


def open_geometry(
    monkeypatch: pytest.MonkeyPatch, corpus: Path, params: Mapping[str, str] | None = None, *, page: str = "geometry"
) -> AppTest:
    """The page Geometry, or another one of a space, alone: AppTest cannot turn to a page that is no file."""
    monkeypatch.setenv(CORPUS_VARIABLE, str(corpus))
    app = AppTest.from_string(PAGE.format(name=page), default_timeout=60)
    for name, value in (params or {}).items():
        app.query_params[name] = value
    return app.run()


class FakeProcess:
    """A job that runs until the test ends it."""

    started: ClassVar[list[FakeProcess]] = []

    def __init__(self, command: list[str], *, stderr: IO[bytes], **_: object) -> None:
        self.command = command
        self.status: int | None = None
        stderr.write(b"within species: given\n")
        self.started.append(self)

    def poll(self) -> int | None:
        return self.status


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> list[FakeProcess]:
    FakeProcess.started.clear()
    monkeypatch.setattr("explorer.app.geometry_job.subprocess.Popen", FakeProcess)
    return FakeProcess.started


def test_geometry_that_was_not_measured_says_what_it_would_and_how(monkeypatch: pytest.MonkeyPatch, fan: Path) -> None:
    app = open_geometry(monkeypatch, fan)
    assert "Nothing was measured in space given yet" in said(app)
    assert [code.value for code in app.code] == [f"morphospace geometry {fan} --space given"]
    assert not app.exception


def test_a_kept_report_is_shown_as_it_is_kept(monkeypatch: pytest.MonkeyPatch, fan: Path) -> None:
    keep_report(open_corpus(fan).open_space(), "0" * 16, write_report_by_hand(HOSTILE))
    app = open_geometry(monkeypatch, fan, {"taxon": "Parus major"})
    assert f"{HOSTILE} lies apart." in said(app)
    assert "The records have changed since this was measured" in said(app)
    assert "The filters of the sidebar do not apply" in said(app)
    assert "2 genera are too few" in said(app)
    assert list(app.dataframe[0].value["value"]) == [0.88, 0.88]
    assert not app.exception


def test_a_report_is_measured_from_the_page(
    monkeypatch: pytest.MonkeyPatch, fan: Path, jobs: list[FakeProcess]
) -> None:
    app = open_geometry(monkeypatch, fan)
    app.multiselect(key="geometry-columns").set_value(["year"]).run()
    app.button(key="measure-geometry").click().run()
    assert "Measuring: within species: given" in said(app)
    (job,) = jobs
    assert job.command[3:] == ["geometry", str(fan), "--space", "given", "--by", "year", "--format", "json"]
    keep_report(open_corpus(fan).open_space(), "0" * 16, write_report_by_hand())
    job.status = 0
    app.run()
    assert "sex lies apart." in said(app)
    assert "Measuring" not in said(app)


def test_a_job_that_failed_says_why(monkeypatch: pytest.MonkeyPatch, fan: Path, jobs: list[FakeProcess]) -> None:
    app = open_geometry(monkeypatch, fan)
    app.button(key="measure-geometry").click().run()
    job = geometry_job.find_job(open_corpus(fan).open_space())
    assert job is not None
    job.log.write_text("morphospace: fan.corpus: 6 records are left to measure\n")
    jobs[0].status = 2
    app.run()
    assert "fan.corpus: 6 records are left to measure" in said(app)
    app.button(key="measure-geometry").click().run()
    assert len(jobs) == 2


def open_review(monkeypatch: pytest.MonkeyPatch, corpus: Path, params: Mapping[str, str] | None = None) -> AppTest:
    return open_geometry(monkeypatch, corpus, params, page="review")


def heads(app: AppTest) -> list[str]:
    """What the suspects of the page are about, each by its sentence."""
    return [text.value for text in app.text if text.value.startswith("Because")]


@pytest.fixture
def reviewed(fan: Path) -> Path:
    """The six vectors with ten suspects: six labels, two strangers, copies, and a species with an evil name."""
    labels = [make_suspect(subject=f"r{i}", row=i, evidence=(5 - i,), reading=f"Because label {i}") for i in range(6)]
    strangers = [
        make_suspect(kind=SuspectKind.STRANGER, subject=f"r{i}", row=i, reading=f"Because strange {i}") for i in (2, 3)
    ]
    copies = make_suspect(kind=SuspectKind.DUPLICATE, subject="r1 = r2", row=1, evidence=(2,), reading="Because copies")
    split = make_suspect(kind=SuspectKind.SPLIT, subject=HOSTILE, taxon=HOSTILE, reading=f"Because {HOSTILE}")
    suspects = (*labels, *strangers, copies, split)
    keep_report(open_corpus(fan).open_space(), "0" * 16, write_report_by_hand(suspects=suspects))
    return fan


def test_a_review_of_nothing_measured_says_how_to_measure(monkeypatch: pytest.MonkeyPatch, fan: Path) -> None:
    app = open_review(monkeypatch, fan)
    assert "Nothing was measured in space given yet" in said(app)
    assert [code.value for code in app.code] == [f"morphospace geometry {fan} --space given"]
    keep_report(open_corpus(fan).open_space(), "0" * 16, write_report_by_hand())
    assert "No record of this report looks wrong" in said(app.run())
    assert not app.exception


def test_suspects_are_shown_a_page_at_a_time_and_by_kind(monkeypatch: pytest.MonkeyPatch, reviewed: Path) -> None:
    app = open_review(monkeypatch, reviewed)
    assert "1 to 8 of 10 suspects" in said(app)
    assert "Parus major, or Parus minor?" in said(app)
    assert "odds 12 to 1 · r0" in said(app)
    assert [text.value for text in app.text].count("neighbour") == 6
    app.button(key="step-Next page").click().run()
    assert heads(app) == ["Because copies", f"Because {HOSTILE}"]
    assert f"{HOSTILE} in two clusters" in said(app)
    kinds = app.button_group(key="review-kinds")
    kinds.set_value([SuspectKind.STRANGER, SuspectKind.SPLIT]).run()
    assert heads(app) == ["Because strange 2", "Because strange 3", f"Because {HOSTILE}"]
    assert not app.exception


def test_a_decision_is_kept_hidden_shown_on_request_changed_and_taken_back(
    monkeypatch: pytest.MonkeyPatch, reviewed: Path
) -> None:
    app = open_review(monkeypatch, reviewed)
    name = f"{'0' * 16}-label-0"
    app.text_input(key=f"remark-{name}").set_value(f" {HOSTILE} ")
    app.button(key=f"fix-{name}").click().run()
    kept = read_decisions(open_corpus(reviewed))[SuspectKind.LABEL, "r0"]
    assert (kept.verdict, kept.note) == (Verdict.FIX, HOSTILE)
    assert "1 of 10 decided" in said(app)
    assert "r0: to be fixed." in said(app)
    assert "Because label 0" not in heads(app)

    again = open_review(monkeypatch, reviewed)
    assert "Because label 0" not in heads(again)
    again.toggle(key="review-decided").set_value(True).run()
    assert heads(again)[0] == "Because label 0"
    assert f"UTC: {HOSTILE}" in said(again)
    assert again.text_input(key=f"remark-{name}").value == HOSTILE
    again.button(key=f"keep-{name}").click().run()
    assert read_decisions(open_corpus(reviewed))[SuspectKind.LABEL, "r0"].verdict is Verdict.KEEP
    again.button(key=f"takeback-{name}").click().run()
    assert read_decisions(open_corpus(reviewed)) == {}
    assert "0 of 10 decided" in said(again)
    assert not again.exception


def test_the_last_decision_can_be_taken_back_after_it_left(monkeypatch: pytest.MonkeyPatch, reviewed: Path) -> None:
    app = open_review(monkeypatch, reviewed)
    app.button(key=f"ignore-{'0' * 16}-label-3").click().run()
    assert "Because label 3" not in heads(app)
    app.button(key="takeback").click().run()
    assert "Because label 3" in heads(app)
    assert "r3: ignored." not in said(app)


def test_when_all_is_decided_the_page_says_so(monkeypatch: pytest.MonkeyPatch, reviewed: Path) -> None:
    suspects = tuple(make_suspect(subject=f"r{i}", row=i, reading="Because") for i in range(2))
    keep_report(open_corpus(reviewed).open_space(), "0" * 16, write_report_by_hand(suspects=suspects))
    app = open_review(monkeypatch, reviewed)
    for row in range(2):
        app.button(key=f"keep-{'0' * 16}-label-{row}").click().run()
    assert "2 of 2 decided" in said(app)
    assert "All of these are decided" in said(app)


def test_the_filters_hold_for_the_review_and_removed_records_leave_it(
    monkeypatch: pytest.MonkeyPatch, reviewed: Path
) -> None:
    app = open_review(monkeypatch, reviewed, {"range.year": "1995~2005"})
    assert heads(app)[:2] == ["Because label 1", "Because label 3"]
    assert "0 of 5 decided · year: 1995 to 2005" in said(app)
    remove_records(open_corpus(reviewed), np.array([1]))
    app.run()
    assert heads(app) == ["Because label 3", "Because label 4", "Because strange 3"]
    assert not app.exception


def test_a_decision_that_cannot_be_kept_is_said(monkeypatch: pytest.MonkeyPatch, reviewed: Path) -> None:
    app = open_review(monkeypatch, reviewed)

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied", REVIEW_FILE)

    monkeypatch.setattr("explorer.review._write", refuse)
    app.button(key=f"keep-{'0' * 16}-label-0").click().run()
    assert "The decision was not kept. [Errno 13] Permission denied" in said(app)
    assert heads(app)[0] == "Because label 0"
    (reviewed / REVIEW_FILE).write_bytes(b"not parquet")
    app.run()
    assert "not the decisions that Morphospace wrote" in said(app)
    assert not app.exception


def test_the_geometry_page_points_to_the_review(monkeypatch: pytest.MonkeyPatch, reviewed: Path) -> None:
    app = open_geometry(monkeypatch, reviewed)
    assert "The page Review shows all of them" in said(app)
    assert not app.exception
