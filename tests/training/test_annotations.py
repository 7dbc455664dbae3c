"""Records as examples with their hashes."""

from __future__ import annotations

import pyarrow as pa

from tests.training.small_datasets import RANKS, SPECIES, make_records
from training.annotations import annotate_records, find_described
from training.captions import hash_claims, list_facts


def test_an_example_says_what_its_record_says() -> None:
    annotations = annotate_records(make_records(6), ["lifeStage", "sex", "season"])
    example = annotations.read_example(2)
    assert example.ranks == SPECIES[2]
    assert example.vernacular is None
    assert example.traits == {"lifeStage": ("adult", "old"), "sex": ("male",)}


def test_facts_are_the_hashed_facts_of_the_example_filled_up_with_zeros() -> None:
    columns = ["lifeStage", "sex"]
    annotations = annotate_records(make_records(6), columns)
    for position in range(6):
        described = annotations.describe(position)
        expected = hash_claims(list_facts(described.example, columns))
        assert sorted(described.facts[described.facts != 0].tolist()) == sorted(expected)
        assert len(described.facts) == 7 + 1 + 2 + 1


def test_equal_records_share_their_description() -> None:
    annotations = annotate_records(make_records(12), ["sex"])
    assert annotations.describe(0) is annotations.describe(6)
    assert annotations.describe(0) is not annotations.describe(3)


def test_cells_that_say_nothing_are_no_values() -> None:
    empty: dict[str, list[str | None]] = {rank: [None] * 4 for rank in RANKS}
    empty["genus"][3] = "Pica"
    records = pa.table(
        {
            **{rank: pa.array(cells, pa.string()) for rank, cells in empty.items()},
            "vernacularName": ["", " ", None, None],
            "sex": ["unknown", "male |", " | ", None],
        }
    )
    annotations = annotate_records(records, ["sex"])
    assert [annotations.read_example(i).traits for i in range(4)] == [{}, {"sex": ("male",)}, {}, {}]
    assert find_described(records, ["sex"]).tolist() == [1, 3]
    assert find_described(records, []).tolist() == [3]
