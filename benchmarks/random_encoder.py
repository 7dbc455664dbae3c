"""A model with random weights in a folder that `--model local-dir:FOLDER` takes: for trials and timings, not for use.

    python benchmarks/random_encoder.py ViT-B-32 /tmp/vit-b-32

Its vectors mean nothing, but cost what the real model's cost.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def write_random_encoder(architecture: str | Mapping[str, Any], folder: Path, *, seed: int = 0) -> None:
    """Write open_clip_config.json and open_clip_model.safetensors into `folder`, equal for equal seeds.

    Args:
        architecture: An open_clip architecture, as "ViT-B-32", or a ``model_cfg``.
        folder: Made where it is missing.
        seed: For the weights; torch's own random state is left as it was.
    """
    import torch
    from safetensors.torch import save_file

    from indexer.lean_imports import add_tower_library, lean_imports

    with lean_imports():
        import open_clip

    config = open_clip.get_model_config(architecture) if isinstance(architecture, str) else dict(architecture)
    if config is None:
        raise SystemExit(f"{architecture}: open_clip has no such architecture; see open_clip.list_models()")
    if "timm_model_name" in config["vision_cfg"]:
        add_tower_library("timm")
    if "hf_model_name" in config["text_cfg"]:
        add_tower_library("transformers")
    settings = {key: value for key, value in config.items() if key != "custom_text"}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = (open_clip.CustomTextCLIP if config.get("custom_text") else open_clip.CLIP)(**settings)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(
        {name: tensor.contiguous() for name, tensor in network.state_dict().items()},
        folder / "open_clip_model.safetensors",
    )
    description = {"model_cfg": config, "preprocess_cfg": {}}
    (folder / "open_clip_config.json").write_text(json.dumps(description, indent=2), encoding="utf-8")


def main() -> None:
    """Write the model that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("architecture", help="open_clip architecture, as ViT-B-32")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    write_random_encoder(asked.architecture, asked.folder, seed=asked.seed)
    print(f"--model local-dir:{asked.folder}")


if __name__ == "__main__":
    main()
