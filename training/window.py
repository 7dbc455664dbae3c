"""What the steps since the last line of metrics gave.

This module imports torch; import it inside functions.
"""

from __future__ import annotations

import math
import statistics
import time
from collections import deque
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist

from indexer.errors import InputError
from training.gathering import count_processes

if TYPE_CHECKING:
    from jaxtyping import Float

    from training.steps import Taken

N_RECENT = 50
"""Steps of which the mean loss is told while training."""


class Window:
    """Collects losses on the device and asks for their values only when a line is due, so that a GPU never waits.

    Every process must call `settle` and `tell` at the same steps: losses are means over all processes.
    """

    def __init__(self) -> None:
        self._taken: list[torch.Tensor] = []
        self._values: list[list[float]] = []
        self._recent: deque[float] = deque(maxlen=N_RECENT)
        self._n_samples, self._waited, self._started = 0, 0.0, time.perf_counter()

    def add(self, taken: Taken, *, n_samples: int, waited: float) -> None:
        """Notes a step with its pictures (of all processes) and the seconds that it waited for them."""
        self._taken.append(torch.stack(taken))
        self._n_samples += n_samples
        self._waited += waited

    def leave_out(self, seconds: float) -> None:
        """Time that was spent on something else than steps does not count in the rates."""
        self._started += seconds

    def settle(self, step: int) -> None:
        """Reads the values of the steps noted, the last of them being the `step`-th.

        Raises:
            InputError: A loss or a gradient is not finite.
        """
        if not self._taken:
            return
        values = _mean_over_processes(torch.stack(self._taken)).tolist()
        self._taken.clear()
        for i, (loss, _, norm) in enumerate(values):
            if not (math.isfinite(loss) and math.isfinite(norm)):
                raise InputError(
                    f"step {step - len(values) + i + 1}: the loss is {loss:g}, its gradient {norm:g} long; it should "
                    "be finite. Lower optimiser.learning_rate or raise optimiser.n_warmup_steps, in a new folder."
                )
        self._values += values
        self._recent.extend(loss for loss, _, _ in values)

    def tell(self, step: int) -> dict[str, float]:
        """The line of metrics after `step` steps; the next window begins. See `MetricsLog` for what it holds."""
        self.settle(step)
        seconds = time.perf_counter() - self._started
        columns = list(zip(*self._values, strict=True))
        line = {
            "loss": statistics.fmean(columns[0]),
            "replay_loss": statistics.fmean(columns[1]),
            "gradient_norm": columns[2][-1],
            "samples_per_second": self._n_samples / seconds,
            "data_share": self._waited / seconds,
        }
        self._values.clear()
        self._n_samples, self._waited, self._started = 0, 0.0, time.perf_counter()
        return {name: value for name, value in line.items() if not math.isnan(value)}

    @property
    def recent_loss(self) -> float:
        """Mean loss of the last fifty settled steps, in nats."""
        return statistics.fmean(self._recent)

    def capture(self) -> list[list[float]]:
        """The settled values that no line has told yet, for a checkpoint."""
        return [list(values) for values in self._values]

    def restore(self, values: list[list[float]]) -> None:
        """Goes on from what a checkpoint kept."""
        self._values = [list(one) for one in values]


def _mean_over_processes(values: Float[torch.Tensor, "k 3"]) -> Float[torch.Tensor, "k 3"]:
    n_processes = count_processes()
    if n_processes > 1:
        dist.all_reduce(values)
    return values / n_processes
