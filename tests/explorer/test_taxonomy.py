"""Taxonomy: homonyms apart, holes filled, and the way down the heaviest branch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest

from explorer.taxonomy import Taxonomy, build_taxonomy, descend, find_leaves
from indexer.terms import RANKS


def taxonomy_of(*lineages: str) -> Taxonomy:
    """A taxonomy of records written as `kingdom phylum class order family genus epithet`, `-` for a hole."""
    rows = [[None if word == "-" else word for word in lineage.split()] for lineage in lineages]
    return build_taxonomy(
        pa.table({rank: pa.array([row[i] for row in rows], pa.string()) for i, rank in enumerate(RANKS)})
    )


def names_of(taxonomy: Taxonomy, taxa: Sequence[int]) -> list[str]:
    return ["-" if taxon < 0 else taxonomy.names[taxon] for taxon in taxa]


def test_homonyms_are_two_taxa() -> None:
    found = taxonomy_of("Animalia C A P Muscicapidae Oenanthe isabellina", "Plantae T M A Apiaceae Oenanthe crocata")
    bird, plant = found.lineages[found.of_records]
    assert bird[5] != plant[5]
    assert found.names[bird[5]] == found.names[plant[5]] == "Oenanthe"
    assert len(found.find_named("oenanthe")) == 2


def test_a_lineage_with_holes_joins_its_taxon_and_is_filled_from_it() -> None:
    found = taxonomy_of("A C V Passeriformes Paridae Parus major", "- - - - - Parus major", "A - V - Paridae Parus -")
    full, holes, genus_only = found.lineages[found.of_records]
    assert full.tolist() == holes.tolist()
    assert names_of(found, genus_only) == ["A", "C", "V", "Passeriformes", "Paridae", "Parus", "-"]


def test_a_hole_that_fits_two_homonyms_stays_apart() -> None:
    found = taxonomy_of("Animalia - - - - Morus bassanus", "Plantae - - - - Morus alba", "- - - - - Morus -")
    bird, tree, unsure = found.lineages[found.of_records]
    assert len({bird[5], tree[5], unsure[5]}) == 3
    assert names_of(found, unsure) == ["-", "-", "-", "-", "-", "Morus", "-"]


def test_a_name_at_two_ranks_is_two_taxa() -> None:
    found = taxonomy_of("A Rotifera - - - - -", "A Rotifera - - - Rotifera vulgaris")
    assert sorted(found.ranks[found.find_named("Rotifera")].tolist()) == [1, 5]


def test_leaves_are_the_taxa_below_which_nothing_is_named() -> None:
    found = taxonomy_of("A - - - F G a", "A - - - F G -", "A - - - F H -", "A - - - - - -", "- - - - - - -")
    leaves = [names_of(found, lineage) for lineage in found.lineages[find_leaves(found.lineages)]]
    assert sorted(leaf[5:] for leaf in leaves) == [["G", "a"], ["H", "-"]]


def test_no_record_makes_an_empty_taxonomy() -> None:
    found = build_taxonomy(pa.table({"species": pa.array([], pa.string())}))
    assert found.names == ()
    assert len(find_leaves(found.lineages)) == 0


def test_a_table_without_ranks_names_nothing() -> None:
    found = build_taxonomy(pa.table({"sex": ["f", "m"]}))
    assert found.names == ()
    assert found.lineages[found.of_records].tolist() == [[-1] * 7] * 2


def test_the_descent_sums_votes_up_the_ranks() -> None:
    found = taxonomy_of("A - - - F G a", "A - - - F G b", "A - - - F H c", "P - - - Q R d")
    lineages = found.lineages[found.of_records][None]
    answer = descend(lineages, np.array([[0.3, 0.25, 0.25, 0.2]]))
    assert names_of(found, answer.path[0]) == ["A", "-", "-", "-", "F", "G", "a"]
    np.testing.assert_allclose(answer.shares[0], [0.8, 0, 0, 0, 0.8, 0.55, 0.3])


def test_the_descent_follows_a_branch_without_family() -> None:
    found = taxonomy_of("A - - O - G a", "A - - O F H b", "A - - O F H c")
    answer = descend(found.lineages[found.of_records][None], np.array([[0.6, 0.2, 0.2]]))
    assert names_of(found, answer.path[0]) == ["A", "-", "-", "O", "-", "G", "a"]


def test_votes_without_a_name_count_against_every_taxon() -> None:
    found = taxonomy_of("A - - - F G a", "A - - - F G -", "- - - - - - -")
    answer = descend(found.lineages[found.of_records][None], np.array([[1.0, 1.0, 2.0]]))
    np.testing.assert_allclose(answer.shares[0], [0.5, 0, 0, 0, 0.5, 0.5, 0.25])


def test_no_vote_leads_nowhere() -> None:
    answer = descend(np.zeros((2, 0, 7), np.int64), np.zeros((2, 0)))
    assert (answer.path == -1).all()


def slow_descent(lineages: list[list[int]], weights: list[float]) -> list[int]:
    """The same in plain Python: step to the heaviest next taxon until nobody names one."""
    path, reached = [-1] * 7, -1
    voters = list(range(len(weights)))
    while True:
        votes: dict[int, float] = {}
        nexts = {}
        for voter in voters:
            below = [rank for rank in range(reached + 1, 7) if lineages[voter][rank] >= 0]
            if below:
                nexts[voter] = below[0]
                taxon = lineages[voter][below[0]]
                votes[taxon] = votes.get(taxon, 0) + weights[voter]
        if not votes:
            return path
        best = max(votes, key=lambda taxon: votes[taxon])
        voters = [voter for voter in nexts if lineages[voter][nexts[voter]] == best]
        reached = nexts[voters[0]]
        path[reached] = best


@pytest.mark.parametrize("seed", range(20))
def test_the_descent_agrees_with_a_plain_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(30):
        code = rng.integers(0, 3, 7)
        words = ["".join(map(str, code[: rank + 1])) for rank in range(7)]
        rows.append(" ".join(word if rng.random() < 0.7 else "-" for word in words))
    found = taxonomy_of(*rows)
    lineages = found.lineages[found.of_records]
    weights = rng.random((4, 30))
    answer = descend(np.broadcast_to(lineages, (4, 30, 7)), weights)
    expected = [slow_descent(lineages.tolist(), row.tolist()) for row in weights]
    assert answer.path.tolist() == expected


def test_incertae_sedis_is_no_taxon() -> None:
    names = {rank: pa.array(["Incertae sedis", "", "Aus"], pa.string()) for rank in RANKS[:1]}
    found = build_taxonomy(pa.table(names))
    assert found.names == ("Aus",)
    assert found.lineages[found.of_records][:, 0].tolist() == [-1, -1, 0]
