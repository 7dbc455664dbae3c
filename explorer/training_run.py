"""`morphospace train`: the settings resolved, the training followed in the terminal."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from explorer.progress import announce


def run_training(
    out: Path, *, config: Path | None, n_images: int | None, n_samples: int | None, seed: int | None
) -> None:
    """Train an encoder into the folder `out`.

    Args:
        out: folder of the encoder, in open_clip's `local-dir:` layout.
        config: TOML file of settings; None takes the recipe of the bundled encoder.
        n_images, n_samples, seed: override the settings of the same name; None leaves them.
    """
    from indexer.job import say_seconds
    from training.loop import train_encoder
    from training.settings import TrainingConfig, read_config

    settings = read_config(config) if config else TrainingConfig()
    settings = replace(
        settings,
        n_images=settings.n_images if n_images is None else n_images,
        n_samples=settings.n_samples if n_samples is None else n_samples,
        seed=settings.seed if seed is None else seed,
    )
    announce(f"training on {settings.n_images:,} drawn pictures, {settings.n_samples:,} shown, seed {settings.seed}")
    with _Bars() as bars:
        report = train_encoder(settings, out, progress=bars.show, tell_loss=bars.tell_loss)
    announce(
        f"{out}: {report.n_parameters:,} weights, loss {report.losses[0]:.2f} to {report.losses[-1]:.2f} nats, "
        f"in {say_seconds(sum(report.seconds.values()))}. Use it with: morphospace index … --model local-dir:{out}"
    )


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
        self._progress.console.print(f"step {n_steps:,}: loss {loss:.3f} nats", markup=False, highlight=False)
