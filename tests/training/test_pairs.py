"""General image-caption pairs for the replay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from indexer.errors import InputError
from tests.training.tiny_tars import encode_jpeg, mean_colour, write_tar
from training.pairs import open_pairs


def test_tars_give_images_with_the_captions_beside_them(tmp_path: Path) -> None:
    samples: dict[str, dict[str, Any]] = {
        "000": {"jpg": encode_jpeg((250, 0, 0)), "txt": "a red wall", "json": "{}"},
        "001": {"jpg": encode_jpeg((0, 0, 250)), "txt": " "},
        "002": {"webp": encode_jpeg((0, 250, 0)), "txt": "a meadow"},
    }
    write_tar(tmp_path / "00000.tar", samples)
    lines: list[str] = []
    pairs = open_pairs(str(tmp_path / "00000.tar"), str(tmp_path / "cache"), announce=lines.append)
    assert [pairs.read_caption(i) for i in range(len(pairs))] == ["a red wall", "a meadow"]
    np.testing.assert_allclose(mean_colour(pairs.read_image(1)), (0, 250, 0), atol=4)
    assert len(lines) == 1
    assert "1 images have no caption" in lines[0]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_table_gives_files_beside_it(suffix: str, tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    for name, colour in (("a", (250, 0, 0)), ("b", (0, 0, 250))):
        (tmp_path / "pictures" / f"{name}.jpg").write_bytes(encode_jpeg(colour))
    files, captions = ["pictures/a.jpg", "pictures/b.jpg", "pictures/c.jpg"], ["red, bright", "blue", ""]
    table = tmp_path / f"pairs{suffix}"
    if suffix == ".csv":
        rows = [f'{file},"{caption}",0' for file, caption in zip(files, captions, strict=True)]
        table.write_text("\n".join(["file,caption,score", *rows]), encoding="utf-8")
    else:
        pq.write_table(pa.table({"caption": captions, "file": files}), table)
    pairs = open_pairs(str(table), "")
    assert [pairs.read_caption(i) for i in range(len(pairs))] == ["red, bright", "blue"]
    np.testing.assert_allclose(mean_colour(pairs.read_image(1)), (0, 0, 250), atol=4)


def test_rows_without_a_file_or_a_caption_are_left_out_and_counted(tmp_path: Path) -> None:
    files, captions = ["a.jpg", None, " ", "b.jpg", "c.jpg"], ["red", "lost", "lost too", None, "blue"]
    pq.write_table(pa.table({"file": files, "caption": captions}), tmp_path / "x.parquet")
    lines: list[str] = []
    pairs = open_pairs(str(tmp_path / "x.parquet"), "", announce=lines.append)
    assert [pairs.read_caption(i) for i in range(len(pairs))] == ["red", "blue"]
    assert len(lines) == 1
    assert lines[0].endswith("x.parquet: 3 rows lack the file or the caption and are left out")


def test_what_is_wrong_with_a_source_is_said(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("image,caption\na.jpg,b\n", encoding="utf-8")
    (tmp_path / "none.csv").write_text("file,caption\na.jpg,\n", encoding="utf-8")
    pq.write_table(pa.table({"file": ["a.jpg"], "caption": [["b", "c"]]}), tmp_path / "lists.parquet")
    write_tar(tmp_path / "x.tar", {"a": {"jpg": encode_jpeg((1, 1, 1)), "sci.txt": "Pica"}})
    faults = {
        "x.csv": r"x\.csv: has no column file; its columns are image, caption",
        "none.csv": r"none\.csv: holds no pair",
        "lists.parquet": r"lists\.parquet: file and caption are string and list<.*>; both must be text",
        "x.tar": r"x\.tar: no image has a caption beside it",
        "gone.csv": r"replay\.source = '.*gone\.csv': there is no such file",
    }
    for name, what in faults.items():
        with pytest.raises(InputError, match=what):
            open_pairs(str(tmp_path / name), str(tmp_path / "cache"))


def test_a_file_that_is_missing_is_named_when_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("file,caption\na.jpg,b\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"a\.jpg: there is no such file"):
        open_pairs(str(tmp_path / "x.csv"), "").read_image(0)
