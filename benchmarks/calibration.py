"""What calibration does to neighbours and to texts, on real vectors and on the demo: the tables of the README.

    .venv/bin/python -m benchmarks.calibration ../shared/data --demo demo.corpus

Everything is fitted on one half of the occurrences and judged on the other, in several random splits; the interval is
that of the mean change over occurrences (bootstrap). Asked of every record: does the nearest named record of another
occurrence share its name? Hubness is the skewness of how often a record is among the 10 nearest of others.

1. 1,030 BioCLIP 2 vectors of TreeOfLife-200M (those with names).
2. MobileNetV2 vectors of photographs; the two views of a Heliconius specimen are one occurrence.
3. A demo corpus (`morphospace demo --no-app`), with texts: names and words for states, in several treatments.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv
import pyarrow.parquet as pq

from indexer.corpus import Corpus, open_corpus
from indexer.encoders import load_encoder
from indexer.index.calibrating import NamedSample, fit_calibration, measure_agreement, measure_hubness, name_sample
from indexer.index.calibration import estimate_calibration
from indexer.index.taxa import TAXON_COLUMNS
from indexer.model_names import pin_model
from indexer.terms import RANKS
from indexer.vectors import load_vectors

COMPONENTS = 300
BOOTSTRAPS = 1_000
FIRST_HITS = 20
CLASSES = {"bird": "Aves", "fish": "Actinopterygii", "butterfly": "Insecta", "leaf": "Magnoliopsida"}
STATES: Mapping[str, Mapping[str, str]] = {
    "juvenile": {"lifeStage": "juvenile"},
    "male": {"sex": "male"},
    "female": {"sex": "female"},
    "breeding": {"reproductiveCondition": "breeding"},
    "wet season": {"season": "wet season"},
    "autumn": {"season": "autumn"},
}
Transform = Callable[[np.ndarray], np.ndarray]
Scoring = Callable[[np.ndarray, np.ndarray], np.ndarray]


def unit(vectors: np.ndarray) -> np.ndarray:
    """The vectors at unit length."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: np.ndarray = vectors / np.maximum(lengths, 1e-12)
    return scaled


def fit_ways(vectors: np.ndarray) -> dict[str, Transform]:
    """The ways to compare images that are set beside each other, fitted on vectors."""
    mean = vectors.mean(axis=0)
    _, values, axes = np.linalg.svd(vectors - mean, full_matrices=False)
    kept = min(COMPONENTS, int((values > 1e-6 * values[0]).sum()))
    truncated = axes[:kept].T * values[:kept] ** -0.5
    calibration = estimate_calibration(vectors)
    return {
        "raw": lambda x: x,
        "centred": lambda x: unit(x - mean),
        f"first {COMPONENTS} components, power -0.5": lambda x: unit((x - mean) @ truncated),
        "**calibrated**": lambda x: calibration.apply(x)[0],
    }


def split_occurrences(sample: NamedSample, rng: np.random.Generator) -> tuple[NamedSample, NamedSample]:
    """Two halves of a sample that share no occurrence."""
    found, order = np.unique(sample.occurrences, return_inverse=True)
    is_first = rng.permutation(len(found))[order] < len(found) // 2
    return sample.take(is_first), sample.take(~is_first)


def compare_ways(title: str, sample: NamedSample, *, n_splits: int) -> None:
    """Print the agreement of each way at each rank, and the change that calibration makes, with its interval."""
    agreement: dict[str, list[np.ndarray]] = {}
    hubness: dict[str, list[float]] = {}
    judged_occurrences = []
    for split in range(n_splits):
        fitted, judged = split_occurrences(sample, np.random.default_rng(split))
        judged_occurrences.append(judged.occurrences)
        for way, transform in fit_ways(fitted.vectors).items():
            moved = transform(judged.vectors)
            agreement.setdefault(way, []).append(measure_agreement(moved, judged))
            hubness.setdefault(way, []).append(measure_hubness(moved))
    occurrences = np.concatenate(judged_occurrences)
    stacked = {way: np.concatenate(found) for way, found in agreement.items()}
    rows = [
        [
            way,
            *(f"{np.nanmean(found[:, place]):.3f}" for place in range(len(sample.ranks))),
            f"{mean(hubness[way]):.2f}",
        ]
        for way, found in stacked.items()
    ]
    change = stacked["**calibrated**"] - stacked["raw"]
    rows.append(["change", *(bootstrap(column, occurrences) for column in change.T), ""])
    print(f"\n### {title}: {len(sample.vectors):,} vectors, {n_splits} splits\n")
    print_table(["nearest neighbour shares", *sample.ranks, "hubness"], rows)
    trial = fit_calibration(sample, seed=0)
    print(f"\n{'kept' if trial.calibration else 'not kept'}: {trial.reason}")


