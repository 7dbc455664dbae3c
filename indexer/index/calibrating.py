"""Whether a calibration is kept: fitted on one half of a sample of records, judged on the names in the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from indexer.index.calibration import Calibration, estimate_calibration, has_spread

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from jaxtyping import Bool, Float32, Float64, Int64

SAMPLE = 10_000
"""Records that a calibration is fitted and judged on."""

MOST_ROUNDS = 3
"""Times that the sample is halved anew; as many as keep the work to that of one full sample."""

LEAST_JUDGED = 100
"""Records with another record of their name to find, below which nothing is concluded."""

HUB_NEIGHBOURS = 10
_BLOCK = 1_000
_BOOTSTRAPS = 1_000


@dataclass(frozen=True, kw_only=True)
class RankAgreement:
    """How often the nearest record of another occurrence carries the record's own name.

    Attributes:
        raw, calibrated: that share, in [0, 1], by either cosine.
        n_records: records that it was asked of: those that could find their name.
    """

    raw: float
    calibrated: float
    n_records: int


@dataclass(frozen=True, kw_only=True)
class CalibrationTrial:
    """What was seen when a calibration was fitted on one half of the occurrences and judged on the other, both ways.

    Attributes:
        calibration: fitted on all; None where it was not kept.
        reason: why it was kept or not, in words with figures.
        gain: mean over records of the change in the share of their ranks that the nearest agrees in; nan where not
            judged.
        gain_low, gain_high: its 95 % interval (bootstrap over occurrences).
        n_judged: records judged.
        ranks: agreement at each rank.
        hubness_raw, hubness_calibrated: skewness of how often a record is among the 10 nearest of others.
    """

    calibration: Calibration | None
    reason: str
    gain: float
    gain_low: float
    gain_high: float
    n_judged: int
    ranks: Mapping[str, RankAgreement]
    hubness_raw: float
    hubness_calibrated: float

    def to_json(self) -> dict[str, Any]:
        """What `index.json` states of it."""
        figures = {name: getattr(self, name) for name in ("gain", "gain_low", "gain_high")}
        hubness = {"hubness_raw": self.hubness_raw, "hubness_calibrated": self.hubness_calibrated}
        was_judged = self.n_judged >= LEAST_JUDGED
        return {
            "is_kept": self.calibration is not None,
            "reason": self.reason,
            "n_judged": self.n_judged,
            **({key: round(value, 6) for key, value in (figures | hubness).items()} if was_judged else {}),
            "ranks": {rank: vars(found) for rank, found in self.ranks.items()},
        }


@dataclass(frozen=True, kw_only=True)
class NamedSample:
    """Records to fit and judge on.

    Attributes:
        vectors: raw, of unit length.
        names: a number per name, -1 where there is none; one column per rank.
        ranks: of those columns.
        occurrences: a number per occurrence.
    """

    vectors: Float32[np.ndarray, "n d"]
    names: Int64[np.ndarray, "n r"]
    ranks: tuple[str, ...]
    occurrences: Int64[np.ndarray, " n"]

    def take(self, chosen: Int64[np.ndarray, " m"] | Bool[np.ndarray, " n"]) -> NamedSample:
        """Some of the records."""
        return NamedSample(
            vectors=self.vectors[chosen],
            names=self.names[chosen],
            ranks=self.ranks,
            occurrences=self.occurrences[chosen],
        )


def name_sample(
    vectors: Float32[np.ndarray, "n d"], rows: Int64[np.ndarray, " n"], columns: pa.Table, ranks: Sequence[str]
) -> NamedSample:
    """The sample of some rows, named by the columns of all records (in row order; those absent name nothing).

    Without `occurrence_id` every record is an occurrence of its own.
    """
    import numpy as np

    present = tuple(rank for rank in ranks if rank in columns.column_names)
    names = [_number_texts(columns, rank)[rows] for rank in present]
    has_occurrences = "occurrence_id" in columns.column_names
    return NamedSample(
        vectors=vectors,
        names=np.stack(names, axis=1) if names else np.empty((len(rows), 0), np.int64),
        ranks=present,
        occurrences=_number_texts(columns, "occurrence_id")[rows] if has_occurrences else rows,
    )


def fit_calibration(sample: NamedSample, *, seed: int) -> CalibrationTrial:
    """A calibration of a space, kept only where neighbours of the same name become more (95 % interval above 0).

    Fitted on one half of the occurrences and judged on the other, and the other way round; small samples several
    times. Names are what is judged
    by: without them, or with fewer than 100 records that could find theirs, nothing is kept. It cannot see what no
    name speaks of, as posture or background. In a sample of very many species few occur twice, so that the higher
    ranks decide.
    """
    import numpy as np

    n = len(sample.vectors)
    n_rounds = max(1, min(MOST_ROUNDS, SAMPLE // max(n, 1)))
    rng = np.random.default_rng(seed)
    shape = n_rounds, *sample.names.shape
    before, after = np.full(shape, np.nan), np.full(shape, np.nan)
    hubness = []
    for place in range(n_rounds):
        halves = _halve(sample.occurrences, rng)
        for fitted, judged in (halves, halves[::-1]):
            if not has_spread(sample.vectors[fitted]):
                return _keep_nothing("its vectors have no spread")
            asked = sample.take(judged)
            moved = estimate_calibration(sample.vectors[fitted]).apply(asked.vectors)[0]
            before[place, judged] = measure_agreement(asked.vectors, asked)
            after[place, judged] = measure_agreement(moved, asked)
            hubness.append((measure_hubness(asked.vectors), measure_hubness(moved)))
    is_judged = ~np.isnan(before).all(axis=(0, 2))
    n_judged = int(is_judged.sum())
    if n_judged < LEAST_JUDGED:
        return _keep_nothing(
            f"{n_judged:,} records have another occurrence of their name to find, fewer than {LEAST_JUDGED}"
        )
    change = np.nanmean((after - before)[:, is_judged], axis=(0, 2))
    low, high = _interval(change, sample.occurrences[is_judged], rng)
    is_kept, gain = low > 0, float(change.mean())
    verb = "share more of their names" if is_kept else "do not surely share more of their names"
    return CalibrationTrial(
        calibration=estimate_calibration(sample.vectors) if is_kept else None,
        reason=f"nearest records {verb} ({gain:+.3f}, {low:+.3f} to {high:+.3f}, {n_judged:,} held out)",
        gain=gain,
        gain_low=low,
        gain_high=high,
        n_judged=n_judged,
        ranks=_summarise_ranks(sample.ranks, before, after),
        hubness_raw=float(np.mean([pair[0] for pair in hubness])),
        hubness_calibrated=float(np.mean([pair[1] for pair in hubness])),
    )


def measure_agreement(vectors: Float32[np.ndarray, "n d"], sample: NamedSample) -> Float64[np.ndarray, "n r"]:
    """Per record and rank 1 where the nearest named record of another occurrence has the same name, else 0.

    nan where the record has no name, or no other occurrence has the same.
    """
    import numpy as np

    result = np.full(sample.names.shape, np.nan)
    for column, names in enumerate(sample.names.T):
        named = np.flatnonzero(names >= 0)
        asked = named[_is_repeated(names[named], sample.occurrences[named])]
        for start in range(0, len(asked), _BLOCK):
            block = asked[start : start + _BLOCK]
            scores = vectors[block] @ vectors[named].T
            scores[sample.occurrences[block][:, None] == sample.occurrences[named]] = -np.inf
            result[block, column] = names[block] == names[named][scores.argmax(axis=1)]
    return result


def measure_hubness(vectors: Float32[np.ndarray, "n d"]) -> float:
    """Skewness of how often each record is among the 10 nearest of the others; near 0 where there are no hubs.

    Radovanović et al. 2010, "Hubs in space". nan for fewer than 12 records.
    """
    import numpy as np

    if len(vectors) < HUB_NEIGHBOURS + 2:
        return float("nan")
    counts = np.zeros(len(vectors))
    for start in range(0, len(vectors), _BLOCK):
        scores = vectors[start : start + _BLOCK] @ vectors.T
        scores[np.arange(len(scores)), np.arange(start, start + len(scores))] = -np.inf
        nearest = np.argpartition(-scores, HUB_NEIGHBOURS, axis=1)[:, :HUB_NEIGHBOURS]
        counts += np.bincount(nearest.ravel(), minlength=len(vectors))
    centred = counts - counts.mean()
    spread = float(counts.std())
    return float((centred**3).mean() / spread**3) if spread else 0.0


def _halve(
    occurrences: Int64[np.ndarray, " n"], rng: np.random.Generator
) -> tuple[Int64[np.ndarray, " a"], Int64[np.ndarray, " b"]]:
    """The places of the records in two random halves that share no occurrence."""
    import numpy as np

    found, order = np.unique(occurrences, return_inverse=True)
    is_first = rng.permutation(len(found))[order] < len(found) // 2
    return np.flatnonzero(is_first), np.flatnonzero(~is_first)


def _is_repeated(names: Int64[np.ndarray, " n"], occurrences: Int64[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
    """Whether another occurrence has the same name."""
    import numpy as np

    pairs = np.unique(np.stack([names, occurrences], axis=1), axis=0)
    found, n_occurrences = np.unique(pairs[:, 0], return_counts=True)
    repeated: Bool[np.ndarray, " n"] = np.isin(names, found[n_occurrences > 1])
    return repeated


def _interval(
    change: Float64[np.ndarray, " n"], occurrences: Int64[np.ndarray, " n"], rng: np.random.Generator
) -> tuple[float, float]:
    """A 95 % bootstrap interval of the mean over records, whole occurrences drawn."""
    import numpy as np

    _, order = np.unique(occurrences, return_inverse=True)
    sums, counts = np.bincount(order, change), np.bincount(order)
    means = []
    for _ in range(_BOOTSTRAPS):
        drawn = rng.integers(0, len(sums), len(sums))
        means.append(sums[drawn].sum() / counts[drawn].sum())
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)


def _summarise_ranks(
    ranks: Sequence[str], before: Float64[np.ndarray, "s n r"], after: Float64[np.ndarray, "s n r"]
) -> dict[str, RankAgreement]:
    import numpy as np

    return {
        rank: RankAgreement(
            raw=round(float(np.nanmean(before[..., column])), 6),
            calibrated=round(float(np.nanmean(after[..., column])), 6),
            n_records=int((~np.isnan(before[..., column])).any(axis=0).sum()),
        )
        for column, rank in enumerate(ranks)
        if not np.isnan(before[..., column]).all()
    }


def _keep_nothing(reason: str) -> CalibrationTrial:
    nothing = float("nan")
    return CalibrationTrial(
        calibration=None,
        reason=reason,
        gain=nothing,
        gain_low=nothing,
        gain_high=nothing,
        n_judged=0,
        ranks={},
        hubness_raw=nothing,
        hubness_calibrated=nothing,
    )


def _number_texts(columns: pa.Table, name: str) -> Int64[np.ndarray, " r"]:
    """Per record a number that equal texts share; -1 for none or the empty one."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = columns.column(name).cast(pa.string())
    named = pc.if_else(pc.equal(texts, ""), pa.scalar(None, pa.string()), texts)
    encoded = named.combine_chunks().dictionary_encode()
    numbers: Int64[np.ndarray, " r"] = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    return numbers
