"""Reports for tests: one written by hand, and a corpus in which the truth is planted."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from explorer.geometry.finding import Finding
from explorer.geometry.suspects import Suspect, SuspectKind
from explorer.geometry_report.plots import Series, SeriesPlot
from explorer.geometry_report.report import Chapter, Entry, Facts, Report, SpaceFacts, Table, Unmeasured
from indexer.corpus import Corpus
from tests.corpora import make_vector_corpus
from tests.explorer.geometry.planted import plant

HOSTILE = "</script><script>alert(1)</script> | `x` <b>b</b>"


def make_finding(**changes: Any) -> Finding:
    """A Fisher ratio of sex in the space `given`."""
    given: dict[str, Any] = {
        "statistic": "fisher",
        "column": "sex",
        "value": 0.88,
        "low": 0.63,
        "high": 1.12,
        "chance": 0.0,
        "null_low": -0.12,
        "null_high": 0.16,
        "p": 0.005,
        "n": 480,
        "n_groups": 60,
        "left_out": 3,
        "reading": "Male and female lie apart.",
        "space": "given",
    }
    return Finding(**{**given, **changes})


def make_suspect(**changes: Any) -> Suspect:
    """The label of the record `r0`, against which row 1 speaks."""
    given: dict[str, Any] = {
        "kind": SuspectKind.LABEL,
        "subject": "r0",
        "row": 0,
        "taxon": "Parus major",
        "suggestion": "Parus minor",
        "score": 12.5,
        "evidence": (1,),
        "reading": "It is labelled Parus major.",
    }
    return Suspect(**{**given, **changes})


def write_report_by_hand(column: str = "sex", *, suspects: tuple[Suspect, ...] = ()) -> Report:
    """A report with a finding that stands out, one without interval or p, a table, a plot, a gap and such suspects."""
    entries = (
        Entry(finding=make_finding(column=column), q=0.01),
        Entry(
            finding=make_finding(
                statistic="mean_cosine",
                column="",
                low=math.nan,
                high=math.nan,
                null_low=math.nan,
                null_high=math.nan,
                p=math.nan,
            ),
            q=math.nan,
        ),
    )
    plot = SeriesPlot(
        name="agreement",
        title="Nearest photographs",
        places=("genus", column),
        axis="share",
        series=(
            Series(name=column, values=(0.5, math.nan), lows=(0.4, math.nan), highs=(0.6, math.nan)),
            Series(name="chance", values=(0.1, 0.2), is_reference=True),
        ),
    )
    table = Table(title="Joined", reading=f"Of {column}.", columns=("species", "n"), rows=((column, 3), (None, 0.5)))
    chapter = Chapter(
        name="within",
        title="Within species",
        question="Do states lie apart?",
        summary=f"{column} lies apart.",
        entries=entries,
        tables=(table,),
        plots=(plot,),
    )
    facts = Facts(
        corpus="a.corpus",
        records_version=4,
        made="2026-11-24T01:50:00+00:00",
        made_with="morphospace 0.1.0",
        seconds=1.5,
        n_records=480,
        n_occurrences=480,
        n_taxa={"family": 1, "genus": 20},
        left_out=("3 records do not meet the filter",),
        spaces=(SpaceFacts(name="given", corpus="a.corpus", encoder=column, fingerprint="", dimension=12),),
    )
    return Report(
        facts=facts,
        settings={
            "columns within species": column,
            "columns between species": "none",
            "compared with": "nothing",
            "filter": "none",
        },
        command="morphospace geometry a.corpus",
        chapters=(chapter, *([_list_suspects(suspects)] if suspects else [])),
        unmeasured=(Unmeasured(space="given", statistic="rho", column=column, reason="2 genera are too few"),),
        suspects=suspects,
    )


def _list_suspects(suspects: tuple[Suspect, ...]) -> Chapter:
    listed = Table(
        title="Suspects in a table",
        reading="All.",
        columns=("record", "why"),
        rows=tuple((one.subject, one.reading) for one in suspects),
    )
    return Chapter(
        name="suspects",
        title="Suspects",
        question="Which records look wrong?",
        summary=f"{len(suspects)} do.",
        entries=(),
        tables=(listed,),
        plots=(),
    )


def make_planted_corpus(path: Path, **planted: Any) -> Corpus:
    """480 records of 60 species in 20 genera: stages a step apart, an ecology of species, a sex that means nothing."""
    truth = plant(3, **{"step": 2.5, "step_inside": 0.2, "ecology": 1.0, **planted})
    columns = {
        "family": [f"Familia{genus // 4}idae" for genus in truth.genera],
        "genus": [f"Genus{chr(97 + genus)}" for genus in truth.genera],
        "species": [
            f"Genus{chr(97 + genus)} speci{chr(97 + number // 20)}{chr(97 + number % 20)}us"
            for genus, number in zip(truth.genera, truth.species, strict=True)
        ],
        "lifeStage": ["juvenile" if state else "adult" for state in truth.states],
        "sex": [("male", "female", None)[i % 3] for i in range(len(truth.species))],
        "habitat": ["forest" if value > 0 else "meadow" for value in truth.ecology[:, 0]],
        "beakDepth": truth.ecology[:, 0].tolist(),
        "locality": [f"place {i}" for i in range(len(truth.species))],
    }
    corpus, _ = make_vector_corpus(path, truth.vectors.astype(np.float32), columns=columns)
    return corpus
