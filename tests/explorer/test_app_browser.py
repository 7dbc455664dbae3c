"""The app in a real browser, on squares of one colour: what is asked, what comes back, what the link keeps."""

from __future__ import annotations

import csv
import io
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest
from PIL import Image

from explorer.geometry_report.store import keep_report
from explorer.review import REVIEW_FILE
from explorer.server import CORPUS_VARIABLE, server_command
from tests.explorer.app_fixtures import HOSTILE, N_RECORDS, SHADES, add_mirrored_space, build_colour_corpus
from tests.explorer.geometry_reports import make_suspect, write_report_by_hand

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Dialog, Page

    from indexer.corpus import Corpus

pytestmark = pytest.mark.browser

CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
READY = '[data-testid="stApp"][data-test-script-state="notRunning"]'
RED, GREEN, BLUE = range(SHADES), range(SHADES, 2 * SHADES), range(2 * SHADES, 3 * SHADES)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with sync_playwright() as playwright:
        path = found or playwright.chromium.executable_path
        if not Path(path).exists():
            message = "no Chromium: install it (apt-get install chromium, or playwright install chromium)"
            if os.environ.get("CI"):
                pytest.fail(message)
            pytest.skip(message)
        opened = playwright.chromium.launch(executable_path=path, args=CHROMIUM_FLAGS)
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory, colour_encoder: str) -> Corpus:
    return build_colour_corpus(tmp_path_factory.mktemp("app"), colour_encoder)


@pytest.fixture(scope="session")
def app(browser: Browser, corpus: Corpus) -> Iterator[str]:
    """The address of the app, serving the corpus of squares."""
    with serve(corpus) as address:
        yield address


@pytest.fixture(scope="session")
def app_of_two(browser: Browser, tmp_path_factory: pytest.TempPathFactory, colour_encoder: str) -> Iterator[str]:
    """The address of the app, serving the squares in two spaces."""
    corpus = build_colour_corpus(tmp_path_factory.mktemp("two"), colour_encoder)
    add_mirrored_space(corpus)
    with serve(corpus) as address:
        yield address


@contextmanager
def serve(corpus: Corpus) -> Iterator[str]:
    """The address of a server of the app, which ends with the block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = server_command(port=port, address="127.0.0.1", open_browser=False)
    environment = {**os.environ, CORPUS_VARIABLE: str(corpus.path), "OMP_NUM_THREADS": "1"}
    log = corpus.path.with_name("server.log")
    with log.open("wb") as output:
        server = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
    try:
        _await_server(server, f"http://127.0.0.1:{port}/_stcore/health", log)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(timeout=20)


@pytest.fixture(scope="session")
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A browser whose cache the tests share; what the app remembers of a visitor is not in it."""
    with browser.new_context(accept_downloads=True) as opened:
        yield opened


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    """A new visitor; at the end nothing may have been asked of any other host, and no dialog have opened."""
    opened = context.new_page()
    opened.set_viewport_size({"width": 1400, "height": 950})
    opened.set_default_timeout(30_000)
    hosts: set[str | None] = set()
    dialogs: list[str] = []
    opened.on("request", lambda request: hosts.add(urlsplit(request.url).hostname))

    def note_dialog(dialog: Dialog) -> None:
        dialogs.append(dialog.message)
        dialog.dismiss()

    opened.on("dialog", note_dialog)
    yield opened
    opened.close()
    assert hosts - {None, ""} <= {"127.0.0.1"}
    assert dialogs == []


def test_a_text_finds_its_colour_and_more_like_this_refines_it(app: str, page: Page) -> None:
    visit(page, app)
    assert len(rows(page, "records")) == 24
    page.get_by_label("Describe what you look for").fill("a blue bird")
    page.keyboard.press("Enter")
    page.wait_for_url("**/?text=a+blue+bird")
    settle(page)
    assert set(rows(page, "hits")[:SHADES]) == set(BLUE)
    page.get_by_text(f"exact: all {N_RECORDS} images compared").wait_for()

    page.get_by_role("button", name="close").click()
    page.wait_for_url(lambda url: "text" not in url)
    settle(page)
    green = next(row for row in rows(page, "records") if row in GREEN)
    page.locator(f".st-key-more-records-{green} button").click()
    page.wait_for_url(f"**/?like=green-{green - GREEN.start}")
    settle(page)
    found = rows(page, "hits")
    assert set(found[: SHADES - 1]) == set(GREEN) - {green}

    page.locator(f".st-key-less-hits-{found[0]} button").click()
    page.wait_for_url(f"**&unlike=green-{found[0] - GREEN.start}")
    settle(page)
    assert found[0] not in rows(page, "hits")


