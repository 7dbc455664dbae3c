"""The commands `morphospace train` and `morphospace evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from indexer.errors import InputError


def train(
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the run; the encoder lies in its folder `encoder`.", show_default=False),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="A corpus, or WebDataset tars (path or URL, {000..123} for many); by default drawn pictures.",
            show_default=False,
        ),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            help="small or ARCHITECTURE for random weights; ARCHITECTURE/TAG, hf-hub:ID, local-dir:PATH or a run.",
            show_default=False,
        ),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="TOML file of settings; the flags override it.", show_default=False)
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="NAME=VALUE of a setting, as engine.n_samples=50000. Repeatable.", show_default=False
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random.", show_default=False)] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan, the memory and the time; stop.")] = False,
    settings: Annotated[
        bool, typer.Option("--settings", help="Print every setting with its meaning, as a TOML file; stop.")
    ] = False,
) -> None:
    """Train an encoder, or go on with a run that was stopped.

    Without --data it learns from drawn pictures of a synthetic tree of life, as the bundled encoder did. On several
    GPUs or machines: torchrun --nproc-per-node 8 -m explorer -- train … with the same options.

    Example: morphospace train --data birds.corpus --start hf-hub:imageomics/bioclip-2 --out runs/birds
    """
    from explorer.training_run import print_plan, run_training
    from training.settings import TrainingConfig, describe_settings, override_config, read_config

    changes = {"data.source": data, "model.start": start, "seed": seed}
    changes = {name: value for name, value in changes.items() if value is not None} | _read_settings(set_)
    chosen = override_config(read_config(config) if config else TrainingConfig(), changes)
    if settings:
        typer.echo(describe_settings(chosen))
        return
    if dry_run:
        print_plan(chosen, out)
        return
    if out is None:
        raise InputError("--out: missing; name the folder of the run, as runs/birds.")
    run_training(chosen, out)


def evaluate(
    encoder: Annotated[
        str, typer.Argument(help="Encoder to judge: a run, or any name that --model takes.", show_default=False)
    ],
    on: Annotated[
        Path,
        typer.Option(help="A corpus, a run's folder, or with --protocol the data set's folder.", show_default=False),
    ],
    compare: Annotated[
        list[str] | None, typer.Option(help="Another encoder, on the same images. Repeatable.", show_default=False)
    ] = None,
    column: Annotated[
        list[str] | None, typer.Option(help="A column to probe, as sex or lifeStage. Repeatable.", show_default=False)
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(help="A protocol of the BioCLIP 2 paper instead: nabirds, newt, fishnet …", show_default=False),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the table, the figures as JSON and the plot.", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(help="Fixes folds, shots and bootstrap draws.")] = 0,
) -> None:
    """Judge an encoder: names without examples, few examples, probes, retrieval; with intervals over occurrences.

    Example: morphospace evaluate bioclip-2 --on birds.corpus --compare runs/birds --column sex --out judged
    """
    from explorer.evaluation_run import run_evaluation

    run_evaluation(encoder, on=on, compare=compare or [], columns=column or [], protocol=protocol, out=out, seed=seed)


def _read_settings(pairs: list[str] | None) -> dict[str, Any]:
    import tomllib

    found: dict[str, Any] = {}
    for pair in pairs or ():
        name, separator, value = pair.partition("=")
        if not separator:
            raise InputError(f"--set {pair!r}: not of the form NAME=VALUE. Write e.g. --set engine.n_samples=50000")
        try:
            found[name.strip()] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            found[name.strip()] = value
    return found
