"""Traits of species: read, joined by name, gathered from records."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from explorer.geometry.name_matching import MatchRule, match_names
from explorer.geometry.traits import TraitKind, gather_trait, join_traits, make_trait, read_trait_table
from indexer.errors import InputError

BIRDS = """Id,Species1,Beak.Depth,Niche
1,Parus major,4.3,Insects
2,Corvus_corax,27.9,All
3,"Turdus merula Linnaeus, 1758",7.2,Insects
4,Passer domesticus italiae,8.0,Seeds
5,Cyanistes teneriffae,NA,Insects
"""


def write_table(folder: Path, text: str = BIRDS, name: str = "birds.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_the_column_of_names_is_found_and_the_others_are_typed(tmp_path: Path) -> None:
    table = read_trait_table(write_table(tmp_path))
    assert table.name_column == "Species1"
    assert table.columns["Beak.Depth"] == (4.3, 27.9, 7.2, 8.0, None)
    assert table.columns["Niche"][1] == "All"


def test_parquet_and_tabs_are_read_alike(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet

    arrow = pa.table({"taxon": ["Aus bus", "Aus cus"], "mass": [1, 2]})
    pyarrow.parquet.write_table(arrow, tmp_path / "t.parquet")
    from_parquet = read_trait_table(tmp_path / "t.parquet")
    from_text = read_trait_table(write_table(tmp_path, "taxon\tmass\nAus bus\t1\nAus cus\t2\n", "t.tsv"))
    assert from_parquet.columns == from_text.columns == {"mass": (1.0, 2.0)}


def test_a_table_without_species_is_refused_with_its_columns(tmp_path: Path) -> None:
    path = write_table(tmp_path, "site,depth\nNorth,3\nSouth,4\n")
    with pytest.raises(InputError, match="the columns are site, depth"):
        read_trait_table(path)
    with pytest.raises(InputError, match="no column 'taxon'"):
        read_trait_table(path, name_column="taxon")


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("Parus major", MatchRule.EXACT),
        ("parus_major", MatchRule.SPELLING),
        ("PARUS MAJOR", MatchRule.SPELLING),
        ("Corvus corax", MatchRule.SPELLING),
        ("Corvus corax Linnaeus, 1758", MatchRule.AUTHORITY),
        ("Turdus merula", MatchRule.AUTHORITY),
        ("Pygoscelis adeliae", MatchRule.BRACKETS),
        ("sand cat", MatchRule.SPELLING),
    ],
)
def test_a_name_is_found_by_the_surest_rule(name: str, rule: MatchRule) -> None:
    known = [
        "Parus major",
        "Corvus_corax",
        "Turdus merula Linnaeus, 1758",
        "Adelie Penguin (Pygoscelis adeliae)",
        "Sand  Cat",
    ]
    matching = match_names([name], known)
    assert matching.matches[name].rule is rule
    assert not matching.unmatched


@pytest.mark.parametrize(
    ("name", "candidate", "reason"),
    [
        ("Parus majur", "Parus major", "spelt alike"),
        ("Passer domesticus", "Passer domesticus italiae", "a subspecies"),
        ("Parus major minor", "Parus major", "the species of this subspecies"),
        ("Parus caeruleus", "Cyanistes caerulea", "perhaps a synonym"),
    ],
)
def test_a_resembling_name_is_listed_and_never_joined(name: str, candidate: str, reason: str) -> None:
    matching = match_names([name], ["Parus major", "Passer domesticus italiae", "Cyanistes caerulea"])
    assert not matching.matches
    assert matching.unmatched == (name,)
    (one,) = matching.doubtful
    assert one.candidate == candidate
    assert reason in one.reason


@pytest.mark.parametrize("name", ["Turdus sp.", "Homo sapiens", "Parus", "Parus cf. major"])
def test_what_is_no_species_of_the_table_gets_nothing(name: str) -> None:
    matching = match_names([name], ["Parus major", "Turdus merula"])
    assert matching.unmatched == (name,)
    assert not matching.matches


@pytest.mark.parametrize("name", ["Lysimachia vulgaris", "Anolis carolinensis"])
def test_a_plant_or_a_lizard_is_no_bird_for_its_epithet(name: str) -> None:
    assert not match_names([name], ["Sturnus vulgaris", "Anas carolinensis"]).doubtful


def test_a_join_keeps_the_order_of_the_species_and_lists_what_was_not_found(tmp_path: Path) -> None:
    join = join_traits(["Turdus merula", "", "Homo sapiens", "parus major"], read_trait_table(write_table(tmp_path)))
    assert join.values["Beak.Depth"] == (7.2, None, None, 4.3)
    assert join.unmatched == ("Homo sapiens",)
    assert join.n_unused == 3
    assert "2 of 3 species were found" in join.reading
    assert "Not found: Homo sapiens" in join.reading
    with pytest.raises(InputError, match="no column 'Wing'"):
        join.find_trait("Wing")


def test_rows_that_differ_are_averaged_and_listed(tmp_path: Path) -> None:
    text = "species,mass,sex,island,code\nAus bus,1,m,X,k\nAus  bus,3,f,X,k\nAus cus,5,f,Y,k\nAus cus,5,f,Y,k\n"
    join = join_traits(["Aus bus", "Aus cus"], read_trait_table(write_table(tmp_path, text)))
    assert join.values["mass"] == (2.0, 5.0)
    assert join.values["sex"] == (None, "f")
    (repeated,) = join.repeated
    assert (repeated.species, repeated.n_rows, repeated.columns) == ("Aus bus", 2, ("mass", "sex"))
    assert "mean or commonest value is used: Aus bus" in join.reading


@pytest.mark.shared
def test_real_tables_join_by_the_right_column(shared_data: Path) -> None:
    birds = read_trait_table(shared_data / "traits" / "AVONET1_BirdLife.csv")
    assert birds.name_column == "Species1"
    assert join_traits(["Parus_major"], birds).values["Trophic.Niche"] == ("Invertivore",)
    penguins = read_trait_table(shared_data / "traits" / "penguins_raw.csv")
    join = join_traits(["Pygoscelis adeliae"], penguins)
    assert join.matched[0].rule is MatchRule.BRACKETS
    assert join.repeated[0].n_rows == 152


def test_numbers_are_numbers_only_where_all_are_and_three_differ() -> None:
    assert make_trait("a", ["1", "2.5", None, "3"]).kind is TraitKind.NUMERIC
    assert make_trait("a", [1.0, 0.0, 1.0, None]).names == ("0", "1")
    mixed = make_trait("a", ["1", "2", "many", ""])
    assert mixed.kind is TraitKind.CATEGORICAL
    assert mixed.codes.tolist() == [0, 1, 2, -1]


def test_an_occurrence_with_many_images_counts_once() -> None:
    species = np.array([0, 0, 0, 0, 0, 1, 1])
    occurrences = np.array([0, 0, 0, 1, 2, 3, 4])
    words = gather_trait("sex", ["m", "m", "m", "f", "f", "m", "f"], species, occurrences, n_species=3)
    assert [words.names[code] if code >= 0 else None for code in words.codes] == ["f", None, None]
    assert words.purity == pytest.approx(2 / 3)
    numbers = gather_trait("size", ["1", "1", "1", "4", "7", "2", None], species, occurrences, n_species=3)
    np.testing.assert_allclose(numbers.numbers, [4, 2, np.nan])
