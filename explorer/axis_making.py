"""Axes of a corpus: made from conditions, examples or texts, judged, and every record placed along them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32, Float64, Int64

from explorer.filters import ColumnCondition, Filter, find_rows, match_records
from explorer.geometry.axes import AREA, Level, fit_direction, gather_units, judge_direction, measure_axis
from explorer.geometry.axis_ranking import AxisRanking, Scale, find_scale, measure_taxonomy, rank_records
from explorer.geometry.axis_store import StoredAxis, check_name
from explorer.geometry.finding import Finding, Skipped
from explorer.geometry.sample import Sample, gather_sample
from explorer.query import RAW_TEMPLATE
from explorer.taxonomy import build_taxonomy
from indexer.errors import QueryError
from indexer.terms import RANKS
from indexer.vectors import live_rows, read_vectors

if TYPE_CHECKING:
    from indexer.corpus import Corpus, Space

MAX_IN_GROUP = 50_000
MAX_ORDINARY = 20_000
"""Records whose mean stands for what is ordinary, where only examples of one end are given."""
_BLOCK = 65_536
_SHORTHAND = re.compile(r"\s*([A-Za-z_][\w.]*)\s*=\s*([^'\"`<>=()]+?)\s*")

Encode = Callable[[Sequence[str]], Float32[np.ndarray, "t d"]]
"""Texts as unit vectors of the space."""


@dataclass(frozen=True, kw_only=True)
class AxisRequest:
    """What an axis is to be made from; QueryError where that is nothing, or too much.

    Attributes:
        name: Of the axis.
        start: Condition of the group that it leads from; with texts or examples, of the group to judge them on.
        end: Of the group that it leads to.
        plus: Ids of records at the upper end.
        minus: Of records at the lower end; none stands for the records as a whole.
        texts: The upper end and the lower one in words.
        template: Sentence that holds a text at `{}`.
        level: Inside which taxa the groups are compared; None for the finest that allows it.
        n_shuffles: Of the null.
        seed: Fixes folds and shuffles.
    """

    name: str
    start: str | None = None
    end: str | None = None
    plus: tuple[str, ...] = ()
    minus: tuple[str, ...] = ()
    texts: tuple[str, str] | None = None
    template: str = RAW_TEMPLATE
    level: Level | None = None
    n_shuffles: int = 199
    seed: int = 0

    def __post_init__(self) -> None:
        check_name(self.name)
        if (self.start is None) != (self.end is None):
            raise QueryError(
                f"axis {self.name}: --from and --to go together. Give both, e.g. --from sex=male --to sex=female"
            )
        if self.minus and not self.plus:
            raise QueryError(f"axis {self.name}: --minus needs --plus. Swap them to turn the axis round.")
        if self.plus and self.texts:
            raise QueryError(f"axis {self.name}: made of texts or of examples, not of both. Leave one out.")
        if not (self.plus or self.texts or self.start):
            raise QueryError(
                f"axis {self.name}: nothing to make it from; give --from WHERE --to WHERE, --plus ID --minus ID, or "
                '--texts "large beak" "small beak".'
            )

    @property
    def ends(self) -> tuple[str, str]:
        """The two groups as a reading names them."""
        return self.start or "", self.end or ""

    def list_sources(self) -> dict[str, Any]:
        """What was given, by the names of the options."""
        given: dict[str, Any] = {"from": self.start, "to": self.end, "plus": list(self.plus), "minus": list(self.minus)}
        given |= {"texts": list(self.texts or ())}
        if self.texts and self.template != RAW_TEMPLATE:
            given["template"] = self.template
        return {name: value for name, value in given.items() if value}


def read_condition(text: str, columns: Sequence[str]) -> Filter:
    """The filter of a condition: SQL, or COLUMN=VALUE with the value as it stands in the table, without quotes."""
    found = _SHORTHAND.fullmatch(text)
    if found and found[1] in columns and found[2] not in columns:
        return Filter(conditions=(ColumnCondition(column=found[1], values=(found[2],)),))
    return Filter(where=text)


def gather_groups(
    corpus: Corpus, space: Space, conditions: tuple[str, str], columns: Sequence[str] = (), *, seed: int = 0
) -> tuple[Sample, Int64[np.ndarray, " n"]]:
    """The records of two conditions, at most 50,000 of each drawn at random, and which of them each meets (0, 1).

    Raises:
        QueryError: a condition cannot be read, none meets it, or a record meets both.
    """
    live = live_rows(space)
    groups = []
    for condition in conditions:
        rows = find_rows(corpus, read_condition(condition, list(corpus.column_types())))
        rows = live if rows is None else np.intersect1d(rows, live, assume_unique=True)
        if not len(rows):
            raise QueryError(
                f"{condition!r}: no record of space {space.name!r} meets it. `morphospace info` lists the values."
            )
        groups.append(rows)
    both = np.intersect1d(groups[0], groups[1], assume_unique=True)
    if len(both):
        raise QueryError(
            f"{conditions[0]!r} and {conditions[1]!r}: {len(both):,} records meet both; the two groups may share none. "
            "Change a condition."
        )
    rng = np.random.default_rng(seed)
    kept = [rng.choice(rows, MAX_IN_GROUP, replace=False) if len(rows) > MAX_IN_GROUP else rows for rows in groups]
    sample = gather_sample(corpus, space, columns, rows=np.sort(np.concatenate(kept)))
    return sample, np.isin(sample.rows, kept[1]).astype(np.int64)


def make_axis(corpus: Corpus, space: Space, request: AxisRequest, encode: Encode) -> StoredAxis:
    """The axis that is asked for, judged, not yet stored.

    Args:
        corpus: Its records.
        space: Its vectors.
        request: What it is made from.
        encode: Called for texts only.

    Raises:
        QueryError: the request does not fit the corpus.
    """
    found: list[Finding | Skipped] = []
    units = None
    if request.start is not None and request.end is not None:
        sample, values = gather_groups(corpus, space, (request.start, request.end), seed=request.seed)
        units = gather_units(sample.vectors, sample.occurrences, sample.lineages, values, level=request.level)
    if request.texts or request.plus:
        direction, own = _make_given(corpus, space, request, encode)
        found += own
        if units is not None:
            found.append(
                judge_direction(
                    units,
                    direction,
                    request.name,
                    ends=request.ends,
                    n_shuffles=request.n_shuffles,
                    seed=request.seed,
                )
            )
    else:
        assert units is not None
        direction = fit_direction(units)
        found.append(
            measure_axis(units, request.name, ends=request.ends, n_shuffles=request.n_shuffles, seed=request.seed)
        )
    rows = live_rows(space)
    along = place_rows(space, rows, direction[:, None])[:, 0]
    scale = find_scale(along)
    ids, occurrences, species = _read_keys(corpus, rows)
    found.append(measure_taxonomy(along, occurrences, species, request.name))
    return StoredAxis(
        name=request.name,
        space=space.name,
        fingerprint=space.encoder.fingerprint if space.encoder else None,
        direction=tuple(float(np.float32(number)) for number in direction),
        origin=scale.origin,
        spread=scale.spread,
        level=units.level if units is not None else "",
        made_from=request.list_sources(),
        n_records=len(ids),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        created_with={"morphospace": version("morphospace"), "seed": request.seed, "shuffles": request.n_shuffles},
        findings=tuple(_name_space(one, space) for one in found if isinstance(one, Finding)),
        skipped=tuple(one for one in found if isinstance(one, Skipped)),
    )


def _name_space(finding: Finding, space: Space) -> Finding:
    return replace(finding, space=space.name)


def _make_given(
    corpus: Corpus, space: Space, request: AxisRequest, encode: Encode
) -> tuple[Float64[np.ndarray, " d"], list[Finding | Skipped]]:
    """The direction of texts or examples, and how the latter hold where they were not fitted."""
    if request.texts:
        upper, lower = encode([request.template.replace("{}", text) for text in request.texts]).astype(np.float64)
        return _normalise(upper - lower, request.name), []
    known = corpus.find_records([*request.plus, *request.minus])
    shared = set(request.plus) & set(request.minus)
    if shared:
        raise QueryError(f"axis {request.name}: record {min(shared)!r} stands at both ends. Name it once.")
    rows = np.sort(np.array(list(known.values()), np.int64))
    sample = gather_sample(corpus, space, rows=rows)
    values = np.isin(sample.rows, [known[record_id] for record_id in request.plus]).astype(np.int64)
    if request.minus:
        units = gather_units(sample.vectors, sample.occurrences, sample.lineages, values, level=Level.OCCURRENCES)
        ends = ("the lower examples", "the upper examples")
        judged = measure_axis(units, request.name, ends=ends, n_shuffles=request.n_shuffles, seed=request.seed)
        return fit_direction(units), [judged]
    ordinary = gather_sample(corpus, space, n_most=MAX_ORDINARY, seed=request.seed).vectors.mean(axis=0)
    means = np.stack([sample.vectors[sample.occurrences == one].mean(axis=0) for one in np.unique(sample.occurrences)])
    reason = "examples of one end alone were given; with examples of the other some could be held out"
    return _normalise((means.mean(axis=0) - ordinary).astype(np.float64), request.name), [
        Skipped(statistic=AREA, column=request.name, reason=reason)
    ]


def _normalise(direction: Float64[np.ndarray, " d"], name: str) -> Float64[np.ndarray, " d"]:
    length = float(np.linalg.norm(direction))
    if not length > 1e-6:
        raise QueryError(f"axis {name}: both ends have the same vector, so there is no direction. Change one of them.")
    return direction / length


def place_rows(
    space: Space, rows: Int64[np.ndarray, " n"], directions: Float64[np.ndarray, "d t"]
) -> Float64[np.ndarray, "n t"]:
    """The product of each row's vector with each direction, read in blocks."""
    blocks = [
        read_vectors(space, rows[start : start + _BLOCK].tolist()) @ directions.astype(np.float32)
        for start in range(0, len(rows), _BLOCK)
    ]
    placed = np.concatenate(blocks) if blocks else np.empty((0, directions.shape[1]))
    return placed.astype(np.float64)


