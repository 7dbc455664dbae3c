"""Which positions of an index may answer a search: a few ranges where they lie together, else one by one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from indexer.index.lists import load_faiss
from indexer.index.scanning import pack_places

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Int64

MAX_SPANS = 32
"""Ranges beyond which positions are held one by one."""

Spans = Sequence[tuple[int, int]]
"""Ranges of positions: first, and one past the last."""


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Positions that may answer.

    Attributes:
        spans: disjoint ranges, ascending; None where the positions are held one by one.
        scattered: ascending positions; None where ranges are held.
        n_index: positions that the index has.
    """

    spans: tuple[tuple[int, int], ...] | None
    scattered: Int64[np.ndarray, " m"] | None
    n_index: int

    @cached_property
    def n(self) -> int:
        """How many positions may answer."""
        if self.spans is None:
            return len(self.positions)
        return sum(stop - start for start, stop in self.spans)

    @cached_property
    def positions(self) -> Int64[np.ndarray, " m"]:
        """The positions, ascending."""
        import numpy as np

        if self.scattered is not None:
            return self.scattered
        ranges = [np.arange(start, stop) for start, stop in self.spans or ()]
        return np.concatenate(ranges) if ranges else np.empty(0, np.int64)

    @cached_property
    def selector(self) -> tuple[Any, Any]:
        """FAISS's selector, and what it points into and Python must keep alive. The lists hold ascending positions."""
        faiss = load_faiss()

        if self.spans is not None and len(self.spans) == 1:
            return faiss.IDSelectorRange(*self.spans[0], True), None
        bitmap = pack_places(self.positions, self.n_index)
        return faiss.IDSelectorBitmap(bitmap), bitmap

    def without(self, positions: Int64[np.ndarray, " h"]) -> Selection:
        """The selection less some positions (ascending)."""
        import numpy as np

        if self.spans is None or len(self.spans) + len(positions) > MAX_SPANS:
            return select_positions(np.setdiff1d(self.positions, positions, assume_unique=True), self.n_index)
        spans = list(self.spans)
        for position in map(int, positions):
            spans = [part for span in spans for part in _cut(span, position)]
        return Selection(spans=tuple(spans), scattered=None, n_index=self.n_index)


def select_spans(spans: Spans, n_index: int) -> Selection:
    """The positions of any ranges, which may overlap."""
    merged = merge_spans(spans)
    selection = Selection(spans=merged, scattered=None, n_index=n_index)
    if len(merged) <= MAX_SPANS:
        return selection
    return Selection(spans=None, scattered=selection.positions, n_index=n_index)


def merge_spans(spans: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """The same positions as disjoint ranges, ascending."""
    merged: list[tuple[int, int]] = []
    for start, stop in sorted((int(start), int(stop)) for start, stop in spans):
        if start >= stop:
            continue
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(stop, merged[-1][1])
        else:
            merged.append((start, stop))
    return tuple(merged)


def select_positions(positions: Int64[np.ndarray, " m"], n_index: int) -> Selection:
    """The given positions, without repeats; as ranges where they lie together."""
    import numpy as np

    if len(positions) and positions.max() - positions.min() + 1 == len(positions):  # a clade, found without sorting
        span = int(positions.min()), int(positions.max()) + 1
        return Selection(spans=(span,), scattered=None, n_index=n_index)
    positions = np.sort(positions)
    starts = np.flatnonzero(np.diff(positions, prepend=-2) != 1)
    if len(starts) > MAX_SPANS:
        return Selection(spans=None, scattered=positions, n_index=n_index)
    stops = np.append(starts[1:], len(positions)) if len(positions) else starts
    spans = tuple((int(positions[a]), int(positions[b - 1]) + 1) for a, b in zip(starts, stops, strict=True))
    return Selection(spans=spans, scattered=None, n_index=n_index)


def _cut(span: tuple[int, int], position: int) -> list[tuple[int, int]]:
    start, stop = span
    if not start <= position < stop:
        return [span]
    return [part for part in ((start, position), (position + 1, stop)) if part[0] < part[1]]
