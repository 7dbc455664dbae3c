"""The command `morphospace axis`: make an axis, list those there are, or show the records along one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from indexer.errors import QueryError

if TYPE_CHECKING:
    from explorer.axis_making import RankedCorpus
    from explorer.geometry.axis_store import StoredAxis
    from indexer.corpus import Corpus, Space

N_PLACES, N_EACH = 7, 3
"""Percentiles at which records are shown, and how many at each."""
_ENDINGS = (".csv", ".parquet", ".html")


def axis(
    corpus: Annotated[Path, typer.Argument(help="Directory of the corpus.", show_default=False)],
    name: Annotated[str | None, typer.Argument(help="Name of the axis.", show_default=False)] = None,
    start: Annotated[
        str | None,
        typer.Option("--from", help="Group it leads from: COLUMN=VALUE or an SQL condition.", show_default=False),
    ] = None,
    end: Annotated[str | None, typer.Option("--to", help="Group it leads to.", show_default=False)] = None,
    plus: Annotated[
        list[str] | None, typer.Option(help="Id of a record at the upper end. Repeatable.", show_default=False)
    ] = None,
    minus: Annotated[
        list[str] | None, typer.Option(help="Id of a record at the lower end. Repeatable.", show_default=False)
    ] = None,
    texts: Annotated[
        tuple[str, str] | None,
        typer.Option(
            help="The upper and the lower end in words. With --from and --to, it is judged on them.", show_default=False
        ),
    ] = None,
    template: Annotated[str, typer.Option(help="raw, photo ('a photo of {}.'), or a sentence with {}.")] = "raw",
    level: Annotated[
        str | None,
        typer.Option(
            "--inside",
            help="Compare the groups inside each species, genus or family, or none; by default the finest that at "
            "least three show both groups of.",
            show_default=False,
        ),
    ] = None,
    space: Annotated[
        str | None, typer.Option(help="Space to use; by default the first one made.", show_default=False)
    ] = None,
    is_replaced: Annotated[bool, typer.Option("--replace", help="Replace the axis of that name.")] = False,
    is_list: Annotated[bool, typer.Option("--list", help="List the axes of the space; stop.")] = False,
    is_shown: Annotated[bool, typer.Option("--show", help="Show the axis of that name; stop.")] = False,
    within_species: Annotated[
        bool, typer.Option("--within-species", help="Rank records by their position less that of their species.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(help="File for the ranking: .csv or .parquet, or .html with images.", show_default=False),
    ] = None,
    shuffles: Annotated[int, typer.Option(help="Of the null.", min=19)] = 199,
    seed: Annotated[int, typer.Option(help="Fixes folds and shuffles.")] = 0,
    device: Annotated[str, typer.Option(help="Where the model of --texts runs: auto, cpu, cuda or mps.")] = "auto",
) -> None:
    """Make, list or show axes: directions in a space, as from male to female, or from a small beak to a large one.

    An axis of two groups is taken inside species, so that taxonomy is not in it, and judged on species that had no part
    in it. It can then be searched (search --axis NAME) and colour the map.

    Example: morphospace axis birds.corpus maleness --from sex=female --to sex=male
    """
    from indexer.corpus import open_corpus

    if out is not None and out.suffix.lower() not in _ENDINGS:
        raise QueryError(f"--out {out}: the ending says how it is written; use {', '.join(_ENDINGS)}.")
    opened = open_corpus(corpus)
    chosen = opened.open_space(space)
    if is_list:
        _print_list(chosen)
        return
    if name is None:
        raise QueryError("axis: give a name, or --list. Write e.g. morphospace axis birds.corpus maleness --show")
    if not is_shown:
        sources = {"start": start, "end": end, "plus": tuple(plus or ()), "minus": tuple(minus or ()), "texts": texts}
        settings = {"template": template, "level": level, "n_shuffles": shuffles, "seed": seed}
        _make(opened, chosen, name, sources | settings, device=device, is_replaced=is_replaced)
    elif start or end or plus or minus or texts:
        raise QueryError("--show: shows an axis that is there; leave out what it would be made from.")
    _show(opened, chosen, name, within_species=within_species, out=out)


def _make(corpus: Corpus, space: Space, name: str, options: dict[str, Any], *, device: str, is_replaced: bool) -> None:
    from explorer.axis_making import AxisRequest, make_axis
    from explorer.geometry.axis_store import keep_axis
    from explorer.progress import announce
    from explorer.query import resolve_template
    from explorer.search import Searcher

    template = resolve_template(options.pop("template"))
    request = AxisRequest(name=name, template=template, level=_read_level(options.pop("level")), **options)
    searcher = Searcher(corpus, space, device=device, announce=announce)
    made = make_axis(corpus, space, request, lambda texts: searcher.encoder.encode_texts(list(texts)))
    keep_axis(space, made, is_replaced=is_replaced)


def _read_level(given: str | None) -> Any:
    from explorer.geometry.axes import TAXON_LEVELS, Level

    allowed = [*TAXON_LEVELS, Level.NONE]
    if given is None:
        return None
    if given not in allowed:
        raise QueryError(f"--inside {given!r}: not known; use {', '.join(allowed)}.")
    return Level(given)


def _print_list(space: Space) -> None:
    from explorer.geometry.axis_store import list_axes

    axes = list_axes(space)
    for each in axes:
        typer.echo(each.describe())
    if not axes:
        typer.echo(f"space {space.name} has no axis yet; make one with: morphospace axis {space.corpus_path} NAME …")


def _show(corpus: Corpus, space: Space, name: str, *, within_species: bool, out: Path | None) -> None:
    from explorer.axis_making import rank_corpus
    from explorer.geometry.axis_store import open_axis

    stored = open_axis(space, name)
    ranked = rank_corpus(corpus, space, stored)
    for line in describe_axis(stored):
        typer.echo(line)
    for percentile, places in pick_shown(ranked, within_species=within_species):
        listed = ", ".join(f"{ranked.record_ids[place]} ({ranked.ranking.positions[place]:+.2f})" for place in places)
        typer.echo(f"{percentile:5.0f} %  {listed}")
    if out is not None:
        write_ranking(corpus, stored, ranked, out, within_species=within_species)
        typer.echo(f"{out}: {len(ranked.rows):,} records along {name}")


def describe_axis(axis: StoredAxis) -> list[str]:
    """What an axis is and how far it can be believed, a sentence each."""
    lines = [axis.describe()]
    lines += [finding.reading for finding in axis.findings]
    lines += [f"{one.statistic}: not measured, because {one.reason}." for one in axis.skipped]
    return lines


def pick_shown(ranked: RankedCorpus, *, within_species: bool) -> list[tuple[float, Any]]:
    """The records to show, at even percentiles of the positions, or of what is left of them inside species."""
    from explorer.geometry.axis_ranking import pick_quantiles

    numbers = ranked.ranking.residuals if within_species else ranked.ranking.positions
    return pick_quantiles(numbers, ranked.occurrences, n_places=N_PLACES, n_each=N_EACH)


def write_ranking(
    corpus: Corpus, axis: StoredAxis, ranked: RankedCorpus, out: Path, *, within_species: bool = False
) -> None:
    """Write every record's place as CSV or Parquet, highest first, or a page of images at even percentiles."""
    from indexer.files import write_atomically

    ending = out.suffix.lower()
    if ending == ".html":
        page = write_page(corpus, axis, ranked, within_species=within_species)
        write_atomically(out, lambda part: part.write_text(page, encoding="utf-8"))
    else:
        table = _make_table(ranked, within_species=within_species)
        write_atomically(out, lambda part: _write_table(table, part, ending))


