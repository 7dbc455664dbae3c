"""`morphospace evaluate`: encoders judged on the same pictures, told in the terminal and kept in a folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from explorer.evaluation_target import embed_target, leave_out_refused, open_target
from explorer.progress import announce
from explorer.training_leaks import list_leaks
from indexer.errors import InputError
from indexer.model_names import CONFIG_NAME
from training.judge.comparison import Comparison, compare_encoders, format_table, list_figures
from training.judge.evaluation import Evaluation, judge_encoder
from training.judge.figures import Omission

if TYPE_CHECKING:
    from indexer.encoding import Encoder
    from training.progress import Progress

TABLE, FIGURES, PLOT = "table.md", "figures.json", "figures.png"


def run_evaluation(
    encoder: str,
    *,
    on: Path,
    compare: Sequence[str] = (),
    columns: Sequence[str] = (),
    protocol: str | None = None,
    out: Path | None = None,
    seed: int = 0,
) -> Comparison:
    """Judge an encoder, beside others on the same pictures; print the short table, write all of it to `out`.

    Args:
        encoder: a name that `--model` takes, or the folder of a run.
        on: a corpus, a run's folder (its validation part), a folder or table of images; with a protocol the folder of
            its data set.
        compare: more encoders; differences are theirs to the first.
        columns: columns to ask about, beside the ranks.
        protocol: a published protocol's name; None judges on records.
        out: folder for the whole table, the figures and the plot; None writes nothing.
        seed: of folds, examples and resamples.

    Raises:
        InputError: an encoder, a column, the protocol or what lies at `on` cannot be used.
    """
    names = [encoder, *compare]
    _check_names(names)
    if protocol is not None and columns:
        raise InputError("--column: a protocol brings its own labels; leave out --column, or --protocol.")
    with _follow() as progress:
        if protocol is None:
            comparison = _judge_records(names, on, columns, seed=seed, progress=progress)
        else:
            comparison = _judge_protocol(names, on, protocol, seed=seed, progress=progress)
    print(format_table(comparison, comparison.headlines(), explain=False))  # noqa: T201
    if out is not None:
        write_comparison(comparison, out)
        announce(f"{out}: {TABLE} (all {len(comparison.rows)} figures), {FIGURES}, {PLOT}")
    return comparison


def _check_names(names: Sequence[str]) -> None:
    twice = next((name for place, name in enumerate(names) if name in names[:place]), None)
    if twice is not None:
        raise InputError(f"--compare {twice}: this encoder is named already; name another one.")


def _judge_records(
    names: Sequence[str], on: Path, columns: Sequence[str], *, seed: int, progress: Progress
) -> Comparison:
    import numpy as np

    from training.judge.case import JudgeSettings
    from training.judge.collection import collect_records

    target = open_target(on, columns, seed=seed, announce=announce, progress=progress)
    collect_records(target.records, columns, name=target.name)  # a wrong column is told before the encoders are loaded
    encoders = dict(zip(label_encoders(names), names, strict=True))
    target = replace(target, notes=(*target.notes, *list_leaks(target, encoders, on)))
    judged = [Judged.load(name, label) for label, name in encoders.items()]
    embedded = [embed_target(one.encoder, target, announce=announce, progress=one.mark(progress)) for one in judged]
    refused = {place: reason for _, own in embedded for place, reason in own.items()}
    readable, places = leave_out_refused(target, refused)
    collection = collect_records(readable.records, columns, name=target.name, notes=readable.notes)
    evaluations = []
    for one, (vectors, _) in zip(judged, embedded, strict=True):
        follow = one.mark(progress)
        follow("judging", 0, 1)
        rows = np.ascontiguousarray(vectors[places])
        found = judge_encoder(one.label, rows, one.encoder.encode_texts, collection, JudgeSettings(seed=seed))
        evaluations.append(replace(found, omissions=(*found.omissions, *one.list_warnings())))
        follow("judging", 1, 1)
    return compare_encoders(evaluations, on=target.name)


def _judge_protocol(names: Sequence[str], on: Path, protocol: str, *, seed: int, progress: Progress) -> Comparison:
    from training.judge.protocols import Effort, find_protocol, judge_task
    from training.towers import list_templates

    chosen = find_protocol(protocol)
    task = chosen.load(on)  # a wrong folder is told before the encoders are loaded
    effort = Effort(seed=seed, templates=list_templates())
    evaluations = []
    for name, label in zip(names, label_encoders(names), strict=True):
        one = Judged.load(name, label)
        figures = judge_task(task, one.encoder, effort=effort, progress=one.mark(progress))
        note = Omission(what=chosen.title, why=chosen.measures)
        omissions = (note, *one.list_warnings())
        evaluations.append(Evaluation(encoder=label, figures=tuple(figures), omissions=omissions))
    return compare_encoders(evaluations, on=chosen.title)


@dataclass(frozen=True, kw_only=True)
class Judged:
    """An encoder on trial.

    Attributes:
        label: its name in tables.
        encoder: loaded.
        said: what it said since it was loaded, as that texts exceed its context.
    """

    label: str
    encoder: Encoder
    said: list[str]

    @classmethod
    def load(cls, name: str, label: str) -> Judged:
        """The encoder of a run's folder, or of any name that `--model` takes."""
        from indexer.encoders import load_encoder

        said: list[str] = []

        def tell(line: str) -> None:
            said.append(line)
            announce(line)

        encoder = load_encoder(locate_encoder(name), announce=tell)
        said.clear()
        return cls(label=label, encoder=encoder, said=said)

    def mark(self, progress: Progress) -> Progress:
        """The progress, its stages marked with the encoder's name."""
        return lambda stage, done, total: progress(f"{self.label}: {stage}", done, total)

    def list_warnings(self) -> tuple[Omission, ...]:
        """What it said, as notes to the figures."""
        return tuple(Omission(what=self.label, why=line) for line in dict.fromkeys(self.said))


def locate_encoder(name: str) -> str:
    """The name under which an encoder is loaded: a run's folder stands for the encoder that it exported."""
    exported = Path(name).expanduser() / "encoder"
    return f"local-dir:{exported}" if (exported / CONFIG_NAME).is_file() else name


def label_encoders(names: Sequence[str]) -> list[str]:
    """Short names for tables: the last part of each, or all of it where two would be called the same."""
    short = [name.rstrip("/").replace("local-dir:", "").rsplit("/", 1)[-1] for name in names]
    return short if len(set(short)) == len(short) else list(names)


def write_comparison(comparison: Comparison, folder: Path) -> None:
    """Write the whole table, the figures as JSON, and the plot."""
    from indexer.files import write_atomically, write_json
    from training.judge.plots import draw_comparison

    folder.mkdir(parents=True, exist_ok=True)
    text = format_table(comparison)
    write_atomically(folder / TABLE, lambda part: part.write_text(text, encoding="utf-8"))
    write_json(folder / FIGURES, list_figures(comparison))
    write_atomically(folder / PLOT, lambda part: draw_comparison(comparison, part))


@contextmanager
def _follow() -> Iterator[Progress]:
    """A progress bar per stage, on standard error."""
    from rich.console import Console
    from rich.progress import Progress as Bars

    tasks: dict[str, Any] = {}
    with Bars(console=Console(stderr=True)) as bars:

        def show(stage: str, done: int, total: int) -> None:
            if stage not in tasks or bars.tasks[tasks[stage]].finished:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield show
