"""One process and two, started by torchrun on the CPU: the same losses and the same weights."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from indexer.errors import InputError
from tests.training.tiny_runs import make_config, write_pairs_tar, write_species_tar
from tests.training.tiny_towers import write_kind
from tests.training.train_several import measure_vectors
from training.engine import train_encoder
from training.material import open_material
from training.processes import choose_machine
from training.progress import keep_quiet
from training.run_folder import RunFolder
from training.settings import EngineConfig, TrainingConfig, describe_settings, override_config
from training.validation import encode_positions

VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "plain": {"captions.trait_share": 0.5, "captions.adjectives": ["sex"]},
    "siglip": {"loss.kind": "siglip"},
    "hierarchical": {"loss.kind": "hierarchical"},
    "cached": {
        "engine.micro_batch": 2,
        "replay.batch_size": 8,
        "loss.kind": "multi_positive",
        "data.unique_species": False,
    },
}
"""What may go wrong when rows are gathered: rows, facts, claims and lineages, both streams, parts of a batch."""
NORMS = "norms"
"""A tower with batch norm, whose statistics each process takes from its own rows."""


@pytest.fixture(scope="module")
def configs(tiny_encoder: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, TrainingConfig]:
    """Five steps of eight pictures, with two checkpoints."""
    folder = tmp_path_factory.mktemp("tars")
    source, pairs = write_species_tar(folder / "species.tar"), write_pairs_tar(folder / "pairs.tar")
    base = make_config(source, tiny_encoder, engine__n_samples=40, engine__checkpoint_every=3)
    configs = {name: override_config(base, changes) for name, changes in VARIANTS.items()}
    resnet = {"model.start": f"local-dir:{write_kind('resnet', folder)}", "engine.batch_size": 4}
    return configs | {
        "cached": override_config(configs["cached"], {"replay.source": str(pairs)}),
        NORMS: override_config(base, resnet),
    }


@pytest.fixture(scope="module")
def two_processes(configs: dict[str, TrainingConfig], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the runs that two processes trained together."""
    folder = tmp_path_factory.mktemp("two")
    for name, config in configs.items():
        (folder / name).mkdir()
        (folder / name / "settings.toml").write_text(describe_settings(config), encoding="utf-8")
    program = ["--standalone", "--nproc-per-node", "2", "-m", "tests.training.train_several"]
    command = [sys.executable, "-m", "torch.distributed.run", *program, *(str(folder / name) for name in configs)]
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd()), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


@pytest.mark.parametrize("name", list(VARIANTS))
def test_two_processes_give_the_losses_and_weights_of_one(
    configs: dict[str, TrainingConfig], two_processes: Path, tmp_path: Path, name: str
) -> None:
    from safetensors.torch import load_file

    alone = override_config(configs[name], {"engine.micro_batch": 0})
    report = train_encoder(alone, tmp_path / "run")
    lines = [RunFolder(folder).read_metrics() for folder in (two_processes / name / "run", report.folder)]
    losses = [[line["loss"] for line in run if "loss" in line] for run in lines]
    assert len(losses[1]) == 5
    np.testing.assert_allclose(losses[0], losses[1], atol=1e-5)
    replays = [[line["replay_loss"] for line in run if "replay_loss" in line] for run in lines]
    np.testing.assert_allclose(replays[0], replays[1], atol=1e-5)
    norms = [[line["gradient_norm"] for line in run if "loss" in line] for run in lines]
    np.testing.assert_allclose(norms[0], norms[1], rtol=1e-3)
    weights = [
        load_file(folder / "encoder" / "open_clip_model.safetensors")
        for folder in (two_processes / name / "run", report.folder)
    ]
    for key, tensor in weights[0].items():
        np.testing.assert_allclose(tensor.float(), weights[1][key].float(), atol=2e-3, err_msg=key)


def test_all_processes_measure_with_the_statistics_that_are_exported(
    configs: dict[str, TrainingConfig], two_processes: Path
) -> None:
    run = RunFolder(two_processes / NORMS / "run")
    config = override_config(configs[NORMS], {"model.start": str(run.path)})
    exported = open_material(config, run=run.path, announce=print, progress=keep_quiet)
    chosen = exported.split.validation
    expected = measure_vectors(encode_positions(exported, chosen), exported.dataset.records.take(chosen))
    measured = run.read_metrics()[-1]["measures"]
    assert {name: measured[name] for name in expected} == pytest.approx(expected, abs=2e-3)


def test_both_processes_keep_their_random_states(two_processes: Path) -> None:
    state = RunFolder(two_processes / "plain" / "run").read_checkpoint()
    assert state is not None
    first, second = (one["cpu"] for one in state["random"])
    assert not bool((first == second).all())


def test_a_run_of_two_processes_goes_on_in_one(
    configs: dict[str, TrainingConfig], two_processes: Path, tmp_path: Path
) -> None:
    run = RunFolder(tmp_path / "run")
    shutil.copytree(two_processes / "plain" / "run", run.path)
    run.report.unlink()
    run.list_checkpoints()[-1].unlink()
    said: list[str] = []
    train_encoder(configs["plain"], run.path, announce=said.append)
    message = (
        "goes on after step 3 of 5, at the newest checkpoint; the number of processes changed, so dropout draws anew"
    )
    assert message in said
    losses = [
        [line["loss"] for line in RunFolder(path).read_metrics() if "loss" in line]
        for path in (two_processes / "plain" / "run", run.path)
    ]
    np.testing.assert_allclose(losses[0], losses[1], atol=1e-5)


def test_a_batch_that_cannot_be_shared_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    with pytest.raises(InputError, match=r"batch_size = 128: 3 processes cannot share it evenly; use a multiple of 3"):
        choose_machine(EngineConfig(batch_size=128))


def test_choices_are_said_with_their_reasons(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from training.settings import Accelerator, Precision

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    assert choose_machine(EngineConfig()).describe() == [
        "accelerator: cuda, because a GPU was found; for all 4 use torchrun --nproc-per-node 4 -m explorer train",
        "precision: bf16, because the GPU multiplies bf16 matrices in hardware",
        "threads: 16, because 16 cores are shared by 1 process",
    ]
    monkeypatch.setenv("WORLD_SIZE", "8")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    lines = choose_machine(EngineConfig(precision=Precision.FP32)).describe()
    assert lines == [
        "accelerator: cuda, because there is a GPU for each process",
        "precision: fp32, because it was asked for",
        "threads: 4, because 16 cores are shared by 4 processes",
        "processes: 8, because of torchrun",
    ]
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    with pytest.raises(InputError, match=r"engine.accelerator = cuda: torch finds 4 on this machine, 8 are needed"):
        choose_machine(EngineConfig(accelerator=Accelerator.CUDA))
