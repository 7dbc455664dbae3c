from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from streamlit.testing.v1 import AppTest
from typer.testing import CliRunner

from explorer.axis_command import axis as axis_command
from explorer.axis_making import AxisRequest, find_fitted_rows, make_axis, rank_corpus, read_condition
from explorer.contrast_command import contrast as contrast_command
from explorer.geometry.axis_store import FOLDER, StoredAxis, keep_axis, list_axes, list_names, open_axis
from explorer.links import AXIS_COLOUR, fit_view, read_params, write_params
from explorer.query import AxisPart, Query, build_query
from explorer.search import Searcher
from explorer.server import CORPUS_VARIABLE
from explorer.viewstate import View
from indexer.corpus import Corpus, Space
from indexer.errors import CorpusError, InputError, QueryError
from indexer.files import publish
from tests.corpora import angles, make_vector_corpus
from tests.explorer.app_fixtures import build_colour_corpus

N_SPECIES, N_EACH = 6, 8


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory, colour_encoder: str) -> Corpus:
    return build_colour_corpus(tmp_path_factory.mktemp("axes"), colour_encoder)


@pytest.fixture(scope="module")
def sexes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Corpus, Space]:
    """Six species in one plane; males lie along the third dimension, and the fourth is noise."""
    rng = np.random.default_rng(0)
    species = np.repeat(np.arange(N_SPECIES), N_EACH)
    is_male = np.tile([0, 1], len(species) // 2)
    turns = 2 * np.pi * species / N_SPECIES
    vectors = np.column_stack([np.cos(turns), np.sin(turns), 0.8 * is_male, 0.2 * rng.normal(size=len(species))])
    vectors[:, :2] += 0.1 * rng.normal(size=(len(species), 2))
    columns: dict[str, Sequence[object]] = {
        "species": [f"Avis s{one}" for one in species],
        "genus": ["Avis"] * len(species),
        "sex": ["male" if one else "female" for one in is_male],
        "mass": [float(10 + 5 * one) for one in is_male],
    }
    return make_vector_corpus(
        tmp_path_factory.mktemp("sexes") / "birds.corpus", vectors.astype(np.float32), columns=columns
    )


def refuse_texts(texts: Sequence[str]) -> np.ndarray:
    raise AssertionError(f"no text is asked: {texts}")


def make(corpus: Corpus, space: Space, request: AxisRequest) -> StoredAxis:
    return make_axis(corpus, space, request, refuse_texts)


MALENESS = AxisRequest(name="maleness", start="sex=female", end="sex=male", n_shuffles=19)


def test_an_axis_of_two_groups_leads_from_one_to_the_other_and_says_how_far_it_holds(
    sexes: tuple[Corpus, Space],
) -> None:
    made = make(*sexes, MALENESS)
    assert abs(made.direction[2]) > 0.95
    assert made.level == "species"
    area, between = made.findings
    assert (area.statistic, area.value, area.space) == ("axis_auc", 1, "given")
    assert (between.statistic, between.value) == ("axis_between_species", 0)
    ranked = rank_corpus(*sexes, made)
    is_male = np.tile([0, 1], N_SPECIES * N_EACH // 2) == 1
    assert ranked.ranking.residuals[is_male].min() > 0 > ranked.ranking.residuals[~is_male].max()
    assert ranked.ranking.positions.mean() == pytest.approx(0, abs=1e-4)


def test_a_kept_axis_is_read_back_as_it_was(sexes: tuple[Corpus, Space]) -> None:
    corpus, space = sexes
    made = make(corpus, space, replace(MALENESS, name="kept"))
    path = keep_axis(space, made)
    assert path.parent.name == FOLDER
    found = open_axis(space, "kept")
    assert found.digest == made.digest
    assert found.findings[0].reading == made.findings[0].reading
    assert np.isnan(found.findings[1].p)
    assert found.describe() == "kept (from 'sex=female', to 'sex=male'; inside species)"
    with pytest.raises(QueryError, match="has one of that name already"):
        keep_axis(space, made)
    keep_axis(space, replace(made, origin=0.5), is_replaced=True)
    assert open_axis(space, "kept").origin == 0.5
    path.unlink()


def test_an_axis_that_was_changed_by_hand_is_refused(sexes: tuple[Corpus, Space]) -> None:
    corpus, space = sexes
    path = keep_axis(space, make(corpus, space, replace(MALENESS, name="changed")))
    stored = json.loads(path.read_text())
    path.write_text(json.dumps(stored | {"direction": [1.0, 0, 0, 0]}))
    with pytest.raises(CorpusError, match="its digest is not that of its contents"):
        open_axis(space, "changed")
    path.write_text(json.dumps(stored | {"format": 9}))
    with pytest.raises(CorpusError, match="format 9; 1 is known"):
        open_axis(space, "changed")
    path.write_text(json.dumps({"name": "changed"}))
    with pytest.raises(CorpusError, match="not an axis as this version writes it"):
        open_axis(space, "changed")
    path.unlink()


def test_an_axis_of_other_vectors_and_one_that_is_not_there_are_refused(
    sexes: tuple[Corpus, Space], colours: Corpus
) -> None:
    corpus, space = sexes
    made = make(corpus, space, replace(MALENESS, name="moved"))
    other = colours.open_space()
    keep_axis(other, made)
    with pytest.raises(QueryError, match="Make the axis again, with --replace"):
        open_axis(other, "moved")
    (other.folder / FOLDER / "moved.json").unlink()
    keep_axis(space, made)
    with pytest.raises(QueryError, match="has no such axis; there is moved"):
        open_axis(space, "beak")
    with pytest.raises(QueryError, match="not a usable name"):
        open_axis(space, "../moved")
    assert [each.name for each in list_axes(space)] == list_names(space) == ["moved"]
    (space.folder / FOLDER / "moved.json").unlink()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "nothing to make it from"),
        ({"start": "sex=male"}, "--from and --to go together"),
        ({"minus": ("r1",)}, "--minus needs --plus"),
        ({"plus": ("r1",), "texts": ("a", "b")}, "Leave one out"),
    ],
)
def test_a_request_that_does_not_fit_together_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(QueryError, match=message):
        AxisRequest(name="x", **options)  # type: ignore[arg-type]


