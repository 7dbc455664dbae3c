"""`morphospace evaluate` on corpora, folders and runs, with an encoder whose answers a person can compute."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
import tomli_w
from jaxtyping import Float32

from explorer.evaluation_run import FIGURES, PLOT, TABLE, label_encoders, locate_encoder, run_evaluation
from explorer.evaluation_target import open_target
from explorer.training_leaks import list_leaks
from indexer.encoding import Encoder
from indexer.errors import InputError
from indexer.job import IndexSettings, Listener, index_images
from tests.indexer.photographs import paint_squares
from training.judge.comparison import Comparison
from training.judge.figures import Figure, Task
from training.progress import keep_quiet
from training.settings import override_config, parse_config, to_table

NAMES = [f"{colour}_{number}" for colour in ("red", "green", "blue", "white") for number in range(4)]


def paint(folder: Path) -> Path:
    """Squares of different sides, since pictures with the same bytes would be one occurrence."""
    for name in NAMES:
        paint_squares(folder, [name], side=40 + int(name[-1]))
    return folder


def write_manifest(folder: Path) -> Path:
    """Squares of four colours; the colour is the genus, and every two pictures are of one occurrence."""
    lines = ["file,genus,shade,occurrenceID"]
    for place, name in enumerate(NAMES):
        colour = name.split("_")[0]
        shade = "light" if colour == "white" else "dark"
        lines.append(f"{name}.png,{colour},{shade},o{place // 2}")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_manifest(paint(tmp_path_factory.mktemp("squares")))


@pytest.fixture(scope="module")
def corpus(squares: Path, colour_encoder: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("judged") / "squares.corpus"
    settings = IndexSettings(
        source=squares, corpus=path, manifest=squares / "manifest.csv", model=colour_encoder, with_map=False
    )
    index_images(settings, Listener())
    return path


def find(comparison: Comparison, task: Task, label: str) -> tuple[Figure, ...]:
    return next(
        row.figures for row in comparison.headlines() if (row.figures[0].task, row.figures[0].label) == (task, label)
    )


def test_two_encoders_are_judged_on_a_corpus(
    corpus: Path, colour_encoder: str, tiny_encoder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    comparison = run_evaluation(
        colour_encoder, on=corpus, compare=[tiny_encoder], columns=["shade"], out=tmp_path / "judged"
    )
    colour, tiny = find(comparison, Task.ZERO_SHOT, "genus")
    assert (colour.estimate.value, colour.chance, colour.n, colour.n_occurrences) == (1, 0.25, 16, 8)
    assert tiny.estimate.value < 1
    printed = capsys.readouterr()
    assert "## Naming without examples" in printed.out
    assert "16 vectors are taken from space" in printed.err
    assert (tmp_path / "judged" / PLOT).read_bytes().startswith(b"\x89PNG")
    assert "Less is better." not in (tmp_path / "judged" / TABLE).read_text(encoding="utf-8")
    figures = json.loads((tmp_path / "judged" / FIGURES).read_text(encoding="utf-8"))
    assert set(figures["figures"]) == set(comparison.encoders)


def test_vectors_of_the_corpus_are_those_that_would_be_embedded(
    corpus: Path, squares: Path, colour_encoder: str
) -> None:
    stored = run_evaluation(colour_encoder, on=corpus)
    embedded = run_evaluation(colour_encoder, on=squares)
    assert stored.on == "squares.corpus"
    for first, second in zip(stored.rows, embedded.rows, strict=True):
        assert first.figures[0].estimate.value == pytest.approx(second.figures[0].estimate.value, abs=1e-3)


def test_a_picture_that_cannot_be_read_is_left_out_and_told(squares: Path, colour_encoder: str, tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    shutil.copytree(squares, folder)
    (folder / "red_0.png").write_bytes(b"no picture")
    comparison = run_evaluation(colour_encoder, on=folder)
    assert find(comparison, Task.ZERO_SHOT, "genus")[0].n == 15
    (told,) = [omission for omission in comparison.omissions if "cannot be read" in omission.what]
    assert told.what.startswith("1 pictures")
    assert "red_0.png" in told.why


def test_pictures_with_the_same_bytes_are_one_occurrence(squares: Path, colour_encoder: str, tmp_path: Path) -> None:
    folder = tmp_path / "copies"
    shutil.copytree(squares, folder)
    shutil.copy(folder / "red_0.png", folder / "red_2.png")
    comparison = run_evaluation(colour_encoder, on=folder)
    assert find(comparison, Task.ZERO_SHOT, "genus")[0].n_occurrences == 7


def test_pictures_of_which_none_can_be_read_are_an_error(squares: Path, colour_encoder: str, tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    shutil.copytree(squares, folder)
    for name in NAMES:
        (folder / f"{name}.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"none of its 16 pictures can be read.*red_0\.png"):
        run_evaluation(colour_encoder, on=folder)


def test_a_run_is_judged_on_what_it_kept_from_training_and_warned_of_elsewhere(
    corpus: Path, colour_encoder: str, tmp_path: Path
) -> None:
    run = write_run(tmp_path / "run", corpus, colour_encoder)
    assert locate_encoder(str(run)) == f"local-dir:{run / 'encoder'}"
    kept = run_evaluation(str(run), on=run, columns=["shade"])
    assert kept.on == "run (validation part)"
    assert 0 < find(kept, Task.ZERO_SHOT, "genus")[0].n < 16
    assert not any("trained on" in omission.what for omission in kept.omissions)
    everywhere = run_evaluation(str(run), on=corpus)
    n_learned = 16 - find(kept, Task.ZERO_SHOT, "genus")[0].n
    (told,) = [omission for omission in everywhere.omissions if "trained on" in omission.what]
    assert told.what == f"run was trained on {n_learned} of these 16 pictures"
    assert str(run) in told.why


def list_notes(encoders: dict[str, Path | str], on: Path) -> list[str]:
    target = open_target(on, [], seed=0, announce=lambda line: None, progress=keep_quiet)
    named = {label: str(encoder) for label, encoder in encoders.items()}
    return [note.what for note in list_leaks(target, named, on)]


def test_a_run_is_known_by_its_exported_encoder_too(corpus: Path, colour_encoder: str, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", corpus, colour_encoder)
    (told,) = list_notes({"birds": f"local-dir:{run / 'encoder'}"}, corpus)
    assert told == "birds was trained on 8 of these 16 pictures"


def test_the_pictures_that_one_run_kept_were_learned_from_by_a_run_of_another_seed(
    corpus: Path, colour_encoder: str, tmp_path: Path
) -> None:
    first = write_run(tmp_path / "first", corpus, colour_encoder)
    second = write_run(tmp_path / "second", corpus, colour_encoder, seed=1)
    assert list_notes({"first": first}, first) == []
    (told,) = list_notes({"first": first, "second": second}, first)
    assert told.startswith("second was trained on ")
    assert told.endswith(" of these 8 pictures")


def test_what_the_run_that_another_started_from_has_learned_counts_too(
    corpus: Path, colour_encoder: str, tmp_path: Path
) -> None:
    first = write_run(tmp_path / "first", corpus, colour_encoder, seed=1)
    second = write_run(tmp_path / "second", corpus, colour_encoder, start=str(first))
    learned = 16 - len({*read_kept(first)} & {*read_kept(second)})
    assert learned > 8
    assert list_notes({"second": second}, corpus) == [f"second was trained on {learned} of these 16 pictures"]


def read_kept(run: Path) -> list[str]:
    parts = pyarrow.parquet.read_table(run / "split.parquet").to_pylist()
    return [row["record_id"] for row in parts if row["part"] == "validation"]


def test_pictures_of_another_folder_are_known_by_their_bytes(
    corpus: Path, squares: Path, colour_encoder: str, tmp_path: Path
) -> None:
    run = write_run(tmp_path / "run", corpus, colour_encoder)
    copy = tmp_path / "elsewhere"
    shutil.copytree(squares, copy)
    assert list_notes({"run": run}, copy) == ["run was trained on 8 of these 16 pictures"]


def test_it_is_said_of_which_encoders_the_training_is_not_known(
    corpus: Path, squares: Path, colour_encoder: str, tmp_path: Path
) -> None:
    run = write_run(tmp_path / "run", squares / "gone.corpus", colour_encoder, start=colour_encoder, corpus_of=corpus)
    (told,) = list_notes({"colours": colour_encoder, "run": run}, corpus)
    assert told == f"Training pictures of colours, run (started from {colour_encoder})"
    assert list_notes({"bundled": "bundled"}, corpus) == []


def write_run(
    run: Path, corpus: Path, encoder: str, *, seed: int = 0, start: str = "small", corpus_of: Path | None = None
) -> Path:
    """The folder of a finished run on the corpus, whose encoder is the colour encoder.

    `corpus_of` holds the pictures where the corpus itself is gone.
    """
    from training.datasets import open_dataset
    from training.splits import split_dataset, write_split

    shutil.copytree(encoder.removeprefix("local-dir:"), run / "encoder")
    changes = {"data.validation_share": 0.5, "seed": seed, "model.start": start, "data.source": str(corpus)}
    config = override_config(parse_config({}, where="test"), changes)
    (run / "config.toml").write_text(tomli_w.dumps(to_table(config)), encoding="utf-8")
    there = override_config(config, {"data.source": str(corpus_of or corpus)})
    records = open_dataset(there, image_side=32).records
    write_split(split_dataset(records, config.data, config.seed), records, run)
    return run


def test_of_too_many_pictures_whole_occurrences_are_drawn(corpus: Path) -> None:
    target = open_target(corpus, [], seed=0, announce=lambda line: None, progress=keep_quiet, limit=7)
    occurrences = target.records.column("occurrence_id").to_pylist()
    assert len(occurrences) == 6
    assert all(occurrences.count(one) == 2 for one in occurrences)
    assert target.notes[0].what == "10 of 16 pictures"
    assert target.pictures.read(0).shape[2] == 3


def test_no_occurrence_within_the_limit_is_an_error_and_not_an_empty_evaluation(corpus: Path) -> None:
    with pytest.raises(InputError, match="every occurrence has more than 1 pictures"):
        open_target(corpus, [], seed=0, announce=lambda line: None, progress=keep_quiet, limit=1)


def test_a_column_is_found_by_the_name_that_the_table_gave_it(
    squares: Path, colour_encoder: str, tmp_path: Path
) -> None:
    folder = tmp_path / "named"
    shutil.copytree(squares, folder)
    manifest = folder / "manifest.csv"
    manifest.write_text(manifest.read_text(encoding="utf-8").replace("shade", "subspecies"), encoding="utf-8")
    target = open_target(folder, ["subspecies"], seed=0, announce=lambda line: None, progress=keep_quiet)
    assert set(target.records.column("subspecies").to_pylist()) == {"dark", "light"}


def test_protocols_name_by_the_eighty_sentences_of_the_papers(
    colour_encoder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    encode = Encoder.encode_texts

    def listen(self: Encoder, texts: list[str]) -> Float32[np.ndarray, "n d"]:
        asked.extend(texts)
        return encode(self, texts)

    monkeypatch.setattr(Encoder, "encode_texts", listen)
    run_evaluation(colour_encoder, on=write_album(tmp_path / "SQ_Mini"), protocol="meta-album")
    assert len(set(asked)) == 4 * 80
    assert {"a bad photo of a red.", "itap of a blue."} <= set(asked)


def write_album(folder: Path) -> Path:
    paint(folder / "images")
    lines = [f"{name}.png,{name.split('_')[0]},colour" for name in NAMES]
    (folder / "labels.csv").write_text("\n".join(["FILE_NAME,CATEGORY,SUPER_CATEGORY", *lines]), encoding="utf-8")
    return folder


def test_a_protocol_is_run_on_its_data_set(colour_encoder: str, tmp_path: Path) -> None:
    comparison = run_evaluation(colour_encoder, on=write_album(tmp_path / "SQ_Mini"), protocol="meta-album")
    named = find(comparison, Task.PROTOCOL, "SQ_Mini")[0]
    assert (named.measure, named.estimate.value, named.n) == ("top-1", 1, 16)


def test_what_cannot_be_asked_is_said_before_anything_is_loaded(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--column shape: squares\.corpus has no such column"):
        run_evaluation("no-such-model", on=corpus, columns=["shape"])
    with pytest.raises(InputError, match="there is no such thing"):
        run_evaluation("no-such-model", on=tmp_path / "nowhere")
    with pytest.raises(InputError, match="a protocol brings its own labels"):
        run_evaluation("no-such-model", on=corpus, columns=["shade"], protocol="nabirds")
    with pytest.raises(InputError, match=r"images\.txt.* are missing; NABirds needs"):
        run_evaluation("no-such-model", on=tmp_path, protocol="nabirds")
    with pytest.raises(InputError, match="is named already"):
        run_evaluation("bundled", on=corpus, compare=["bundled"])


def test_encoders_have_short_names_unless_two_would_be_called_the_same() -> None:
    assert label_encoders(["local-dir:/a/birds", "runs/second/", "bundled"]) == ["birds", "second", "bundled"]
    assert label_encoders(["a/encoder", "b/encoder"]) == ["a/encoder", "b/encoder"]
