"""Species with a known trait, and the shuffles of it that leave the phylogeny as it is.

Relatives share looks and ecology. So the null of every p here moves the values of a trait among the species of a genus
only: what a genus has as a whole stays with it, and a space that knows genera alone gives p that are even. Where too
few genera hold species that differ, values move among the species of a family instead, and the readings say so. The two
are never mixed: the one species of a genus stands for the genus, and moving it would call the difference between
genera an ecology.

Intervals are those of the delete-a-group jackknife over families, as few as they are. With 12 families of 12 species
(`benchmarks/geometry_between.py`, 400 simulations) the 95 % interval held the mean of the simulations in 91.5 to 99 %
where the vectors carried the trait: least for `knn_gap` and `variance_trait` (91.5 to 93 %), most for `accuracy`, where
it is too wide. It is also too wide where the vectors know nothing of the trait (96 to 100 %).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from explorer.geometry.finding import Estimate, Finding, Side, Skipped, Used, conclude
from explorer.geometry.grouping import assign_folds, recode, shuffle_in_groups
from explorer.geometry.species_means import FAMILY, GENUS, SpeciesMeans, draw_species, reduce_dimensions
from explorer.geometry.traits import Trait, TraitKind

MIN_SPECIES = 16
MIN_EACH = 5
"""Species that a category needs."""
MIN_ARRANGEMENTS = 200
"""Different ways in which the values may lie, below which no p could be small."""
MIN_GROUPS = 8
"""Families or genera over which an interval can generalise."""
N_BLOCKS = 20
"""Blocks of them that are left out in turn for an interval."""
N_MOST = 5_000
N_PRINCIPAL = 96
"""Principal directions of the species that linear probes get."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TraitSample:
    """Species with a known value.

    Attributes:
        column: The trait.
        means: The species.
        origins: Their rows in the `SpeciesMeans` from which they were taken.
        values: Of each: the place of its category, or its rank among the numbers, in [0, 1].
        n_values: How many categories there are; 0 for numbers.
        exchanged: The group inside which values are shuffled; those below 0 stay.
        exchange_rank: Its rank, "genus" or "family".
        shuffles: Places from which the values come, one row per shuffle.
        seed: Fixes the shuffles of a part.
        n_records: All records, those that are not used among them.
        note: What a reading adds: categories left out, species drawn; "" for nothing.
    """

    column: str
    means: SpeciesMeans
    origins: Int64[np.ndarray, " g"]
    values: Float64[np.ndarray, " g"]
    n_values: int
    exchanged: Int64[np.ndarray, " g"]
    exchange_rank: str
    shuffles: Int64[np.ndarray, "p g"]
    seed: int
    n_records: int
    note: str

    def __len__(self) -> int:
        return len(self.means)

    @property
    def genera(self) -> Int64[np.ndarray, " g"]:
        """The genus of each species; -1 where it is not known."""
        return self.means.lineages[:, GENUS]

    @property
    def families(self) -> Int64[np.ndarray, " g"]:
        """The family of each species; -1 where it is not known."""
        return self.means.lineages[:, FAMILY]

    @property
    def rows(self) -> Float64[np.ndarray, "g d"]:
        """The species' directions."""
        return self.means.directions

    @cached_property
    def principal(self) -> Float64[np.ndarray, "g k"]:
        """The directions, centred, in at most 96 dimensions."""
        return reduce_dimensions(self.rows, N_PRINCIPAL)

    @cached_property
    def cosines(self) -> Float32[np.ndarray, "g g"]:
        """Of each pair of directions; 100 MB for 5,000 species."""
        rows = self.rows.astype(np.float32)
        cosines: Float32[np.ndarray, "g g"] = rows @ rows.T
        return cosines

    @cached_property
    def blocks(self) -> Int64[np.ndarray, " g"]:
        """What is left out in turn for an interval: blocks of what `find_groups` gives."""
        groups = self.find_groups()
        return assign_folds(groups, min(N_BLOCKS, int(groups.max()) + 1))

    def find_groups(self) -> Int64[np.ndarray, " g"]:
        """What intervals generalise over; see `find_independent`."""
        return find_independent(self.means.lineages)

    def count_movable(self) -> int:
        """How many species belong to a group in which values differ; the others stay as they are in every shuffle."""
        groups = number_groups(self.exchanged)
        cells = np.unique(np.column_stack([groups, self.values]), axis=0)
        return int((np.bincount(cells[:, 0].astype(np.int64)) > 1)[groups].sum())

    def shuffle(self) -> Float64[np.ndarray, "p+1 g"]:
        """The values as they are, then shuffled."""
        shuffled: Float64[np.ndarray, "p+1 g"] = np.vstack([self.values[None], self.values[self.shuffles]])
        return shuffled

    def take(self, chosen: Bool[np.ndarray, " g"]) -> TraitSample | None:
        """The chosen species alone, shuffled anew; None where fewer than two values, or than 16 species, are left."""
        values = self.values[chosen]
        if chosen.sum() < MIN_SPECIES or len(np.unique(values)) < 2:
            return None
        if self.n_values:
            values = recode(values.astype(np.int64)).astype(np.float64)
        rng = np.random.default_rng([self.seed, 2])
        groups = number_groups(self.exchanged[chosen])
        return replace(
            self,
            means=self.means.take(chosen),
            origins=self.origins[chosen],
            values=values,
            n_values=int(values.max()) + 1 if self.n_values else 0,
            exchanged=self.exchanged[chosen],
            shuffles=shuffle_in_groups(groups, n_shuffles=len(self.shuffles), rng=rng),
        )

    def conclude(
        self,
        estimate: Estimate,
        statistic: str,
        *,
        chance: float,
        side: Side = Side.GREATER,
        bounds: tuple[float, float],
        sentence: str,
    ) -> Finding:
        """The estimate as a finding.

        Args:
            estimate: The estimate.
            statistic: Its name.
            chance: What vectors that know nothing give.
            side: What counts as extreme.
            bounds: Range of the statistic.
            sentence: What is found, with {numbers} where the numbers go.
        """
        n = int(self.means.counts.sum())
        used = Used(n=n, n_groups=len(np.unique(self.find_groups())), left_out=self.n_records - n)
        tail = (
            f"{len(self):,} species; values were shuffled inside each {self.exchange_rank}, "
            f"where {self.count_movable():,} species have a relative with another value"
        )

        def say(numbers: str) -> str:
            return f"{sentence.format(numbers=numbers)} ({tail}{self.note})."

        name = (statistic, self.column)
        return conclude(estimate, name=name, chance=chance, side=side, bounds=bounds, used=used, say=say)