def test_groups_that_share_records_or_have_none_are_refused(sexes: tuple[Corpus, Space]) -> None:
    with pytest.raises(QueryError, match="24 records meet both"):
        make(*sexes, replace(MALENESS, start="mass > 0"))
    with pytest.raises(QueryError, match="no record of space 'given' meets it"):
        make(*sexes, replace(MALENESS, end="sex=juvenile"))


def test_a_condition_is_a_column_and_its_value_or_sql() -> None:
    assert read_condition("sex=male", ["sex"]).conditions[0].values == ("male",)
    assert read_condition("locality = Rio Napo", ["locality"]).conditions[0].values == ("Rio Napo",)
    assert read_condition("sex = 'male'", ["sex"]).where == "sex = 'male'"
    assert read_condition("year >= 2010", ["year"]).where == "year >= 2010"


def test_an_axis_of_examples_leads_to_those_of_the_upper_end(sexes: tuple[Corpus, Space]) -> None:
    corpus, space = sexes
    request = AxisRequest(name="x", plus=("r1", "r11", "r21"), minus=("r0", "r10", "r20"), n_shuffles=19)
    made = make(corpus, space, request)
    assert made.findings[0].statistic == "axis_auc"
    assert "says that they differ, not why" in made.findings[0].reading
    alone = make(corpus, space, replace(request, minus=()))
    assert alone.skipped[0].reason.startswith("examples of one end alone")
    np.testing.assert_array_equal(find_fitted_rows(corpus, made), [0, 1, 10, 11, 20, 21])
    with pytest.raises(QueryError, match="'r1' stands at both ends"):
        make(corpus, space, replace(request, minus=("r1",)))


def test_texts_make_an_axis_that_is_judged_on_groups(sexes: tuple[Corpus, Space]) -> None:
    def encode(texts: Sequence[str]) -> np.ndarray:
        assert list(texts) == ["a photo of male.", "a photo of female."]
        return np.array([[0.6, 0, 0.8, 0], [0.6, 0, -0.8, 0]], np.float32)

    request = replace(MALENESS, texts=("male", "female"), template="a photo of {}.")
    made = make_axis(*sexes, request, encode)
    assert made.direction == (0, 0, 1, 0)
    assert made.findings[0].value == 1
    assert made.findings[0].reading.startswith("The axis, in which these groups had no part,")
    assert made.made_from["template"] == "a photo of {}."
    assert len(find_fitted_rows(sexes[0], made)) == 0


def test_the_words_of_an_axis_are_encoded_by_the_encoder_of_the_space(colours: Corpus) -> None:
    space = colours.open_space()
    searcher = Searcher(colours, space, device="cpu")
    request = AxisRequest(name="red", texts=("red", "blue"), start="colour=blue", end="colour=red", n_shuffles=19)
    made = make_axis(colours, space, request, lambda texts: searcher.encoder.encode_texts(list(texts)))
    ranked = rank_corpus(colours, space, made)
    labels = np.array(colours.read_columns(["colour"]).column("colour").to_pylist())
    positions = {colour: ranked.ranking.positions[labels == colour].mean() for colour in set(labels)}
    assert positions["red"] > 0.5 > -0.5 > positions["blue"]
    # One species of either colour: what sets the colours apart cannot be told from what sets the species apart.
    assert made.skipped[0].reason.startswith("the groups have 1 and 1 species")
    with pytest.raises(QueryError, match="both ends have the same vector"):
        make_axis(colours, space, replace(request, texts=("red", "red")), lambda texts: np.ones((2, 4), np.float32))