def find_fitted_rows(corpus: Corpus, axis: StoredAxis) -> Int64[np.ndarray, " m"]:
    """The rows of the records that an axis was fitted on, as the corpus is now; none for an axis of texts."""
    made = axis.made_from
    ids = (*made.get("plus", ()), *made.get("minus", ()))
    filters = [Filter(conditions=(ColumnCondition(column="record_id", values=ids),))] if ids else []
    if not ids and "texts" not in made:
        columns = list(corpus.column_types())
        filters = [read_condition(made[end], columns) for end in ("from", "to")]
    return np.unique(np.concatenate([np.empty(0, np.int64), *(match_records(corpus, one) for one in filters)]))


@dataclass(frozen=True, kw_only=True, eq=False)
class RankedCorpus:
    """Every record of a space along an axis.

    Attributes:
        rows: Of the records, ascending.
        record_ids: Of each.
        occurrences: A code per record.
        ranking: Its place.
    """

    rows: Int64[np.ndarray, " n"]
    record_ids: tuple[str, ...]
    occurrences: Int64[np.ndarray, " n"]
    ranking: AxisRanking


def rank_corpus(corpus: Corpus, space: Space, axis: StoredAxis) -> RankedCorpus:
    """Every record of the space, removed ones apart, along an axis."""
    rows = live_rows(space)
    along = place_rows(space, rows, axis.read_direction()[:, None])[:, 0]
    ids, occurrences, species = _read_keys(corpus, rows)
    ranking = rank_records(along, Scale(origin=axis.origin, spread=axis.spread), occurrences, species)
    return RankedCorpus(rows=rows, record_ids=tuple(ids), occurrences=occurrences, ranking=ranking)


def _read_keys(
    corpus: Corpus, rows: Int64[np.ndarray, " n"]
) -> tuple[list[str], Int64[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
    """Ids, occurrences and species of rows."""
    known = corpus.column_types()
    names = ["record_id", "occurrence_id", *(rank for rank in RANKS if rank in known)]
    table = corpus.read_columns(names, with_removed=True).take(rows)
    taxonomy = build_taxonomy(table)
    occurrences = table.column("occurrence_id").combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int64)
    return table.column("record_id").to_pylist(), occurrences, taxonomy.lineages[taxonomy.of_records][:, -1]
