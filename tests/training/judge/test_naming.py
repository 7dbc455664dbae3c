"""Class vectors and class names."""

from __future__ import annotations

import numpy as np

from tests.training.judge.spaces import COMMON, TREE, SpeakingSpace
from training.judge.naming import choose_commonest, encode_classes, number_labels, write_species
from training.settings import TextType


def test_a_class_is_the_mean_of_its_templates() -> None:
    space = SpeakingSpace(("Pica", "drawing", "photo"))
    names, templates = ["Pica pica", "Corvus corax"], ["a photo of {}.", "a drawing of {}."]
    first, second = space.encode_texts([template.format(names[0]) for template in templates])
    vectors = encode_classes(names, space.encode_texts, templates=templates)
    np.testing.assert_allclose(vectors[0], (first + second) / np.linalg.norm(first + second), rtol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-6)


def test_a_text_is_encoded_once() -> None:
    space = SpeakingSpace(("Pica",))
    vectors = encode_classes(["Pica", "Corvus", "Pica"], space.encode_texts)
    assert space.texts == ["a photo of Pica.", "a photo of Corvus."]
    np.testing.assert_array_equal(vectors[0], vectors[2])


def test_species_are_written_in_every_form_that_their_names_allow() -> None:
    forms = write_species(list(TREE), list(COMMON))
    assert forms[TextType.SCIENTIFIC][0] == "Pica pica"
    assert forms[TextType.COMMON] == ["magpie", "raven", None, "red admiral"]
    assert forms[TextType.TAXON_COMMON][1] == (
        "Animalia Chordata Aves Passeriformes Corvidae Corvus corax with common name raven"
    )
    assert forms[TextType.TAXON_COMMON][2] is None


def test_labels_are_numbered_in_order_and_the_commonest_value_stands_for_a_class() -> None:
    labels, names = number_labels(["b", None, "a", "b"])
    assert (labels.tolist(), names) == ([1, -1, 0, 1], ["a", "b"])
    values = ["x", "x", None, "y", "y", "z"]
    assert choose_commonest(np.array([0, 0, 1, 2, 2, 2]), values, 3) == ["x", None, "y"]
