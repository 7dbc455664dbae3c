"""Where a training run's pictures come from: the synthetic tree, a corpus, or tars."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from indexer.errors import InputError
from training.progress import Progress, keep_quiet
from training.settings import SYNTHETIC

if TYPE_CHECKING:
    from training.examples import Dataset
    from training.settings import TrainingConfig

Announce = Callable[[str], None]
"""Called with a line for the user."""


def open_dataset(
    config: TrainingConfig,
    *,
    image_side: int,
    announce: Announce = lambda _line: None,
    progress: Progress = keep_quiet,
) -> Dataset:
    """The pictures that `data.source` names, with the columns that captions and measures ask for.

    Records of which nothing can be said (no name, no value in the columns of the captions) are left out; `announce`
    hears how many.

    Args:
        config: Settings.
        image_side: Side at which synthetic pictures are drawn, in pixels: the encoder's own.
        announce: Told what was left out.
        progress: Told how the drawing, fetching and reading go on.

    Raises:
        InputError: The source is not there, is none of the three kinds, or holds no picture to learn from.
    """
    source = config.data.source
    if source == SYNTHETIC:
        from training.synthetic.dataset import draw_dataset

        return draw_dataset(config, side=image_side, progress=progress)
    if is_tars(source):
        from training.shards import open_shards

        return open_shards(config, announce=announce, progress=progress)
    if (Path(source).expanduser() / "corpus.json").exists():
        from training.corpus_dataset import open_corpus_dataset

        return open_corpus_dataset(Path(source).expanduser(), config, announce=announce)
    raise InputError(
        f"data.source = '{source}': neither a corpus (a directory with corpus.json) nor tars (a path or URL that ends "
        f"in .tar, or a folder of such); '{SYNTHETIC}' draws the pictures. Index a folder of images first: "
        "morphospace index IMAGES --corpus PLACE"
    )


def is_tars(source: str) -> bool:
    """Whether a source names tars: by its ending, or as a folder that holds some."""
    if source.partition("?")[0].endswith(".tar"):
        return True
    folder = Path(source).expanduser()
    return folder.is_dir() and any(not tar.name.startswith("._") for tar in folder.glob("*.tar"))
