"""The model hub: what is already in its cache, what it would send, and fetching it, with errors a person can act on.

Everything goes through `huggingface_hub`, so its settings hold: ``HF_HOME``, ``HF_ENDPOINT``, ``HF_HUB_OFFLINE``,
``HF_TOKEN``. What lies in the cache is used without asking the hub.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from indexer.errors import EncoderError
from indexer.files import hash_file

_SHA256 = re.compile(r"[0-9a-f]{64}")
_TRIAL = "For a trial without the hub use --model bundled."


@dataclass(frozen=True, kw_only=True)
class Repository:
    """One repository on the model hub, at one revision, with the cache that its files go to."""

    name: str
    revision: str | None = None
    """Branch, tag or commit; None for the main branch."""
    cache: Path | None = None
    """Folder of the hub cache; None for the usual one."""

    def __str__(self) -> str:
        return f"hf-hub:{self.name}" + (f"@{self.revision}" if self.revision else "")


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """A file that the hub would send."""

    repository: Repository
    """At the commit that was listed."""
    name: str
    n_bytes: int
    sha256: str | None
    """Known for large files only."""


def find_cached(repository: Repository, names: Iterable[str]) -> Path | None:
    """The first of the files that the cache holds in whole; None where it has none of them."""
    from huggingface_hub import try_to_load_from_cache

    for name in names:
        path = try_to_load_from_cache(
            repository.name, name, cache_dir=repository.cache, revision=repository.revision or "main"
        )
        if isinstance(path, str):
            return Path(path)
    return None


def cached_commit(path: Path) -> str:
    """The commit that a file of the hub cache belongs to."""
    return path.parts[path.parts.index("snapshots") + 1]


def list_repository(repository: Repository) -> Mapping[str, RemoteFile]:
    """The files that the hub holds in a repository, by name.

    Raises:
        EncoderError: the hub cannot be reached, or knows no such repository or revision.
    """
    from huggingface_hub import HfApi, constants

    with _hub_errors(repository):
        if constants.is_offline_mode():
            raise EncoderError(_unreachable(repository, "HF_HUB_OFFLINE is set"))
        info = HfApi().model_info(
            repository.name, revision=repository.revision, files_metadata=True, timeout=constants.HF_HUB_ETAG_TIMEOUT
        )
    at_commit = Repository(name=repository.name, revision=info.sha, cache=repository.cache)
    return {
        file.rfilename: RemoteFile(
            repository=at_commit,
            name=file.rfilename,
            n_bytes=file.size or 0,
            sha256=file.lfs.sha256 if file.lfs else None,
        )
        for file in info.siblings or []
    }


def fetch_file(repository: Repository, file: RemoteFile) -> Path:
    """The file in the hub cache, downloaded if need be; a connection that breaks is taken up again.

    `repository` is at the revision the user asked for, so that the cache remembers which commit that was.

    Raises:
        EncoderError: the download failed, or what came is not what the hub announced.
    """
    from huggingface_hub import hf_hub_download

    with _hub_errors(repository):
        path = Path(
            hf_hub_download(
                repository.name, file.name, revision=repository.revision, cache_dir=repository.cache, etag_timeout=30
            )
        )
    if file.sha256 is not None and hash_file(path) != file.sha256:
        path.resolve().unlink()
        path.unlink(missing_ok=True)
        raise EncoderError(
            f"{repository}: {file.name} arrived damaged (its SHA-256 is not the hub's) and was removed. Run it again."
        )
    return path


def hash_weights(weights: Path) -> str:
    """SHA-256 of a checkpoint file; the hub cache names large files by it, others are read through."""
    blob = weights.resolve()
    if blob.parent.name == "blobs" and _SHA256.fullmatch(blob.name):
        return blob.name
    return hash_file(weights)


@contextmanager
def _hub_errors(repository: Repository) -> Iterator[None]:
    from huggingface_hub import errors
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]  # of the HTTP library it was built on

    try:
        yield
    except errors.GatedRepoError as error:
        raise EncoderError(
            f"{repository}: the owners ask for their terms to be accepted first. Accept them on the model's page, "
            "then log in with `hf auth login`."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise EncoderError(
            f"{repository}: the model hub has no such repository, or it is private. "
            "Check the spelling, or log in with `hf auth login`."
        ) from error
    except errors.RevisionNotFoundError as error:
        raise EncoderError(
            f"{repository}: the repository has no revision '{repository.revision}'. Leave it out for the newest."
        ) from error
    except errors.RemoteEntryNotFoundError as error:
        raise EncoderError(f"{repository}: the hub no longer has one of its files. Run it again.") from error
    except errors.HfHubHTTPError as error:
        raise EncoderError(f"{repository}: the model hub answered {error}. Try again later. {_TRIAL}") from error
    except (HTTPError, errors.LocalEntryNotFoundError) as error:
        raise EncoderError(_unreachable(repository, _first_line(error))) from error
    except OSError as error:
        raise EncoderError(
            f"{repository}: the download broke off ({_first_line(error)}). Run it again. {_TRIAL}"
        ) from error


def _unreachable(repository: Repository, reason: str) -> str:
    return (
        f"{repository}: not in the hub cache, and the model hub cannot be reached ({reason}). "
        f"Connect once to download it. {_TRIAL}"
    )


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
