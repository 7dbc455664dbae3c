"""Do the statistics between species keep their promises, on vectors whose structure is known?

    python benchmarks/geometry_between.py [--simulations 400] [--case NAME] [--minutes 10] [--out FILE]

Every case draws vectors with a phylogeny (families, genera, species) and a trait, many times, with 99 shuffles each;
where the CPU minutes of a case run out, the simulations made until then are summed up:

- `phylogeny`: the trait follows the phylogeny and so do the vectors, which know nothing else. Rejection is to be 5 %.
- `shared_phylogeny`: the vectors hold the trait's mean in each genus, and nothing of the species. 5 % again.
- `one_image`, `many_images`: `phylogeny` with one image per species, with one to 40 images of one occurrence.
- `unbalanced`: `phylogeny` with categories of 70, 20 and 10 %.
- `monotypic`: `phylogeny` with two species in a few genera and one in most.
- `ecology`: the vectors hold the trait. Rejection is power; the interval is to hold the expected value in 95 %.

Coverage is measured against the mean over the simulations, for no formula gives the expected value. The last column is
the mean width of the interval over that of one made from the true standard deviation.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from explorer.geometry.between import measure_between
from explorer.geometry.finding import Finding
from explorer.geometry.species_means import SpeciesMeans, average_species
from explorer.geometry.traits import Trait, make_trait

CASES = ("phylogeny", "shared_phylogeny", "one_image", "many_images", "unbalanced", "monotypic", "ecology")
N_DIMENSIONS = 16
N_SHUFFLES = 99


@dataclass(frozen=True, kw_only=True)
class Planted:
    """Species with a trait, as number and as category."""

    means: SpeciesMeans
    traits: tuple[Trait, Trait]


def plant(case: str, seed: int, *, n_families: int = 12) -> Planted:
    """Vectors and traits of one simulation."""
    rng = np.random.default_rng([seed, CASES.index(case)])
    per_family = 3
    sizes = rng.choice([1, 1, 1, 6], n_families * per_family) if case == "monotypic" else [4] * n_families * per_family
    genus = np.repeat(np.arange(n_families * per_family), sizes)
    family = genus // per_family
    value = draw_tree(rng, family, genus, 1)[:, 0]
    rows = draw_tree(rng, family, genus, N_DIMENSIONS)
    if case == "shared_phylogeny":
        means = np.bincount(genus, weights=value) / np.bincount(genus)
        rows[:, 0] += 2 * means[genus]
    if case == "ecology":
        rows[:, 0] += 1.5 * value
    return Planted(means=photograph(rng, case, rows, family, genus), traits=make_traits(case, value))


def draw_tree(rng: np.random.Generator, family: np.ndarray, genus: np.ndarray, d: int) -> np.ndarray:
    """Values that are the sum of equal parts from family, genus and species."""
    parts = (rng.normal(size=(int(codes.max()) + 1, d))[codes] for codes in (family, genus))
    return np.asarray(sum(parts) + rng.normal(size=(len(genus), d)))


def photograph(
    rng: np.random.Generator, case: str, rows: np.ndarray, family: np.ndarray, genus: np.ndarray
) -> SpeciesMeans:
    """Records of the species, and their means."""
    n = len(rows)
    counts = {"one_image": np.ones(n, np.int64), "many_images": rng.integers(1, 41, n)}.get(case, np.full(n, 3))
    species = np.repeat(np.arange(n), counts)
    is_one = case == "many_images"
    occurrences = species if is_one else np.arange(len(species))
    noise = rng.normal(size=(n, rows.shape[1]))[species] if is_one else 0.0
    vectors = rows[species] + noise + rng.normal(size=(len(species), rows.shape[1]))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    lineage = np.column_stack(
        [np.zeros(n), np.ones(n), np.full(n, 2), 3 + family // 4, 100 + family, 1_000 + genus, 10_000 + np.arange(n)]
    ).astype(np.int64)
    return average_species(vectors.astype(np.float32), occurrences, lineage[species])


def make_traits(case: str, value: np.ndarray) -> tuple[Trait, Trait]:
    """The trait as number and as three categories."""
    cuts = np.quantile(value, [0.7, 0.9] if case == "unbalanced" else [1 / 3, 2 / 3])
    categories = ["abc"[place] for place in np.digitize(value, cuts)]
    return make_trait("number", value.tolist()), make_trait("category", categories)


def summarise(found: list[Finding]) -> dict[str, float]:
    """Rejection at 5 %, and coverage of the mean."""
    values, lows, highs, p = (np.array([getattr(one, name) for one in found]) for name in ("value", "low", "high", "p"))
    truth = values.mean()
    return {
        "n": len(found),
        "mean": float(truth),
        "null_mean": float(np.mean([(one.null_low + one.null_high) / 2 for one in found])),
        "rejected": float((p <= 0.05).mean()),
        "covered": float(((lows <= truth) & (truth <= highs)).mean()),
        "width": float(np.mean(highs - lows)),
        "spread": float(values.std()),
    }


def run_case(case: str, n_simulations: int, n_minutes: float) -> dict[str, dict[str, float]]:
    """Every statistic of a case, by name."""
    found: dict[str, list[Finding]] = defaultdict(list)
    end = time.process_time() + 60 * n_minutes
    for seed in range(n_simulations):
        if time.process_time() > end:
            break
        planted = plant(case, seed)
        for trait in planted.traits:
            for finding in measure_between(planted.means, trait, n_shuffles=N_SHUFFLES, seed=seed).findings:
                found[f"{finding.statistic}/{finding.column}"].append(finding)
    return {name: summarise(findings) for name, findings in found.items()}


def main() -> None:
    """Print a table and, where asked, write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=400)
    parser.add_argument("--case", action="append", choices=CASES)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    results = {}
    for case in asked.case or CASES:
        results[case] = run_case(case, asked.simulations, asked.minutes)
        n_made = max((int(one["n"]) for one in results[case].values()), default=0)
        print(f"\n{case}, {n_made} simulations")
        print(f"{'statistic':40} {'mean':>7} {'null':>7} {'rejected':>9} {'covered':>8} {'width':>9}")
        for name, one in results[case].items():
            ratio = one["width"] / (3.92 * one["spread"]) if one["spread"] else math.nan
            print(
                f"{name:40} {one['mean']:7.3f} {one['null_mean']:7.3f} {one['rejected']:9.1%} {one['covered']:8.1%} "
                f"{ratio:9.2f}",
                flush=True,
            )
    if asked.out:
        asked.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
