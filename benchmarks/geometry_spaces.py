"""Whether intervals of the spectrum and of comparisons hold the truth, and how many planted mislabels are found.

    .venv/bin/python -m benchmarks.geometry_spaces                    # coverage, 400 simulations each
    .venv/bin/python -m benchmarks.geometry_spaces ../shared/data     # swapped labels among real photographs as well

Where the truth is not known in closed form it is the mean over the simulations, so that bias is not seen there. Labels
of 2 % of the occurrences are exchanged for those of another species; found is what is listed as a denied label or as a
stranger. What is listed without any swap (co-mimics, above all) counts as false in the precision, and is left out in
the precision among new ones.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from explorer.geometry.comparing import Pair, estimate_cka, estimate_overlap, estimate_procrustes
from explorer.geometry.dip import find_dip, rate_dip
from explorer.geometry.finding import Estimate, Finding, Side
from explorer.geometry.neighbourhoods import draw_graph, estimate_dimension, estimate_hubness, measure_agreement
from explorer.geometry.sample import Sample
from explorer.geometry.spectrum import (
    estimate_effective_dimension,
    estimate_entropy_dimension,
    estimate_mean_cosine,
    gather_moments,
)
from explorer.geometry.suspects import SuspectKind, find_suspects
from explorer.taxonomy import build_taxonomy

VARIANCES = 1 / np.arange(1, 25)
FOUND = (SuspectKind.LABEL, SuspectKind.STRANGER)


def unit(rows: np.ndarray) -> np.ndarray:
    """The rows at unit length, as stored."""
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def draw_rows(seed: int, n: int) -> np.ndarray:
    """Rows whose effective dimension is known, about a mean that is not 0."""
    return np.asarray(np.random.default_rng(seed).normal(size=(n, 24)) * np.sqrt(VARIANCES) + 0.5)


def draw_sphere(seed: int, n: int, d: int, mean: float = 0.0) -> np.ndarray:
    """Directions around a mean."""
    return unit(np.random.default_rng(seed).normal(size=(n, d)) + mean)


def draw_pair(seed: int, n: int, noise: float) -> Pair:
    """Two spaces that share ten directions."""
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=(n, 10)) * np.linspace(2, 0.5, 10)
    second = shared @ np.random.default_rng(5).normal(size=(10, 14)) / 3 + noise * rng.normal(size=(n, 14))
    return Pair(first=unit(shared + 1), second=unit(second + 0.5), blocks=rng.permutation(n) % 10)


def draw_species(seed: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Records of 20 species that overlap, and their lineages."""
    means, species = np.random.default_rng(7).normal(size=(20, 10)), np.arange(n) % 20
    lineages = np.full((n, 7), -1)
    lineages[:, 6] = species
    return unit(means[species] + np.random.default_rng(seed).normal(size=(n, 10))), lineages


def find_agreement(seed: int, n: int) -> tuple[float, float, float]:
    """The agreement of species, and its interval."""
    rows, lineages = draw_species(seed, n)
    found = measure_agreement(rows, np.arange(n), lineages, n_shuffles=0)
    (agreement,) = [one for one in found if isinstance(one, Finding)]
    return agreement.value, agreement.low, agreement.high


def show(name: str, intervals: list[tuple[float, float, float]], truth: float | None = None) -> None:
    """One line: the truth, the mean estimate, and the share of intervals that hold the truth."""
    values, low, high = np.array(intervals).T
    held = float(values.mean()) if truth is None else truth
    share = ((low <= held) & (held <= high)).mean()
    print(f"{name:36s} truth {held:7.3f}  mean {values.mean():7.3f}  held {share:.3f}", flush=True)


def check(name: str, estimate: Callable[[int], Estimate], n: int, truth: float | None = None) -> None:
    """The coverage of one estimate."""
    found = [estimate(seed) for seed in range(n)]
    show(name, [(one.value, *one.find_interval()) for one in found], truth)


