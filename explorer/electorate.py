"""The electorate: which records and which names may vote on what a picture shows, and how they are asked."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from explorer.filters import EVERY_RECORD, Filter, find_rows
from explorer.held_out import NOVELTY, SEEN, HeldOut, Material, find_left_out
from explorer.retrieval import Wanted, find_nearest
from explorer.search import Searcher
from explorer.snapshot import Snapshot
from explorer.taxonomy import Taxonomy, build_taxonomy, contains_any, deepest_taxa, find_leaves
from explorer.votes import N_NEIGHBOURS, Ballot, Method, Voter, Votes, keep_occurrences, nearest_names
from indexer.errors import QueryError
from indexer.index.facts import Modality
from indexer.terms import RANKS

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from jaxtyping import Float32, Int64

MOST_NOVELTY = 0.9
VERNACULAR = "vernacularName"
_COLUMNS = (*RANKS, VERNACULAR)
_BLOCK = 20_000


@dataclass(frozen=True, kw_only=True, eq=False)
class Question:
    """What is asked: a unit vector of the space, and the record it is of, whose occurrence has no vote."""

    query_id: str
    vector: Float32[np.ndarray, " d"]
    row: int | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Scope:
    """What may answer.

    Attributes:
        method: who votes.
        record_filter: which records may; names count where a record that may answer carries them.
        listed: taxa that may answer, as `explorer.taxon_lists.read_taxon_list` gives them; None is every one.
        list_name: of the list, for messages.
        novelty: the least chance assumed for a species without records, in [0, 0.9].
    """

    method: Method = Method.NEIGHBOURS
    record_filter: Filter = EVERY_RECORD
    listed: pa.Table | None = None
    list_name: str = ""
    novelty: float = NOVELTY

    def __post_init__(self) -> None:
        if not 0 <= self.novelty <= MOST_NOVELTY:
            raise QueryError(f"--novelty {self.novelty:g}: a share from 0 to {MOST_NOVELTY:g} is allowed, as 0.1.")

    def describe(self) -> str:
        """What the answers are restricted to; empty where nothing restricts them."""
        listed = f"the taxa of {self.list_name}" if self.listed is not None else ""
        return "; ".join(part for part in (self.record_filter.describe(), listed) if part)


@dataclass(frozen=True, kw_only=True, eq=False)
class Electorate:
    """Who may vote at one moment of the space.

    Attributes:
        seen: the moment.
        material: the records.
        names: the lineages whose names may vote, as places in the taxonomy; empty unless names are asked.
        name_vectors: of their texts.
    """

    seen: Snapshot
    material: Material
    names: Int64[np.ndarray, " c"]
    name_vectors: Float32[np.ndarray, "c d"]

    @property
    def taxonomy(self) -> Taxonomy:
        """Of the records."""
        return self.material.taxonomy


def call_voters(searcher: Searcher, scope: Scope, seen: Snapshot, announce: Callable[[str], None]) -> Electorate:
    """Who may vote now; QueryError where the records name no taxon, EncoderError where names cannot be asked."""
    import numpy as np

    corpus = searcher.corpus
    columns = [name for name in _COLUMNS if name in corpus.column_types()]
    if not any(name in RANKS for name in columns):
        raise QueryError(
            f"{corpus.name}: its records name no taxon at any rank ({', '.join(RANKS)}), so that nothing can be "
            "named after them. Index it with a manifest that does."
        )
    records = corpus.read_columns(columns, with_removed=True)
    n = records.num_rows
    named = _append(records, scope.listed)
    taxonomy = build_taxonomy(named)
    allowed = find_rows(corpus, scope.record_filter)
    rows = seen.rows if allowed is None else np.intersect1d(seen.rows, allowed)
    listed: Int64[np.ndarray, " m"] = np.unique(taxonomy.of_records[n:])
    if scope.listed is not None:
        is_listed = contains_any(taxonomy.lineages, deepest_taxa(taxonomy.lineages[listed]))
        rows = rows[is_listed[taxonomy.of_records[rows]]]
    material = Material(taxonomy=taxonomy, occurrences=seen.indexed.occurrences, rows=rows)
    names = np.empty(0, np.int64)
    if Voter.NAMES in scope.method.voters():
        present = np.unique(np.concatenate([taxonomy.of_records[rows], listed]))
        names = present[find_leaves(taxonomy.lineages[present])]
    return Electorate(
        seen=seen,
        material=material,
        names=names,
        name_vectors=_encode_names(searcher, announce, named, taxonomy, names),
    )


def _encode_names(
    searcher: Searcher,
    announce: Callable[[str], None],
    records: pa.Table,
    taxonomy: Taxonomy,
    names: Int64[np.ndarray, " c"],
) -> Float32[np.ndarray, "c d"]:
    import numpy as np

    if not len(names):
        return np.empty((0, searcher.space.dimension), np.float32)
    from training.captions import write_prompt

    common = _find_common_names(records, taxonomy)
    texts = [write_prompt(_write_name(taxonomy, int(place), common.get(int(place)))) for place in names]
    announce(f"encoding {len(texts):,} names")
    vectors: Float32[np.ndarray, "c d"] = searcher.encoder.encode_texts(texts)
    return vectors


def _append(records: pa.Table, listed: pa.Table | None) -> pa.Table:
    import pyarrow as pa

    if listed is None:
        return records
    return pa.concat_tables([records, listed], promote_options="permissive")


def _find_common_names(records: pa.Table, taxonomy: Taxonomy) -> dict[int, str]:
    """The commonest vernacular name of each lineage that has one."""
    import numpy as np
    import pyarrow as pa

    if VERNACULAR not in records.column_names:
        return {}
    pairs = pa.table({"lineage": taxonomy.of_records, "name": records.column(VERNACULAR)})
    counts = (
        pairs.group_by(["lineage", "name"])
        .aggregate([([], "count_all")])
        .sort_by([("count_all", "ascending"), ("name", "descending")])
    )
    lineages, names = counts.column("lineage").to_pylist(), counts.column("name").to_pylist()
    return {int(np.int64(lineage)): name for lineage, name in zip(lineages, names, strict=True) if name}


def _write_name(taxonomy: Taxonomy, place: int, common: str | None) -> str:
    """The form that says most: all ranks, and the common name where there is one."""
    from training.captions import write_names
    from training.settings import TextType

    ranks = [None if taxon < 0 else taxonomy.names[taxon] for taxon in taxonomy.lineages[place]]
    forms = write_names(ranks, common)
    return forms.get(TextType.TAXON_COMMON) or forms[TextType.TAXON]


def list_decisive(electorate: Electorate, scope: Scope) -> dict[str, str]:
    """Everything but the index that a calibration depends on."""
    material = electorate.material
    lineages = hashlib.sha256("\n".join(material.taxonomy.names).encode())
    for numbers in (material.taxonomy.lineages, material.taxonomy.of_records[material.rows], electorate.names):
        lineages.update(numbers.tobytes())
    return {
        "form": "1",
        "method": scope.method,
        "novelty": repr(scope.novelty),
        "rows": hashlib.sha256(material.rows.tobytes()).hexdigest(),
        "taxa": lineages.hexdigest(),
        "names": hashlib.sha256(electorate.name_vectors.tobytes()).hexdigest(),
    }


def find_voters(
    electorate: Electorate, questions: Sequence[Question], vectors: Float32[np.ndarray, "q d"]
) -> tuple[Int64[np.ndarray, "q k"], Float32[np.ndarray, "q k"]]:
    """The nearest record of each of the nearest occurrences, the question's own left out."""
    import numpy as np

    material = electorate.material
    own = [_list_own(material, question.row) for question in questions]
    wanted = Wanted(n=N_NEIGHBOURS, allowed=material.rows)
    rankings = find_nearest(electorate.seen, vectors, [Modality.IMAGE] * len(questions), own, wanted)
    rows = np.full((len(questions), N_NEIGHBOURS), -1, np.int64)
    scores = np.full((len(questions), N_NEIGHBOURS), -np.inf, np.float32)
    for place, ranking in enumerate(rankings):
        rows[place, : len(ranking.rows)] = ranking.rows
        scores[place, : len(ranking.rows)] = ranking.scores
    return rows, scores


