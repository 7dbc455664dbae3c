"""A corpus as training pictures, and how `data.source` is told apart."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from indexer.corpus import Corpus, create_corpus
from indexer.errors import InputError
from indexer.records import ImageFacts, admit_columns, append_records
from tests.corpora import angles, make_vector_corpus
from tests.training.small_datasets import CodeLetters, square
from training.datasets import is_tars, open_dataset
from training.examples import Dataset
from training.loading import load_batches
from training.settings import TrainingConfig, override_config

STILL = {"data.mirror": False, "data.max_shift": 0, "data.light": 0}


def _make_corpus(path: Path, columns: Mapping[str, Any]) -> Corpus:
    """A corpus of grey pictures, the i-th of level 10 i."""
    n = len(next(iter(columns.values())))
    folder = path.parent / "pictures"
    folder.mkdir(exist_ok=True)
    facts, uris = [], []
    for i in range(n):
        file = folder / f"{i}.png"
        Image.new("RGB", (20, 10), (10 * i,) * 3).save(file)
        data = file.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        facts.append(ImageFacts(sha256=digest, n_bytes=len(data), width=20, height=10, thumbnail=b""))
        uris.append(str(file))
    ids = [f"r{i}" for i in range(n)]
    records = pa.table({"record_id": ids, "occurrence_id": [f"o{i // 2}" for i in range(n)], "uri": uris, **columns})
    corpus = create_corpus(path)
    with corpus.lock():
        admit_columns(corpus, records.schema)
        append_records(corpus, records, facts)
    return corpus


def _open(corpus: Corpus, lines: list[str] | None = None, **changes: Any) -> Dataset:
    told = [] if lines is None else lines
    config = override_config(TrainingConfig(), {"data.source": str(corpus.path), **changes})
    return open_dataset(config, image_side=16, announce=told.append)


def test_a_corpus_gives_its_pictures_names_and_traits(tmp_path: Path) -> None:
    columns = {
        "genus": ["Pica", "Corvus"],
        "species": ["Pica pica", "Corvus corax"],
        "vernacularName": ["magpie", None],
        "sex": [None, "male"],
        "year": [1999, 2001],
    }
    lines: list[str] = []
    dataset = _open(_make_corpus(tmp_path / "x.corpus", columns), lines, **{"data.measure": ["year"]})
    assert len(dataset) == 2
    row = dataset.records.slice(1, 1).to_pylist()[0]
    assert (row["record_id"], row["occurrence_id"], row["species"]) == ("r1", "o0", "Corvus corax")
    assert (row["kingdom"], row["vernacularName"], row["sex"], row["year"]) == (None, None, "male", "2001")
    assert all(kind == pa.string() for kind in dataset.records.schema.types)
    assert len(row["sha256"]) == 64
    assert dataset.read_image(1).shape == (10, 20, 3)
    assert dataset.read_image(1).mean() == 10
    assert lines == ["x.corpus: has no column lifeStage, season, organism, shape; captions and measures do without"]


def test_a_species_comes_from_the_scientific_name_where_that_is_safe(tmp_path: Path) -> None:
    columns = {
        "scientificName": ["Pica pica (Linnaeus, 1758)", "Pica sp.", "Corvus corax", "Pica pica", "Pica"],
        "taxonRank": ["species", "genus", None, None, "genus"],
        "genus": [None, "Pica", "Larus", "Pica", "Pica"],
        "species": [None, None, None, "Pica given", None],
    }
    dataset = _open(_make_corpus(tmp_path / "x.corpus", columns))
    by_id = dict(zip(dataset.records["record_id"].to_pylist(), dataset.records["species"].to_pylist(), strict=True))
    assert by_id == {"r0": "Pica pica", "r1": None, "r2": None, "r3": "Pica given", "r4": None}


def test_records_of_which_nothing_can_be_said_are_left_out_and_counted(tmp_path: Path) -> None:
    columns = {"genus": ["Pica", None, None], "sex": [None, None, "male"], "locality": ["a", "b", "c"]}
    lines: list[str] = []
    corpus = _make_corpus(tmp_path / "x.corpus", columns)
    assert _open(corpus, lines).records["record_id"].to_pylist() == ["r0", "r2"]
    assert "1 images have neither name nor trait" in lines[0]
    nameless = {"captions.adjectives": [], "captions.nouns": ["locality"], "captions.phrases": []}
    assert len(_open(corpus, **nameless)) == 3


def test_a_corpus_without_anything_to_learn_is_refused(tmp_path: Path) -> None:
    corpus = _make_corpus(tmp_path / "x.corpus", {"locality": ["a", "b"]})
    with pytest.raises(InputError, match=r"x\.corpus: none of its 2 images has a name.* --manifest TABLE"):
        _open(corpus)
    vectors, _ = make_vector_corpus(tmp_path / "v.corpus", angles(0, 90), columns={"genus": ["Pica", "Pica"]})
    with pytest.raises(InputError, match=r"v\.corpus: none of its 0 images"):
        _open(vectors)


def test_a_misspelt_column_is_met_with_the_near_one(tmp_path: Path) -> None:
    lines: list[str] = []
    corpus = _make_corpus(tmp_path / "x.corpus", {"genus": ["Pica"], "lifeStage": ["adult"]})
    _open(corpus, lines, **{"captions.adjectives": ["lifestage"], "captions.nouns": [], "captions.phrases": []})
    assert lines == [
        "x.corpus: has no column lifestage (did you mean lifeStage?), sex; captions and measures do without"
    ]


def test_a_picture_that_changed_or_went_is_named(tmp_path: Path) -> None:
    dataset = _open(_make_corpus(tmp_path / "x.corpus", {"genus": ["Pica", "Pica"]}))
    Image.new("RGB", (20, 10), (99, 0, 0)).save(tmp_path / "pictures" / "0.png")
    (tmp_path / "pictures" / "1.png").unlink()
    with pytest.raises(InputError, match=r"0\.png: the file has changed since x\.corpus was made"):
        dataset.read_image(0)
    with pytest.raises(InputError, match=r"1\.png: there is no such file"):
        dataset.read_image(1)


def test_batches_come_out_of_a_corpus(tmp_path: Path) -> None:
    corpus = _make_corpus(tmp_path / "x.corpus", {"genus": ["Pica"] * 6})
    config = override_config(TrainingConfig(), {"data.source": str(corpus.path), **STILL})
    dataset = open_dataset(config, image_side=16)
    batch = next(load_batches(dataset, [np.array([4, 0, 2])], config, square(), CodeLetters()))
    assert batch.pixels[:, 0, 3, 3].tolist() == [40, 0, 20]


def test_a_source_that_is_nothing_known_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    config = override_config(TrainingConfig(), {"data.source": str(tmp_path)})
    with pytest.raises(InputError, match=r"neither a corpus .* nor tars .* morphospace index IMAGES"):
        open_dataset(config, image_side=16)


def test_tars_are_known_by_their_ending_or_their_folder(tmp_path: Path) -> None:
    assert is_tars("shards/{000..123}.tar")
    assert is_tars("https://host/x.tar?token=1")
    assert not is_tars(str(tmp_path))
    (tmp_path / "x.tar").touch()
    assert is_tars(str(tmp_path))


@pytest.mark.shared
def test_the_real_photographs_are_read_through_their_corpus(shared_data: Path, tmp_path: Path) -> None:
    from indexer.images import read_image

    paths = sorted((shared_data / "images" / "heliconius").glob("*.png"))[:4]
    corpus = _make_corpus(tmp_path / "x.corpus", {"genus": ["Heliconius"] * 4})
    images = [read_image(path) for path in paths]
    records = pa.table(
        {
            "record_id": [path.name for path in paths],
            "occurrence_id": [path.name.split("_")[0] for path in paths],
            "uri": [str(path) for path in paths],
            "genus": ["Heliconius"] * 4,
        }
    )
    with corpus.lock():
        append_records(corpus, records, [ImageFacts.of(image) for image in images])
    dataset = _open(corpus)
    assert len(dataset) == 8
    for position, image in enumerate(images):
        np.testing.assert_array_equal(dataset.read_image(4 + position), image.pixels)
