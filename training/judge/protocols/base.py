"""What the protocols share: what a task is, how far it goes, and what a user hears of a folder that does not fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from indexer.errors import SourceError
from training.judge.figures import Figure, Task
from training.judge.naming import TEMPLATES, EncodeTexts
from training.progress import Progress, keep_quiet

if TYPE_CHECKING:
    import pyarrow as pa
    from jaxtyping import Float32

    from indexer.encoding import Encoder
    from training.judge.bootstrap import Estimate
    from training.judge.protocols.pictures import Pictures


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How far a protocol goes; the defaults are those of BioCLIP 2's released code, but for the templates.

    Attributes:
        templates: Texts for zero-shot naming, each with one `{}`. BioCLIP 2 averages CLIP's 80
            (`training.towers.list_templates`), which `morphospace evaluate` gives; the default, BioCLIP's one, does
            without open_clip.
        seed: Of draws, heads and searches; run i has seed + i.
        n_folds: Draws of examples for few-shot naming.
        n_runs: Repeats of what is trained or clustered (NeWT, FishNet, AwA2, Herbarium19).
        n_epochs: Passes over the training pictures for a head (FishNet, AwA2).
        n_draws: Settings that the search of NeWT tries per task.
        n_resamples: Draws of the bootstrap behind the intervals.
        n_jobs: Processes for the search of NeWT; -1 takes every core.
    """

    templates: tuple[str, ...] = TEMPLATES
    seed: int = 0
    n_folds: int = 5
    n_runs: int = 3
    n_epochs: int = 50
    n_draws: int = 100
    n_resamples: int = 1000
    n_jobs: int = 1


class ProtocolTask(Protocol):
    """A data set that was found whole, with the way it is judged."""

    @property
    def pictures(self) -> Pictures:
        """All the pictures, by position."""

    def judge(self, vectors: Float32[np.ndarray, "n d"], encode_texts: EncodeTexts, effort: Effort) -> list[Figure]:
        """The figures of an encoder, from its unit vectors of the pictures; texts are embedded where names are
        asked."""


@dataclass(frozen=True, kw_only=True)
class JudgeProtocol:
    """A published benchmark.

    Attributes:
        name: On the command line.
        title: In tables.
        layout: What the folder must hold, in words.
        measures: What is reported, in words.
        load: The task in a folder; SourceError says what the folder lacks.
    """

    name: str
    title: str
    layout: str
    measures: str
    load: Callable[[Path], ProtocolTask]


def run_protocol(
    protocol: JudgeProtocol,
    folder: Path,
    encoder: Encoder,
    *,
    effort: Effort | None = None,
    progress: Progress = keep_quiet,
) -> list[Figure]:
    """The figures of an encoder on the data set in `folder`.

    Raises:
        SourceError: the folder does not hold the data set.
        ImageError: a picture cannot be read.
        EncoderError: a picture or text came out as no vector.
    """
    return judge_task(protocol.load(folder), encoder, effort=effort or Effort(), progress=progress)


def judge_task(
    task: ProtocolTask, encoder: Encoder, *, effort: Effort, progress: Progress = keep_quiet
) -> list[Figure]:
    """The figures of an encoder on a task that was loaded.

    Raises:
        ImageError: a picture cannot be read.
        EncoderError: a picture or text came out as no vector.
    """
    from training.judge.protocols.pictures import embed_pictures

    vectors = embed_pictures(encoder, task.pictures, progress=progress)
    progress("judging", 0, 1)
    figures = task.judge(vectors, encoder.encode_texts, effort)
    progress("judging", 1, 1)
    return figures


def require(folder: Path, names: Sequence[str], *, benchmark: str, layout: str) -> None:
    """Nothing, where the folder holds all the names.

    Raises:
        SourceError: it is no folder, or lacks some of them; the message names all that it lacks.
    """
    if not folder.is_dir():
        raise SourceError(f"{folder}: there is no such folder; {benchmark} needs {layout}.")
    missing = [name for name in names if not (folder / name).exists()]
    if missing:
        raise SourceError(
            f"{folder}: {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing; {benchmark} needs "
            f"{layout}. Give the folder that holds them."
        )


def require_columns(table: pa.Table, columns: Sequence[str], *, where: Path) -> None:
    """Nothing, where the table has the columns.

    Raises:
        SourceError: it lacks some; the message names them and those that there are.
    """
    missing = [column for column in columns if column not in table.column_names]
    if missing:
        raise SourceError(
            f"{where}: no column {', '.join(missing)}; there are {', '.join(table.column_names)}. "
            "Take the table as it was published."
        )


def read_csv(path: Path) -> pa.Table:
    """The table with all its cells as text, "" where they are empty.

    Raises:
        SourceError: not a table, or lines with too few or too many cells.
    """
    import pyarrow as pa

    from indexer.tables import read_table

    raw = read_table(path)
    return pa.table({name: column.cast(pa.string()).fill_null("") for name, column in raw.columns.items()})


def make_figure(
    label: str,
    measure: str,
    estimate: Estimate,
    *,
    n: int,
    chance: float | None,
    detail: str = "",
    n_groups: int | None = None,
    n_classes: int | None = None,
    is_headline: bool = False,
) -> Figure:
    """A protocol's figure; where no groups are given every picture counts as an occurrence of its own."""
    return Figure(
        task=Task.PROTOCOL,
        label=label,
        measure=measure,
        detail=detail,
        estimate=estimate,
        chance=chance,
        n=n,
        n_occurrences=n if n_groups is None else n_groups,
        n_classes=n_classes,
        is_headline=is_headline,
    )


def average_estimates(estimates: Sequence[Estimate]) -> Estimate:
    """The mean of independent shares, each counting the same, with the interval of the mean of their draws.

    Where all of them are 0, or all 1, see `training.judge.bootstrap.widen_certainty`.
    """
    from training.judge.bootstrap import summarise_draws, widen_certainty

    mean = summarise_draws(
        float(np.mean([estimate.value for estimate in estimates])),
        np.mean([estimate.draws for estimate in estimates], axis=0),
        n_groups=min(estimate.n_groups for estimate in estimates),
    )
    return widen_certainty(mean, n_trials=sum(estimate.n_groups for estimate in estimates))
