"""How often an identification is right, how far down the ranks it goes, and whether its confidence can be believed.

    .venv/bin/python -m benchmarks.classify DEMO.corpus [--method both]
    .venv/bin/python -m benchmarks.classify --photographs ../shared/data [--vectors mobilenet_v2_inat_insects.parquet]

A copy of the corpus loses two kinds of records before anything is calibrated: a fifth of the occurrences (seen: their
species stays), and one species of every third genus that has two (unseen: asked of a corpus that lacks it). Then all
images of the first are asked, and up to five of each of these species. With --photographs the corpus is made with
`import-vectors` from the 1,544 photographs and their MobileNet vectors; its occurrences are specimens (two views each)
and observations.

For each rank: coverage (questions whose answer names this rank or a lower one), accuracy (of these, right at this rank;
95 % interval over images, Wilson), the share that would be right if every question were answered at this rank, and the
expected calibration error, of each kind alone (the
calibration assumes nine seen for one unseen).
"""

from __future__ import annotations

import argparse
import csv
import math
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Int64

    from explorer.classification import Classification
    from indexer.corpus import Corpus

KINGDOMS = {"fungi": "Fungi", "plants": "Plantae", "insects": "Animalia", "animals": "Animalia"}
INSECT = {"phylum": "Arthropoda", "class": "Insecta", "order": "Lepidoptera", "family": "Nymphalidae"}
COLUMNS = ("file", "occurrenceID", "kingdom", "phylum", "class", "order", "family", "genus", "species")


def main() -> None:
    """Measure and print."""
    options = _read_options()
    with tempfile.TemporaryDirectory() as folder:
        if options.photographs:
            corpus = _import_photographs(options.photographs, options.vectors, Path(folder))
        else:
            from indexer.corpus import open_corpus

            corpus = open_corpus(shutil.copytree(options.corpus, Path(folder) / "copy.corpus"))
        _measure(corpus, options.method, options.floor)


def _read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("corpus", type=Path, nargs="?")
    parser.add_argument("--photographs", type=Path)
    parser.add_argument("--vectors", default="mobilenet_v2_inat_insects.parquet")
    parser.add_argument("--method", default="neighbours", choices=["neighbours", "names", "both"])
    parser.add_argument("--floor", type=float, default=0.8)
    options = parser.parse_args()
    if bool(options.corpus) == bool(options.photographs):
        parser.error("name a corpus, or --photographs")
    return options


def _import_photographs(shared: Path, vectors: str, folder: Path) -> Corpus:
    from indexer.imported import ImportSettings, import_vectors

    with (shared / "images" / "manifest.csv").open(encoding="utf-8", newline="") as file:
        lines = [_describe(line) for line in csv.DictReader(file)]
    table = folder / "records.csv"
    with table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(lines)
    settings = ImportSettings(
        file=shared / "vectors" / vectors,
        corpus=folder / "photographs.corpus",
        space="mobilenet",
        metadata=table,
        images=None,
        model=None,
        columns={},
        with_map=False,
    )
    return import_vectors(settings, lambda line: None).corpus


def _describe(line: Mapping[str, str]) -> dict[str, str]:
    """The record of a photograph: its binomial, what its group says of the higher ranks, and its occurrence."""
    from indexer.names import read_binomial

    found = {"file": line["file"], "kingdom": KINGDOMS[line["group"]]}
    stem = Path(line["file"]).stem
    found["occurrenceID"] = stem.split("_")[0] if line["group"] in ("insects", "fungi") else stem
    binomial = read_binomial(line["scientific_name"])
    if binomial:
        found |= {"genus": binomial.genus, "species": str(binomial)}
    if line["group"] == "insects":
        found |= INSECT
    if line["group"] == "plants" and line["label"].endswith("aceae"):
        found["family"] = line["label"]
    return found


