"""Occurrences of species that show two states, as male and female: what is compared, and how it may be shuffled.

Two designs, never mixed, since they ask for different shuffles and different errors:

- *unpaired*: an occurrence has one state, as a specimen has one sex. States are shuffled among the occurrences of a
  species; the noise of a step from one state's mean to the other's is that of two independent means.
- *paired*: an occurrence shows both states, as the two views of a specimen. States are swapped inside occurrences, and
  the noise is that of a mean of differences (Winer 1971, section 2.6: matched pairs).

The design that more species allow is taken; occurrences of the other kind are left out. Where batches (photographer,
museum, camera) are known, states are compared and shuffled inside species and batch alone: what a batch does to
vectors is then in neither the step nor the null. Batches that always coincide with a state leave nothing to compare.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64

from explorer.geometry.finding import Used
from explorer.geometry.grouping import (
    MOST_UNITS,
    UNKNOWN,
    Units,
    average_groups,
    cap_groups,
    centre_in_groups,
    collapse_occurrences,
    keep_contrasted,
    recode,
    shuffle_in_groups,
)
from explorer.geometry.species_span import find_main_axes


@dataclass(frozen=True, kw_only=True, eq=False)
class States:
    """Units (occurrences by state) of groups that show both states.

    Attributes:
        rows: Their vectors, less the mean of all.
        species: Coded from 0 without gaps.
        groups: In which states are compared: species, or batches of a species; coded from 0 without gaps.
        values: 0 or 1.
        pairs: The occurrence of each unit where the design is paired, coded from 0, two units each; else None.
        genera: The genus of each species; a species whose genus is not known has one of its own.
        counts: Records behind each unit.
        n_records: Records that were given.
        n_eligible: Units there were before thinning.
    """

    rows: Float64[np.ndarray, "m d"]
    species: Int64[np.ndarray, " m"]
    groups: Int64[np.ndarray, " m"]
    values: Int64[np.ndarray, " m"]
    pairs: Int64[np.ndarray, " m"] | None
    genera: Int64[np.ndarray, " s"]
    counts: Int64[np.ndarray, " m"]
    n_records: int
    n_eligible: int

    @cached_property
    def species_of_groups(self) -> Int64[np.ndarray, " g"]:
        """The species of each group."""
        species: Int64[np.ndarray, " g"] = np.empty(int(self.groups.max()) + 1, dtype=np.int64)
        species[self.groups] = self.species
        return species

    @property
    def n_species(self) -> int:
        """How many species."""
        return int(self.species.max()) + 1

    @property
    def used(self) -> Used:
        """What a statistic over the species of these states rests on."""
        return self.count_used(self.n_species)

    def count_used(self, n_groups: int, units: Bool[np.ndarray, " m"] | None = None) -> Used:
        """What a statistic over so many groups rests on, which uses all units or the chosen ones."""
        n = int((self.counts if units is None else self.counts[units]).sum())
        return Used(n=n, n_groups=n_groups, left_out=self.n_records - n)

    @cached_property
    def axes(self) -> Float64[np.ndarray, "d p"]:
        """The first 256 principal axes of the units; all of space where it has no more dimensions."""
        return find_main_axes(self.rows)

    @cached_property
    def whitened(self) -> Float64[np.ndarray, "m p"] | None:
        """The units relative to their strata in their main axes, with covariance I (shrunk: Ledoit & Wolf 2004).

        None where nothing varies inside strata. Blind to which state is which.
        """
        from sklearn.covariance import ledoit_wolf

        inside = centre_in_groups(self.rows @ self.axes, self.strata)
        if np.square(inside).mean() <= 1e-20 * max(1.0, np.square(self.rows).mean()):
            return None
        values, axes = np.linalg.eigh(ledoit_wolf(inside, assume_centered=True)[0])
        whitened: Float64[np.ndarray, "m p"] = inside @ axes / np.sqrt(values.clip(1e-12 * values[-1]))
        return whitened

    @property
    def strata(self) -> Int64[np.ndarray, " m"]:
        """Units among which the states are told apart: occurrences where those are paired, else groups."""
        return self.groups if self.pairs is None else self.pairs

    @property
    def note(self) -> str:
        """What a reading must add where units were left out for speed; else empty."""
        if len(self.values) == self.n_eligible:
            return ""
        return f" (from {len(self.values):,} of {self.n_eligible:,} occurrences, drawn at random)"

    def shuffle(self, n_shuffles: int, seed: int) -> Int64[np.ndarray, "p m"]:
        """Places of units: inside groups, or inside occurrences where those are paired."""
        return shuffle_in_groups(self.strata, n_shuffles=n_shuffles, rng=np.random.default_rng([seed, 0]))

    def average_species(self, of_groups: Float64[np.ndarray, "g t"]) -> Float64[np.ndarray, "s t"]:
        """The mean over each species' groups."""
        return average_groups(of_groups, self.species_of_groups)

    @cached_property
    def gaps(self) -> Float64[np.ndarray, "o d"]:
        """Second state less the first of each pair."""
        first, second = self.split_pairs()
        gaps: Float64[np.ndarray, "o d"] = self.rows[second] - self.rows[first]
        return gaps

    def split_pairs(self) -> tuple[Int64[np.ndarray, " o"], Int64[np.ndarray, " o"]]:
        """Units of the first and of the second state, pair by pair.

        Raises:
            ValueError: The design is unpaired.
        """
        if self.pairs is None:
            raise ValueError("the states are not paired")
        order = np.lexsort((self.values, self.pairs))
        return order[::2], order[1::2]

    def draw_species(self, n_most: int, seed: int) -> States:
        """The states of at most so many species, drawn at random; their vectors are still less the mean of all."""
        if self.n_species <= n_most:
            return self
        drawn = np.random.default_rng([seed, 8]).permutation(self.n_species)[:n_most]
        chosen = np.isin(self.species, drawn)
        return replace(
            self,
            rows=self.rows[chosen],
            species=recode(self.species[chosen]),
            groups=recode(self.groups[chosen]),
            values=self.values[chosen],
            pairs=None if self.pairs is None else recode(self.pairs[chosen]),
            genera=recode(self.genera[np.sort(drawn)]),
            counts=self.counts[chosen],
        )


