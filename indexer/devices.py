"""Devices: where an encoder computes, in which number format and in how large batches, each with its reason."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from typing import TYPE_CHECKING

from indexer.encoder_spec import Precision
from indexer.errors import EncoderError

if TYPE_CHECKING:
    import torch

DEVICES = ("auto", "cpu", "cuda", "mps")

CPU_BATCH = 16
"""ViT-B-32 on two cores: bf16 35.5 images/s at 16, 35.7 at 8, 23-35 at 32; fp32 18.5, 17.7 and 20.3."""

MPS_BATCH = 32
CUDA_BATCHES = ((100e6, 256), (400e6, 128), (float("inf"), 64))
"""Largest number of parameters of the image tower, and its batch: 256 for ViT-B, 128 for ViT-L, 64 above."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A setting that was asked for or chosen, and why."""

    value: str
    reason: str

    def __str__(self) -> str:
        return f"{self.value}, because {self.reason}"


def choose_device(asked: str) -> Choice:
    """The device to compute on: the one asked for, or with "auto" the first of CUDA, MPS and CPU that is there.

    A CUDA device may be numbered, as in "cuda:1".

    Raises:
        EncoderError: the name is not known, or this machine has no such device.
    """
    import torch

    kind = asked.partition(":")[0]
    if kind not in DEVICES:
        raise EncoderError(f"--device {asked}: no such device; use one of {', '.join(DEVICES)}.")
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if kind == "auto":
        best = next(name for name, is_present in present.items() if is_present)
        return Choice(value=best, reason="it is the fastest device here" if best != "cpu" else "no GPU was found")
    if not present[kind]:
        raise EncoderError(f"--device {asked}: this machine has no such device that torch can use. Use --device auto.")
    return Choice(value=asked, reason="it was asked for")


def choose_precision(asked: str, device: str, *, is_convolutional: bool = False) -> Choice:
    """The number format of the weights: the one asked for, or with "auto" bf16 where the device computes in it.

    Convolutional image towers stay in fp32: 200 photographs through the bundled one in bf16 had a cosine to fp32 of
    0.9996 at worst and shared 98 % of their ten nearest neighbours, where transformers keep 0.9999.

    The rule looks at the hardware and never at a clock, so that a job resumed on the same machine chooses the same.

    Raises:
        EncoderError: the name is not known.
    """
    if asked in list(Precision):
        return Choice(value=asked, reason="it was asked for")
    if asked != "auto":
        raise EncoderError(f"--precision {asked}: not known; use one of auto, {', '.join(Precision)}.")
    if is_convolutional:
        return Choice(value=Precision.FP32, reason="the image tower is convolutional and loses accuracy in bf16")
    kind = device.partition(":")[0]
    if kind == "cuda":
        return Choice(value=Precision.BF16, reason="the GPU multiplies bf16 matrices in hardware")
    if kind == "cpu" and (units := find_bf16_units()):
        return Choice(value=Precision.BF16, reason=f"the processor has bf16 units ({units})")
    where = "the processor has no bf16 units" if kind == "cpu" else "bf16 is not measured on this device"
    return Choice(value=Precision.FP32, reason=where)


def find_bf16_units() -> str | None:
    """The name of the processor's bf16 matrix or dot-product units; None where it has none.

    Measured with ViT-B-32: AMX 3.2-5.2 times the images per second of fp32, AVX512-BF16 alone (AMD Zen 4) 1.9 times,
    texts too. Without such units torch emulates bf16 and is slower.
    """
    import torch

    if platform.machine().lower() in ("arm64", "aarch64"):
        is_supported = torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()  # type: ignore[no-untyped-call]
        return "Arm BF16" if is_supported else None
    units = torch.cpu.get_capabilities()
    if units.get("amx_bf16") and units.get("amx_tile"):
        return "AMX-BF16"
    return "AVX512-BF16" if units.get("avx512_bf16") else None


def choose_batch_size(device: str, n_parameters: int) -> int:
    """Images per batch that keep the device busy, for an image tower of `n_parameters`."""
    kind = device.partition(":")[0]
    if kind == "cuda":
        return next(batch for largest, batch in CUDA_BATCHES if n_parameters <= largest)
    return MPS_BATCH if kind == "mps" else CPU_BATCH


def weight_type(precision: Precision) -> torch.dtype:
    """Torch's name of the number format."""
    import torch

    return torch.bfloat16 if precision is Precision.BF16 else torch.float32
