"""Training and validation parts: what stays together, what a leak is, and that a run's split is kept."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from indexer.errors import InputError
from training.settings import DataConfig, SplitBy
from training.splits import Split, check_leaks, read_split, split_dataset, write_split

N_RECORDS = 300
BY_OCCURRENCE = DataConfig(validation_share=0.2)
BY_SPECIES = DataConfig(validation_share=0.2, split_by=SplitBy.SPECIES)


@pytest.fixture
def records() -> pa.Table:
    """Three pictures per occurrence, two occurrences per species; the last 30 records have no occurrence."""
    occurrences = [f"o{row // 3}" if row < 270 else None for row in range(N_RECORDS)]
    return pa.table(
        {
            "record_id": [f"r{row}" for row in range(N_RECORDS)],
            "occurrence_id": pa.array(occurrences, pa.string()),
            "species": [f"Genus species{row // 6}" for row in range(N_RECORDS)],
        }
    )


def with_column(records: pa.Table, name: str, values: list[str | None]) -> pa.Table:
    kept = records.drop_columns([name]) if name in records.column_names else records
    return kept.append_column(name, pa.array(values, pa.string()))


def names_of(records: pa.Table, column: str, positions: np.ndarray) -> set[str]:
    return {name for name in records[column].take(positions).to_pylist() if name is not None}


def move_to_validation(split: Split, position: int) -> Split:
    return replace(
        split,
        training=split.training[split.training != position],
        validation=np.sort([*split.validation, position]),
    )


def test_the_parts_are_all_records_and_share_no_occurrence(records: pa.Table) -> None:
    split = split_dataset(records, BY_OCCURRENCE, seed=0)
    assert sorted([*split.training, *split.validation]) == list(range(N_RECORDS))
    shared = names_of(records, "occurrence_id", split.training) & names_of(records, "occurrence_id", split.validation)
    assert not shared
    assert split.n_groups == 90 + 30
    chosen = records.take(split.validation)
    n_chosen = len(set(chosen["occurrence_id"].drop_null().to_pylist())) + chosen["occurrence_id"].null_count
    assert n_chosen == 24
    assert check_leaks(records, split) == []


def test_by_species_no_species_is_shared(records: pa.Table) -> None:
    split = split_dataset(records, BY_SPECIES, seed=0)
    training, validation = (names_of(records, "species", part) for part in (split.training, split.validation))
    assert not training & validation
    assert (len(training), len(validation)) == (40, 10)
    assert check_leaks(records, split) == []


def test_the_seed_draws_the_parts(records: pa.Table) -> None:
    first, again, other = (split_dataset(records, BY_OCCURRENCE, seed=seed) for seed in (0, 0, 1))
    assert first.validation.tolist() == again.validation.tolist()
    assert first.validation.tolist() != other.validation.tolist()


def test_the_order_of_the_columns_does_not_matter(records: pa.Table) -> None:
    turned = records.select(["species", "record_id", "occurrence_id"])
    split, same = (split_dataset(table, BY_OCCURRENCE, seed=0) for table in (records, turned))
    assert split.validation.tolist() == same.validation.tolist()


def test_no_share_leaves_the_validation_part_empty(records: pa.Table) -> None:
    split = split_dataset(records, DataConfig(validation_share=0), seed=0)
    assert split.training.tolist() == list(range(N_RECORDS))
    assert split.validation.tolist() == []
    assert check_leaks(records, split) == []


def test_a_small_share_keeps_at_least_one_group(records: pa.Table) -> None:
    split = split_dataset(records, DataConfig(validation_share=0.001), seed=0)
    assert len(split.validation) in (1, 3)


def test_copies_of_an_image_stay_together(records: pa.Table) -> None:
    digests: list[str | None] = [f"d{row % 290}" for row in range(N_RECORDS)]
    copied = with_column(records, "sha256", digests)
    split = split_dataset(copied, BY_OCCURRENCE, seed=0)
    assert not names_of(copied, "sha256", split.training) & names_of(copied, "sha256", split.validation)
    plain = split_dataset(records, BY_OCCURRENCE, seed=0)
    assert any("image files in both parts" in fault for fault in check_leaks(copied, plain))


def test_records_without_a_species_are_learned_from(records: pa.Table) -> None:
    species = [None if row % 6 == 0 and row >= 270 else f"G s{row // 6}" for row in range(N_RECORDS)]
    partly = with_column(records, "species", species)
    split = split_dataset(partly, BY_SPECIES, seed=0)
    unnamed = [row for row in range(N_RECORDS) if species[row] is None]
    assert set(unnamed) <= set(split.training.tolist())
    assert len(names_of(partly, "species", split.validation)) == 10


def test_an_unnamed_picture_of_a_named_occurrence_goes_with_it(records: pa.Table) -> None:
    species = [None if row % 3 == 2 else f"G s{row // 6}" for row in range(N_RECORDS)]
    split = split_dataset(with_column(records, "species", species), BY_SPECIES, seed=0)
    occurrences = [names_of(records, "occurrence_id", part) for part in (split.training, split.validation)]
    assert not occurrences[0] & occurrences[1]


@pytest.mark.parametrize(
    ("config", "noun"), [(BY_OCCURRENCE, "1 occurrences in both parts, such as 'o"), (BY_SPECIES, "1 species in both")]
)
def test_a_planted_leak_is_found(records: pa.Table, config: DataConfig, noun: str) -> None:
    split = split_dataset(records, config, seed=0)
    stray = int(split.training[split.training < 270][0])
    faults = check_leaks(records, move_to_validation(split, stray))
    assert any(fault.startswith(noun) for fault in faults)


def test_one_record_in_both_parts_is_a_leak(records: pa.Table) -> None:
    split = split_dataset(records, BY_OCCURRENCE, seed=0)
    both = replace(split, training=np.arange(N_RECORDS))
    assert any(
        fault.startswith(f"{len(split.validation)} records in both parts") for fault in check_leaks(records, both)
    )


@pytest.mark.parametrize("config", [BY_OCCURRENCE, BY_SPECIES])
def test_the_split_is_kept_with_the_run(records: pa.Table, config: DataConfig, tmp_path: Path) -> None:
    split = split_dataset(records, config, seed=4)
    write_split(split, records, tmp_path)
    order = np.random.default_rng(0).permutation(N_RECORDS)
    read = read_split(tmp_path, records.take(order))
    assert (read.by, read.seed, read.share, read.n_groups) == (split.by, 4, 0.2, split.n_groups)
    chosen = names_of(records, "record_id", split.validation)
    assert names_of(records.take(order), "record_id", read.validation) == chosen
    assert len(read.training) + len(read.validation) == N_RECORDS
    table = pq.read_table(tmp_path / "split.parquet")
    assert table.column_names == ["record_id", "part"]
    assert set(table["part"].to_pylist()) == {"training", "validation"}


def test_the_description_counts_and_names_the_leaks(records: pa.Table, tmp_path: Path) -> None:
    split = split_dataset(records, BY_OCCURRENCE, seed=0)
    write_split(split, records, tmp_path)
    described = json.loads((tmp_path / "split.json").read_text(encoding="utf-8"))
    assert described["leaks"] == []
    assert (described["by"], described["seed"], described["validation_share"]) == ("occurrence", 0, 0.2)
    assert described["validation"]["pictures"] == len(split.validation)
    assert described["validation"]["occurrences"] == 24
    assert described["training"]["occurrences"] == 96
    write_split(move_to_validation(split, int(split.training[0])), records, tmp_path)
    assert json.loads((tmp_path / "split.json").read_text(encoding="utf-8"))["leaks"]


def test_a_split_of_other_data_is_refused(records: pa.Table, tmp_path: Path) -> None:
    write_split(split_dataset(records, BY_OCCURRENCE, seed=0), records, tmp_path)
    with pytest.raises(InputError, match=r"300 records are gone, such as 'r0'; 300 records are new, such as 'x0'"):
        read_split(tmp_path, with_column(records, "record_id", [f"x{row}" for row in range(N_RECORDS)]))
    with pytest.raises(InputError, match="there is no such file"):
        read_split(tmp_path / "elsewhere", records)


def test_too_few_groups_are_refused(records: pa.Table) -> None:
    with pytest.raises(InputError, match=r"hold 1 species to split by.*at least 2 are needed"):
        split_dataset(records.slice(0, 6), BY_SPECIES, seed=0)
