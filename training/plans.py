"""What a run will take, before it starts: steps, memory and time, from a few true steps on this machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path

from indexer.devices import Choice
from indexer.job import say_seconds
from training.material import Material, number_species, open_material
from training.probing import N_TIMED, Probe
from training.processes import Machine, choose_machine, first_process_first, start_fabric
from training.progress import Progress, keep_quiet
from training.rates import settle_rate
from training.run_folder import RunFolder
from training.settings import SYNTHETIC, SplitBy, TrainingConfig
from training.synthetic.phylogeny import N_SEEN

N_DRAWN = 432
"""Synthetic pictures that are drawn for a plan; more where a batch needs more."""
FLOAT, ADAM = 4, 8
"""Bytes of a weight, and of its two moments in the optimiser."""


@dataclass(frozen=True, kw_only=True)
class MemoryNeed:
    """Bytes on the device of one process, at the least: buffers that come and go within an operation are not counted.

    Attributes:
        weights: All weights.
        gradients: Of the weights that learn.
        optimiser: Two moments for each of these.
        activations: Kept for the backward pass, for the pictures that a process has at once.
    """

    weights: int
    gradients: int
    optimiser: int
    activations: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.weights + self.gradients + self.optimiser + self.activations


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run will take.

    Attributes:
        config: Its settings.
        machine: Where it would run, with the reasons.
        rate: The peak of the learning rate, with the reason.
        source: Name of the data.
        n_training: Pictures to learn from.
        n_validation: Pictures to measure on.
        n_species: Species among those to learn from.
        n_weights: Weights of the towers and of what is learned beside them.
        n_learning: Those that move.
        n_parts: Parts of a process's share of a batch; above 1 gradients are cached (GradCache).
        memory: Of one process.
        step_seconds: Of one step.
        is_reckoned: Whether that was reckoned from small steps because full ones are slow.
        loading_rate: Pictures per second that all processes read, frame and vary.
    """

    config: TrainingConfig
    machine: Machine
    rate: Choice
    source: str
    n_training: int
    n_validation: int
    n_species: int
    n_weights: int
    n_learning: int
    n_parts: int
    memory: MemoryNeed
    step_seconds: float
    is_reckoned: bool
    loading_rate: float

    @property
    def seconds(self) -> float:
        """Of all steps; the slower of learning and loading decides. Measurements and checkpoints come on top."""
        loading = self.config.engine.batch_size / self.loading_rate
        return self.config.n_steps * max(self.step_seconds, loading)

    def describe(self) -> str:
        """The plan as text for the terminal, one line per aspect."""
        own = (
            self._tell_work(),
            self._tell_data(),
            self._tell_model(),
            self._tell_memory(),
            self._tell_time(),
            self._tell_loading(),
        )
        return "\n".join((*own, *self.machine.describe(), f"learning rate: {self.rate}"))

    def _tell_work(self) -> str:
        engine, passes = self.config.engine, self.config.engine.n_samples / self.n_training
        return (
            f"work: {self.config.n_steps:,} steps of {engine.batch_size:,} pictures, {passes:,.1f} passes over the data"
        )

    def _tell_data(self) -> str:
        return (
            f"data: {self.source}; {self.n_training:,} pictures of {self.n_species:,} species to learn from, "
            f"{self.n_validation:,} to measure on, split by {self.config.data.split_by}"
        )

    def _tell_model(self) -> str:
        return f"model: {self.config.model.start}, {self.n_weights:,} weights, {self.n_learning:,} of them learn"

    def _tell_memory(self) -> str:
        need = self.memory
        share = self.config.engine.batch_size // self.machine.n_processes
        at_once = -(-share // self.n_parts)
        cached = f" ({self.n_parts} parts of a share of {share:,}; gradients are cached)" if self.n_parts > 1 else ""
        return (
            f"memory: at least {say_bytes(need.total)} for each process: weights {say_bytes(need.weights)}, gradients "
            f"{say_bytes(need.gradients)}, optimiser {say_bytes(need.optimiser)}, activations of {at_once:,} pictures "
            f"{say_bytes(need.activations)}{cached}"
        )

    def _tell_time(self) -> str:
        how = "reckoned from smaller steps" if self.is_reckoned else f"timed over {N_TIMED} steps"
        rate = _say_rate(self.config.engine.batch_size / self.step_seconds)
        return (
            f"time: {say_seconds(self.seconds)} for all steps; {self.step_seconds:.3g} s each, {rate} pictures/s, "
            f"{how} on this machine"
        )

    def _tell_loading(self) -> str:
        needed = self.config.engine.batch_size / self.step_seconds
        line = f"loading: {_say_rate(self.loading_rate)} pictures/s are read and framed, {_say_rate(needed)} are needed"
        if self.loading_rate >= needed:
            return line
        return f"{line}; raise data.n_workers to {self.config.data.n_workers + round(needed / self.loading_rate + 0.5)}"


def plan_run(
    config: TrainingConfig,
    *,
    out: Path | None = None,
    progress: Progress = keep_quiet,
    announce: Callable[[str], None] = lambda _line: None,
) -> Plan:
    """Opens data and model as the run would, takes a few steps, and throws them away; no run folder is made.

    Of synthetic data a few pictures are drawn; a run draws all. Pictures of a corpus or of tars are those of the run.

    Args:
        config: Settings.
        out: The folder that the run would have, to see whether it may; None where it is not chosen yet.
        progress: Hears how far the opening of the data is.
        announce: Hears what was opened.

    Raises:
        InputError: What the run itself would be refused for.
    """
    machine = choose_machine(config.engine)
    fabric = start_fabric(machine)
    config, rate = settle_rate(config)
    if out is not None:
        RunFolder(out).check_config(config)
    drawn = draw_less(config)
    with first_process_first(fabric):
        material = open_material(drawn, run=None, announce=announce, progress=progress)
    probe = Probe(drawn, material, fabric)
    n_training, n_validation, n_species = _count_pictures(config, material)
    n_weights, n_learning = probe.count_weights()
    step_seconds, is_reckoned = probe.time_step()
    return Plan(
        config=config,
        machine=machine,
        rate=rate,
        source=material.dataset.name,
        n_training=n_training,
        n_validation=n_validation,
        n_species=n_species,
        n_weights=n_weights,
        n_learning=n_learning,
        n_parts=probe.n_parts,
        memory=MemoryNeed(
            weights=FLOAT * n_weights,
            gradients=FLOAT * n_learning,
            optimiser=ADAM * n_learning,
            activations=probe.reckon_activations(),
        ),
        step_seconds=step_seconds,
        is_reckoned=is_reckoned,
        loading_rate=config.engine.batch_size / probe.loading_seconds,
    )


def say_bytes(n: int) -> str:
    """A number of bytes as a person says it."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n >= size:
            return f"{n / size:.3g} {unit}"
    return f"{n} B"


def _say_rate(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"


def draw_less(config: TrainingConfig) -> TrainingConfig:
    """Settings that draw as few pictures as let the training part be refused or taken as the run's own is.

    Few pictures split by occurrence would lose species that the run keeps, so that they are not split.
    """
    if config.data.source != SYNTHETIC:
        return config
    n_images, share = config.synthetic.n_images, config.data.validation_share
    n_needed = max(N_DRAWN, config.engine.batch_size)
    if config.data.split_by is SplitBy.SPECIES:
        # Twice the evenly spread need, since the parts' sizes are those of the species drawn.
        n_drawn = min(ceil(2 * n_needed / (1 - share)), n_images)
        return replace(config, synthetic=replace(config.synthetic, n_images=n_drawn))
    n_drawn = max(N_SEEN, min(n_needed, n_images - round(share * n_images)))
    synthetic = replace(config.synthetic, n_images=n_drawn)
    return replace(config, synthetic=synthetic, data=replace(config.data, validation_share=0.0))


def _count_pictures(config: TrainingConfig, material: Material) -> tuple[int, int, int]:
    """Pictures to learn from, pictures to measure on, species among the former."""
    import numpy as np

    species = number_species(material.dataset.records)[material.split.training]
    n_species = len(np.unique(species[species >= 0]))
    if config.data.source == SYNTHETIC:
        n_validation = round(config.data.validation_share * config.synthetic.n_images)
        return config.synthetic.n_images - n_validation, n_validation, n_species
    return len(material.split.training), len(material.split.validation), n_species