def check_spectrum(n: int, m: int) -> None:
    """Dimensions and cosine, of m records."""
    shares = VARIANCES / VARIANCES.sum()
    about_origin = np.linalg.eigvalsh(np.diag(VARIANCES) + 0.25)

    def centred(seed: int) -> Estimate:
        return estimate_effective_dimension(gather_moments(draw_rows(seed, m), shift=True), centred=True)

    def as_is(seed: int) -> Estimate:
        return estimate_effective_dimension(gather_moments(draw_rows(seed, m), shift=False), centred=False)

    check(f"effective dimension, centred, n = {m}", centred, n, 1 / float((shares**2).sum()))
    check(f"effective dimension, n = {m}", as_is, n, float(about_origin.sum() ** 2 / (about_origin**2).sum()))
    check(
        f"entropy dimension, n = {m}",
        lambda seed: estimate_entropy_dimension(gather_moments(draw_rows(seed, m), shift=True)),
        n,
        float(np.exp(-(shares * np.log(shares)).sum())),
    )
    check(
        f"mean cosine, n = {m}",
        lambda seed: estimate_mean_cosine(gather_moments(draw_sphere(seed, m, 12, 0.7), shift=False)),
        n,
    )


def check_neighbourhoods(n: int, m: int) -> None:
    """Hubs, local dimension and agreement, of m records; 40 dimensions make strong hubs."""
    for d in (12, 40):
        check(f"hubness, d = {d}, n = {m}", lambda i, d=d: estimate_hubness(draw_graph(draw_sphere(i, m, d, 0.7))), n)  # type: ignore[misc]
        check(f"TwoNN, d = {d}, n = {m}", lambda i, d=d: estimate_dimension(draw_graph(draw_sphere(i, m, d))), n)  # type: ignore[misc]
    show(f"agreement, n = {m}", [find_agreement(seed, m) for seed in range(n)])


def check_comparing(n: int, m: int, noise: float) -> None:
    """CKA against that of 4,000 records; the others against their own mean."""
    many = estimate_cka(draw_pair(10**6, 4_000, noise), n_shuffles=0).value
    named = f"noise {noise:g}, n = {m}"
    check(f"CKA, {named}", lambda i: estimate_cka(draw_pair(i, m, noise), n_shuffles=0), n, many)
    check(f"Procrustes, {named}", lambda i: estimate_procrustes(draw_pair(i, m, noise), n_shuffles=0), n)
    check(f"overlap, {named}", lambda i: estimate_overlap(draw_pair(i, m, noise)), n)


def check_nulls(n: int) -> None:
    """How often spaces, names and distributions that hold nothing are called at 5 %."""
    rng = np.random.default_rng(0)
    calls: dict[str, list[float]] = {"CKA": [], "Procrustes": [], "agreement": [], "dip of even draws": []}
    for seed in range(n):
        pair = Pair(first=draw_sphere(seed, 60, 8), second=draw_sphere(seed + n, 60, 20), blocks=np.arange(60) % 10)
        calls["CKA"].append(estimate_cka(pair, n_shuffles=99, seed=seed).find_p(Side.GREATER))
        calls["Procrustes"].append(estimate_procrustes(pair, n_shuffles=99, seed=seed).find_p(Side.GREATER))
        lineages = np.full((60, 7), -1)
        lineages[:, 6] = rng.permutation(60) % 4
        found = measure_agreement(pair.first, np.arange(60), lineages, n_shuffles=99, seed=seed)
        calls["agreement"] += [one.p for one in found if isinstance(one, Finding)]
        calls["dip of even draws"].append(rate_dip(find_dip(rng.random(30)), 30))
    for name, p in calls.items():
        print(f"{name:36s} called {np.mean(np.array(p) <= 0.05):.3f}", flush=True)