@pytest.fixture
def turned(tmp_path: Path) -> tuple[Corpus, Space]:
    """Records in a plane, and the axis `up` from 0 to 90 degrees."""
    corpus, space = make_vector_corpus(tmp_path / "plane.corpus", angles(0, 30, 60, 90, 180))
    up = StoredAxis(
        name="up",
        space=space.name,
        fingerprint=None,
        direction=(0.0, 1.0),
        origin=0.0,
        spread=1.0,
        level="",
        made_from={"plus": ["r3"]},
        n_records=5,
        created="",
        created_with={},
    )
    keep_axis(space, up)
    return corpus, space


def show_map() -> None:
    from explorer.app.map_page import show_map_page
    from explorer.app.opened import open_app_corpus
    from explorer.app.session import sync_view

    opened = open_app_corpus()
    sync_view("map", lambda view: (view, ()))
    show_map_page(opened, [opened.corpus.open_space()])


def open_map_page(colour: str) -> AppTest:
    app = AppTest.from_function(show_map, default_timeout=60)
    app.query_params["colour"] = colour
    return app.run()


def test_an_axis_colours_the_map_by_position(turned: tuple[Corpus, Space], monkeypatch: pytest.MonkeyPatch) -> None:
    corpus, space = turned
    facts = {"method": "umap", "umap_learn": "by hand", "n": 5, "n_neighbors_used": 4, "min_dist": 0.1, "seed": 7}
    facts |= {"metric": "cosine", "trustworthiness": 1.0, "trustworthiness_neighbors": 2, "vectors_version": 1}
    table = pa.table({"row": range(5), "x": np.arange(5, dtype=np.float32), "y": np.zeros(5, np.float32)})
    publish(space.map_path(), "coordinates", ".parquet", lambda path: pq.write_table(table, path), facts)
    monkeypatch.setenv(CORPUS_VARIABLE, str(corpus.path))
    app = open_map_page(f"{AXIS_COLOUR}up")
    assert not app.exception
    assert app.selectbox(key="colour").value == f"{AXIS_COLOUR}up"
    assert "axis up" in app.selectbox(key="colour").options
    (chart,) = app.get("plotly_chart")
    assert '"title":{"text":"up"}' in chart.proto.spec
    gone = open_map_page(f"{AXIS_COLOUR}down")
    assert not gone.exception
    assert any("has no axis down to colour by" in text.value for text in gone.text)


def test_a_link_keeps_the_axis_that_colours_the_map() -> None:
    view, problems = read_params(write_params(View(colour=f"{AXIS_COLOUR}up")))
    fitted, unfit = fit_view(view, columns={}, spaces=["given"], n_rows=5)
    assert (fitted.colour, problems, unfit) == (f"{AXIS_COLOUR}up", (), ())


def ask(corpus: Corpus, space: Space, query: Query, k: int = 2) -> list[str]:
    return [hit.record_id for hit in Searcher(corpus, space).search(query, k=k).hits]


def test_searching_an_axis_alone_gives_its_ends(turned: tuple[Corpus, Space]) -> None:
    assert ask(*turned, build_query(axes=["up"])) == ["r3", "r2"]
    assert set(ask(*turned, build_query(axes=["up:-1"]))) == {"r0", "r4"}
    hit = Searcher(*turned).search(build_query(axes=["up"]), k=1).hits[0]
    assert hit.score == pytest.approx(1, abs=1e-3)


def test_searching_a_record_and_an_axis_moves_along_it(turned: tuple[Corpus, Space]) -> None:
    # 0.75 of r0 and 0.43 up point to 30 degrees.
    assert ask(*turned, build_query(like=["r0"], axes=["up:0.43"]), k=1) == ["r1"]
    assert ask(*turned, build_query(like=["r0"], axes=["up:1.3"]), k=1) == ["r2"]


def test_an_axis_is_searched_as_texts_are_and_needs_no_encoder() -> None:
    query = build_query(axes=["up:-0.5"])
    assert query.parts == (AxisPart(name="up", weight=-0.5),)
    assert query.modality == "text"
    assert not query.needs_encoder
    assert not query.compares_with_pairs
    assert query.describe() == "-0.5 axis up"


