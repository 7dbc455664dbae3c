"""The protocols that name pictures: NABirds, Meta-Album, Rare Species, camera traps."""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from PIL import Image

from indexer.encoders import load_encoder
from indexer.errors import ImageError, InputError, SourceError
from training.judge.figures import Figure
from training.judge.protocols import PROTOCOLS, Effort, find_protocol, run_protocol
from training.judge.protocols.camera_traps import COLLECTIONS, load_camera_traps
from training.judge.protocols.classification import NamingSet, NamingTask
from training.judge.protocols.meta_album import load_meta_album
from training.judge.protocols.nabirds import load_nabirds
from training.judge.protocols.pictures import FilePictures, ParquetPictures
from training.judge.protocols.rare_species import load_rare_species

COLOURS = {"red": (250, 5, 5), "green": (5, 250, 5), "blue": (5, 5, 250)}
QUICK = Effort(n_resamples=50, n_folds=3)


def paint(colour: str, *, name: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (16, 16), COLOURS[colour]).save(file, name)
    return file.getvalue()


def put(path: Path, colour: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(paint(colour))


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_nabirds(folder: Path) -> Path:
    """Three classes of three pictures; class numbers are not in order, names have spaces and brackets."""
    names = {"817": "green Titmouse", "645": "red Grebe (Nonbreeding/juvenile)", "3": "blue  Jay"}
    images, labels = [], []
    for number, (class_id, name) in enumerate(names.items()):
        for copy in range(3):
            identity = f"0000139e-{number}{copy}"
            path = f"{int(class_id):04d}/{identity.replace('-', '')}.png"
            put(folder / "images" / path, name.split()[0])
            images.append(f"{identity} {path}")
            labels.append(f"{identity} {class_id}")
    (folder / "images.txt").write_text("\n".join(images) + "\n")
    (folder / "image_class_labels.txt").write_text("\n".join(reversed(labels)) + "\n")
    (folder / "classes.txt").write_text("".join(f"{key} {name}\n" for key, name in {"0": "Birds", **names}.items()))
    return folder


def values(figures: Sequence[Figure], label: str) -> dict[tuple[str, str], float]:
    return {(figure.measure, figure.detail): figure.estimate.value for figure in figures if figure.label == label}


def test_an_encoder_that_sees_colours_names_coloured_birds(tmp_path: Path, colour_encoder: str) -> None:
    encoder = load_encoder(colour_encoder, device="cpu")
    figures = run_protocol(PROTOCOLS["nabirds"], write_nabirds(tmp_path), encoder, effort=QUICK)
    assert values(figures, "NABirds") == {
        ("top-1", "zero-shot"): 1,
        ("top-5", "zero-shot"): 1,
        ("top-1", "1-shot"): 1,
        ("top-1", "5-shot"): pytest.approx(np.nan, nan_ok=True),
    }
    assert figures[0].chance == pytest.approx(1 / 3)
    assert (figures[0].n, figures[0].n_classes, figures[-1].n_classes) == (9, 3, 0)


def test_nabirds_joins_its_tables_by_id_and_keeps_names_as_they_stand(tmp_path: Path) -> None:
    task = load_nabirds(write_nabirds(tmp_path))
    assert task.sets[0].texts == (
        *["green Titmouse"] * 3,
        *["red Grebe (Nonbreeding/juvenile)"] * 3,
        *["blue  Jay"] * 3,
    )
    assert task.pictures.read(8)[0, 0].tolist() == list(COLOURS["blue"])


def test_nabirds_says_what_a_folder_lacks(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such folder"):
        load_nabirds(tmp_path / "nowhere")
    with pytest.raises(SourceError, match=r"images\.txt, image_class_labels\.txt, classes\.txt, images are missing"):
        load_nabirds(tmp_path)
    write_nabirds(tmp_path)
    (tmp_path / "images" / "0817" / "0000139e00.png").unlink()
    with pytest.raises(SourceError, match=r"1 of 9 pictures of NABirds are not there, images/0817/0000139e00\.png"):
        load_nabirds(tmp_path)
    (tmp_path / "image_class_labels.txt").write_text("0000139e-00 817\n")
    with pytest.raises(SourceError, match="8 of 9 pictures have no class"):
        load_nabirds(tmp_path)


def test_zero_shot_and_one_shot_of_a_case_done_by_hand() -> None:
    """Three pictures lie with their class, the fourth, of class b, lies with class a."""
    vectors = np.array([[1, 0], [0.8, 0.6], [0, 1], [0.96, -0.28]], np.float32)
    task = NamingTask(
        pictures=FilePictures((Path("a"),) * 4), sets=(NamingSet(name="S", start=0, texts=("a", "a", "b", "b")),)
    )

    def encode_texts(texts: list[str]) -> Any:
        return np.array([[1, 0] if "a." in text else [0, 1] for text in texts], np.float32)

    figures = task.judge(vectors, encode_texts, Effort(n_resamples=20, templates=("a photo of {}.", "the {}.")))
    assert figures[0].estimate.value == 0.75
    assert figures[1].estimate.value == 1
    assert [figure.is_headline for figure in figures] == [True, False, True, True]


def write_meta_album(folder: Path, name: str, classes: Sequence[str], *, in_val: bool = False) -> None:
    rows = []
    for colour, category in zip(COLOURS, classes, strict=False):
        for copy in range(2):
            file = f"{colour}{copy}.png"
            rows.append({"FILE_NAME": file, "CATEGORY": category, "SUPER_CATEGORY": "x"})
            on_disk = unicodedata.normalize("NFD", category)
            put(folder / name / (f"val/{on_disk}" if in_val else "images") / file, colour)
    write_csv(folder / name / "labels.csv", rows)


def test_meta_album_finds_its_sets_in_both_layouts_and_gives_their_mean(tmp_path: Path, colour_encoder: str) -> None:
    write_meta_album(tmp_path / "set0", "PLK_Mini", ["red_plankton", "green"])
    write_meta_album(tmp_path / "set2", "INS_Mini", ["green é", "red, the other"], in_val=True)
    figures = run_protocol(PROTOCOLS["meta-album"], tmp_path, load_encoder(colour_encoder, device="cpu"), effort=QUICK)
    assert values(figures, "Plankton")["top-1", "zero-shot"] == 1
    assert values(figures, "Insects")["top-1", "zero-shot"] == 0
    mean = values(figures, "Meta-Album, mean of 2 sets")
    assert mean["top-1", "zero-shot"] == 0.5
    assert mean["top-1", "1-shot"] == 1


def test_meta_album_takes_categories_as_they_stand_and_a_single_set(tmp_path: Path) -> None:
    write_meta_album(tmp_path, "PLT_VIL_Mini", ["Grape___healthy", "Apple___Apple_scab"])
    task = load_meta_album(tmp_path / "PLT_VIL_Mini")
    assert task.mean is None
    assert task.sets[0].name == "PlantVillage"
    assert task.sets[0].texts == ("Grape___healthy",) * 2 + ("Apple___Apple_scab",) * 2


def test_meta_album_says_what_a_folder_lacks(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no labels\.csv"):
        load_meta_album(tmp_path)
    write_csv(tmp_path / "labels.csv", [{"FILE_NAME": "a.png", "LABEL": "b"}])
    with pytest.raises(SourceError, match="no column CATEGORY; there are FILE_NAME, LABEL"):
        load_meta_album(tmp_path)
    write_csv(tmp_path / "labels.csv", [{"FILE_NAME": "a.png", "CATEGORY": "b"}])
    with pytest.raises(SourceError, match="neither images/ nor val/"):
        load_meta_album(tmp_path)


def rare_rows() -> list[dict[str, Any]]:
    lineage = {"kingdom": "Animalia", "phylum": "Chordata", "class": "Aves", "order": "O", "family": "F"}
    kinds = [("red", "Aus", "bus", "red bird"), ("blue", "Cus", "dus", None)]
    return [
        {
            **{"rarespecies_id": f"{genus}{copy}", **lineage, "genus": genus, "species": epithet},
            **{"sciName": f"{genus} {epithet}", "common": common, "colour": colour},
        }
        for colour, genus, epithet, common in kinds
        for copy in range(3)
    ]


RARE_TEXTS = (
    *["Animalia Chordata Aves O F Aus bus with common name red bird"] * 3,
    *["Animalia Chordata Aves O F Cus dus"] * 3,
)


def write_rare_parquet(folder: Path) -> None:
    rows = rare_rows()
    (folder / "data").mkdir(parents=True)
    for shard in range(2):
        part = [
            {
                "file_name": {"bytes": paint(row["colour"]), "path": f"{row['rarespecies_id']}.png"},
                **{key: cell for key, cell in row.items() if key != "colour"},
            }
            for row in rows[shard * 4 : shard * 4 + 4]
        ]
        path = folder / "data" / f"train-0000{shard}-of-00002.parquet"
        pyarrow.parquet.write_table(pa.Table.from_pylist(part), path, row_group_size=2)


def test_rare_species_reads_the_parquet_files_of_the_hub(tmp_path: Path) -> None:
    write_rare_parquet(tmp_path)
    task = load_rare_species(tmp_path)
    assert task.sets[0].texts == RARE_TEXTS
    assert isinstance(task.pictures, ParquetPictures)
    colours = [task.pictures.read(position)[0, 0].tolist() for position in (5, 0, 3, 2)]
    assert colours == [list(COLOURS[colour]) for colour in ("blue", "red", "blue", "red")]


def test_rare_species_reads_the_exported_files(tmp_path: Path) -> None:
    rows = [
        {**{key: cell or "" for key, cell in row.items()}, "file_name": f"dataset/x/{row['rarespecies_id']}.png"}
        for row in rare_rows()
    ]
    for row in rows:
        put(tmp_path / row["file_name"], row["colour"])
    write_csv(tmp_path / "metadata.csv", rows)
    task = load_rare_species(tmp_path)
    assert task.sets[0].texts == RARE_TEXTS
    assert task.pictures.read(5)[0, 0].tolist() == list(COLOURS["blue"])


def test_rare_species_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"metadata\.csv is missing; Rare Species needs data/train-"):
        load_rare_species(tmp_path)
    (tmp_path / "data").mkdir()
    pyarrow.parquet.write_table(pa.table({"genus": ["A"]}), tmp_path / "data" / "train-0.parquet")
    with pytest.raises(SourceError, match="no column of pictures"):
        load_rare_species(tmp_path)


def test_a_parquet_cell_without_bytes_is_named(tmp_path: Path) -> None:
    table = pa.table(
        {"image": pa.array([{"bytes": None, "path": "x"}], pa.struct({"bytes": pa.binary(), "path": pa.string()}))}
    )
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(ImageError, match=r"a\.parquet, row 1: holds no image bytes"):
        ParquetPictures([tmp_path / "a.parquet"], "image").read(0)


def write_camera_traps(folder: Path) -> Path:
    ranks = {"kingdom": "Animalia", "phylum": "", "cls": "Mammalia", "order": "", "family": "F"}
    for collection in COLLECTIONS:
        rows: list[dict[str, Any]] = []
        for colour, genus in (("red", "Aus"), ("green", "Bus")):
            for copy in range(2):
                file = f"{collection}/{genus}{copy}.png"
                put(folder / "data" / "test" / file, colour)
                common = {"common_name": f"{colour} deer", "filepath": file}
                rows.append({"": len(rows), **ranks, "genus": genus, "species": "bus", **common})
        write_csv(folder / f"{collection}-balanced.csv", rows)
    return folder


def test_camera_traps_give_five_sets_and_their_mean(tmp_path: Path, colour_encoder: str) -> None:
    write_camera_traps(tmp_path)
    assert load_camera_traps(tmp_path).sets[1].texts[0] == "Animalia Mammalia F Aus bus with common name red deer"
    figures = run_protocol(
        PROTOCOLS["camera-traps"], tmp_path, load_encoder(colour_encoder, device="cpu"), effort=QUICK
    )
    assert values(figures, "IDLE-OO Camera Traps, mean of 5")["top-1", "zero-shot"] == 1
    assert [figure.label for figure in figures if figure.is_headline] == ["IDLE-OO Camera Traps, mean of 5"] * 3


def test_camera_traps_name_a_missing_table(tmp_path: Path) -> None:
    write_camera_traps(tmp_path)
    (tmp_path / "ENA24-balanced.csv").unlink()
    with pytest.raises(SourceError, match=r"ENA24-balanced\.csv is missing"):
        load_camera_traps(tmp_path)


def test_a_protocol_is_found_by_its_name_or_the_nearest_is_proposed() -> None:
    assert find_protocol("Rare_Species") is PROTOCOLS["rare-species"]
    with pytest.raises(InputError, match=r"'nabird' is not known; .* Did you mean 'nabirds'"):
        find_protocol("nabird")
    assert len(PROTOCOLS) == 10