def mean(values: Sequence[float]) -> float:
    """The mean."""
    return float(np.mean(values))


def bootstrap(change: np.ndarray, occurrences: np.ndarray) -> str:
    """The mean change and its 95 % interval, over the occurrences that all splits judged."""
    is_judged = ~np.isnan(change)
    _, order = np.unique(occurrences[is_judged], return_inverse=True)
    sums, counts = np.bincount(order, change[is_judged]), np.bincount(order)
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, len(sums), (BOOTSTRAPS, len(sums)))
    low, high = np.quantile(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1), (0.025, 0.975))
    return f"{change[is_judged].mean():+.3f} ({low:+.3f} to {high:+.3f})"


def print_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a Markdown table."""
    print("| " + " | ".join(titles) + " |\n|" + "---|" * len(titles))
    for row in rows:
        print("| " + " | ".join(row) + " |")


def read_matrix(table: pa.Table) -> np.ndarray:
    """The unit vectors in the column `emb`."""
    column = table.column("emb").combine_chunks()
    return unit(np.asarray(column.flatten(), np.float32).reshape(len(column), -1))


def read_treeoflife(folder: Path) -> NamedSample:
    """The BioCLIP 2 vectors that have names."""
    table = pq.read_table(folder / "vectors" / "bioclip2_treeoflife_1k.parquet")
    is_named = [any(row[rank] for rank in RANKS) for row in table.select(RANKS).to_pylist()]
    table = table.filter(pa.array(is_named))
    return name_sample(read_matrix(table), np.arange(len(table)), table, RANKS)


def read_photographs(folder: Path, name: str) -> NamedSample:
    """MobileNet vectors, named by the manifest: species (the first two words) and, of Heliconius, subspecies."""
    table = pq.read_table(folder / "vectors" / name)
    manifest = pcsv.read_csv(folder / "images" / "manifest.csv")
    found = {row["file"]: row for row in manifest.to_pylist()}
    rows = [found[file] for file in table.column("file").to_pylist()]
    names = pa.table(
        {
            "species": [" ".join(row["scientific_name"].split()[:2]) for row in rows],
            "subspecies": [row["label"] if row["file"].startswith("heliconius") else "" for row in rows],
            "occurrence_id": [name_occurrence(row) for row in rows],
        }
    )
    return name_sample(read_matrix(table), np.arange(len(rows)), names, ("species", "subspecies"))


def name_occurrence(row: Mapping[str, str]) -> str:
    """The specimen, the fungus's name (its photographs are mostly of one find), or the file."""
    folder, _, name = row["file"].partition("/")
    own = {"heliconius": name.split("_")[0], "fungi": row["scientific_name"]}
    return f"{folder}-{own.get(folder, name)}"


@dataclass(frozen=True, kw_only=True)
class Texts:
    """Texts, their vectors, and which records each fits."""

    vectors: np.ndarray
    fits: np.ndarray


def encode_texts(corpus: Corpus, sentences: list[str], fits: Sequence[np.ndarray]) -> Texts:
    """The texts as the encoder of the corpus's first space gives them."""
    spec = corpus.open_space().encoder
    assert spec is not None
    encoder = load_encoder(pin_model(spec), device="cpu", precision=spec.precision, announce=print)
    return Texts(vectors=encoder.encode_texts(sentences), fits=np.stack(fits))


def list_names(columns: pa.Table) -> dict[str, np.ndarray]:
    """Every name of the records, and which records carry it."""
    present = [name for name in TAXON_COLUMNS if name in columns.column_names]
    found: dict[str, np.ndarray] = {}
    for column in present:
        for name in columns.column(column).unique().to_pylist():
            if name:
                fits = pc.equal(columns.column(column), name).fill_null(False).to_numpy()
                found[name] = found.get(name, False) | fits
    return found


def list_states(columns: pa.Table) -> dict[str, np.ndarray]:
    """Words for states of the synthetic organisms, and which records are in them."""
    found: dict[str, np.ndarray] = {}
    for noun, taxon in CLASSES.items():
        is_class = pc.equal(columns.column("class"), taxon).fill_null(False).to_numpy()
        for word, condition in STATES.items():
            ((column, value),) = condition.items()
            fits = is_class & pc.equal(columns.column(column), value).fill_null(False).to_numpy()
            if fits.sum() >= FIRST_HITS:
                found[f"{'an' if word[0] == 'a' else 'a'} {word} {noun}"] = fits
    return found


