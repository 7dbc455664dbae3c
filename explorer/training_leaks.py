"""Which encoders on trial have learned from the very pictures that they are judged on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from indexer.model_names import BUNDLED
from training.judge.figures import Omission
from training.run_folder import RunFolder
from training.settings import SYNTHETIC

if TYPE_CHECKING:
    import pyarrow as pa

    from explorer.evaluation_target import Target
    from training.settings import TrainingConfig

ENCODER = "encoder"
DIGEST = "sha256"


def list_leaks(target: Target, encoders: Mapping[str, str], on: Path) -> list[Omission]:
    """A note for each encoder trained on pictures of the target, and one on those whose training is not known.

    The run that made an encoder is looked at, the run that this one started from, and so on. A picture was learned from
    where its id was, in a run on the same source: a corpus at the same place, the same tars, or the synthetic tree; or
    where a picture with the same bytes was, in a run on any corpus that is still there.

    Args:
        target: The pictures to be judged on.
        encoders: By their names in tables: runs, exported encoders, or any name that `--model` takes.
        on: Where the target was read from: a corpus, a run, or a folder or table of images.
    """
    place, n_all = _find_place(on), target.records.num_rows
    notes, unknown = [], []
    for label, name in encoders.items():
        runs = list(_follow_runs(name))
        n_known = len(set().union(*(_find_learned(run, target.records, place) for run in runs)))
        if n_known:
            where = ", ".join(str(run.path) for run in runs)
            why = f"its figures are too good ({where}); a run is judged on pictures it was not shown by --on RUN"
            notes.append(Omission(what=f"{label} was trained on {n_known:,} of these {n_all:,} pictures", why=why))
        origin = _find_origin(name, runs)
        # The bundled encoder has learned from drawings alone.
        if origin is not None and (origin != BUNDLED or place == SYNTHETIC):
            unknown.append(label if not runs else f"{label} (started from {origin})")
    if unknown:
        why = "not known here; if these pictures are among them, its figures are too good"
        notes.append(Omission(what=f"Training pictures of {', '.join(unknown)}", why=why))
    return notes


def find_run(name: str) -> RunFolder | None:
    """The run behind an encoder's name: its folder, or the folder `encoder` that it exported; None for others."""
    path = Path(name.removeprefix("local-dir:")).expanduser().resolve()
    folders = [path, path.parent] if path.name == ENCODER else [path]
    return next((run for run in map(RunFolder, folders) if run.config.is_file()), None)


def _follow_runs(name: str) -> Iterator[RunFolder]:
    """The run that made an encoder, the run that this one started from, and so on; nothing for other encoders."""
    seen: set[Path] = set()
    run = find_run(name)
    while run is not None and run.path not in seen:
        seen.add(run.path)
        yield run
        run = find_run(_read_config(run).model.start)


def _find_origin(name: str, runs: list[RunFolder]) -> str | None:
    """The weights from somewhere else that an encoder goes back to; None where its runs began with random ones."""
    from training.towers import is_random

    start = _read_config(runs[-1]).model.start if runs else name
    return None if runs and is_random(start) else start


def _find_place(on: Path) -> str:
    run = RunFolder(on)
    return _name_source(_read_config(run).data.source if run.config.is_file() else str(on))


def _name_source(source: str) -> str:
    """The same text for one place, however it is written."""
    path = Path(source).expanduser()
    return str(path.resolve()) if path.exists() else source


def _read_config(run: RunFolder) -> TrainingConfig:
    from training.settings import read_config

    return read_config(run.config)


def _find_learned(run: RunFolder, records: pa.Table, place: str) -> set[int]:
    """Which of these records, by row, a run has trained on."""
    source = _read_config(run).data.source
    learned = _list_learned(run)
    found = _match(records, "record_id", learned) if _name_source(source) == place else set()
    return found | _match(records, DIGEST, _list_digests(source, learned))


def _match(records: pa.Table, column: str, values: set[str]) -> set[int]:
    cells = records.column(column).to_pylist() if values and column in records.column_names else []
    return {row for row, cell in enumerate(cells) if cell in values}


def _list_digests(source: str, learned: set[str]) -> set[str]:
    """Digests of the learned pictures, where their corpus is still there; nothing for other sources."""
    from indexer.corpus import open_corpus

    path = Path(source).expanduser()
    if not (path / "corpus.json").is_file():
        return set()
    table = open_corpus(path).read_columns(["record_id", DIGEST])
    pairs = zip(table.column("record_id").to_pylist(), table.column(DIGEST).to_pylist(), strict=True)
    return {digest for record, digest in pairs if digest is not None and record in learned}


def _list_learned(run: RunFolder) -> set[str]:
    """The ids of the records that a run has trained on; none where it has not got so far as to split them."""
    import pyarrow.parquet as pq

    from training.splits import TABLE, VALIDATION

    path = run.path / TABLE
    if not path.is_file():
        return set()
    table = pq.read_table(path, columns=["record_id", "part"])
    parts = zip(table["record_id"].to_pylist(), table["part"].to_pylist(), strict=True)
    return {record for record, part in parts if part != VALIDATION}
