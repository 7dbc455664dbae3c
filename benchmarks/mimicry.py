"""Whether co-mimics of different species lie together more than relatives do: Heliconius erato and H. melpomene.

    .venv/bin/python -m benchmarks.mimicry ../shared/data/images ../shared/data/vectors/mobilenet_v2_*.parquet

Units are subspecies: the mean of their specimens, of each view apart. A ring is one subspecies of either species that
fly together with the same pattern. The manifest names no rings: the pairs are the traditional ones, written down here
without sight of the table that lists them (Hoyal Cuthill et al. 2019, Science Advances 5, eaaw4967, table S1);
http://www.ucl.ac.uk/taxome/jim/Mim/ermelmim.html shows five of them. The null gives the subspecies of one species to
those of the other at random.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from jaxtyping import Float64
from scipy.stats import t

RINGS = {
    **{"cyrbia": "cythera", "venus": "vulcanus", "microclea": "xenoclea", "notabilis": "plesseni"},
    **{"favorinus": "amaryllis", "phyllis": "nanna", "petiverana": "rosina", "hydara": "melpomene"},
    **{"emma": "aglaope", "etylus": "ecuadorensis", "luscombei": "schunkei"},
}
"""Subspecies of H. erato → that of H. melpomene which mimics it."""
N_SHUFFLES = 9_999

Pattern = tuple[str, str]
"""Species and subspecies."""


def read_patterns(images: Path, vectors: Path, view: str) -> dict[Pattern, Float64[np.ndarray, " d"]]:
    """The mean of each subspecies, less the middle between the two species, of unit length.

    One middle for both: with a middle of its own for each, the subspecies of a species would be unlike by construction.
    """
    table = pq.read_table(vectors, columns=["file", "emb"])
    rows = dict(zip(table["file"].to_pylist(), np.array(table["emb"].to_pylist()), strict=True))
    members: dict[Pattern, list[Float64[np.ndarray, " d"]]] = {}
    with (images / "manifest.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["file"].startswith("heliconius/") and row["view"] == view:
                _, species, subspecies = row["scientific_name"].split(" ")
                members.setdefault((species, subspecies.split("_")[0]), []).append(rows[row["file"]])
    means = {pattern: np.mean(found, axis=0) for pattern, found in members.items()}
    middles = {name: np.mean([mean for (own, _), mean in means.items() if own == name], axis=0) for name, _ in means}
    middle = np.mean(list(middles.values()), axis=0)
    centred = {pattern: mean - middle for pattern, mean in means.items()}
    return {pattern: mean / np.linalg.norm(mean) for pattern, mean in centred.items()}


def compare_rings(patterns: dict[Pattern, Float64[np.ndarray, " d"]], rng: np.random.Generator) -> str:
    """The figures as sentences."""
    erato = np.array([patterns["erato", one] for one in RINGS])
    melpomene = np.array([patterns["melpomene", other] for other in RINGS.values()])
    n, across = len(RINGS), erato @ melpomene.T
    own = np.diag(across)
    kin = np.array([_average_kin(side) for side in (erato, melpomene)]).mean(axis=0)
    others = (across.sum(axis=0) + across.sum(axis=1) - 2 * own) / (2 * n - 2)
    orders = [rng.permutation(n) for _ in range(N_SHUFFLES)]
    shuffled = np.array([across[np.arange(n), order].mean() for order in orders])
    p = (1 + (shuffled >= own.mean()).sum()) / (1 + N_SHUFFLES)
    hits = (across.argmax(axis=1) == np.arange(n)).sum() + (across.argmax(axis=0) == np.arange(n)).sum()
    beats = sum((own > _find_nearest_kin(side)).sum() for side in (erato, melpomene))
    low, high = np.quantile(shuffled, [0.025, 0.975])
    return (
        f"cosine of co-mimics {_say(own)}; with the rings shuffled {low:.2f} to {high:.2f}, p = {p:.2g}; of other "
        f"pairs of the two species {_say(others)}, of other subspecies of the own species {_say(kin)}; co-mimics less "
        f"relatives {_say(own - kin)}; the nearest subspecies of the other species is the co-mimic in {hits} of "
        f"{2 * n} (2 by chance), and nearer than every one of the own species in {beats} of {2 * n}"
    )


def _average_kin(side: Float64[np.ndarray, "n d"]) -> Float64[np.ndarray, " n"]:
    scores = side @ side.T
    found: Float64[np.ndarray, " n"] = (scores.sum(axis=1) - 1) / (len(side) - 1)
    return found


def _find_nearest_kin(side: Float64[np.ndarray, "n d"]) -> Float64[np.ndarray, " n"]:
    scores = side @ side.T
    np.fill_diagonal(scores, -np.inf)
    nearest: Float64[np.ndarray, " n"] = scores.max(axis=1)
    return nearest


def _say(values: Float64[np.ndarray, " n"]) -> str:
    """The mean over rings and its 95 % interval."""
    reach = t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return f"{values.mean():.2f} [{values.mean() - reach:.2f}, {values.mean() + reach:.2f}]"


def main() -> None:
    """Prints the figures of either view."""
    parser = argparse.ArgumentParser(description="Whether co-mimics lie together.")
    parser.add_argument("images", type=Path, help="folder with manifest.csv and heliconius/")
    parser.add_argument("vectors", type=Path, nargs="+", help="Parquet of file and emb")
    asked = parser.parse_args()
    for vectors in asked.vectors:
        for view in ("dorsal", "ventral"):
            patterns = read_patterns(asked.images, vectors, view)
            print(f"{vectors.stem}, {view}: {compare_rings(patterns, np.random.default_rng(0))}")


if __name__ == "__main__":
    main()
