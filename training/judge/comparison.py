"""Encoders side by side on the same pictures: one table, with paired differences to the first.

A difference is bootstrapped itself, under the same resampled occurrences for both encoders. That is sharper than two
intervals beside each other, which may overlap although every resample agrees on the better one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from training.judge.bootstrap import MIN_GROUPS, Estimate
from training.judge.evaluation import Evaluation
from training.judge.figures import Figure, Omission, Task, number_estimate

EXPLANATIONS = {
    Task.ZERO_SHOT: (
        "The encoder chooses among the names of the taxa (or values) in this collection; it is shown no picture of "
        "them; a name stands in “a photo of ….”. top-1: its first choice is right. top-5: one of its first five is. "
        "classes even: rare classes count as much as common ones, as in balanced accuracy."
    ),
    Task.HIERARCHY: (
        "Ranks off: how many ranks one has to climb from the right species until a taxon holds the encoder's answer "
        "too: 0 is the right species, 1 the right genus. Less is better."
    ),
    Task.FEW_SHOT: (
        "One or five pictures of each class are shown, the others are named by the nearest mean (SimpleShot). Averaged "
        "over five draws of examples, which the intervals resample too."
    ),
    Task.PROBE: (
        "A straight cut through the space, fitted on some occurrences and asked about others; on other species: asked "
        "about species it was not fitted on, and the interval is over resampled species. Classes count evenly."
    ),
    Task.PICTURE_SEARCH: (
        "Each picture searches for its taxon among the others, its own occurrence left out. mean average precision: 1 "
        "where all of its taxon come first. recall@k: how often one is among the first k. precision@k: their share "
        "among the first k."
    ),
    Task.TEXT_SEARCH: (
        "Each name or word searches among all pictures; the measures are those of the search by picture. precision@10 "
        "cannot reach 1 for a taxon of fewer than ten pictures. The intervals of recall@k and precision@k of names are "
        "over resampled names. One word is one question: by the luck of its direction even an untrained encoder may be "
        "far from chance with it."
    ),
    Task.PROTOCOL: (
        "After the published protocol; where it asks by name, in CLIP's 80 sentences as BioCLIP 2 does. Departures are "
        "named in the protocol's module."
    ),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Row:
    """One figure of every encoder, in the encoders' order, and the differences of the others to the first."""

    figures: tuple[Figure, ...]
    differences: tuple[Estimate, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Comparison:
    """Encoders on the same pictures; the first is what the others are held against.

    Attributes:
        on: name of the collection.
        encoders: their names.
        rows: figures that all of them have.
        omissions: what was not measured, or not on everything.
    """

    on: str
    encoders: tuple[str, ...]
    rows: tuple[Row, ...]
    omissions: tuple[Omission, ...]

    def headlines(self) -> tuple[Row, ...]:
        """The rows of the short table and the plot."""
        return tuple(row for row in self.rows if row.figures[0].is_headline)


def compare_encoders(evaluations: Sequence[Evaluation], *, on: str) -> Comparison:
    """The evaluations of one collection side by side; all must have the same settings. One alone is a plain table."""
    first = evaluations[0]
    by_key = [{figure.key: figure for figure in evaluation.figures} for evaluation in evaluations]
    labels = list(dict.fromkeys(figure.label for figure in first.figures))
    rows = []
    for figure in sorted(first.figures, key=lambda one: labels.index(one.label)):
        figures = tuple(known[figure.key] for known in by_key if figure.key in known)
        if len(figures) == len(evaluations):
            differences = tuple(other.estimate.minus(figure.estimate) for other in figures[1:])
            rows.append(Row(figures=figures, differences=differences))
    omissions = dict.fromkeys(omission for evaluation in evaluations for omission in evaluation.omissions)
    return Comparison(
        on=on,
        encoders=tuple(evaluation.encoder for evaluation in evaluations),
        rows=tuple(rows),
        omissions=tuple(omissions),
    )


def format_table(comparison: Comparison, rows: Iterable[Row] | None = None, *, explain: bool = True) -> str:
    """The rows (all by default) as Markdown: a section per task, then what was left out and why.

    `explain` says under each heading what was asked and how it was counted.
    """
    chosen = list(comparison.rows if rows is None else rows)
    parts = [f"# {', '.join(comparison.encoders)} on {comparison.on}\n", _explain_numbers(comparison)]
    for task in Task:
        own = [row for row in chosen if row.figures[0].task is task]
        if own:
            parts += [f"## {task}\n", *([f"{EXPLANATIONS[task]}\n"] if explain else []), _format_rows(comparison, own)]
    if comparison.omissions:
        parts += ["## Left out, and notes\n", "".join(f"- {one.what}: {one.why}.\n" for one in comparison.omissions)]
    return "\n".join(parts)


def _explain_numbers(comparison: Comparison) -> str:
    text = (
        f"In brackets the 95 % interval over resampled {_name_resampled(comparison)}; – where there are fewer than "
        f"{MIN_GROUPS}. chance: what random answers get; an interval that holds it shows nothing. Where classes are "
        "uneven one answer for all may get more, but not with classes even or in balanced accuracy. "
        f"n: pictures ({_name_groups(comparison)}, where they are fewer)."
    )
    if len(comparison.encoders) > 1:
        text += (
            f" Differences are to {comparison.encoders[0]}, bootstrapped in pairs; * marks an interval without 0. In a "
            f"table of {len(comparison.rows)} rows, about one in twenty gets a * by luck."
        )
    return f"{text}\n"


def _is_protocol(comparison: Comparison) -> bool:
    return any(row.figures[0].task is Task.PROTOCOL for row in comparison.rows)


def _name_groups(comparison: Comparison) -> str:
    return "what is resampled" if _is_protocol(comparison) else "occurrences"


def _name_resampled(comparison: Comparison) -> str:
    if _is_protocol(comparison):
        return "pictures, or the kinds, genera or questions that they are of"
    return "occurrences; over species for a probe on other species"


def _format_rows(comparison: Comparison, rows: Sequence[Row]) -> str:
    others = comparison.encoders[1:]
    heads = ["of", "measure", "by", *comparison.encoders, *(f"{name}, difference" for name in others)]
    table = [[*heads, "chance", "n", "classes"], *(_format_cells(row) for row in rows)]
    table = [[_escape(cell) for cell in line] for line in table]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in table
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]]) + "\n"


