"""`morphospace train`: a run followed in the terminal, or its plan."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from explorer.progress import announce

if TYPE_CHECKING:
    from training.engine import TrainingReport
    from training.examples import Measure
    from training.settings import TrainingConfig


def run_training(config: TrainingConfig, out: Path, *, measure: Measure | None = None) -> None:
    """Train an encoder in the folder `out`.

    Args:
        config: the resolved settings.
        out: folder of the run; the encoder lies in its folder `encoder`.
        measure: figures of the validation pictures; None measures emergent structure on the columns of `data.measure`.
    """
    from explorer.geometry.emergence import make_measure
    from training.engine import train_encoder
    from training.processes import is_first_process

    with _Bars() as bars:
        try:
            report = train_encoder(
                config,
                out,
                progress=bars.show,
                tell_loss=bars.tell_loss,
                announce=bars.say,
                measure=measure or make_measure(config.data.measure, seed=config.seed),
            )
        except KeyboardInterrupt:
            bars.say("stopped; the same command goes on from the newest checkpoint")
            raise
    if is_first_process():
        _conclude(report)


def print_plan(config: TrainingConfig, out: Path | None = None) -> None:
    """Print what a run of these settings would take: data, weights, memory, time.

    Args:
        config: the resolved settings.
        out: folder of the run, which is not made; None where it is not chosen yet.
    """
    from training.plans import plan_run
    from training.processes import is_first_process

    with _Bars() as bars:
        plan = plan_run(config, out=out, progress=bars.show, announce=bars.say)
    if is_first_process():
        print(plan.describe())  # noqa: T201


def _conclude(report: TrainingReport) -> None:
    from indexer.job import say_seconds

    figures = "".join(f"; {name} {value:.3g}" for name, value in report.measures.items() if "_" not in name)
    losses = " to ".join(f"{loss:.2f}" for loss in dict.fromkeys((report.losses[0], report.losses[-1])))
    announce(
        f"{report.folder}: {report.n_parameters:,} weights, {report.n_samples:,} pictures shown, loss {losses} nats, "
        f"in {say_seconds(report.seconds['training'])}{figures}"
    )
    if not report.measures:
        announce(
            "No structure was measured: no pictures were kept back, or too few species have several among them (8 "
            f"species or more are needed). Judge it with: morphospace evaluate {report.folder} --on {report.folder}"
        )
    announce(f"Use it with: morphospace index … --model local-dir:{report.encoder}")


class _Bars:
    """One progress bar per stage, on standard error."""

    def __enter__(self) -> _Bars:
        from rich.console import Console
        from rich.progress import Progress

        self._exit = ExitStack()
        self._progress = self._exit.enter_context(Progress(console=Console(stderr=True)))
        self._tasks: dict[str, Any] = {}
        return self

    def __exit__(self, *raised: object) -> None:
        self._exit.close()

    def show(self, stage: str, done: int, total: int) -> None:
        if stage not in self._tasks:
            self._tasks[stage] = self._progress.add_task(stage, total=total)
        self._progress.update(self._tasks[stage], completed=done, total=total)

    def tell_loss(self, n_steps: int, loss: float) -> None:
        self.say(f"step {n_steps:,}: loss {loss:.3f} nats")

    def say(self, line: str) -> None:
        self._progress.console.print(line, markup=False, highlight=False, soft_wrap=True)
