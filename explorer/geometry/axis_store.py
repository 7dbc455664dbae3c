"""Where axes are kept: one JSON file each, in the folder `axes` of the space whose vectors they are directions of."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from explorer.geometry.finding import Finding, Skipped
from indexer.errors import CorpusError, QueryError
from indexer.files import read_json, write_json

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float64

    from indexer.corpus import Space

FOLDER = "axes"
FORMAT = 1
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, kw_only=True)
class StoredAxis:
    """A direction in a space, and how it came about.

    Attributes:
        name: Unique in its space.
        space: Name of that space.
        fingerprint: Of its encoder; None where that is not known.
        direction: Of unit length, as long as the space has dimensions.
        origin: Mean of the records' vectors along the direction when the axis was made.
        spread: Their standard deviation.
        level: Inside which taxa the groups were compared (`axes.Level`); "" where no groups were.
        made_from: What the user gave, by the names of the options, as {"from": "sex = 'male'", "to": …}.
        n_records: Records of the space, from which origin and spread come.
        created: Time, as ISO 8601 in UTC.
        created_with: Version of Morphospace, and the settings seed and shuffles.
        findings: Whether it holds where it was not fitted, and how much of it is taxonomy.
        skipped: What could not be measured, and why.
    """

    name: str
    space: str
    fingerprint: str | None
    direction: tuple[float, ...]
    origin: float
    spread: float
    level: str
    made_from: Mapping[str, Any]
    n_records: int
    created: str
    created_with: Mapping[str, Any]
    findings: tuple[Finding, ...] = ()
    skipped: tuple[Skipped, ...] = ()

    def read_direction(self) -> Float64[np.ndarray, " d"]:
        """The direction as an array."""
        import numpy as np

        return np.array(self.direction, np.float64)

    @property
    def digest(self) -> str:
        """SHA-256, as 64 hex digits, of all but the time: what changes when the axis does."""
        from indexer.encoder_spec import hash_json

        return hash_json({name: value for name, value in self._plain().items() if name != "created"})

    def describe(self) -> str:
        """What the axis was made from, in one line."""
        parts = ", ".join(f"{name} {_say(value)}" for name, value in self.made_from.items())
        return f"{self.name} ({parts}{f'; inside {self.level}' if self.level else ''})"

    def to_json(self) -> dict[str, Any]:
        """The axis as JSON holds it, with its digest."""
        return {"format": FORMAT, **self._plain(), "digest": self.digest}

    def _plain(self) -> dict[str, Any]:
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        found["direction"] = list(self.direction)
        found["made_from"], found["created_with"] = dict(self.made_from), dict(self.created_with)
        found["findings"] = [_write(finding) for finding in self.findings]
        found["skipped"] = [_write(skipped) for skipped in self.skipped]
        return found

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> StoredAxis:
        """The axis that `to_json` gave; KeyError, TypeError or ValueError where it is of another form."""
        values = dict(stored)
        found, digest = values.pop("format"), values.pop("digest")
        if found != FORMAT:
            raise ValueError(f"format {found!r}; {FORMAT} is known")
        values["direction"] = tuple(float(number) for number in values["direction"])
        values["findings"] = tuple(Finding(**_read(each)) for each in values["findings"])
        values["skipped"] = tuple(Skipped(**each) for each in values["skipped"])
        axis = cls(**values)
        if axis.digest != digest:
            raise ValueError("its digest is not that of its contents")
        return axis


def check_name(name: str) -> str:
    """The name; QueryError where an axis cannot have it."""
    if not _NAME.fullmatch(name):
        raise QueryError(
            f"axis {name!r}: not a usable name; letters, digits, '.', '_' and '-' are allowed, 64 at most."
        )
    return name


def keep_axis(space: Space, axis: StoredAxis, *, is_replaced: bool = False) -> Path:
    """Store an axis in one step; QueryError where another one has the name, unless it is to be replaced."""
    path = _path(space, check_name(axis.name))
    if path.exists() and not is_replaced:
        raise QueryError(
            f"axis {axis.name!r}: space {space.name!r} has one of that name already. Look at it with --show, choose "
            "another name, or add --replace."
        )
    write_json(path, axis.to_json())
    return path


def open_axis(space: Space, name: str) -> StoredAxis:
    """The axis of that name.

    Raises:
        QueryError: the space has none of that name, or its vectors are of another encoder than the axis.
        CorpusError: its file is not as this version writes it, or was changed.
    """
    path = _path(space, check_name(name))
    if not path.exists():
        known = ", ".join(list_names(space)) or "none yet"
        raise QueryError(
            f"axis {name!r}: space {space.name!r} has no such axis; there is {known}. "
            f"Make it with: morphospace axis {space.corpus_path} {name} --space {space.name} --from WHERE --to WHERE"
        )
    try:
        axis = StoredAxis.from_json(read_json(path))
    except (KeyError, TypeError, ValueError) as error:
        raise CorpusError(
            f"{path}: not an axis as this version writes it ({type(error).__name__}: {error}). Delete the file and "
            "make the axis again."
        ) from error
    own = space.encoder.fingerprint if space.encoder else None
    if axis.fingerprint != own or len(axis.direction) != space.dimension:
        raise QueryError(
            f"axis {name!r}: made for vectors of {len(axis.direction)} dimensions by encoder {axis.fingerprint}; space "
            f"{space.name!r} holds {space.dimension} by {own}. Make the axis again, with --replace."
        )
    return axis


def list_names(space: Space) -> list[str]:
    """The names of a space's axes, in order."""
    return sorted(file.stem for file in (space.folder / FOLDER).glob("*.json") if _NAME.fullmatch(file.stem))


def list_axes(space: Space) -> list[StoredAxis]:
    """The axes of a space, by name; errors as in `open_axis`."""
    return [open_axis(space, name) for name in list_names(space)]


def _path(space: Space, name: str) -> Path:
    return space.folder / FOLDER / f"{name}.json"


def _write(found: Finding | Skipped) -> dict[str, Any]:
    """A finding as JSON types; a number that does not exist is null."""
    values = {field.name: getattr(found, field.name) for field in fields(found)}
    return {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in values.items()}


def _read(stored: Mapping[str, Any]) -> dict[str, Any]:
    return {name: math.nan if value is None else value for name, value in stored.items()}


def _say(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(repr, value[:4])) + (f" and {len(value) - 4} more" if len(value) > 4 else "")
    return repr(value)
