"""Where reports are kept: `spaces/<space>/geometry/<key>/report.json`, the key made of all that a report rests on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from explorer.geometry_report.report import Report
from indexer.errors import CorpusError
from indexer.files import hash_file, read_json, write_json

if TYPE_CHECKING:
    from explorer.geometry_report.case import Place
    from explorer.geometry_report.settings import GeometrySettings
    from indexer.corpus import Space

FOLDER, FILE = "geometry", "report.json"
EDITION = 3
"""Of the statistics and of the file's form; another one makes every kept report be measured anew."""


@dataclass(frozen=True, kw_only=True)
class KeptReport:
    """A report that is kept, by its key."""

    key: str
    report: Report


def make_key(places: Sequence[Place], settings: GeometrySettings) -> str:
    """16 hex digits over the settings and the content that they speak of.

    Versions of records and vectors, removals, and the bytes of the trait table and of the tree are in it, so that a
    report that no longer holds is never found again.
    """
    from importlib.metadata import version

    said = {name: str(value) for name, value in vars(settings).items()}
    files = [hash_file(file) for file in (settings.traits, settings.tree) if file is not None]
    content = [_stamp(place) for place in places]
    text = json.dumps([EDITION, version("morphospace"), said, files, content], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def keep_report(space: Space, key: str, report: Report) -> Path:
    """Store a report in one step; its file. OSError where nothing can be written."""
    path = _path(space, key)
    write_json(path, report.to_json())
    return path


def find_report(space: Space, key: str) -> Report | None:
    """The report kept under a key; None where there is none."""
    path = _path(space, key)
    return _read(path) if path.exists() else None


def list_reports(space: Space) -> list[KeptReport]:
    """The reports of a space, the latest first."""
    files = (space.folder / FOLDER).glob(f"*/{FILE}")
    kept = [KeptReport(key=file.parent.name, report=_read(file)) for file in files]
    return sorted(kept, key=lambda one: one.report.facts.made, reverse=True)


def _path(space: Space, key: str) -> Path:
    return space.folder / FOLDER / key / FILE


def _read(path: Path) -> Report:
    stored: Mapping[str, Any] = read_json(path)
    try:
        return Report.from_json(stored)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CorpusError(
            f"{path}: not a report as this version writes it ({type(error).__name__}: {error}). Delete its folder; "
            "`morphospace geometry` makes it anew."
        ) from error


def _stamp(place: Place) -> list[str | int]:
    from indexer.vectors import open_vectors

    vectors = open_vectors(place.space)
    removed = place.corpus.removed_rows().tobytes()
    return [
        str(place.corpus.path.resolve()),
        place.space.name,
        int(place.corpus.open_records().version),
        0 if vectors is None else int(vectors.version),
        hashlib.sha256(removed).hexdigest()[:16],
    ]
