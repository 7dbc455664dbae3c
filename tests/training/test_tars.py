"""Tars listed, fetched and read: against tarfile and webdataset's own writer."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from indexer.errors import InputError
from tests.training.tiny_tars import encode_jpeg, serve_folder, write_tar
from training import tars
from training.progress import keep_quiet
from training.tars import fetch_tars, list_tars, open_cache, read_bytes, read_contents

RED, BLUE = encode_jpeg((250, 0, 0)), encode_jpeg((0, 0, 250))


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tars, "_PAUSES", (0.0, 0.0))


@pytest.fixture
def tar(tmp_path: Path) -> Path:
    samples = {"a": {"jpg": RED, "sci.txt": "Aus bus"}, "b": {"jpg": BLUE, "sci.txt": "Cus dus", "json": "{}"}}
    return write_tar(tmp_path / "shard-000.tar", samples)


def test_braces_globs_and_folders_name_tars_in_order(tmp_path: Path) -> None:
    for name in ("s-008.tar", "s-009.tar", "s-010.tar", "other.tar", "notes.txt"):
        (tmp_path / name).touch()
    braces = [str(tmp_path / f"s-{number}.tar") for number in ("008", "009", "010")]
    assert list_tars(f"{tmp_path}/s-{{008..010}}.tar") == braces
    assert list_tars(f"{tmp_path}/s-*.tar") == braces
    assert list_tars(str(tmp_path)) == [str(tmp_path / "other.tar"), *braces]
    assert list_tars("https://host/{a,b}-{0..1}.tar") == [f"https://host/{x}.tar" for x in ("a-0", "a-1", "b-0", "b-1")]


def test_a_tar_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"s-1\.tar: there is no such tar; check the path"):
        list_tars(f"{tmp_path}/s-{{1..2}}.tar")


def test_contents_find_the_bytes_of_every_image(tar: Path, tmp_path: Path) -> None:
    table = read_contents([tar], tmp_path, progress=keep_quiet)
    assert table["key"].to_pylist() == ["a", "b"]
    assert table["sci.txt"].to_pylist() == ["Aus bus", "Cus dus"]
    assert table["json"].to_pylist() == [None, "{}"]
    places = zip(table["start"].to_pylist(), table["size"].to_pylist(), strict=True)
    assert [read_bytes(tar, *place) for place in places] == [RED, BLUE]


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_form_of_tar_reads_as_tarfile_reads_it(form: int, tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    deep = f"{'folder/' * 12}{'k' * 60}"
    names = ["short.jpg", f"{deep}.jpg", f"{deep}.taxonTag.txt", "b.c/key.JPG", "b.c/key.com.TXT"]
    if form != tarfile.USTAR_FORMAT:
        names += [f"{'n' * 200}.jpg", "größe.jpg", "größe.sci.txt"]
    with tarfile.open(path, "w", format=form) as archive:
        archive.addfile(_member("folder", 0, kind=tarfile.DIRTYPE))
        for name in names:
            archive.addfile(_member(name, len(name)), io.BytesIO(name.encode()[: len(name)]))
    table = read_contents([path], tmp_path, progress=keep_quiet)
    with tarfile.open(path) as archive:
        expected = {m.name.partition(".jpg")[0].partition(".JPG")[0]: m.offset_data for m in archive if _is_image(m)}
    assert dict(zip(table["key"].to_pylist(), table["start"].to_pylist(), strict=True)) == expected
    assert table["taxontag.txt"].to_pylist()[1] == f"{deep}.taxonTag.txt"
    assert table["com.txt"].to_pylist()[2] == "b.c/key.com.TXT"


def test_sizes_from_eight_gigabytes_on_are_read() -> None:
    for size in (0, 511, 8**11 - 1, 8**11, 2**40 + 7):
        header = tarfile.TarInfo("x")
        header.size = size
        assert tars._read_number(header.tobuf(tarfile.GNU_FORMAT)[124:136]) == size


def test_a_table_of_contents_is_made_once_until_the_tar_changes(tar: Path, tmp_path: Path) -> None:
    first = read_contents([tar], tmp_path, progress=keep_quiet)
    kept = list((tmp_path / "contents").glob("*.parquet"))
    stamp = kept[0].stat().st_mtime_ns
    assert read_contents([tar], tmp_path, progress=keep_quiet).equals(first)
    assert [path.stat().st_mtime_ns for path in kept] == [stamp]
    write_tar(tar, {"new": {"jpg": RED, "sci.txt": "Eus fus"}})
    assert read_contents([tar], tmp_path, progress=keep_quiet)["key"].to_pylist() == ["new"]


def test_a_tar_cut_short_anywhere_is_named(tar: Path, tmp_path: Path) -> None:
    whole = tar.read_bytes()
    with tarfile.open(tar) as archive:
        members = archive.getmembers()
        end = archive.offset
    for n_bytes in (100, members[0].offset_data + 10, members[1].offset, members[2].offset + 77, end):
        cut = tmp_path / f"cut-{n_bytes}.tar"
        cut.write_bytes(whole[:n_bytes])
        with pytest.raises(InputError, match=rf"cut-{n_bytes}\.tar: is cut short at byte {n_bytes:,}.*Fetch or write"):
            read_contents([cut], tmp_path, progress=keep_quiet)


def test_a_damaged_compressed_or_foreign_file_is_named(tar: Path, tmp_path: Path) -> None:
    content = bytearray(tar.read_bytes())
    with tarfile.open(tar) as archive:
        content[archive.getmembers()[1].offset + 3] ^= 0xFF
    cases = {"is damaged at byte": bytes(content), "is compressed": b"\x1f\x8b" * 999, "is not a tar": b"word" * 999}
    for what, data in {**cases, "is empty": b""}.items():
        bad = tmp_path / "bad.tar"
        bad.write_bytes(data)
        with pytest.raises(InputError, match=rf"bad\.tar: .*{what}"):
            read_contents([bad], tmp_path, progress=keep_quiet)


def test_an_image_behind_the_end_is_named(tar: Path) -> None:
    with pytest.raises(InputError, match=r"shard-000\.tar: ends at byte"):
        read_bytes(tar, 100, 10**9)
    with pytest.raises(InputError, match=r"gone\.tar: could not be read \(No such file"):
        read_bytes(tar.with_name("gone.tar"), 0, 1)


def test_tars_of_a_server_are_fetched_once(tar: Path, tmp_path: Path) -> None:
    steps: list[tuple[str, int, int]] = []
    with serve_folder(tar.parent) as server:
        url = f"{server.url}/shard-000.tar"
        for _ in range(2):
            (local,) = fetch_tars([url], tmp_path / "cache", progress=lambda *step: steps.append(step))
        assert server.gets == ["/shard-000.tar"]
    assert local.read_bytes() == tar.read_bytes()
    assert steps == [("fetching tars", 1, 1)] * 2
    assert fetch_tars([url], tmp_path / "cache", progress=keep_quiet) == [local]


def test_a_fetch_that_breaks_is_tried_again_and_leaves_no_part(tar: Path, tmp_path: Path) -> None:
    with serve_folder(tar.parent) as server:
        server.cuts = 2
        (local,) = fetch_tars([f"{server.url}/shard-000.tar"], tmp_path / "cache", progress=keep_quiet)
        assert local.read_bytes() == tar.read_bytes()
        local.write_bytes(b"short")
        assert fetch_tars([f"{server.url}/shard-000.tar"], tmp_path / "cache", progress=keep_quiet) == [local]
        assert local.read_bytes() == tar.read_bytes()
        server.cuts = 99
        with pytest.raises(InputError, match=r"other/\.\./shard-000\.tar: could not be fetched .* run it again"):
            fetch_tars([f"{server.url}/other/../shard-000.tar"], tmp_path / "cache", progress=keep_quiet)
    assert not list((tmp_path / "cache").rglob("*.part"))


def test_an_address_without_a_tar_is_named(tmp_path: Path) -> None:
    with serve_folder(tmp_path) as server, pytest.raises(InputError, match=r"x\.tar: the server has no such file"):
        fetch_tars([f"{server.url}/x.tar"], tmp_path / "cache", progress=keep_quiet)
    with pytest.raises(InputError, match=r"nosuch://host/x\.tar: cannot be fetched"):
        fetch_tars(["nosuch://host/x.tar"], tmp_path / "cache", progress=keep_quiet)


@pytest.mark.parametrize(
    ("status", "what"), [(404, "no such file"), (410, "no such file"), (403, "no access"), (401, "log in")]
)
def test_a_refusal_is_told_for_what_it_is_and_not_asked_again(
    status: int, what: str, tar: Path, tmp_path: Path
) -> None:
    with serve_folder(tar.parent) as server:
        server.statuses = [status] * 9
        with pytest.raises(InputError, match=rf"shard-000\.tar: .*{what}"):
            fetch_tars([f"{server.url}/shard-000.tar"], tmp_path / "cache", progress=keep_quiet)
        assert len(server.gets) == 1


def test_a_server_that_is_busy_is_asked_again(tar: Path, tmp_path: Path) -> None:
    with serve_folder(tar.parent) as server:
        server.statuses = [503, 500]
        (local,) = fetch_tars([f"{server.url}/shard-000.tar"], tmp_path / "cache", progress=keep_quiet)
        assert local.read_bytes() == tar.read_bytes()
        server.statuses = [503] * 9
        with pytest.raises(InputError, match=r"could not be fetched \(503.*\)\. Check .* run it again"):
            fetch_tars([f"{server.url}/./shard-000.tar"], tmp_path / "cache", progress=keep_quiet)


def test_a_large_tar_may_take_its_time_but_a_silent_server_may_not() -> None:
    files, place = tars._open_remote("https://host/x.tar")
    timeout = files.client_kwargs["timeout"]
    assert (timeout.total, timeout.sock_connect, timeout.sock_read) == (None, 30, 300)
    assert place == "https://host/x.tar"


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"<html>Please log in</html>" * 99, "is not a tar"),
        (b"", "the file is empty"),
        (None, "is cut short at byte"),
    ],
)
def test_what_is_no_whole_tar_is_not_kept(content: bytes | None, what: str, tar: Path, tmp_path: Path) -> None:
    (tar.parent / "bad.tar").write_bytes(tar.read_bytes()[:-10_240] if content is None else content)
    with (
        serve_folder(tar.parent) as server,
        pytest.raises(InputError, match=rf"/bad\.tar: what came.*{what}.*nothing was"),
    ):
        fetch_tars([f"{server.url}/bad.tar"], tmp_path / "cache", progress=keep_quiet)
    assert [path.suffix for path in (tmp_path / "cache" / "tars").iterdir()] == [".lock"]


def test_what_macos_puts_beside_files_is_passed_over(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for name in ("._a.jpg", "a.jpg", "._a.sci.txt", "a.sci.txt", "f/._b.jpg", "f/b.jpg"):
            content = b"\xff\x00Mac OS X" if "._" in name else b"content"
            archive.addfile(_member(name, len(content)), io.BytesIO(content))
    (tmp_path / "._x.tar").write_bytes(b"\xff\x00Mac OS X")
    assert list_tars(str(tmp_path)) == [str(tmp_path / "x.tar")]
    table = read_contents([tmp_path / "x.tar"], tmp_path / "cache", progress=keep_quiet)
    assert table["key"].to_pylist() == ["a", "f/b"]
    assert table["sci.txt"].to_pylist() == ["content", None]


def test_a_cache_that_cannot_be_made_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file.cache: cannot be made \(Not a directory\)\. Set data\.cache"):
        open_cache(str(tmp_path / "file" / "cache"))
    monkeypatch.setattr(tars, "default_cache", lambda: tmp_path / "own")
    assert open_cache("") == tmp_path / "own"
    assert (tmp_path / "own").is_dir()
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(InputError, match=r"own: nothing may be written there\. Set data\.cache"):
        open_cache("")


def _member(name: str, size: int, *, kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.type = size, kind
    return member


def _is_image(member: tarfile.TarInfo) -> bool:
    return member.name.lower().endswith(".jpg")