def _list_own(material: Material, row: int | None) -> Int64[np.ndarray, " o"]:
    import numpy as np

    if row is None:
        return np.empty(0, np.int64)
    own: Int64[np.ndarray, " o"] = material.rows[material.occurrences[material.rows] == material.occurrences[row]]
    return own


def leave_out(electorate: Electorate, held_out: HeldOut) -> tuple[Int64[np.ndarray, "e k"], Float32[np.ndarray, "e k"]]:
    """The voters of each example, as `find_voters` finds those of a question."""
    import numpy as np

    material, index = electorate.material, electorate.seen.index
    queries = index.vectors_at(held_out.rows)
    rows, scores = find_left_out(material, held_out, queries, _read_blocks(electorate), N_NEIGHBOURS)
    kept = [
        keep_occurrences(at_rows, at_scores, material.occurrences, N_NEIGHBOURS)
        for at_rows, at_scores in zip(rows, scores, strict=True)
    ]
    all_rows, all_scores = (np.stack(found) for found in zip(*kept, strict=True))
    return all_rows[held_out.level, held_out.question], all_scores[held_out.level, held_out.question]


def _read_blocks(
    electorate: Electorate,
) -> Iterator[tuple[Int64[np.ndarray, " b"], Float32[np.ndarray, "b d"]]]:
    rows = electorate.material.rows
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK]
        yield block, electorate.seen.index.vectors_at(block)


def score_names(electorate: Electorate, vectors: Float32[np.ndarray, "q d"]) -> Float32[np.ndarray, "q c"]:
    """The cosine of each question with each candidate's text."""
    scores: Float32[np.ndarray, "q c"] = vectors @ electorate.name_vectors.T
    return scores


def score_left_out_names(
    electorate: Electorate, held_out: HeldOut, vectors: Float32[np.ndarray, "q d"]
) -> Float32[np.ndarray, "e c"]:
    """The score of every name with each example; -inf for the names of taxa that are left out."""
    import numpy as np

    scores: Float32[np.ndarray, "e c"] = score_names(electorate, vectors)[held_out.question]
    lineages = electorate.taxonomy.lineages[electorate.names]
    own = electorate.material.lineages_of(held_out.rows)[held_out.question]
    for number, rank in enumerate(held_out.levels):
        if rank != SEEN:
            at_least = held_out.level >= number
            is_own = (own[:, rank, None] == lineages[None, :, rank]) & (own[:, rank, None] >= 0)
            scores[at_least[:, None] & is_own] = -np.inf
    return scores


def cast_votes(
    electorate: Electorate,
    method: Method,
    rows: Int64[np.ndarray, "e k"],
    scores: Float32[np.ndarray, "e k"],
    name_scores: Float32[np.ndarray, "e c"],
) -> Ballot:
    """The votes of neighbours (-1 fills up) and of names, as far as the method asks them."""
    taxonomy = electorate.taxonomy
    votes = {}
    if Voter.NEIGHBOURS in method.voters():
        votes[Voter.NEIGHBOURS] = Votes(lineages=taxonomy.of_records[rows], scores=scores)
    if Voter.NAMES in method.voters():
        votes[Voter.NAMES] = nearest_names(name_scores, electorate.names)
    return Ballot(taxonomy=taxonomy, votes=votes)