def list_by_size(codes: Int64[np.ndarray, " m"]) -> Iterator[Int64[np.ndarray, "g n"]]:
    """Places of the rows of each group, groups of equal size together."""
    order = np.argsort(codes, kind="stable")
    sizes = np.bincount(codes)
    starts = np.cumsum(sizes) - sizes
    for size in np.unique(sizes):
        yield order[starts[sizes == size][:, None] + np.arange(size)]


def gather_states(
    vectors: Float[np.ndarray, "n d"],
    species: Int64[np.ndarray, " n"],
    codes: Int64[np.ndarray, " n"],
    *,
    occurrences: Int64[np.ndarray, " n"] | None = None,
    batches: Int64[np.ndarray, " n"] | None = None,
    genera: Int64[np.ndarray, " n"] | None = None,
    n_each: int = 2,
    seed: int = 0,
) -> States | None:
    """The occurrences of groups that have at least `n_each` of either state; None where no group has.

    Args:
        vectors: One row per record.
        species: A code per record; those below 0 are left out.
        codes: 0 or 1; -1 where a record has neither state.
        occurrences: A code per record, 0 or more; by default each record is its own.
        batches: A code per record, -1 where it is not known; such records are left out, as are those of an
            occurrence's smaller batches.
        genera: A code per record, below 0 where it is not known.
        n_each: Occurrences of either state (pairs, where paired) that a group needs.
        seed: Fixes which occurrences are used where there are too many.
    """
    known = (codes >= 0) & (species >= 0)
    whole = np.arange(len(codes)) if occurrences is None else occurrences
    if batches is not None:
        known &= _keep_main_batch(whole, batches, known)
    if not known.any():
        return None
    units = collapse_occurrences(vectors[known], whole[known], codes[known], species[known])
    groups, kin = units.species, np.full(len(units), UNKNOWN, dtype=np.int64)
    if batches is not None:
        batch_of = np.empty(len(units), dtype=np.int64)
        batch_of[units.of_records] = batches[known]
        groups = units.species * (int(batch_of.max()) + 1) + batch_of
    if genera is not None:
        kin[units.of_records] = genera[known]
    kin = np.where(kin < 0, kin.max() + 1 + units.species, kin)
    return _choose_design(units, recode(groups), kin, n_each=n_each, n_records=len(codes), seed=seed)


def read_values(units: Units) -> Int64[np.ndarray, " m"]:
    """The values of units.

    Raises:
        ValueError: They were collapsed without any.
    """
    if units.values is None:
        raise ValueError("the units were collapsed without values")
    return units.values


