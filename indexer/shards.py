"""Shards: the images that are embedded and committed together, whichever engine embeds them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from indexer.candidates import Candidate
from indexer.corpus import Corpus, Space
from indexer.decoding import Decoded, Refused
from indexer.files import is_table
from indexer.records import ImageFacts, add_images, append_records
from indexer.rejections import Rejection, reject, write_rejections
from indexer.vectors import append_vectors

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from jaxtyping import Float32

    from indexer.encoding import Encoder

COMPACT_ABOVE = 32
KEEP_VERSIONS = timedelta(hours=6)
"""Old versions of a table are kept this long for readers that have them open."""


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """An image that was embedded.

    Attributes:
        facts: what is to be stored of it; None where it is stored already.
    """

    candidate: Candidate
    facts: ImageFacts | None


@dataclass(frozen=True, kw_only=True)
class EmbeddedShard:
    """One shard, embedded and not yet committed.

    Attributes:
        accepted: its images that could be read, in the order of the source.
        vectors: theirs, of unit length.
        refused: the others.
    """

    accepted: tuple[Accepted, ...]
    vectors: Float32[np.ndarray, "n d"]
    refused: tuple[Refused, ...]


def embed_shard(
    shard: Iterable[Decoded | Refused],
    encoder: Encoder,
    advance: Callable[[int, int], None] = lambda n_embedded, n_refused: None,
) -> EmbeddedShard:
    """The images of one shard that could be read, with their vectors, and those that were refused.

    A batch is filled in the order of the source from one shard alone, so that its composition, and with it every
    last bit of a vector, is the same in each run.
    """
    import numpy as np

    accepted: list[Accepted] = []
    vectors = [np.empty((0, encoder.spec.dimension), np.float32)]
    refused: list[Refused] = []
    batch: list[Decoded] = []

    def flush() -> None:
        if batch:
            vectors.append(encoder.encode_pixels(np.stack([image.pixels for image in batch])))
            accepted.extend(Accepted(candidate=image.candidate, facts=image.facts) for image in batch)
            advance(len(batch), 0)
            batch.clear()

    for result in shard:
        if isinstance(result, Refused):
            refused.append(result)
            advance(0, 1)
            continue
        batch.append(result)
        if len(batch) == encoder.batch_size:
            flush()
    flush()
    return EmbeddedShard(accepted=tuple(accepted), vectors=np.concatenate(vectors), refused=tuple(refused))


@dataclass(kw_only=True)
class ShardWriter:
    """Commits shards: records, then refusals, then vectors. A kill between them leaves work to do, never a fault.

    Attributes:
        corpus: whose lock the caller holds, and whose columns admit those of `records`.
        space: that the vectors go to.
        records: the source's table.
        rejections: those that stand, by uri; kept up to date.
        n_embedded: images committed so far.
        n_rejected: images refused so far.
        n_shards: shards committed so far.
    """

    corpus: Corpus
    space: Space
    records: pa.Table
    rejections: dict[str, Rejection]
    n_embedded: int = 0
    n_rejected: int = 0
    n_shards: int = 0

    def commit(self, shard: EmbeddedShard) -> None:
        """Store one shard."""
        import numpy as np

        rows = self._rows_of(shard.accepted)
        self._add_images(shard.accepted)
        self._note_refusals(shard)
        if shard.accepted:
            append_vectors(self.space, np.array(rows, np.int64), shard.vectors)
        self.n_embedded += len(shard.accepted)
        self.n_rejected += len(shard.refused)
        self.n_shards += 1
        if self.n_shards % COMPACT_ABOVE == 0:
            compact_tables(self.corpus, self.space)

    def _rows_of(self, accepted: Sequence[Accepted]) -> list[int]:
        new = [image for image in accepted if image.candidate.row is None]
        positions = [image.candidate.position for image in new]
        stored = (
            append_records(self.corpus, self.records.take(positions), [image.facts for image in new]) if new else []
        )
        following = iter(stored)
        return [next(following) if image.candidate.row is None else image.candidate.row for image in accepted]

    def _add_images(self, accepted: Sequence[Accepted]) -> None:
        """Give their images to records that came without, as with imported vectors."""
        found = [
            (image.candidate, image.facts) for image in accepted if image.candidate.row is not None and image.facts
        ]
        if found:
            ids, uris = [candidate.record_id for candidate, _ in found], [candidate.uri for candidate, _ in found]
            add_images(self.corpus, ids, uris, [facts for _, facts in found])

    def _note_refusals(self, shard: EmbeddedShard) -> None:
        mended = [image.candidate.uri for image in shard.accepted if image.candidate.uri in self.rejections]
        for uri in mended:
            del self.rejections[uri]
        for refusal in shard.refused:
            candidate = refusal.candidate
            self.rejections[candidate.uri] = reject(candidate.uri, candidate.record_id, refusal.reason)
        if mended or shard.refused:
            write_rejections(self.corpus.rejected_path, self.rejections.values())


def compact_tables(corpus: Corpus, space: Space) -> None:
    """Merge the many small pieces that a long job leaves in the tables; readers keep the version they have open."""
    import lance

    for path in (corpus.records_path, space.vectors_path):
        if is_table(path):
            dataset = lance.dataset(str(path))
            if len(dataset.get_fragments()) > COMPACT_ABOVE:
                dataset.optimize.compact_files()
                dataset.cleanup_old_versions(older_than=KEEP_VERSIONS)