def _measure(corpus: Corpus, method: str, floor: float) -> None:
    import numpy as np

    from explorer.classification import Classifier
    from explorer.electorate import Question, Scope
    from explorer.search import Searcher
    from explorer.votes import Method
    from indexer.job import refresh_index
    from indexer.removals import remove_records
    from indexer.vectors import live_rows, read_vectors

    space = corpus.open_space()
    rows = live_rows(space)
    seen, gone = _choose(corpus, rows)
    remove_records(corpus, np.union1d(seen, gone))
    unseen = _ask_some(corpus, gone)
    with corpus.lock():
        refresh_index(corpus, space, print)
    print(f"{corpus.count_records():,} records vote; {len(seen)} questions of seen species, {len(unseen)} of unseen")
    classifier = Classifier(Searcher(corpus, space), Scope(method=Method(method)), announce=print)
    print(f"named where the nearest record is closer than {classifier.reliability().ordinary:.1f} % of random pairs")
    for kind, asked in (("seen", seen), ("unseen", unseen)):
        vectors = read_vectors(space, asked.tolist())
        questions = [Question(query_id=str(row), vector=vector) for row, vector in zip(asked, vectors, strict=True)]
        found = classifier.classify(questions, floor=floor)
        _report(kind, found, corpus.read_rows(asked).to_pylist())


def _choose(corpus: Corpus, rows: Int64[np.ndarray, " n"]) -> tuple[Int64[np.ndarray, " s"], Int64[np.ndarray, " u"]]:
    """The rows of a fifth of the occurrences, and those of the species that are left out."""
    import numpy as np

    rng = np.random.default_rng(0)
    records = corpus.read_rows(rows, ["occurrence_id", "genus", "species"]).to_pylist()
    species_of: dict[str, set[str]] = {}
    for record in records:
        if record["genus"] and record["species"]:
            species_of.setdefault(record["genus"], set()).add(record["species"])
    genera = sorted(genus for genus, species in species_of.items() if len(species) > 1)
    left_out = {sorted(species_of[genus])[0] for genus in genera[::3]}
    is_unseen = np.array([record["species"] in left_out for record in records])
    occurrences = np.array([record["occurrence_id"] for record in records])
    kept = np.unique(occurrences[~is_unseen])
    is_seen = np.isin(occurrences, rng.permutation(kept)[: len(kept) // 5]) & ~is_unseen
    return rows[is_seen], rows[is_unseen]


def _ask_some(corpus: Corpus, rows: Int64[np.ndarray, " u"]) -> Int64[np.ndarray, " q"]:
    """Up to five images of each species, so that a large one does not stand for all."""
    import numpy as np

    species = np.array(corpus.read_rows(rows, ["species"]).column("species").to_pylist())
    shuffled = np.random.default_rng(1).permutation(len(rows))
    picked = [shuffled[species[shuffled] == name][:5] for name in np.unique(species)]
    return np.sort(rows[np.concatenate(picked)])


def _report(kind: str, found: Sequence[Classification], records: Sequence[Mapping[str, str | None]]) -> None:
    import numpy as np

    from explorer.reliability import expect_error
    from indexer.terms import RANKS

    n_verdicts = {
        verdict: sum(each.verdict is verdict for each in found) for verdict in {each.verdict for each in found}
    }
    print(f"\n{kind}: {len(found)} questions; " + ", ".join(f"{n} {verdict}" for verdict, n in n_verdicts.items()))
    print(f"{'rank':8} {'coverage':>8} {'accuracy':>8}  {'95 % interval':15} {'if all':>6} {'ECE':>6}")
    for place, rank in enumerate(RANKS):
        said, is_right, confidences, top = [], [], [], []
        for each, record in zip(found, records, strict=True):
            at_rank = next((answer for answer in each.lineage if answer.rank == rank), None)
            if at_rank is None or record.get(rank) is None:
                continue
            right = at_rank.name == record[rank]
            said.append(each.answer is not None and RANKS.index(each.answer.rank) >= place)
            is_right.append(right)
            confidences.append(math.nan if at_rank.confidence is None else at_rank.confidence)
            top.append(right)
        if not said:
            continue
        answered = np.array(said)
        n, k = int(answered.sum()), int(np.array(is_right)[answered].sum())
        low, high = _bound_share(k, n)
        rated = ~np.isnan(confidences)
        error = (
            expect_error(np.array(confidences)[rated], np.array(is_right)[rated], np.ones(int(rated.sum())))
            if rated.any()
            else math.nan
        )
        share = k / n if n else math.nan
        print(f"{rank:8} {n / len(found):8.3f} {share:8.3f}  {low:.3f} to {high:.3f}  {np.mean(top):6.3f} {error:6.3f}")


def _bound_share(k: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share."""
    if n == 0:
        return math.nan, math.nan
    z = 1.96
    centre = (k + z * z / 2) / (n + z * z)
    half = z / (n + z * z) * math.sqrt(k * (n - k) / n + z * z / 4)
    return centre - half, centre + half


if __name__ == "__main__":
    main()
