"""Fixtures that several test packages share."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("HF_HUB_OFFLINE", "1")


@pytest.fixture(autouse=True)
def own_main() -> Iterator[None]:
    """Streamlit's tests leave their script as the main module, which a process that is spawned later would run."""
    main = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = main


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real images, records and vectors beside the checkout."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("../shared/data is not here: real images and vectors are tested only beside it")
    return folder


@pytest.fixture(scope="session")
def colour_encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model whose vectors a person can compute: the mean colour."""
    from tests.indexer.tiny_encoders import write_colour_encoder

    return f"local-dir:{write_colour_encoder(tmp_path_factory.mktemp('models') / 'colour')}"


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small random vision transformer."""
    from tests.indexer.tiny_encoders import write_tiny_encoder

    return f"local-dir:{write_tiny_encoder(tmp_path_factory.mktemp('models') / 'tiny')}"
