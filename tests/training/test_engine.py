"""Runs from start to end on a tiny ViT: what they leave, and that a stopped or killed one goes on exactly."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from indexer.errors import InputError
from tests.training.tiny_runs import make_config, write_pairs_tar, write_species_tar
from training.engine import TrainingReport, train_encoder
from training.run_folder import RunFolder
from training.settings import TrainingConfig, override_config, read_config

if TYPE_CHECKING:
    import pyarrow as pa
    from jaxtyping import Float

N_STEPS = 12


@pytest.fixture(scope="session")
def species_tar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_species_tar(tmp_path_factory.mktemp("tars") / "species.tar")


@pytest.fixture(scope="session")
def config(species_tar: Path, tiny_encoder: str) -> TrainingConfig:
    return make_config(species_tar, tiny_encoder, engine__measure_every=6)


def measure_length(vectors: Float[np.ndarray, "n d"], records: pa.Table) -> Mapping[str, float]:
    return {"length": float(np.linalg.norm(vectors, axis=1).mean()), "rows": float(records.num_rows)}


class Heard:
    """Keeps what a run says."""

    def __init__(self) -> None:
        self.stages: list[str] = []
        self.lines: list[str] = []
        self.losses: list[tuple[int, float]] = []

    def options(self) -> dict[str, Any]:
        return {
            "progress": lambda stage, done, total: self.stages.append(f"{stage} {done}/{total}"),
            "announce": self.lines.append,
            "tell_loss": lambda step, loss: self.losses.append((step, loss)),
        }


@pytest.fixture(scope="session")
def whole_run(config: TrainingConfig, tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainingReport, Heard]:
    heard = Heard()
    folder = tmp_path_factory.mktemp("runs") / "whole"
    return train_encoder(config, folder, measure=measure_length, **heard.options()), heard


def read_losses(folder: Path) -> list[float]:
    lines = [line for line in RunFolder(folder).read_metrics() if "loss" in line]
    assert [line["step"] for line in lines] == list(range(1, len(lines) + 1))
    return [line["loss"] for line in lines]


def test_a_run_lowers_the_loss_and_leaves_all_its_parts(
    whole_run: tuple[TrainingReport, Heard], config: TrainingConfig
) -> None:
    report, heard = whole_run
    folder = report.folder
    assert report.losses[-1] < report.losses[0]
    assert (report.n_steps, report.n_samples) == (N_STEPS, 96)
    assert report.measures == {"length": pytest.approx(1, abs=1e-5), "rows": 24.0}
    assert read_config(folder / "config.toml") == config
    assert [path.name for path in RunFolder(folder).list_checkpoints()] == ["step-00000008.ckpt", "step-00000012.ckpt"]
    assert {path.name for path in (folder / "plots").iterdir()} == {"loss.png", "measures.png"}
    assert list(folder.glob("events.out.tfevents.*"))
    assert (folder / "encoder" / "open_clip_model.safetensors").exists()
    assert json.loads((folder / "split.json").read_text())["leaks"] == []
    assert heard.stages[-1] == "training 12/12"
    assert heard.losses[-1][0] == N_STEPS
    assert any(line.startswith("precision: fp32, because") for line in heard.lines)
    assert "learning rate: 0.001, because it was asked for" in heard.lines


def test_the_metrics_hold_a_line_per_report_and_per_measurement(whole_run: tuple[TrainingReport, Heard]) -> None:
    lines = RunFolder(whole_run[0].folder).read_metrics()
    assert [line["step"] for line in lines if "measures" in line] == [6, 12]
    first = lines[0]
    assert first["samples"] == 8
    assert first["learning_rate"] == pytest.approx(1e-3 / 3)
    assert set(first) == {
        *("step", "samples", "loss", "gradient_norm", "samples_per_second", "data_share", "learning_rate", "scale")
    }
    assert 0 <= first["data_share"] <= 1


def test_the_exported_encoder_gives_the_vectors_of_the_last_checkpoint(
    whole_run: tuple[TrainingReport, Heard], config: TrainingConfig
) -> None:
    import torch

    from training.settings import ModelConfig
    from training.towers import open_towers

    folder = whole_run[0].folder
    towers = open_towers(ModelConfig(start=str(folder)), config.small, texts=None, announce=print)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    exported = towers.encode_pixels(pixels)
    state = torch.load(RunFolder(folder).list_checkpoints()[-1], weights_only=True)["learner"]
    towers.model.load_state_dict({name.removeprefix("model."): weights for name, weights in state.items()})
    np.testing.assert_allclose(exported, towers.encode_pixels(pixels), atol=3e-3)


class StoppedError(Exception):
    """Raised by a test in the middle of a run."""


def stop_at(step: int) -> Any:
    def tell(done: int, _loss: float) -> None:
        if done == step:
            raise StoppedError

    return tell


def test_a_stopped_run_goes_on_with_the_same_losses(
    whole_run: tuple[TrainingReport, Heard], config: TrainingConfig, tmp_path: Path
) -> None:
    with pytest.raises(StoppedError):
        train_encoder(config, tmp_path / "run", tell_loss=stop_at(7), measure=measure_length)
    heard = Heard()
    report = train_encoder(config, tmp_path / "run", measure=measure_length, **heard.options())
    assert "goes on after step 4 of 12, at the newest checkpoint" in heard.lines
    np.testing.assert_allclose(read_losses(report.folder), read_losses(whole_run[0].folder), atol=1e-5)
    assert heard.losses[0][0] == 5
    weights = [folder / "encoder" / "open_clip_model.safetensors" for folder in (report.folder, whole_run[0].folder)]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_losses_between_two_lines_survive_a_stop(config: TrainingConfig, tmp_path: Path) -> None:
    config = override_config(config, {"engine.report_every": 3})
    whole = train_encoder(config, tmp_path / "whole")
    with pytest.raises(StoppedError):
        train_encoder(config, tmp_path / "run", tell_loss=stop_at(6))
    resumed = train_encoder(config, tmp_path / "run")
    assert resumed.losses == pytest.approx(whole.losses, abs=1e-5)


KILLED_WHILE_WRITING = """
import os, signal, sys
from pathlib import Path
import torch
from tests.training.test_engine import measure_length
from training.engine import train_encoder
from training.settings import read_config