def test_images_of_one_occurrence_share_a_card(app: str, page: Page) -> None:
    visit(page, f"{app}/?like=red-5")
    found = rows(page, "hits")
    assert len({6, 7} & set(found)) == 1
    page.get_by_text("+1 image of this occurrence").wait_for()
    visit(page, f"{app}/?like=red-5&all=1")
    assert {6, 7} <= set(rows(page, "hits"))


def test_an_uploaded_image_finds_its_colour_and_its_link_opens_the_same_search(
    app: str, page: Page, browser: Browser, tmp_path: Path
) -> None:
    square = tmp_path / "my <b>blue square.png"
    Image.new("RGB", (40, 50), (20, 20, 200)).save(square)
    visit(page, app)
    page.locator('input[type="file"]').set_input_files(square)
    page.wait_for_url("**/?image=*")
    settle(page)
    found = rows(page, "hits")
    assert set(found[:SHADES]) == set(BLUE)
    page.get_by_text("image: my <b>blue square.png", exact=True).wait_for()

    stranger = browser.new_context()
    other = stranger.new_page()
    visit(other, page.url)
    assert rows(other, "hits") == found
    stranger.close()


def test_a_lasso_selects_its_records_and_the_link_and_the_csv_keep_them(app: str, page: Page, browser: Browser) -> None:
    visit(page, f"{app}/map?text=red&k=48")
    draw_lasso_around_the_left_half(page)
    page.wait_for_url("**rows=*")
    settle(page)
    page.get_by_text(f"1 to {SHADES} of {SHADES} selected").wait_for()
    assert sorted(rows(page, "selected")) == list(RED)

    page.wait_for_timeout(500)
    assert "rows=" in page.url
    lines = download(page, "selection-csv")
    assert {line["record_id"] for line in lines} == {f"red-{shade}" for shade in RED}
    assert {line["query"] for line in lines} == {"text red"}
    assert all(0 < float(line["score"]) <= 1 and 0 <= float(line["percentile"]) <= 100 for line in lines)
    assert {line["license"] for line in lines} == {HOSTILE, "CC0", ""}

    stranger = browser.new_context()
    other = stranger.new_page()
    visit(other, page.url)
    assert sorted(rows(other, "selected")) == list(RED)
    assert drawn_rows(other) == list(RED)
    stranger.close()

    page.get_by_role("combobox", name="Colour by").click()
    page.get_by_role("option", name="similarity to the query").click()
    page.wait_for_url("**colour=*similarity*")
    settle(page)
    assert sorted(rows(page, "selected")) == list(RED)
    assert drawn_rows(page) == list(RED)

    page.get_by_role("button", name="Clear selection").click()
    page.wait_for_url(lambda url: "rows=" not in url)
    settle(page)
    assert rows(page, "selected") == []