def _format_cells(row: Row) -> list[str]:
    first = row.figures[0]
    n = f"{first.n:,}" if first.n == first.n_occurrences else f"{first.n:,} ({first.n_occurrences:,})"
    return [
        first.label,
        first.measure,
        first.detail,
        *(_say_estimate(figure.estimate) for figure in row.figures),
        *(_say_difference(difference) for difference in row.differences),
        _say_number(first.chance),
        n,
        "" if first.n_classes is None else f"{first.n_classes:,}",
    ]


def _say_estimate(estimate: Estimate) -> str:
    return f"{_say_number(estimate.value)} [{_say_number(estimate.low)}, {_say_number(estimate.high)}]"


def _say_difference(estimate: Estimate) -> str:
    numbers = (f"{number:+.3f}" if isfinite(number) else "–" for number in (estimate.low, estimate.high))
    star = " *" if estimate.low > 0 or estimate.high < 0 else ""
    return f"{estimate.value:+.3f} [{', '.join(numbers)}]{star}"


def _say_number(number: float | None) -> str:
    return "–" if number is None or not isfinite(number) else f"{number:.3f}"


def _escape(cell: str) -> str:
    return cell.replace("|", "\\|").replace("\n", " ")


def list_figures(comparison: Comparison) -> dict[str, Any]:
    """Everything as JSON types: figures per encoder, differences, and what was left out."""
    names = comparison.encoders
    return {
        "on": comparison.on,
        "figures": {
            name: [row.figures[place].to_json() for row in comparison.rows] for place, name in enumerate(names)
        },
        "differences": {
            name: [
                {**_list_key(row.figures[0]), "to": names[0], **number_estimate(row.differences[place])}
                for row in comparison.rows
            ]
            for place, name in enumerate(names[1:])
        },
        "left_out": [{"what": omission.what, "why": omission.why} for omission in comparison.omissions],
    }


def _list_key(figure: Figure) -> dict[str, str]:
    return {
        "task": str(figure.task),
        "label": figure.label,
        "measure": figure.measure,
        "detail": figure.detail,
    }
