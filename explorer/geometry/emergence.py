"""The figures of emergent structure that a training run logs with each checkpoint."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float64, Int64

from explorer.geometry.ecology import probe_ecology
from explorer.geometry.finding import Finding
from explorer.geometry.grouping import code_names
from explorer.geometry.species_span import measure_span
from explorer.geometry.states import gather_states
from explorer.geometry.variants import choose_contrast, direct_states, probe_states, separate_states

if TYPE_CHECKING:
    import pyarrow as pa
    from jaxtyping import Float32

    from training.examples import Measure

N_SHUFFLES = 199
N_DIMENSIONS = 10
"""Dimensions of the species span that is the same for every checkpoint and encoder."""


def make_measure(columns: Sequence[str], *, n_shuffles: int = N_SHUFFLES, seed: int = 0) -> Measure:
    """The measure of a training run.

    Its figures are named `statistic`, or `statistic/column`, with `_low`, `_high`, `_null_low`, `_null_high` and `_p`
    after the statistic; those that the records do not allow are left out.

    Args:
        columns: Columns of the records; one whose values are all numbers is probed between species, others inside.
        n_shuffles: Of every null; 0 for none.
        seed: Fixes the shuffles.
    """

    def measure(vectors: Float32[np.ndarray, "n d"], records: pa.Table) -> Mapping[str, float]:
        return list_figures(measure_emergence(vectors, records, columns, n_shuffles=n_shuffles, seed=seed))

    return measure


def list_figures(findings: Sequence[Finding]) -> dict[str, float]:
    """The findings as named numbers; those that are not finite are left out."""
    figures: dict[str, float] = {}
    for finding in findings:
        ending = f"/{finding.column}" if finding.column else ""
        parts = {
            "": finding.value,
            "_low": finding.low,
            "_high": finding.high,
            "_null_low": finding.null_low,
            "_null_high": finding.null_high,
            "_p": finding.p,
            "_chance": finding.chance,
        }
        figures |= {f"{finding.statistic}{part}{ending}": value for part, value in parts.items()}
    return {name: value for name, value in figures.items() if math.isfinite(value)}


def measure_emergence(
    vectors: Float32[np.ndarray, "n d"],
    records: pa.Table,
    columns: Sequence[str],
    *,
    n_shuffles: int = N_SHUFFLES,
    seed: int = 0,
) -> tuple[Finding, ...]:
    """Every statistic that these records allow.

    Of all records: the share of within-species variation in the span of the species (k for 90 % of their variance, and
    k = 10). Of a column of words: Fisher ratio, share of its direction in the span (k = 10), AUC with genera held out.
    Of a column of numbers: rank correlation inside genera with genera held out.

    Args:
        vectors: One row per record.
        records: `species` and `genus`, and the columns, all text, null where unknown. With an `occurrence_id` the
            statistics inside species count an occurrence once.
        columns: Columns to measure; those that the records lack are left out.
        n_shuffles: Of every null.
        seed: Fixes the shuffles.
    """
    rows = np.asarray(vectors, dtype=np.float64)
    species, genera = (_code_column(records, rank) for rank in ("species", "genus"))
    occurrences = _code_occurrences(records)
    sizes = (None, N_DIMENSIONS)
    found: list[Finding | None] = list(
        measure_span(rows, species, occurrences=occurrences, n_dimensions=sizes, n_shuffles=n_shuffles, seed=seed)
    )
    for column in columns:
        if column not in records.column_names:
            continue
        values = records.column(column).to_pylist()
        numbers = read_numbers(values)
        if numbers is None:
            taxa = _Taxa(species=species, genera=genera, occurrences=occurrences)
            found += _measure_words(rows, taxa, (column, values), n_shuffles=n_shuffles, seed=seed)
        else:
            found += (
                probe_ecology(rows, numbers[:, None], species, genera, column=column, n_shuffles=n_shuffles, seed=seed)
                or ()
            )
    return tuple(finding for finding in found if finding is not None)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Taxa:
    """Codes per record: -1 where a taxon is not known; every record has an occurrence."""

    species: Int64[np.ndarray, " n"]
    genera: Int64[np.ndarray, " n"]
    occurrences: Int64[np.ndarray, " n"]


def _measure_words(
    vectors: Float64[np.ndarray, "n d"],
    taxa: _Taxa,
    column: tuple[str, list[str | None]],
    *,
    n_shuffles: int,
    seed: int,
) -> tuple[Finding | None, ...]:
    contrast = choose_contrast(*column, taxa.species, taxa.occurrences)
    if contrast is None:
        return ()
    k = N_DIMENSIONS if vectors.shape[1] > N_DIMENSIONS else None
    states = gather_states(vectors, taxa.species, contrast.codes, occurrences=taxa.occurrences, seed=seed)
    inside: tuple[Finding | None, ...] = ()
    if states is not None:
        inside = (
            separate_states(states, contrast, n_shuffles=n_shuffles, seed=seed),
            direct_states(states, contrast, n_dimensions=k, n_shuffles=n_shuffles, seed=seed),
        )
    probed = probe_states(
        vectors,
        taxa.species,
        taxa.genera,
        contrast,
        occurrences=taxa.occurrences,
        n_shuffles=n_shuffles,
        seed=seed,
    )
    return *inside, probed


def _code_occurrences(records: pa.Table) -> Int64[np.ndarray, " n"]:
    """A record without an occurrence is its own."""
    codes = _code_column(records, "occurrence_id")
    return np.where(codes < 0, codes.max(initial=-1) + 1 + np.arange(len(codes)), codes)


def _code_column(records: pa.Table, name: str) -> Int64[np.ndarray, " n"]:
    if name not in records.column_names:
        return np.full(records.num_rows, -1, dtype=np.int64)
    return code_names(records.column(name).to_pylist())


def read_numbers(values: Sequence[str | None]) -> Float64[np.ndarray, " n"] | None:
    """The values as numbers, nan where there is none; None where a value is no number or all are missing."""
    numbers = np.full(len(values), np.nan)
    for i, value in enumerate(values):
        if value:
            try:
                numbers[i] = float(value)
            except ValueError:
                return None
    return numbers if np.isfinite(numbers).any() else None