def _make_table(ranked: RankedCorpus, *, within_species: bool) -> Any:
    import numpy as np
    import pyarrow as pa

    found = ranked.ranking
    numbers = {"position": found.positions, "within_species": found.residuals, "percentile": found.percentiles}
    # nan is sorted to the end whichever way round.
    order = np.argsort(-(found.residuals if within_species else found.positions), kind="stable")
    columns: dict[str, Any] = {"row": ranked.rows[order]}
    columns["record_id"] = [ranked.record_ids[place] for place in order]
    columns |= {name: pa.array(values[order], from_pandas=True) for name, values in numbers.items()}
    return pa.table(columns)


def _write_table(table: Any, path: Path, ending: str) -> None:
    import pyarrow.csv as csv
    import pyarrow.parquet as parquet

    if ending == ".csv":
        csv.write_csv(table, path)
    else:
        parquet.write_table(table, path)


_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#222}"
    "section{display:flex;flex-wrap:wrap;gap:.75rem;align-items:flex-start;border-top:1px solid #ddd;padding:.75rem 0}"
    "h2{font-size:1rem;width:4rem;margin:0}figure{margin:0;width:180px}img{max-width:100%}"
    "figcaption{font-size:.8rem;overflow-wrap:anywhere}"
)


def write_page(corpus: Corpus, axis: StoredAxis, ranked: RankedCorpus, *, within_species: bool = False) -> str:
    """One self-contained page: what the axis is, and images of records at even percentiles, the highest first."""
    from html import escape

    from explorer.captions import credit_record, name_record

    parts = [f"<h1>{escape(axis.name)}</h1>", *(f"<p>{escape(line)}</p>" for line in describe_axis(axis))]
    for percentile, places in reversed(pick_shown(ranked, within_species=within_species)):
        rows = ranked.rows[places].tolist()
        records = corpus.read_rows(rows).to_pylist() if rows else []
        captions = [
            f"{name_record(record)} · {record['record_id']} · {ranked.ranking.positions[place]:+.2f} · "
            f"{credit_record(record)}".removesuffix(" · ")
            for record, place in zip(records, places, strict=True)
        ]
        figures = _write_figures(corpus.read_thumbnails(rows) if rows else [], captions)
        parts.append(f"<section><h2>{percentile:.0f} %</h2>{figures}</section>")
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(axis.name)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style>{"".join(parts)}</html>\n'
    )


def _write_figures(images: Sequence[bytes | None], captions: Sequence[str]) -> str:
    from base64 import b64encode
    from html import escape

    figures = []
    for image, caption in zip(images, captions, strict=True):
        source = f"data:image/webp;base64,{b64encode(image).decode()}" if image else ""
        picture = f'<img src="{source}" alt="{escape(caption, quote=True)}">' if image else "<p>no image</p>"
        figures.append(f"<figure>{picture}<figcaption>{escape(caption)}</figcaption></figure>")
    return "".join(figures)
