"""How a long job of this package says where it stands."""

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is to do."""


LossReport = Callable[[int, float], None]
"""Called with the steps taken and the mean loss of the last fifty, in nats."""


def keep_quiet(_stage: str, _done: int, _total: int) -> None:
    """Reports nothing."""


def keep_loss(_n_steps: int, _loss: float) -> None:
    """Reports nothing."""
