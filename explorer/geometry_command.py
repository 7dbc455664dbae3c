"""The command `morphospace geometry`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from explorer.geometry_report.settings import N_SHUFFLES, GeometrySettings, ReportFormat


def geometry(
    corpus: Annotated[Path, typer.Argument(help="Directory of the corpus.", show_default=False)],
    space: Annotated[
        str | None, typer.Option("--space", help="Space to measure; by default the first one made.", show_default=False)
    ] = None,
    by: Annotated[
        list[str] | None,
        typer.Option(
            "--by",
            help="Column of the records or of the trait table, as sex or habitat; by default those that look like "
            "variants or ecology. Repeatable.",
            show_default=False,
        ),
    ] = None,
    traits: Annotated[
        Path | None,
        typer.Option(help="CSV, TSV or Parquet of traits of species, joined by name, as AVONET.", show_default=False),
    ] = None,
    tree: Annotated[
        Path | None,
        typer.Option(help="Phylogeny of species as Newick; by default the taxonomy stands for it.", show_default=False),
    ] = None,
    where: Annotated[
        str | None, typer.Option(help="Only records that meet this SQL condition.", show_default=False)
    ] = None,
    compare: Annotated[
        list[str] | None,
        typer.Option(
            help="Another space, or a corpus (PATH or PATH:SPACE) with the same record ids. Repeatable.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        ReportFormat | None,
        typer.Option("--format", help="By default as --out ends, else md in the terminal.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="File; plots of html and md go to a folder beside it, as PNG and SVG.", show_default=False),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything random.", min=0)] = 0,
    shuffles: Annotated[int, typer.Option(help="Permutations of each null.", min=19)] = N_SHUFFLES,
) -> None:
    """Measure what structure a space has, with intervals and nulls, and write it as a report.

    Between species, within species, the spectrum, suspect records. The report is kept in the corpus, where the app
    shows it; the same question is not measured twice.

    Example: morphospace geometry birds.corpus --by sex --by lifeStage --out birds-geometry.html
    """
    from explorer.geometry_report.measuring import measure_geometry
    from explorer.geometry_report.writing import choose_report_format, write_report
    from explorer.progress import announce
    from indexer.corpus import open_corpus

    form = choose_report_format(output, out)
    settings = GeometrySettings(
        space=space,
        columns=tuple(by or ()),
        traits=traits,
        tree=tree,
        where=where,
        compare=tuple(compare or ()),
        seed=seed,
        n_shuffles=shuffles,
    )
    opened = open_corpus(corpus)
    report = measure_geometry(opened, settings, announce)
    files = write_report(opened, report, form, out)
    for line in describe_files(files):
        announce(line)


def describe_files(files: list[Path]) -> list[str]:
    """What was written, in a line or two."""
    plots = files[1:]
    lines = [f"report: {files[0]}"] if files else []
    return [*lines, f"plots: {len(plots)} files in {plots[0].parent}"] if plots else lines
