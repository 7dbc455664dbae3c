from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from indexer.errors import SourceError
from indexer.vector_files import read_vector_file


def _write(path: Path, columns: dict[str, object]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return path


def test_vectors_come_back_at_unit_length_beside_their_records(tmp_path: Path) -> None:
    path = _write(
        tmp_path / "v.parquet",
        {"uuid": ["u1", "u2"], "emb": [[3.0, 4.0], [0.0, 2.0]], "genus": ["Aus", ""], "species": ["bus", ""]},
    )
    found = read_vector_file(path)
    assert found.records.column("record_id").to_pylist() == ["u1", "u2"]
    assert found.records.column("species").to_pylist() == ["Aus bus", None]
    assert found.records.column("uri").to_pylist() == [None, None]
    assert found.vectors.dtype == np.float32
    np.testing.assert_allclose(found.vectors, [[0.6, 0.8], [0.0, 1.0]], rtol=1e-6)
    assert "v.parquet: vectors have lengths 2 to 5; they are scaled to unit length" in found.notes


@pytest.mark.parametrize(
    "kind", [pa.list_(pa.float16()), pa.list_(pa.float64()), pa.large_list(pa.float32()), pa.list_(pa.float16(), 2)]
)
def test_every_kind_of_float_list_is_read(tmp_path: Path, kind: pa.DataType) -> None:
    vectors = pa.array(
        [[np.float16(0.6), np.float16(0.8)], [np.float16(1), np.float16(0)], None], pa.list_(pa.float16())
    )
    vectors = vectors.cast(pa.list_(kind.value_type)).cast(kind)
    found = read_vector_file(_write(tmp_path / "v.parquet", {"file": ["a/1.jpg", ".\\a\\2.jpg", "3"], "emb": vectors}))
    assert found.records.column("record_id").to_pylist() == ["a/1.jpg", "a/2.jpg"]
    np.testing.assert_allclose(np.linalg.norm(found.vectors, axis=1), 1, atol=1e-6)
    assert "v.parquet: vectors are of unit length" in found.notes
    assert found.rejected == (("3", "no vector"),)


def test_unusable_vectors_are_rejected_one_by_one_with_the_reason(tmp_path: Path) -> None:
    vectors = [
        [1.0, 0.0],
        None,
        [0.0, 0.0],
        [1.0],
        [float("nan"), 1.0],
        [None, 1.0],
        [float("inf"), 1.0],
        [],
        [0.0, 2.0],
    ]
    found = read_vector_file(_write(tmp_path / "v.parquet", {"uuid": [f"u{n}" for n in range(9)], "emb": vectors}))
    assert found.records.column("record_id").to_pylist() == ["u0", "u8"]
    np.testing.assert_array_equal(found.vectors, np.eye(2, dtype=np.float32))
    broken = "the vector holds numbers that are missing or infinite"
    assert found.rejected == (
        ("u1", "no vector"),
        ("u2", "the vector is zero"),
        ("u3", "the vector has 1 numbers; the others have 2"),
        *((f"u{n}", broken) for n in (4, 5, 6)),
        ("u7", "no vector"),
    )


@pytest.mark.parametrize("vectors", [[None, None], [[0.0, 0.0], [float("nan"), 0.0]], [[], []]])
def test_a_file_without_any_usable_vector_is_refused(tmp_path: Path, vectors: list[list[float] | None]) -> None:
    column = pa.array(vectors, pa.list_(pa.float32()))
    with pytest.raises(SourceError, match="none of its 2 vectors can be used"):
        read_vector_file(_write(tmp_path / "v.parquet", {"uuid": ["a", "b"], "emb": column}))


def test_a_folder_of_parquet_files_is_read_in_the_order_of_names(tmp_path: Path) -> None:
    _write(tmp_path / "vectors" / "part-1.parquet", {"uuid": ["b"], "emb": [[0.0, 1.0]], "sex": ["male"]})
    _write(tmp_path / "vectors" / "part-0.parquet", {"uuid": ["a"], "emb": [[1.0, 0.0]]})
    (tmp_path / "vectors" / "_SUCCESS.parquet").write_bytes(b"")
    found = read_vector_file(tmp_path / "vectors")
    assert found.records.column("record_id").to_pylist() == ["a", "b"]
    assert found.records.column("sex").to_pylist() == [None, "male"]
    np.testing.assert_array_equal(found.vectors, np.eye(2, dtype=np.float32))


def test_one_of_several_vector_columns_is_chosen_by_name(tmp_path: Path) -> None:
    columns = {"uuid": ["a"], "emb_bioclip-2": [[1.0, 0.0]], "emb_clip": [[0.0, 1.0]]}
    path = _write(tmp_path / "v.parquet", columns)
    with pytest.raises(SourceError, match=r"several columns hold vectors: emb_bioclip-2, emb_clip.*--column emb="):
        read_vector_file(path)
    np.testing.assert_array_equal(read_vector_file(path, column_map={"emb": "emb_clip"}).vectors, [[0.0, 1.0]])


def test_repeated_and_missing_ids_are_refused_with_their_rows(tmp_path: Path) -> None:
    path = _write(tmp_path / "v.parquet", {"uuid": ["a", None, "a"], "emb": [[1.0], [1.0], [1.0]]})
    with pytest.raises(SourceError, match=r"row 2: 'uuid' is empty\n.*row 3: 'uuid' a stands in row 1 too"):
        read_vector_file(path)


def test_an_id_column_can_be_named_and_a_misspelt_one_is_refused(tmp_path: Path) -> None:
    path = _write(tmp_path / "v.parquet", {"uuid": ["a"], "number": [7], "emb": [[1.0]]})
    assert read_vector_file(path, column_map={"record_id": "number"}).records.column("record_id").to_pylist() == ["7"]
    with pytest.raises(SourceError, match=r"no column 'numbr'.*Did you mean 'number'"):
        read_vector_file(path, column_map={"record_id": "numbr"})


def test_metadata_joins_on_the_id_and_fills_empty_cells(tmp_path: Path) -> None:
    path = _write(tmp_path / "v.parquet", {"file": ["b.jpg", "a.jpg"], "emb": [[1.0], [1.0]], "sex": ["male", None]})
    table = tmp_path / "records.csv"
    table.write_text("file,sex,lat,stage_seen\na.jpg,female,1.5,adult\nb.jpg,female,2.5,pupa\nc.jpg,male,3,egg\n")
    found = read_vector_file(path, metadata=table, column_map={"lifeStage": "stage_seen"})
    assert found.records.column("sex").to_pylist() == ["male", "female"]
    assert found.records.column("decimalLatitude").to_pylist() == [2.5, 1.5]
    assert found.records.column("lifeStage").to_pylist() == ["pupa", "adult"]
    assert "records.csv: joined on 'file', 2 of 2 vectors have a row there" in found.notes


def test_specimens_numbered_in_the_metadata_are_those_of_that_table(tmp_path: Path) -> None:
    path = _write(tmp_path / "v.parquet", {"uuid": ["a", "b"], "emb": [[1.0], [1.0]], "length": [float("inf"), 2.0]})
    table = tmp_path / "records.csv"
    table.write_text("uuid,specimen_id\na,1\nb,1\n")
    found = read_vector_file(path, metadata=table)
    assert found.records.column("occurrence_id").to_pylist() == [f"{tmp_path.name}/records.csv:1"] * 2
    assert found.records.column("length").to_pylist() == [None, 2.0]


def test_metadata_of_other_images_is_refused(tmp_path: Path) -> None:
    path = _write(tmp_path / "v.parquet", {"uuid": ["a"], "emb": [[1.0]]})
    table = tmp_path / "records.csv"
    table.write_text("uuid,sex\nz,female\n")
    with pytest.raises(SourceError, match="none of its 1 values of 'uuid' is an id of the vectors, such as a"):
        read_vector_file(path, metadata=table)


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"uuid": ["a"], "sex": ["male"]}, "no column of vectors.*the columns are uuid, sex"),
        ({"uuid": ["a"], "emb": ["[1, 2]"]}, "no column of vectors"),
        ({"locality": ["a"], "emb": [[1.0]]}, "no column of ids"),
    ],
)
def test_a_file_of_another_kind_is_refused(tmp_path: Path, columns: dict[str, object], reason: str) -> None:
    with pytest.raises(SourceError, match=reason):
        read_vector_file(_write(tmp_path / "v.parquet", columns))


