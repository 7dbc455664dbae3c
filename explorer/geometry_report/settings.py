"""What a report on geometry is asked for. Loads nothing heavy: the command line reads it."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

N_SHUFFLES = 199


class ReportFormat(StrEnum):
    """How a report is written."""

    HTML = "html"
    JSON = "json"
    MARKDOWN = "md"


@dataclass(frozen=True, kw_only=True)
class GeometrySettings:
    """What is measured.

    Attributes:
        space: Name; None for the first one made.
        columns: Of the records or of the trait table; empty for those that look like variants or ecology.
        traits: A table of traits of species, joined by name.
        tree: A phylogeny of species as Newick.
        where: SQL condition that the records meet.
        compare: Further spaces of the corpus, or paths of corpora (PATH or PATH:SPACE).
        seed: Fixes everything random.
        n_shuffles: Of each null.
    """

    space: str | None = None
    columns: tuple[str, ...] = ()
    traits: Path | None = None
    tree: Path | None = None
    where: str | None = None
    compare: tuple[str, ...] = ()
    seed: int = 0
    n_shuffles: int = N_SHUFFLES

    def list_arguments(self) -> list[str]:
        """The options of `morphospace geometry` that ask for the same."""
        pairs = [
            ("--space", self.space),
            *(("--by", column) for column in self.columns),
            ("--traits", self.traits),
            ("--tree", self.tree),
            ("--where", self.where),
            *(("--compare", name) for name in self.compare),
            ("--seed", self.seed or None),
            ("--shuffles", self.n_shuffles if self.n_shuffles != N_SHUFFLES else None),
        ]
        return [part for name, value in pairs if value is not None for part in (name, str(value))]

    def say_command(self, corpus: Path) -> str:
        """The command that makes the report again."""
        return shlex.join(["morphospace", "geometry", str(corpus), *self.list_arguments()])