def read_photographs(shared: Path, encoder: str) -> tuple[np.ndarray, list[str], list[str], np.ndarray]:
    """Vectors, files and names (of Heliconius with the subspecies) of the photographs, and their specimens."""
    table = pq.read_table(shared / "vectors" / f"mobilenet_v2_{encoder}.parquet")
    manifest = pa_csv.read_csv(shared / "images" / "manifest.csv").to_pylist()
    names = {line["file"]: line["scientific_name"] or "" for line in manifest}
    files = table.column("file").to_pylist()
    specimens = [file.removesuffix("_D_lowres.png").removesuffix("_V_lowres.png") for file in files]
    codes = np.unique(specimens, return_inverse=True)[1]
    return unit(np.stack(table.column("emb").to_numpy())), files, [names[file] for file in files], codes


def list_found(vectors: np.ndarray, files: list[str], names: list[str], occurrences: np.ndarray) -> set[int]:
    """Rows that are listed as denied labels or strangers."""
    table = pa.table({"record_id": files, "genus": [name.split(" ")[0] for name in names], "species": names})
    sample = Sample(
        space="photographs",
        rows=np.arange(len(files)),
        vectors=vectors,
        occurrences=occurrences,
        taxonomy=build_taxonomy(table),
        records=table.select(["record_id"]),
    )
    return {one.row for one in find_suspects(sample).suspects if one.kind in FOUND}


def swap_labels(seed: int, names: list[str], occurrences: np.ndarray) -> tuple[list[str], set[int]]:
    """Names with those of 2 % of the named occurrences exchanged for those of well-known species, and which rows."""
    rng = np.random.default_rng(seed)
    old, new = np.array(names, dtype=object), np.array(names, dtype=object)
    counts = {name: len(np.unique(occurrences[old == name])) for name in set(names)}
    known = np.array([bool(name) and counts[name] > 3 for name in names])
    named = np.unique(occurrences[old != ""])
    swapped: set[int] = set()
    for one in rng.choice(named, round(0.02 * len(named)), replace=False):
        own = np.flatnonzero(occurrences == one)
        new[own] = old[rng.choice(np.flatnonzero(known & (old != old[own[0]])))]
        swapped |= set(own.tolist())
    return new.tolist(), swapped


def check_suspects(shared: Path, n_swaps: int = 5) -> None:
    """Recall and precision for swapped labels, over several draws."""
    for encoder in ("imagenet", "inat_insects"):
        vectors, files, names, occurrences = read_photographs(shared, encoder)
        for title, chosen in (
            ("Heliconius subspecies", np.array([file.startswith("heliconius") for file in files])),
            ("all photographs", np.ones(len(files), dtype=bool)),
        ):
            places = np.flatnonzero(chosen)
            part = vectors[places], [files[i] for i in places]
            labels, codes = [names[i] for i in places], np.unique(occurrences[places], return_inverse=True)[1]
            before = list_found(*part, labels, codes)
            lines = []
            for seed in range(n_swaps):
                changed, swapped = swap_labels(seed, labels, codes)
                found = list_found(*part, changed, codes)
                hits, new = len(found & swapped), found - before
                lines.append((hits / len(swapped), hits / len(found), len(new & swapped) / max(1, len(new))))
            recall, precision, among_new = np.mean(lines, axis=0)
            print(
                f"{encoder}, {title}: {len(before)} listed before; recall {recall:.2f}, precision {precision:.2f}, "
                f"among new ones {among_new:.2f}"
            )


def main() -> None:
    """Run everything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("shared", type=Path, nargs="?", help="../shared/data")
    parser.add_argument("--n", type=int, default=400, help="simulations of each kind")
    asked = parser.parse_args()
    if asked.shared:
        check_suspects(asked.shared)
    check_nulls(asked.n)
    for m in (60, 300):
        check_spectrum(asked.n, m)
    check_neighbourhoods(asked.n, 300)
    for m, noise in ((100, 0.5), (500, 2.0)):
        check_comparing(asked.n, m, noise)


if __name__ == "__main__":
    main()
