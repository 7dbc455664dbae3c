"""What an encoder is judged on: occurrences, questions, and columns that are not there."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from indexer.errors import InputError
from tests.training.judge.spaces import make_records
from training.judge.collection import collect_records


def test_pictures_with_the_same_bytes_are_one_occurrence_also_by_way_of_others() -> None:
    records = pa.table(
        {
            "record_id": list("abcdef"),
            "occurrence_id": ["1", "1", "2", "3", None, "5"],
            "sha256": ["x", "y", "y", "z", "z", None],
            "genus": ["Pica"] * 6,
        }
    )
    collection = collect_records(records, [], name="here")
    first, *others = collection.occurrences.tolist()
    assert others[:2] == [first, first]
    assert others[2] == others[3] != first
    assert collection.n_occurrences == 3
    assert any("2 pictures have the same bytes" in note.what for note in collection.notes)


def test_a_reader_is_warned_where_every_record_is_an_occurrence_of_its_own() -> None:
    records = make_records(8).drop_columns(["occurrence_id"])
    (note,) = collect_records(records, [], name="here").notes
    assert "name its occurrenceID" in note.why


def test_cells_that_say_nothing_are_empty() -> None:
    records = make_records(4).set_column(10, "sex", pa.array(["male", "Unknown", "", "female"]))
    question = collect_records(records, ["sex"], name="here").ask_column("sex")
    assert question.names == ("female", "male")
    assert question.labels.tolist() == [1, -1, -1, 0]


def test_a_class_has_the_lineage_that_most_of_its_pictures_have() -> None:
    records = make_records(16)
    families = records.column("family").to_pylist()
    families[0] = "Sittidae"
    changed = records.set_column(records.column_names.index("family"), "family", pa.array(families))
    collection = collect_records(changed, [], name="here")
    question = collection.ask_rank(6)
    lineages, common = collection.describe_classes(question)
    place = question.names.index("Pica pica")
    assert lineages[place][4] == "Corvidae"
    assert common[place] == "magpie"
    assert common[question.names.index("Corvus corone")] is None


def test_a_column_that_is_not_there_is_named_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"--column sxe: here has no such column.*Did you mean 'sex'\?"):
        collect_records(make_records(4), ["sxe"], name="here")


def test_records_without_a_name_need_a_column() -> None:
    records = pa.table({"record_id": ["a", "b"], "sex": ["male", "female"]})
    with pytest.raises(InputError, match="here: no record names a taxon; name a column"):
        collect_records(records, [], name="here")
    assert len(collect_records(records, ["sex"], name="here")) == 2
    assert np.array_equal(collect_records(records, ["sex"], name="here").occurrences, [0, 1])
