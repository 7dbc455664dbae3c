"""From positions to batches: pictures read, framed and varied, captions written and coded, in step with the training.

What a batch holds follows from the seed, the step and the place in the whole batch, never from the number of processes
or workers, so that a run goes on as it would have gone.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from indexer.errors import InputError
from training.annotations import Annotations, annotate_records
from training.captions import Caption, hash_claims, write_caption
from training.examples import Batch
from training.squares import Shown, Squares
from training.views import N_DRAWS, make_views

if TYPE_CHECKING:
    import torch
    from jaxtyping import Int64, UInt8

    from indexer.preprocessing import Preprocessing
    from training.examples import Captioned, Dataset, Tokenise
    from training.settings import CaptionConfig, TrainingConfig

KEPT_BYTES = 1 << 30
"""Memory for framed pictures that need not be decoded again, shared out over a process's workers and sources."""
KEPT_TEXTS = 100_000
"""Texts whose codes are kept: 60 MB at CLIP's 77 codes."""
N_PREFETCHED = 4
"""Batches that a worker makes ahead."""
N_JUDGED, MAX_UNREADABLE = 500, 0.1
"""A run stops where more than this share of the pictures, at least so many having been asked for, cannot be read."""


class Draw(IntEnum):
    """What a stream of random numbers is for; second part of its seed."""

    CAPTION = 301
    CAPTION_STEP = 302
    VIEW = 303
    REPLAY_ORDER = 304
    REPLAY_VIEW = 305
    SAMPLE_CAPTION = 306
    SUBSTITUTE = 307
    REPLAY_SUBSTITUTE = 308


def load_batches(
    dataset: Dataset,
    batches: Iterable[Int64[np.ndarray, " b"]],
    config: TrainingConfig,
    preprocessing: Preprocessing,
    tokenise: Tokenise,
    *,
    first_step: int = 0,
    process: int = 0,
    n_processes: int = 1,
    replay: Captioned | None = None,
    pin_memory: bool = False,
    announce: Callable[[str], None] = lambda _line: None,
) -> Iterator[Batch]:
    """This process's share of every batch, in order, made ahead while the training computes.

    A picture that cannot be read does not stop a run: another one of its batch, always the same, stands in with a text
    of its own. A species may then come twice in that batch.

    Args:
        dataset: Pictures and records.
        batches: Positions of whole batches, the first of them that of step `first_step`; each is shared out evenly and
            in order over the processes.
        config: Settings; with `data.n_workers` 0 a thread makes one batch ahead, else as many processes make several.
        preprocessing: How pictures become the encoder's square.
        tokenise: Codes of texts; with workers it must be picklable.
        first_step: Number of the first batch.
        process: Rank of this process.
        n_processes: How many processes share a batch.
        replay: General pairs; `replay.batch_size` of them per step, over all processes.
        pin_memory: Hand the tensors over in page-locked memory, from which a GPU copies while it computes.
        announce: Told which pictures of this process cannot be read: the first, the second, the fourth and so on.

    Raises:
        InputError: Too many pictures cannot be read (see `MAX_UNREADABLE`), or a batch cannot be shared out evenly.
    """
    maker = BatchMaker(
        dataset=dataset,
        annotations=annotate_records(dataset.records, config.captions.columns),
        config=config,
        preprocessing=preprocessing,
        tokenise=tokenise,
        replay=replay,
        process=process,
        n_processes=n_processes,
    )
    jobs = zip(itertools.count(first_step), batches)
    load = _load_by_workers if config.data.n_workers else _load_by_thread
    return _follow(load(maker, jobs, pin_memory=pin_memory), dataset.name, announce)


def write_sample_captions(
    dataset: Dataset, positions: Sequence[int] | Int64[np.ndarray, " n"], config: TrainingConfig, n: int
) -> Iterator[str]:
    """n texts as training writes them, over the pictures in turn: what a vocabulary is learned from."""
    annotations = annotate_records(dataset.records, config.captions.columns)
    for i in range(n):
        rng = np.random.default_rng([config.seed, Draw.SAMPLE_CAPTION, i])
        example = annotations.read_example(int(positions[i % len(positions)]))
        yield write_caption(example, config.captions, rng, step_rng=rng).text


class Made(NamedTuple):
    """A batch, and for each of its places that another picture took the reason, which names the one that should."""

    batch: Batch
    refusals: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class BatchMaker:
    """Makes any step's batch; see `load_batches` for what its parts are."""

    dataset: Dataset
    annotations: Annotations
    config: TrainingConfig
    preprocessing: Preprocessing
    tokenise: Tokenise
    replay: Captioned | None
    process: int
    n_processes: int
    _pictures: Squares = field(init=False, repr=False)
    _replayed: Squares | None = field(init=False, repr=False)
    _codes: _KeptCodes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Makes room for what need not be made again."""
        n_sharers = max(1, self.config.data.n_workers) * (1 if self.replay is None else 2)
        squares = functools.partial(Squares, preprocessing=self.preprocessing, n_kept_bytes=KEPT_BYTES // n_sharers)
        object.__setattr__(self, "_pictures", squares(source=self.dataset))
        object.__setattr__(self, "_replayed", None if self.replay is None else squares(source=self.replay))
        object.__setattr__(self, "_codes", _KeptCodes(tokenise=self.tokenise))

    def make_batch(self, step: int, positions: Int64[np.ndarray, " b"]) -> Made:
        """This process's share of the batch of one step."""
        import torch

        share = self._share(len(positions))
        shown = self._show(step, positions, self._pictures, Draw.VIEW, Draw.SUBSTITUTE)
        captions = self._write_captions(step, shown.positions, share.start)
        described = [self.annotations.describe(int(position)) for position in shown.positions]
        replay = self._make_replay(step)
        batch = Batch(
            pixels=_as_tensor(shown.pixels),
            codes=self._codes.encode([caption.text for caption in captions]),
            lineage=torch.from_numpy(np.stack([one.lineage for one in described])),
            facts=torch.from_numpy(np.stack([one.facts for one in described])),
            claims=torch.from_numpy(_stack_claims(captions, _count_claims(self.config.captions))),
            replay_pixels=_as_tensor(replay[0].pixels) if replay else None,
            replay_codes=replay[1] if replay else None,
        )
        return Made(batch, (*shown.refusals, *(replay[0].refusals if replay else ())))

    def _share(self, n: int) -> slice:
        if n % self.n_processes:
            raise InputError(
                f"a batch of {n} pictures cannot be shared evenly by {self.n_processes} processes; "
                "set engine.batch_size and replay.batch_size to multiples of the number of processes."
            )
        size = n // self.n_processes
        return slice(self.process * size, (self.process + 1) * size)

    def _write_captions(self, step: int, positions: Int64[np.ndarray, " n"], first: int) -> list[Caption]:
        seed, captions = self.config.seed, self.config.captions
        step_rng = np.random.default_rng([seed, Draw.CAPTION_STEP, step])
        rngs = draw_generators(step, slice(first, first + len(positions)), seed=seed)
        return [
            write_caption(self.annotations.read_example(int(position)), captions, rng, step_rng=step_rng)
            for position, rng in zip(positions, rngs, strict=True)
        ]

    def _show(
        self, step: int, positions: Int64[np.ndarray, " b"], squares: Squares, view: Draw, substitute: Draw
    ) -> Shown:
        """This process's share of the pictures; the draws are those of the whole batch, cut to the share."""
        share, seed = self._share(len(positions)), self.config.seed
        draws = np.random.default_rng([seed, view, step]).random((len(positions), N_DRAWS))[share]
        views = make_views(draws, self.config.data, side=self.preprocessing.size)
        return squares.show(positions, share, views, [seed, substitute, step])

    def _make_replay(self, step: int) -> tuple[Shown, Int64[torch.Tensor, "r c"]] | None:
        if self.replay is None or self._replayed is None:
            return None
        positions = order_replay(step, self.config.replay.batch_size, len(self.replay), seed=self.config.seed)
        shown = self._show(step, positions, self._replayed, Draw.REPLAY_VIEW, Draw.REPLAY_SUBSTITUTE)
        captions = [self.replay.read_caption(position) for position in shown.positions.tolist()]
        return shown, self._codes.encode(captions)


def draw_generators(step: int, places: slice, *, seed: int) -> Iterator[np.random.Generator]:
    """For each place of a batch a generator that follows from seed, step and place; valid until the next one is asked.

    It is one generator, put into a random 128-bit state each time: seeding a new one takes as long as a caption.
    """
    words = np.random.default_rng([seed, Draw.CAPTION, step]).integers(0, 2**64, (places.stop, 2), dtype=np.uint64)
    bits = np.random.PCG64(0)
    rng, begin = np.random.Generator(bits), bits.state
    for high, low in words[places].tolist():
        bits.state = {**begin, "state": {"state": high << 64 | low, "inc": begin["state"]["inc"]}}
        yield rng


def order_replay(step: int, batch_size: int, n_pairs: int, *, seed: int) -> Int64[np.ndarray, " b"]:
    """Positions of the replay's batch in one step: all pairs once in a random order, then again in another one."""
    first = step * batch_size
    places = np.arange(first, first + batch_size)
    return np.array([_order_turn(int(place // n_pairs), n_pairs, seed)[place % n_pairs] for place in places], np.int64)


@functools.lru_cache(maxsize=4)
def _order_turn(turn: int, n_pairs: int, seed: int) -> Int64[np.ndarray, " n"]:
    """Drawn once per turn: shuffling millions of pairs takes longer than a step."""
    order = np.random.default_rng([seed, Draw.REPLAY_ORDER, turn]).permutation(n_pairs)
    order.setflags(write=False)
    return order


@dataclass(frozen=True, kw_only=True)
class _KeptCodes:
    """Codes of texts, those of a text that came before as they were: names repeat, tokenising takes its time."""

    tokenise: Tokenise
    _rows: dict[str, Int64[np.ndarray, " c"]] = field(default_factory=dict)

    def encode(self, texts: Sequence[str]) -> Int64[torch.Tensor, "n c"]:
        import torch

        if len(self._rows) > KEPT_TEXTS:
            self._rows.clear()
        unknown = [text for text in dict.fromkeys(texts) if text not in self._rows]
        if unknown:
            self._rows.update(zip(unknown, self.tokenise(unknown).numpy(), strict=True))
        return torch.from_numpy(np.stack([self._rows[text] for text in texts]))


def _as_tensor(shown: UInt8[np.ndarray, "n s s 3"]) -> UInt8[torch.Tensor, "n 3 s s"]:
    """The pictures with channels first in shape and last in memory, as convolutions like it."""
    import torch

    return torch.from_numpy(shown).permute(0, 3, 1, 2)


def _count_claims(captions: CaptionConfig) -> int:
    """Claims of the richest text: every adjective and phrase, and a noun; or a lineage and a common name."""
    return max(2, len(captions.adjectives) + len(captions.phrases) + 1)


def _stack_claims(captions: Sequence[Caption], width: int) -> Int64[np.ndarray, "n q"]:
    claims = np.zeros((len(captions), width), dtype=np.int64)
    for row, caption in zip(claims, captions, strict=True):
        row[: len(caption.claims)] = hash_claims(caption.claims)
    return claims


def _follow(
    made: Generator[Made, None, None], name: str, announce: Callable[[str], None]
) -> Generator[Batch, None, None]:
    """The batches; counts and tells the pictures that could not be read."""
    n_asked = n_refused = n_told = 0
    known: dict[str, None] = {}
    with contextlib.closing(made):
        for batch, refusals in made:
            n_asked += sum(len(pixels) for pixels in (batch.pixels, batch.replay_pixels) if pixels is not None)
            n_refused += len(refusals)
            known |= {reason.removesuffix("."): None for reason in refusals}
            if len(known) >= max(1, 2 * n_told):
                n_told = len(known)
                announce(
                    f"{name}: {n_told:,} pictures could not be read so far, such as: {next(reversed(known))}; others "
                    "of their batches stand in for them"
                )
            if n_asked >= N_JUDGED and n_refused > MAX_UNREADABLE * n_asked:
                raise InputError(
                    f"{name}: {n_refused:,} of {n_asked:,} pictures asked for could not be read, such as: "
                    f"{next(iter(known))}; others stand in for at most {MAX_UNREADABLE:.0%}. Mend the files or leave "
                    "them out of the data, and run it again."
                )
            yield batch


def _load_by_thread(
    maker: BatchMaker, jobs: Iterator[tuple[int, Int64[np.ndarray, " b"]]], *, pin_memory: bool
) -> Generator[Made, None, None]:
    def make() -> Made | None:
        job = next(jobs, None)
        if job is None:
            return None
        made = maker.make_batch(*job)
        return made._replace(batch=_pin(made.batch)) if pin_memory else made

    with ThreadPoolExecutor(1, thread_name_prefix="load") as pool:
        coming = pool.submit(make)
        while (made := coming.result()) is not None:
            coming = pool.submit(make)
            yield made


def _pin(batch: Batch) -> Batch:
    return batch._replace(**{name: part.pin_memory() for name, part in batch._asdict().items() if part is not None})


@dataclass(frozen=True, kw_only=True)
class _Steps:
    """The batches by step, as torch's workers ask for them; an error travels as a value and keeps its words."""

    maker: BatchMaker

    def __getitem__(self, job: tuple[int, Int64[np.ndarray, " b"]]) -> Made | InputError:
        try:
            return self.maker.make_batch(*job)
        except InputError as error:
            return error


def _load_by_workers(
    maker: BatchMaker, jobs: Iterator[tuple[int, Int64[np.ndarray, " b"]]], *, pin_memory: bool
) -> Generator[Made, None, None]:
    import torch
    from torch.utils.data import DataLoader

    steps: Any = _Steps(maker=maker)
    # spawn: forking a process in which torch, Lance or CUDA run threads may hang the child.
    loader: DataLoader[Any] = DataLoader(
        steps,
        sampler=jobs,
        batch_size=None,
        num_workers=maker.config.data.n_workers,
        collate_fn=_pass_on,
        multiprocessing_context="spawn",
        prefetch_factor=N_PREFETCHED,
        pin_memory=pin_memory,
        # Without one of its own it draws from torch's global generator, which dropout goes on with.
        generator=torch.Generator(),
    )
    for made in loader:
        if isinstance(made, InputError):
            raise made
        yield made


def _pass_on(batch: Any) -> Any:
    return batch
