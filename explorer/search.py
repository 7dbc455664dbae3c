"""Search: the records nearest to a question, with scores a person can read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from explorer.filters import Filter, find_rows
from explorer.query import ImagePart, Part, Query, RecordPart, TextPart, VectorPart
from indexer.corpus import Corpus, Space
from indexer.errors import EncoderError, QueryError
from indexer.model_names import CONFIG_NAME, ModelKind
from indexer.neighbours import VectorIndex, open_index
from indexer.vectors import embedded_rows, open_vectors, read_vectors

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Bool, Float32, Float64, Int64

    from indexer.encoder_spec import EncoderSpec
    from indexer.encoders import Encoder

BACKGROUND_SAMPLE = 5_000


@dataclass(frozen=True, kw_only=True)
class Hit:
    """One answer.

    Attributes:
        rank: 1 is the best.
        row: of the record.
        record_id: of the record.
        score: cosine with the query, in [-1, 1]; higher is closer.
        percentile: share of random comparisons of this space that score lower, in [0, 100]; nan where there is nothing
            to compare with. For a query of one record, image or vector the comparisons are random pairs of records;
            for every other they are this query against random records, see `Query.compares_with_pairs`.
        n_images: images of the same occurrence that may answer, this one included.
        record: the record's columns.
    """

    rank: int
    row: int
    record_id: str
    score: float
    percentile: float
    n_images: int
    record: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """The hit and its record as one flat object; the hit's own keys come first."""
        own = {name: getattr(self, name) for name in ("rank", "row", "record_id", "score", "percentile", "n_images")}
        return own | {name: value for name, value in self.record.items() if name not in own}


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """The answer to a query.

    Attributes:
        query: what was asked.
        hits: best first.
        n_matching: records of this space that the filter lets answer.
        is_exact: whether every one of those was compared.
        recall: of the index where it is not exact, as measured at build time.
        notes: what the user should know, one sentence each.
    """

    query: Query
    hits: tuple[Hit, ...]
    n_matching: int
    is_exact: bool
    recall: float
    notes: tuple[str, ...]


