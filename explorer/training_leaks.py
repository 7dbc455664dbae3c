"""Which encoders on trial have learned from the very pictures that they are judged on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from training.judge.figures import Omission
from training.run_folder import RunFolder

if TYPE_CHECKING:
    from explorer.evaluation_target import Target

ENCODER = "encoder"


def list_leaks(target: Target, names: Sequence[str], on: Path) -> list[Omission]:
    """A note for each encoder trained on pictures of the target, in its own run or in one that it started from.

    Only runs on the same source are looked at: a corpus at the same place, the same tars, or the synthetic tree. That a
    picture was learned from elsewhere, as from a copy of the corpus, is not found.

    Args:
        target: The pictures to be judged on.
        names: The encoders: runs, exported encoders, or any name that `--model` takes.
        on: Where the target was read from: a corpus, a run, or a folder or table of images.
    """
    place = _find_place(on)
    asked = set(target.records.column("record_id").to_pylist())
    notes = []
    for name in names:
        runs = [run for run in _follow_runs(name) if _name_source(run) == place]
        n_known = len(asked.intersection(*[set().union(*map(_list_learned, runs))]))
        if n_known:
            where = ", ".join(str(run.path) for run in runs)
            why = f"its figures are too good ({where}). Pictures that a run was not shown: --on RUN, its own folder"
            notes.append(Omission(what=f"{name} was trained on {n_known:,} of these {len(asked):,} pictures", why=why))
    return notes


def _find_place(on: Path) -> str:
    run = RunFolder(on)
    return _name_source(run) if run.config.is_file() else str(on.expanduser().resolve())


def _name_source(run: RunFolder) -> str:
    """The source of a run's pictures, the same for one place however it is written."""
    from training.settings import read_config

    source = read_config(run.config).data.source
    path = Path(source).expanduser()
    return str(path.resolve()) if path.exists() else source


def _follow_runs(name: str) -> Iterator[RunFolder]:
    """The run that made an encoder, the run that this one started from, and so on; nothing for other encoders."""
    from training.settings import read_config

    seen: set[Path] = set()
    run = find_run(name)
    while run is not None and run.path not in seen:
        seen.add(run.path)
        yield run
        run = find_run(read_config(run.config).model.start)


def find_run(name: str) -> RunFolder | None:
    """The run behind an encoder's name: its folder, or the folder `encoder` that it exported; None for others."""
    path = Path(name.removeprefix("local-dir:")).expanduser().resolve()
    folders = [path, path.parent] if path.name == ENCODER else [path]
    return next((run for run in map(RunFolder, folders) if run.config.is_file()), None)


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
