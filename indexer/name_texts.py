"""Texts as users will ask them, made from the names in a corpus: what the search by text is tuned and measured with."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from indexer.errors import EncoderError
from indexer.index.taxa import TAXON_COLUMNS
from indexer.model_names import pin_model

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float32

    from indexer.corpus import Corpus, Space
    from indexer.encoders import Encoder

MAX_NAMES = 500
TEMPLATE = "a photo of {}."


def draw_names(corpus: Corpus, *, seed: int = 0) -> list[str]:
    """Random different names of taxa, of any rank and in any language there is; 500 at most."""
    import numpy as np

    columns = [name for name in TAXON_COLUMNS if name in corpus.column_types()]
    table = corpus.read_columns(columns)
    names = sorted({str(name) for column in columns for name in table.column(column).unique().to_pylist() if name})
    order = np.random.default_rng(seed).permutation(len(names))[:MAX_NAMES]
    return [names[place] for place in order]


def encode_names(
    corpus: Corpus, space: Space, *, encoder: Encoder | None, device: str, announce: Callable[[str], None]
) -> Float32[np.ndarray, "q d"] | None:
    """The vectors of the names of a corpus, by the encoder of a space.

    None, with the reason announced, where the encoder is not known or does not load, or no record is named.

    Args:
        corpus: whose names are drawn.
        space: whose encoder makes the vectors.
        encoder: that encoder where it is loaded already; None loads it.
        device: to load it on.
        announce: is told why there are none.
    """
    if space.encoder is None:
        announce(f"{space.name}: its encoder is not known, so that the search by text is not measured")
        return None
    names = draw_names(corpus)
    if not names:
        announce(f"{space.name}: no record is named, so that the search by text is not measured")
        return None
    if encoder is None:
        from indexer.encoders import load_encoder

        try:
            encoder = load_encoder(
                pin_model(space.encoder), device=device, precision=space.encoder.precision, announce=announce
            )
        except EncoderError as error:
            announce(f"{space.name}: the search by text is not measured ({error})")
            return None
    return encoder.encode_texts([TEMPLATE.format(name) for name in names])
