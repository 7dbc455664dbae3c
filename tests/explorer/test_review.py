"""Decisions about suspects are kept with the corpus and exported."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from explorer.geometry.suspects import Suspect, SuspectKind
from explorer.geometry_report.store import keep_report
from explorer.review import (
    REVIEW_FILE,
    Verdict,
    decide,
    drop_removed,
    export_review,
    format_review,
    read_decisions,
    withdraw,
)
from explorer.review_command import review
from indexer.corpus import Corpus
from indexer.errors import CorpusError, QueryError
from indexer.removals import remove_records
from tests.corpora import angles, make_vector_corpus
from tests.explorer.geometry_reports import write_report_by_hand


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return make_vector_corpus(tmp_path / "birds.corpus", angles(0, 10, 20))[0]


def suspect(kind: SuspectKind, subject: str, row: int = 0, evidence: tuple[int, ...] = ()) -> Suspect:
    return Suspect(
        kind=kind,
        subject=subject,
        row=row,
        taxon="Parus major",
        suggestion="Parus minor",
        score=12.5,
        evidence=evidence,
        reading="It is labelled Parus major.",
    )


LABEL = suspect(SuspectKind.LABEL, "r0", 0, (1, 2))
COPIES = suspect(SuspectKind.DUPLICATE, "r1 = r2", 1, (2,))


def test_a_decision_is_kept_until_it_is_replaced_or_withdrawn(corpus: Corpus) -> None:
    assert read_decisions(corpus) == {}
    decide(corpus, [LABEL, COPIES], Verdict.IGNORE)
    decide(corpus, [LABEL], Verdict.FIX, note="a juvenile of P. minor; see the ring")
    decisions = read_decisions(corpus)
    kept = decisions[SuspectKind.LABEL, "r0"]
    assert (kept.verdict, kept.note) == (Verdict.FIX, "a juvenile of P. minor; see the ring")
    assert kept.decided.endswith("+00:00")
    assert decisions[SuspectKind.DUPLICATE, "r1 = r2"].verdict is Verdict.IGNORE
    assert withdraw(corpus, [COPIES, suspect(SuspectKind.SPLIT, "Parus major")]) == 1
    assert list(read_decisions(corpus)) == [(SuspectKind.LABEL, "r0")]
    assert withdraw(corpus, [LABEL]) == 1
    assert read_decisions(corpus) == {}


def test_a_decision_about_one_kind_leaves_the_others_open(corpus: Corpus) -> None:
    stranger = suspect(SuspectKind.STRANGER, "r0")
    decide(corpus, [LABEL], Verdict.KEEP)
    assert set(read_decisions(corpus)) == {(SuspectKind.LABEL, "r0")}
    assert (stranger.kind, stranger.subject) not in read_decisions(corpus)


def test_the_queue_is_exported_with_its_decisions_and_older_ones(corpus: Corpus, tmp_path: Path) -> None:
    gone = suspect(SuspectKind.STRANGER, "r2", 2)
    decide(corpus, [gone], Verdict.KEEP, note='a "rare" form')
    decide(corpus, [LABEL], Verdict.FIX)
    assert export_review(corpus, [LABEL, COPIES], tmp_path / "queue.csv") == 3
    with (tmp_path / "queue.csv").open(encoding="utf-8-sig", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [(line["kind"], line["subject"], line["verdict"]) for line in lines] == [
        ("label", "r0", "fix"),
        ("duplicate", "r1 = r2", ""),
        ("stranger", "r2", "keep"),
    ]
    assert lines[0]["record_ids"] == "r0; r1; r2"
    assert lines[0]["suggestion"] == "Parus minor"
    assert float(lines[0]["score"]) == 12.5
    assert lines[2]["note"] == 'a "rare" form'
    assert lines[2]["score"] == ""


def test_an_empty_queue_is_exported_as_a_head_alone(corpus: Corpus, tmp_path: Path) -> None:
    assert export_review(corpus, [], tmp_path / "queue.csv") == 0
    assert (tmp_path / "queue.csv").read_text(encoding="utf-8-sig").startswith("kind,subject,verdict")


def test_only_csv_is_written(corpus: Corpus, tmp_path: Path) -> None:
    with pytest.raises(QueryError, match=r"queue\.xlsx: \.xlsx ending; a \.csv is written"):
        export_review(corpus, [], tmp_path / "queue.xlsx")


def test_a_file_that_is_not_ours_is_refused_and_not_overwritten(corpus: Corpus) -> None:
    (corpus.path / REVIEW_FILE).write_bytes(b"not parquet")
    with pytest.raises(CorpusError, match=r"not the decisions that Morphospace wrote"):
        decide(corpus, [LABEL], Verdict.KEEP)
    assert (corpus.path / REVIEW_FILE).read_bytes() == b"not parquet"


def test_no_cell_of_the_queue_is_run_as_a_formula(corpus: Corpus) -> None:
    decide(corpus, [LABEL], Verdict.FIX, note="=HYPERLINK(1)")
    text = format_review(corpus, [LABEL]).decode("utf-8-sig")
    (line,) = csv.DictReader(text.splitlines())
    assert line["note"] == "'=HYPERLINK(1)"
    assert (line["row"], line["score"]) == ("0", "12.5")


def test_a_removed_record_is_suspect_no_more_and_speaks_against_none(corpus: Corpus) -> None:
    split = suspect(SuspectKind.SPLIT, "Parus major", 1, (0, 2))
    assert drop_removed(corpus, [LABEL, COPIES, split]) == [LABEL, COPIES, split]
    remove_records(corpus, np.array([1]))
    stranger = suspect(SuspectKind.STRANGER, "r1", 1, (0,))
    left = drop_removed(corpus, [LABEL, COPIES, stranger, split])
    assert [(one.subject, one.row, one.evidence) for one in left] == [("r0", 0, (2,)), ("Parus major", 0, (2,))]


def test_the_command_counts_what_is_decided_and_writes_the_queue(
    corpus: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(QueryError, match=r"space given was not measured yet.* Run: morphospace geometry"):
        review(corpus.path)
    keep_report(corpus.open_space(), "0" * 16, write_report_by_hand(suspects=(LABEL, COPIES)))
    decide(corpus, [LABEL, suspect(SuspectKind.STRANGER, "r2", 2)], Verdict.FIX)
    review(corpus.path, out=tmp_path / "review.csv")
    out, said = capsys.readouterr()
    assert "Labels that neighbours deny: 1, 1 decided (1 fix)" in out
    assert "Near-duplicates of different occurrences: 1, 0 decided" in out
    assert "Decisions about what is no suspect here: 1" in out
    assert "review.csv: 3 lines" in said
    assert len((tmp_path / "review.csv").read_text(encoding="utf-8-sig").splitlines()) == 4
