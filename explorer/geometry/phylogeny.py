"""How far apart species are in a tree: a phylogeny given as Newick, or the ranks of their lineages."""

from __future__ import annotations

import io
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float64, Int64

from explorer.geometry.name_matching import Match, Suggestion, match_names
from indexer.errors import InputError
from indexer.terms import RANKS

if TYPE_CHECKING:
    from Bio.Phylo.Newick import Clade

N_SHOWN = 5
_QUOTED_OR_COMMENT = re.compile(r"'(?:[^']|'')*'|\[[^\]]*\]")
_SPACED_NAME = re.compile(r"[^\s,():;]+[ \t]+[^\s,():;]+")


@dataclass(frozen=True, kw_only=True, eq=False)
class Phylogeny:
    """A tree whose tips are species.

    Attributes:
        path: Where it was read.
        root: Its root, with lengths on all branches below.
        tips: Names of the tips, in the order of the file.
        has_lengths: Whether the file gives the lengths; else every branch counts 1.
    """

    path: Path
    root: Clade
    tips: tuple[str, ...]
    has_lengths: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class SpeciesDistances:
    """Distances between the species of a corpus.

    Attributes:
        distances: Between each pair; nan in the rows and columns of species that are not in the tree.
        source: What they are, as "taxonomic distance" or "distance in birds.nwk".
        matched: The species that were found in the tree; none for taxonomic distance, which knows all.
        unmatched: Those that were not.
        doubtful: Tips that may be meant; none of them was joined.
        reading: Sentences for a person.
    """

    distances: Float64[np.ndarray, "g g"]
    source: str
    reading: str
    matched: tuple[Match, ...] = ()
    unmatched: tuple[str, ...] = ()
    doubtful: tuple[Suggestion, ...] = ()

    @property
    def is_known(self) -> Bool[np.ndarray, " g"]:
        """Which species have distances."""
        known: Bool[np.ndarray, " g"] = np.isfinite(np.diagonal(self.distances))
        return known


def read_tree(path: Path) -> Phylogeny:
    """The one tree in a Newick file.

    Without any branch length every branch counts 1. The length above the root is ignored.

    Raises:
        InputError: The file is missing or no Newick, holds no tree or several, names a tip twice or not at all, or
            some branches have no length, or a negative one.
    """
    from Bio.Phylo import NewickIO

    try:
        text = path.read_text(encoding="utf-8-sig").strip()
        trees = list(NewickIO.parse(io.StringIO(text))) if text.startswith("(") else []  # type: ignore[no-untyped-call]
    except (OSError, UnicodeDecodeError, NewickIO.NewickError, ValueError) as error:
        raise InputError(f"{path}: not a readable Newick tree ({error}). Write it again as Newick.") from error
    if len(trees) != 1 or not text.endswith(";"):
        raise InputError(
            f"{path}: holds {len(trees) or 'no'} trees in Newick; one is needed, as '(Aus bus:1,Aus cus:1);'. "
            "Write a single tree as Newick, ended by a semicolon."
        )
    spaced = _SPACED_NAME.search(_QUOTED_OR_COMMENT.sub("", text))
    if spaced:  # the parser would keep the last word alone
        raise InputError(
            f"{path}: the name '{spaced[0]}' has a space; a name with spaces stands in single quotes. "
            "Quote it, or write an underscore."
        )
    root = trees[0].root
    tips = [clade.name for clade in _walk(root) if not clade.clades]
    _refuse_tips(path, tips)
    return Phylogeny(path=path, root=root, tips=tuple(tips), has_lengths=_settle_lengths(path, root))


def _refuse_tips(path: Path, tips: Sequence[str | None]) -> None:
    n_nameless = sum(not tip for tip in tips)
    repeated = sorted(tip for tip, n in Counter(tips).items() if tip and n > 1)
    if n_nameless or repeated:
        twice = f"several tips are named {', '.join(repeated[:N_SHOWN])}"
        what = f"{n_nameless} tips have no name" if n_nameless else twice
        raise InputError(f"{path}: {what}; every tip is one species. Name each tip once.")


def _settle_lengths(path: Path, root: Clade) -> bool:
    """Whether the tree has lengths; where it has none, every branch gets 1.

    Raises:
        InputError: Some branches have none, or one is negative.
    """
    below = [clade for clade in _walk(root) if clade is not root]
    missing = [clade for clade in below if clade.branch_length is None]
    n_negative = sum(clade.branch_length is not None and not 0 <= clade.branch_length < math.inf for clade in below)
    if n_negative or 0 < len(missing) < len(below):
        none = f"{len(missing)} branches have no length"
        what = f"{n_negative} branches have a negative length" if n_negative else none
        raise InputError(f"{path}: {what}, of {len(below)}; lengths are 0 or more, on all branches or on none.")
    for clade in missing:
        clade.branch_length = 1.0
    return not missing


def _walk(root: Clade) -> Iterator[Clade]:
    """Every clade, parents first; without recursion, for a ladder of 10,000 species is as deep as that."""
    waiting = [root]
    while waiting:
        clade = waiting.pop()
        yield clade
        waiting.extend(reversed(clade.clades))


