"""A small encoder trained on real photographs, from random weights and from the bundled encoder, and how good it is.

    .venv/bin/python -m benchmarks.photographs ../shared/data/images --work WORK

Indexes the folder (with its manifest.csv), trains on nine tenths of the specimens or species, and judges all encoders
on the tenth that no training saw: the bundled one, the towers with random weights, both trained ones. Every command is
printed as it could be typed. The figures say what 1,400 photographs teach a model of two million weights; the encoders
are not shipped.

The two views of a Heliconius specimen, and the photographs of one species of fungus, which are mostly of one find, get
an occurrence in common, so that no split parts them.
"""

from __future__ import annotations

import argparse
import csv
import shlex
import subprocess
import sys
from pathlib import Path

STARTS = {"untrained": "small", "from-random": "small", "from-bundled": "bundled"}
NO_TRAINING = ("engine.n_samples=64", "optimiser.learning_rate=1e-12")
"""One step that moves no weight to speak of; batch norm's running statistics move by one batch."""
RATES = {"small": 2e-3, "bundled": 5e-4}


def train(name: str, corpus: Path, work: Path, *, n_samples: int, split_by: str) -> Path:
    """The run of one encoder, trained where it is not there already."""
    start, run = STARTS[name], work / f"{name}-by-{split_by}"
    settings = [
        "data.sampling=sqrt",
        "data.unique_species=false",
        f"data.split_by={split_by}",
        "data.min_crop=0.6",
        "captions.adjectives=['lifeStage', 'sex']",
        "captions.nouns=[]",
        "captions.phrases=[]",
        "engine.batch_size=64",
        f"engine.n_samples={n_samples}",
        f"optimiser.learning_rate={RATES[start]}",
        *(NO_TRAINING if name == "untrained" else ()),
    ]
    options = [part for setting in settings for part in ("--set", setting)]
    tell("train", "--data", corpus, "--start", start, "--out", run, *options)
    return run


def share_occurrences(manifest: Path, target: Path) -> Path:
    """A copy of the manifest with the column occurrenceID."""
    with manifest.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0], "occurrenceID"])
        writer.writeheader()
        writer.writerows({**row, "occurrenceID": name_occurrence(row)} for row in rows)
    return target


def name_occurrence(row: dict[str, str]) -> str:
    """The specimen's number, the fungus's name, or the file."""
    folder, _, name = row["file"].partition("/")
    own = {"heliconius": name.split("_")[0], "fungi": row["scientific_name"]}
    return f"{folder}-{own.get(folder, name)}"


def tell(*arguments: object) -> None:
    """Runs a command of Morphospace and prints it."""
    command = ["morphospace", *map(str, arguments)]
    print("\n$", shlex.join(command), flush=True)
    subprocess.run([sys.executable, "-m", "explorer", *command[1:]], check=True)


def main() -> None:
    """Indexes, trains, judges."""
    parser = argparse.ArgumentParser(description="A small encoder trained on real photographs.")
    parser.add_argument("images", type=Path, help="folder of photographs with a manifest.csv")
    parser.add_argument("--work", type=Path, required=True, help="folder of the corpus and the runs")
    parser.add_argument("--samples", type=int, default=25_600, help="pictures shown to each encoder")
    parser.add_argument("--split-by", choices=("occurrence", "species"), default="occurrence")
    asked = parser.parse_args()
    corpus = asked.work / "photographs.corpus"
    manifest = share_occurrences(asked.images / "manifest.csv", asked.work / "manifest.csv")
    tell("index", asked.images, "--manifest", manifest, "--model", "bundled", "--corpus", corpus, "--no-map")
    runs = [train(name, corpus, asked.work, n_samples=asked.samples, split_by=asked.split_by) for name in STARTS]
    others = [part for one in ("bundled", *runs[:-1]) for part in ("--compare", one)]
    out = asked.work / f"judged-by-{asked.split_by}"
    tell("evaluate", runs[-1], "--on", runs[-1], *others, "--column", "sex", "--out", out)


if __name__ == "__main__":
    main()
