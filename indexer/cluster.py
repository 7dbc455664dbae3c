"""The Ray engine: workers of a cluster embed the shards of a job; the job itself commits them, in order.

Ray Data hands the missing shards to encoder actors, restarts an actor that dies and gives its shard to the next. The
finished shards come back in the order of the source and are committed by the one process that holds the lock of
the corpus, in the same steps as those of the local engine, so that the corpus on disk is the same, shard by shard. Only
images and models have to be reachable from the workers; the corpus need not be.

Lance's own writer for Ray (`lance_ray.write_lance`) is not used: it commits once, at the very end, so that a killed job
would have embedded for nothing, and it cannot number rows in the order of the source.
"""

from __future__ import annotations

import logging
import os
import secrets
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any, Self

from indexer.candidates import Candidate
from indexer.decoding import Refused, decode_ahead
from indexer.engines import Advance, Cost, EncoderRequest, measure_cost
from indexer.errors import ClusterError, InputError
from indexer.model_names import parse_model_name
from indexer.records import ImageFacts
from indexer.shards import Accepted, EmbeddedShard, embed_shard

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from jaxtyping import Float16, Float32, Int64, UInt8

    from indexer.encoder_spec import EncoderSpec
    from indexer.index.filling import ListFiller

RETRIES = 3
"""How often a shard, the probe, or a part of an index is tried again after its worker died."""
STARTS = 3
"""How often a local Ray is started; Ray gives its processes 15 s, too little where the cores are busy."""
SHARDS_AT_ONCE = 2
"""Shards a worker has in hand: the next one is decoded while the device computes."""
CPUS_PER_WORKER = 4
"""Cores of a worker without a GPU, where there are as many: beyond that two workers are faster than one."""
PART = 262_144
"""Vectors of an index that one task encodes: 400 MB of 768 float16 dimensions."""


@dataclass(frozen=True, kw_only=True)
class ClusterSettings:
    """Where and on how many workers the Ray engine runs.

    Attributes:
        address: of a running cluster, as `ray start` prints it, or `auto`; None starts a Ray on this machine, unless
            the environment variable RAY_ADDRESS names a cluster.
        n_workers: encoder actors; None is as many as the cluster holds.
        gpus_per_worker: GPUs of each, fractions allowed; None is one where there are any, unless the device is cpu.
    """

    address: str | None = None
    n_workers: int | None = None
    gpus_per_worker: float | None = None


@dataclass(frozen=True, kw_only=True)
class WorkerPlan:
    """The workers that a cluster holds.

    Attributes:
        n_workers: encoder actors.
        cpus: cores of each, which decode.
        gpus: of each.
    """

    n_workers: int
    cpus: int
    gpus: float

    def describe(self) -> str:
        """For people: `2 Ray workers of 1 CPU`."""
        gpus = f" and {self.gpus:g} GPU" if self.gpus else ""
        return f"{self.n_workers} Ray worker{'s'[: self.n_workers != 1]} of {self.cpus} CPU{gpus}"