def test_a_path_without_vectors_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no Parquet file in this folder"):
        read_vector_file(tmp_path)
    with pytest.raises(SourceError, match="no such file or folder"):
        read_vector_file(tmp_path / "nothing.parquet")


def test_real_bioclip_vectors_are_read_with_their_holes(shared_data: Path) -> None:
    found = read_vector_file(shared_data / "vectors" / "bioclip2_treeoflife_1k.parquet")
    assert found.vectors.shape == (1030, 768)
    lengths = "bioclip2_treeoflife_1k.parquet: vectors have lengths 36.2 to 69.9; they are scaled to unit length"
    assert lengths in found.notes
    np.testing.assert_allclose(np.linalg.norm(found.vectors, axis=1), 1, atol=1e-6)
    records = found.records
    assert records.column("display_name").null_count == records.column("scientificName").null_count == 121
    assert records.column("species").null_count == 176
    assert records.column("occurrence_id")[0].as_py() == "gbif:4436337979"


def test_real_mobilenet_vectors_join_the_manifest(shared_data: Path) -> None:
    path = shared_data / "vectors" / "mobilenet_v2_inat_insects.parquet"
    found = read_vector_file(path, metadata=shared_data / "images" / "manifest.csv")
    assert found.vectors.shape == (1544, 1280)
    assert "mobilenet_v2_inat_insects.parquet: vectors are of unit length" in found.notes
    assert found.records.column("record_id")[0].as_py() == "heliconius/10427966_D_lowres.png"
    assert found.records.column("species")[0].as_py() == "Heliconius melpomene"
