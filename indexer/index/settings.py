"""What the index of a space is asked for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class BuildSettings:
    """What the index of a space is asked for.

    Attributes:
        goal: recall@10 that searches are tuned to, in (0, 1]; None keeps that of the former index, else 0.98.
        memory: bytes that a reader may hold; None is half of the memory that is free when the index is built.
        device: auto, cpu, cuda or mps; where k-means runs.
        seed: of every sample.
        calibrate: whether a calibration of the similarity is tried.
        exact_up_to: vectors up to which the index is exact; None is as many as one core compares in 50 ms.
    """

    goal: float | None = None
    memory: int | None = None
    device: str = "auto"
    seed: int = 0
    calibrate: bool = True
    exact_up_to: int | None = None
