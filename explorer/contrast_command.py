"""The command `morphospace contrast`: how two sets of records differ."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from indexer.errors import InputError, QueryError

if TYPE_CHECKING:
    from explorer.axis_making import Encode
    from explorer.geometry.contrast import Sets
    from explorer.geometry.finding import Finding, Skipped
    from explorer.geometry.matching import Kin, MatchedPair
    from explorer.geometry.sample import Sample
    from explorer.geometry.separation import Separation
    from indexer.corpus import Corpus, Space

N_SHOWN = 10


@dataclass(frozen=True, kw_only=True)
class ContrastRequest:
    """What is to be compared.

    Attributes:
        conditions: Of the first set and of the second.
        columns: To compare; None for all of the records that words or numbers recur in.
        phrases: To compare the images with.
        template: Sentence that holds a phrase at `{}`.
        kin: Which records may be matched.
        n_shuffles: Of the discriminant's null; columns, phrases and axes have 999.
        seed: Fixes everything random.
    """

    conditions: tuple[str, str]
    columns: tuple[str, ...] | None = None
    phrases: tuple[str, ...] = ()
    template: str = "{}"
    kin: Kin
    n_shuffles: int = 199
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class ContrastReport:
    """How two sets differ.

    Attributes:
        space: Name of the space.
        conditions: Of the sets.
        counts: Records of each.
        findings: How far apart they are, as they are and inside species.
        separations: Columns, phrases and axes, those that set the sets apart most surely first; an axis by the
            occurrences on which it was not fitted.
        pairs: Ids of the records of matched pairs, with score and percentile, the most alike first.
        skipped: What could not be measured, and why.
    """

    space: str
    conditions: tuple[str, str]
    counts: tuple[int, int]
    findings: tuple[Finding, ...]
    separations: tuple[Separation, ...]
    pairs: tuple[tuple[str, str, float, float], ...]
    skipped: tuple[Skipped, ...]

    def to_json(self) -> dict[str, Any]:
        """The report as JSON holds it; numbers that do not exist are null."""
        pairs = [dict(zip(("first", "second", "score", "percentile"), pair, strict=True)) for pair in self.pairs]
        found: dict[str, Any] = _without_nan({**asdict(self), "pairs": pairs})
        return found

    def describe(self) -> list[str]:
        """The report in sentences."""
        lines = [
            f"{name} set: {condition} ({n:,} records)"
            for name, condition, n in zip(("first", "second"), self.conditions, self.counts, strict=True)
        ]
        lines += [finding.reading for finding in self.findings]
        lines += [f"{one.reading} q = {one.q:.2g}" for one in self.separations]
        lines += [
            f"pair: {first} and {second}, cosine {score:.2f}, percentile {percentile:.1f}"
            for first, second, score, percentile in self.pairs[:N_SHOWN]
        ]
        if len(self.pairs) > N_SHOWN:
            lines.append(f"and {len(self.pairs) - N_SHOWN:,} more pairs; --out FILE.json holds all.")
        named = (f"{one.statistic} {one.column}".strip() for one in self.skipped)
        return lines + [
            f"{name}: not measured, because {one.reason}." for name, one in zip(named, self.skipped, strict=True)
        ]


def contrast(
    corpus: Annotated[Path, typer.Argument(help="Directory of the corpus.", show_default=False)],
    first: Annotated[str, typer.Option("--a", help="First set: COLUMN=VALUE or an SQL condition.", show_default=False)],
    second: Annotated[str, typer.Option("--b", help="Second set, which shares no record.", show_default=False)],
    column: Annotated[
        list[str] | None, typer.Option(help="Column to compare; by default every one. Repeatable.", show_default=False)
    ] = None,
    phrase: Annotated[
        list[str] | None, typer.Option(help="Phrase to compare the images with. Repeatable.", show_default=False)
    ] = None,
    phrases: Annotated[
        Path | None, typer.Option(help="Text file of such phrases, one on a line.", show_default=False)
    ] = None,
    template: Annotated[str, typer.Option(help="raw, photo ('a photo of {}.'), or a sentence with {}.")] = "raw",
    match: Annotated[str, typer.Option(help="Match records of any, same-species or other-species.")] = "any",
    space: Annotated[
        str | None, typer.Option(help="Space to use; by default the first one made.", show_default=False)
    ] = None,
    out: Annotated[Path | None, typer.Option(help="File for all of it as JSON.", show_default=False)] = None,
    shuffles: Annotated[int, typer.Option(help="Of the discriminant's null.", min=19)] = 199,
    seed: Annotated[int, typer.Option(help="Fixes everything random.")] = 0,
    device: Annotated[str, typer.Option(help="Where the model of phrases runs: auto, cpu, cuda or mps.")] = "auto",
) -> None:
    """Compare two sets of records: how far apart, by which columns, phrases and axes, and which look alike.

    Example: morphospace contrast birds.corpus --a sex=female --b sex=male --match same-species
    """
    from explorer.geometry.matching import Kin
    from explorer.progress import announce
    from explorer.query import resolve_template
    from explorer.search import Searcher
    from indexer.corpus import open_corpus
    from indexer.files import write_atomically

    if match not in list(Kin):
        raise QueryError(f"--match {match!r}: not known; use {', '.join(Kin)}.")
    opened = open_corpus(corpus)
    chosen = opened.open_space(space)
    searcher = Searcher(opened, chosen, device=device, announce=announce)
    request = ContrastRequest(
        conditions=(first, second),
        columns=tuple(column) if column else None,
        phrases=(*(phrase or ()), *_read_phrases(phrases)),
        template=resolve_template(template),
        kin=Kin(match),
        n_shuffles=shuffles,
        seed=seed,
    )
    report = contrast_sets(opened, chosen, request, lambda texts: searcher.encoder.encode_texts(list(texts)))
    for line in report.describe():
        typer.echo(line)
    if out is not None:
        text = json.dumps(report.to_json(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        write_atomically(out, lambda part: part.write_text(text, encoding="utf-8"))


def contrast_sets(corpus: Corpus, space: Space, request: ContrastRequest, encode: Encode) -> ContrastReport:
    """How two sets of records of a space differ.

    Args:
        corpus: Its records.
        space: Its vectors.
        request: What is compared.
        encode: Called for phrases only.

    Raises:
        QueryError: a condition or a column does not fit the corpus, or the sets share records.
    """
    from explorer.axis_making import gather_groups
    from explorer.geometry.contrast import compare_sets, gather_sets
    from explorer.geometry.finding import Finding, Skipped
    from explorer.geometry.matching import match_pairs
    from explorer.geometry.separation import Separation, adjust_separations

    columns = _choose_columns(corpus, request)
    sample, values = gather_groups(corpus, space, request.conditions, columns, seed=request.seed)
    sets = gather_sets(sample.vectors, sample.occurrences, values)
    found: list[Finding | Skipped] = []
    for inside in (False, True):
        found += compare_sets(
            sample.vectors,
            sample.occurrences,
            sample.lineages,
            values,
            inside_species=inside,
            n_shuffles=request.n_shuffles,
            seed=request.seed,
        )
    separated = adjust_separations(
        [
            *_separate_columns(sets, sample, columns, request.seed),
            *_separate_directions(corpus, sets, sample, space, request, encode),
        ]
    )
    pairs = match_pairs(
        sets, sample.vectors, sample.occurrences, sample.taxa_at("species"), kin=request.kin, seed=request.seed
    )
    return ContrastReport(
        space=space.name,
        conditions=request.conditions,
        counts=(int((values == 0).sum()), int((values == 1).sum())),
        findings=tuple(replace(one, space=space.name) for one in found if isinstance(one, Finding)),
        separations=tuple(one for one in separated if isinstance(one, Separation)),
        pairs=_name_pairs(sample, pairs),
        skipped=tuple(one for one in (*found, *separated) if isinstance(one, Skipped)),
    )


def _choose_columns(corpus: Corpus, request: ContrastRequest) -> list[str]:
    """The columns to compare: those asked for, or all but ours and those that a condition is made of."""
    from indexer.corpus import OWN_COLUMNS

    known = [name for name in corpus.column_types() if name not in OWN_COLUMNS]
    if request.columns is None:
        return [name for name in known if not any(name in condition for condition in request.conditions)]
    missing = [name for name in request.columns if name not in known]
    if missing:
        raise QueryError(f"--column {missing[0]!r}: the records have no such column; there is {', '.join(known)}.")
    return list(request.columns)


def _separate_columns(sets: Sets, sample: Sample, columns: Sequence[str], seed: int) -> list[Separation | Skipped]:
    import numpy as np
    import pyarrow as pa

    from explorer.geometry.separation import separate_by_scores, separate_by_values

    found: list[Separation | Skipped] = []
    for name in columns:
        column = sample.records.column(name)
        if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
            numbers = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
            found += separate_by_scores(sets, np.asarray(numbers)[:, None], [name], "number", seed=seed)
        else:
            found.append(separate_by_values(sets, sample.read_texts(name), name, seed=seed))
    return found


def _separate_directions(
    corpus: Corpus, sets: Sets, sample: Sample, space: Space, request: ContrastRequest, encode: Encode
) -> list[Separation | Skipped]:
    import numpy as np

    from explorer.axis_making import find_fitted_rows
    from explorer.geometry.axis_store import list_axes
    from explorer.geometry.separation import separate_by_scores

    found: list[Separation | Skipped] = []
    axes = list_axes(space)
    if axes:
        places = sample.vectors @ np.stack([axis.read_direction() for axis in axes]).T
        for place, axis in zip(places.T, axes, strict=True):
            # Records on which an axis was fitted would tell how well it was fitted.
            fitted = np.isin(sample.rows, find_fitted_rows(corpus, axis))
            place[np.isin(sample.occurrences, sample.occurrences[fitted])] = np.nan
        found += separate_by_scores(sets, places, [axis.name for axis in axes], "axis", seed=request.seed)
    if request.phrases:
        texts = encode([request.template.replace("{}", phrase) for phrase in request.phrases]).astype(np.float64)
        # What all phrases share says which images look like a text at all, not which look like this one.
        places = sample.vectors @ (texts - texts.mean(axis=0) if len(texts) > 1 else texts).T
        found += separate_by_scores(sets, places, request.phrases, "phrase", seed=request.seed)
    return found


def _name_pairs(sample: Sample, pairs: Sequence[MatchedPair]) -> tuple[tuple[str, str, float, float], ...]:
    ids = sample.records.column("record_id").to_pylist()
    return tuple((ids[pair.first], ids[pair.second], pair.score, pair.percentile) for pair in pairs)


def _read_phrases(path: Path | None) -> list[str]:
    if path is None:
        return []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"--phrases {path}: not readable as text ({error}). Give a file with a phrase on a line."
        ) from error
    return [line.strip() for line in lines if line.strip()]


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nan(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
