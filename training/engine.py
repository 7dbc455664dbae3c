"""The training of an encoder, from settings to a folder that open_clip loads."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from indexer.files import write_json
from training.material import Material, load_steps, open_material
from training.plots import plot_run
from training.processes import choose_machine, first_process_first, start_fabric
from training.progress import LossReport, Progress, keep_loss, keep_quiet
from training.rates import settle_rate
from training.run_folder import MetricsLog, RunFolder
from training.settings import TrainingConfig
from training.splits import DESCRIPTION, check_leaks, tell_unnamed, write_split

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from training.examples import Measure
    from training.steps import Stepper

Announce = Callable[[str], None]
N_TENTHS = 10


@dataclass(frozen=True, kw_only=True)
class TrainingReport:
    """What a training run did.

    Attributes:
        folder: The run.
        encoder: What open_clip loads as `local-dir:ENCODER`.
        n_steps: Steps taken.
        n_samples: Pictures shown.
        losses: Mean loss of every tenth of the run, in nats.
        measures: Figures of the last measurement on the validation pictures; empty where none was made.
        seconds: Seconds by stage, stopped stretches not counted: opening the data and the model, training.
        n_parameters: Weights of the encoder.
    """

    folder: Path
    encoder: Path
    n_steps: int
    n_samples: int
    losses: tuple[float, ...]
    measures: Mapping[str, float]
    seconds: Mapping[str, float]
    n_parameters: int


@dataclass(frozen=True, kw_only=True)
class Listener:
    """Who hears how a training goes on."""

    progress: Progress
    tell_loss: LossReport
    announce: Announce


def train_encoder(
    config: TrainingConfig,
    out: Path,
    *,
    progress: Progress | None = None,
    tell_loss: LossReport | None = None,
    measure: Measure | None = None,
    announce: Announce | None = None,
) -> TrainingReport:
    """Trains an encoder in the folder `out` (see `training.run_folder`), or goes on with the run that lies there.

    A run that was stopped, by kill -9 too, goes on from its last checkpoint when it is called with the same settings;
    its losses are those it would have had. A finished run is only told again. Under torchrun the processes share each
    batch; they must see the same folder. The same settings, machine and library versions give the same weights.

    Args:
        config: Settings.
        out: Folder of the run.
        progress: Hears how far each stage is.
        tell_loss: Hears the loss now and then.
        measure: Figures of the validation pictures' vectors, asked for as `engine.measure_every` says.
        announce: Hears the choices that were made, with their reasons.

    Raises:
        InputError: Settings, data, model or folder cannot be used as they are, or the loss left the numbers.
    """
    machine = choose_machine(config.engine)
    fabric = start_fabric(machine)
    run = RunFolder(out)
    config, rate = settle_rate(config)
    run.check_config(config)
    # No process looks at the folder while process 0 writes into it.
    fabric.barrier()
    listener = _choose_listener(fabric, progress, tell_loss, announce)
    finished = fabric.broadcast(run.read_report())
    if finished is not None:
        listener.announce(f"{out}: this run finished after {finished['n_steps']:,} steps; nothing is left to do")
        return _read_report(run, finished)
    for line in (*machine.describe(), f"learning rate: {rate}"):
        listener.announce(line)
    with ExitStack() as held:
        if fabric.is_global_zero:
            held.enter_context(run.claim(config))
        training = held.enter_context(closing(_open_training(config, run, fabric, listener, measure)))
        training.run_steps()
        return training.finish()


def _choose_listener(
    fabric: Fabric, progress: Progress | None, tell_loss: LossReport | None, announce: Announce | None
) -> Listener:
    if not fabric.is_global_zero:
        return Listener(progress=keep_quiet, tell_loss=keep_loss, announce=_keep_silent)
    return Listener(
        progress=progress or keep_quiet, tell_loss=tell_loss or keep_loss, announce=announce or _keep_silent
    )


def _keep_silent(_line: str) -> None:
    return None


def _open_training(
    config: TrainingConfig, run: RunFolder, fabric: Fabric, listener: Listener, measure: Measure | None
) -> _Training:
    import torch

    from training.learner import make_learner
    from training.steps import Stepper

    started = time.perf_counter()
    with first_process_first(fabric):
        material = open_material(config, run=run.path, announce=listener.announce, progress=listener.progress)
    fabric.barrier()
    if fabric.is_global_zero:
        _keep_split(material, run, listener)
    learner = make_learner(material.towers, config)
    # Dropout draws differently in each process.
    torch.manual_seed(config.seed + 1_000_003 * fabric.global_rank)
    stepper = Stepper(fabric, learner, config)
    return _Training(
        config=config,
        run=run,
        fabric=fabric,
        listener=listener,
        measure=measure,
        material=material,
        stepper=stepper,
        opening_seconds=time.perf_counter() - started,
    )


def _keep_split(material: Material, run: RunFolder, listener: Listener) -> None:
    split, records = material.split, material.dataset.records
    if not (run.path / DESCRIPTION).exists():
        write_split(split, records, run.path)
    listener.announce(
        f"{material.dataset.name}: {len(split.training):,} pictures to learn from, {len(split.validation):,} kept to "
        f"measure on, split by {split.by}{tell_unnamed(records, split)}"
    )
    for leak in check_leaks(records, split):
        listener.announce(f"leak: {leak}")


class _Training:
    """A run at work: where it stands, and what is done after each step."""

    def __init__(
        self,
        *,
        config: TrainingConfig,
        run: RunFolder,
        fabric: Fabric,
        listener: Listener,
        measure: Measure | None,
        material: Material,
        stepper: Stepper,
        opening_seconds: float,
    ) -> None:
        from training.window import Window

        self._config, self._run, self._fabric = config, run, fabric
        self._listener, self._measure = listener, measure
        self._material, self._stepper = material, stepper
        self._opening_seconds, self._former_seconds = opening_seconds, 0.0
        self._window = Window()
        self._first_step = self._resume()
        self._log = MetricsLog(run, first_step=self._first_step) if fabric.is_global_zero else None
        self._started = time.perf_counter()

    def _resume(self) -> int:
        """Puts back the newest checkpoint; the number of steps already taken."""
        from training.checkpoints import restore_state

        state = self._run.read_checkpoint()
        step = int(state["step"]) if state else 0
        if self._fabric.is_global_zero:
            self._run.cut_metrics(step)
        if state:
            self._former_seconds = float(state["seconds"])
            is_exact = restore_state(state, self._stepper, self._window)
            self._listener.announce(
                f"goes on after step {step:,} of {self._config.n_steps:,}, at the newest checkpoint"
                + ("" if is_exact else "; the number of processes changed, so dropout draws anew")
            )
        return step

    def run_steps(self) -> None:
        """Takes the steps that are left."""
        fabric, config = self._fabric, self._config
        self._catch_up()
        with closing(
            load_steps(
                self._material,
                config,
                first_step=self._first_step,
                process=fabric.global_rank,
                n_processes=fabric.world_size,
                pin_memory=fabric.device.type == "cuda",
                announce=self._listener.announce,
            )
        ) as batches:
            for step in range(self._first_step, config.n_steps):
                asked = time.perf_counter()
                batch = next(batches)
                waited = time.perf_counter() - asked
                taken = self._stepper.take_step(batch, step)
                self._window.add(taken, n_samples=config.engine.batch_size, waited=waited)
                self._follow(step + 1)

    def _catch_up(self) -> None:
        """Takes the measurement due at the newest checkpoint, where the run was stopped before it was taken."""
        step, measure = self._first_step, self._measure
        if not step or measure is None or not self._is_due(step, self._config.engine.measure_every):
            return
        lines = self._run.read_metrics() if self._fabric.is_global_zero else []
        is_taken = any("measures" in line for line in lines if line["step"] == step)
        if not self._fabric.broadcast(is_taken):
            self._take_measures(step, measure)
            self._window.leave_out(time.perf_counter() - self._started)

    def _follow(self, step: int) -> None:
        """What is due after `step` steps: a line of metrics, a checkpoint, a measurement, in this order.

        So a measurement that fails loses no step; the run measures again when it goes on (`_catch_up`).
        """
        engine = self._config.engine
        line = self._window.tell(step) if self._is_due(step, engine.report_every) else None
        paused = time.perf_counter()
        if line is not None:
            self._report(step, line)
        if self._is_due(step, engine.checkpoint_every):
            self._keep(step)
        if self._measure is not None and self._is_due(step, engine.measure_every):
            self._take_measures(step, self._measure)
        self._window.leave_out(time.perf_counter() - paused)

    def _is_due(self, step: int, every: int) -> bool:
        return step == self._config.n_steps or bool(every and step % every == 0)

    def _report(self, step: int, line: Mapping[str, float]) -> None:
        extra = {
            "learning_rate": self._stepper.optimiser.param_groups[0]["lr"],
            "scale": float(self._stepper.learner.model.logit_scale.detach().exp()),
        }
        self._write({**self._stamp(step), **line, **extra})
        self._listener.progress("training", step, self._config.n_steps)
        self._listener.tell_loss(step, self._window.recent_loss)

    def _take_measures(self, step: int, measure: Measure) -> None:
        from training.validation import measure_validation

        if not len(self._material.split.validation):
            return
        measures = measure_validation(self._material, self._fabric, measure)
        self._write({**self._stamp(step), "measures": dict(measures)})

    def _keep(self, step: int) -> None:
        from training.checkpoints import capture_state

        self._window.settle(step)
        state = capture_state(self._stepper, self._window, step=step, seconds=self._count_seconds())
        if self._fabric.is_global_zero:
            self._run.write_checkpoint(step, state, keep=self._config.engine.keep_checkpoints)

    def _stamp(self, step: int) -> dict[str, int]:
        return {"step": step, "samples": step * self._config.engine.batch_size}

    def _write(self, line: Mapping[str, Any]) -> None:
        if self._log is not None:
            self._log.add(line)

    def _count_seconds(self) -> float:
        return self._former_seconds + time.perf_counter() - self._started

    def finish(self) -> TrainingReport:
        """Exports the encoder, draws the plots and writes the report; process 0 does, the others wait."""
        report = self._fabric.broadcast(self._describe() if self._fabric.is_global_zero else {})
        self.close()
        if self._fabric.is_global_zero:
            self._export(report)
            plot_run(self._run)
            write_json(self._run.report, report)
        self._fabric.barrier()
        return _read_report(self._run, report)

    def close(self) -> None:
        """Writes out the metrics; nothing else is held open."""
        if self._log is not None:
            self._log.close()

    def _export(self, report: Mapping[str, Any]) -> None:
        from training.export import export_encoder
        from training.model_card import make_card

        material = self._material
        card = make_card(
            self._run.path.resolve().name,
            self._config,
            records=material.dataset.records,
            split=material.split,
            n_samples=report["n_samples"],
            figures=report["measures"],
        )
        export_encoder(material.towers, self._run.encoder, card)

    def _describe(self) -> dict[str, Any]:
        """The content of report.json."""
        import torch

        lines = self._run.read_metrics()
        n_steps = self._config.n_steps
        return {
            "n_steps": n_steps,
            "n_samples": n_steps * self._config.engine.batch_size,
            "losses": summarise_losses(lines),
            "measures": next((line["measures"] for line in reversed(lines) if "measures" in line), {}),
            "seconds": {"opening": round(self._opening_seconds, 1), "training": round(self._count_seconds(), 1)},
            "n_parameters": sum(weight.numel() for weight in self._material.towers.model.parameters()),
            "n_processes": self._fabric.world_size,
            "device": str(self._fabric.device.type),
            "machine": platform.machine(),
            "python": platform.python_version(),
            "torch": torch.__version__,
        }


def summarise_losses(lines: Sequence[Mapping[str, Any]]) -> list[float]:
    """Mean loss of every tenth of a run from its lines of metrics, in nats; fewer where there are fewer lines."""
    losses = np.array([line["loss"] for line in lines if "loss" in line])
    return [round(float(part.mean()), 4) for part in np.array_split(losses, min(N_TENTHS, len(losses)))]


def _read_report(run: RunFolder, found: Mapping[str, Any]) -> TrainingReport:
    return TrainingReport(
        folder=run.path,
        encoder=run.encoder,
        n_steps=found["n_steps"],
        n_samples=found["n_samples"],
        losses=tuple(found["losses"]),
        measures=found["measures"],
        seconds=found["seconds"],
        n_parameters=found["n_parameters"],
    )
