"""Suspects in words, the same in every report and in the app."""

from __future__ import annotations

from collections.abc import Sequence

from explorer.geometry.suspects import Suspect, SuspectKind

CHAPTER = "suspects"
N_LISTED = 10
"""Of each kind, in a report."""
N_BESIDE = 3
TITLES = {
    SuspectKind.LABEL: "Labels that neighbours deny",
    SuspectKind.STRANGER: "Images unlike anything in their taxon",
    SuspectKind.DUPLICATE: "Near-duplicates of different occurrences",
    SuspectKind.SPLIT: "Species in two clusters",
}
SCORES = {
    SuspectKind.LABEL: "odds",
    SuspectKind.STRANGER: "deviations",
    SuspectKind.DUPLICATE: "cosine",
    SuspectKind.SPLIT: "dip",
}
ROLES = {
    SuspectKind.LABEL: ("in doubt", "neighbour"),
    SuspectKind.STRANGER: ("in doubt", "nearest to it"),
    SuspectKind.DUPLICATE: ("nearly the same", "nearly the same"),
    SuspectKind.SPLIT: ("smaller cluster", "either cluster"),
}
"""What the record itself is, and what those beside it are."""


def pick_listed(suspects: Sequence[Suspect], kind: SuspectKind) -> tuple[Sequence[Suspect], str]:
    """The most suspect of a kind, and how many of how many they are, in words."""
    own = [one for one in suspects if one.kind is kind]
    shown = own[:N_LISTED]
    more = f"The {len(shown):,} most suspect of {len(own):,}." if len(own) > len(shown) else f"{len(own):,} in all."
    return shown, more


def say_head(one: Suspect) -> str:
    """What is in doubt, in a line."""
    match one.kind:
        case SuspectKind.LABEL:
            return f"{one.taxon}, or {one.suggestion}?"
        case SuspectKind.STRANGER:
            return f"Unlike other {one.taxon}"
        case SuspectKind.DUPLICATE:
            return f"{1 + one.subject.count(' = ')} records that show nearly the same"
        case SuspectKind.SPLIT:
            return f"{one.taxon} in two clusters"


def say_score(one: Suspect) -> str:
    """How suspect it is, in the measure of its kind."""
    match one.kind:
        case SuspectKind.LABEL:
            return f"odds {one.score:,.0f} to 1"
        case SuspectKind.STRANGER:
            return f"{one.score:.1f} robust standard deviations"
        case SuspectKind.DUPLICATE:
            return f"cosine {one.score:.4f}"
        case SuspectKind.SPLIT:
            return f"dip {one.score:.3f}"
