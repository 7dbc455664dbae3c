from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import explorer.geometry_report.measuring as measuring
from explorer.geometry.finding import Skipped
from explorer.geometry_report.case import Case, gather_samples, open_places
from explorer.geometry_report.columns import list_candidates, measure_agreement, plan_columns
from explorer.geometry_report.figures import CHANCE_NAME, NULL_NAME, draw_plot
from explorer.geometry_report.html_page import format_html
from explorer.geometry_report.markdown_page import format_markdown
from explorer.geometry_report.measuring import measure_geometry
from explorer.geometry_report.methods import METHODS, SOURCES, list_methods, list_sources
from explorer.geometry_report.pictures import SIDE, read_pictures
from explorer.geometry_report.plot_files import write_plots
from explorer.geometry_report.plots import IntervalPlot, name_plot
from explorer.geometry_report.report import Report, list_tests
from explorer.geometry_report.sections import Section, SectionResult, sort_results, summarise_tests
from explorer.geometry_report.settings import GeometrySettings
from explorer.geometry_report.store import find_report, keep_report, list_reports
from explorer.geometry_report.within_section import drop_repeats
from explorer.geometry_report.wording import find_wording, list_plots, say_interval, say_number
from indexer.corpus import Corpus
from indexer.errors import CorpusError, QueryError
from indexer.removals import remove_records
from tests.corpora import angles, make_vector_corpus
from tests.explorer.app_fixtures import build_colour_corpus
from tests.explorer.geometry_reports import (
    HOSTILE,
    make_finding,
    make_planted_corpus,
    make_suspect,
    write_report_by_hand,
)

KEYS = {"statistic", "column", "space", "value", "low", "high", "null", "chance", "p", "q", "n", "n_groups", "left_out"}


def silent(line: str) -> None:
    """Say nothing."""


def with_section(
    monkeypatch: pytest.MonkeyPatch, measure: Callable[[Case, Callable[[str], None]], SectionResult]
) -> None:
    """Let the report have one section, which costs nothing."""
    section = Section(name="within", title="Within", question="Is it?", measure=measure, summarise=summarise_tests)
    monkeypatch.setattr(measuring, "SECTIONS", (section,))


@pytest.fixture
def planted(tmp_path: Path) -> Corpus:
    return make_planted_corpus(tmp_path / "planted.corpus")


def test_a_report_comes_back_from_json_as_it_was() -> None:
    report = write_report_by_hand()
    again = Report.from_json(json.loads(json.dumps(report.to_json(), allow_nan=False)))
    assert again.to_json() == report.to_json()
    assert again.chapters[0].entries[0] == report.chapters[0].entries[0]
    assert math.isnan(again.chapters[0].plots[0].series[0].values[1])


def test_the_list_of_tests_has_a_value_or_null_for_every_key() -> None:
    first, second = list_tests(write_report_by_hand())
    assert set(first) == KEYS | {"reading"} == set(second)
    assert first["null"] == [-0.12, 0.16]
    assert (second["null"], second["p"], second["low"]) == (None, None, None)


def test_text_of_the_corpus_is_never_markup() -> None:
    report = write_report_by_hand(HOSTILE)
    page = format_html(report)
    body = page[page.index("<body>") :]
    assert "<script>alert" not in body
    assert "<b>b</b>" not in body
    assert "&lt;b&gt;b&lt;/b&gt;" in body
    assert "<b>" not in re.sub(r"\\<", "", format_markdown(report))


def test_the_page_needs_nothing_beside_it() -> None:
    page = format_html(write_report_by_hand())
    head, body = page.split("</head>", 1)
    assert head.count("<script>") == 1
    assert not re.search(r'(?:src|href)="(?!#)', body)
    assert all(f'id="{name}"' in body for name in ("within", "tests", "unmeasured", "methods", "settings"))
    assert "2 genera are too few" in body
    assert "morphospace geometry a.corpus" in body


def test_the_page_shows_the_pictures_of_suspects_small_and_with_their_credit(
    tmp_path: Path, colour_encoder: str
) -> None:
    corpus = build_colour_corpus(tmp_path, colour_encoder, with_map=False)
    suspects = tuple(
        make_suspect(row=row, subject=f"{HOSTILE}{row}", taxon=HOSTILE, evidence=tuple(range(8, 14)), reading=HOSTILE)
        for row in range(12)
    )
    report = write_report_by_hand(suspects=suspects)
    again = Report.from_json(json.loads(json.dumps(report.to_json(), allow_nan=False)))
    assert again.suspects == suspects
    pictures = read_pictures(corpus, report)
    assert set(pictures) == {*range(10), *range(8, 12)}
    image = pictures[0].image
    assert image is not None
    assert max(Image.open(BytesIO(image)).size) <= SIDE
    page = format_html(report, pictures)
    assert page.count("data:image/webp;base64,") == 10 * 5
    assert "The 10 most suspect of 12." in page
    assert "licence not stated · Ada" in page
    assert "Suspects in a table" not in page
    assert "<script>alert" not in page
    assert "<b>b</b>" not in page
    assert "Suspects in a table" in format_html(report)


