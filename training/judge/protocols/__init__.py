"""The benchmarks that BioCLIP 2 is judged on, and INQUIRE-Rerank: one module each, on the data as it is published.

    protocol = find_protocol("nabirds")
    figures = run_protocol(protocol, folder, encoder)

Each module names where its layout and its way of counting were read, what could not be checked, and where it departs
from the released code.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from types import MappingProxyType

from indexer.errors import InputError
from training.judge.protocols.awa2 import AWA2
from training.judge.protocols.base import Effort, JudgeProtocol, ProtocolTask, judge_task, run_protocol
from training.judge.protocols.camera_traps import CAMERA_TRAPS
from training.judge.protocols.fishnet import FISHNET
from training.judge.protocols.herbarium19 import HERBARIUM19
from training.judge.protocols.inquire import INQUIRE
from training.judge.protocols.meta_album import META_ALBUM
from training.judge.protocols.nabirds import NABIRDS
from training.judge.protocols.newt import NEWT
from training.judge.protocols.pictures import embed_pictures
from training.judge.protocols.plantdoc import PLANTDOC
from training.judge.protocols.rare_species import RARE_SPECIES

__all__ = [
    "PROTOCOLS",
    "Effort",
    "JudgeProtocol",
    "ProtocolTask",
    "embed_pictures",
    "find_protocol",
    "judge_task",
    "run_protocol",
]

PROTOCOLS: Mapping[str, JudgeProtocol] = MappingProxyType(
    {
        protocol.name: protocol
        for protocol in (
            *(NABIRDS, META_ALBUM, RARE_SPECIES, CAMERA_TRAPS, FISHNET),
            *(NEWT, AWA2, HERBARIUM19, PLANTDOC, INQUIRE),
        )
    }
)
"""By their names on the command line."""


def find_protocol(name: str) -> JudgeProtocol:
    """The protocol of that name, whatever its case and its dashes.

    Raises:
        InputError: there is none.
    """
    key = name.strip().lower().replace("_", "-").replace(" ", "-")
    if key in PROTOCOLS:
        return PROTOCOLS[key]
    near = difflib.get_close_matches(key, PROTOCOLS, n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    raise InputError(f"--protocol: '{name}' is not known; use one of {', '.join(PROTOCOLS)}.{hint}")