true_save = torch.save

def save_half(state, path):
    true_save(state, path)
    os.truncate(path, os.path.getsize(path) // 2)
    os.kill(os.getpid(), signal.SIGKILL)

torch.save = save_half
config = read_config(Path(sys.argv[1]) / "config.toml")
train_encoder(config, Path(sys.argv[1]), measure=measure_length, tell_loss=lambda step, loss: print(step, flush=True))
"""


def test_kill_9_inside_the_writing_of_a_checkpoint_loses_the_steps_since_the_last_one_alone(
    whole_run: tuple[TrainingReport, Heard], config: TrainingConfig, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    with pytest.raises(StoppedError):
        train_encoder(config, folder, tell_loss=stop_at(5), measure=measure_length)
    command = [sys.executable, "-c", KILLED_WHILE_WRITING, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env={**os.environ, "PYTHONPATH": "."})
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert done.stdout.split() == ["5", "6", "7", "8"]
    assert [path.name for path in RunFolder(folder).list_checkpoints()] == ["step-00000004.ckpt"]
    assert list((folder / "checkpoints").glob(".*.part"))
    assert len(read_losses(folder)) == 8
    heard = Heard()
    report = train_encoder(config, folder, measure=measure_length, **heard.options())
    assert "goes on after step 4 of 12, at the newest checkpoint" in heard.lines
    assert not list((folder / "checkpoints").glob(".*.part"))
    np.testing.assert_allclose(read_losses(folder), read_losses(whole_run[0].folder), atol=1e-5)
    assert report.measures == pytest.approx(whole_run[0].measures, abs=1e-5)


@pytest.mark.parametrize("step", [4, N_STEPS])
def test_a_measurement_that_fails_loses_no_step_and_is_made_when_the_run_goes_on(
    config: TrainingConfig, tmp_path: Path, step: int
) -> None:
    config = override_config(config, {"engine.measure_every": 4})
    made: list[int] = []

    def fail_once(vectors: Float[np.ndarray, "n d"], records: pa.Table) -> Mapping[str, float]:
        made.append(len(made))
        if len(made) == step // 4:
            raise StoppedError
        return measure_length(vectors, records)

    with pytest.raises(StoppedError):
        train_encoder(config, tmp_path / "run", measure=fail_once)
    assert RunFolder(tmp_path / "run").list_checkpoints()[-1].stem == f"step-{step:08d}"
    heard = Heard()
    report = train_encoder(config, tmp_path / "run", measure=fail_once, **heard.options())
    assert f"goes on after step {step} of 12, at the newest checkpoint" in heard.lines
    lines = RunFolder(report.folder).read_metrics()
    assert [line["step"] for line in lines if "measures" in line] == [4, 8, 12]
    assert len(read_losses(report.folder)) == N_STEPS
    assert report.measures["rows"] == 24


def test_a_finished_run_says_so_and_is_left_alone(
    whole_run: tuple[TrainingReport, Heard], config: TrainingConfig
) -> None:
    folder = whole_run[0].folder
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    heard = Heard()
    assert train_encoder(config, folder, **heard.options()) == whole_run[0]
    assert heard.lines == [f"{folder}: this run finished after 12 steps; nothing is left to do"]
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()} == before


def test_a_run_with_other_settings_is_refused_with_their_names(
    whole_run: tuple[TrainingReport, Heard], config: TrainingConfig
) -> None:
    changed = override_config(config, {"optimiser.learning_rate": 5e-4, "captions.trait_share": 0.5, "seed": 3})
    message = (
        r"holds a run with other settings: captions.trait_share was 0.2, now 0.5; "
        r"optimiser.learning_rate was 0.001, now 0.0005; seed was 0, now 3"
    )
    with pytest.raises(InputError, match=message):
        train_encoder(changed, whole_run[0].folder)


def test_settings_of_how_it_is_run_may_change(whole_run: tuple[TrainingReport, Heard], config: TrainingConfig) -> None:
    engine = replace(config.engine, micro_batch=4, report_every=5, n_threads=2)
    RunFolder(whole_run[0].folder).check_config(replace(config, engine=engine))


def test_a_folder_that_is_no_run_is_refused(config: TrainingConfig, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(InputError, match="exists and is not a run; choose a new folder"):
        train_encoder(config, tmp_path)


def test_what_a_run_leaves_that_was_killed_while_it_began_does_not_count(
    config: TrainingConfig, tmp_path: Path
) -> None:
    (tmp_path / ".lock").touch()
    (tmp_path / ".config.toml.k1ll3d.part").touch()
    run = RunFolder(tmp_path)
    run.check_config(config)
    with run.claim(config):
        assert {path.name for path in tmp_path.iterdir()} == {".lock", "config.toml"}


def test_a_refused_run_gives_the_folder_free(config: TrainingConfig, tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    with run.claim(config):
        pass
    other = override_config(config, {"seed": 3})
    run.write_checkpoint(4, {"step": 4}, keep=1)
    with pytest.raises(InputError, match="seed was 0, now 3"), run.claim(other):
        pytest.fail("a run with other settings was claimed")
    with run.claim(config):
        assert read_config(run.config) == config


def test_a_run_that_learned_nothing_gives_its_folder_to_other_settings(config: TrainingConfig, tmp_path: Path) -> None:
    wrong = override_config(config, {"data.source": str(tmp_path / "typo.corpus")})
    with pytest.raises(InputError, match="neither a corpus"):
        train_encoder(wrong, tmp_path / "run")
    run = RunFolder(tmp_path / "run")
    for name in ("split.json", "split.parquet"):
        (run.path / name).touch()
    with run.claim(config):
        assert {path.name for path in run.path.iterdir()} == {".lock", "config.toml"}
        assert read_config(run.config) == config


def test_a_run_at_work_is_not_joined(config: TrainingConfig, tmp_path: Path) -> None:
    message = "another training is at work on this run"
    with RunFolder(tmp_path).claim(config), pytest.raises(InputError, match=message):
        train_encoder(config, tmp_path)


def test_an_unreadable_checkpoint_is_named(config: TrainingConfig, tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.write_checkpoint(4, {"step": 4}, keep=2)
    run.write_checkpoint(8, {"step": 8}, keep=2)
    newest = run.list_checkpoints()[-1]
    newest.write_bytes(newest.read_bytes()[:100])
    with pytest.raises(InputError, match=r"step-00000008.ckpt: cannot be read .* Remove it to go on from the one befo"):
        run.read_checkpoint()
    newest.unlink()
    assert run.read_checkpoint() == {"step": 4}


def test_a_loss_that_is_no_number_stops_the_run_before_a_checkpoint(config: TrainingConfig, tmp_path: Path) -> None:
    wild = override_config(config, {"optimiser.learning_rate": 1e30, "optimiser.n_warmup_steps": 0})
    with pytest.raises(InputError, match=r"step [2-4]: the loss is nan.*Lower optimiser.learning_rate"):
        train_encoder(wild, tmp_path / "run")
    assert RunFolder(tmp_path / "run").list_checkpoints() == []


def test_replay_has_a_loss_of_its_own(config: TrainingConfig, tmp_path: Path) -> None:
    pairs = write_pairs_tar(tmp_path / "pairs.tar")
    config = override_config(config, {"replay.source": str(pairs), "replay.batch_size": 8})
    report = train_encoder(config, tmp_path / "run")
    lines = RunFolder(report.folder).read_metrics()
    assert lines[0]["replay_loss"] == pytest.approx(np.log(8), abs=0.3)
    assert lines[-1]["replay_loss"] < lines[0]["replay_loss"]