def _keep_main_batch(
    occurrences: Int64[np.ndarray, " n"], batches: Int64[np.ndarray, " n"], known: Bool[np.ndarray, " n"]
) -> Bool[np.ndarray, " n"]:
    """Records of the batch that holds most of their occurrence's records; the lowest code of several."""
    usable = known & (batches >= 0)
    kept = np.zeros(len(batches), dtype=bool)
    if not usable.any():
        return kept
    n_batches = int(batches.max()) + 1
    keys, of_records, counts = np.unique(
        occurrences[usable] * n_batches + batches[usable], return_inverse=True, return_counts=True
    )
    order = np.lexsort((keys, -counts, keys // n_batches))
    is_first = np.diff(keys[order] // n_batches, prepend=-1) != 0
    is_main = np.zeros(len(keys), dtype=bool)
    is_main[order[is_first]] = True
    kept[usable] = is_main[of_records]
    return kept


def _choose_design(
    units: Units,
    groups: Int64[np.ndarray, " m"],
    kin: Int64[np.ndarray, " m"],
    *,
    n_each: int,
    n_records: int,
    seed: int,
) -> States | None:
    values = read_values(units)
    items = recode(units.occurrences * (int(groups.max()) + 1) + groups)
    is_paired = (np.bincount(items) == 2)[items]
    designs = [
        chosen & keep_contrasted(np.where(chosen, groups, UNKNOWN), values, n_each=n_each)
        for chosen in (~is_paired, is_paired)
    ]
    sizes = [(len(np.unique(units.species[kept])), int(kept.sum())) for kept in designs]
    place = int(sizes[1] > sizes[0])
    kept = np.flatnonzero(designs[place])
    if not len(kept):
        return None
    thinned = kept[_thin(items[kept], groups[kept], values[kept], is_paired=bool(place), seed=seed)]
    rows = units.vectors[thinned].astype(np.float64)
    species = recode(units.species[thinned])
    kin_of = np.empty(int(species.max()) + 1, dtype=np.int64)
    kin_of[species] = kin[thinned]
    return States(
        rows=rows - rows.mean(axis=0),
        species=species,
        groups=recode(groups[thinned]),
        values=values[thinned],
        pairs=recode(items[thinned]) if place else None,
        genera=recode(kin_of),
        counts=units.counts[thinned],
        n_records=n_records,
        n_eligible=len(kept),
    )


def _thin(
    items: Int64[np.ndarray, " m"],
    groups: Int64[np.ndarray, " m"],
    values: Int64[np.ndarray, " m"],
    *,
    is_paired: bool,
    seed: int,
) -> Bool[np.ndarray, " m"]:
    """At most about `MOST_UNITS` units, the largest cells (or groups of pairs) thinned first, pairs kept whole."""
    rng = np.random.default_rng([seed, 1])
    if not is_paired:
        return cap_groups(2 * groups + values, rng=rng)
    first, of_units = np.unique(items, return_index=True, return_inverse=True)[1:]
    kept = cap_groups(groups[first], n_most=MOST_UNITS // 2, rng=rng)
    chosen: Bool[np.ndarray, " m"] = kept[of_units]
    return chosen


def measure_squares(
    states: States, values: Int64[np.ndarray, "p m"]
) -> tuple[Float64[np.ndarray, "p s"], Float64[np.ndarray, "p s"]]:
    """Per species the squared step from state to state, less its sampling noise, and the states' summed variances.

    Both are unbiased: the first is the mean, over all ways to split the occurrences (pairs) in two, of the product of
    the two halves' steps. Everything comes from the scalar products inside groups, so that hundreds of shuffles cost
    little more than one.

    Args:
        states: With two occurrences of either state in every group.
        values: One row per assignment of states; each must leave every group as many of either.
    """
    n_groups = len(states.species_of_groups)
    squared, variances = (np.empty((len(values), n_groups)) for _ in range(2))
    gaps = None if states.pairs is None else _sum_squared_gaps(states)
    for members in list_by_size(states.groups):
        rows = states.rows[members]
        places = states.groups[members[:, 0]]
        parts = _measure_group_squares(
            rows @ rows.swapaxes(1, 2), values[:, members], None if gaps is None else gaps[places]
        )
        squared[:, places], variances[:, places] = parts
    return states.average_species(squared.T).T, states.average_species(variances.T).T


def _sum_squared_gaps(states: States) -> Float64[np.ndarray, " g"]:
    first, _ = states.split_pairs()
    sums: Float64[np.ndarray, " g"] = np.bincount(states.groups[first], weights=(states.gaps**2).sum(axis=1))
    return sums


def _measure_group_squares(
    products: Float64[np.ndarray, "g n n"],
    values: Int64[np.ndarray, "p g n"],
    gaps: Float64[np.ndarray, " g"] | None,
) -> tuple[Float64[np.ndarray, "p g"], Float64[np.ndarray, "p g"]]:
    """The two parts for groups of n units, from their scalar products."""
    lengths = np.einsum("gnn->gn", products)
    weights, squares, variances = [], [], []
    for state in (0, 1):
        chosen = (values == state).astype(np.float64)
        counts = chosen.sum(axis=2)
        weights.append(chosen / counts[:, :, None])
        squares.append(square_sums(products, weights[-1]))
        variances.append(((chosen * lengths).sum(axis=2) - counts * squares[-1]) / (counts - 1))
    step = square_sums(products, weights[1] - weights[0])
    if gaps is None:
        n_first, n_second = ((values == state).sum(axis=2) for state in (0, 1))
        noise = variances[0] / n_first + variances[1] / n_second
    else:
        n_pairs = values.shape[2] // 2
        noise = (gaps - n_pairs * step) / (n_pairs * (n_pairs - 1))
    return step - noise, variances[0] + variances[1]


def square_sums(
    products: Float64[np.ndarray, "g n n"], weights: Float64[np.ndarray, "p g n"]
) -> Float64[np.ndarray, "p g"]:
    """Squared lengths of weighted sums of each group's rows, from the rows' scalar products."""
    columns = weights.transpose(1, 2, 0)
    squares: Float64[np.ndarray, "p g"] = ((products @ columns) * columns).sum(axis=1).T
    return squares
