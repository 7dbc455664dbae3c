"""What a run works on: the pictures, their split, the towers, and what learns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from training.datasets import open_dataset
from training.progress import Progress
from training.settings import SMALL, TrainingConfig
from training.splits import DESCRIPTION, read_split, split_dataset

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable
    from pathlib import Path

    import numpy as np
    import pyarrow as pa
    from jaxtyping import Int64

    from training.examples import Batch, Captioned, Dataset
    from training.splits import Split
    from training.towers import Towers

N_VOCABULARY_TEXTS = 40_000
"""Captions that the vocabulary of "small" is learned from."""


@dataclass(frozen=True, kw_only=True)
class Material:
    """Pictures and towers, opened.

    Attributes:
        replay: General pairs; None without a replay.
    """

    dataset: Dataset
    split: Split
    towers: Towers
    replay: Captioned | None


def open_material(
    config: TrainingConfig, *, run: Path | None, announce: Callable[[str], None], progress: Progress
) -> Material:
    """Opens what the settings name; a run that is gone on with keeps the split of its folder.

    The towers' first weights and the split follow the seed.

    Raises:
        InputError: Data or model cannot be had, or the data changed since the run began.
    """
    from training.loading import write_sample_captions

    is_small = config.model.start == SMALL
    towers = None if is_small else _open_towers(config, None, announce)
    side = towers.image_side if towers else config.small.image_side
    dataset = open_dataset(config, image_side=side, announce=announce, progress=progress)
    split = find_split(dataset.records, config, run)
    if towers is None:
        texts = write_sample_captions(dataset, split.training, config, N_VOCABULARY_TEXTS)
        towers = _open_towers(config, texts, announce)
    return Material(dataset=dataset, split=split, towers=towers, replay=_open_replay(config, announce, progress))


def _open_towers(config: TrainingConfig, texts: Iterable[str] | None, announce: Callable[[str], None]) -> Towers:
    import torch

    from training.towers import open_towers

    torch.manual_seed(config.seed)
    return open_towers(config.model, config.small, texts=texts, announce=announce)


def find_split(records: pa.Table, config: TrainingConfig, run: Path | None) -> Split:
    """The split of the folder `run`, or a new one where there is none."""
    if run is not None and (run / DESCRIPTION).exists():
        return read_split(run, records)
    return split_dataset(records, config.data, config.seed)


def number_species(records: pa.Table) -> Int64[np.ndarray, " n"]:
    """A number per record, the same for one species; -1 where the species is not named."""
    import pyarrow as pa
    import pyarrow.compute as pc

    codes = pc.dictionary_encode(records.column("species").combine_chunks()).indices
    numbers: Int64[np.ndarray, " n"] = pc.fill_null(codes.cast(pa.int64()), -1).to_numpy(zero_copy_only=False)
    return numbers


def load_steps(
    material: Material,
    config: TrainingConfig,
    *,
    first_step: int = 0,
    process: int = 0,
    n_processes: int = 1,
    pin_memory: bool = False,
    announce: Callable[[str], None] = lambda _line: None,
) -> Generator[Batch, None, None]:
    """The batches of this process from step `first_step` on, without end; close it when enough are taken.

    `announce` hears of pictures that cannot be read.
    """
    from training.loading import load_batches
    from training.sampling import number_taxa, plan_batches

    batches = plan_batches(
        number_taxa(material.dataset.records),
        material.split.training,
        config.data,
        config.engine.batch_size,
        config.seed,
        first_step=first_step,
    )
    yield from load_batches(
        material.dataset,
        batches,
        config,
        material.towers.preprocessing,
        material.towers.tokenise,
        first_step=first_step,
        process=process,
        n_processes=n_processes,
        replay=material.replay,
        pin_memory=pin_memory,
        announce=announce,
    )


def _open_replay(config: TrainingConfig, announce: Callable[[str], None], progress: Progress) -> Captioned | None:
    if not config.replay.source:
        return None
    from training.pairs import open_pairs

    return open_pairs(config.replay.source, config.data.cache, announce=announce, progress=progress)
