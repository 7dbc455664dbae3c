"""The command `morphospace`."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from explorer.learning_commands import evaluate, train
from indexer.errors import InputError

app = typer.Typer(
    name="morphospace",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Search, map and measure a collection of images as a contrastive image-text model sees it.",
)


class Device(StrEnum):
    """Where the model runs."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"
    MPS = "mps"


class Precision(StrEnum):
    """Number format of the model's weights."""

    AUTO = "auto"
    FP32 = "fp32"
    BF16 = "bf16"


class OutputFormat(StrEnum):
    """How hits are written."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    PARQUET = "parquet"


CorpusArgument = Annotated[Path, typer.Argument(help="Directory of the corpus.", show_default=False)]
CorpusOption = Annotated[
    Path, typer.Option("--corpus", help="Directory of the corpus; made where it is absent.", show_default=False)
]
SpaceOption = Annotated[
    str | None, typer.Option("--space", help="Space to use; by default the first one made.", show_default=False)
]
ColumnOption = Annotated[
    list[str] | None,
    typer.Option(
        "--column",
        help="TERM=COLUMN: read a Darwin Core term (or file, record_id) from that column. Repeatable.",
        show_default=False,
    ),
]
DeviceOption = Annotated[Device, typer.Option("--device", help="Where the model runs.")]


def main() -> NoReturn:
    """Run the command; an InputError is printed and exits 2, anything else keeps its traceback."""
    try:
        app()
    except InputError as error:
        print(f"morphospace: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(2)
    sys.exit(0)


@app.command()
def index(
    source: Annotated[
        Path,
        typer.Argument(
            help="A folder of images, or a CSV, TSV or Parquet table with one row per image.", show_default=False
        ),
    ],
    corpus: CorpusOption,
    manifest: Annotated[
        Path | None, typer.Option(help="Table that describes the images of a folder.", show_default=False)
    ] = None,
    column: ColumnOption = None,
    model: Annotated[
        str,
        typer.Option(
            help="bioclip-2, bioclip, bioclip-2.5, siglip2, bundled; or ARCHITECTURE/TAG of open_clip, hf-hub:ID, "
            "local-dir:PATH."
        ),
    ] = "bioclip-2",
    space: Annotated[
        str | None, typer.Option(help="Name of the space; by default the model's.", show_default=False)
    ] = None,
    device: DeviceOption = Device.AUTO,
    precision: Annotated[Precision, typer.Option(help="Number format of the model's weights.")] = Precision.AUTO,
    make_map: Annotated[
        bool, typer.Option("--map/--no-map", help="Lay out the UMAP map too (a minute at least).")
    ] = True,
) -> None:
    """Embed images into a corpus. Run again it does only what is missing.

    Example: morphospace index photos --manifest photos.csv --corpus birds.corpus --column species=label
    """
    from explorer.progress import follow_job
    from indexer.job import IndexSettings, index_images

    settings = IndexSettings(
        source=source,
        corpus=corpus,
        manifest=manifest,
        columns=_read_column_map(column),
        model=model,
        space=space,
        device=device,
        precision=precision,
        with_map=make_map,
    )
    with follow_job() as listener:
        report = index_images(settings, listener)
    _say(report.describe())
    _say(f"open it with: morphospace explore {corpus}")


@app.command("import-vectors")
def import_vectors(
    file: Annotated[
        Path,
        typer.Argument(
            help="Parquet file, or a folder of them, with an id (uuid, file, record_id) and emb.", show_default=False
        ),
    ],
    corpus: CorpusOption,
    space: Annotated[str, typer.Option(help="Name of the space.", show_default=False)],
    metadata: Annotated[
        Path | None, typer.Option(help="Table of the records' columns, joined on the id.", show_default=False)
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Folder in which the ids are paths of images.", show_default=False)
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Encoder that made the vectors, so that texts can be asked.", show_default=False)
    ] = None,
    column: ColumnOption = None,
    make_map: Annotated[
        bool, typer.Option("--map/--no-map", help="Lay out the UMAP map too (a minute at least).")
    ] = True,
) -> None:
    """Import precomputed vectors as a space.

    A vector joins the record of the same id; an id that the corpus does not hold makes a record, with or without image.

    Example: morphospace import-vectors embeddings.parquet --corpus birds.corpus --space bioclip-2
    """
    from explorer.progress import announce
    from indexer.imported import ImportSettings
    from indexer.imported import import_vectors as run

    settings = ImportSettings(
        file=file,
        corpus=corpus,
        space=space,
        metadata=metadata,
        images=images,
        model=model,
        columns=_read_column_map(column),
        with_map=make_map,
    )
    _say(run(settings, announce).describe())


@app.command("map")
def lay_out(corpus: CorpusArgument, space: SpaceOption = None) -> None:
    """Lay out the UMAP map of a space.

    Does nothing where the map shows every vector already.

    Example: morphospace map birds.corpus --space bioclip-2
    """
    from explorer.progress import announce
    from indexer.corpus import open_corpus
    from indexer.job import refresh_index, refresh_map

    opened = open_corpus(corpus)
    with opened.lock():
        chosen = opened.open_space(space)
        refresh_index(chosen, announce)
        refresh_map(chosen, announce)


@app.command()
def info(corpus: CorpusArgument) -> None:
    """Say what a corpus holds and how it was made.

    Example: morphospace info birds.corpus
    """
    from explorer.summary import print_summary
    from indexer.corpus import open_corpus

    print_summary(open_corpus(corpus))


@app.command()
def check(corpus: CorpusArgument) -> None:
    """Verify a corpus: every promise of its format.

    Exits 1, with a list, where one is broken.

    Example: morphospace check birds.corpus
    """
    from indexer.check import check_corpus
    from indexer.corpus import open_corpus

    report = check_corpus(open_corpus(corpus))
    for line in report.pending:
        _say(f"to do: {line}")
    for line in report.faults:
        _say(f"fault: {line}")
    _say(f"{corpus}: {report.n_checked} checks, {len(report.faults)} faults")
    raise typer.Exit(1 if report.faults else 0)


@app.command()
def search(
    corpus: CorpusArgument,
    text: Annotated[str | None, typer.Argument(help="What to look for, in words.", show_default=False)] = None,
    image: Annotated[
        list[Path] | None, typer.Option(help="Look for what resembles this image. Repeatable.", show_default=False)
    ] = None,
    like: Annotated[
        list[str] | None, typer.Option(help="Look for what resembles this record. Repeatable.", show_default=False)
    ] = None,
    minus: Annotated[
        list[str] | None, typer.Option(help="Push away from this text. Repeatable.", show_default=False)
    ] = None,
    weight: Annotated[
        list[str] | None,
        typer.Option(
            help="KIND=NUMBER for kind text, image, like (1 by default) or minus (0.5). Repeatable.", show_default=False
        ),
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(help="SQL condition over the columns, e.g. \"lifeStage = 'adult'\".", show_default=False),
    ] = None,
    taxon: Annotated[
        str | None, typer.Option(help="Only records of this name, at any rank.", show_default=False)
    ] = None,
    k: Annotated[int, typer.Option("-k", help="How many hits.", min=1)] = 10,
    space: SpaceOption = None,
    template: Annotated[str, typer.Option(help="raw, photo ('a photo of {}.'), or a sentence with {}.")] = "raw",
    output: Annotated[
        OutputFormat | None,
        typer.Option(
            "--format", help="How hits are written; by default as --out ends, else a table.", show_default=False
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="File to write the hits to; needed for parquet.", show_default=False)
    ] = None,
    all_images: Annotated[
        bool, typer.Option("--all-images", help="Do not collapse the images of one occurrence.")
    ] = False,
    include_queried: Annotated[
        bool, typer.Option("--include-queried", help="Let a queried record answer itself.")
    ] = False,
    device: DeviceOption = Device.AUTO,
) -> None:
    """Find records by text, image or likeness.

    Score is the cosine (higher is closer); percentile is the share of random comparisons that score lower.

    Example: morphospace search birds.corpus "a juvenile bird" --where "sex = 'male'" -k 20
    """
    from explorer.filters import Filter
    from indexer.lean_imports import import_tables_without_pandas

    import_tables_without_pandas()
    from explorer.hits import choose_format, write_hits
    from explorer.progress import announce
    from explorer.query import build_query
    from explorer.search import Searcher
    from indexer.corpus import open_corpus

    form = choose_format(output, out)
    query = build_query(
        text=text, images=image or (), like=like or (), minus=minus or (), weights=weight or (), template=template
    )
    opened = open_corpus(corpus)
    searcher = Searcher(opened, opened.open_space(space), device=device, announce=announce)
    result = searcher.search(
        query,
        k=k,
        record_filter=Filter(where=where, taxon=taxon),
        all_images=all_images,
        include_queried=include_queried,
    )
    for note in result.notes:
        announce(note)
    write_hits(result.hits, form, out)


@app.command()
def export(
    corpus: CorpusArgument,
    file: Annotated[Path, typer.Argument(help="A .parquet or .csv file.", show_default=False)],
    vectors: Annotated[
        str | None, typer.Option(help="Space whose vectors are written beside the columns, as emb.", show_default=False)
    ] = None,
    where: Annotated[str | None, typer.Option(help="SQL condition over the columns.", show_default=False)] = None,
) -> None:
    """Write records, and vectors, to a file.

    Example: morphospace export birds.corpus birds.parquet --vectors bioclip-2
    """
    from explorer.export import export_records
    from indexer.corpus import open_corpus

    n_records = export_records(open_corpus(corpus), file, space_name=vectors, where=where)
    _say(f"{file}: {n_records:,} records")


@app.command()
def explore(
    corpus: CorpusArgument,
    port: Annotated[int, typer.Option(help="Port of the server.", min=1, max=65535)] = 8501,
    address: Annotated[
        str, typer.Option(help="Address that the server binds to; the default answers this machine only.")
    ] = "127.0.0.1",
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open a browser window.")] = True,
) -> None:
    """Open a corpus in the app: search, map, corpus.

    Example: morphospace explore birds.corpus --port 8502
    """
    from explorer.server import serve_app
    from indexer.corpus import open_corpus

    serve_app(open_corpus(corpus), port=port, address=address, open_browser=browser)


@app.command()
def demo(
    corpus: Annotated[Path, typer.Option(help="Directory of the demo corpus; made where it is absent.")] = Path(
        "demo.corpus"
    ),
    images: Annotated[int, typer.Option(help="How many images are drawn.", min=50)] = 2000,
    port: Annotated[int, typer.Option(help="Port of the server.", min=1, max=65535)] = 8501,
    show_app: Annotated[bool, typer.Option("--app/--no-app", help="Open the app at the end.")] = True,
) -> None:
    """Draw, index and open a demo corpus.

    A synthetic tree of life and the bundled encoder: needs no network.

    Example: morphospace demo --corpus demo.corpus --port 8502
    """
    from explorer.demo import run_demo

    run_demo(corpus, n_images=images, port=port, show_app=show_app)


app.command()(train)
app.command()(evaluate)


def _say(line: str) -> None:
    typer.echo(line)


def _read_column_map(pairs: list[str] | None) -> dict[str, str]:
    found = {}
    for pair in pairs or ():
        term, separator, column = pair.partition("=")
        if not separator or not term.strip() or not column.strip():
            raise InputError(f"--column {pair!r}: not of the form TERM=COLUMN. Write e.g. --column species=label")
        found[term.strip()] = column.strip()
    return found