def treat_texts(vectors: np.ndarray, other_texts: np.ndarray) -> dict[str, Scoring]:
    """Ways to score texts against images; each takes texts and images, fitted on vectors and on other texts."""
    calibration = estimate_calibration(vectors)
    centre, wide = other_texts.mean(axis=0), calibration.transform

    def score(moved: np.ndarray, images: np.ndarray) -> np.ndarray:
        scores: np.ndarray = unit(moved) @ calibration.apply(images)[0].T
        return scores

    def score_raw(texts: np.ndarray, images: np.ndarray) -> np.ndarray:
        directions, offsets = calibration.translate(texts)
        turned, lengths = calibration.apply(images)
        scores: np.ndarray = offsets[:, None] + directions @ turned.T * lengths
        return scores

    return {
        "raw": lambda texts, images: texts @ images.T,
        "calibrated, the images' centre": lambda texts, images: score((texts - calibration.mean) @ wide, images),
        "calibrated, the texts' own centre": lambda texts, images: score((texts - centre) @ wide, images),
        "calibrated, no centre": lambda texts, images: score(texts @ wide, images),
        "turned back, own centre": lambda texts, images: score((texts - centre) @ np.linalg.inv(wide), images),
        "turned back, no centre": lambda texts, images: score(texts @ np.linalg.inv(wide), images),
        "**raw, from the calibrated vectors**": score_raw,
    }


def average_precision(scores: np.ndarray, fits: np.ndarray) -> float:
    """The mean, over the records that fit, of the precision down to each."""
    places = np.flatnonzero(fits[np.argsort(-scores, kind="stable")])
    return float(((np.arange(len(places)) + 1) / (places + 1)).mean())


def precision_of_first(scores: np.ndarray, fits: np.ndarray) -> float:
    """The share of the first 20 that fit, of the best share that there can be."""
    return float(fits[np.argsort(-scores, kind="stable")[:FIRST_HITS]].sum() / min(FIRST_HITS, fits.sum()))


def compare_texts(corpus: Corpus, sample: NamedSample, columns: pa.Table, *, n_splits: int) -> None:
    """Print what texts find under each treatment, judged on images and names that nothing was fitted on."""
    kinds = {
        "names": list_names(columns),
        "names in a sentence": {f"a photo of {name}.": fits for name, fits in list_names(columns).items()},
        "states": list_states(columns),
    }
    texts = {kind: encode_texts(corpus, list(found), list(found.values())) for kind, found in kinds.items()}
    figures: dict[str, dict[str, list[list[float]]]] = {}
    for split in range(n_splits):
        rng = np.random.default_rng(split)
        fitted, judged = split_occurrences(sample, rng)
        here = np.isin(sample.occurrences, judged.occurrences)
        is_other = rng.random(len(texts["names"].vectors)) < 0.5
        for way, score in treat_texts(fitted.vectors, texts["names"].vectors[is_other]).items():
            for kind, asked in texts.items():
                is_asked = asked.fits[:, here].any(axis=1) & (~is_other if kind != "states" else True)
                scores, fits = score(asked.vectors[is_asked], judged.vectors), asked.fits[is_asked][:, here]
                found = [
                    [average_precision(*pair), precision_of_first(*pair)] for pair in zip(scores, fits, strict=True)
                ]
                figures.setdefault(way, {}).setdefault(kind, []).extend(found)
    rows = []
    for way, by_kind in figures.items():
        cells = [f"{np.mean(by_kind[kind], axis=0)[place]:.3f}" for kind in kinds for place in (0, 1)]
        rows.append([way, *cells])
    print(f"\n### Texts: {', '.join(f'{len(found)} {kind}' for kind, found in kinds.items())}, {n_splits} splits\n")
    print_table(["text → images", *(f"{kind}, {figure}" for kind in kinds for figure in ("mAP", "P@20"))], rows)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="What calibration does to neighbours and to texts.")
    parser.add_argument("shared", type=Path, help="folder of the real data (with vectors/ and images/)")
    parser.add_argument("--demo", type=Path, required=True, help="a demo corpus")
    parser.add_argument("--splits", type=int, default=10)
    asked = parser.parse_args()
    compare_ways("BioCLIP 2, TreeOfLife", read_treeoflife(asked.shared), n_splits=asked.splits)
    for name in ("mobilenet_v2_imagenet.parquet", "mobilenet_v2_inat_insects.parquet"):
        compare_ways(name, read_photographs(asked.shared, name), n_splits=asked.splits)
    corpus = open_corpus(asked.demo)
    vectors = load_vectors(corpus.open_space())
    columns = corpus.read_columns(list(corpus.column_types()))
    demo = name_sample(vectors.values, vectors.rows, columns, ("order", "family", "genus", "species"))
    compare_ways("demo corpus, bundled encoder", demo, n_splits=asked.splits)
    compare_texts(corpus, demo, columns, n_splits=max(1, asked.splits // 3))


if __name__ == "__main__":
    main()