def test_a_corpus_without_images_keeps_the_tables_of_suspects(tmp_path: Path) -> None:
    corpus, _ = make_vector_corpus(tmp_path / "a.corpus", angles(0, 10))
    assert read_pictures(corpus, write_report_by_hand(suspects=(make_suspect(),))) == {}
    assert read_pictures(corpus, write_report_by_hand()) == {}


def test_methods_and_sources_are_those_of_the_statistics_there() -> None:
    titles = [method.title for method in list_methods(write_report_by_hand())]
    assert titles[:2] == ["Records, intervals and nulls", "Fisher ratio of two states"]
    assert "Two spaces beside each other" not in titles
    assert any("Gu, J. et al. (2025)" in source for source in list_sources(write_report_by_hand()))
    cited = {key for method in METHODS for key in method.sources}
    assert cited == set(SOURCES)


def test_a_plot_shows_value_interval_null_and_chance() -> None:
    report = write_report_by_hand()
    intervals, lines = list_plots(report, report.chapters[0])
    figure = draw_plot(intervals)
    band, tick, points = figure.data[:3]
    assert (band.name, tick.name, points.name) == (NULL_NAME, CHANCE_NAME, "given")
    assert list(band.x) == [-0.12, 0.16, None]
    assert (points.x[0], points.error_x.array[0], points.error_x.arrayminus[0]) == pytest.approx((0.88, 0.24, 0.25))
    low, high = figure.layout.xaxis.range
    assert low < -0.12
    assert high > 1.12
    assert list(draw_plot(lines).data[0].y) == [0.5, None]


def test_every_plot_is_written_as_png_and_svg_and_the_same_each_time(tmp_path: Path) -> None:
    report = write_report_by_hand()
    plots = list_plots(report, report.chapters[0])
    files = write_plots(plots, tmp_path)
    assert [file.name for file in files] == ["within.png", "within.svg", "agreement.png", "agreement.svg"]
    with Image.open(files[0]) as picture:
        assert picture.width > 1000
    assert "Fisher ratio" in files[1].read_text()
    once = files[1].read_bytes()
    write_plots(plots, tmp_path)
    assert files[1].read_bytes() == once


def test_spaces_stand_beside_each_other_on_a_line() -> None:
    report = write_report_by_hand()
    entry = report.chapters[0].entries[0]
    other = replace(entry, finding=replace(entry.finding, space="other"))
    chapter = replace(report.chapters[0], entries=(entry, other), plots=())
    (plot,) = list_plots(report, chapter)
    assert isinstance(plot, IntervalPlot)
    assert plot.spaces == ("given", "other")
    heights = [trace.y[0] for trace in draw_plot(plot).data if trace.name in plot.spaces]
    assert heights == [-0.175, 0.175]


def test_numbers_are_said_to_three_figures() -> None:
    said = [say_number(number) for number in (0.1234, -0.5, 12.34, 1234.5, 0, math.nan)]
    assert said == ["0.123", "−0.500", "12.3", "1,234", "0", "–"]
    assert say_interval(0.1, math.nan) == "–"


def test_a_number_in_a_statistics_name_and_centring_are_put_into_words() -> None:
    assert (
        find_wording("span10_share").title
        == "Share of within-species variation in the 10 widest directions of the species"
    )
    assert find_wording("hubness_centred").unit == "centred"
    assert find_wording("something_new").title == "Something new"


def test_a_summary_counts_what_stands_out() -> None:
    report = write_report_by_hand()
    assert summarise_tests(report.entries, ()).startswith("The one test stands out")
    dull = replace(report.entries[0], q=0.4)
    assert "does not show that nothing is there" in summarise_tests([dull], ())
    assert summarise_tests([report.entries[0], dull], ()).startswith("1 of 2 tests stands out")


def test_columns_are_measured_where_they_vary() -> None:
    species = np.repeat(np.arange(12), 6)
    columns: dict[str, list[str | None]] = {
        "sex": ["m", "f"] * 36,
        "habitat": [("wood", "sea")[s % 2] for s in species],
        "depth": [str(s / 2) for s in species],
        "note": [f"n{i}" for i in range(72)],
    }
    plan = plan_columns(columns, species, are_asked=True)
    assert (plan.within, plan.between) == (("sex",), ("habitat", "depth"))
    assert [one.column for one in plan.unfit] == ["note"]
    assert plan_columns(columns, species, are_asked=False).unfit == ()


def test_agreement_is_the_mean_share_of_each_species_commonest_value() -> None:
    species = np.array([0, 0, 0, 0, 1, 1, -1])
    assert measure_agreement(["a", "a", "a", "b", "c", None, "c"], species) == pytest.approx((0.75 + 1) / 2)
    assert measure_agreement([None] * 7, species) == 0


def test_unasked_only_columns_that_look_like_variants_or_ecology_are_taken() -> None:
    assert list_candidates(["license", "habitat", "sex", "year"]) == ("sex", "habitat")


