"""Where calibrations of answers are kept: beside the index they hold for, one JSON file for each way of asking.

The file's name is made of everything that the calibration depends on, the index's digest first among it, so that one
that no longer holds is never found again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from explorer.reliability import RankReliability
from explorer.votes import Voter, VotingRule
from indexer.errors import CorpusError
from indexer.files import read_json, write_json

if TYPE_CHECKING:
    from indexer.corpus import Space

FOLDER = "reliability"


@dataclass(frozen=True, kw_only=True)
class Reliability:
    """How far answers of one kind can be believed.

    Attributes:
        method: `neighbours`, `names` or `both`.
        restriction: what the answers were restricted to, in words; empty where every record could vote.
        index_digest: of the index that the neighbours come from.
        rule: how votes are weighed.
        n_held_out: occurrences that were asked about.
        unseen: rank → the chance assumed that a taxon has no record, in [0, 1].
        ordinary: percentile, in [0, 100], below which even the nearest record is ordinary and nothing is named: 95, or
            the level that 99 % of the held-out occurrences reach where that is lower.
        ranks: rank → its calibration; a rank with too few answers is absent.
    """

    method: str
    restriction: str
    index_digest: str
    rule: VotingRule
    n_held_out: int
    unseen: Mapping[str, float]
    ordinary: float
    ranks: Mapping[str, RankReliability]

    def describe(self) -> str:
        """The calibration in one line: the expected error of each rank."""
        ranks = ", ".join(
            f"{rank} {found.error:.3f} ({found.error_low:.3f}-{found.error_high:.3f})"
            for rank, found in self.ranks.items()
        )
        asked = f"{self.n_held_out:,} held-out occurrences"
        if not ranks:
            return f"identification by {self.method}: not calibrated, {asked} are too few"
        return f"identification by {self.method}: calibrated on {asked}, expected error of the confidence: {ranks}"

    def to_json(self) -> dict[str, Any]:
        """The calibration as JSON holds it."""
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Reliability:
        """The calibration that `to_json` gave; KeyError, TypeError or ValueError where it is of another form."""
        values = dict(stored)
        rule = values.pop("rule")
        sharpness = {Voter(voter): float(found) for voter, found in rule["sharpness"].items()}
        ranks = {rank: RankReliability.from_json(found) for rank, found in values.pop("ranks").items()}
        return cls(**values, rule=VotingRule(sharpness=sharpness, name_share=rule["name_share"]), ranks=ranks)


def read_reliability(space: Space, key: str) -> Reliability | None:
    """The calibration kept under a key; None where there is none."""
    path = _path(space, key)
    return _read(path) if path.exists() else None


def keep_reliability(space: Space, key: str, found: Reliability) -> None:
    """Store a calibration in one step and drop those of former indexes; OSError where nothing can be written."""
    write_json(_path(space, key), found.to_json())
    for file in (space.folder / FOLDER).glob("*.json"):
        if not file.name.startswith(found.index_digest[:12]):
            file.unlink(missing_ok=True)


def list_reliabilities(space: Space, index_digest: str) -> list[Reliability]:
    """The calibrations that hold for an index and for every record of it, by method."""
    files = sorted((space.folder / FOLDER).glob(f"{index_digest[:12]}-*.json"))
    found = [_read(file) for file in files]
    newest = {each.method: each for each in found if not each.restriction and each.index_digest == index_digest}
    return [newest[method] for method in sorted(newest)]


def make_key(index_digest: str, parts: Mapping[str, str]) -> str:
    """The name of a calibration: the index's digest, and one over everything else that it depends on."""
    import hashlib
    import json

    rest = hashlib.sha256(json.dumps([index_digest, dict(parts)], sort_keys=True).encode()).hexdigest()
    return f"{index_digest[:12]}-{rest[:16]}"


def _path(space: Space, key: str) -> Path:
    return space.folder / FOLDER / f"{key}.json"


def _read(path: Path) -> Reliability:
    try:
        return Reliability.from_json(read_json(path))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CorpusError(
            f"{path}: not a calibration as this version writes it ({type(error).__name__}: {error}). Delete the file; "
            "it is made anew when it is needed."
        ) from error
