"""Everything inside species for a sample, with reasons for what is not there."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from explorer.geometry.sample import Sample
from explorer.geometry.within import measure_within
from explorer.taxonomy import build_taxonomy
from tests.explorer.geometry.planted import Images, plant_images


def sample_of(images: Images) -> Sample:
    records = pa.table(
        {
            "record_id": [str(i) for i in range(len(images.species))],
            "genus": [f"Genus{genus}" for genus in images.genera],
            "species": [f"Genus{g} epithet{s}" for g, s in zip(images.genera, images.species, strict=True)],
            "sex": [("female", "male", None)[state] for state in images.states],
            "museum": [f"museum {batch}" for batch in images.batches],
            "caste": pa.nulls(len(images.species), pa.string()),
        }
    )
    return Sample(
        space="tiny",
        rows=np.arange(len(images.species)),
        vectors=images.vectors.astype(np.float32),
        occurrences=images.occurrences,
        taxonomy=build_taxonomy(records),
        records=records,
    )


def test_every_statistic_is_there_or_says_why_not() -> None:
    sample = sample_of(plant_images(0, n_genera=16, step=2.5, d=14, most_images=2))
    found = measure_within(sample, ["sex", "caste"], n_shuffles=19)
    assert [one.statistic for one in found.findings] == [
        "span_share",
        "span10_share",
        "fisher",
        "direction10_share",
        "angle5_overlap",
        "within_auc",
        "species_step_cosine",
        "genus_step_cosine",
        "species_transfer_auc",
        "genus_transfer_auc",
    ]
    assert {one.space for one in found.findings} == {"tiny"}
    assert [one.column for one in found.skipped] == ["caste"]
    assert found.skipped[0].reason == "no species shows two of its values in two occurrences each"
    assert len(found.angles) == 1
    assert all(one.n + one.left_out == len(sample) for one in found.findings)


def test_one_image_per_species_gives_reasons_alone() -> None:
    images = plant_images(0, n_genera=40, n_per_genus=1)
    first = np.unique(images.species, return_index=True)[1]
    found = measure_within(sample_of(Images(**{name: one[first] for name, one in vars(images).items()})), ["sex"])
    assert found.findings == ()
    assert [(one.statistic, one.column) for one in found.skipped] == [("span_share", ""), ("within species", "sex")]
    reason = "of 40 species 0 have two occurrences; 8 species are needed, half of them with two"
    assert found.skipped[0].reason == reason


def test_few_species_are_counted_in_the_reasons_and_a_batch_is_taken_out() -> None:
    images = plant_images(0, n_genera=2, n_per_genus=2, batch=3.0)
    found = measure_within(sample_of(images), ["sex"], n_shuffles=19)
    assert found.findings == ()
    reasons = {one.statistic: one.reason for one in found.skipped}
    assert reasons["fisher"] == "4 species have 2 occurrences of both male and female; 8 are needed"
    assert reasons["genus_transfer_auc"] == "2 genera have an occurrence of both male and female; 8 are needed"
    many = sample_of(plant_images(0, batch=3.0, n_each=24))
    fisher, apart = (
        next(
            one
            for one in measure_within(many, ["sex"], batch=batch, n_shuffles=19).findings
            if one.statistic == "fisher"
        )
        for batch in (None, "museum")
    )
    assert fisher.p == 0.05
    assert apart.p > 0.05
    assert apart.low < 0 < apart.high
