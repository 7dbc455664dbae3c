"""WebDataset tars: listed, fetched, and read at random places.

A sample is a run of members whose names agree up to the first dot of the file name; what follows, in lower case, says
what each is (https://github.com/webdataset/webdataset, "tariterators"). A table of contents of every tar is made once;
reading an image is then one seek and one read.
"""

from __future__ import annotations

import contextlib
import functools
import glob
import hashlib
import json
import mmap
import os
import re
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from indexer.errors import InputError
from indexer.files import write_atomically, write_json
from training.progress import Progress

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from jaxtyping import Int64

IMAGES = ("jpg", "jpeg", "png", "webp")
"""Extensions of a sample's image; the first that it has is taken."""
CONTENTS_VERSION = 2
BLOCK = 512
_BRACES = re.compile(r"\{(?:(\d+)\.\.(\d+)|([^{}]*,[^{}]*))\}")
_REGULAR, _LONG_NAME, _EXTENDED = (b"0", b"\0", b"7"), b"L", b"x"
_PAX = re.compile(rb"\d+ (path|size)=([^\n]*)\n")
_APPLE_DOUBLE = "._"
_PAUSES = (2.0, 10.0)
"""Seconds before a fetch that broke is tried again."""
_CONNECT_SECONDS, _READ_SECONDS = 30, 300
_GONE, _DENIED = (404, 410), (401, 403)


@dataclass(frozen=True, kw_only=True)
class Member:
    """A file in a tar, its content at `start` to `start + size`."""

    name: str
    start: int
    size: int


def list_tars(source: str) -> list[str]:
    """The tars that a path, glob, folder or URL names, `{000..123}` and `{a,b}` written out; in their order.

    Raises:
        InputError: A path or glob fits no tar.
    """
    found = [tar for part in _expand_braces(source) for tar in _list_part(part)]
    return list(dict.fromkeys(found))


def _expand_braces(text: str) -> list[str]:
    match = _BRACES.search(text)
    if match is None:
        return [text]
    first, last, words = match.groups()
    if words is None:
        options = [str(number).zfill(len(first)) for number in range(int(first), int(last) + 1)]
    else:
        options = words.split(",")
    ends = _expand_braces(text[match.end() :])
    return [text[: match.start()] + option + end for option in options for end in ends]


def _list_part(part: str) -> list[str]:
    if "://" in part:
        return [part]
    path = Path(part).expanduser()
    if path.is_dir():
        found = sorted(str(tar) for tar in path.glob("*.tar") if not tar.name.startswith(_APPLE_DOUBLE))
    elif path.exists():
        found = [str(path)]
    else:
        found = sorted(glob.glob(str(path), recursive=True))  # noqa: PTH207  # Path.glob takes no absolute pattern
    if not found:
        raise InputError(f"{part}: there is no such tar; check the path. Many are named as shard-{{000..123}}.tar")
    return found


