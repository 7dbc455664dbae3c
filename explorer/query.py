"""Questions: a weighted sum of texts, images, records and vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

from indexer.errors import QueryError
from indexer.index.facts import Modality

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float32

RAW_TEMPLATE = "{}"
# "photo" is the sentence that BioCLIP's captions were trained in (imageomics/bioclip, make_wds_reproduce.py).
TEMPLATES = {"raw": RAW_TEMPLATE, "photo": "a photo of {}."}
WEIGHTS = {"text": 1.0, "image": 1.0, "like": 0.75, "unlike": 0.25, "minus": 0.5}
"""Weight of each kind of part. Those of `like` and `unlike` are shared by all records of that kind.

The query that comes of relevant and irrelevant records is Rocchio's (1971, in Salton, The SMART Retrieval System):
the question, plus the mean of the relevant, less the mean of the irrelevant. 1, 0.75 and 0.25 are the weights that
Salton & Buckley (1990, JASIS 41, 288) found to do best.
"""


@dataclass(frozen=True, kw_only=True)
class TextPart:
    """A description; `template` holds it at `{}`."""

    text: str
    weight: float = 1.0
    template: str = RAW_TEMPLATE

    def sentence(self) -> str:
        """The text that is encoded."""
        return self.template.replace("{}", self.text)

    def describe(self) -> str:
        """The part in words."""
        return f"text {self.text!r}"


@dataclass(frozen=True, kw_only=True)
class ImagePart:
    """An image file."""

    path: Path
    weight: float = 1.0

    def describe(self) -> str:
        """The part in words."""
        return f"image {self.path.name}"


@dataclass(frozen=True, kw_only=True)
class RecordPart:
    """A record of the corpus."""

    record_id: str
    weight: float = 1.0

    def describe(self) -> str:
        """The part in words."""
        return f"record {self.record_id}"


@dataclass(frozen=True, kw_only=True)
class VectorPart:
    """A vector of the space, as `encode_image_bytes` gives it; `name` says what it stands for."""

    vector: Float32[np.ndarray, " d"]
    name: str
    weight: float = 1.0

    def describe(self) -> str:
        """The part in words."""
        return f"image {self.name}"


@dataclass(frozen=True, kw_only=True)
class AxisPart:
    """An axis of the space by its name: alone, its upper end, or with a negative weight its lower one; beside other
    parts, a step along it, as long as the weight says.
    """

    name: str
    weight: float = 1.0

    def describe(self) -> str:
        """The part in words."""
        return f"axis {self.name}"


Part = TextPart | ImagePart | RecordPart | VectorPart | AxisPart


@dataclass(frozen=True, kw_only=True)
class Query:
    """What is looked for: the direction of the weighted sum of the parts' unit vectors.

    Parts of negative weight push away ("less like this"); QueryError where no part has a positive weight and none is an
    axis, both ends of which can be looked for.
    """

    parts: tuple[Part, ...]

    def __post_init__(self) -> None:
        if not any(part.weight > 0 or isinstance(part, AxisPart) for part in self.parts):
            raise QueryError("query: nothing to look for; give a text, --image FILE, --like RECORD_ID or --axis NAME.")

    @property
    def compares_with_pairs(self) -> bool:
        """Whether its scores are on the scale of random pairs of records: it is one image, record or vector.

        Texts score lower than images do, and a sum of parts lies nearer to everything, or farther from it, than a
        record does.
        """
        return len(self.parts) == 1 and not isinstance(self.parts[0], TextPart | AxisPart)

    @property
    def modality(self) -> Modality:
        """What it is searched as: a text where it holds a text or an axis, because these lie apart from the images."""
        lies_apart = any(isinstance(part, TextPart | AxisPart) for part in self.parts)
        return Modality.TEXT if lies_apart else Modality.IMAGE

    @property
    def needs_encoder(self) -> bool:
        """Whether a model must be loaded to ask it."""
        return any(isinstance(part, TextPart | ImagePart) for part in self.parts)

    def describe(self) -> str:
        """The query in one line, as exports and pages give it."""
        return " ".join(f"{part.weight:+g} {part.describe()}" for part in self.parts)


def resolve_template(name: str) -> str:
    """The template of that name, or `name` itself where it holds `{}`; QueryError otherwise."""
    if name in TEMPLATES:
        return TEMPLATES[name]
    if "{}" in name:
        return name
    raise QueryError(
        f"--template {name!r}: not known; use {', '.join(TEMPLATES)} or a sentence with {{}} where the text goes."
    )


def build_query(
    *,
    text: str | None = None,
    images: Sequence[Path] = (),
    like: Sequence[str] = (),
    unlike: Sequence[str] = (),
    minus: Sequence[str] = (),
    axes: Sequence[str] = (),
    weights: Sequence[str] = (),
    template: str = "raw",
) -> Query:
    """The query of a command line; QueryError where nothing is asked or a weight cannot be read.

    Args:
        text: a description.
        images: files.
        like: ids of relevant records.
        unlike: ids of irrelevant records, to push away from.
        minus: descriptions to push away from.
        axes: `NAME` or `NAME:WEIGHT` of axes of the space; the weight may be negative.
        weights: `KIND=NUMBER` for the kinds of `WEIGHTS`; unlike and minus are subtracted.
        template: name of a template, or a sentence with `{}`.
    """
    weight = WEIGHTS | dict(_read_weight(pair) for pair in weights)
    sentence = resolve_template(template)
    parts: list[Part] = []
    if text:
        parts.append(TextPart(text=text, weight=weight["text"], template=sentence))
    parts += [ImagePart(path=path, weight=weight["image"]) for path in images]
    parts += share_weight(like, weight["like"])
    parts += share_weight(unlike, -weight["unlike"])
    parts += [TextPart(text=away, weight=-weight["minus"], template=sentence) for away in minus]
    parts += [_read_axis(axis) for axis in axes]
    return Query(parts=tuple(parts))


def share_weight(record_ids: Sequence[str], weight: float) -> list[RecordPart]:
    """The mean of records, at a weight: each has its share of it."""
    return [RecordPart(record_id=record_id, weight=weight / len(record_ids)) for record_id in record_ids]


def _read_axis(given: str) -> AxisPart:
    name, separator, number = given.partition(":")
    try:
        weight = float(number) if separator else 1.0
    except ValueError:
        weight = 0.0
    if not name or not isfinite(weight) or weight == 0:
        raise QueryError(
            f"--axis {given!r}: not of the form NAME or NAME:WEIGHT; a weight is a number other than 0, below 0 for "
            "the other end. Write e.g. --axis beak:-0.5"
        )
    return AxisPart(name=name, weight=weight)


def _read_weight(pair: str) -> tuple[str, float]:
    kind, _, number = pair.partition("=")
    try:
        value = float(number)
    except ValueError:
        value = -1.0
    if kind not in WEIGHTS or not 0 <= value < float("inf"):
        raise QueryError(
            f"--weight {pair!r}: not of the form KIND=NUMBER; kinds are {', '.join(WEIGHTS)}, numbers are 0 or more. "
            "Write e.g. --weight image=0.5"
        )
    return kind, value
