"""Figures of an evaluation: a value with its interval, its chance level, and what it was measured on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import isfinite
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from training.judge.bootstrap import Estimate


class Task(StrEnum):
    """What an encoder was asked to do, as tables head it."""

    ZERO_SHOT = "Naming without examples"
    HIERARCHY = "How far off its names are"
    FEW_SHOT = "Naming after a few examples"
    PROBE = "Linear probe"
    PICTURE_SEARCH = "Search by picture"
    TEXT_SEARCH = "Search by name or word"
    PROTOCOL = "Protocol"


@dataclass(frozen=True, kw_only=True)
class Ask:
    """What a figure tells.

    Attributes:
        task: what was asked.
        label: what it was asked about: a rank, a column, or a data set.
        measure: how it was counted, as "top-1".
        detail: in which form, as "scientific name"; "" where there is only one.
        chance: what guessing gets; None where that is not defined.
        n_classes: classes to choose among, or texts asked; None where there are none.
        is_headline: whether the short table and the plot show it.
        is_share: in [0, 1], more is better; else a distance in ranks, less is better.
    """

    task: Task
    label: str
    measure: str
    detail: str = ""
    chance: float | None = None
    n_classes: int | None = None
    is_headline: bool = False
    is_share: bool = True


@dataclass(frozen=True, kw_only=True, eq=False)
class Figure(Ask):
    """One figure.

    Attributes:
        estimate: value and interval.
        n: pictures that count.
        n_occurrences: occurrences that they are of.
    """

    estimate: Estimate
    n: int
    n_occurrences: int

    @classmethod
    def of(cls, ask: Ask, estimate: Estimate, *, n: int, n_occurrences: int) -> Figure:
        """The answer to what was asked."""
        return cls(**vars(ask), estimate=estimate, n=n, n_occurrences=n_occurrences)

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What makes it the same figure for another encoder."""
        return (self.task, self.label, self.measure, self.detail)

    def to_json(self) -> dict[str, Any]:
        """The figure as JSON types; null stands for what cannot be computed."""
        return {
            "task": str(self.task),
            "label": self.label,
            "measure": self.measure,
            "detail": self.detail,
            **number_estimate(self.estimate),
            "chance": _number(self.chance),
            "n": self.n,
            "n_occurrences": self.n_occurrences,
            "n_classes": self.n_classes,
            "more_is_better": self.is_share,
        }


@dataclass(frozen=True, kw_only=True)
class Omission:
    """Something that was not measured, or not on everything, and why."""

    what: str
    why: str


def number_estimate(estimate: Estimate) -> Mapping[str, float | None]:
    """Value and ends of the interval, to four digits after the point."""
    return {"value": _number(estimate.value), "low": _number(estimate.low), "high": _number(estimate.high)}


def _number(value: float | None) -> float | None:
    return None if value is None or not isfinite(value) else round(value, 4)
