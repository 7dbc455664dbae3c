"""Distances between species in trees and lineages."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from explorer.geometry.phylogeny import measure_taxonomy, measure_tree, read_tree
from indexer.errors import InputError


def write_tree(folder: Path, text: str) -> Path:
    path = folder / "tree.nwk"
    path.write_text(text, encoding="utf-8")
    return path


def test_distances_are_the_branches_between(tmp_path: Path) -> None:
    tree = read_tree(write_tree(tmp_path, "((Aus_bus:1,Aus_cus:2):3,(Dus_eus:4,'Dus fus':0.5):1.5,Gus_hus:6)r:9;"))
    found = measure_tree(tree, ["Dus fus", "Aus bus", "Aus cus", "Gus hus L., 1758", "Nus nus"])
    expected = [[0, 6, 7, 8], [6, 0, 3, 10], [7, 3, 0, 11], [8, 10, 11, 0]]
    np.testing.assert_allclose(found.distances[:4, :4], expected)
    assert np.isnan(found.distances[4]).all()
    assert found.is_known.tolist() == [True, True, True, True, False]
    assert found.unmatched == ("Nus nus",)
    assert "4 of 5 species are tips" in found.reading


def test_distances_are_those_of_biopython_and_do_not_depend_on_the_order(tmp_path: Path) -> None:
    from Bio.Phylo import NewickIO
    from Bio.Phylo.BaseTree import Tree

    tips = [f"Aus b{'abcdefghijkl'[i]}us" for i in range(12)]
    drawn = Tree.randomized(tips, branch_length=1.0)  # type: ignore[no-untyped-call]
    rng = np.random.default_rng(0)
    for clade in drawn.find_clades():
        clade.branch_length = float(np.round(rng.random(), 3))
    path = tmp_path / "tree.nwk"
    with path.open("w") as file:
        NewickIO.write([drawn], file)  # type: ignore[no-untyped-call]
    names = sorted(tip.name for tip in drawn.get_terminals())
    found = measure_tree(read_tree(path), names).distances
    for one, other in combinations(range(12), 2):
        assert found[one, other] == pytest.approx(drawn.distance(names[one], names[other]), abs=1e-4)
    order = rng.permutation(12)
    np.testing.assert_allclose(
        measure_tree(read_tree(path), [names[i] for i in order]).distances, found[np.ix_(order, order)]
    )


def test_a_tree_without_lengths_counts_branches(tmp_path: Path) -> None:
    tree = read_tree(write_tree(tmp_path, "((Aus_bus,Aus_cus),Dus_eus);"))
    assert not tree.has_lengths
    found = measure_tree(tree, ["Aus bus", "Aus cus", "Dus eus"])
    np.testing.assert_allclose(found.distances, [[0, 2, 3], [2, 0, 3], [3, 3, 0]])
    assert "every branch counts 1" in found.reading


def test_a_ladder_of_thousands_of_species_is_no_trouble(tmp_path: Path) -> None:
    letters = "abcdefghij"
    names = [
        f"Aus b{letters[i // 1000]}{letters[i // 100 % 10]}{letters[i // 10 % 10]}{letters[i % 10]}"
        for i in range(3000)
    ]
    text = names[0].replace(" ", "_") + ":1"
    for name in names[1:]:
        text = f"({text},{name.replace(' ', '_')}:1):1"
    found = measure_tree(read_tree(write_tree(tmp_path, text.rpartition(":")[0] + ";")), names[:3])
    np.testing.assert_allclose(found.distances, [[0, 2, 3], [2, 0, 3], [3, 3, 0]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no trees"),
        ("#NEXUS\nbegin trees;", "holds no trees"),
        ("(Aus_bus:1,Aus_cus:1);\n(Aus_bus:1,Aus_cus:1);", "holds 2 trees"),
        ("((Aus_bus:1,Aus_cus:1);", "not a readable Newick tree"),
        ("(Aus_bus:1,Aus_cus:1)", "ended by a semicolon"),
        ("(Aus_bus:1,Aus_bus:1);", "several tips are named Aus_bus"),
        ("(Aus_bus:1,:1);", "1 tips have no name"),
        ("(Aus_bus:1,Aus_cus);", "1 branches have no length"),
        ("(Aus_bus:-1,Aus_cus:1);", "negative length"),
        ("(Aus bus:1,Aus cus:1);", "'Aus bus' has a space"),
    ],
)
def test_a_tree_that_cannot_be_trusted_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_tree(write_tree(tmp_path, text))


def test_tips_that_resemble_or_repeat_are_not_joined(tmp_path: Path) -> None:
    tree = read_tree(write_tree(tmp_path, "((Aus_bus:1,aus_bus:1):1,(Aus_cuss:1,Dus_eus:1):1);"))
    found = measure_tree(tree, ["Aus bus", "Aus cus", "Dus eus", ""])
    assert found.is_known.tolist() == [False, False, True, False]
    assert found.doubtful[0].candidate == "Aus_cuss"
    assert found.unmatched == ("Aus bus", "Aus cus")


def test_taxonomic_distance_counts_ranks_up_to_the_common_taxon() -> None:
    lineages = np.array(
        [
            [0, 1, 2, 3, 4, 5, 10],
            [0, 1, 2, 3, 4, 5, 11],
            [0, 1, 2, 3, 4, 6, 12],
            [0, 1, 2, 3, 7, 8, 13],
            [0, 1, 2, 3, -1, 9, 14],
            [20, 21, 22, 23, 24, 25, 15],
            [-1, -1, -1, -1, -1, -1, 16],
        ]
    )
    found = measure_taxonomy(lineages).distances
    assert found[0, 1] == 1
    assert found[0, 2] == 2
    assert found[0, 3] == 3
    assert found[0, 4] == 2.5  # one family or two
    assert found[0, 5] == 7
    assert found[0, 6] == 4  # anything from a genus to nothing
    np.testing.assert_array_equal(found, found.T)
    assert (np.diagonal(found) == 0).all()


def test_taxonomic_distance_is_that_of_a_slow_reference() -> None:
    rng = np.random.default_rng(1)
    lineages = np.column_stack([rng.integers(0, 2, 30) + 10 * rank for rank in range(6)] + [100 + np.arange(30)])
    for rank in range(1, 6):  # a taxon lies in one taxon of the rank above
        lineages[:, rank] = lineages[:, rank] + 100 * (lineages[:, rank - 1] + 1)
    lineages[rng.random(lineages.shape) < 0.2] = -1
    lineages[:, 6] = np.arange(30)
    found = measure_taxonomy(lineages).distances
    for one, other in combinations(range(30), 2):
        both = [(r, lineages[one, r] == lineages[other, r]) for r in range(7) if min(lineages[[one, other], r]) >= 0]
        shared = max((r for r, same in both if same), default=-1)
        parted = min(r for r, same in both if not same and r > shared)
        assert found[one, other] == 6 - (shared + parted - 1) / 2
