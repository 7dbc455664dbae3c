"""What a job says in the terminal: lines and a progress bar, on standard error."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from indexer.job import Listener


def announce(line: str) -> None:
    """Say one line."""
    print(line, file=sys.stderr, flush=True)  # noqa: T201


@contextmanager
def follow_job() -> Iterator[Listener]:
    """A listener that shows images/s, rejected images and the time left; plain lines where there is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from indexer.job import Listener

    console = Console(stderr=True, highlight=False, emoji=False)
    columns = (
        TextColumn("embedding"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]} images/s  {task.fields[rejected]} rejected"),
        TimeRemainingColumn(),
    )
    progress = Progress(*columns, console=console)
    task = progress.add_task("embed", total=None, rate="-", rejected=0)
    with ExitStack() as shown:

        def start(total: int) -> None:
            progress.reset(task, total=total, rate="-", rejected=0)
            shown.enter_context(progress)

        def advance(n_embedded: int, n_rejected: int) -> None:
            state = progress.tasks[task]
            progress.advance(task, n_embedded + n_rejected)
            rate = f"{state.speed:.1f}" if state.speed else "-"
            progress.update(task, rejected=state.fields["rejected"] + n_rejected, rate=rate)

        def say(line: str) -> None:
            console.print(line, markup=False, soft_wrap=True)

        try:
            yield Listener(announce=say, start=start, advance=advance)
        except KeyboardInterrupt:
            say("stopped; nothing is lost, and the same command goes on from here")
            raise
