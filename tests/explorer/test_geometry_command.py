from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from explorer.cli import main
from explorer.geometry_report.settings import GeometrySettings
from tests.corpora import angles, make_vector_corpus
from tests.explorer.geometry_reports import make_planted_corpus


def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object
) -> tuple[int, str, str]:
    """The command in this process: status, output, and what it said."""
    monkeypatch.setattr(sys, "argv", ["morphospace", "geometry", *map(str, arguments)])
    with pytest.raises(SystemExit) as exit_info:
        main()
    out, err = capsys.readouterr()
    return int(exit_info.value.code or 0), out, err


def test_planted_truth_is_found_and_written_in_every_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = make_planted_corpus(tmp_path / "planted.corpus")
    traits = tmp_path / "traits.csv"
    names = sorted(set(corpus.read_columns(["species"]).column("species").to_pylist()))
    lines = [f"{name.replace(' ', '_')},{'ab'[place % 2]}" for place, name in enumerate(names[:-1])]
    traits.write_text("\n".join(["Species,song", *lines, "Genusx absent,a"]))
    asked = ("--by", "lifeStage", "--by", "sex", "--by", "beakDepth", "--by", "song", "--by", "locality")
    given = (corpus.path, *asked, "--traits", traits, "--shuffles", 39)

    code, out, said = run(monkeypatch, capsys, *given, "--format", "json")
    assert code == 0, said
    assert "within species" in said
    found = {(one["statistic"], one["column"]): one for one in json.loads(out)}
    stage, sex = found["fisher", "lifeStage"], found["fisher", "sex"]
    assert stage["low"] > 0 > sex["low"]
    assert stage["q"] <= 0.05 < sex["q"]
    assert found["species_rho", "beakDepth"]["value"] > 0.5
    assert found["variance_trait", "song"]["q"] > 0.05
    assert all(one["space"] == "given" for one in found.values())

    code, _, said = run(monkeypatch, capsys, *given, "--out", tmp_path / "report.html")
    assert code == 0
    assert "nothing is measured again" in said
    page = (tmp_path / "report.html").read_text()
    assert "Genusx" not in page
    assert names[-1] in page
    assert "locality" in page[page.index('id="unmeasured"') :]
    assert {"within.png", "within.svg", "agreement.png"} <= {p.name for p in (tmp_path / "report_plots").iterdir()}

    code, out, _ = run(monkeypatch, capsys, *given)
    assert code == 0
    assert re.search(r"^## Within species$", out, re.MULTILINE)
    assert "![" not in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--format", "html"), "a page is not written to the terminal"),
        (("--out", "report.txt"), "its ending names no format"),
        (("--format", "md", "--out", "report.json"), "would be read as json"),
        (("--by", "colour"), "neither a.corpus nor a trait table has such a column"),
        (("--where", "colour = 1"), "no column colour"),
    ],
)
def test_what_cannot_be_done_is_said(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    message: str,
) -> None:
    corpus, _ = make_vector_corpus(tmp_path / "a.corpus", angles(*range(20)))
    code, _, said = run(monkeypatch, capsys, corpus.path, *arguments)
    assert code == 2
    assert message in said


def test_the_command_of_a_report_asks_for_the_same() -> None:
    settings = GeometrySettings(columns=("sex", "life stage"), where="sex = 'm'", compare=("b",), seed=3)
    assert settings.say_command(Path("a.corpus")) == (
        "morphospace geometry a.corpus --by sex --by 'life stage' --where 'sex = '\"'\"'m'\"'\"'' --compare b --seed 3"
    )
