"""The folder of a run: settings, metrics, checkpoints and plots, whole at any moment that a process may be killed.

RUN/config.toml             the resolved settings
    split.parquet, .json    which pictures were kept to measure on, and the leak check (`training.splits`)
    metrics.jsonl           one JSON object per line, see `MetricsLog`
    events.out.tfevents.*   the same for TensorBoard
    checkpoints/*.ckpt      learner, optimiser, step, random states
    plots/*.png             loss and measures over the pictures shown
    encoder/                what open_clip loads as `local-dir:RUN/encoder`, with its model card
    report.json             what the run did; there once it has finished
"""

from __future__ import annotations

import json
import re
import shutil
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from indexer.errors import InputError
from indexer.files import write_atomically
from training.settings import TrainingConfig, to_table
from training.splits import DESCRIPTION, TABLE

FREE_SETTINGS = frozenset(
    {
        "data.cache",
        "data.n_workers",
        "engine.n_threads",
        "engine.micro_batch",
        "engine.checkpoint_every",
        "engine.keep_checkpoints",
        "engine.measure_every",
        "engine.report_every",
    }
)
"""Settings that may change when a run goes on: they say how it is run, not what is learned."""
_LOCK = ".lock"
_CHECKPOINT = "step-{:08d}.ckpt"


class RunFolder:
    """The folder of one run. Only process 0 writes to it; the others read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.toml"
        self.metrics = path / "metrics.jsonl"
        self.report = path / "report.json"
        self.checkpoints = path / "checkpoints"
        self.plots = path / "plots"
        self.encoder = path / "encoder"

    @contextmanager
    def claim(self, config: TrainingConfig) -> Iterator[None]:
        """The folder is this process's alone: made, its settings written, leftovers of a killed run cleared.

        Raises:
            InputError: The folder holds something else, a run with other settings, or a run that is at work now.
        """
        from filelock import FileLock, Timeout

        self.path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.path / _LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise InputError(
                f"{self.path}: another training is at work on this run; wait for it, or choose another folder."
            ) from None
        try:
            self.check_config(config)
            for leftover in (*self.path.glob(".*.part"), *self.path.glob("*/.*.part")):
                shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
            if not self.has_begun():
                for former in (TABLE, DESCRIPTION):
                    (self.path / former).unlink(missing_ok=True)
            self._write_config(config)
            yield
        finally:
            lock.release()

    def check_config(self, config: TrainingConfig) -> None:
        """InputError where the folder is no run, or a run with other settings than these that has learned something.

        What a run leaves behind that was refused, or killed before its first checkpoint, does not count.
        """
        if not self.config.exists():
            if self.path.exists() and (not self.path.is_dir() or any(map(_is_foreign, self.path.iterdir()))):
                raise InputError(f"{self.path}: exists and is not a run; choose a new folder for this one.")
            return
        if not self.has_begun():
            return
        former = _flatten(tomllib.loads(self.config.read_text(encoding="utf-8")))
        asked = _flatten(to_table(config))
        changed = [
            f"{name} was {former.get(name)!r}, now {asked.get(name)!r}"
            for name in sorted({*former, *asked} - FREE_SETTINGS)
            if former.get(name) != asked.get(name)
        ]
        if changed:
            raise InputError(
                f"{self.path}: holds a run with other settings: {'; '.join(changed)}. Give the same settings to go on "
                "with it, or choose another folder."
            )

    def has_begun(self) -> bool:
        """Whether there is anything to go on from: a checkpoint, or the report of a finished run."""
        return self.report.exists() or bool(self.list_checkpoints())

    def _write_config(self, config: TrainingConfig) -> None:
        import tomli_w

        text = tomli_w.dumps(to_table(config))
        write_atomically(self.config, lambda part: part.write_text(text, encoding="utf-8"))

    def list_checkpoints(self) -> list[Path]:
        """The checkpoints, oldest first."""
        return sorted(path for path in self.checkpoints.glob("step-*.ckpt") if re.fullmatch(r"step-\d+", path.stem))

    def write_checkpoint(self, step: int, state: Mapping[str, Any], *, keep: int) -> None:
        """Writes the state after `step` steps in one go, then removes all but the newest `keep`."""
        import torch

        write_atomically(self.checkpoints / _CHECKPOINT.format(step), lambda part: torch.save(dict(state), part))
        for former in self.list_checkpoints()[:-keep]:
            former.unlink()

    def read_checkpoint(self) -> dict[str, Any] | None:
        """The newest state, on the CPU; None where there is none yet.

        Raises:
            InputError: It cannot be read; a killed run leaves no such file, a full or failing disk may.
        """
        import torch

        paths = self.list_checkpoints()
        if not paths:
            return None
        try:
            state: dict[str, Any] = torch.load(paths[-1], map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, EOFError) as error:
            former = "go on from the one before" if len(paths) > 1 else "begin anew"
            raise InputError(f"{paths[-1]}: cannot be read ({error}). Remove it to {former}.") from error
        return state

    def read_metrics(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl in their order; a last line that was cut off is left out."""
        if not self.metrics.exists():
            return []
        whole = self.metrics.read_text(encoding="utf-8").rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines()]

    def cut_metrics(self, step: int) -> None:
        """Keeps the lines up to `step`, so that steps which are taken again are not told twice."""
        kept = "".join(json.dumps(line) + "\n" for line in self.read_metrics() if line["step"] <= step)
        write_atomically(self.metrics, lambda part: part.write_text(kept, encoding="utf-8"))

    def read_report(self) -> dict[str, Any] | None:
        """What the run did, once it has finished."""
        if not self.report.exists():
            return None
        found: dict[str, Any] = json.loads(self.report.read_text(encoding="utf-8"))
        return found


class MetricsLog:
    """Writes the metrics of a run, as JSON lines and for TensorBoard.

    A line of the training holds `step` (steps taken), `samples` (pictures shown), `loss` and, with replay,
    `replay_loss` (means since the line before, in nats), `learning_rate`, `gradient_norm` (before it is cut, of the
    last step), `scale` (inverse temperature), `samples_per_second` and `data_share` (share of the time spent waiting
    for pictures). A line of a measurement holds `step`, `samples` and `measures`, an object of named figures.
    """

    def __init__(self, run: RunFolder, *, first_step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._file = run.metrics.open("a", encoding="utf-8")
        self._board = SummaryWriter(str(run.path), purge_step=first_step + 1)

    def add(self, line: Mapping[str, Any]) -> None:
        """Writes one line."""
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        figures = {name: value for name, value in line.items() if name not in ("step", "samples", "measures")}
        figures |= {f"measures/{name}": value for name, value in line.get("measures", {}).items()}
        for name, value in figures.items():
            self._board.add_scalar(name, value, line["step"])

    def close(self) -> None:
        """Writes out what is still buffered."""
        self._file.close()
        self._board.close()


def _is_foreign(path: Path) -> bool:
    return path.name != _LOCK and path.suffix != ".part"


def _flatten(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in table.items():
        flat |= _flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat
