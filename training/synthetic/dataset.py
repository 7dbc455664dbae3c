"""The drawn pictures as a dataset: an unlimited supply of a tree of life whose truth is known."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from indexer.files import write_atomically
from indexer.terms import RANKS
from training.progress import Progress, keep_quiet
from training.synthetic.phylogeny import Species, grow_tree
from training.synthetic.pictures import PictureSet, Sitter, Stream, draw_set, list_sitters
from training.synthetic.states import State
from training.synthetic.words import COLUMNS, describe_individual
from training.tars import open_cache

if TYPE_CHECKING:
    import pyarrow as pa
    from jaxtyping import UInt8

    from training.settings import TrainingConfig

DRAWING = (
    *("drawing/*.py", "ecology.py", "individuals.py", "names.py", "phylogeny.py", "pictures.py", "scene.py"),
    *("states.py", "traits.py"),
)
"""Source files of this package that pictures and tree depend on."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SyntheticDataset:
    """Drawn pictures of the seen species, with their records; see `training.examples.Dataset`.

    Attributes:
        pictures: Pixels, number of the species and state of each.
    """

    name: str
    records: pa.Table
    pictures: PictureSet

    def __len__(self) -> int:
        """How many pictures there are."""
        return len(self.pictures.numbers)

    def read_image(self, position: int) -> UInt8[np.ndarray, "s s 3"]:
        """The pixels of one picture, at the encoder's own side."""
        pixels: UInt8[np.ndarray, "s s 3"] = self.pictures.pixels[position]
        return pixels


def draw_dataset(config: TrainingConfig, *, side: int, progress: Progress = keep_quiet) -> SyntheticDataset:
    """The training pictures of these settings, `side` x `side` pixels.

    Pictures depend on the seeds and on their place alone, so that fewer are the first of more. They are drawn once and
    kept in the folder of `data.cache`, under a name made of all that they depend on.

    Raises:
        InputError: The folder cannot be made.
    """
    tree = grow_tree(config.synthetic.tree_seed)
    seen = [species for species in tree if not species.held_out]
    sitters = list_sitters(seen, config.synthetic.n_images, seed=config.seed, stream=Stream.TRAINING)
    draw = functools.partial(draw_set, side=side, n_processes=_count_cores(), progress=progress)
    key = f"{config.synthetic.tree_seed}-{config.seed}-{side}-{hash_sources()[:16]}"
    kept = _KeptPictures(folder=open_cache(config.data.cache), key=key)
    pictures = kept.draw(sitters, functools.partial(draw, stage="drawing"))
    return SyntheticDataset(
        name=f"synthetic tree {config.synthetic.tree_seed}",
        records=list_records(pictures, tree, prefix=f"synthetic-{config.synthetic.tree_seed}-{config.seed}"),
        pictures=pictures,
    )


def list_records(pictures: PictureSet, tree: Sequence[Species], *, prefix: str) -> pa.Table:
    """One record per picture: ids, ranks, common name, and the columns of `training.synthetic.words`.

    Every picture is an occurrence of its own; its id, of the prefix and the place, is that of the record too.
    """
    import pyarrow as pa

    species = [tree[number] for number in pictures.numbers]
    ids = pa.array([f"{prefix}-{i:06d}" for i in range(len(species))], pa.string())
    cells = [_describe(one, state) for one, state in zip(species, pictures.states, strict=True)]
    text = {name: pa.array([cell[name] for cell in cells], pa.string()) for name in COLUMNS}
    ranks = {rank: pa.array([one.ranks[i] for one in species], pa.string()) for i, rank in enumerate(RANKS)}
    names = pa.array([one.vernacular for one in species], pa.string())
    return pa.table({"record_id": ids, "occurrence_id": ids, **ranks, "vernacularName": names, **text})


@functools.cache
def hash_sources() -> str:
    """SHA-256 of the source files that pictures and tree depend on, in hex: another drawing gives other pictures."""
    folder = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted(path for pattern in DRAWING for path in folder.glob(pattern)):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


@functools.lru_cache(maxsize=8192)
def _describe(species: Species, state: State) -> dict[str, str | None]:
    return describe_individual(species, state)


def _count_cores() -> int:
    """Cores for this process: those that it may use, shared with the processes that torchrun started beside it."""
    try:
        n_cores = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS has none
        n_cores = os.cpu_count() or 1
    return max(1, n_cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


@dataclass(frozen=True, kw_only=True)
class _KeptPictures:
    folder: Path
    key: str

    def draw(self, sitters: Sequence[Sitter], draw: functools.partial[PictureSet]) -> PictureSet:
        """The pictures of the sitters: those that are kept, and where they are too few all, drawn and kept."""
        from filelock import FileLock

        with FileLock(self.folder / f"pictures-{self.key}.lock"):
            if self._count() < len(sitters):
                self._write(draw(sitters))
        return self._read(sitters)

    @property
    def _pixels(self) -> Path:
        return self.folder / f"pictures-{self.key}.npy"

    @property
    def _states(self) -> Path:
        return self.folder / f"pictures-{self.key}.json"

    def _count(self) -> int:
        return len(np.load(self._pixels, mmap_mode="r")) if self._pixels.exists() else 0

    def _write(self, pictures: PictureSet) -> None:
        # The pixels last: they are what says that all is there. More pictures begin with the states of fewer.
        states = json.dumps([dataclasses.asdict(state) for state in pictures.states])
        write_atomically(self._states, lambda part: part.write_text(states, encoding="utf-8"))
        write_atomically(self._pixels, lambda part: _save_array(part, pictures.pixels))

    def _read(self, sitters: Sequence[Sitter]) -> PictureSet:
        states = json.loads(self._states.read_text(encoding="utf-8"))[: len(sitters)]
        return PictureSet(
            pixels=np.asarray(np.load(self._pixels, mmap_mode="r"))[: len(sitters)],
            numbers=np.array([sitter.species.number for sitter in sitters], dtype=np.int64),
            states=tuple(State(**state) for state in states),
        )


def _save_array(path: Path, array: UInt8[np.ndarray, "n s s 3"]) -> None:
    with path.open("wb") as file:
        np.save(file, array)
