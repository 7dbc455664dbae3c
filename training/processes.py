"""Where a training runs: one process, or those that torchrun started, each on its own device."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from indexer.devices import Choice
from indexer.errors import InputError
from training.settings import Accelerator, Precision

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from training.settings import EngineConfig

PATIENCE = timedelta(hours=6)
"""How long processes wait for the one that downloads or draws the data, before they give up."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The automatic choices of a run, each with its reason.

    Attributes:
        accelerator: "cpu", "cuda" or "mps".
        precision: "fp32" or "bf16".
        n_threads: Threads of each process on the CPU.
        n_processes: Processes over all nodes.
        n_local: Processes of this node.
    """

    accelerator: Choice
    precision: Choice
    n_threads: Choice
    n_processes: int
    n_local: int

    def describe(self) -> list[str]:
        """One line per choice."""
        lines = [f"accelerator: {self.accelerator}", f"precision: {self.precision}", f"threads: {self.n_threads}"]
        return lines if self.n_processes == 1 else [*lines, f"processes: {self.n_processes}, because of torchrun"]


def choose_machine(engine: EngineConfig) -> Machine:
    """What the settings and this machine come to.

    Raises:
        InputError: The accelerator that was asked for is not there, or the batch cannot be shared out evenly.
    """
    n_processes = int(os.environ.get("WORLD_SIZE", "1"))
    n_local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if engine.batch_size % n_processes:
        raise InputError(
            f"engine.batch_size = {engine.batch_size}: {n_processes} processes cannot share it evenly; use a multiple "
            f"of {n_processes}."
        )
    accelerator = _choose_accelerator(engine.accelerator, n_local)
    return Machine(
        accelerator=accelerator,
        precision=_choose_precision(engine.precision, accelerator.value),
        n_threads=_choose_threads(engine.n_threads, n_local),
        n_processes=n_processes,
        n_local=n_local,
    )


def start_fabric(machine: Machine) -> Fabric:
    """Lightning Fabric on this machine, launched: distributed data parallel under torchrun, else one process.

    The same command runs on one process and on many: `torchrun --nproc-per-node 8 -m explorer -- train …`.
    """
    import torch
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments.lightning import LightningEnvironment
    from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
    from lightning_fabric.strategies.ddp import DDPStrategy

    torch.set_num_threads(int(machine.n_threads.value))
    chosen: dict[str, Any] = {"devices": 1, "plugins": [LightningEnvironment()]}
    if machine.n_processes > 1:
        # Statistics of batch norm are each process's own while it learns; those of process 0 are kept and measured.
        strategy = DDPStrategy(
            process_group_backend="nccl" if machine.accelerator.value == Accelerator.CUDA else "gloo",
            timeout=PATIENCE,
            broadcast_buffers=False,
            gradient_as_bucket_view=True,
        )
        chosen = {
            "devices": machine.n_local,
            "num_nodes": machine.n_processes // machine.n_local,
            "strategy": strategy,
            "plugins": [TorchElasticEnvironment()],
        }
    precision: Any = "bf16-mixed" if machine.precision.value == Precision.BF16 else "32-true"
    fabric = Fabric(accelerator=machine.accelerator.value, precision=precision, **chosen)
    fabric.launch()
    return fabric


@contextmanager
def first_process_first(fabric: Fabric) -> Iterator[None]:
    """The block runs on each node's first process before the others, so that these find what it downloaded."""
    with fabric.rank_zero_first(local=True):
        yield


def is_first_process() -> bool:
    """Whether this process is the one that speaks; true without torchrun."""
    return os.environ.get("RANK", "0") == "0"


def _choose_accelerator(asked: Accelerator, n_local: int) -> Choice:
    import torch

    n_devices = {
        Accelerator.CUDA: torch.cuda.device_count() if torch.cuda.is_available() else 0,
        Accelerator.MPS: int(torch.backends.mps.is_available()),
        Accelerator.CPU: n_local,
    }
    if asked is not Accelerator.AUTO:
        if n_devices[asked] < n_local:
            raise InputError(
                f"engine.accelerator = {asked}: torch finds {n_devices[asked]} on this machine, {n_local} are needed; "
                "use auto, or start fewer processes."
            )
        return Choice(value=asked, reason="it was asked for")
    if n_devices[Accelerator.CUDA] >= n_local:
        return Choice(value=Accelerator.CUDA, reason=_explain_gpus(n_devices[Accelerator.CUDA], n_local))
    if n_local == 1 and n_devices[Accelerator.MPS]:
        return Choice(value=Accelerator.MPS, reason="it is the fastest device here")
    return Choice(value=Accelerator.CPU, reason="no GPU was found for each process")


def _explain_gpus(n_devices: int, n_local: int) -> str:
    if n_devices == n_local:
        return "there is a GPU for each process"
    return f"a GPU was found; for all {n_devices} use torchrun --nproc-per-node {n_devices} -m explorer train"


def _choose_precision(asked: Precision, accelerator: str) -> Choice:
    import torch

    if asked is not Precision.AUTO:
        return Choice(value=asked, reason="it was asked for")
    if accelerator == Accelerator.CUDA and torch.cuda.is_bf16_supported(including_emulation=False):
        return Choice(value=Precision.BF16, reason="the GPU multiplies bf16 matrices in hardware")
    return Choice(value=Precision.FP32, reason="bf16 is faster on GPUs that have it in hardware alone")


def _choose_threads(asked: int, n_local: int) -> Choice:
    if asked:
        return Choice(value=str(asked), reason="it was asked for")
    n_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    reason = f"{n_cores} cores are shared by {n_local} process{'es' if n_local > 1 else ''}"
    return Choice(value=str(max(1, n_cores // n_local)), reason=reason)