def default_cache() -> Path:
    """The user's folder for what can be fetched or made again."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "morphospace"
    base = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    return (Path(base) if base else Path.home() / ".cache") / "morphospace"


def open_cache(cache: str) -> Path:
    """The folder of the setting `data.cache`, "" for the user's own; made where it is missing.

    Raises:
        InputError: There can be no such folder, or nothing may be written there.
    """
    folder = Path(cache).expanduser() if cache else default_cache()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be made ({error.strerror}). Set data.cache to a folder that can be written."
        ) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"{folder}: nothing may be written there. Set data.cache to a folder that can be written.")
    return folder


def fetch_tars(tars: Sequence[str], cache: Path, *, progress: Progress) -> list[Path]:
    """The tars as local files: those of URLs fetched into the cache, one after the other, whole or not at all.

    What lies in the cache at its full size is not asked for again. Any scheme of fsspec works whose library is
    installed: https, hf, s3, gs.

    Raises:
        InputError: A tar is not there, not for everyone, cannot be fetched, or what comes is no whole tar.
    """
    local = []
    for i, tar in enumerate(tars):
        local.append(_fetch_tar(tar, cache) if "://" in tar else Path(tar))
        progress("fetching tars", i + 1, len(tars))
    return local


def _fetch_tar(url: str, cache: Path) -> Path:
    from filelock import FileLock

    name = Path(url.partition("?")[0]).name
    path = cache / "tars" / f"{hashlib.sha256(url.encode()).hexdigest()[:16]}-{name}"
    note = path.with_name(f"{path.name}.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")):
        if not _is_whole(path, note):
            size = _download(url, path)
            write_json(note, {"url": url, "size": size})
    return path


def _is_whole(path: Path, note: Path) -> bool:
    if not (path.exists() and note.exists()):
        return False
    return bool(json.loads(note.read_text(encoding="utf-8"))["size"] == path.stat().st_size)


def _download(url: str, path: Path) -> int:
    """Fetches the tar to the path and gives its size; a connection that breaks is tried again."""
    for pause in (*_PAUSES, None):
        try:
            return _download_once(url, path)
        except (ValueError, ImportError) as error:
            raise InputError(
                f"{url}: cannot be fetched ({error}); use https, or install what its scheme asks for."
            ) from error
        except _connection_errors() as error:
            _refuse_missing(url, error)
            if pause is None:
                raise InputError(
                    f"{url}: could not be fetched ({_tell_reason(error)}). Check the connection and run it again: tars "
                    "that are already there are kept."
                ) from error
            time.sleep(pause)
    raise AssertionError


def _connection_errors() -> tuple[type[BaseException], ...]:
    """OSError, and the roots of what fetches (aiohttp for https, httpx for hf), which are none."""
    roots = {"aiohttp": "ClientError", "httpx": "TransportError", "httpx2": "TransportError"}
    return (OSError, *(getattr(sys.modules[name], root) for name, root in roots.items() if name in sys.modules))


def _refuse_missing(url: str, error: BaseException) -> None:
    """Raises InputError where trying again is of no use: the file is not there, or not for everyone."""
    causes = list(_list_causes(error))
    status = next((status for cause in causes if (status := _find_status(cause)) is not None), None)
    if status in _GONE or (status is None and isinstance(causes[-1], FileNotFoundError)):
        raise InputError(f"{url}: the server has no such file; check the address.") from error
    if status in _DENIED or (status is None and isinstance(causes[-1], PermissionError)):
        raise InputError(
            f"{url}: there is no access{f' (status {status})' if status else ''}; log in to the server, for hf:// with "
            "`hf auth login`, or download the tar yourself and give its path."
        ) from error


def _list_causes(error: BaseException) -> Iterator[BaseException]:
    """The error, then what it came from: fsspec calls every failure to ask for a file's size FileNotFoundError."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__


def _find_status(error: BaseException) -> int | None:
    """The status that a server answered with: aiohttp keeps it in the error, huggingface_hub in its response."""
    status = getattr(error, "status", None) or getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) else None


def _tell_reason(error: BaseException) -> str:
    cause = list(_list_causes(error))[-1]
    return " ".join(str(cause).split()) or type(cause).__name__


def _download_once(url: str, path: Path) -> int:
    files, place = _open_remote(url)
    announced = files.info(place)["size"]

    def fetch(part: Path) -> None:
        files.get_file(place, str(part))
        size = part.stat().st_size
        if announced is not None and size != announced:
            raise OSError(f"{size:,} of {announced:,} bytes came")
        _check_fetched(url, part)

    write_atomically(path, fetch)
    return path.stat().st_size


def _open_remote(url: str) -> tuple[Any, str]:
    """The file system of a URL and the place in it; a large tar may take its time, a silent server may not."""
    from fsspec.core import url_to_fs

    options: dict[str, Any] = {}
    if url.partition("://")[0] in ("http", "https"):
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=_READ_SECONDS)
        options["client_kwargs"] = {"timeout": timeout}
    files, place = url_to_fs(url, **options)
    return files, str(place)