def plan_workers(nodes: Sequence[Mapping[str, float]], settings: ClusterSettings, device: str) -> WorkerPlan:
    """How many workers of which size run on machines with these resources (`CPU`, `GPU`).

    Raises:
        ClusterError: not one worker of the size asked for fits on any machine.
    """
    has_gpu = any(node.get("GPU", 0) for node in nodes)
    gpus = settings.gpus_per_worker
    if gpus is None:
        gpus = 1.0 if has_gpu and device != "cpu" else 0.0
    if gpus:
        slots = [(int(node.get("GPU", 0) / gpus + 1e-9), int(node.get("CPU", 0))) for node in nodes]
    else:
        slots = [(-(-int(node.get("CPU", 0)) // CPUS_PER_WORKER), int(node.get("CPU", 0))) for node in nodes]
    slots = [(min(n_workers, cpus), cpus) for n_workers, cpus in slots if min(n_workers, cpus)]
    if not slots:
        raise ClusterError(
            f"--gpus-per-worker {gpus:g}: the cluster's machines have {_describe_nodes(nodes)}, on which no worker of "
            "that size fits. Give a smaller fraction, or 0 to compute on CPUs."
        )
    if settings.n_workers is None or gpus:
        n_workers = min(sum(n for n, _ in slots), settings.n_workers or 10**9)
        return WorkerPlan(n_workers=n_workers, cpus=min(cpus // n for n, cpus in slots), gpus=gpus)
    total = sum(cpus for _, cpus in slots)
    # Ray keeps a worker on one machine: as many must fit as were asked for, where there are cores enough.
    share = max(1, total // settings.n_workers)
    while share > 1 and sum(cpus // share for _, cpus in slots) < settings.n_workers:
        share -= 1
    return WorkerPlan(n_workers=min(settings.n_workers, total), cpus=min(share, max(c for _, c in slots)), gpus=0.0)


def _describe_nodes(nodes: Sequence[Mapping[str, float]]) -> str:
    return "; ".join(f"{node.get('CPU', 0):g} CPU and {node.get('GPU', 0):g} GPU" for node in nodes) or "nothing"


class RayEngine:
    """Workers of a Ray cluster; see the module.

    The cluster is joined, or a local Ray started, at the first use, and left at the end of the context.
    """

    encoder = None
    """It is loaded in the workers alone."""

    def __init__(self, settings: ClusterSettings, *, device: str, announce: Callable[[str], None]) -> None:
        self._settings = settings
        self._device = device
        self._announce = announce
        self._request: EncoderRequest | None = None
        self._spec: EncoderSpec | None = None
        self._plan: WorkerPlan | None = None
        self._disconnect: Callable[[], None] = lambda: None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Leave the cluster; a Ray that was started here ends."""
        self._disconnect()
        self._disconnect = lambda: None
        self._plan = None

    @property
    def place(self) -> str:
        """Where it computes, for people."""
        return self._connect().describe()

    @property
    def fill_lists(self) -> ListFiller:
        """How the lists of an index are filled: part by part in Ray tasks, merged here."""
        return self._fill_lists

    def load(
        self, request: EncoderRequest, sample: Sequence[Candidate], announce: Callable[[str], None]
    ) -> tuple[EncoderSpec, Cost]:
        """Load the encoder in a worker; what it is, and what images cost with all workers at work.

        EncoderError where it cannot be had there.
        """
        import ray

        # In full: a worker may stand in another folder.
        request = replace(request, model=parse_model_name(request.model).resolved)
        plan = self._connect()
        # Ends its process after one call, which frees the device's memory for the workers.
        task = ray.remote(num_cpus=plan.cpus, num_gpus=plan.gpus, max_retries=RETRIES, max_calls=1)(_try_encoder)
        spec, cost, lines = _get(task.remote(request, list(sample), plan.cpus))
        for line in lines:
            announce(line)
        # From now on in the number format that was chosen where the workers are, so that all agree.
        self._request = replace(request, precision=str(spec.precision))
        self._spec = spec
        return spec, replace(cost, seconds=cost.seconds / plan.n_workers)

    def embed(self, candidates: Sequence[Candidate], advance: Advance) -> Iterator[EmbeddedShard]:
        """The shards of the candidates, embedded, in the order of the candidates."""
        import ray.data

        plan = self._connect()
        _configure_data()
        shards = ray.data.from_arrow(list(_tabulate(candidates)))
        with warnings.catch_warnings():
            # Ray Data deprecates its one way to this setting before it has another.
            warnings.filterwarnings("ignore", message=".*ray_remote_args_fn")
            embedded = shards.map_batches(
                ShardEncoder,
                fn_constructor_kwargs={"request": self._request, "spec": self._spec, "n_threads": plan.cpus},
                batch_size=None,
                batch_format="pyarrow",
                compute=ray.data.ActorPoolStrategy(
                    size=plan.n_workers,
                    max_concurrent_calls_per_actor=SHARDS_AT_ONCE,
                    enable_true_multi_threading=True,
                ),
                num_cpus=plan.cpus,
                num_gpus=plan.gpus,
                ray_remote_args_fn=lambda: {"max_task_retries": RETRIES},
            )
        blocks = embedded.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=1)
        for shard in _read_shards(_with_our_errors(iter(blocks)), candidates):
            advance(len(shard.accepted), len(shard.refused))
            yield shard

    def _fill_lists(
        self, index: Any, vectors: Float16[np.ndarray, "n d"], assigned: Int64[np.ndarray, " n"] | None, *, device: str
    ) -> Int64[np.ndarray, " n"]:
        import numpy as np
        import ray

        from indexer.index.filling import merge_part
        from indexer.index.lists import read_centroids

        plan = self._connect()
        centroids = ray.put(read_centroids(index))
        encode = ray.remote(num_cpus=plan.cpus, max_retries=RETRIES, num_returns=2)(_encode_part)
        found = np.empty(len(vectors), np.int64)
        waiting: dict[Any, tuple[int, Any]] = {}
        starts = iter(range(0, len(vectors), PART))
        while True:
            # No more parts are on their way than are worked on, for each holds its vectors in Ray's memory.
            while len(waiting) < 2 * plan.n_workers and (start := next(starts, None)) is not None:
                known = None if assigned is None else assigned[start : start + PART]
                block = np.array(vectors[start : start + PART])
                references: Any = encode.remote(centroids, index.rabitq.nb_bits, block, known)
                part, lists = references
                waiting[part] = start, lists
            if not waiting:
                return found
            (part,), _ = ray.wait(list(waiting), num_returns=1)
            start, lists = waiting.pop(part)
            merge_part(index, _get(part), start)
            found[start : start + PART] = _get(lists)

    def _connect(self) -> WorkerPlan:
        if self._plan is None:
            self._disconnect = join_cluster(self._settings.address)
            self._plan = plan_workers(_list_nodes(), self._settings, self._device)
            self._announce(f"computes on {self._plan.describe()}")
        return self._plan


def join_cluster(address: str | None) -> Callable[[], None]:
    """Join a Ray cluster, or start a Ray on this machine; gives back what leaves or ends it.

    A local Ray answers this user's processes alone: it gets a token of its own, which ends with it (Ray
    would write one to the home directory). To join a cluster with a token, set RAY_AUTH_TOKEN as on its machines.

    Raises:
        ClusterError: Ray is not installed, or no cluster answers at the address.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    address = address or os.environ.get("RAY_ADDRESS")
    former = {name: os.environ.get(name) for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN")}
    if address in (None, "local"):
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))
    try:
        import ray
    except ImportError:
        raise ClusterError(
            "--engine ray: Ray is not installed here. Install it with: pip install 'morphospace[cluster]'"
        ) from None
    if ray.is_initialized():
        return lambda: None
    try:
        with warnings.catch_warnings():
            # Ray forks to start its processes, which then run programs of their own.
            warnings.filterwarnings("ignore", message="lance is not fork-safe")
            if address in (None, "local"):
                _start_ray(ray)
            else:
                ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except ClusterError:
        _restore(former)
        raise
    except (ConnectionError, ValueError, RuntimeError) as error:
        _restore(former)
        raise ClusterError(
            f"--address {address}: no Ray cluster can be joined there ({str(error).splitlines()[0]}). Start one with "
            "`ray start --head`, or leave --address out to use this machine alone."
        ) from error

    def leave() -> None:
        ray.shutdown()
        _restore(former)

    return leave


def _start_ray(ray: Any) -> None:
    for attempt in range(1, STARTS + 1):
        try:
            ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
            return
        except Exception as error:
            ray.shutdown()
            if "timed out during startup" not in str(error):
                raise
            if attempt == STARTS:
                raise ClusterError(
                    f"--engine ray: Ray did not start on this machine in {STARTS} tries, too slow for its own limit of "
                    "15 s; its logs are in /tmp/ray/session_latest/logs. Try again when the processor is less busy."
                ) from error
            time.sleep(5 * attempt)


def _restore(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _list_nodes() -> list[Mapping[str, float]]:
    import ray

    # Ray leaves this one function without types.
    list_all: Callable[[], list[dict[str, Any]]] = ray.nodes
    return [node["Resources"] for node in list_all() if node["Alive"]]


def _configure_data() -> None:
    """Shards come back in order, and Ray Data says nothing of its own."""
    import ray.data

    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)


def _get(reference: Any) -> Any:
    """The result of a task; the InputError that it raised, if it did."""
    import ray

    return next(_with_our_errors(ray.get(each) for each in [reference]))


def _with_our_errors(results: Iterator[Any]) -> Iterator[Any]:
    """The results; an InputError that a worker raised is raised as such, not as Ray's, and so are its deaths."""
    from ray.exceptions import RayActorError, RayError, WorkerCrashedError

    try:
        yield from results
    except RayError as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, InputError):
            cause = getattr(cause, "cause", None) or cause.__cause__
        if cause is not None:
            raise cause from None
        if isinstance(error, RayActorError | WorkerCrashedError):
            raise ClusterError(
                f"--engine ray: a worker died {_count(1 + RETRIES)} at the same task, mostly for want of memory "
                f"({str(error).splitlines()[0]}). What was committed before stays. Give the workers more memory, or "
                "fewer of them a machine (--workers), and run the command again; if it dies again, --engine local "
                "tells at which image."
            ) from error
        raise


def _count(n: int) -> str:
    return "once" if n == 1 else f"{n} times"


_FACTS = ("sha256", "n_bytes", "width", "height", "thumbnail")


def _tabulate(candidates: Sequence[Candidate]) -> Iterator[pa.Table]:
    """The candidates as Ray Data takes them: a table for each shard, whose `place` is that among all candidates."""
    import pyarrow as pa

    schema = pa.schema({"place": pa.int64(), "uri": pa.string(), "sha256": pa.string()})
    numbered = groupby(enumerate(candidates), key=lambda pair: pair[1].shard)
    for _, shard in numbered:
        rows = [{"place": place, "uri": each.uri, "sha256": each.sha256} for place, each in shard]
        yield pa.Table.from_pylist(rows, schema=schema)


def _result_schema(dimension: int) -> pa.Schema:
    import pyarrow as pa

    facts = {"sha256": pa.string(), "n_bytes": pa.int64(), "width": pa.int32(), "height": pa.int32()}
    return pa.schema(
        {
            "place": pa.int64(),
            "reason": pa.string(),
            **facts,
            "thumbnail": pa.binary(),
            # Without this Ray would make lists of doubles of the vectors.
            "vector": pa.list_(pa.float32(), dimension),
        }
    )


class ShardEncoder:
    """An encoder in a process of its own, which embeds one shard at a call."""

    def __init__(self, *, request: EncoderRequest, spec: EncoderSpec, n_threads: int) -> None:
        import numpy as np

        encoder, _ = _load(request)
        if encoder.spec.fingerprint != spec.fingerprint:
            raise ClusterError(
                f"--model {request.model}: this worker has {encoder.spec.describe()}, another one {spec.describe()}. "
                "Give all machines of the cluster the same files."
            )
        side = spec.preprocessing.size
        # Brings the tower to its device before two threads ask for it at once.
        encoder.encode_pixels(np.zeros((1, 3, side, side), np.uint8))
        self._encoder = encoder
        self._n_threads = n_threads

    def __call__(self, shard: pa.Table) -> pa.Table:
        """A row for each image of a shard: its vector and facts, or the reason why it was refused."""
        encoder = self._encoder
        candidates = [
            Candidate(shard=("", 0), uri=uri, record_id="", position=place, row=None, sha256=sha256)
            for place, uri, sha256 in zip(*(shard.column(name).to_pylist() for name in shard.column_names), strict=True)
        ]
        ahead = max(2 * encoder.batch_size, 32)
        decoded = decode_ahead(candidates, encoder.spec.preprocessing, ahead=ahead, n_workers=self._n_threads)
        return _tabulate_result(embed_shard(decoded, encoder), encoder.spec.dimension)


def _tabulate_result(shard: EmbeddedShard, dimension: int) -> pa.Table:
    import pyarrow as pa

    accepted, n_refused = shard.accepted, len(shard.refused)
    given = [each.candidate for each in accepted] + [each.candidate for each in shard.refused]
    columns: dict[str, Any] = {
        "place": [candidate.position for candidate in given],
        "reason": [None] * len(accepted) + [each.reason for each in shard.refused],
        **{
            name: [each.facts and getattr(each.facts, name) for each in accepted] + [None] * n_refused
            for name in _FACTS
        },
    }
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(shard.vectors.ravel(), pa.float32()), dimension)
    columns["vector"] = pa.concat_arrays([vectors, pa.nulls(n_refused, vectors.type)])
    return pa.table(columns, schema=_result_schema(dimension))


def _read_shards(blocks: Iterator[pa.Table], candidates: Sequence[Candidate]) -> Iterator[EmbeddedShard]:
    """The shards out of Ray's blocks, which may hold less or more than one."""
    import pyarrow as pa

    collected: list[pa.Table] = []
    n_missing = 0
    sizes = iter([len(list(shard)) for _, shard in groupby(candidates, key=lambda each: each.shard)])
    for block in blocks:
        while block.num_rows:
            n_missing = n_missing or next(sizes)
            collected.append(block.slice(0, n_missing))
            n_missing -= collected[-1].num_rows
            block = block.slice(collected[-1].num_rows)
            if not n_missing:
                yield _read_shard(pa.concat_tables(collected), candidates)
                collected = []


def _read_shard(table: pa.Table, candidates: Sequence[Candidate]) -> EmbeddedShard:
    import pyarrow.compute as pc

    is_refused = pc.is_valid(table.column("reason"))
    refused, stored = table.filter(is_refused), table.filter(pc.invert(is_refused))
    facts = [
        ImageFacts(**each) if each["sha256"] is not None else None for each in stored.select(list(_FACTS)).to_pylist()
    ]
    places = stored.column("place").to_pylist()
    values = stored.column("vector").combine_chunks()
    vectors: Float32[np.ndarray, "n d"] = values.flatten().to_numpy().reshape(len(places), -1)
    return EmbeddedShard(
        accepted=tuple(
            Accepted(candidate=candidates[place], facts=each) for place, each in zip(places, facts, strict=True)
        ),
        vectors=vectors,
        refused=tuple(
            Refused(candidate=candidates[each["place"]], reason=each["reason"])
            for each in refused.select(["place", "reason"]).to_pylist()
        ),
    )


def _load(request: EncoderRequest) -> tuple[Any, list[str]]:
    from indexer.encoders import load_encoder

    lines: list[str] = []
    encoder = load_encoder(request.model, device=request.device, precision=request.precision, announce=lines.append)
    return encoder, lines


def _try_encoder(
    request: EncoderRequest, sample: Sequence[Candidate], n_threads: int
) -> tuple[EncoderSpec, Cost, list[str]]:
    encoder, lines = _load(request)
    return encoder.spec, measure_cost(sample, encoder, n_threads=n_threads), lines


def _encode_part(
    centroids: Float32[np.ndarray, "l d"],
    n_bits: int,
    vectors: Float16[np.ndarray, "m d"],
    assigned: Int64[np.ndarray, " m"] | None,
) -> tuple[UInt8[np.ndarray, " b"], Int64[np.ndarray, " m"]]:
    from indexer.index.filling import encode_part

    return encode_part(centroids, n_bits, vectors, assigned)
