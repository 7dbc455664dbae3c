"""How a long job of this package says where it stands."""

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is to do."""


def keep_quiet(_stage: str, _done: int, _total: int) -> None:
    """Reports nothing."""
