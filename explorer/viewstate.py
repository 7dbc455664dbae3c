"""The view: everything that decides what the app shows, as one value."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from explorer.captions import MISSING
from explorer.diversity import Diversity
from explorer.filters import ColumnCondition, Filter
from explorer.fusion import Fusion
from explorer.query import TEMPLATES, WEIGHTS, Part, Query, TextPart, VectorPart, share_weight
from explorer.request import Request
from explorer.tokens import image_fingerprint, image_name, unpack_image
from indexer.errors import QueryError

N_HITS = (12, 24, 48, 96, 192)
SIMILARITY = "*similarity"
"""The colour that stands for the score of the current query; no column can have this name in a link."""


class AskKind(StrEnum):
    """How a part of the query is meant; also its name in a link."""

    TEXT = "text"
    WITHOUT = "without"
    LIKE = "like"
    UNLIKE = "unlike"
    IMAGE = "image"


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One part of the query as a link holds it: a text, a record id, or an image's token."""

    kind: AskKind
    value: str

    @property
    def is_wanted(self) -> bool:
        """Whether the part pulls towards; otherwise it pushes away."""
        return self.kind not in (AskKind.WITHOUT, AskKind.UNLIKE)

    @property
    def label(self) -> str:
        """What the part says, without the kind."""
        return image_name(self.value) if self.kind is AskKind.IMAGE else self.value


@dataclass(frozen=True, kw_only=True)
class ValuesFilter:
    """A column held to some values; the empty text stands for "missing", no value at all for "any"."""

    column: str
    values: tuple[str, ...] = ()

    def describe(self) -> str:
        """The condition in words; empty where every record meets it."""
        return f"{self.column}: {' or '.join(value or MISSING for value in self.values)}" if self.values else ""


@dataclass(frozen=True, kw_only=True)
class RangeFilter:
    """A column of numbers held to a range, ends included.

    Attributes:
        low, high: in the column's unit; None is unbounded.
        with_missing: whether records without a number pass too.
    """

    column: str
    low: float | None = None
    high: float | None = None
    with_missing: bool = False

    def describe(self) -> str:
        """The condition in words."""
        low = "lowest" if self.low is None else f"{self.low:g}"
        high = "highest" if self.high is None else f"{self.high:g}"
        span = "any number" if self.low is None and self.high is None else f"{low} to {high}"
        return f"{self.column}: {span}" + (f" or {MISSING}" if self.with_missing else "")


ColumnFilter = ValuesFilter | RangeFilter


@dataclass(frozen=True, kw_only=True)
class View:
    """What the app shows.

    Attributes:
        asks: parts of the query, in the order in which they were added.
        template: name of the template of its texts.
        spaces: asked together; the map shows the first. None at all is the first one made.
        fusion: how several spaces become one answer.
        n_hits: cards of an answer, or of a page of records.
        all_images: whether images of one occurrence each take a card.
        per_species, diverse, no_duplicates: as `explorer.diversity.Diversity` explains.
        offset: first record of the page shown while nothing is asked, or of the selection.
        taxon: a name at any rank.
        filters: one per column.
        colour: column, or SIMILARITY, that colours the map; None leaves it to the app.
        selection: rows picked on the map.
        record: record_id of the record view; None while it is closed.
    """

    asks: tuple[Ask, ...] = ()
    template: str = "raw"
    spaces: tuple[str, ...] = ()
    fusion: Fusion = Fusion.RANK
    n_hits: int = N_HITS[1]
    all_images: bool = False
    per_species: int | None = None
    diverse: float = 0.0
    no_duplicates: bool = False
    offset: int = 0
    taxon: str | None = None
    filters: tuple[ColumnFilter, ...] = ()
    colour: str | None = None
    selection: tuple[int, ...] = ()
    record: str | None = None

    @property
    def has_wanted(self) -> bool:
        """Whether the query looks for something; without that nothing can be pushed away from."""
        return any(ask.is_wanted for ask in self.asks)

    @property
    def space(self) -> str | None:
        """The space that the map shows; None is the first one made."""
        return self.spaces[0] if self.spaces else None

    @property
    def diversity(self) -> Diversity:
        """How the answer is spread out."""
        return Diversity(per_species=self.per_species, diverse=self.diverse, no_duplicates=self.no_duplicates)

    def with_ask(self, kind: AskKind, value: str) -> View:
        """The view with one more part; a text replaces the text there is, an empty one removes it."""
        single = kind in (AskKind.TEXT, AskKind.WITHOUT)
        kept = tuple(
            ask
            for ask in self.asks
            if not (ask.kind is kind if single else ask.value == value and ask.kind is not AskKind.TEXT)
        )
        added = (Ask(kind=kind, value=value),) if value else ()
        return replace(self, asks=(*kept, *added), offset=0)

    def without_ask(self, ask: Ask) -> View:
        """The view with one part less; an image goes with what stands for it in other spaces."""
        gone = (ask.kind, ask.label)
        return replace(self, asks=tuple(other for other in self.asks if (other.kind, other.label) != gone), offset=0)

    @property
    def shown_asks(self) -> tuple[Ask, ...]:
        """The parts as a reader counts them: an image once, however many spaces it was prepared for."""
        return tuple({(ask.kind, ask.label): ask for ask in reversed(self.asks)}.values())[::-1]

    def value_of(self, kind: AskKind) -> str:
        """The text of that kind; empty where there is none."""
        return next((ask.value for ask in self.asks if ask.kind is kind), "")

    def with_filter(self, condition: ColumnFilter) -> View:
        """The view with a column's condition added, or put in the place of the one there is."""
        if any(other.column == condition.column for other in self.filters):
            changed = tuple(condition if other.column == condition.column else other for other in self.filters)
        else:
            changed = (*self.filters, condition)
        return replace(self, filters=changed, offset=0)

    def without_filter(self, column: str) -> View:
        """The view without a column's condition."""
        return replace(self, filters=tuple(other for other in self.filters if other.column != column), offset=0)


