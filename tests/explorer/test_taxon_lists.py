"""Lists of taxa as people have them."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from explorer.taxon_lists import read_taxon_list
from indexer.errors import QueryError

KNOWN = pa.table(
    {
        "kingdom": ["Animalia", "Plantae", "Animalia"],
        "family": ["Muscicapidae", "Apiaceae", "Paridae"],
        "genus": ["Oenanthe", "Oenanthe", "Parus"],
        "species": ["Oenanthe isabellina", "Oenanthe crocata", "Parus major"],
    }
)


def read(path: Path, text: str) -> list[dict[str, str]]:
    path.write_text(text, encoding="utf-8")
    lines = read_taxon_list(path, KNOWN).to_pylist()
    return [{name: value for name, value in line.items() if value} for line in lines]


def test_a_name_alone_is_every_taxon_called_so(tmp_path: Path) -> None:
    lines = read(tmp_path / "l.txt", "oenanthe  # both\n\nParus major\n")
    assert lines[:2] == [
        {"kingdom": "Animalia", "family": "Muscicapidae", "genus": "Oenanthe"},
        {"kingdom": "Plantae", "family": "Apiaceae", "genus": "Oenanthe"},
    ]
    assert lines[2]["species"] == "Parus major"


def test_a_species_without_records_is_a_species_all_the_same(tmp_path: Path) -> None:
    assert read(tmp_path / "l.txt", "Aus bus") == [{"genus": "Aus", "species": "Aus bus"}]


def test_a_table_gives_lineages_and_scientific_names(tmp_path: Path) -> None:
    lines = read(
        tmp_path / "l.csv",
        "Family,Scientific Name,common name\nParidae,Parus major Linnaeus,great tit\n,Oenanthe crocata L.,\n",
    )
    assert lines[0] == {
        "family": "Paridae",
        "genus": "Parus",
        "species": "Parus major",
        "vernacularName": "great tit",
    }
    assert lines[1] == {"genus": "Oenanthe", "species": "Oenanthe crocata"}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("l.txt", "Nosuchia\nGhostia\n", "'Nosuchia', 'Ghostia': no record carries the name"),
        ("l.txt", "# nothing\n", "names no taxon"),
        ("l.csv", "colour,size\nred,3\n", "no column of names among colour, size"),
    ],
)
def test_a_list_that_cannot_be_used_says_why(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(QueryError, match=message):
        read(tmp_path / name, text)


def test_a_list_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(QueryError, match="no such file"):
        read_taxon_list(tmp_path / "none.txt", KNOWN)