def test_contrasts_of_the_same_records_are_reported_once() -> None:
    findings = (
        make_finding(column="", statistic="span_share"),
        make_finding(column="season"),
        make_finding(column="season: breeding"),
        make_finding(column="sex", value=0.5),
    )
    kept, repeats = drop_repeats(findings)
    assert [one.column for one in kept] == ["", "season", "sex"]
    assert [(one.column, one.reason) for one in repeats] == [
        ("season: breeding", "it compares the same records as season")
    ]


def test_the_same_question_is_not_measured_twice(planted: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = []

    def measure(case: Case, announce: Callable[[str], None]) -> SectionResult:
        runs.append(len(case.main))
        return sort_results("given", [make_finding(), Skipped(statistic="rho", column="sex", reason="few")])

    with_section(monkeypatch, measure)
    settings = GeometrySettings(columns=("lifeStage", "habitat"))
    first = measure_geometry(planted, settings, silent)
    assert measure_geometry(planted, settings, silent).to_json() == first.to_json()
    assert runs == [480]
    assert first.chapters[0].entries[0].q == pytest.approx(0.005)
    assert first.unmeasured[-1].reason == "few"
    assert first.facts.n_taxa == {"family": 5, "genus": 20, "species": 60}

    measure_geometry(planted, replace(settings, seed=1), silent)
    remove_records(planted, np.arange(8))
    later = measure_geometry(planted, settings, silent)
    assert runs == [480, 480, 472]
    assert len(list_reports(planted.open_space())) == 3
    assert later.facts.n_records == 472


def test_a_kept_report_of_another_form_is_refused_in_words(planted: Corpus) -> None:
    space = planted.open_space()
    path = keep_report(space, "0" * 16, write_report_by_hand())
    assert find_report(space, "0" * 16) is not None
    path.write_text('{"facts": {}}')
    with pytest.raises(CorpusError, match="not a report as this version writes it"):
        find_report(space, "0" * 16)


def test_a_filter_leaves_records_out_and_says_how_many(planted: Corpus) -> None:
    settings = GeometrySettings(where="lifeStage = 'adult'")
    samples, left_out = gather_samples(open_places(planted, settings), ["lifeStage"], settings)
    assert set(samples[0].read_texts("lifeStage")) == {"adult"}
    assert left_out == (f"{480 - len(samples[0]):,} records do not meet the filter",)


def test_of_too_many_records_some_are_drawn_by_the_seed(planted: Corpus) -> None:
    settings = GeometrySettings()
    places = open_places(planted, settings)
    (once,), left_out = gather_samples(places, [], settings, n_most=100)
    (again,), _ = gather_samples(places, [], settings, n_most=100)
    assert len(once) == 100
    assert once.rows.tolist() == again.rows.tolist()
    assert left_out == ("380 records more than the 100 that were drawn at random",)


def test_another_corpus_is_aligned_by_record_id(planted: Corpus, tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(30, 5)).astype(np.float32)
    ids = [f"r{i}" for i in range(29, 0, -1)] + ["stranger"]
    other, _ = make_vector_corpus(tmp_path / "other.corpus", vectors, record_ids=ids)
    settings = GeometrySettings(compare=(str(other.path),))
    places = open_places(planted, settings)
    (main, theirs), left_out = gather_samples(places, [], settings)
    assert [place.label for place in places] == ["given", "other: given"]
    assert main.records.column("record_id").to_pylist() == [f"r{i}" for i in range(1, 30)]
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    assert np.allclose(theirs.vectors, unit[28::-1], atol=1e-3)
    assert left_out == ("451 records have no vector in every space that is compared",)
    assert name_plot("agreement", "other: given") == "agreement-other-given"


def test_too_few_records_are_refused_with_what_to_do(tmp_path: Path) -> None:
    corpus, _ = make_vector_corpus(tmp_path / "few.corpus", angles(0, 10, 20))
    with pytest.raises(QueryError, match="3 records are left to measure; 16 are needed"):
        measure_geometry(corpus, GeometrySettings(), silent)


def test_what_cannot_be_compared_is_refused(planted: Corpus) -> None:
    with pytest.raises(QueryError, match="neither a space of"):
        open_places(planted, GeometrySettings(compare=("nowhere",)))
    with pytest.raises(QueryError, match="measured already"):
        open_places(planted, GeometrySettings(compare=("given",)))


def test_a_column_that_is_nowhere_is_refused_with_the_nearest(planted: Corpus) -> None:
    with pytest.raises(QueryError, match="Did you mean lifeStage"):
        measure_geometry(planted, GeometrySettings(columns=("lifestage",)), silent)


def test_a_corpus_without_names_is_measured_as_far_as_it_goes(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(60, 6)).astype(np.float32)
    corpus, _ = make_vector_corpus(tmp_path / "nameless.corpus", vectors, columns={"sex": ["m", "f"] * 30})
    report = measure_geometry(corpus, GeometrySettings(n_shuffles=19), silent)
    assert "effective_dimension" in {entry.finding.statistic for entry in report.entries}
    assert {"kinship_mantel", "span_share", "agreement"} <= {one.statistic for one in report.unmeasured}
    assert all(one.reason for one in report.unmeasured)
    assert Report.from_json(json.loads(json.dumps(report.to_json()))).to_json() == report.to_json()
