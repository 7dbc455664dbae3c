"""Encoder specs: what exactly made the vectors of a space, so that no others are mixed in."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from indexer.errors import EncoderError
from indexer.preprocessing import Preprocessing


class Precision(StrEnum):
    """The number format of an encoder's weights; vectors are handed out as float32 either way."""

    FP32 = "fp32"
    BF16 = "bf16"


@dataclass(frozen=True, kw_only=True)
class EncoderSpec:
    """Everything that decides an encoder's vectors."""

    model: str
    """What `--model` resolves to."""
    revision: str | None
    """Commit on the model hub; None for a folder."""
    weights_digest: str
    """SHA-256 of the checkpoint file."""
    architecture_digest: str
    """SHA-256 of open_clip's ``model_cfg`` as canonical JSON."""
    preprocessing: Preprocessing
    dimension: int
    precision: Precision
    normalised: bool = True
    """Whether the vectors have unit length."""

    @property
    def fingerprint(self) -> str:
        """16 hex digits that name the space: equal for two encoders whose vectors may be compared.

        Neither the model's name nor the precision counts: a copy in a folder is the same encoder, and bf16 weights
        give vectors at a cosine of at least 0.9999 to those of fp32 (0.9996 for a trained convolutional tower, which
        is why these stay in fp32 unless asked).
        """
        return hash_json(
            {
                "weights": self.weights_digest,
                "architecture": self.architecture_digest,
                "preprocessing": self.preprocessing.to_json(),
                "dimension": self.dimension,
                "normalised": self.normalised,
            }
        )[:16]

    def describe(self) -> str:
        """The spec in a few words, as in "hf-hub:imageomics/bioclip-2 (squash 224 px, 768-d, bf16, 1f0c…)"."""
        square = f"{self.preprocessing.resize} {self.preprocessing.size} px"
        return f"{self.model} ({square}, {self.dimension}-d, {self.precision}, {self.fingerprint})"

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON types, with the fingerprint for readers."""
        return {
            "model": self.model,
            "revision": self.revision,
            "weights_digest": self.weights_digest,
            "architecture_digest": self.architecture_digest,
            "preprocessing": self.preprocessing.to_json(),
            "dimension": self.dimension,
            "precision": str(self.precision),
            "normalised": self.normalised,
            "fingerprint": self.fingerprint,
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> EncoderSpec:
        """The spec that `to_json` wrote.

        Raises:
            EncoderError: a field is missing or of a kind that is not known, or the fingerprint is not the fields'.
        """
        try:
            spec = cls(
                model=str(fields["model"]),
                revision=fields["revision"],
                weights_digest=str(fields["weights_digest"]),
                architecture_digest=str(fields["architecture_digest"]),
                preprocessing=Preprocessing.from_json(fields["preprocessing"]),
                dimension=int(fields["dimension"]),
                precision=Precision(fields["precision"]),
                normalised=bool(fields["normalised"]),
            )
        except KeyError as error:
            raise EncoderError(f"encoder spec: {error.args[0]} is missing. Embed the space anew.") from error
        except ValueError as error:
            raise EncoderError(f"encoder spec: {error}. Embed the space anew.") from error
        if fields.get("fingerprint", spec.fingerprint) != spec.fingerprint:
            raise EncoderError(
                f"encoder spec: the fingerprint {fields['fingerprint']} is not that of its fields, {spec.fingerprint}; "
                "the spec was changed by hand. Restore it from a copy."
            )
        return spec


def hash_json(value: Mapping[str, Any]) -> str:
    """SHA-256, as 64 hex digits, of a JSON object, whatever the order of its keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