class Searcher:
    """Answers questions of one space of a corpus. Loads index, encoder and columns when first needed and keeps them."""

    def __init__(
        self,
        corpus: Corpus,
        space: Space,
        *,
        device: str = "auto",
        announce: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.corpus = corpus
        self.space = space
        self._device = device
        self._announce = announce
        self._encoder: Encoder | None = None

    @cached_property
    def index(self) -> VectorIndex:
        """The opened index."""
        return open_index(self.space)

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

    @cached_property
    def _rows(self) -> Int64[np.ndarray, " n"]:
        return embedded_rows(self.space)

    @cached_property
    def _occurrences(self) -> Int64[np.ndarray, " n"]:
        """Per row a number that its occurrence shares."""
        import numpy as np

        column = self.corpus.read_columns(["occurrence_id"]).column("occurrence_id")
        codes: Int64[np.ndarray, " n"] = column.combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int64)
        return codes

    @cached_property
    def _sample(self) -> Float32[np.ndarray, "m d"]:
        """Vectors of random records, for the percentiles of queries that random pairs are no scale for."""
        import numpy as np

        rng = np.random.default_rng(0)
        picked = rng.choice(self._rows, min(BACKGROUND_SAMPLE, len(self._rows)), replace=False)
        return read_vectors(self.space, [int(row) for row in picked])

    def encode(self, query: Query) -> Float32[np.ndarray, " d"]:
        """The unit vector that a query asks with; QueryError where its parts cancel out."""
        import numpy as np

        vectors = self._encode_parts(query.parts)
        total = np.sum([part.weight * vector for part, vector in zip(query.parts, vectors, strict=True)], axis=0)
        length = float(np.linalg.norm(total))
        if not length > 1e-6:
            raise QueryError(f"query {query.describe()}: its parts cancel out. Change a weight or leave a part out.")
        direction: Float32[np.ndarray, " d"] = (total / length).astype(np.float32)
        return direction

    def encode_image_bytes(self, data: bytes, name: str) -> Float32[np.ndarray, " d"]:
        """The unit vector of an uploaded image; ImageError where it cannot be read."""
        from indexer.images import decode_image

        vector: Float32[np.ndarray, " d"] = self.encoder.encode_images([decode_image(data, name=name).pixels])[0]
        return vector

    def search(
        self,
        query: Query,
        *,
        k: int = 10,
        record_filter: Filter | None = None,
        all_images: bool = False,
        include_queried: bool = False,
    ) -> SearchResult:
        """The k best records.

        Args:
            query: what is looked for.
            k: hits wanted; fewer come back only where fewer match.
            record_filter: which records may answer; applied before the search.
            all_images: several images of one occurrence each take a place; otherwise the best stands for all.
            include_queried: whether records that the query names may answer it.
        """
        import numpy as np

        if k < 1:
            raise QueryError(f"-k {k}: at least 1 hit must be asked for.")
        vector = self.encode(query)
        allowed = find_rows(self.corpus, record_filter or Filter())
        if allowed is not None:
            allowed = np.intersect1d(allowed, self._rows, assume_unique=True)
        asked = [] if include_queried else [self._row_of(part) for part in query.parts if isinstance(part, RecordPart)]
        own = np.unique(np.array(asked, np.int64))
        is_exact = self.index.facts.is_exact or allowed is not None
        rows, scores = self._nearest(vector, k, allowed, own, all_images)
        if not is_exact and len(rows) < min(k, len(self._rows) - len(own)):
            # The visited lists of the index hold too few: visit them all.
            is_exact = True
            rows, scores = self._nearest(vector, k, self._rows, own, all_images)
        hits = self._describe_hits(rows, scores, self.measure_percentiles(query, vector, scores), allowed)
        n_matching = len(self._rows) if allowed is None else len(allowed)
        return SearchResult(
            query=query,
            hits=hits,
            n_matching=n_matching,
            is_exact=is_exact,
            recall=1.0 if is_exact else self.index.facts.recall,
            notes=self._notes(len(hits), k, n_matching),
        )

    def _encode_parts(self, parts: Sequence[Part]) -> list[Float32[np.ndarray, " d"]]:
        from indexer.images import read_image

        texts = [part.sentence() for part in parts if isinstance(part, TextPart)]
        encoded = iter(self.encoder.encode_texts(texts)) if texts else iter(())
        found: list[Float32[np.ndarray, " d"]] = []
        for part in parts:
            if isinstance(part, TextPart):
                found.append(next(encoded))
            elif isinstance(part, ImagePart):
                found.append(self.encoder.encode_images([read_image(part.path).pixels])[0])
            elif isinstance(part, RecordPart):
                found.append(read_vectors(self.space, [self._row_of(part)])[0])
            else:
                found.append(self._checked(part))
        return found

    def _checked(self, part: VectorPart) -> Float32[np.ndarray, " d"]:
        if part.vector.shape != (self.space.dimension,):
            raise QueryError(
                f"{part.describe()}: a vector of shape {part.vector.shape}; space {self.space.name!r} holds "
                f"{self.space.dimension} dimensions. Ask again in the space that it was made for."
            )
        return part.vector

    def _row_of(self, part: RecordPart) -> int:
        return self.corpus.find_record(part.record_id)

    def _nearest(
        self,
        vector: Float32[np.ndarray, " d"],
        k: int,
        allowed: Int64[np.ndarray, " m"] | None,
        own: Int64[np.ndarray, " o"],
        all_images: bool,
    ) -> tuple[Int64[np.ndarray, " k"], Float32[np.ndarray, " k"]]:
        """The k best rows after collapsing; asks for more until there are k, or the index gives no more."""
        import numpy as np

        available = len(self._rows) if allowed is None else len(allowed)
        fetch = k + len(own)
        while True:
            found = self.index.search(vector[None], fetch, allowed=allowed)
            keep = (found.rows[0] >= 0) & ~np.isin(found.rows[0], own)
            rows, scores = found.rows[0][keep], found.scores[0][keep]
            if not all_images:
                first = self._first_of_occurrence(rows)
                rows, scores = rows[first], scores[first]
            if len(rows) >= k or fetch >= available or found.rows[0][-1] < 0:
                return rows[:k], scores[:k]
            fetch = min(4 * fetch, available)

    def _first_of_occurrence(self, rows: Int64[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
        import numpy as np

        first = np.zeros(len(rows), bool)
        first[np.unique(self._occurrences[rows], return_index=True)[1]] = True
        return first

    def measure_percentiles(
        self, query: Query, vector: Float32[np.ndarray, " d"], scores: Float32[np.ndarray, " k"]
    ) -> Float64[np.ndarray, " k"]:
        """The percentile of each score of a query, as `Hit` explains; `vector` is what `encode` gave for it."""
        import numpy as np

        if query.compares_with_pairs:
            return self.index.facts.background.percentiles(scores)
        ordinary = np.sort(self._sample @ vector)
        below, upto = (np.searchsorted(ordinary, scores, side=side) for side in ("left", "right"))
        result: Float64[np.ndarray, " k"] = 100 * (below + upto) / 2 / len(ordinary)
        return result

    def _describe_hits(
        self,
        rows: Int64[np.ndarray, " k"],
        scores: Float32[np.ndarray, " k"],
        percentiles: Float64[np.ndarray, " k"],
        allowed: Int64[np.ndarray, " m"] | None,
    ) -> tuple[Hit, ...]:
        if not len(rows):
            return ()
        counts = self._count_images(rows, allowed)
        records = self.corpus.read_rows(rows).to_pylist()
        return tuple(
            Hit(
                rank=rank,
                row=int(row),
                record_id=record["record_id"],
                score=float(score),
                percentile=float(percentile),
                n_images=int(count),
                record=record,
            )
            for rank, (row, score, percentile, count, record) in enumerate(
                zip(rows, scores, percentiles, counts, records, strict=True), start=1
            )
        )

    def _count_images(
        self, rows: Int64[np.ndarray, " k"], allowed: Int64[np.ndarray, " m"] | None
    ) -> Int64[np.ndarray, " k"]:
        import numpy as np

        pool = self._rows if allowed is None else allowed
        counts = np.bincount(self._occurrences[pool], minlength=int(self._occurrences.max()) + 1)
        result: Int64[np.ndarray, " k"] = counts[self._occurrences[rows]]
        return result

    def _notes(self, n_hits: int, k: int, n_matching: int) -> tuple[str, ...]:
        notes = []
        if n_hits < k:
            matching = f"no more records match ({n_matching:,} images may answer)"
            notes.append(f"only {n_hits} hits: {matching}" if n_matching else "no hit: no record passes the filter")
        dataset = open_vectors(self.space)
        waiting = (dataset.count_rows() if dataset else 0) - self.index.facts.n
        if waiting > 0:
            notes.append(f"{waiting:,} images are embedded but not indexed yet, and cannot be found until the job ends")
        return tuple(notes)


def pin_model(spec: EncoderSpec) -> str:
    """The model's name at the revision that made the vectors, so that an update on the hub leaves a corpus as it is."""
    is_on_hub = spec.model.startswith(f"{ModelKind.HUB}:")
    return f"{spec.model}@{spec.revision}" if is_on_hub and spec.revision and "@" not in spec.model else spec.model
