"""Everything that is measured inside species, for the columns of a sample: one list for a report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int64

from explorer.geometry.finding import Finding, Skipped
from explorer.geometry.grouping import code_names
from explorer.geometry.principal_angles import PrincipalAngles, measure_angles
from explorer.geometry.sample import Sample
from explorer.geometry.shared_steps import measure_agreement
from explorer.geometry.species_span import MIN_SPECIES, has_species_for, measure_span
from explorer.geometry.states import States, gather_states
from explorer.geometry.transfer import HeldOut, explain_few, probe_transfer, probe_within
from explorer.geometry.variants import Contrast, direct_states, list_contrasts, separate_states

N_DIMENSIONS = 10
"""Dimensions of the span of the species that every space and column is measured at."""


@dataclass(frozen=True, kw_only=True)
class WithinSpecies:
    """What was found inside species.

    Attributes:
        findings: In the order of the columns; those of the species alone first.
        skipped: What these records do not allow.
        angles: The principal angles of each contrast; their findings are among `findings` too.
    """

    findings: tuple[Finding, ...]
    skipped: tuple[Skipped, ...]
    angles: tuple[PrincipalAngles, ...]


def measure_within(
    sample: Sample, columns: Sequence[str], *, batch: str | None = None, n_shuffles: int = 199, seed: int = 0
) -> WithinSpecies:
    """Every statistic inside species that the sample allows.

    Of all records the share of variation in the span of the species; of each contrast of a column (`list_contrasts`)
    the Fisher ratio, the share of the step in the span and the principal angles to it, the probe inside species, the
    probes on other species and other genera, and the cosine of the steps of two species and of two genera.

    Args:
        sample: Has the columns.
        columns: Columns of words.
        batch: A column inside whose values alone states are compared: photographer, museum, camera.
        n_shuffles: Of every null; half as many of the angles and of the share of all variation.
        seed: Fixes shuffles and draws.
    """
    species, genera = sample.taxa_at("species"), sample.taxa_at("genus")
    found: list[Finding | Skipped | PrincipalAngles] = list(_measure_all(sample, species, n_shuffles // 2, seed))
    batches = None if batch is None else code_names(sample.read_texts(batch))
    for column in columns:
        contrasts = list_contrasts(column, sample.read_texts(column), species, sample.occurrences)
        if not contrasts:
            reason = "no species shows two of its values in two occurrences each"
            found.append(Skipped(statistic="within species", column=column, reason=reason))
        for contrast in contrasts:
            given = Given(
                vectors=sample.vectors,
                species=species,
                genera=genera,
                occurrences=sample.occurrences,
                batches=batches,
            )
            found += measure_contrast(given, contrast, n_shuffles=n_shuffles, seed=seed)
    return _sort_out(found, sample.space)


def _measure_all(
    sample: Sample, species: Int64[np.ndarray, " n"], n_shuffles: int, seed: int
) -> tuple[Finding | Skipped, ...]:
    spans = measure_span(
        sample.vectors,
        species,
        occurrences=sample.occurrences,
        n_dimensions=(None, N_DIMENSIONS),
        n_shuffles=n_shuffles,
        seed=seed,
    )
    if len(spans) == 2:
        return spans
    n_species = len(np.unique(species[species >= 0]))
    pairs = np.unique(np.stack([species, sample.occurrences])[:, species >= 0], axis=1)
    n_twice = int((np.unique(pairs[0], return_counts=True)[1] > 1).sum())
    few = (
        f"of {n_species:,} species {n_twice:,} have two occurrences; {MIN_SPECIES} species are needed, half of them "
        "with two"
    )
    if spans:
        few = f"{n_species} species are too few for a span of {N_DIMENSIONS} dimensions"
    return *spans, Skipped(statistic=f"span{N_DIMENSIONS if spans else ''}_share", column="", reason=few)


@dataclass(frozen=True, kw_only=True, eq=False)
class Given:
    """What is known of each record: species and genera below 0 and batches of -1 are not."""

    vectors: Float[np.ndarray, "n d"]
    species: Int64[np.ndarray, " n"]
    genera: Int64[np.ndarray, " n"]
    occurrences: Int64[np.ndarray, " n"]
    batches: Int64[np.ndarray, " n"] | None = None

    def gather(self, contrast: Contrast, *, n_each: int, seed: int) -> States | None:
        """The states of a contrast in species that show both `n_each` times."""
        return gather_states(
            self.vectors,
            self.species,
            contrast.codes,
            occurrences=self.occurrences,
            batches=self.batches,
            genera=self.genera,
            n_each=n_each,
            seed=seed,
        )


def measure_contrast(
    given: Given, contrast: Contrast, *, n_shuffles: int = 199, seed: int = 0
) -> tuple[Finding | Skipped | PrincipalAngles, ...]:
    """Every statistic of one contrast, or why it is not there."""
    found: list[Finding | Skipped | PrincipalAngles] = []
    states = given.gather(contrast, n_each=2, seed=seed)
    if states is not None and states.n_species >= MIN_SPECIES:
        found += _measure_repeated(states, contrast, n_shuffles, seed)
    else:
        reason = explain_few(0 if states is None else states.n_species, "species", contrast, n_each=2)
        names = ("fisher", f"direction{N_DIMENSIONS}_share", "angle_overlap", "within_auc", "species_step_cosine")
        found += [Skipped(statistic=name, column=contrast.column, reason=reason) for name in names]
    single = given.gather(contrast, n_each=1, seed=seed)
    for held_out in HeldOut:
        if single is None:
            reason = explain_few(0, held_out, contrast, n_each=1)
            found.append(Skipped(statistic=f"{held_out}_transfer_auc", column=contrast.column, reason=reason))
        else:
            found.append(probe_transfer(single, contrast, held_out, n_shuffles=n_shuffles, seed=seed))
    return tuple(found)


def _measure_repeated(
    states: States, contrast: Contrast, n_shuffles: int, seed: int
) -> list[Finding | Skipped | PrincipalAngles]:
    found = [
        separate_states(states, contrast, n_shuffles=n_shuffles, seed=seed),
        _measure_direction(states, contrast, n_shuffles, seed),
        measure_angles(states, contrast, n_shuffles=n_shuffles // 2, seed=seed),
        probe_within(states, contrast, n_shuffles=n_shuffles, seed=seed),
        *(measure_agreement(states, contrast, between, seed=seed) for between in HeldOut),
    ]
    return [one for one in found if one is not None]


def _measure_direction(states: States, contrast: Contrast, n_shuffles: int, seed: int) -> Finding | Skipped:
    """In 10 directions, or in as many as hold 90 % of the variance between species where vectors have no more."""
    k = N_DIMENSIONS if states.rows.shape[1] > N_DIMENSIONS else None
    finding = direct_states(states, contrast, n_dimensions=k, n_shuffles=n_shuffles, seed=seed)
    if finding is not None:
        return finding
    needed = next(n for n in range(MIN_SPECIES, 1000) if has_species_for(N_DIMENSIONS, n))
    reason = (
        f"{states.n_species} species show both {contrast.names[0]} and {contrast.names[1]} twice; a span of "
        f"{N_DIMENSIONS} dimensions needs {needed}"
    )
    return Skipped(statistic=f"direction{N_DIMENSIONS}_share", column=contrast.column, reason=reason)


def _sort_out(found: Sequence[Finding | Skipped | PrincipalAngles], space: str) -> WithinSpecies:
    angles = tuple(
        replace(one, finding=replace(one.finding, space=space)) for one in found if isinstance(one, PrincipalAngles)
    )
    findings = [one.finding if isinstance(one, PrincipalAngles) else one for one in found]
    return WithinSpecies(
        findings=tuple(replace(one, space=space) for one in findings if isinstance(one, Finding)),
        skipped=tuple(one for one in findings if isinstance(one, Skipped)),
        angles=angles,
    )