def test_hits_are_spread_out_by_the_options_and_the_link_keeps_them(app: str, page: Page) -> None:
    visit(page, f"{app}/?text=blue&k=12")
    page.get_by_role("button", name="Options").click()
    page.get_by_role("combobox", name="Hits of one species").click()
    page.get_by_role("option", name="at most 2").click()
    page.wait_for_url("**per-species=2*")
    settle(page)
    colours = [row // SHADES for row in rows(page, "hits")]
    # The red square of another name is of a species of its own.
    assert sorted(colours) == [0, 0, 0, 1, 1, 2, 2, 3, 3]
    assert rows(page, "hits")[:2] == [16, 17]
    page.get_by_text("Only 9 hits: no more records match with at most 2 of a species").wait_for()
    page.get_by_text("Leave out near-duplicates").click()
    page.wait_for_url("**no-duplicates=1*")
    settle(page)
    assert rows(page, "hits")[:2] == [16, 20]
    page.get_by_role("slider", name="Diversity").press("ArrowRight")
    page.wait_for_url("**diverse=0.05*")
    visit(page, page.url)
    page.get_by_text("at most 2 of a species and no near-duplicates").first.wait_for()
    assert {row // SHADES for row in rows(page, "hits")} == {0, 1, 2, 3}


def test_two_spaces_are_asked_together_and_each_card_says_its_rank_in_both(app_of_two: str, page: Page) -> None:
    visit(page, f"{app_of_two}/?text=blue&k=24&all=1")
    assert set(rows(page, "hits")[:SHADES]) == set(BLUE)
    page.get_by_role("combobox", name="Spaces").click()
    page.get_by_role("option", name="mirrored").click()
    page.wait_for_url("**space=colours&space=mirrored**")
    page.keyboard.press("Escape")
    settle(page)
    assert set(rows(page, "hits")[: 2 * SHADES]) == set(BLUE) | set(GREEN)
    card = page.locator(f".st-key-card-hits-{rows(page, 'hits')[0]}")
    assert re.search(r"colours #\d+ · mirrored #\d+", card.inner_text())

    liked = rows(page, "hits")[0]
    page.locator(f".st-key-less-hits-{liked} button").click()
    page.wait_for_url("**unlike=*")
    settle(page)
    assert liked not in rows(page, "hits")
    lines = download(page, "hits-csv")
    assert {"rank_colours", "rank_mirrored"} <= set(lines[0])
    assert lines[0]["space"] == "colours + mirrored"

    page.goto(f"{app_of_two}/map?text=blue&space=mirrored&space=colours&fuse=percentile")
    page.get_by_text("24 hits, ringed on the map").wait_for()


def test_an_uploaded_image_is_asked_of_every_space(app_of_two: str, page: Page, tmp_path: Path) -> None:
    square = tmp_path / "square.png"
    Image.new("RGB", (40, 50), (20, 20, 200)).save(square)
    visit(page, f"{app_of_two}/?space=colours&space=mirrored&all=1")
    page.locator('input[type="file"]').set_input_files(square)
    page.wait_for_url("**image=*")
    settle(page)
    assert set(rows(page, "hits")[: 2 * SHADES]) == set(BLUE) | set(GREEN)
    assert page.get_by_text("image: square.png", exact=True).count() == 1


def test_filters_hold_on_every_page_and_in_the_link(app: str, page: Page) -> None:
    visit(page, app)
    page.get_by_role("combobox", name="Add filter").click()
    page.get_by_role("option", name="colour", exact=True).click()
    page.get_by_role("combobox", name="Values").click()
    page.get_by_role("option", name="green · 8").click()
    page.get_by_text("8 of 32 records match").wait_for()
    page.keyboard.press("Escape")
    page.wait_for_url("**/?is.colour=green")
    settle(page)
    assert sorted(rows(page, "records")) == list(GREEN)

    page.get_by_role("link", name="Corpus").click()
    page.wait_for_url("**/corpus?is.colour=green")
    page.get_by_text("8 of 32 records match").wait_for()
    page.go_back()
    page.wait_for_url(lambda url: "corpus" not in url)
    page.get_by_text("8 of 32 records match").wait_for()
    page.get_by_role("button", name="Clear filters").click()
    page.get_by_text("32 records", exact=True).wait_for()


def test_a_record_view_opens_and_closes_with_its_link(app: str, page: Page) -> None:
    visit(page, f"{app}/?text=green")
    page.locator(".st-key-open-hits-8 button").click()
    page.wait_for_url("**&record=green-0")
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("Quadratus greenus").first.wait_for()
    size = dialog.locator("img").evaluate("image => [image.naturalWidth, image.naturalHeight]")
    assert size == [64, 64]
    page.keyboard.press("Escape")
    page.wait_for_url(lambda url: "record" not in url)
    dialog.wait_for(state="hidden")


def test_hits_download_as_csv(app: str, page: Page) -> None:
    visit(page, f"{app}/?text=green&is.colour=green&is.colour=blue&range.shade=0~3")
    lines = download(page, "hits-csv")
    assert [line["record_id"] for line in lines[:4]] == [f"green-{shade}" for shade in range(4)]
    assert len(lines) == 8
    assert lines[0]["query"] == "text green"
    assert lines[0]["filter"] == "colour: green or blue; shade: 0 to 3"
    assert lines[0]["space"] == "colours"
    assert len(lines[0]["fingerprint"]) == 16


def test_metadata_is_shown_to_the_letter_everywhere(app: str, page: Page) -> None:
    visit(page, f"{app}/map?like=red-0&colour=label&is.label=plain&is.label={quoted(HOSTILE)}&taxon={quoted(HOSTILE)}")
    page.locator("[class*='st-key-chip']").get_by_text(f"more like: {HOSTILE}", exact=True).wait_for()
    legend = page.locator(".js-plotly-plot .legendtext")
    assert any("<script>" in text for text in legend.all_text_contents())
    point_at(page, -9, 0)
    page.wait_for_function("() => document.querySelector('.hoverlayer .hovertext')?.textContent.includes('<script>')")
    assert page.get_by_test_id("stMultiSelect").get_by_text(f"{HOSTILE} · 1").count() == 1
    assert_plain(page)

    visit(page, f"{app}/?record=red-0&taxon={quoted(HOSTILE)}&text={quoted(HOSTILE)}")
    dialog = page.get_by_role("dialog")
    assert dialog.get_by_text(HOSTILE, exact=True).count() >= 4
    page.locator("[class*='st-key-card-hits']").get_by_text(HOSTILE, exact=True).wait_for()
    page.locator("[class*='st-key-chip']").get_by_text(f"text: {HOSTILE}", exact=True).wait_for()
    assert_plain(page)

    visit(page, f"{app}/?taxon={quoted('<b>nobody</b> **x**')}")
    page.get_by_text("'<b>nobody</b> **x**'").first.wait_for()
    assert_plain(page)


def test_a_broken_link_is_said_and_the_rest_of_it_holds(app: str, page: Page) -> None:
    visit(
        page, f"{app}/?k=lots&rows=%25%25&image=x~y&range.gone=1~2&space=none&like=nobody&is.colour=red&evil=<b>1</b>"
    )
    text = page.locator(".stMain").inner_text()
    for part in ("k=lots", "selection", "image", "'gone'", "'none'", "no record has the id 'nobody'", "'evil'"):
        assert part in text
    page.get_by_text("8 of 32 records match").wait_for()
    assert page.get_by_test_id("stException").count() == 0


def test_the_corpus_page_tells_of_rejected_images_and_of_the_space(app: str, page: Page) -> None:
    visit(page, f"{app}/corpus")
    page.get_by_text("exact over 32 vectors").wait_for()
    page.get_by_text("0.987 of 1, over 15 neighbours").wait_for()
    (line,) = download(page, "rejected-csv")
    assert line["record_id"] == "broken"
    assert line["reason"]


@pytest.mark.parametrize("name", ["?text=red", "map?text=red", "corpus"])
def test_no_page_is_wider_than_the_window(app: str, page: Page, name: str) -> None:
    visit(page, f"{app}/{name}")
    for width in (1400, 800):
        page.set_viewport_size({"width": width, "height": 950})
        page.wait_for_timeout(300)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert len(page.screenshot()) > 20_000


def test_a_map_that_a_job_makes_appears_by_itself(app: str, page: Page, corpus: Corpus) -> None:
    description = corpus.open_space().map_path()
    aside = description.with_suffix(".aside")
    description.rename(aside)
    try:
        visit(page, f"{app}/map")
        page.get_by_text("The map of space colours is not there yet").wait_for()
    finally:
        aside.rename(description)
    page.locator(".js-plotly-plot .nsewdrag").first.wait_for()


def test_a_kept_report_is_drawn_on_the_page_geometry(app: str, page: Page, corpus: Corpus) -> None:
    visit(page, f"{app}/geometry")
    page.get_by_text("Nothing was measured in space colours yet").wait_for()
    keep_report(corpus.open_space(), "0" * 16, write_report_by_hand(HOSTILE))
    visit(page, f"{app}/geometry?taxon=Quadratus+blueus")
    page.get_by_text("lies apart.").first.wait_for()
    page.locator(".js-plotly-plot").nth(1).locator(".scatterlayer .point").first.wait_for()
    assert page.locator(".js-plotly-plot").count() == 2
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    assert_plain(page)
    page.get_by_role("link", name="Search").click()
    page.wait_for_url("**/?taxon=Quadratus+blueus")


def test_a_suspect_is_decided_once_and_stays_decided(app: str, page: Page, corpus: Corpus) -> None:
    red = make_suspect(subject="red-0", row=0, taxon=HOSTILE, suggestion="Quadratus greenus", evidence=(8, 9, 10))
    blue = make_suspect(subject="blue-0", row=16, taxon="Quadratus blueus", evidence=(17,), reading="It is blue.")
    report = write_report_by_hand(suspects=(red, blue))
    latest = replace(report, facts=replace(report.facts, made="2026-11-25T00:00:00+00:00"))
    kept = keep_report(corpus.open_space(), "f" * 16, latest)
    try:
        visit(page, f"{app}/review")
        page.get_by_text("0 of 2 decided").wait_for()
        page.get_by_text(f"{HOSTILE}, or Quadratus greenus?", exact=True).wait_for()
        assert page.locator("[class*='st-key-shot-'] img").count() == 6
        assert_plain(page)
        page.get_by_placeholder("Note, if you like").first.fill(HOSTILE)
        page.get_by_role("button", name="Fix").first.click()
        page.get_by_text("1 of 2 decided").wait_for()
        settle(page)
        assert page.get_by_text(f"{HOSTILE}, or Quadratus greenus?", exact=True).count() == 0

        visit(page, f"{app}/review")
        page.get_by_text("1 of 2 decided").wait_for()
        assert page.get_by_text("It is blue.").count() == 1
        assert page.locator("[class*='st-key-shot-'] img").count() == 2
        page.get_by_text("Show decided").click()
        page.get_by_text(f"UTC: {HOSTILE}").wait_for()
        settle(page)
        assert_plain(page)
        lines = download(page, "review-csv")
        assert [(line["subject"], line["verdict"], line["note"]) for line in lines] == [
            ("red-0", "fix", HOSTILE),
            ("blue-0", "", ""),
        ]
        page.get_by_role("button", name="Record", exact=True).first.click()
        page.get_by_role("dialog").get_by_text("red-0", exact=True).first.wait_for()
        page.set_viewport_size({"width": 800, "height": 950})
        assert page.evaluate("document.documentElement.scrollWidth") <= 800
    finally:
        shutil.rmtree(kept.parent)
        (corpus.path / REVIEW_FILE).unlink(missing_ok=True)


def visit(page: Page, address: str) -> None:
    page.goto(address)
    settle(page)


def settle(page: Page) -> None:
    """Wait until the script has run and everything that it sent is drawn."""
    page.wait_for_timeout(150)
    page.locator(READY).wait_for()
    page.wait_for_function("() => !document.querySelector('[data-testid=stSkeleton], [data-stale=true]')")


def rows(page: Page, gallery: str) -> list[int]:
    """The rows of the cards of a gallery, in order."""
    pattern = re.compile(rf"st-key-card-{gallery}-(\d+)")
    classes = page.locator(f"[class*='st-key-card-{gallery}-']").evaluate_all("cards => cards.map(c => c.className)")
    return [int(match[1]) for match in map(pattern.search, classes) if match]


def download(page: Page, key: str) -> list[dict[str, str]]:
    with page.expect_download() as started:
        page.locator(f".st-key-{key} button").click()
    text = Path(started.value.path()).read_text(encoding="utf-8-sig")
    return list(csv.DictReader(io.StringIO(text)))


def drawn_rows(page: Page) -> list[int]:
    """The rows that the map shows as selected."""
    found: list[int] = page.locator(".js-plotly-plot").evaluate(
        "plot => plot._fullData.flatMap(trace => (trace.selectedpoints ?? []).map(i => trace.customdata[i]))"
    )
    return sorted(found)


def draw_lasso_around_the_left_half(page: Page) -> None:
    page.locator(".js-plotly-plot .nsewdrag").first.wait_for()
    box = page.locator(".js-plotly-plot .nsewdrag").first.bounding_box()
    assert box is not None
    left, top, middle, bottom = box["x"] + 8, box["y"] + 8, box["x"] + box["width"] / 2, box["y"] + box["height"] - 8
    page.mouse.move(left, top)
    page.mouse.down()
    for x, y in ((middle, top), (middle, bottom), (left, bottom), (left, top)):
        page.mouse.move(x, y, steps=6)
    page.mouse.up()


def point_at(page: Page, x: float, y: float) -> None:
    """Move the mouse to a place of the map, given in map units."""
    where = page.locator(".js-plotly-plot").evaluate(
        "(plot, [x, y]) => { const box = plot.querySelector('.nsewdrag').getBoundingClientRect();"
        "const layout = plot._fullLayout; return [box.left + layout.xaxis.l2p(x), box.top + layout.yaxis.l2p(y)] }",
        [x, y],
    )
    page.mouse.move(where[0] - 3, where[1])
    page.mouse.move(*where, steps=3)


def quoted(text: str) -> str:
    from urllib.parse import quote

    return quote(text, safe="")


def assert_plain(page: Page) -> None:
    """Nothing of the hostile text became an element."""
    assert page.locator("b, strong, .katex, .stMarkdownColoredText").count() == 0
    addresses = page.locator("a[href], img[src]").evaluate_all("elements => elements.map(e => e.href ?? e.src)")
    assert {urlsplit(address).hostname for address in addresses} <= {None, "127.0.0.1"}
    assert page.get_by_test_id("stException").count() == 0


def _await_server(server: subprocess.Popen[bytes], health: str, log: Path) -> None:
    for _ in range(480):
        if server.poll() is not None:
            break
        try:
            with urlopen(health, timeout=1):
                return
        except (URLError, TimeoutError, ConnectionError):
            time.sleep(0.25)
    pytest.fail(f"the server did not start:\n{log.read_text()}")
