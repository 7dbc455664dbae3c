from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from explorer.cli import main
from tests.corpora import angles, make_vector_corpus
from tests.indexer.photographs import paint_squares

COMMANDS = (
    "index",
    "import-vectors",
    "map",
    "info",
    "check",
    "search",
    "export",
    "remove",
    "explore",
    "demo",
    "geometry",
    "train",
    "evaluate",
    "axis",
    "contrast",
    "review",
)


def morphospace(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "explorer", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=None)


def test_help_lists_every_command_and_loads_nothing_heavy() -> None:
    program = (
        "import sys; sys.argv = ['morphospace', '--help']\n"
        "from explorer.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'numpy', 'torch', 'pyarrow', 'pandas', 'lance', 'streamlit', 'faiss'} & set(sys.modules)\n"
        "print('heavy:', sorted(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "heavy: []" in done.stdout
    for name in COMMANDS:
        assert f"\n  {name} " in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_each_command_gives_an_example(command: str) -> None:
    done = morphospace(command, "--help")
    assert done.returncode == 0
    assert f"Example: morphospace {command} " in " ".join(done.stdout.split())


class Shell:
    """The command run in this process, where the libraries are loaded already."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def __call__(self, *arguments: object) -> tuple[int, str, str]:
        self._monkeypatch.setattr(sys, "argv", ["morphospace", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_info:
            main()
        out, err = self._capsys.readouterr()
        return int(exit_info.value.code or 0), out, err


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(monkeypatch, capsys)


def test_index_search_info_check_and_export_work_from_the_shell(
    tmp_path: Path, colour_encoder: str, shell: Shell
) -> None:
    source = paint_squares(tmp_path / "squares", ["red_1", "green_1", "blue_1"])
    (source / "torn.png").write_bytes(b"")
    corpus = tmp_path / "a.corpus"
    code, out, _ = shell("index", source, "--corpus", corpus, "--model", colour_encoder, "--no-map")
    assert code == 0
    assert "3 images embedded into space colour, 1 rejected, listed in" in out
    _, out, _ = shell("search", corpus, "green", "-k", 1, "--format", "json")
    assert [hit["record_id"] for hit in json.loads(out)] == ["green_1.png"]
    code, _, err = shell("search", corpus, "green", "--minus", "green", "--weight", "minus=1")
    assert (code, "cancel out" in err) == (2, True)
    _, out, _ = shell("info", corpus)
    assert "records: 3, of 3 occurrences; 3 with an image; 1 images rejected" in out
    assert "exact index of 3" in out
    assert shell("check", corpus)[0] == 0
    assert shell("export", corpus, tmp_path / "a.parquet", "--vectors", "colour")[0] == 0
    assert pq.read_table(tmp_path / "a.parquet").num_rows == 3


def test_a_broken_corpus_exits_1_with_a_list(tmp_path: Path, shell: Shell) -> None:
    corpus, space = make_vector_corpus(tmp_path / "a.corpus", angles(0, 10))
    next(space.folder.glob("index-*/vectors.npy")).write_bytes(b"rubbish")
    code, out, _ = shell("check", corpus.path)
    assert code == 1
    assert "fault: space given: index:" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["info", "nowhere.corpus"], "not a corpus"),
        (["index", "nowhere", "--corpus", "a.corpus"], "nowhere"),
        (["index", "nowhere", "--corpus", "a.corpus", "--column", "species"], "not of the form TERM=COLUMN"),
    ],
)
def test_what_cannot_be_used_is_said_without_a_traceback(arguments: list[str], message: str) -> None:
    done = morphospace(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("morphospace: ")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_search_by_record_loads_neither_pandas_nor_torch(tmp_path: Path) -> None:
    corpus, _ = make_vector_corpus(tmp_path / "a.corpus", angles(0, 10, 40))
    program = (
        f"import sys; sys.argv = ['morphospace', 'search', {str(corpus.path)!r}, '--like', 'r0', '--format', 'csv']\n"
        "from explorer.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert end.code == 0\n"
        "print('heavy:', sorted({'pandas', 'torch', 'sklearn', 'streamlit'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "\n1,1,r1,0.98" in done.stdout
    assert "heavy: []" in done.stdout
