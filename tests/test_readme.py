from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest
from typer.main import get_command

from explorer.cli import app

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("indexer", "training", "explorer", "benchmarks")


def command_lines() -> list[str]:
    blocks = re.findall(r"```\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    lines = [line.removeprefix(".venv/bin/") for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.startswith("morphospace ")]


@pytest.mark.parametrize("line", command_lines())
def test_each_command_in_the_readme_is_understood(line: str) -> None:
    name, *arguments = shlex.split(line, comments=True)[1:]
    command = get_command(app).commands[name]  # type: ignore[attr-defined]
    context = command.make_context(name, arguments)
    assert context.params


def test_the_tree_has_a_line_for_every_file() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    listed = subprocess.run(["git", "ls-files", *PACKAGES], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    files = [Path(file) for file in listed.splitlines()]
    names = {file.name for file in files if file.suffix == ".py" and file.name != "__init__.py"}
    missing = sorted(name for name in names if name not in text)
    assert missing == []


def test_no_figure_is_left_open() -> None:
    for file in ("README.md", "data/README.md", "data/bundled/README.md", "CHANGELOG.md"):
        assert not re.search(r"@@|TODO|TBD|XXX", (ROOT / file).read_text(encoding="utf-8"))
