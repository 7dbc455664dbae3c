"""The pictures of a source as the encoder's squares; where one cannot be read, another of its batch stands in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from indexer.errors import InputError
from training.views import View, frame_picture, show_picture

if TYPE_CHECKING:
    from jaxtyping import Int64, UInt8

    from indexer.preprocessing import Preprocessing
    from training.examples import Captioned, Dataset


class Shown(NamedTuple):
    """Pictures as a step shows them.

    Attributes:
        positions: Of the pictures that are shown: those asked for, but for the ones that others stand in for.
        pixels: Their squares.
        refusals: A reason, which names the picture, for each picture asked for that cannot be read.
    """

    positions: Int64[np.ndarray, " n"]
    pixels: UInt8[np.ndarray, "n s s 3"]
    refusals: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Squares:
    """Reads and frames pictures.

    Attributes:
        source: The pictures.
        preprocessing: How they become the encoder's square.
        n_kept_bytes: Memory for framed pictures that need not be decoded again: those that came first stay, which costs
            a random order nothing.
    """

    source: Dataset | Captioned
    preprocessing: Preprocessing
    n_kept_bytes: int
    _kept: dict[int, UInt8[np.ndarray, "s s 3"]] = field(default_factory=dict, repr=False)
    _refused: dict[int, str] = field(default_factory=dict, repr=False)

    def show(
        self, positions: Int64[np.ndarray, " b"], share: slice, views: Sequence[View], seed: Sequence[int]
    ) -> Shown:
        """A share of a batch's pictures, each in its view.

        A picture that cannot be read gives its place to another one of the whole batch, drawn by the seed and the place
        alone, so that the substitute is the same for every number of processes and workers.

        Raises:
            InputError: No picture of the batch can be read.
        """
        chosen, side = positions[share].copy(), self.preprocessing.size
        pixels = np.empty((len(chosen), side, side, 3), dtype=np.uint8)
        refusals = []
        for i, view in enumerate(views):
            square = self._frame(int(chosen[i]), view)
            if square is None:
                refusals.append(self._refused[int(chosen[i])])
                order = np.random.default_rng([*seed, share.start + i]).permutation(positions)
                chosen[i], square = self._find_readable(order, view)
            show_picture(square, view, pixels[i])
        return Shown(positions=chosen, pixels=pixels, refusals=tuple(refusals))

    def _find_readable(self, positions: Int64[np.ndarray, " b"], view: View) -> tuple[int, UInt8[np.ndarray, "s s 3"]]:
        for position in positions.tolist():
            square = self._frame(position, view)
            if square is not None:
                return position, square
        raise InputError(
            f"{self.source.name}: none of the {len(positions):,} pictures of a batch can be read, such as: "
            f"{self._refused[int(positions[0])]}"
        )

    def _frame(self, position: int, view: View) -> UInt8[np.ndarray, "s s 3"] | None:
        """The square of a picture; None where it cannot be read, now or before."""
        kept = self._kept.get(position) if view.box is None else None
        if kept is not None or position in self._refused:
            return kept
        try:
            pixels = self.source.read_image(position)
        except InputError as error:
            self._refused[position] = str(error)
            return None
        square = frame_picture(pixels, self.preprocessing, view)
        has_room = (len(self._kept) + 1) * square.nbytes <= self.n_kept_bytes
        if view.box is None and square is not pixels and has_room:
            self._kept[position] = np.ascontiguousarray(square)
        return square
