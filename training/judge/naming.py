"""Naming without examples: a class is the mean of its texts, and a picture gets the class whose text lies nearest.

Zero-shot classification as in Radford et al. 2021, section 3.1.2, with the prompts averaged as vectors (section 3.1.4).
A species has up to five forms of its name, as BioCLIP is trained on them (Stevens et al. 2024, table 3).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from training.settings import TextType

if TYPE_CHECKING:
    from jaxtyping import Float32, Int64

EncodeTexts = Callable[[list[str]], "Float32[np.ndarray, 'n d']"]
"""Unit vectors of texts."""

TEMPLATES = ("a photo of {}.",)
"""BioCLIP's; each holds `{}` once, where the name goes."""


def encode_classes(
    names: Sequence[str], encode_texts: EncodeTexts, *, templates: Sequence[str] = TEMPLATES
) -> Float32[np.ndarray, "c d"]:
    """One unit vector per class: the mean, over the templates, of the unit vectors of its texts.

    Args:
        names: what goes into the templates, one per class.
        encode_texts: gives unit vectors.
        templates: as `TEMPLATES`; BioCLIP 2 takes the 80 of CLIP.
    """
    texts = [template.format(name) for name in names for template in templates]
    unique = list(dict.fromkeys(texts))
    places = {text: place for place, text in enumerate(unique)}
    vectors = encode_texts(unique)[[places[text] for text in texts]]
    means = vectors.reshape(len(names), len(templates), -1).mean(axis=1)
    lengths = np.linalg.norm(means, axis=1, keepdims=True)
    unit: Float32[np.ndarray, "c d"] = (means / np.where(lengths > 0, lengths, 1)).astype(np.float32)
    return unit


def write_species(
    lineages: Sequence[tuple[str | None, ...]], vernaculars: Sequence[str | None]
) -> dict[TextType, list[str | None]]:
    """The five forms of each species' name; None where its names do not allow the form.

    Args:
        lineages: seven names per species, the last one the binomial.
        vernaculars: common names.
    """
    from training.captions import write_names

    written = [write_names(ranks, common) for ranks, common in zip(lineages, vernaculars, strict=True)]
    return {form: [names.get(form) for names in written] for form in TextType}


def number_labels(values: Iterable[str | None]) -> tuple[Int64[np.ndarray, " n"], list[str]]:
    """The place of each value in the sorted list of values, -1 for None, and that list."""
    given = list(values)
    names = sorted({value for value in given if value is not None})
    places = {name: place for place, name in enumerate(names)}
    return np.array([-1 if value is None else places[value] for value in given], np.int64), names


def choose_commonest(labels: Int64[np.ndarray, " n"], values: Sequence[str | None], n_classes: int) -> list[str | None]:
    """For each class the value that most of its pictures have, None where none has any; a tie goes to the first."""
    counts: Mapping[Hashable, Counter[str]] = {label: Counter() for label in range(n_classes)}
    for label, value in zip(labels.tolist(), values, strict=True):
        if label >= 0 and value is not None:
            counts[label][value] += 1
    return [next((name for name, _ in counts[label].most_common(1)), None) for label in range(n_classes)]
