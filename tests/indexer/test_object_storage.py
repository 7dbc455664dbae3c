from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from indexer.check import check_corpus
from indexer.corpus import open_corpus
from indexer.errors import CorpusError, ImageError, SourceError
from indexer.images import read_image
from indexer.job import IndexReport, IndexSettings, Listener, index_images
from indexer.object_storage import list_objects, open_storage, read_address, read_object, stamp_object
from indexer.rejections import read_rejections
from indexer.sources import open_source
from indexer.vectors import load_vectors
from tests.indexer.photographs import paint_squares

BUCKET = "s3://museum"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A loopback server that answers as S3 does."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A bucket with four squares in folders that are named after species."""
    settings = {"ENDPOINT_URL": server, "ACCESS_KEY_ID": "key", "SECRET_ACCESS_KEY": "secret", "REGION": "us-east-1"}
    for name, value in settings.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    storage = open_storage()
    storage.clear_instance_cache()
    storage = open_storage()
    storage.mkdir("museum")
    names = ["red_1", "green_1", "blue_1", "yellow_1"]
    paint_squares(tmp_path / "squares", names)
    for name in names:
        folder = "Parus major" if name == "red_1" else "others"
        storage.put_file(str(tmp_path / "squares" / f"{name}.png"), f"museum/photos/{folder}/{name}.png")
    yield BUCKET
    storage.rm("museum", recursive=True)


def run(source: str, corpus: Path, model: str, manifest: str | None = None) -> IndexReport:
    settings = IndexSettings(
        source=Path(source),
        corpus=corpus,
        manifest=Path(manifest) if manifest else None,
        model=model,
        with_map=False,
    )
    return index_images(settings, Listener())


def test_an_address_survives_being_a_path() -> None:
    assert read_address(Path("s3://museum/photos/")) == "s3://museum/photos"
    assert read_address("s3://museum/a.png") == "s3://museum/a.png"
    assert read_address(Path("/data/s3:/museum")) is None
    assert read_address(Path("s3")) is None


def test_a_folder_of_objects_gives_the_vectors_of_the_same_files(
    bucket: str, tmp_path: Path, colour_encoder: str
) -> None:
    report = run(f"{bucket}/photos", tmp_path / "s3.corpus", colour_encoder)
    assert (report.n_embedded, report.n_rejected) == (4, 0)
    run(str(tmp_path / "squares"), tmp_path / "local.corpus", colour_encoder)
    remote, local = (open_corpus(tmp_path / f"{name}.corpus") for name in ("s3", "local"))
    assert check_corpus(remote).faults == ()
    columns = remote.read_columns(["record_id", "uri", "sha256", "species"]).to_pydict()
    assert columns["record_id"][0] == "Parus major/red_1.png"
    assert columns["uri"][0] == "s3://museum/photos/Parus major/red_1.png"
    assert columns["species"] == ["Parus major", None, None, None]
    assert set(columns["sha256"]) == set(local.read_columns(["sha256"]).column("sha256").to_pylist())
    vectors = {
        name: {
            sha: tuple(vector)
            for sha, vector in zip(
                corpus.read_columns(["sha256"]).column("sha256").to_pylist(),
                load_vectors(corpus.open_space()).values.tolist(),
                strict=True,
            )
        }
        for name, corpus in (("remote", remote), ("local", local))
    }
    assert vectors["remote"] == vectors["local"]
    assert run(f"{bucket}/photos", tmp_path / "s3.corpus", colour_encoder).n_present == 4


def test_a_table_names_objects_wherever_it_lies(bucket: str, tmp_path: Path, colour_encoder: str) -> None:
    table = tmp_path / "list.csv"
    table.write_text(
        "file,species\ns3://museum/photos/others/blue_1.png,Pica pica\ns3://museum/photos/others/none.png,Pica pica\n"
    )
    report = run(str(table), tmp_path / "a.corpus", colour_encoder)
    assert (report.n_embedded, report.n_rejected) == (1, 1)
    (refused,) = read_rejections(open_corpus(tmp_path / "a.corpus").rejected_path).values()
    assert "there is no such object" in refused.reason
    assert refused.still_stands

    table.write_text("file,species\nothers/blue_1.png,Pica pica\nothers/green_1.png,Pica pica\n")
    open_storage().put_file(str(table), "museum/photos/list.csv")
    for source, manifest in (
        (f"{bucket}/photos/list.csv", None),
        (f"{bucket}/photos", f"{bucket}/photos/list.csv"),
        (f"{bucket}/photos", str(table)),
    ):
        found = open_source(Path(source), manifest=Path(manifest) if manifest else None)
        assert found.records.column("uri").to_pylist() == [
            "s3://museum/photos/others/blue_1.png",
            "s3://museum/photos/others/green_1.png",
        ]


def test_a_refused_object_is_tried_again_once_it_has_changed(bucket: str, tmp_path: Path, colour_encoder: str) -> None:
    storage = open_storage()
    storage.pipe_file("museum/photos/others/blue_1.png", b"not an image")
    assert run(f"{bucket}/photos", tmp_path / "a.corpus", colour_encoder).n_rejected == 1
    storage.put_file(str(tmp_path / "squares" / "blue_1.png"), "museum/photos/others/blue_1.png")
    assert run(f"{bucket}/photos", tmp_path / "a.corpus", colour_encoder).n_embedded == 1


def test_an_object_is_refused_with_the_true_reason(bucket: str) -> None:
    address = f"{bucket}/photos/others/blue_1.png"
    size, changed = stamp_object(address)
    assert size > 0
    assert changed > 0
    assert stamp_object(f"{bucket}/none.png") == (-1, -1)
    with pytest.raises(ImageError, match=rf"the object has {size} bytes; at most 10 are read"):
        read_object(address, at_most=10)
    with pytest.raises(ImageError, match=r"^s3://museum/none.png: there is no such object"):
        read_image(Path(f"{bucket}/none.png"))
    assert list_objects(f"{bucket}/photos")[0] == "Parus major/red_1.png"


def test_an_empty_address_is_no_source(bucket: str) -> None:
    with pytest.raises(SourceError, match="no image in this folder"):
        open_source(Path(f"{bucket}/elsewhere"))
    with pytest.raises(SourceError, match="cannot be listed"):
        open_source(Path("s3://nobodys-bucket/photos"))


def test_a_corpus_in_object_storage_is_refused(tmp_path: Path, colour_encoder: str) -> None:
    source = paint_squares(tmp_path / "squares", ["red_1"])
    with pytest.raises(CorpusError, match=r"^s3://museum/a.corpus: a corpus lies on a local or shared disk"):
        run(str(source), Path("s3://museum/a.corpus"), colour_encoder)
    with pytest.raises(CorpusError, match="aws s3 sync"):
        open_corpus(Path("s3://museum/a.corpus"))
