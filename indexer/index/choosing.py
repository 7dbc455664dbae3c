"""Which kind of index a space gets: exact while that answers at once, else inverted lists of short codes."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from math import sqrt
from pathlib import Path

from indexer.checkpoints import format_bytes
from indexer.errors import InputError
from indexer.index.facts import KIND_EXACT, KIND_RABITQ

EXACT_VALUES = 200_000 * 768
"""Values (vectors times dimensions) that one core compares with a query in about 50 ms."""

LEAST_DIMENSION = 64
"""Vectors of fewer dimensions cost as much as of this many: by then keeping the best is what takes the time."""

BITS = (1, 2, 4)
"""Bits per dimension of the codes, in the order in which they are tried until the recall asked for is met."""

LISTS_PER_ROOT = 3
"""Inverted lists per square root of n: 2,121 for 500,000 vectors, where 2,048 were measured."""

_ID_BYTES = 8
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}


@dataclass(frozen=True, kw_only=True)
class IndexChoice:
    """The kind of an index, and why.

    Attributes:
        kind: `exact`, `ivf-rabitq`, or `ivf-rabitq<bits>`.
        n_bits: bits per dimension of the codes; 0 for an exact index.
        n_lists: inverted lists; 0 for an exact index.
        bytes_in_memory: that a reader needs: codes, their ids and centroids; all vectors for an exact index.
        reason: for people.
    """

    kind: str
    n_bits: int
    n_lists: int
    bytes_in_memory: int
    reason: str


def choose_kind(
    n: int, dimension: int, *, memory: int | None = None, n_bits: int = BITS[0], exact_up_to: int | None = None
) -> IndexChoice:
    """The kind of index for n vectors of a dimension.

    Args:
        n: vectors.
        dimension: of the vectors.
        memory: bytes that a reader may hold; None is half of the memory that is free here now.
        n_bits: bits per dimension of the codes, where codes are needed.
        exact_up_to: vectors up to which the index is exact; None is as many as one core compares in 50 ms.

    Raises:
        InputError: not even the codes fit the memory.
    """
    limit = memory if memory is not None else free_memory() // 2
    exact_up_to = EXACT_VALUES // max(dimension, LEAST_DIMENSION) if exact_up_to is None else exact_up_to
    exact_bytes = 2 * n * dimension
    if n <= exact_up_to and exact_bytes <= limit:
        reason = f"{n:,} vectors <= {exact_up_to:,}"
        return IndexChoice(kind=KIND_EXACT, n_bits=0, n_lists=0, bytes_in_memory=exact_bytes, reason=reason)
    n_lists = max(1, min(round(LISTS_PER_ROOT * sqrt(n)), n // 8))
    needed = n * (code_bytes(dimension, n_bits) + _ID_BYTES) + 4 * n_lists * dimension
    allowed = "--memory allows" if memory is not None else "half of the free memory is"
    if needed > limit:
        raise InputError(
            f"--memory: an index of {n:,} vectors of {dimension} dimensions with {n_bits}-bit codes needs {needed:,} "
            f"bytes ({format_bytes(needed)}) in memory, {allowed} {format_bytes(limit)}. "
            "Allow more with --memory, or index on a machine that has more."
        )
    if n > exact_up_to:
        reason = f"{n:,} vectors > {exact_up_to:,}"
    else:
        reason = f"{format_bytes(exact_bytes)} of vectors, {allowed} {format_bytes(limit)}"
    if n_bits != BITS[0]:
        reason += f"; codes of {n_bits} bits because shorter ones missed the recall asked for"
    kind = KIND_RABITQ + (str(n_bits) if n_bits != 1 else "")
    return IndexChoice(kind=kind, n_bits=n_bits, n_lists=n_lists, bytes_in_memory=needed, reason=reason)


def code_bytes(dimension: int, n_bits: int) -> int:
    """Bytes of one RaBitQ code as FAISS 1.15 stores it: a sign per dimension, further bits, and their factors."""
    signs = (dimension + 7) // 8
    if n_bits == 1:
        return signs + 8
    return signs + 12 + (dimension * (n_bits - 1) + 7) // 8 + 8


def read_memory(text: str) -> int:
    """The bytes that `4GB`, `512 MiB` or `2e9` name; InputError for anything else."""
    match = re.fullmatch(r"\s*([0-9.]+(?:[eE][0-9]+)?)\s*([kmgtKMGT]i?)?[bB]?\s*", text)
    try:
        found = int(float(match.group(1)) * _UNITS[(match.group(2) or "").lower()]) if match else 0
    except ValueError:
        found = 0
    if found <= 0:
        raise InputError(f"--memory {text!r}: not a size; write a number with kB, MB, GB or TB, as in --memory 4GB.")
    return found


def free_memory() -> int:
    """Bytes of memory that this process could still have: what the machine has free, within its container's limit."""
    machine = _available_memory()
    limits = ((Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")),)
    left = [_read_number(most) - _read_number(used) for most, used in limits if _read_number(most) > 0]
    return max(0, min([machine, *left]))


def _available_memory() -> int:
    described = Path("/proc/meminfo")
    if described.exists():
        found = re.search(r"MemAvailable:\s+(\d+) kB", described.read_text(encoding="ascii"))
        if found:
            return int(found.group(1)) * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _read_number(path: Path) -> int:
    """The number in a file of the kernel; 0 where there is none ("max", or no such file)."""
    text = path.read_text(encoding="ascii").strip() if path.exists() else ""
    return int(text) if text.isdigit() else 0