def number_groups(codes: Int64[np.ndarray, " g"]) -> Int64[np.ndarray, " g"]:
    """The groups with codes from 0 without gaps; each row coded below 0 is a group of its own."""
    return recode(np.where(codes >= 0, codes, int(codes.max(initial=0)) + 1 + np.arange(len(codes))))


def find_independent(lineages: Int64[np.ndarray, "g 7"]) -> Int64[np.ndarray, " g"]:
    """What is left out together for an interval: families where there are 8 or more, else genera, else species.

    Genera of a family share looks and ecology: an interval over genera is too narrow where both follow the family. A
    species without a known family counts with its genus, one without either alone.
    """
    genera = number_groups(lineages[:, GENUS])
    families = lineages[:, FAMILY]
    families = number_groups(np.where(families >= 0, families, int(families.max(initial=0)) + 1 + genera))
    for groups in (families, genera):
        if int(groups.max()) + 1 >= MIN_GROUPS:
            return groups
    return np.arange(len(lineages))


def sample_trait(
    means: SpeciesMeans, trait: Trait, *, n_shuffles: int = 199, n_most: int = N_MOST, seed: int = 0
) -> TraitSample | str:
    """The species with a known value, or why there are too few.

    Categories of fewer than 5 species are left out, and so are species beyond `n_most`: whole genera are then drawn.
    Numbers are replaced by their ranks, so that it does not matter whether masses or their logarithms are given.

    Args:
        means: The species.
        trait: One value for each of them.
        n_shuffles: 0 for no null.
        n_most: Species that are used at most, about.
        seed: Fixes draw and shuffles.
    """
    is_numeric = trait.kind is TraitKind.NUMERIC
    known = np.isfinite(trait.numbers) if is_numeric else trait.codes >= 0
    rare = [] if is_numeric else _list_rare(trait)
    known = known & (is_numeric | ~np.isin(trait.codes, rare))
    if known.sum() < MIN_SPECIES:
        n = int(known.sum())
        has = f"{n or 'no'} species {'has' if n == 1 else 'have'} a value"
        rarity = "" if is_numeric else f" that {MIN_EACH} species share"
        return f"{has}{rarity}, and {MIN_SPECIES} are needed"
    drawn = known.copy()
    rng = np.random.default_rng([seed, 1])
    if known.sum() > n_most:
        drawn[known] = draw_species(means.lineages[known, GENUS], n_most, rng)
    values = _rank(trait.numbers[drawn]) if is_numeric else recode(trait.codes[drawn]).astype(np.float64)
    if len(np.unique(values)) < 2:
        return "all species have the same value" + (", rare ones apart" if rare else "")
    chosen = means.take(drawn)
    if not chosen.directions.any():
        return "the means of all species are the same"
    exchange = _choose_exchange(chosen.lineages, values)
    if exchange is None:
        return (
            "species of one genus, or of one family, hardly ever differ in it: fewer than "
            f"{MIN_ARRANGEMENTS} arrangements would keep the taxonomy as it is"
        )
    rank, groups = exchange
    shuffles = shuffle_in_groups(number_groups(groups), n_shuffles=n_shuffles, rng=rng)
    return TraitSample(
        column=trait.column,
        means=chosen,
        origins=np.flatnonzero(drawn),
        values=values,
        n_values=0 if is_numeric else int(values.max()) + 1,
        exchanged=groups,
        exchange_rank=rank,
        shuffles=shuffles,
        seed=seed,
        n_records=len(means.places),
        note=_write_note([trait.names[code] for code in rare], int(known.sum() - drawn.sum())),
    )


