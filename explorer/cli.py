"""The command `morphospace`."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from explorer.axis_command import axis
from explorer.contrast_command import contrast
from explorer.geometry_command import geometry
from explorer.learning_commands import evaluate, train
from explorer.review_command import review
from explorer.votes import Method
from indexer.errors import InputError

if TYPE_CHECKING:
    from indexer.cluster import ClusterSettings
from indexer.index.calibration import Similarity

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


class Fuse(StrEnum):
    """How several spaces become one answer."""

    RANK = "rank"
    PERCENTILE = "percentile"


class Engine(StrEnum):
    """What embeds the images of a job."""

    LOCAL = "local"
    RAY = "ray"


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
            help="A folder of images, or a CSV, TSV or Parquet table with one row per image; s3://BUCKET/… too.",
            show_default=False,
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
    recall: Annotated[
        float | None,
        typer.Option(
            help="Share of the true 10 nearest that a search must find; by default as before, 0.98 at first.",
            min=0.5,
            max=1.0,
            show_default=False,
        ),
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(
            help="Memory that searching may take, as 4GB; by default half of what is free.", show_default=False
        ),
    ] = None,
    engine: Annotated[Engine, typer.Option(help="This process, or the workers of a Ray cluster.")] = Engine.LOCAL,
    address: Annotated[
        str | None,
        typer.Option(
            help="Ray cluster to join (HOST:PORT or auto); by default Ray is started on this machine.",
            show_default=False,
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(help="Workers of the Ray cluster; by default as many as it holds.", min=1, show_default=False),
    ] = None,
    gpus_per_worker: Annotated[
        float | None,
        typer.Option(
            help="GPUs of each worker, fractions allowed; by default 1 where there are any.", min=0, show_default=False
        ),
    ] = None,
) -> None:
    """Embed images into a corpus. Run again it does only what is missing.

    Example: morphospace index photos --manifest photos.csv --corpus birds.corpus --column species=label
    """
    from explorer.progress import follow_job
    from indexer.index.choosing import read_memory
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
        recall=recall,
        memory=None if memory is None else read_memory(memory),
        cluster=_read_cluster(engine, address, workers, gpus_per_worker),
    )
    with follow_job() as listener:
        report = index_images(settings, listener)
    _say(report.describe())
    _say(f"open it with: morphospace explore {corpus}")


def _read_cluster(
    engine: Engine, address: str | None, workers: int | None, gpus_per_worker: float | None
) -> ClusterSettings | None:
    if engine is Engine.RAY:
        from indexer.cluster import ClusterSettings

        return ClusterSettings(address=address, n_workers=workers, gpus_per_worker=gpus_per_worker)
    given = {"--address": address, "--workers": workers, "--gpus-per-worker": gpus_per_worker}
    asked = [name for name, value in given.items() if value is not None]
    if asked:
        raise InputError(f"{asked[0]}: belongs to the Ray engine; add --engine ray.")
    return None


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
        refresh_index(opened, chosen, announce)
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
    unlike: Annotated[
        list[str] | None,
        typer.Option(help="Push away from what resembles this record. Repeatable.", show_default=False),
    ] = None,
    minus: Annotated[
        list[str] | None, typer.Option(help="Push away from this text. Repeatable.", show_default=False)
    ] = None,
    axes: Annotated[
        list[str] | None,
        typer.Option(
            "--axis",
            help="NAME[:WEIGHT] of an axis: alone, its upper end, with a weight below 0 its lower one; beside other "
            "parts, a step along it. Repeatable.",
            show_default=False,
        ),
    ] = None,
    weight: Annotated[
        list[str] | None,
        typer.Option(
            help="KIND=NUMBER for kind text, image (1 by default), like (0.75, shared by all such records), unlike "
            "(0.25, shared) or minus (0.5). Repeatable.",
            show_default=False,
        ),
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(help="SQL condition over the columns, e.g. \"lifeStage = 'adult'\".", show_default=False),
    ] = None,
    taxon: Annotated[
        str | None, typer.Option(help="Only records of this name, at any rank.", show_default=False)
    ] = None,
    k: Annotated[
        int | None,
        typer.Option("-k", help="How many hits; 10, or all that --above finds.", min=1, show_default=False),
    ] = None,
    space: Annotated[
        list[str] | None,
        typer.Option(
            "--space", help="Space to ask; by default the first one made. Repeat it to fuse spaces.", show_default=False
        ),
    ] = None,
    fuse: Annotated[
        Fuse, typer.Option(help="Several spaces: by reciprocal rank, or by the mean of their percentiles.")
    ] = Fuse.RANK,
    above: Annotated[
        float | None,
        typer.Option(help="Every record from this percentile on, found exactly, e.g. 99.9.", show_default=False),
    ] = None,
    per_species: Annotated[
        int | None, typer.Option(help="At most so many hits of a species.", min=1, show_default=False)
    ] = None,
    diverse: Annotated[
        float,
        typer.Option(
            help="Weight of unlikeness between hits against nearness to the query (maximal marginal relevance).",
            min=0,
            max=1,
        ),
    ] = 0.0,
    no_duplicates: Annotated[
        bool, typer.Option("--no-duplicates", help="Leave out images whose cosine with a better hit is 0.98 or more.")
    ] = False,
    queries: Annotated[
        Path | None,
        typer.Option(
            help="Answer many queries: a CSV or Parquet table with query_id and one of emb, text, image, record_id; or "
            "a folder of images. Needs --out.",
            show_default=False,
        ),
    ] = None,
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
    similarity: Annotated[
        Similarity,
        typer.Option(
            help="Cosine that compares images where the space has a calibration; texts are always compared raw."
        ),
    ] = Similarity.CALIBRATED,
    device: DeviceOption = Device.AUTO,
) -> None:
    """Find records by text, image or likeness.

    Score is the cosine (higher is closer); percentile is the share of random comparisons that score lower.

    Example: morphospace search birds.corpus "a juvenile bird" --where "sex = 'male'" -k 20
    """
    from indexer.lean_imports import import_tables_without_pandas

    import_tables_without_pandas()
    from explorer.diversity import Diversity
    from explorer.filters import Filter
    from explorer.progress import announce
    from explorer.request import Request
    from explorer.search import Searcher
    from explorer.search_command import Asked, run_search
    from indexer.corpus import open_corpus

    request = Request(
        k=k,
        record_filter=Filter(where=where, taxon=taxon),
        all_images=all_images,
        include_queried=include_queried,
        diversity=Diversity(per_species=per_species, diverse=diverse, no_duplicates=no_duplicates),
        above=above,
    )
    asked = Asked(
        text=text,
        images=tuple(image or ()),
        like=tuple(like or ()),
        unlike=tuple(unlike or ()),
        minus=tuple(minus or ()),
        axes=tuple(axes or ()),
        weights=tuple(weight or ()),
        template=template,
        queries=queries,
    )
    opened = open_corpus(corpus)
    names: list[str | None] = [*space] if space else [None]
    searchers = [
        Searcher(opened, opened.open_space(name), device=device, similarity=similarity, announce=announce)
        for name in names
    ]
    run_search(searchers, asked, request, fuse=fuse, output=output, out=out)


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
def remove(
    corpus: CorpusArgument,
    record_id: Annotated[
        list[str] | None, typer.Option("--record-id", help="This record. Repeatable.", show_default=False)
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(help="SQL condition over the columns, e.g. \"license = 'unknown'\".", show_default=False),
    ] = None,
    taxon: Annotated[
        str | None, typer.Option(help="Only records of this name, at any rank.", show_default=False)
    ] = None,
    reason: Annotated[str, typer.Option(help="Why, as it is noted beside each record.", show_default=False)] = "",
    undo: Annotated[bool, typer.Option("--undo", help="Bring removed records back instead.")] = False,
) -> None:
    """Hide records from searches, maps and exports.

    Takes effect at once, also while a job or the app runs. A record must meet all that is given; --undo alone brings
    every removed record back.

    Example: morphospace remove birds.corpus --where "license = 'unknown'" --reason "no licence"
    """
    from explorer.removal import remove_matching, restore_matching
    from indexer.corpus import open_corpus

    opened = open_corpus(corpus)
    if undo:
        _say(restore_matching(opened, record_ids=record_id or (), where=where, taxon=taxon))
    else:
        _say(remove_matching(opened, record_ids=record_id or (), where=where, taxon=taxon, reason=reason))


@app.command()
def classify(
    corpus: CorpusArgument,
    image: Annotated[list[Path] | None, typer.Option(help="Image to name. Repeatable.", show_default=False)] = None,
    queries: Annotated[
        Path | None,
        typer.Option(
            help="Folder of images; or a table with query_id and one of image, emb, record_id.", show_default=False
        ),
    ] = None,
    like: Annotated[
        list[str] | None,
        typer.Option(
            help="Record to name as if it had no name: its occurrence has no vote. Repeatable.", show_default=False
        ),
    ] = None,
    method: Annotated[
        Method, typer.Option(help="Who votes: the nearest records, the names as texts, or both.")
    ] = Method.NEIGHBOURS,
    taxa: Annotated[
        Path | None,
        typer.Option(help="Only these taxa: a .txt with a name per line, or a CSV with ranks.", show_default=False),
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(help="Only records of a region: an SQL condition, e.g. \"country = 'Peru'\".", show_default=False),
    ] = None,
    floor: Annotated[float, typer.Option(help="Confidence that an answer needs.", min=0, max=1)] = 0.8,
    ordinary: Annotated[
        float | None,
        typer.Option(
            help="Nothing is named whose nearest record is not closer than this percentage of random pairs; by default "
            "95, or what 99 % of the corpus's own occurrences reach.",
            min=0,
            max=100,
            show_default=False,
        ),
    ] = None,
    novelty: Annotated[
        float, typer.Option(help="Least share of what is asked that is of species without records.", min=0, max=0.9)
    ] = 0.1,
    space: SpaceOption = None,
    output: Annotated[
        OutputFormat | None,
        typer.Option(
            "--format", help="How answers are written; by default as --out ends, else a table.", show_default=False
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="File to write the answers to; needed for parquet.", show_default=False)
    ] = None,
    device: DeviceOption = Device.AUTO,
) -> None:
    """Name what an image shows, as far down the ranks as can be trusted.

    Confidence is calibrated on occurrences of the corpus that are held out, once for each index; asked about nothing,
    the command only does that. An answer names the deepest rank that reaches the floor.

    Example: morphospace classify birds.corpus --image mystery.jpg --where "country = 'Peru'"
    """
    from explorer.classification import Classifier
    from explorer.electorate import Scope
    from explorer.filters import Filter
    from explorer.hits import choose_format
    from explorer.identification import write_identifications
    from explorer.progress import announce
    from explorer.questions import list_questions
    from explorer.search import Searcher
    from explorer.taxon_lists import open_taxon_list
    from indexer.corpus import open_corpus

    form = choose_format(output, out)
    opened = open_corpus(corpus)
    searcher = Searcher(opened, opened.open_space(space), device=device, announce=announce)
    scope = Scope(
        method=method,
        record_filter=Filter(where=where),
        listed=open_taxon_list(opened, taxa) if taxa else None,
        list_name=taxa.name if taxa else "",
        novelty=novelty,
    )
    classifier = Classifier(searcher, scope, announce=announce)
    if not (image or like or queries):
        _say(classifier.reliability().describe())
        return
    questions = list_questions(searcher, images=image or (), like=like or (), queries=queries, announce=announce)
    write_identifications(classifier.classify(questions, floor=floor, ordinary=ordinary), form, out)


@app.command()
def explore(
    corpus: CorpusArgument,
    port: Annotated[int, typer.Option(help="Port of the server.", min=1, max=65535)] = 8501,
    address: Annotated[
        str, typer.Option(help="Address that the server binds to; the default answers this machine only.")
    ] = "127.0.0.1",
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open a browser window.")] = True,
) -> None:
    """Open a corpus in the app: search, map, geometry, review, corpus.

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


app.command()(geometry)
app.command()(axis)
app.command()(contrast)
app.command()(review)
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
