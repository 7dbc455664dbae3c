"""The command `morphospace review`: how far the review of suspects has come, and the queue as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from indexer.errors import QueryError

if TYPE_CHECKING:
    from explorer.geometry.suspects import Suspect, SuspectKind
    from explorer.review import Decision


def review(
    corpus: Annotated[Path, typer.Argument(help="Directory of the corpus.", show_default=False)],
    space: Annotated[
        str | None, typer.Option(help="Space to use; by default the first one made.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="CSV for the suspects, with what was decided about each.", show_default=False)
    ] = None,
) -> None:
    """Say how many suspects of the latest geometry report are decided, and write them with the decisions.

    Decisions are made in the app, on the page Review.

    Example: morphospace review birds.corpus --out review.csv
    """
    from explorer.geometry_report.store import list_reports
    from explorer.progress import announce
    from explorer.review import drop_removed, export_review, read_decisions
    from indexer.corpus import open_corpus

    opened = open_corpus(corpus)
    chosen = opened.open_space(space)
    reports = list_reports(chosen)
    decisions = read_decisions(opened)
    if not reports and not decisions:
        raise QueryError(
            f"{opened.name}: space {chosen.name} was not measured yet, so that there are no suspects. Run: "
            f"morphospace geometry {corpus} --space {chosen.name} --out report.html"
        )
    suspects = drop_removed(opened, reports[0].report.suspects) if reports else []
    for line in describe_review(suspects, decisions):
        typer.echo(line)
    if out is not None:
        announce(f"{out}: {export_review(opened, suspects, out):,} lines")


def describe_review(suspects: Sequence[Suspect], decisions: Mapping[tuple[SuspectKind, str], Decision]) -> list[str]:
    """How many suspects of each kind there are and how they were decided, a line each."""
    from collections import Counter

    from explorer.geometry.suspects import SuspectKind
    from explorer.geometry_report.suspect_words import TITLES
    from explorer.review import Verdict

    lines = []
    for kind in SuspectKind:
        own = [decisions.get((kind, one.subject)) for one in suspects if one.kind is kind]
        counts = Counter(decision.verdict for decision in own if decision)
        said = ", ".join(f"{counts[verdict]:,} {verdict}" for verdict in Verdict if counts[verdict])
        lines.append(f"{TITLES[kind]}: {len(own):,}, {sum(counts.values()):,} decided{f' ({said})' if said else ''}")
    listed = {(one.kind, one.subject) for one in suspects}
    older = sum(key not in listed for key in decisions)
    return [*lines, f"Decisions about what is no suspect here: {older:,}"] if older else lines