def build_query(view: View, *, fingerprint: str) -> Query | None:
    """The query of a view; None while nothing is asked. QueryError where a part cannot be asked in this space."""
    if not view.asks:
        return None
    if not view.has_wanted:
        raise QueryError(
            "query: it only says what to keep away from. Describe what to look for, or press 'More like this'."
        )
    liked, disliked = ([ask.value for ask in view.asks if ask.kind is kind] for kind in (AskKind.LIKE, AskKind.UNLIKE))
    parts: list[Part] = [_build_image(ask, fingerprint) for ask in _images_for(view, fingerprint)]
    parts += [_build_text(ask, view.template) for ask in view.asks if ask.kind in (AskKind.TEXT, AskKind.WITHOUT)]
    parts += [*share_weight(liked, WEIGHTS["like"]), *share_weight(disliked, -WEIGHTS["unlike"])]
    return Query(parts=tuple(parts))


def build_request(view: View) -> Request:
    """How the query of a view is to be answered."""
    return Request(
        k=view.n_hits, record_filter=build_filter(view), all_images=view.all_images, diversity=view.diversity
    )


def build_filter(view: View) -> Filter:
    """The filter of a view."""
    chosen = (one for one in view.filters if isinstance(one, RangeFilter) or one.values)
    return Filter(taxon=view.taxon, conditions=tuple(_build_condition(one) for one in chosen))


def _build_condition(condition: ValuesFilter | RangeFilter) -> ColumnCondition:
    if isinstance(condition, ValuesFilter):
        return ColumnCondition(column=condition.column, values=condition.values)
    return ColumnCondition(
        column=condition.column, low=condition.low, high=condition.high, or_missing=condition.with_missing
    )


def describe_query(view: View) -> str:
    """The query in words, as pages and downloads give it; empty while nothing is asked."""
    return "; ".join(f"{ask.kind} {ask.label}" for ask in view.shown_asks)


def describe_filter(view: View) -> str:
    """The filter in words; empty where every record passes."""
    parts = [f"taxon: {view.taxon}"] if view.taxon else []
    return "; ".join(parts + [text for text in (condition.describe() for condition in view.filters) if text])


def _images_for(view: View, fingerprint: str) -> list[Ask]:
    """The images as this space is asked them; one that was prepared for others alone stays, to be refused by name."""
    images = [ask for ask in view.asks if ask.kind is AskKind.IMAGE]
    prepared = {ask.label for ask in images if image_fingerprint(ask.value) == fingerprint}
    return [ask for ask in images if ask.label not in prepared or image_fingerprint(ask.value) == fingerprint]


def _build_image(ask: Ask, fingerprint: str) -> VectorPart:
    vector = unpack_image(ask.value, fingerprint=fingerprint)
    return VectorPart(vector=vector, name=ask.label, weight=WEIGHTS["image"])


def _build_text(ask: Ask, template: str) -> TextPart:
    weight = WEIGHTS["text"] if ask.is_wanted else -WEIGHTS["minus"]
    return TextPart(text=ask.value, weight=weight, template=TEMPLATES[template])
