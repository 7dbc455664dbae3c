"""How often the intervals of the statistics inside species hold the truth, and how often their nulls are rejected.

    nice .venv/bin/python -m benchmarks.geometry_within [--n 400] [--only fisher]

Vectors whose truth is planted (`tests.explorer.geometry.planted`): intervals of 95 % should hold it in 93 to 97 % of
simulations, nulls be rejected in 3.5 to 6.5 % at p <= 0.05. Where no formula gives the truth, the mean over all
simulations stands for it. Lines that begin with "naive" leave out what a case asks for and show what would go wrong.
400 simulations of all take about ten minutes of one core. Intervals of transfer and cosine are wider than that where
genera are few or share nothing; an interval that took the fits as given would be far too narrow.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from explorer.geometry.finding import Finding, Skipped
from explorer.geometry.principal_angles import PrincipalAngles, measure_angles
from explorer.geometry.shared_steps import measure_agreement
from explorer.geometry.species_span import measure_span
from explorer.geometry.transfer import HeldOut, probe_transfer, probe_within
from explorer.geometry.variants import direct_states, measure_direction, probe_states, separate_states
from tests.explorer.geometry.planted import plant, plant_images

N_SHUFFLES = 39
Found = Finding | Skipped | PrincipalAngles | None


@dataclass(frozen=True, kw_only=True)
class Case:
    """One line of the table.

    Attributes:
        name: Statistic and what is planted.
        measure: Given a seed, the finding.
        truth: What its interval should hold; None for the mean of all simulations; nan where only p is asked for.
    """

    name: str
    measure: Callable[[int], Found]
    truth: float | None


def list_cases() -> Iterator[Case]:
    """Every case."""
    yield from _list_separations()
    yield from _list_directions()
    yield from _list_probes()
    yield from _list_cosines()


def _list_separations() -> Iterator[Case]:
    def fisher(seed: int, *, by_batch: bool = False, **planted: float) -> Found:
        images = plant_images(seed, **planted)  # type: ignore[arg-type]
        states = images.gather(by_batch=by_batch, seed=seed)
        return separate_states(states, images.contrast, n_shuffles=N_SHUFFLES, seed=seed)

    def naive(seed: int, **planted: float) -> Found:
        images = plant_images(seed, **planted)  # type: ignore[arg-type]
        every = type(images)(**{**vars(images), "occurrences": np.arange(len(images.species))})
        return separate_states(every.gather(seed=seed), images.contrast, n_shuffles=N_SHUFFLES, seed=seed)

    # The squared step over two states' variances in 10 dimensions; both noises of a pair make 1.5 per dimension.
    yield Case(name="fisher", measure=lambda s: fisher(s, step=2), truth=4 / 20)
    yield Case(name="fisher, unbalanced", measure=lambda s: fisher(s, step=2, second_share=0.15, n_each=12), truth=0.2)
    yield Case(name="fisher, many images", measure=lambda s: fisher(s, step=2, most_images=20), truth=0.2)
    yield Case(name="naive fisher, many images", measure=lambda s: naive(s, step=2, most_images=20), truth=0.2)
    yield Case(name="fisher, pairs", measure=lambda s: fisher(s, step=2, is_paired=True), truth=4 / 30)
    yield Case(name="fisher null", measure=lambda s: fisher(s), truth=0)
    yield Case(name="fisher null, unbalanced", measure=lambda s: fisher(s, second_share=0.15, n_each=12), truth=0)
    yield Case(name="fisher null, many images", measure=lambda s: fisher(s, most_images=20, n_each=6), truth=0)
    yield Case(name="naive fisher null, many images", measure=lambda s: naive(s, most_images=20, n_each=6), truth=0)
    yield Case(name="fisher null, pairs", measure=lambda s: fisher(s, is_paired=True), truth=0)
    yield Case(name="fisher null, batch", measure=lambda s: fisher(s, by_batch=True, batch=2, n_each=24), truth=0)
    yield Case(name="naive fisher null, batch", measure=lambda s: fisher(s, batch=2, n_each=24), truth=0)


def _list_directions() -> Iterator[Case]:
    def span(seed: int) -> Found:
        planted = plant(seed, d=8, n_each=6)
        return measure_span(planted.vectors, planted.species, n_dimensions=(4,), n_shuffles=0)[0]

    def names(seed: int) -> Found:
        rows = np.random.default_rng([seed, 1]).normal(size=(60, 6)) * np.array([4, 2, 1, 1, 1, 1])
        species = np.repeat(np.arange(12), 5)
        return measure_span(rows, species, n_dimensions=(2,), n_shuffles=N_SHUFFLES, seed=seed)[0]

    def direction(seed: int, inside: float, share: float | None) -> Found:
        planted = plant(seed, step=2, step_inside=inside, stage_share=share)
        return measure_direction(planted.vectors, planted.species, planted.contrast, n_dimensions=4, n_shuffles=0)

    def null(seed: int, **planted: float) -> Found:
        images = plant_images(seed, **planted)  # type: ignore[arg-type]
        states = images.gather(seed=seed)
        return direct_states(states, images.contrast, n_dimensions=4, n_shuffles=N_SHUFFLES, seed=seed)

    def angles(seed: int) -> Found:
        planted = plant(seed, step=3, step_inside=0.3, n_each=12)
        images = plant_images(0)
        given = type(images)(
            vectors=planted.vectors,
            species=planted.species,
            genera=planted.genera,
            states=planted.states,
            occurrences=np.arange(len(planted.species)),
            batches=planted.states,
        )
        return measure_angles(given.gather(seed=seed), given.contrast, n_shuffles=0, seed=seed)

    yield Case(name="span share", measure=span, truth=4 / 8)
    yield Case(name="span share, names that mean nothing", measure=names, truth=np.nan)
    for inside in (0.0, 0.3, 1.0):
        for share in (0.4, None):
            kind = "unbalanced" if share is None else "balanced"
            yield Case(
                name=f"direction share {inside}, {kind}",
                measure=lambda s, i=inside, b=share: direction(s, i, b),  # type: ignore[misc]
                truth=inside,
            )
    yield Case(name="direction null, many images", measure=lambda s: null(s, most_images=20), truth=np.nan)
    yield Case(name="direction null, pairs", measure=lambda s: null(s, is_paired=True), truth=np.nan)
    yield Case(name="angles", measure=angles, truth=None)


def _list_probes() -> Iterator[Case]:
    def own(seed: int, *, by_batch: bool = False, **planted: float) -> Found:
        images = plant_images(seed, **planted)  # type: ignore[arg-type]
        states = images.gather(by_batch=by_batch, seed=seed)
        return probe_within(states, images.contrast, n_shuffles=N_SHUFFLES, seed=seed)

    def transfer(seed: int, held_out: HeldOut, *, by_batch: bool = False, **planted: float) -> Found:
        images = plant_images(seed, **planted)  # type: ignore[arg-type]
        states = images.gather(n_each=1, by_batch=by_batch, seed=seed)
        return probe_transfer(states, images.contrast, held_out, n_shuffles=N_SHUFFLES, seed=seed)

    def ridge(seed: int, **planted: float) -> Found:
        images = plant_images(seed, n_genera=16, **planted)  # type: ignore[arg-type]
        return probe_states(
            images.vectors,
            images.species,
            images.genera,
            images.contrast,
            occurrences=images.occurrences,
            n_shuffles=N_SHUFFLES,
            seed=seed,
        )

    genus, species = HeldOut.GENUS, HeldOut.SPECIES
    yield Case(name="within auc", measure=lambda s: own(s, step=1.5, n_each=12), truth=None)
    yield Case(name="within auc, many images", measure=lambda s: own(s, step=1.5, most_images=20), truth=None)
    yield Case(name="within auc, pairs", measure=lambda s: own(s, step=1.5, is_paired=True), truth=None)
    yield Case(name="within auc null, many images", measure=lambda s: own(s, most_images=20), truth=0.5)
    yield Case(name="within auc null, pairs", measure=lambda s: own(s, is_paired=True), truth=0.5)
    yield Case(name="within auc null, batch", measure=lambda s: own(s, batch=2, n_each=30, by_batch=True), truth=0.5)
    yield Case(name="naive within auc null, batch", measure=lambda s: own(s, batch=2, n_each=30), truth=0.5)
    yield Case(name="species transfer", measure=lambda s: transfer(s, species, step=1.5), truth=None)
    yield Case(name="genus transfer", measure=lambda s: transfer(s, genus, step=1.5), truth=None)
    yield Case(name="genus transfer, pairs", measure=lambda s: transfer(s, genus, step=1.5, is_paired=True), truth=None)
    yield Case(name="species transfer, own steps", measure=lambda s: transfer(s, species, step=2, shared=0), truth=0.5)
    yield Case(
        name="genus transfer, steps shared in genera",
        measure=lambda s: transfer(s, genus, step=2, shared=0, shared_in_genus=True),
        truth=0.5,
    )
    yield Case(
        name="naive species transfer, steps shared in genera",
        measure=lambda s: transfer(s, species, step=2, shared=0, shared_in_genus=True),
        truth=0.5,
    )
    yield Case(
        name="genus transfer, own steps, unbalanced",
        measure=lambda s: transfer(s, genus, step=2, shared=0, second_share=0.15, n_each=12),
        truth=0.5,
    )
    yield Case(
        name="genus transfer null, batch",
        measure=lambda s: transfer(s, genus, by_batch=True, batch=2, n_each=24),
        truth=0.5,
    )
    yield Case(name="naive genus transfer null, batch", measure=lambda s: transfer(s, genus, batch=2), truth=0.5)
    yield Case(name="ridge auc null, many images", measure=lambda s: ridge(s, most_images=20), truth=np.nan)


def _list_cosines() -> Iterator[Case]:
    def cosine(seed: int, between: HeldOut, *, by_batch: bool = False, **planted: float) -> Found:
        images = plant_images(seed, **planted)  # type: ignore[arg-type]
        states = images.gather(by_batch=by_batch, seed=seed)
        return measure_agreement(states, images.contrast, between, n_shuffles=N_SHUFFLES, seed=seed)

    genus, species = HeldOut.GENUS, HeldOut.SPECIES
    for shared in (0.0, 0.5, 1.0):
        yield Case(
            name=f"species cosine {shared}",
            measure=lambda s, c=shared: cosine(s, species, step=2, shared=c),  # type: ignore[misc]
            truth=shared,
        )
    yield Case(name="genus cosine 0.5", measure=lambda s: cosine(s, genus, step=2, shared=0.5), truth=0.5)
    yield Case(
        name="genus cosine 0.5, many images",
        measure=lambda s: cosine(s, genus, step=2, shared=0.5, most_images=20),
        truth=0.5,
    )
    yield Case(
        name="genus cosine 0.5, pairs",
        measure=lambda s: cosine(s, genus, step=2, shared=0.5, is_paired=True),
        truth=0.5,
    )
    yield Case(
        name="genus cosine 0, steps shared in genera",
        measure=lambda s: cosine(s, genus, step=2, shared=0, shared_in_genus=True),
        truth=0,
    )
    yield Case(
        name="genus cosine 0, batch",
        measure=lambda s: cosine(s, genus, step=3, shared=0, batch=2, n_each=24, by_batch=True),
        truth=0,
    )
    yield Case(
        name="naive genus cosine 0, batch",
        measure=lambda s: cosine(s, genus, step=3, shared=0, batch=2, n_each=24),
        truth=0,
    )


def simulate(case: Case, n: int) -> str:
    """The line of a case: mean and spread of the estimate, coverage, rejections, simulations without a finding."""
    found = [case.measure(seed) for seed in range(n)]
    findings = [one.finding if isinstance(one, PrincipalAngles) else one for one in found]
    kept = [one for one in findings if isinstance(one, Finding)]
    values = np.array([(one.value, one.low, one.high, one.p) for one in kept])
    truth = values[:, 0].mean() if case.truth is None else case.truth
    covers = "–" if np.isnan(truth) else f"{np.mean((values[:, 1] <= truth) & (truth <= values[:, 2])):.1%}"
    rejects = f"{np.mean(values[:, 3] <= 0.05):.1%}" if np.isfinite(values[:, 3]).all() else "–"
    return (
        f"{case.name:<48}{truth:>7.3f}{values[:, 0].mean():>8.3f}{values[:, 0].std():>7.3f}{covers:>9}{rejects:>9}"
        f"{n - len(kept):>6}"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--n", type=int, default=400, help="simulations of each case")
    parser.add_argument("--only", default="", help="cases whose name holds this")
    asked = parser.parse_args()
    print(f"{'case':<48}{'truth':>7}{'mean':>8}{'sd':>7}{'covered':>9}{'rejected':>9}{'none':>6}")
    for case in list_cases():
        if asked.only in case.name:
            print(simulate(case, asked.n), flush=True)


if __name__ == "__main__":
    main()