def _check_fetched(url: str, part: Path) -> None:
    """Raises InputError where what came is no tar from its first header to its end."""
    try:
        with _map_tar(part) as content:
            for _ in _list_members(part, content):
                pass
    except InputError as error:
        reason = str(error).removeprefix(f"{part}: ").partition(". ")[0]
        raise InputError(
            f"{url}: what came {reason}; nothing was kept. Open the address in a browser to see what it gives (some "
            "servers answer with a page to log in), or ask its owner for a whole tar."
        ) from error


@contextlib.contextmanager
def _map_tar(tar: Path) -> Iterator[mmap.mmap]:
    with tar.open("rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            raise InputError(f"{tar}: the file is empty (0 bytes). Fetch or write the tar again.")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            yield content


def read_contents(tars: Sequence[Path], cache: Path, *, progress: Progress) -> pa.Table:
    """All samples with an image: `key`, `tar` (place in `tars`), `start` and `size` of the image, a column per text.

    The columns of texts are named by their extensions (`sci.txt`, `json`), null where a sample lacks one. The table of
    each tar is kept in the cache until the tar changes.

    Raises:
        InputError: A tar is missing, damaged, cut short or compressed; the message names it.
    """
    import pyarrow as pa

    tables = []
    for i, tar in enumerate(tars):
        table = _read_tar_contents(tar, cache)
        tables.append(table.append_column("tar", pa.array([i] * table.num_rows, pa.int32())))
        progress("reading tars", i + 1, len(tars))
    return pa.concat_tables(tables, promote_options="default")


def list_places(contents: pa.Table) -> Int64[np.ndarray, "n 3"]:
    """Tar, start and size of each image of a table of contents."""
    import numpy as np

    return np.stack([contents[name].to_numpy().astype(np.int64) for name in ("tar", "start", "size")], axis=1)


def read_bytes(tar: Path, start: int, size: int) -> bytes:
    """The bytes at a place of a tar.

    Raises:
        InputError: The tar is gone, or ends before.
    """
    try:
        with tar.open("rb", buffering=0) as file:
            file.seek(start)
            content = file.read(size)
    except OSError as error:
        raise InputError(f"{tar}: could not be read ({error.strerror or error}). Check that it is there.") from error
    if len(content) < size:
        raise InputError(
            f"{tar}: ends at byte {start + len(content):,}, within an image. Fetch or write the tar again."
        )
    return content


def _read_tar_contents(tar: Path, cache: Path) -> pa.Table:
    import pyarrow.parquet as pq

    try:
        status = tar.stat()
    except OSError as error:
        raise InputError(f"{tar}: could not be read ({error.strerror or error}). Check that it is there.") from error
    identity = f"{tar.resolve()}|{status.st_size}|{status.st_mtime_ns}|{CONTENTS_VERSION}"
    kept = cache / "contents" / f"{tar.stem}-{hashlib.sha256(identity.encode()).hexdigest()[:16]}.parquet"
    if kept.exists():
        return pq.read_table(kept)
    table = _list_samples(tar)
    write_atomically(kept, functools.partial(pq.write_table, table))
    return table


def _list_samples(tar: Path) -> pa.Table:
    import pyarrow as pa

    with _map_tar(tar) as content:
        samples = list(_group_members(tar, content))
    names = sorted({name for _, _, texts in samples for name in texts})
    columns: dict[str, pa.Array] = {
        "key": pa.array([key for key, _, _ in samples], pa.string()),
        "start": pa.array([image.start for _, image, _ in samples], pa.int64()),
        "size": pa.array([image.size for _, image, _ in samples], pa.int64()),
    }
    columns |= {name: pa.array([texts.get(name) for _, _, texts in samples], pa.string()) for name in names}
    return pa.table(columns)


def _group_members(tar: Path, content: mmap.mmap) -> Iterator[tuple[str, Member, dict[str, str]]]:
    """Key, image and texts of every sample that has an image.

    What macOS's tar puts before each file for the Finder, `._NAME`, is no sample and does not tear one apart.
    """
    current = ""
    images: dict[str, Member] = {}
    texts: dict[str, str] = {}
    for member in _list_members(tar, content):
        key, extension = _split_name(member.name)
        if member.name.rpartition("/")[2].startswith(_APPLE_DOUBLE):
            continue
        if key != current:
            if images:
                yield current, _choose_image(images), texts
            current, images, texts = key, {}, {}
        if extension in IMAGES:
            images[extension] = member
        elif extension in ("txt", "json") or extension.endswith(".txt"):
            texts[extension] = _decode_text(tar, member, content)
    if images:
        yield current, _choose_image(images), texts


def _choose_image(images: dict[str, Member]) -> Member:
    return next(images[extension] for extension in IMAGES if extension in images)


def _split_name(name: str) -> tuple[str, str]:
    folder, slash, file = name.rpartition("/")
    stem, _, extension = file.partition(".")
    return f"{folder}{slash}{stem}", extension.lower()


def _decode_text(tar: Path, member: Member, content: mmap.mmap) -> str:
    try:
        return content[member.start : member.start + member.size].decode("utf-8").strip()
    except UnicodeDecodeError as error:
        raise InputError(f"{tar}: {member.name} is not UTF-8 ({error}). Write the tar again.") from error


def _list_members(tar: Path, content: mmap.mmap) -> Iterator[Member]:
    """The regular files of an uncompressed tar (POSIX.1-2001 ustar and pax, GNU long names).

    Several times as fast as tarfile, whose time counts at ten small files per image. Unlike tarfile it takes a damaged
    header or a missing end for what it is, not for the end.
    """
    place = 0
    given: dict[str, str] = {}
    while True:
        header = content[place : place + BLOCK]
        if header[:1] == b"\0":
            return
        _check_header(tar, header, place, len(content))
        kind, size = header[156:157], _read_number(header[124:136])
        start = place + BLOCK
        if kind in (_LONG_NAME, _EXTENDED):
            given |= _read_extension(kind, content[start : start + size])
        elif kind in _REGULAR:
            size = int(given.get("size", size))
            yield Member(name=given.get("path") or _read_name(header), start=start, size=size)
        if start + size > len(content):
            raise InputError(_tell_cut(tar, len(content)))
        if kind not in (_LONG_NAME, _EXTENDED):
            given = {}
        place = start + -(-size // BLOCK) * BLOCK


def _check_header(tar: Path, header: bytes, place: int, n_bytes: int) -> None:
    if place == 0 and header[:2] in (b"\x1f\x8b", b"\x28\xb5", b"BZ", b"\xfd7"):
        raise InputError(
            f"{tar}: is compressed; single images cannot be read from it. Unpack it to a plain .tar first."
        )
    if len(header) < BLOCK:
        raise InputError(_tell_cut(tar, n_bytes))
    field = header[148:156].strip(b"\0 ")
    if not field.isdigit() or int(field, 8) != sum(header) - sum(header[148:156]) + 8 * ord(" "):
        what = "is not a tar" if place == 0 else f"is damaged at byte {place:,}: there is no valid header"
        raise InputError(f"{tar}: {what}. Fetch or write the tar again.")


def _tell_cut(tar: Path, n_bytes: int) -> str:
    return f"{tar}: is cut short at byte {n_bytes:,}: the end of the archive is missing. Fetch or write the tar again."


def _read_number(field: bytes) -> int:
    """A size: octal digits, or from 8 GiB on GNU's binary form."""
    if field[0] & 0x80:
        return int.from_bytes(field, "big") & ((1 << 95) - 1)
    return int(field.strip(b"\0 ") or b"0", 8)


def _read_name(header: bytes) -> str:
    name = header[:100].partition(b"\0")[0]
    prefix = header[345:500].partition(b"\0")[0] if header[257:263] == b"ustar\0" else b""
    return (prefix + b"/" + name if prefix else name).decode("utf-8", "surrogateescape")


def _read_extension(kind: bytes, body: bytes) -> dict[str, str]:
    if kind == _LONG_NAME:
        return {"path": body.rstrip(b"\0").decode("utf-8", "surrogateescape")}
    return {key.decode(): value.decode("utf-8", "surrogateescape") for key, value in _PAX.findall(body)}
