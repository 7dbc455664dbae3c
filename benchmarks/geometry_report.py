"""The standard geometry report of a large corpus: its time and its memory.

    .venv/bin/python -m benchmarks.geometry_report --work WORK [--records 100000] [--species 5000]

Vectors are 768-d and clustered by taxon as those of `clustered_vectors`; every species has 20 records on average, two
images to an occurrence, a sex and a life stage that move the vector, and a habitat. Measured is `measure_geometry` of
`--by sex --by lifeStage --by habitat` with all other settings as they are, from the opened corpus to the stored report,
in this process. The goal: 60 s on two cores, 4 GiB. Memory is the most held at once, mapped files apart.
"""

from __future__ import annotations

import argparse
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.frontier import Watch
from explorer.geometry_report.measuring import measure_geometry
from explorer.geometry_report.settings import GeometrySettings
from indexer.corpus import Corpus, create_corpus
from indexer.records import admit_columns, append_records
from indexer.vectors import append_vectors

if TYPE_CHECKING:
    from jaxtyping import Float32, Int64

DIMENSION = 768
GENERA_PER_FAMILY, SPECIES_PER_GENUS = 10, 5
CATEGORIES = {"sex": ("female", "male"), "lifeStage": ("adult", "juvenile")}


def draw_corpus(path: Path, n_records: int, n_species: int) -> Corpus:
    """A corpus of records without images."""
    import pyarrow as pa

    rng = np.random.default_rng(0)
    species = np.sort(rng.integers(n_species, size=n_records))
    genus, family = species // SPECIES_PER_GENUS, species // (SPECIES_PER_GENUS * GENERA_PER_FAMILY)
    states = {name: rng.integers(2, size=n_records) for name in CATEGORIES}
    columns: dict[str, Any] = {
        "record_id": [f"r{i}" for i in range(n_records)],
        "occurrence_id": [f"o{i // 2}" for i in range(n_records)],
        "uri": pa.nulls(n_records, pa.string()),
        "class": ["Aves"] * n_records,
        "family": [f"Family{i}" for i in family],
        "genus": [f"Genus{i}" for i in genus],
        "species": [f"Genus{g} species{s}" for g, s in zip(genus, species, strict=True)],
        "habitat": [("forest", "grassland", "wetland")[i] for i in rng.integers(3, size=n_species)[species]],
        **{name: [CATEGORIES[name][i] for i in codes] for name, codes in states.items()},
    }
    corpus = create_corpus(path)
    table = pa.table(columns)
    with corpus.lock():
        admit_columns(corpus, table.schema)
        append_records(corpus, table, [None] * n_records)
        space = corpus.add_space("drawn", dimension=DIMENSION, encoder=None)
        for start in range(0, n_records, 20_000):
            part = slice(start, start + 20_000)
            taxa = (family[part], genus[part], species[part])
            values = draw_vectors(taxa, [codes[part] for codes in states.values()], rng)
            append_vectors(space, np.arange(start, start + len(values)), values)
    return corpus


def draw_vectors(
    taxa: tuple[Int64[np.ndarray, " m"], ...], states: list[Int64[np.ndarray, " m"]], rng: np.random.Generator
) -> Float32[np.ndarray, "m d"]:
    """Unit vectors: a centre, a part for each taxon, a step for each state, and noise, of a falling spectrum."""
    scale = ((1 + np.arange(DIMENSION)) ** -0.5).astype(np.float32)
    values = 3 * scale * rng.standard_normal((len(taxa[0]), DIMENSION), dtype=np.float32)
    for rank, codes in enumerate(taxa):
        for code in np.unique(codes):
            values[codes == code] += 2 * scale * np.random.default_rng([1, rank, int(code)]).standard_normal(DIMENSION)
    for number, codes in enumerate(states):
        values += codes[:, None] * scale * np.random.default_rng([2, number]).standard_normal(DIMENSION)
    values += 4 * scale * np.random.default_rng(3).standard_normal(DIMENSION)
    unit: Float32[np.ndarray, "m d"] = (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)
    return unit


def main() -> None:
    """Draw the corpus where it is not there, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--species", type=int, default=5_000)
    asked = parser.parse_args()
    shutil.rmtree(asked.work / "large.corpus", ignore_errors=True)
    corpus = draw_corpus(asked.work / "large.corpus", asked.records, asked.species)
    began, used = time.perf_counter(), time.process_time()

    def announce(line: str) -> None:
        print(f"{time.perf_counter() - began:6.1f} s  {line}", flush=True)

    with Watch() as watch:
        report = measure_geometry(corpus, GeometrySettings(columns=("sex", "lifeStage", "habitat")), announce)
    print(f"{len([one for chapter in report.chapters for one in chapter.entries])} tests")
    print(
        f"wall {time.perf_counter() - began:.1f} s, CPU {time.process_time() - used:.1f} s, "
        f"at most {watch.peak / 2**30:.2f} GiB"
    )


if __name__ == "__main__":
    main()
