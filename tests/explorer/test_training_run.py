"""What `morphospace train` says of a run that has finished."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from explorer import learning_commands, training_run
from explorer.training_run import run_training
from training.engine import TrainingReport
from training.settings import TrainingConfig


@pytest.mark.parametrize(
    ("losses", "measures", "said", "unsaid"),
    [
        ((4.47,), {}, ["loss 4.47 nats", "No structure was measured", "morphospace evaluate run --on run"], " to 4.47"),
        ((4.47, 2.1), {"span": 0.25, "span_low": 0.2}, ["loss 4.47 to 2.10 nats", "span 0.25"], "No structure"),
    ],
)
def test_a_finished_run_is_told(
    losses: tuple[float, ...],
    measures: Mapping[str, float],
    said: list[str],
    unsaid: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    report = TrainingReport(
        folder=Path("run"),
        encoder=Path("run/encoder"),
        n_steps=8,
        n_samples=512,
        losses=losses,
        measures=measures,
        seconds={"opening": 1.0, "training": 11.0},
        n_parameters=1_505_241,
    )
    told: list[str] = []
    monkeypatch.setattr("training.engine.train_encoder", lambda *_args, **_options: report)
    monkeypatch.setattr(training_run, "announce", told.append)
    run_training(TrainingConfig(), Path("run"))
    text = "\n".join(told)
    assert all(part in text for part in said)
    assert unsaid not in text


def test_torchrun_takes_the_command_that_the_help_names() -> None:
    """Without `--` torchrun takes --start for an option of its own that is cut short."""
    from torch.distributed.run import get_args_parser

    command = "torchrun --nproc-per-node 8 -m explorer -- train"
    assert command in " ".join((learning_commands.train.__doc__ or "").split())
    read = get_args_parser().parse_args([*command.split()[1:], "--data", "x", "--start", "bundled"])
    assert (read.training_script, read.training_script_args[:3]) == ("explorer", ["train", "--data", "x"])
