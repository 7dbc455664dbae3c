"""The command `search`: one question to the terminal or a file, or many of them to a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from explorer.batches import answer_batch
from explorer.fusion import Fusion, SpaceQuery, search_spaces
from explorer.hits import choose_format, write_hits
from explorer.progress import announce
from explorer.query import Query, build_query, resolve_template
from explorer.request import Request
from explorer.search import Searcher
from indexer.errors import QueryError


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a command line asks with; `queries` is a table or folder that asks in place of all but the template."""

    text: str | None = None
    images: tuple[Path, ...] = ()
    like: tuple[str, ...] = ()
    unlike: tuple[str, ...] = ()
    minus: tuple[str, ...] = ()
    axes: tuple[str, ...] = ()
    weights: tuple[str, ...] = ()
    template: str = "raw"
    queries: Path | None = None

    @property
    def has_parts(self) -> bool:
        """Whether the command line itself asks something."""
        return bool(self.text or self.images or self.like or self.unlike or self.minus or self.axes or self.weights)

    def build_query(self) -> Query:
        """The query of the command line."""
        return build_query(
            text=self.text,
            images=self.images,
            like=self.like,
            unlike=self.unlike,
            minus=self.minus,
            axes=self.axes,
            weights=self.weights,
            template=self.template,
        )


def run_search(
    searchers: Sequence[Searcher],
    asked: Asked,
    request: Request,
    *,
    fuse: str = Fusion.RANK,
    output: str | None = None,
    out: Path | None = None,
) -> None:
    """Answer a command line and write the hits; QueryError where its parts do not fit together."""
    if asked.queries is not None:
        _run_batch(searchers, asked, request, Fusion(fuse), output, out)
        return
    form = choose_format(output, out)
    query = asked.build_query()
    result = search_spaces(
        [SpaceQuery(searcher=searcher, query=query) for searcher in searchers], request, fusion=Fusion(fuse)
    )
    for note in result.notes:
        announce(note)
    write_hits(result.hits, form, out)


def _run_batch(
    searchers: Sequence[Searcher], asked: Asked, request: Request, fusion: Fusion, output: str | None, out: Path | None
) -> None:
    assert asked.queries is not None
    if asked.has_parts:
        raise QueryError("--queries: the questions are in that table, so none is asked on the command line. Leave one.")
    if out is None:
        raise QueryError("--queries: hits of many queries go to a file. Name one with --out hits.parquet")
    choose_format(output, out)
    report = answer_batch(
        searchers,
        asked.queries,
        out,
        request,
        fusion=fusion,
        template=resolve_template(asked.template),
        announce=announce,
    )
    for line in report.describe():
        announce(line)
