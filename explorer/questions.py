"""Questions of identification: images, records of the corpus, vectors, alone or as a folder or table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from explorer.batches import AskedBy, read_queries
from explorer.electorate import Question
from indexer.errors import ImageError, QueryError

if TYPE_CHECKING:
    from explorer.search import Searcher


def list_questions(
    searcher: Searcher,
    *,
    images: Sequence[Path] = (),
    like: Sequence[str] = (),
    queries: Path | None = None,
    announce: Callable[[str], None],
) -> list[Question]:
    """What is asked: records of the corpus (whose own occurrence has no vote), images, and a folder or table of them.

    An image that cannot be read is said and left out.

    Args:
        searcher: of the space that is asked.
        images: files.
        like: record ids.
        queries: as `explorer.batches.read_queries` reads it; texts show nothing and are refused.
        announce: is told what is left out.

    Raises:
        QueryError: no question is left, or a vector is of another space.
        EncoderError: images cannot be asked in this space.
        SourceError: the table cannot be read.
    """
    found = list(_ask_records(searcher, [(record_id, record_id) for record_id in like]))
    found += _ask_images(searcher, [(str(path), path) for path in images], announce)
    if queries is not None:
        found += _ask_table(searcher, queries, announce)
    if not found:
        raise QueryError("nothing to classify: none of the images could be read. Check the files named above.")
    return found


def _ask_table(searcher: Searcher, path: Path, announce: Callable[[str], None]) -> Iterable[Question]:
    table = read_queries(path)
    named = list(zip(table.ids, table.cells, strict=False))
    if table.asked_by is AskedBy.TEXT:
        raise QueryError(f"--queries {path}: holds texts, and only what shows an organism can be named. Give images.")
    if table.asked_by is AskedBy.RECORD_ID:
        return _ask_records(searcher, named)
    if table.asked_by is AskedBy.IMAGE:
        return _ask_images(searcher, [(query_id, Path(cell)) for query_id, cell in named], announce)
    if table.vectors is None or table.vectors.shape[1] != searcher.space.dimension:
        given = 0 if table.vectors is None else table.vectors.shape[1]
        raise QueryError(
            f"--queries {path}: vectors of {given} dimensions; space {searcher.space.name!r} holds "
            f"{searcher.space.dimension}. Ask in the space that they were made for."
        )
    return [Question(query_id=name, vector=vector) for name, vector in zip(table.ids, table.vectors, strict=True)]


def _ask_records(searcher: Searcher, named: Sequence[tuple[str, str]]) -> Iterator[Question]:
    from indexer.vectors import read_vectors

    rows = [searcher.corpus.find_record(record_id) for _, record_id in named]
    vectors = read_vectors(searcher.space, rows)
    for (query_id, _), row, vector in zip(named, rows, vectors, strict=True):
        yield Question(query_id=query_id, vector=vector, row=row)


def _ask_images(
    searcher: Searcher, named: Sequence[tuple[str, Path]], announce: Callable[[str], None]
) -> Iterator[Question]:
    from indexer.images import read_image

    for query_id, path in named:
        try:
            pixels = read_image(path).pixels
        except ImageError as error:
            announce(f"left out: {error}")
            continue
        yield Question(query_id=query_id, vector=searcher.encoder.encode_images([pixels])[0])