def measure_tree(tree: Phylogeny, names: Sequence[str]) -> SpeciesDistances:
    """Patristic distances: the summed lengths of the branches between two tips.

    Names are matched to tips as those of a trait table are (`name_matching`); a tip that several names match, or a name
    that matches several tips, is left out.

    Args:
        tree: The tree.
        names: Of the species, in the order of the distances; "" for one without a name.
    """
    matching = match_names([name for name in names if name], tree.tips)
    uses = Counter(names)
    clear = {name: m for name, m in matching.matches.items() if len(m.found) == 1 and uses[name] == 1}
    wanted = Counter(match.found[0] for match in clear.values())
    tips = [clear[name].found[0] if name in clear and wanted[clear[name].found[0]] == 1 else None for name in names]
    used = {tip: place for place, tip in enumerate(tips) if tip is not None}
    distances = np.full((len(names), len(names)), np.nan)
    places = np.array(list(used.values()), dtype=np.int64)
    distances[np.ix_(places, places)] = _measure_tips(tree.root, list(used))
    matched = tuple(clear[names[place]] for place in sorted(used.values()))
    unmatched = tuple(name for name, tip in zip(names, tips, strict=True) if name and tip is None)
    return SpeciesDistances(
        distances=distances,
        source=f"distance in {tree.path.name}",
        matched=matched,
        unmatched=unmatched,
        doubtful=matching.doubtful,
        reading=_read_matches(tree, len(matched), unmatched, matching.doubtful),
    )


def _measure_tips(root: Clade, tips: Sequence[str]) -> Float64[np.ndarray, "t t"]:
    """Distances between the named tips: those below different children of a clade meet there."""
    order = {tip: place for place, tip in enumerate(tips)}
    distances = np.zeros((len(tips), len(tips)))
    depths = np.zeros(len(tips))
    clades = list(_walk(root))
    below: dict[int, list[int]] = {}
    for clade in reversed(clades):
        groups = [below.pop(id(child)) for child in clade.clades]
        for child, group in zip(clade.clades, groups, strict=True):
            depths[group] += child.branch_length
        gathered: list[int] = [order[clade.name]] if not clade.clades and clade.name in order else []
        for group in groups:
            if gathered and group:
                across = depths[gathered][:, None] + depths[group][None]
                distances[np.ix_(gathered, group)] = across
                distances[np.ix_(group, gathered)] = across.T
            gathered = gathered + group if len(gathered) < len(group) else [*gathered, *group]
        below[id(clade)] = gathered
    return distances


def _read_matches(tree: Phylogeny, n_matched: int, unmatched: Sequence[str], doubtful: Sequence[Suggestion]) -> str:
    parts = [f"{n_matched:,} of {n_matched + len(unmatched):,} species are tips of {tree.path.name}."]
    if not tree.has_lengths:
        parts.append("The tree gives no branch lengths: every branch counts 1.")
    if unmatched:
        more = f" and {len(unmatched) - N_SHOWN:,} more" if len(unmatched) > N_SHOWN else ""
        parts.append(f"Left out: {', '.join(unmatched[:N_SHOWN])}{more}.")
    if doubtful:
        shown = [f"{one.species} ({one.candidate}?)" for one in doubtful[:N_SHOWN]]
        parts.append(f"Resembling tips were not joined; judge them: {', '.join(shown)}.")
    return " ".join(parts)


def measure_taxonomy(lineages: Int64[np.ndarray, "g 7"]) -> SpeciesDistances:
    """Taxonomic distances: the number of ranks from species up to the lowest taxon that two species share.

    1 inside a genus, 2 inside a family, … 6 inside a kingdom, 7 without a common one (Clarke & Warwick 1999, steps of
    equal length). Where a hole hides that taxon, the mean of the lowest and the highest rank it may have: of one order
    in different genera, with one family unknown, 2.5.

    Args:
        lineages: Of each species, kingdom to species, as codes; -1 where a rank is not known. Every species differs.
    """
    n, n_ranks = lineages.shape
    shared = np.full((n, n), -1, dtype=np.int8)
    for rank in range(n_ranks - 1):
        known = lineages[:, rank] >= 0
        same = (lineages[:, rank][:, None] == lineages[:, rank][None]) & known[:, None]
        shared[same] = rank
    parted = np.full((n, n), n_ranks - 1, dtype=np.int8)
    for rank in range(n_ranks - 2, -1, -1):
        known = lineages[:, rank] >= 0
        differs = (lineages[:, rank][:, None] != lineages[:, rank][None]) & known[:, None] & known[None]
        differs &= shared < rank
        parted[differs] = rank
    distances = (n_ranks - 1) - (shared + (parted - 1.0)) / 2
    np.fill_diagonal(distances, 0.0)
    return SpeciesDistances(
        distances=distances,
        source="taxonomic distance",
        reading=f"Taxonomic distance counts the ranks up to the lowest common taxon ({RANKS[-2]} 1 … {RANKS[0]} 6).",
    )
