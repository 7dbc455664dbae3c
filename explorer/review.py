"""What people decided about suspects: kept with the corpus, one decision for each, exported as a table.

A decision belongs to a kind of suspicion and its subject (`explorer.geometry.suspects.Suspect`), not to a row of one
report, so that it stays when the corpus grows and the report is made anew. Nothing is changed in the records: a
decision to fix is a note to whoever owns the data.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from explorer.downloads import write_lines
from explorer.geometry.suspects import Suspect, SuspectKind
from indexer.errors import CorpusError, QueryError
from indexer.files import explaining_full_disk, write_atomically

if TYPE_CHECKING:
    import pyarrow as pa

    from indexer.corpus import Corpus

REVIEW_FILE = "review.parquet"
EXPORTED = (
    *("kind", "subject", "verdict", "note", "decided", "taxon", "suggestion"),
    *("score", "row", "record_ids", "reading"),
)
LOCK_SECONDS = 30
_BLANK: dict[str, Any] = dict.fromkeys(EXPORTED)


class Verdict(StrEnum):
    """What is to be done about a suspect."""

    KEEP = "keep"
    FIX = "fix"
    IGNORE = "ignore"


@dataclass(frozen=True, kw_only=True)
class Decision:
    """A decision of a person.

    Attributes:
        kind: Of the suspicion.
        subject: What it was about, as `Suspect.subject`.
        verdict: `keep` where the record is right as it is, `fix` where it is not, `ignore` where nobody wants to be
            asked again.
        note: In the person's words; may be empty.
        decided: When, ISO 8601, UTC.
    """

    kind: SuspectKind
    subject: str
    verdict: Verdict
    note: str
    decided: str


def read_decisions(corpus: Corpus) -> dict[tuple[SuspectKind, str], Decision]:
    """All decisions by kind and subject; none where nothing was decided yet.

    CorpusError where the file cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = corpus.path / REVIEW_FILE
    if not path.exists():
        return {}
    try:
        lines = pq.ParquetFile(path).read().select(_schema().names).cast(_schema()).to_pylist()
        decisions = [
            Decision(**{**line, "kind": SuspectKind(line["kind"]), "verdict": Verdict(line["verdict"])})
            for line in lines
        ]
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise CorpusError(
            f"{path}: not the decisions that Morphospace wrote ({error}). Restore the file from a copy; or delete it, "
            "which forgets all decisions."
        ) from error
    return {(one.kind, one.subject): one for one in decisions}


def decide(corpus: Corpus, suspects: Sequence[Suspect], verdict: Verdict, *, note: str = "") -> None:
    """Keep one verdict for some suspects, in one atomic step; what was decided about them before is replaced."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    with _lock(corpus):
        decisions = read_decisions(corpus)
        for one in suspects:
            decisions[one.kind, one.subject] = Decision(
                kind=one.kind, subject=one.subject, verdict=verdict, note=note, decided=now
            )
        _write(corpus, decisions.values())


def withdraw(corpus: Corpus, suspects: Sequence[Suspect]) -> int:
    """Take back what was decided about some suspects; how many decisions there were."""
    with _lock(corpus):
        decisions = read_decisions(corpus)
        gone = [decisions.pop((one.kind, one.subject), None) for one in suspects]
        n = sum(one is not None for one in gone)
        if n:
            _write(corpus, decisions.values())
    return n


def drop_removed(corpus: Corpus, suspects: Sequence[Suspect]) -> list[Suspect]:
    """The suspects without records that were removed since; copies and clusters with one record left are gone too."""
    removed = set(corpus.removed_rows().tolist())
    if not removed:
        return list(suspects)
    kept = []
    for one in suspects:
        left = [row for row in (one.row, *one.evidence) if row not in removed]
        is_about_many = one.kind in (SuspectKind.DUPLICATE, SuspectKind.SPLIT)
        if len(left) > 1 if is_about_many else one.row not in removed:
            kept.append(replace(one, row=left[0], evidence=tuple(left[1:])))
    return kept


def export_review(corpus: Corpus, suspects: Sequence[Suspect], file: Path) -> int:
    """Write the suspects with what was decided about each as CSV, and return how many lines were written.

    As `format_review` gives them. QueryError for another kind of file.
    """
    if file.suffix.lower() != ".csv":
        raise QueryError(f"{file.name}: {file.suffix or 'no'} ending; a .csv is written. Rename the file.")
    lines = _list_lines(corpus, suspects)
    write_atomically(file, lambda part: part.write_bytes(write_lines(EXPORTED, lines)))
    return len(lines)


def format_review(corpus: Corpus, suspects: Sequence[Suspect]) -> bytes:
    """The suspects with what was decided about each, as a CSV that no spreadsheet runs as formulas.

    Decisions about what is no suspect any more come last, without score and reading. `record_ids` holds the record that
    is shown and then those that speak against it.
    """
    return write_lines(EXPORTED, _list_lines(corpus, suspects))


def _list_lines(corpus: Corpus, suspects: Sequence[Suspect]) -> list[dict[str, Any]]:
    decisions = read_decisions(corpus)
    names = _name_rows(corpus, suspects)
    lines = []
    for one in suspects:
        decision = decisions.pop((one.kind, one.subject), None)
        own = {
            name: getattr(one, name) for name in ("kind", "subject", "taxon", "suggestion", "score", "row", "reading")
        }
        ids = "; ".join(names[row] for row in (one.row, *one.evidence))
        lines.append(_BLANK | own | {"record_ids": ids} | (_say_decision(decision) if decision else {}))
    return lines + [
        _BLANK | {"kind": one.kind, "subject": one.subject} | _say_decision(one) for one in decisions.values()
    ]


def _say_decision(decision: Decision) -> dict[str, Any]:
    return {"verdict": decision.verdict, "note": decision.note, "decided": decision.decided}


def _name_rows(corpus: Corpus, suspects: Sequence[Suspect]) -> dict[int, str]:
    rows = sorted({row for one in suspects for row in (one.row, *one.evidence)})
    if not rows:
        return {}
    ids = corpus.read_rows(rows, ["record_id"]).column("record_id").to_pylist()
    return dict(zip(rows, ids, strict=True))


def _schema() -> pa.Schema:
    import pyarrow as pa

    return pa.schema([pa.field(field.name, pa.string(), nullable=False) for field in fields(Decision)])


def _write(corpus: Corpus, decisions: Iterable[Decision]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = zip(*(map(str, astuple(one)) for one in decisions), strict=True)
    arrays = [pa.array(column, pa.string()) for column in columns] or [pa.array([], pa.string())] * len(_schema())
    table = pa.Table.from_arrays(arrays, schema=_schema())
    write_atomically(corpus.path / REVIEW_FILE, lambda part: pq.write_table(table, part))


@contextmanager
def _lock(corpus: Corpus) -> Iterator[None]:
    """One decision at a time."""
    from filelock import FileLock, Timeout

    lock = FileLock(corpus.path / ".review-lock")
    try:
        lock.acquire(timeout=LOCK_SECONDS)
    except Timeout:
        raise CorpusError(
            f"{corpus.name}: another process has been writing decisions for {LOCK_SECONDS} s. Run this again later."
        ) from None
    try:
        with explaining_full_disk(corpus.path):
            yield
    finally:
        lock.release()