def skip_statistics(names: tuple[str, ...], column: str, reason: str) -> list[Skipped]:
    """All these statistics of the column, left out for one reason."""
    return [Skipped(statistic=name, column=column, reason=reason) for name in names]


def _list_rare(trait: Trait) -> list[int]:
    counts = np.bincount(trait.codes[trait.codes >= 0], minlength=len(trait.names))
    return [int(code) for code in np.flatnonzero(counts < MIN_EACH)]


def _write_note(rare: list[str], n_undrawn: int) -> str:
    note = f"; {n_undrawn:,} more species were not drawn" if n_undrawn else ""
    if not rare:
        return note
    shown = ", ".join(rare[:3]) + (f" and {len(rare) - 3} more" if len(rare) > 3 else "")
    return f"{note}; values of fewer than {MIN_EACH} species left out: {shown}"


def _rank(numbers: Float64[np.ndarray, " g"]) -> Float64[np.ndarray, " g"]:
    from scipy.stats import rankdata

    ranks: Float64[np.ndarray, " g"] = (rankdata(numbers) - 0.5) / len(numbers)
    return ranks


def _choose_exchange(
    lineages: Int64[np.ndarray, "g 7"], values: Float64[np.ndarray, " g"]
) -> tuple[str, Int64[np.ndarray, " g"]] | None:
    """The lowest rank inside which the values can lie in enough ways."""
    for rank, place in (("genus", GENUS), ("family", FAMILY)):
        groups = lineages[:, place]
        if _count_arrangements(number_groups(groups), values) >= np.log(MIN_ARRANGEMENTS):
            return rank, groups
    return None


def _count_arrangements(groups: Int64[np.ndarray, " g"], values: Float64[np.ndarray, " g"]) -> float:
    """The logarithm of the number of different ways in which the values can lie inside their groups."""
    from scipy.special import gammaln

    cells = np.unique(np.column_stack([groups, values]), axis=0, return_counts=True)[1]
    return float(gammaln(np.bincount(groups) + 1.0).sum() - gammaln(cells + 1.0).sum())
