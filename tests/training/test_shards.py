"""TreeOfLife's tars: what is read from the texts beside each image, and what is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from indexer.errors import InputError
from tests.training.small_datasets import CodeLetters, square
from tests.training.tiny_tars import encode_jpeg, mean_colour, serve_folder, write_bioclip_texts, write_tar
from training.datasets import open_dataset
from training.examples import Dataset
from training.loading import load_batches
from training.settings import TrainingConfig, override_config
from training.shards import read_facts, read_names, read_tag

MAGPIE = ("Animalia", "Chordata", "Aves", "Passeriformes", "Corvidae", "Pica", "pica")
RANKS = ("kingdom", "phylum", "class", "order", "family", "genus", "species")


def _configure(tmp_path: Path, source: str, **changes: Any) -> TrainingConfig:
    named = {name.replace("__", "."): value for name, value in changes.items()}
    return override_config(TrainingConfig(), {"data.source": source, "data.cache": str(tmp_path / "cache"), **named})


def _open(tmp_path: Path, source: str, lines: list[str] | None = None, **changes: Any) -> Dataset:
    told = [] if lines is None else lines
    return open_dataset(_configure(tmp_path, source, **changes), image_side=16, announce=told.append)


def _row(dataset: Dataset, position: int) -> dict[str, Any]:
    row: dict[str, Any] = dataset.records.slice(position, 1).to_pylist()[0]
    return row


def test_a_tar_in_bioclips_layout_gives_pictures_and_names(tmp_path: Path) -> None:
    colours = [(240, 20, 20), (20, 240, 20)]
    samples = {
        "uuid-1": {"jpg": encode_jpeg(colours[0]), **write_bioclip_texts(MAGPIE, "Eurasian magpie")},
        "uuid-2": {"jpg": encode_jpeg(colours[1]), **write_bioclip_texts(("Animalia", *[""] * 5, ""), None)},
    }
    write_tar(tmp_path / "shard-00000.tar", samples)
    dataset = _open(tmp_path, str(tmp_path / "shard-00000.tar"))
    assert [_row(dataset, 0)[rank] for rank in RANKS] == [*MAGPIE[:-1], "Pica pica"]
    assert _row(dataset, 0)["vernacularName"] == "Eurasian magpie"
    assert _row(dataset, 0)["record_id"] == "uuid-1"
    assert _row(dataset, 0)["occurrence_id"] is None
    assert [_row(dataset, 1)[rank] for rank in RANKS] == ["Animalia", *[None] * 6]
    assert _row(dataset, 1)["vernacularName"] is None
    for position, colour in enumerate(colours):
        np.testing.assert_allclose(mean_colour(dataset.read_image(position)), colour, atol=3)


def test_many_tars_of_a_server_are_one_dataset(tmp_path: Path) -> None:
    texts = write_bioclip_texts(MAGPIE, None)
    for number in range(3):
        write_tar(tmp_path / f"shard-{number:05d}.tar", {"k": {"png": encode_jpeg((0, 80 * number, 0)), **texts}})
    with serve_folder(tmp_path) as server:
        dataset = _open(tmp_path, f"{server.url}/shard-{{00000..00002}}.tar")
    assert len(dataset) == 3
    assert [_row(dataset, i)["record_id"][-2:] for i in range(3)] == ["/k"] * 3
    assert len(set(dataset.records["record_id"].to_pylist())) == 3
    greens = [mean_colour(dataset.read_image(i))[1] for i in range(3)]
    np.testing.assert_allclose(greens, [0, 80, 160], atol=3)


def test_images_without_a_name_are_left_out_and_counted(tmp_path: Path) -> None:
    red = encode_jpeg((200, 0, 0))
    samples: dict[str, dict[str, Any]] = {
        "a": {"jpg": red, "taxonTag.txt": "a photo of unknown taxonomy.", "sci.txt": "a photo of Unknown."},
        "b": {"jpg": red, "sci.txt": "a photo of Pica pica."},
        "c": {"jpg": red, "txt": "a bird on a roof"},
        "d": {"sci.txt": "a photo of Corvus corax."},
    }
    write_tar(tmp_path / "x.tar", samples)
    lines: list[str] = []
    dataset = _open(tmp_path, str(tmp_path), lines)
    assert dataset.records["record_id"].to_pylist() == ["b"]
    assert any("2 images have neither name nor trait" in line for line in lines)


def test_a_tar_of_general_captions_is_refused_with_the_way_to_go(tmp_path: Path) -> None:
    write_tar(tmp_path / "x.tar", {"c": {"jpg": encode_jpeg((1, 2, 3)), "txt": "a bird on a roof"}})
    with pytest.raises(InputError, match=r"none of its 1 images has a name .* belong into replay\.source"):
        _open(tmp_path, str(tmp_path / "x.tar"))


def test_a_json_beside_the_image_adds_occurrence_and_traits(tmp_path: Path) -> None:
    facts = {"occurrenceID": "occ-7", "life_stage": "juvenile", "genus": "Wrong", "order": "Given", "nested": {"a": 1}}
    texts = {"taxonTag.txt": "a photo of family Corvidae genus Pica species pica.", "json": json.dumps(facts)}
    write_tar(tmp_path / "x.tar", {"a": {"jpg": encode_jpeg((9, 9, 9)), **texts}})
    row = _row(_open(tmp_path, str(tmp_path / "x.tar")), 0)
    assert row["occurrence_id"] == "occ-7"
    assert row["lifeStage"] == "juvenile"
    assert (row["order"], row["genus"], row["species"]) == ("Given", "Pica", "Pica pica")


def test_a_broken_image_names_its_tar_and_key(tmp_path: Path) -> None:
    sample = {"jpg": encode_jpeg((9, 9, 9))[:200], "sci.txt": "a photo of Pica pica."}
    write_tar(tmp_path / "x.tar", {"key-9": sample})
    with pytest.raises(InputError, match=r"x\.tar, key-9: .*(truncated|cut short)"):
        _open(tmp_path, str(tmp_path / "x.tar")).read_image(0)


def test_batches_come_out_of_tars(tmp_path: Path) -> None:
    texts = write_bioclip_texts(MAGPIE, "magpie")
    samples = {f"k{i}": {"jpg": encode_jpeg((i * 40, 0, 0)), **texts} for i in range(6)}
    write_tar(tmp_path / "x.tar", samples)
    still = {"data__mirror": False, "data__max_shift": 0, "data__light": 0}
    config = _configure(tmp_path, str(tmp_path / "x.tar"), **still)
    dataset = open_dataset(config, image_side=16)
    batch = next(load_batches(dataset, [np.array([5, 1, 3])], config, square(), CodeLetters()))
    np.testing.assert_allclose(batch.pixels[:, 0].float().mean(dim=(1, 2)).numpy(), [200, 40, 120], atol=3)


def test_ranks_are_read_from_tags_whatever_is_missing() -> None:
    assert read_tag("kingdom Animalia class Aves genus Pica species pica") == {
        "kingdom": "Animalia",
        "class": "Aves",
        "genus": "Pica",
        "species": "pica",
    }
    assert read_tag("kingdom Plantae family Poaceae") == {"kingdom": "Plantae", "family": "Poaceae"}
    assert read_tag("order Incertae sedis family Unknown genus Aus") == {"order": "Incertae sedis", "genus": "Aus"}
    assert read_tag("nothing of the kind") == {}


def test_ranks_that_are_tagged_but_empty_are_left_out() -> None:
    assert read_tag("kingdom Animalia phylum  class Aves order family Corvidae genus Pica species") == {
        "kingdom": "Animalia",
        "class": "Aves",
        "family": "Corvidae",
        "genus": "Pica",
    }
    assert read_tag("kingdom phylum class order family genus species") == {}
    assert read_tag("family Classidae genus Speciesia species generica") == {
        "family": "Classidae",
        "genus": "Speciesia",
        "species": "generica",
    }


@pytest.mark.parametrize("word", ["unknown", "nan", "None", "NULL", "na"])
def test_words_for_a_missing_name_are_no_names(word: str) -> None:
    assert read_tag(f"kingdom Animalia class {word} genus Pica species {word}") == {
        "kingdom": "Animalia",
        "genus": "Pica",
    }
    assert _species(taxontag__txt=f"genus Pica species {word}", sci__txt=f"a photo of Pica {word}.") == ("Pica", None)
    full = read_names({"taxon.txt": f"a photo of Animalia {word.capitalize()} {' '.join(MAGPIE[2:])}."})
    assert full.ranks == (MAGPIE[0], None, *MAGPIE[2:-1], "Pica pica")
    told = {"sci.txt": "a photo of Pica pica.", "com.txt": f"a photo of {word}."}
    assert read_names(told).vernacular is None
    assert read_names({"sci_com.txt": f"a photo of Pica pica with common name {word}."}).vernacular is None
    assert read_facts(json.dumps({"order": word, "sex": word, "genus": "Pica"})) == {"genus": "Pica"}
    assert read_facts('{"order": NaN}') == {}


def _species(**texts: str) -> tuple[str | None, str | None]:
    ranks = read_names({name.replace("__", "."): text for name, text in texts.items()}).ranks
    return ranks[5], ranks[6]


def test_an_epithet_is_joined_to_its_genus_alone() -> None:
    assert _species(taxontag__txt="genus Pica species pica") == ("Pica", "Pica pica")
    assert _species(taxontag__txt="genus Pica species Pica pica") == ("Pica", "Pica pica")
    assert _species(taxontag__txt="genus Canis species lupus familiaris") == ("Canis", "Canis lupus")
    assert _species(taxontag__txt="family Corvidae species pica") == (None, None)
    assert _species(taxontag__txt="genus Aus species sp. 3") == ("Aus", None)


def test_a_subspecies_in_place_of_the_epithet_is_set_right_by_the_scientific_name() -> None:
    texts = {"taxontag__txt": "genus Canis species familiaris", "scientific_name__txt": "Canis lupus familiaris"}
    assert _species(**texts) == ("Canis", "Canis lupus")
    texts = {"taxontag__txt": "genus Pica species pica", "sci__txt": "a photo of Pica pica (Linnaeus, 1758)."}
    assert _species(**texts) == ("Pica", "Pica pica")
    texts = {"taxontag__txt": "genus Felis species catus", "sci__txt": "a photo of Canis lupus."}
    assert _species(**texts) == ("Felis", "Felis catus")


def test_without_tags_only_all_seven_names_are_taken_by_position() -> None:
    full = read_names({"taxon.txt": f"a photo of {' '.join(MAGPIE)}."})
    assert full.ranks == (*MAGPIE[:-1], "Pica pica")
    holed = {"taxon.txt": "a photo of Animalia Aves Corvidae Pica pica.", "sci.txt": "a photo of Pica pica."}
    assert read_names(holed).ranks == (None,) * 5 + ("Pica", "Pica pica")
    assert read_names({"taxon.txt": "a photo of Animalia Aves Corvidae Pica pica."}).ranks == (None,) * 7
    subspecies = "a photo of Chordata Aves Corvidae Passeriformes Pica pica fennorum."
    assert read_names({"taxon.txt": subspecies}).ranks == (None,) * 7


def test_a_common_name_that_repeats_the_scientific_one_is_none() -> None:
    assert read_names(write_bioclip_texts(MAGPIE, None)).vernacular is None
    assert read_names(write_bioclip_texts(MAGPIE, "Magpie")).vernacular == "Magpie"
    only = {"taxontag_com.txt": "a photo of genus Pica species pica with common name Eurasian magpie."}
    names = read_names(only)
    assert (names.ranks[6], names.vernacular) == ("Pica pica", "Eurasian magpie")
