"""Maps: 2-D projections of a space, made by a job and stored with their method, parameters, seed and trust."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from indexer.errors import CorpusError
from indexer.files import publish, read_json
from indexer.index.opened import VectorIndex, open_index
from indexer.removals import is_among
from indexer.vectors import Vectors, live_rows

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float32, Int64

    from indexer.corpus import Space

MIN_VECTORS = 10
TRUST_SAMPLE = 2_000
TRUST_NEIGHBOURS = 15


@dataclass(frozen=True, kw_only=True)
class MapSettings:
    """What decides a map.

    Attributes:
        n_neighbors: UMAP's neighbourhood (asked for; fewer where the space is small).
        min_dist: UMAP's smallest gap between points, in map units.
        seed: of the layout; one seed, one map.
    """

    n_neighbors: int = 15
    min_dist: float = 0.1
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class SpaceMap:
    """A stored map.

    Attributes:
        rows: ascending.
        positions: in map units, which mean nothing by themselves.
        facts: method, parameters, seed, trustworthiness, versions, as stored in `map.json`.
        digest: SHA-256 of the coordinates file.
    """

    rows: Int64[np.ndarray, " n"]
    positions: Float32[np.ndarray, "n 2"]
    facts: dict[str, Any]
    digest: str


def make_map(space: Space, *, announce: Callable[[str], None], settings: MapSettings | None = None) -> bool:
    """Lay a space out with UMAP from the index's own vectors and neighbours and store it as the map `umap`.

    Trustworthiness (Venna & Kaski 2001, in [0, 1], as scikit-learn computes it with cosine and 15 neighbours) is
    measured on a random sample of 2,000 records. Returns False, with the reason announced, where there are too few
    vectors for a map.
    """
    from importlib.metadata import version

    settings = settings or MapSettings()
    rows = live_rows(space)
    if len(rows) < MIN_VECTORS:
        announce(f"map of {space.name}: not made, because {len(rows)} vectors are fewer than {MIN_VECTORS}")
        return False
    index = open_index(space)
    vectors = Vectors(rows=rows, values=index.vectors_at(rows), version=index.facts.vectors_version)
    announce(f"map of {space.name}: UMAP of {len(vectors.rows):,} vectors")
    positions, n_neighbors = _lay_out(index, vectors, settings)
    facts = {
        "method": "umap",
        "umap_learn": version("umap-learn"),
        **asdict(settings),
        "n_neighbors_used": n_neighbors,
        "metric": "cosine",
        "init": "pca",
        "n": len(vectors.rows),
        "vectors_version": vectors.version,
        "trustworthiness": _measure_trust(vectors, positions, settings.seed),
        "trustworthiness_neighbors": min(TRUST_NEIGHBOURS, n_neighbors),
        "trustworthiness_sample": min(TRUST_SAMPLE, len(vectors.rows)),
    }
    publish(
        space.map_path(), "coordinates", ".parquet", lambda part: _write_positions(vectors.rows, positions, part), facts
    )
    announce(f"map of {space.name}: trustworthiness {facts['trustworthiness']:.3f}")
    return True


def has_current_map(space: Space) -> bool:
    """Whether the stored map shows every vector of the space, those of removed records apart."""
    import numpy as np

    rows = live_rows(space)
    if len(rows) < MIN_VECTORS:
        return True
    return space.map_path().exists() and bool(np.isin(rows, read_map(space).rows).all())


def load_map(space: Space, name: str = "umap") -> SpaceMap:
    """A stored map without the records that were removed since; CorpusError where it has not been made."""
    stored = read_map(space, name)
    shown = ~is_among(stored.rows, space.removed_rows())
    return replace(stored, rows=stored.rows[shown], positions=stored.positions[shown])


def read_map(space: Space, name: str = "umap") -> SpaceMap:
    """A map as it is stored; CorpusError where it has not been made."""
    import numpy as np
    import pyarrow.parquet as pq

    description = space.map_path(name)
    if not description.exists():
        raise CorpusError(f"{space.name}: has no map yet. Make it with: morphospace map {space.folder.parent.parent}")
    facts = read_json(description)
    file, digest = description.parent / facts.pop("file"), facts.pop("digest")
    table = pq.read_table(file)
    positions = np.stack([table.column("x").to_numpy(), table.column("y").to_numpy()], axis=1)
    return SpaceMap(rows=table.column("row").to_numpy(), positions=positions, facts=facts, digest=digest)


def _lay_out(index: VectorIndex, vectors: Vectors, settings: MapSettings) -> tuple[Float32[np.ndarray, "n 2"], int]:
    import numpy as np
    import umap

    n_neighbors = min(settings.n_neighbors, len(vectors.rows) - 1)
    indices, distances = _nearest(index, vectors, n_neighbors)
    layout = umap.UMAP(
        n_neighbors=n_neighbors,
        min_dist=settings.min_dist,
        metric="cosine",
        init="pca",
        random_state=settings.seed,
        n_jobs=1,
        precomputed_knn=(indices, distances, None),
    )
    with warnings.catch_warnings():
        # umap-learn says that `transform` is unavailable with given neighbours: nothing here transforms.
        warnings.filterwarnings("ignore", message=".*precomputed_knn.*")
        positions = layout.fit_transform(vectors.values)
    return np.asarray(positions, np.float32), n_neighbors


def _nearest(
    index: VectorIndex, vectors: Vectors, k: int
) -> tuple[Int64[np.ndarray, "n k"], Float32[np.ndarray, "n k"]]:
    """Each vector's neighbours as UMAP wants them: itself first, positions instead of rows, cosine distances."""
    import numpy as np

    hidden = np.setdiff1d(index.rows, vectors.rows)
    found = index.search(vectors.values, k, hidden=hidden)
    positions = np.where(found.rows < 0, -1, np.searchsorted(vectors.rows, found.rows))
    distances = np.where(found.rows < 0, np.inf, np.clip(1 - found.scores, 0, None)).astype(np.float32)
    own = np.arange(len(vectors.rows))
    is_own = positions == own[:, None]
    # Where more than k vectors are equal, a vector may be missing from its own list.
    is_own[~is_own.any(axis=1), -1] = True
    order = np.argsort(~is_own, axis=1, kind="stable")
    positions, distances = (np.take_along_axis(values, order, axis=1) for values in (positions, distances))
    positions[:, 0], distances[:, 0] = own, 0
    return positions, distances


def _measure_trust(vectors: Vectors, positions: Float32[np.ndarray, "n 2"], seed: int) -> float:
    import numpy as np
    from sklearn.manifold import trustworthiness

    n = len(vectors.rows)
    sample = np.random.default_rng(seed).choice(n, min(TRUST_SAMPLE, n), replace=False)
    neighbours = min(TRUST_NEIGHBOURS, (len(sample) - 1) // 2)
    return float(trustworthiness(vectors.values[sample], positions[sample], n_neighbors=neighbours, metric="cosine"))


def _write_positions(rows: Int64[np.ndarray, " n"], positions: Float32[np.ndarray, "n 2"], path: Any) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"row": rows, "x": positions[:, 0], "y": positions[:, 1]}), path)
