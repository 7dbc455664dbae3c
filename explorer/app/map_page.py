"""The page Map: a space laid out on a plane, to be coloured, searched over and picked from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import streamlit as st

from explorer.app.answers import answer, measure_similarity
from explorer.app.cards import Card, card_of_hit, show_gallery
from explorer.app.downloading import offer_csv, state_provenance
from explorer.app.messages import show_note, show_small, showing_problems
from explorer.app.opened import (
    OpenedCorpus,
    find_matching,
    open_map,
    read_column,
    read_records,
    read_summary,
    without_removed,
)
from explorer.app.paging import show_paging
from explorer.app.query_bar import show_chips
from explorer.app.record_view import show_open_record
from explorer.app.session import (
    current_view,
    drawn_selection,
    forget_widgets,
    generation,
    mark_drawn,
    set_widget,
    update_view,
)
from explorer.captions import name_record
from explorer.downloads import selection_csv
from explorer.geometry.axis_store import list_names, open_axis
from explorer.links import AXIS_COLOUR, fits_link
from explorer.search import SearchResult
from explorer.summary import ColumnSummary
from explorer.viewstate import SIMILARITY, View, build_filter, describe_query
from indexer.corpus import Space
from indexer.terms import DISPLAY_NAME

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float64

    from explorer.charts import Colouring, MapDrawing
    from indexer.maps import SpaceMap

POLL_SECONDS = 3
PLAIN, _COLOUR = "*plain", "colour"
_FIRST_COLOURS = ("class", "order", "family", "lifeStage", "genus", "species")
_CAVEAT = (
    "Near points on a UMAP are similar records; distances between groups, their sizes and their order mean little. "
    "Check what you see here with a search."
)
_CHART_CONFIG = {
    "displaylogo": False,
    "scrollZoom": True,
    "modeBarButtonsToRemove": ["toImage", "autoScale2d", "zoomIn2d", "zoomOut2d"],
}


def show_map_page(opened: OpenedCorpus, spaces: Sequence[Space]) -> None:
    """The page, with the map of the first space and the hits of all; says so while the map is still being made."""
    space = spaces[0]
    stored = open_map(opened, space)
    if stored is None:
        _wait_for_map(space)
    else:
        with showing_problems():
            if current_view().asks:
                with st.container(horizontal=True, vertical_alignment="center", key="asks"):
                    show_chips(opened)
            result = _find_hits(opened, spaces)
            _show_map(opened, space, stored, [hit.row for hit in result.hits] if result else [])
            _show_selection(opened, space)
            if result and result.hits and not current_view().selection:
                _show_hits(opened, result)
    show_open_record(opened)


@st.fragment(run_every=POLL_SECONDS)
def _wait_for_map(space: Space) -> None:
    if space.map_path().exists():
        st.rerun()
    show_note(
        f"The map of space {space.name} is not there yet. If a job is making it, it appears here by itself; it takes a "
        "minute or more. Otherwise make it with: morphospace map CORPUS"
    )


def _find_hits(opened: OpenedCorpus, spaces: Sequence[Space]) -> SearchResult | None:
    with showing_problems():
        return answer(opened, spaces, current_view())
    return None


def _show_map(opened: OpenedCorpus, space: Space, stored: SpaceMap, ringed: Sequence[int]) -> None:
    view, colour = current_view(), _choose_colour(opened, space)
    query = (view.asks, view.template) if colour == SIMILARITY else _axis_stamp(space, colour)
    figure_key = (opened.key, space.name, stored.digest, colour, query, build_filter(view), tuple(ringed))
    selected = drawn_selection(figure_key)
    key = f"map-{generation()}"
    st.plotly_chart(
        _draw(figure_key, selected, lambda: _prepare_drawing(opened, space, stored, colour, ringed, selected)),
        theme=None,
        key=key,
        on_select=lambda: _take_selection(key),
        selection_mode=("points", "box", "lasso"),
        config=_CHART_CONFIG,
    )
    show_small(_describe_map(stored.facts))


@st.cache_resource(max_entries=6, show_spinner=False)
def _draw(key: tuple[Any, ...], selected: tuple[int, ...], _prepare: Callable[[], MapDrawing]) -> Any:
    """The figure, kept: at 100,000 points it takes a second to make."""
    from explorer.charts import draw_map

    return draw_map(_prepare())


def _choose_colour(opened: OpenedCorpus, space: Space) -> str:
    """The column, axis, SIMILARITY or PLAIN that colours the map."""
    summary = read_summary(opened)
    usable = {column.name: column for column in summary.columns if _can_colour(column)}
    axes = {f"{AXIS_COLOUR}{name}": f"axis {name}" for name in list_names(space)}
    options = [PLAIN, *([SIMILARITY] if current_view().asks else []), *axes, *usable]
    chosen = current_view().colour
    if chosen not in options:
        if chosen and chosen.startswith(AXIS_COLOUR):
            show_note(f"Space {space.name} has no axis {chosen.removeprefix(AXIS_COLOUR)} to colour by.")
        chosen = _first_colour(usable)
    words = {PLAIN: "one colour", SIMILARITY: "similarity to the query", **axes}
    with st.container(horizontal=True, vertical_alignment="bottom", key="mapbar"):
        st.selectbox(
            "Colour by",
            options,
            key=set_widget(_COLOUR, chosen),
            format_func=lambda name: words.get(name, name),
            on_change=lambda: update_view(colour=st.session_state[_COLOUR]),
            width=280,
        )
        show_small(
            "Draw around points to see their records below. Double-click empties the selection; the wheel zooms."
        )
    return str(chosen)


def _first_colour(usable: Mapping[str, ColumnSummary]) -> str:
    """A column with as many values as the eye tells apart, the usual ones first."""
    from explorer.charts import MAX_CATEGORIES

    few = [name for name, column in usable.items() if column.counts and 2 <= column.n_distinct <= MAX_CATEGORIES]
    return next((name for name in (*_FIRST_COLOURS, *few) if name in few), PLAIN)


def _can_colour(column: ColumnSummary) -> bool:
    return column.n_distinct > 1 or column.n_missing > 0


def _prepare_drawing(
    opened: OpenedCorpus,
    space: Space,
    stored: SpaceMap,
    colour: str,
    ringed: Sequence[int],
    selected: Sequence[int],
) -> MapDrawing:
    import numpy as np

    from explorer.charts import MapDrawing

    matching = find_matching(opened, build_filter(current_view()))
    is_shown = np.ones(len(stored.rows), bool) if matching is None else np.isin(stored.rows, matching)
    return MapDrawing(
        rows=stored.rows,
        positions=stored.positions,
        names=_read_names(opened, stored),
        is_shown=is_shown,
        colouring=_read_colouring(opened, space, stored, colour),
        ringed=ringed,
        selected=selected,
    )


def _read_names(opened: OpenedCorpus, stored: SpaceMap) -> list[str]:
    columns = [name for name in (DISPLAY_NAME, "scientificName", "record_id") if name in opened.corpus.column_types()]
    values = {name: read_column(opened, name).take(stored.rows).to_pylist() for name in columns}
    return [name_record(dict(zip(columns, row, strict=True))) for row in zip(*values.values(), strict=True)]


def _read_colouring(opened: OpenedCorpus, space: Space, stored: SpaceMap, colour: str) -> Colouring:
    from explorer.charts import Colouring

    if colour == PLAIN:
        return Colouring()
    if colour == SIMILARITY:
        return Colouring(title="score", numbers=_read_scores(opened, space, stored))
    if colour.startswith(AXIS_COLOUR):
        name = colour.removeprefix(AXIS_COLOUR)
        return Colouring(title=name, numbers=_read_positions(space, stored, name))
    summary = next(column for column in read_summary(opened).columns if column.name == colour)
    values = read_column(opened, colour).take(stored.rows)
    if summary.kind == "number":
        return Colouring(title=colour, numbers=values.cast("float64").to_numpy())
    return Colouring(title=colour, labels=[None if value is None else str(value) for value in values.to_pylist()])


def _read_scores(opened: OpenedCorpus, space: Space, stored: SpaceMap) -> Float64[np.ndarray, " n"]:
    """The score of each point with the query; nan where a record is not indexed."""
    import numpy as np

    scores = np.full(len(stored.rows), np.nan)
    measured = measure_similarity(opened, space, current_view())
    if measured is not None:
        _, here, there = np.intersect1d(stored.rows, measured.rows, assume_unique=True, return_indices=True)
        scores[here] = measured.scores[there]
    return scores


def _axis_stamp(space: Space, colour: str) -> tuple[str, ...]:
    """What changes when the axis that colours the map is made anew; empty where none does."""
    return (open_axis(space, colour.removeprefix(AXIS_COLOUR)).digest,) if colour.startswith(AXIS_COLOUR) else ()


def _read_positions(space: Space, stored: SpaceMap, name: str) -> Float64[np.ndarray, " n"]:
    """The position of each point along an axis, in standard deviations of the records."""
    from explorer.axis_making import place_rows

    axis = open_axis(space, name)
    positions: Float64[np.ndarray, " n"] = place_rows(space, stored.rows, axis.read_direction()[:, None])[:, 0]
    return (positions - axis.origin) / axis.spread


def _take_selection(key: str) -> None:
    """The rows of the points that were picked; what the filter hides and the rings carry no row."""
    points = st.session_state[key].selection.points
    rows = {int(point["customdata"]) for point in points if point.get("customdata") is not None}
    update_view(selection=tuple(sorted(row for row in rows if row >= 0)))


def _clear_selection() -> None:
    update_view(selection=())
    forget_widgets()
    mark_drawn()


def _show_selection(opened: OpenedCorpus, space: Space) -> None:
    view = current_view()
    rows = without_removed(opened, view.selection)
    if not rows:
        return
    with st.container(horizontal=True, vertical_alignment="center", key="selected"):
        page = show_paging(len(rows), what="selected")
        provenance = state_provenance(opened, [space], view)
        offer_csv(
            "Download CSV",
            lambda: selection_csv(
                read_records(opened, rows), provenance, scores=_score_selection(opened, space, view, rows)
            ),
            file_name="selection.csv",
            key="selection-csv",
        )
        st.button("Clear selection", on_click=_clear_selection)
    if not fits_link(view.selection):
        show_note(
            f"{len(rows):,} records are too many for a link: the address of this page opens the same map without the "
            "selection. Download the CSV to keep it."
        )
    show_gallery(opened, [Card(record=record) for record in read_records(opened, rows[page])], name="selected")


def _score_selection(
    opened: OpenedCorpus, space: Space, view: View, rows: Sequence[int]
) -> Mapping[int, tuple[float, float]]:
    measured = measure_similarity(opened, space, view)
    if measured is None:
        return {}
    scores = measured.by_row()
    return {row: scores[row] for row in rows if row in scores}


def _show_hits(opened: OpenedCorpus, result: SearchResult) -> None:
    with_pairs = result.query.compares_with_pairs
    st.text(f"{len(result.hits):,} hits, ringed on the map · {describe_query(current_view())}")
    show_gallery(opened, [card_of_hit(hit, with_pairs=with_pairs) for hit in result.hits], name="hits")


def _describe_map(facts: Mapping[str, Any]) -> str:
    return (
        f"UMAP of {facts['n']:,} records (umap-learn {facts['umap_learn']}, n_neighbors {facts['n_neighbors_used']}, "
        f"min_dist {facts['min_dist']:g}, {facts['metric']}, seed {facts['seed']}); trustworthiness "
        f"{facts['trustworthiness']:.3f} of 1, over {facts['trustworthiness_neighbors']} neighbours. {_CAVEAT}"
    )
