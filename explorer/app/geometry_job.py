"""Measuring in the background: one job per space, which outlives the page that started it."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from explorer.geometry_report.settings import GeometrySettings
from indexer.corpus import Space


@dataclass(frozen=True, kw_only=True, eq=False)
class Job:
    """A run of `morphospace geometry`, and the file that holds what it says."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def is_running(self) -> bool:
        """Whether it is still at work."""
        return self.process.poll() is None

    @property
    def has_failed(self) -> bool:
        """Whether it ended without a report."""
        return self.process.poll() not in (None, 0)

    def read_last_line(self) -> str:
        """The last thing that it said; empty before the first."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").split("\n")
        return next((line for line in reversed(lines) if line.strip()), "")


@st.cache_resource
def _list_jobs() -> dict[Path, Job]:
    """The last job of each space, by the space's folder."""
    return {}


def find_job(space: Space) -> Job | None:
    """The last job of a space; None where none was started since the server began."""
    return _list_jobs().get(space.folder)


def start_job(space: Space, columns: Sequence[str]) -> None:
    """Measure the space by these columns; nothing where a job is at work on it already."""
    former = find_job(space)
    if former and former.is_running:
        return
    settings = GeometrySettings(space=space.name, columns=tuple(columns))
    log = Path(tempfile.mkstemp(prefix="morphospace-geometry-", suffix=".log")[1])
    # The report is kept in the corpus; what the command writes is not wanted here.
    command = [sys.executable, "-m", "explorer", "geometry", str(space.corpus_path), *settings.list_arguments()]
    with log.open("wb") as said:
        process = subprocess.Popen(
            [*command, "--format", "json"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said
        )
    _list_jobs()[space.folder] = Job(process=process, log=log)


def forget_job(space: Space) -> None:
    """Clear a job that ended, with its file."""
    job = _list_jobs().pop(space.folder, None)
    if job:
        job.log.unlink(missing_ok=True)