@pytest.mark.parametrize("given", ["", ":1", "up:", "up:x", "up:0", "up:inf", "up:nan"])
def test_an_axis_that_cannot_be_read_is_refused(given: str) -> None:
    with pytest.raises(QueryError, match="not of the form NAME or NAME:WEIGHT"):
        build_query(axes=[given])


def test_an_unknown_axis_is_refused_by_name(turned: tuple[Corpus, Space]) -> None:
    with pytest.raises(QueryError, match="has no such axis; there is up"):
        ask(*turned, build_query(axes=["down"]))


app = typer.Typer()
app.command("axis")(axis_command)
app.command("contrast")(contrast_command)


def run(*arguments: object) -> str:
    done = CliRunner().invoke(app, [str(each) for each in arguments])
    if isinstance(done.exception, InputError):
        raise done.exception
    assert done.exit_code == 0, (done.output, done.exception)
    return done.output


def test_the_command_makes_lists_shows_and_writes_an_axis(colours: Corpus, tmp_path: Path) -> None:
    path, space = colours.path, colours.open_space()
    assert "has no axis yet" in run("axis", path, "--list")
    made = run("axis", path, "red", "--from", "colour=blue", "--to", "colour=red", "--shuffles", 19)
    assert "red (from 'colour=blue', to 'colour=red'" in made
    assert run("axis", path, "--list").startswith("red (from")
    page, table, parquet = (tmp_path / f"red.{ending}" for ending in ("html", "csv", "parquet"))
    shown = run("axis", path, "red", "--show", "--out", page)
    assert "  100 %  " in shown
    for out in (table, parquet):
        run("axis", path, "red", "--show", "--within-species", "--out", out)
    text = page.read_text()
    assert text.count("data:image/webp") == 21
    assert "<script>" not in text
    lines = list(csv.DictReader(table.read_text().splitlines()))
    assert list(lines[0]) == ["row", "record_id", "position", "within_species", "percentile"]
    assert len(lines) == pq.read_table(parquet).num_rows == 32
    (space.folder / FOLDER / "red.json").unlink()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give a name, or --list"),
        (("x",), "nothing to make it from"),
        (("x", "--show"), "has no such axis"),
        (("x", "--show", "--plus", "r"), "leave out what it would be made from"),
        (("x", "--plus", "r", "--out", "x.txt"), "use .csv, .parquet, .html"),
        (("x", "--plus", "r", "--inside", "kingdom"), "use species, genus, family, none"),
    ],
)
def test_a_command_that_does_not_fit_together_is_refused(
    colours: Corpus, arguments: tuple[str, ...], message: str
) -> None:
    with pytest.raises(QueryError, match=message):
        run("axis", colours.path, *arguments)


def test_a_contrast_names_columns_axes_phrases_and_pairs(colours: Corpus, tmp_path: Path) -> None:
    space = colours.open_space()
    run("axis", colours.path, "warm", "--texts", "red", "blue")
    run("axis", colours.path, "fitted", "--from", "colour=green", "--to", "colour=red", "--shuffles", 19)
    out = tmp_path / "contrast.json"
    phrases = tmp_path / "phrases.txt"
    phrases.write_text("red\n\ngreen\n")
    output = run(
        *("contrast", colours.path, "--a", "colour=green", "--b", "colour=red", "--phrases", phrases),
        *("--phrase", "blue", "--out", out, "--shuffles", 19),
    )
    found = json.loads(out.read_text())
    by_name = {one["name"]: one for one in found["separations"]}
    assert by_name["red"]["value"] == 1
    assert by_name["green"]["value"] == -1
    assert by_name["warm"]["kind"] == "axis"
    # Fitted on these very records, it has nothing to say of them.
    assert "fitted" in {one["column"] for one in found["skipped"]}
    assert found["findings"][0]["value"] == 1
    assert {"first", "second", "score", "percentile"} == set(found["pairs"][0])
    assert "pair: green-" in output
    for name in ("warm", "fitted"):
        (space.folder / FOLDER / f"{name}.json").unlink()


def test_a_contrast_with_an_unknown_column_or_match_is_refused(colours: Corpus) -> None:
    sets = ("contrast", colours.path, "--a", "colour=green", "--b", "colour=red")
    with pytest.raises(QueryError, match="'size': the records have no such column"):
        run(*sets, "--column", "size")
    with pytest.raises(QueryError, match="use any, same-species, other-species"):
        run(*sets, "--match", "relatives")
    with pytest.raises(InputError, match="not readable as text"):
        run(*sets, "--phrases", colours.path)
