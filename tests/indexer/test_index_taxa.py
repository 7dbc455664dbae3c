from __future__ import annotations

import numpy as np
import pyarrow as pa

from indexer.index.taxa import find_taxa, order_rows

COLUMNS = pa.table(
    {
        #             0        1        2       3       4       5        6
        "kingdom": ["Animalia", "Plantae", "Animalia", None, "", "Animalia", "Animalia"],
        "genus": ["Turdus", "Oenanthe", "Parus", None, None, "Oenanthe", None],
        "species": ["Turdus merula", "Oenanthe crocata", "Parus major", None, None, "Oenanthe oenanthe", None],
        "vernacularName": ["blackbird", None, "great tit", None, None, "wheatear", "bird"],
    }
)


def spans(table: pa.Table, name: str) -> list[tuple[str, int, int]]:
    return [(line["rank"], line["start"], line["stop"]) for line in table.to_pylist() if line["name"] == name]


def test_rows_stand_in_the_order_of_their_names_and_the_nameless_last() -> None:
    assert order_rows(np.arange(7), COLUMNS).tolist() == [5, 2, 0, 6, 1, 3, 4]


def test_rows_without_columns_keep_their_order() -> None:
    assert order_rows(np.array([3, 1, 2]), None).tolist() == [1, 2, 3]
    assert order_rows(np.array([3, 1]), COLUMNS.select(["vernacularName"])).tolist() == [1, 3]


def test_a_taxon_stands_together_and_a_homonym_at_two_places() -> None:
    taxa = find_taxa(order_rows(np.arange(7), COLUMNS), COLUMNS)
    assert spans(taxa, "Animalia") == [("kingdom", 0, 4)]
    assert spans(taxa, "Oenanthe") == [("genus", 0, 1), ("genus", 4, 5)]
    assert spans(taxa, "great tit") == [("vernacularName", 1, 2)]
    assert spans(taxa, "") == []


def test_every_span_holds_exactly_the_records_of_its_name() -> None:
    rng = np.random.default_rng(0)
    genera = [f"G{i}" if i else None for i in rng.integers(0, 9, 500)]
    epithets = rng.integers(0, 5, 500)
    species = [genus and f"{genus} s{i}" for genus, i in zip(genera, epithets, strict=True)]
    columns = pa.table({"genus": genera, "species": species})
    rows = order_rows(np.arange(0, 500, 2), columns)
    taxa = find_taxa(rows, columns)
    assert taxa.num_rows == len({*genera[::2], *species[::2]} - {None})
    for line in taxa.to_pylist():
        expected = [row for row in range(0, 500, 2) if columns.column(line["rank"])[row].as_py() == line["name"]]
        assert sorted(rows[line["start"] : line["stop"]].tolist()) == expected


def test_taxa_are_sorted_by_name_without_regard_to_case() -> None:
    columns = pa.table({"genus": ["beta", "Alpha", "Gamma"]})
    assert find_taxa(np.arange(3), columns).column("name").to_pylist() == ["Alpha", "beta", "Gamma"]


def test_no_vector_gives_no_taxon() -> None:
    assert find_taxa(np.empty(0, np.int64), COLUMNS).num_rows == 0
