"""Search: the records nearest to a question, with scores a person can read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from explorer.filters import Filter, find_rows
from explorer.query import AxisPart, ImagePart, Part, Query, RecordPart, TextPart, VectorPart
from explorer.request import N_HITS, Request
from explorer.retrieval import Ranking, Wanted, choose_rows, choose_similarity, find_above, find_nearest
from explorer.scales import OrdinaryScores
from explorer.snapshot import LatestSnapshot, Snapshot
from indexer.corpus import Corpus, Space
from indexer.errors import EncoderError, QueryError
from indexer.index.background import Background
from indexer.index.calibration import Similarity
from indexer.index.opened import VectorIndex
from indexer.model_names import CONFIG_NAME, ModelKind, pin_model
from indexer.removals import without_rows
from indexer.vectors import open_vectors, read_vectors

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float32, Float64, Int64

    from indexer.encoder_spec import EncoderSpec
    from indexer.encoders import Encoder


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How a hit stands in one of several spaces.

    Attributes:
        space: name.
        rank: there, 1 is the best; None beyond the records that took part.
        score, percentile: as those of `Hit`; nan where the space does not hold the record.
    """

    space: str
    rank: int | None
    score: float
    percentile: float


@dataclass(frozen=True, kw_only=True)
class Hit:
    """One answer.

    Attributes:
        rank: 1 is the best.
        row: of the record.
        record_id: of the record.
        score: cosine with the query, in [-1, 1]; higher is closer. Of several spaces what `explorer.fusion` made of
            them, and the percentile is then the mean of theirs.
        percentile: share of random comparisons of this space that score lower, in [0, 100]; nan where there is nothing
            to compare with. For a query of one record, image or vector the comparisons are random pairs of records;
            for every other they are this query against random records, see `Query.compares_with_pairs`.
        n_images: images of the same occurrence that may answer, this one included.
        record: the record's columns.
        standings: in each space, where several were asked.
    """

    rank: int
    row: int
    record_id: str
    score: float
    percentile: float
    n_images: int
    record: Mapping[str, Any]
    standings: tuple[Standing, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The hit and its record as one flat object; the hit's own keys come first."""
        own = {name: getattr(self, name) for name in ("rank", "row", "record_id", "score", "percentile", "n_images")}
        own |= self.list_standings()
        return own | {name: value for name, value in self.record.items() if name not in own}

    def list_standings(self) -> dict[str, Any]:
        """`rank_`, `score_` and `percentile_` of each space by its name; empty where one space was asked."""
        return {
            f"{name}_{standing.space}": getattr(standing, name)
            for standing in self.standings
            for name in ("rank", "score", "percentile")
        }


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """The answer to a query.

    Attributes:
        query: what was asked.
        hits: best first.
        n_matching: records of this space that the filter lets answer.
        is_exact: whether every one of those was compared.
        recall: 1 where it is exact, else the recall@10 that was measured when the index was built; None where none was
            measured, as under a filter.
        notes: what the user should know, one sentence each.
    """

    query: Query
    hits: tuple[Hit, ...]
    n_matching: int
    is_exact: bool
    recall: float | None
    notes: tuple[str, ...]


class Searcher:
    """Answers questions of one space of a corpus. Loads index, encoder and columns when first needed and keeps them.

    Safe to ask from several threads, while jobs append, remove and rebuild: each search answers from the index and the
    removed records that were on disk when it began.
    """

    def __init__(
        self,
        corpus: Corpus,
        space: Space,
        *,
        device: str = "auto",
        similarity: Similarity = Similarity.CALIBRATED,
        announce: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.corpus = corpus
        self.space = space
        self.similarity = similarity
        self._device = device
        self._announce = announce
        self._encoder: Encoder | None = None
        self._latest = LatestSnapshot(corpus, space)

    @property
    def index(self) -> VectorIndex:
        """The index of this moment."""
        return self._latest.look().index

    @property
    def encoder(self) -> Encoder:
        """The space's encoder; EncoderError where it is not known, or where what loads is not what made the vectors."""
        if self._encoder is None:
            self._encoder = self._admit(self._load_encoder())
        return self._encoder

    @property
    def is_encoder_loaded(self) -> bool:
        """Whether a text can be answered without loading the model first."""
        return self._encoder is not None

    def use_encoder(self, encoder: Encoder) -> None:
        """Answer with an encoder that is loaded already; EncoderError where it is not what made the vectors."""
        self._encoder = self._admit(encoder)

    def _admit(self, encoder: Encoder) -> Encoder:
        spec = self._spec()
        if encoder.spec.fingerprint != spec.fingerprint:
            raise EncoderError(
                f"{self.corpus.name}: space {self.space.name!r} was made with {spec.describe()}, "
                f"this query was prepared with {encoder.spec.describe()}. "
                f"Re-embed with: morphospace index SOURCE --corpus {self.corpus.path} --model {spec.model} "
                "--space NEW_NAME"
            )
        return encoder

    def _spec(self) -> EncoderSpec:
        spec = self.space.encoder
        if spec is None:
            raise EncoderError(
                f"space {self.space.name!r}: its vectors were imported without naming their model, so texts and images "
                "cannot be asked. Ask with --like RECORD_ID, or import again with --model."
            )
        return spec

    def _load_encoder(self) -> Encoder:
        from indexer.encoders import load_encoder

        spec = self._spec()
        folder = Path(spec.model.removeprefix(f"{ModelKind.FOLDER}:"))
        if spec.model.startswith(f"{ModelKind.FOLDER}:") and not (folder / CONFIG_NAME).is_file():
            raise EncoderError(
                f"{self.corpus.name}: space {self.space.name!r} was made with the model in {folder}, which is not "
                "there any more, so texts and images cannot be asked. Put the folder back there, or ask by record "
                "(--like RECORD_ID)."
            )
        return load_encoder(pin_model(spec), device=self._device, precision=spec.precision, announce=self._announce)

    def encode(self, query: Query) -> Float32[np.ndarray, " d"]:
        """The unit vector that a query asks with; QueryError where its parts cancel out."""
        vector: Float32[np.ndarray, " d"] = self.encode_all([query])[0]
        return vector

    def encode_all(self, queries: Sequence[Query]) -> Float32[np.ndarray, "q d"]:
        """The unit vector that each query asks with; QueryError where the parts of one cancel out."""
        import numpy as np

        vectors = iter(self._encode_parts([part for query in queries for part in query.parts]))
        directions = np.empty((len(queries), self.space.dimension), np.float32)
        for direction, query in zip(directions, queries, strict=True):
            total = np.sum([part.weight * next(vectors) for part in query.parts], axis=0)
            length = float(np.linalg.norm(total))
            if not length > 1e-6:
                raise QueryError(
                    f"query {query.describe()}: its parts cancel out. Change a weight or leave a part out."
                )
            direction[:] = total / length
        return directions

    def encode_image_bytes(self, data: bytes, name: str) -> Float32[np.ndarray, " d"]:
        """The unit vector of an uploaded image; ImageError where it cannot be read."""
        from indexer.images import decode_image

        vector: Float32[np.ndarray, " d"] = self.encoder.encode_images([decode_image(data, name=name).pixels])[0]
        return vector

    def search(
        self,
        query: Query,
        *,
        k: int = N_HITS,
        record_filter: Filter | None = None,
        all_images: bool = False,
        include_queried: bool = False,
    ) -> SearchResult:
        """The k best records, without what else a `Request` can say."""
        request = Request(
            k=k, record_filter=record_filter or Filter(), all_images=all_images, include_queried=include_queried
        )
        return self.answer([query], request)[0]

    def answer(self, queries: Sequence[Query], request: Request) -> list[SearchResult]:
        """What the request gives for each query; all are encoded together and put to the index together."""
        vectors = self.encode_all(queries)
        seen = self._latest.look()
        allowed = self.find_allowed(seen, request.record_filter)
        n_matching = len(seen.rows) if allowed is None else len(allowed)
        n_wanted = n_matching if request.n_wanted is None else request.n_wanted
        wanted = Wanted(
            n=max(n_wanted, 1),
            allowed=allowed,
            all_images=request.all_images,
            diversity=request.diversity,
            similarity=self.similarity,
        )
        excluded = self.find_excluded(queries, request)
        if request.above is None:
            rankings = find_nearest(seen, vectors, [query.modality for query in queries], excluded, wanted)
        else:
            asked = zip(queries, vectors, excluded, strict=True)
            rankings = [
                self._find_above(seen, query, vector, own, request.above, wanted) for query, vector, own in asked
            ]
        percentiles = [
            self.rate(seen, query, vector, ranking.scores)
            for query, vector, ranking in zip(queries, vectors, rankings, strict=True)
        ]
        found = [(ranking.rows, ranking.scores) for ranking in rankings]
        hits = self.describe_hits(seen, found, percentiles, allowed)
        waiting = self.explain_waiting(seen)
        return [
            SearchResult(
                query=query,
                hits=hits_of,
                n_matching=n_matching,
                is_exact=ranking.is_exact,
                recall=ranking.recall,
                notes=tuple(note for note in (request.explain_shortage(len(hits_of), n_matching), waiting) if note),
            )
            for query, ranking, hits_of in zip(queries, rankings, hits, strict=True)
        ]

    def look(self) -> Snapshot:
        """What there is to search at this moment."""
        return self._latest.look()

    def find_allowed(self, seen: Snapshot, record_filter: Filter) -> Int64[np.ndarray, " m"] | None:
        """The rows of this space that pass a filter, ascending, removed ones apart; None where every one may answer."""
        allowed = find_rows(self.corpus, record_filter, seen.index)
        return None if allowed is None else without_rows(allowed, seen.removed)

    def find_excluded(self, queries: Sequence[Query], request: Request) -> list[Int64[np.ndarray, " o"]]:
        """For each query the rows that it names and that may therefore not answer it, ascending."""
        import numpy as np

        named = [[part.record_id for part in query.parts if isinstance(part, RecordPart)] for query in queries]
        if request.include_queried or not any(named):
            return [np.empty(0, np.int64) for _ in queries]
        rows = self.corpus.find_records(record_id for ids in named for record_id in ids)
        return [np.unique(np.array([rows[record_id] for record_id in ids], np.int64)) for ids in named]

    def _find_above(
        self,
        seen: Snapshot,
        query: Query,
        vector: Float32[np.ndarray, " d"],
        excluded: Int64[np.ndarray, " o"],
        above: float,
        wanted: Wanted,
    ) -> Ranking:
        """What reaches a percentile. The score there is a little low, so that rounding loses nothing."""
        least = self._scale(seen, query, vector).score_at(above) - 1e-5
        found = find_above(seen, vector, query.modality, least, excluded, wanted)
        reaches = self.rate(seen, query, vector, found.scores) >= above
        kept = replace(found, rows=found.rows[reaches], scores=found.scores[reaches])
        return choose_rows(seen, kept, excluded, wanted)

    def _encode_parts(self, parts: Sequence[Part]) -> list[Float32[np.ndarray, " d"]]:
        from indexer.images import read_image

        texts = [part.sentence() for part in parts if isinstance(part, TextPart)]
        encoded = iter(self.encoder.encode_texts(texts)) if texts else iter(())
        ids = [part.record_id for part in parts if isinstance(part, RecordPart)]
        rows = self.corpus.find_records(ids) if ids else {}
        stored = iter(read_vectors(self.space, [rows[record_id] for record_id in ids]))
        found: list[Float32[np.ndarray, " d"]] = []
        for part in parts:
            if isinstance(part, TextPart):
                found.append(next(encoded))
            elif isinstance(part, ImagePart):
                found.append(self.encoder.encode_images([read_image(part.path).pixels])[0])
            elif isinstance(part, RecordPart):
                found.append(next(stored))
            elif isinstance(part, AxisPart):
                found.append(self._read_axis(part))
            else:
                found.append(self._checked(part))
        return found

    def _read_axis(self, part: AxisPart) -> Float32[np.ndarray, " d"]:
        from explorer.geometry.axis_store import open_axis

        return open_axis(self.space, part.name).read_direction().astype("float32")

    def _checked(self, part: VectorPart) -> Float32[np.ndarray, " d"]:
        if part.vector.shape != (self.space.dimension,):
            raise QueryError(
                f"{part.describe()}: a vector of shape {part.vector.shape}; space {self.space.name!r} holds "
                f"{self.space.dimension} dimensions. Ask again in the space that it was made for."
            )
        return part.vector

    def rate(
        self, seen: Snapshot, query: Query, vector: Float32[np.ndarray, " d"], scores: Float32[np.ndarray, " k"]
    ) -> Float64[np.ndarray, " k"]:
        """The percentile of each score of a query, as `Hit` explains; `vector` is what `encode` gave for it."""
        return self._scale(seen, query, vector).percentiles(scores)

    def _scale(self, seen: Snapshot, query: Query, vector: Float32[np.ndarray, " d"]) -> Background | OrdinaryScores:
        """What the scores of a query are compared with."""
        calibration = seen.index.calibration
        if calibration is None or self.similarity_of(query) is Similarity.RAW:
            raw = seen.indexed.raw_background if query.compares_with_pairs else None
            return raw or OrdinaryScores.of(seen.indexed.sample @ vector)
        if query.compares_with_pairs:
            return seen.index.facts.background
        return OrdinaryScores.of(seen.indexed.calibrated_sample @ calibration.apply(vector[None])[0][0])

    def similarity_of(self, query: Query) -> Similarity:
        """Which cosine answers a query, where the space has a calibration."""
        return choose_similarity(self.similarity, query.modality)

    def describe_hits(
        self,
        seen: Snapshot,
        found: Sequence[tuple[Int64[np.ndarray, " k"], Float32[np.ndarray, " k"]]],
        percentiles: Sequence[Float64[np.ndarray, " k"]],
        allowed: Int64[np.ndarray, " m"] | None,
    ) -> list[tuple[Hit, ...]]:
        """The hits of each query, given the rows and scores found, best first.

        All records are read at once; `allowed` are the rows that may answer, None for all.
        """
        import numpy as np

        rows = np.concatenate([np.empty(0, np.int64), *(rows for rows, _ in found)])
        if not len(rows):
            return [() for _ in found]
        per_occurrence = seen.images_per_occurrence if allowed is None else seen.count_images(allowed)
        counts = iter(per_occurrence[seen.indexed.occurrences[rows]])
        records = iter(self.corpus.read_rows(rows).to_pylist())
        return [
            tuple(
                _make_hit(rank, next(records), float(score), float(percentile), int(next(counts)))
                for rank, (score, percentile) in enumerate(zip(scores, rated, strict=True), start=1)
            )
            for (_, scores), rated in zip(found, percentiles, strict=True)
        ]

    def explain_waiting(self, seen: Snapshot) -> str | None:
        """How many images cannot be found yet; None where none waits."""
        dataset = open_vectors(self.space)
        n_dropped = len(seen.removed) - len(seen.hidden)
        waiting = (dataset.count_rows() if dataset else 0) - n_dropped - seen.index.facts.n
        if waiting <= 0:
            return None
        return f"{waiting:,} images are embedded but not indexed yet, and cannot be found until the job ends"


def _make_hit(rank: int, record: Mapping[str, Any], score: float, percentile: float, n_images: int) -> Hit:
    return Hit(
        rank=rank,
        row=record["row"],
        record_id=record["record_id"],
        score=score,
        percentile=percentile,
        n_images=n_images,
        record=record,
    )
