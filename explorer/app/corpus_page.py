"""The page Corpus: what the corpus holds, what it lacks, and how it was made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import streamlit as st

from explorer.app.downloading import offer_csv
from explorer.app.messages import show_note, show_small
from explorer.app.opened import OpenedCorpus, read_shown_column, read_summary
from explorer.app.record_view import show_open_record
from explorer.captions import MISSING
from explorer.downloads import rejections_csv
from explorer.summary import ColumnSummary, CorpusSummary, SpaceSummary

if TYPE_CHECKING:
    import pyarrow as pa

_COUNT_OF = "count-of"
MAX_COUNTED = 1_000


def show_corpus_page(opened: OpenedCorpus) -> None:
    """The page."""
    summary = read_summary(opened)
    _show_numbers(summary)
    with st.container(key="halves-corpus"):
        values_side, columns_side = st.columns(2, gap="large")
    with values_side:
        st.subheader("Values")
        _show_values(opened, summary)
    with columns_side:
        st.subheader("Columns")
        _show_columns(summary)
    st.subheader("Spaces")
    for space in summary.spaces:
        _show_space(space)
    st.subheader("Rejected images")
    _show_rejections(opened, summary)
    show_small(f"Made {summary.created[:19].replace('T', ' ')} UTC with {summary.created_with}; {opened.corpus.path}")
    show_open_record(opened)


def _show_numbers(summary: CorpusSummary) -> None:
    numbers = {
        "Records": summary.n_records,
        "With image": summary.n_images,
        "Occurrences": summary.n_occurrences,
        "Rejected": len(summary.rejections),
        **({"Removed": summary.n_removed} if summary.n_removed else {}),
    } | {rank.capitalize(): n for rank, n in summary.taxa.items()}
    with st.container(horizontal=True, gap="large", key="numbers"):
        for label, n in numbers.items():
            st.metric(label, f"{n:,}", width="content")


def _show_values(opened: OpenedCorpus, summary: CorpusSummary) -> None:
    columns = {column.name: column for column in summary.columns}
    if not columns:
        show_note("The records have no columns beside Morphospace's own. Index with --manifest to bring them in.")
        return
    first = next((name for name in ("species", "scientificName", "label") if name in columns), next(iter(columns)))
    name = st.selectbox("Count by", list(columns), index=list(columns).index(first), key=_COUNT_OF)
    table = _count_values(opened, columns[name])
    st.dataframe(
        table,
        hide_index=True,
        height=420,
        column_config={
            "records": st.column_config.ProgressColumn(
                "records", format="localized", min_value=0, max_value=max(table.column("records").to_pylist())
            )
        },
    )
    if columns[name].n_distinct > MAX_COUNTED:
        show_small(f"The {MAX_COUNTED:,} most frequent of {columns[name].n_distinct:,} values.")


def _count_values(opened: OpenedCorpus, column: ColumnSummary) -> pa.Table:
    """Value and records, most frequent first; numbers in up to 20 bins."""
    import pyarrow as pa

    if column.kind == "number" and column.n_distinct > 20:
        counts = _count_bins(opened, column)
    else:
        pairs = read_shown_column(opened, column.name).value_counts().to_pylist()
        found = {MISSING if pair["values"] is None else str(pair["values"]): pair["counts"] for pair in pairs}
        counts = dict(sorted(found.items(), key=lambda pair: (-pair[1], pair[0]))[:MAX_COUNTED])
    return pa.table({"value": pa.array(counts, pa.string()), "records": pa.array(counts.values(), pa.int64())})


def _count_bins(opened: OpenedCorpus, column: ColumnSummary) -> dict[str, int]:
    import numpy as np

    values = read_shown_column(opened, column.name).drop_null().cast("float64").to_numpy()
    counts, edges = np.histogram(values, bins=20)
    bins = {f"{low:.4g} to {high:.4g}": int(n) for n, low, high in zip(counts, edges[:-1], edges[1:], strict=True) if n}
    return bins | ({MISSING: column.n_missing} if column.n_missing else {})


def _show_columns(summary: CorpusSummary) -> None:
    import pyarrow as pa

    rows = [
        {
            "column": column.name,
            "kind": column.kind,
            "missing": 100 * column.n_missing / max(1, summary.n_records),
            "values": column.n_distinct,
            "range or most frequent": _say_values(column),
        }
        for column in summary.columns
    ]
    missing = st.column_config.ProgressColumn("missing", format="%.0f %%", min_value=0, max_value=100)
    show_small("Share of records without a value, and what stands in the others.")
    st.dataframe(pa.Table.from_pylist(rows), hide_index=True, height=486, column_config={"missing": missing})


def _say_values(column: ColumnSummary) -> str:
    if column.low is not None and column.high is not None:
        return f"{column.low:g} to {column.high:g}"
    return ", ".join(f"{value} ({n:,})" for value, n in list(column.counts.items())[:4])


def _show_space(summary: SpaceSummary) -> None:
    with st.container(border=True):
        with st.container(key=f"spacename-{summary.space.name}"):
            st.text(summary.space.name)
        facts = (
            _describe_encoder(summary) | _describe_index(summary) | _describe_map(summary) | _describe_naming(summary)
        )
        with st.container(key=f"facts-{summary.space.name}"):
            for place, (term, text) in enumerate(facts.items()):
                with st.container(key=f"term-{summary.space.name}-{place}"):
                    st.text(term)
                st.text(text)
        _show_reliability(summary)


def _show_reliability(summary: SpaceSummary) -> None:
    """The reliability curves, folded away, where an identification was asked for."""
    from explorer.charts import draw_reliability

    for found in summary.reliabilities:
        if found.ranks:
            with st.expander(f"How far names by {found.method} can be believed"):
                st.plotly_chart(draw_reliability(found.ranks), key=f"reliability-{summary.space.name}-{found.method}")
                show_small("On the diagonal, of what is said with 80 % confidence 80 % is right; below it fewer are.")


def _describe_encoder(summary: SpaceSummary) -> dict[str, str]:
    spec = summary.space.encoder
    held = {"vectors": f"{summary.n_vectors:,} of {summary.space.dimension} dimensions, float16, unit length"}
    if spec is None:
        return held | {
            "encoder": "not known: the vectors were imported without naming it, so that only records can be asked"
        }
    prepared = spec.preprocessing
    return held | {
        "encoder": spec.model + (f", revision {spec.revision}" if spec.revision else ""),
        "fingerprint": spec.fingerprint,
        "weights": f"SHA-256 {spec.weights_digest}",
        "preprocessing": f"{prepared.resize} to {prepared.size} × {prepared.size} px, {prepared.interpolation}",
        "precision": str(spec.precision),
    }


def _describe_index(summary: SpaceSummary) -> dict[str, str]:
    facts = summary.index
    if facts is None:
        return {"index": "not built yet"}
    found: dict[str, Any] = {"index": f"{facts.kind} over {facts.n:,} vectors, because {facts.reason}"}
    if facts.is_exact:
        found["recall"] = "1 by construction: every vector is compared"
    else:
        found["recall"] = f"{facts.describe_recall()}, asked for {facts.goal:g}; {facts.describe_settings()}"
    if facts.background.n_pairs:
        low, middle, high = (
            facts.background.scores[facts.background.levels.index(level)] for level in (0.01, 0.5, 0.99)
        )
        found["usual scores"] = (
            f"of random pairs: median {middle:.2f}, 98 % of them between {low:.2f} and {high:.2f} (cosine)"
        )
    return found


def _describe_naming(summary: SpaceSummary) -> dict[str, str]:
    return {f"naming by {found.method}": found.describe() for found in summary.reliabilities}


def _describe_map(summary: SpaceSummary) -> dict[str, str]:
    facts = summary.map_facts
    if facts is None:
        return {"map": "not made yet"}
    return {
        "map": (
            f"{facts['method']} of {facts['n']:,} vectors, n_neighbors {facts['n_neighbors_used']}, min_dist "
            f"{facts['min_dist']:g}, {facts['metric']}, seed {facts['seed']}, umap-learn {facts['umap_learn']}"
        ),
        "trustworthiness": (
            f"{facts['trustworthiness']:.3f} of 1, over {facts['trustworthiness_neighbors']} neighbours, measured on "
            f"{facts['trustworthiness_sample']:,} records"
        ),
    }


def _show_rejections(opened: OpenedCorpus, summary: CorpusSummary) -> None:
    import pyarrow as pa

    if not summary.rejections:
        show_small("None: every image that the source names was read.")
        return
    rows = [
        {"record_id": rejection.record_id, "reason": rejection.reason, "uri": rejection.uri}
        for rejection in summary.rejections
    ]
    st.dataframe(pa.Table.from_pylist(rows), hide_index=True, height=min(420, 38 + 35 * len(rows)))
    offer_csv("Download CSV", lambda: rejections_csv(summary.rejections), file_name="rejected.csv", key="rejected-csv")
