"""Captions: the five forms of a name, higher taxa, traits, and what each of them claims of a picture."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from training.captions import (
    NEAREST,
    Caption,
    hash_claims,
    hash_lineage,
    list_facts,
    list_taxa,
    write_caption,
    write_names,
    write_prompt,
)
from training.examples import Example
from training.settings import CaptionConfig, DrawPer, TextType

RANKS = ("Animalia", "Chordata", "Aves", "Passeriformes", "Corvidae", "Pica", "Pica hudsonia")
TAXON = "Animalia Chordata Aves Passeriformes Corvidae Pica hudsonia"
LINEAGE = "Animalia|Chordata|Aves|Passeriformes|Corvidae|Pica|Pica hudsonia"
MAGPIE = Example(
    ranks=RANKS,
    vernacular="black-billed magpie",
    traits={
        "lifeStage": ("juvenile", "young"),
        "sex": ("male",),
        "organism": ("bird",),
        "shape": ("with a long tail", "with a crest"),
    },
)
BARE = replace(MAGPIE, traits={})
NOTHING = Example(ranks=(None,) * 7, vernacular=None, traits={})
NAMES = CaptionConfig(trait_share=0, higher_share=0, template_share=0)
HIGHER = CaptionConfig(trait_share=0, higher_share=1, template_share=0)
TRAITS = CaptionConfig(trait_share=1, higher_share=0, template_share=0)


def write_many(example: Example, config: CaptionConfig, n: int = 400, seed: int = 0) -> list[Caption]:
    rng, step_rng = np.random.default_rng(seed), np.random.default_rng([seed, 1])
    return [write_caption(example, config, rng, step_rng=step_rng) for _ in range(n)]


def count_texts(example: Example, config: CaptionConfig, n: int = 400) -> Counter[str]:
    return Counter(caption.text for caption in write_many(example, config, n))


def test_the_five_forms_read_as_in_bioclip() -> None:
    names = write_names(RANKS, "black-billed magpie")
    assert names == {
        TextType.COMMON: "black-billed magpie",
        TextType.SCIENTIFIC: "Pica hudsonia",
        TextType.TAXON: TAXON,
        TextType.SCIENTIFIC_COMMON: "Pica hudsonia with common name black-billed magpie",
        TextType.TAXON_COMMON: f"{TAXON} with common name black-billed magpie",
    }
    assert write_prompt(names[TextType.SCIENTIFIC]) == "a photo of Pica hudsonia."
    assert write_prompt("a Pica in open woodland.") == "a photo of a Pica in open woodland."


def test_missing_ranks_are_skipped() -> None:
    assert write_names((None, "Chordata", None, None, "", "Pica", None), None) == {TextType.TAXON: "Chordata Pica"}
    assert write_names((None,) * 7, "magpie") == {TextType.COMMON: "magpie"}


def test_a_binomial_of_another_genus_is_written_in_full() -> None:
    assert write_names((*RANKS[:5], None, "Pica hudsonia"), None)[TextType.TAXON] == TAXON
    moved = write_names((*RANKS[:5], "Corvus", "Pica hudsonia"), None)
    assert moved[TextType.TAXON].endswith("Corvidae Corvus Pica hudsonia")


def test_the_types_are_drawn_evenly_from_those_asked() -> None:
    names = write_names(RANKS, MAGPIE.vernacular)
    counts = count_texts(BARE, NAMES, 3000)
    assert set(counts) == set(names.values())
    np.testing.assert_allclose([counts[text] / 3000 for text in names.values()], 0.2, atol=0.03)
    two = replace(NAMES, types=(TextType.TAXON, TextType.SCIENTIFIC))
    assert set(count_texts(BARE, two)) == {TAXON, "Pica hudsonia"}


def test_types_that_the_names_do_not_allow_are_skipped_per_sample() -> None:
    counts = count_texts(replace(BARE, vernacular=None), NAMES, 2000)
    assert set(counts) == {"Pica hudsonia", TAXON}
    assert counts[TAXON] / 2000 == pytest.approx(0.5, abs=0.04)


@pytest.mark.parametrize(
    ("asked", "example", "text"),
    [
        (TextType.COMMON, replace(BARE, vernacular=None), "Pica hudsonia"),
        (TextType.COMMON, replace(BARE, vernacular=None, ranks=(*RANKS[:6], None)), " ".join(RANKS[:6])),
        (TextType.SCIENTIFIC_COMMON, replace(BARE, vernacular=None), "Pica hudsonia"),
        (TextType.TAXON_COMMON, replace(BARE, vernacular=None), TAXON),
        (TextType.SCIENTIFIC, replace(BARE, ranks=(*RANKS[:6], None)), " ".join(RANKS[:6])),
        (TextType.TAXON, replace(BARE, ranks=(None,) * 7), "black-billed magpie"),
        (TextType.SCIENTIFIC_COMMON, replace(BARE, ranks=(None,) * 7), "black-billed magpie"),
    ],
)
@pytest.mark.parametrize("draw", list(DrawPer))
def test_the_nearest_form_stands_in(asked: TextType, example: Example, text: str, draw: DrawPer) -> None:
    assert count_texts(example, replace(NAMES, types=(asked,), draw=draw), 20) == {text: 20}


def test_every_form_has_stand_ins() -> None:
    assert set(NEAREST) == set(TextType)
    assert all(form not in stand_ins for form, stand_ins in NEAREST.items())


def test_per_step_the_whole_batch_gets_one_type() -> None:
    config = replace(NAMES, draw=DrawPer.STEP)
    names = write_names(RANKS, MAGPIE.vernacular)
    drawn = Counter[str]()
    for step in range(300):
        step_rng = np.random.default_rng([0, 9, step])
        texts = {
            write_caption(BARE, config, np.random.default_rng([step, place]), step_rng=step_rng).text
            for place in range(8)
        }
        again = write_caption(BARE, config, np.random.default_rng(0), step_rng=np.random.default_rng([0, 9, step])).text
        assert texts == {again}
        drawn.update(texts)
    np.testing.assert_allclose([drawn[text] / 300 for text in names.values()], 0.2, atol=0.07)


def test_captions_keep_to_their_shares() -> None:
    config = CaptionConfig(trait_share=0.3, higher_share=0.12, template_share=0.5)
    captions = write_many(MAGPIE, config, 6000)
    columns = set(config.columns)
    with_traits = np.mean([bool(columns & {column for column, _ in caption.claims}) for caption in captions])
    higher = np.mean([caption.claims[0][0] in ("class", "order", "family", "genus") for caption in captions])
    assert with_traits == pytest.approx(0.3, abs=0.02)
    assert higher == pytest.approx(0.12, abs=0.02)
    assert np.mean([one.text.startswith("a photo of ") for one in captions]) == pytest.approx(0.5, abs=0.02)
    assert all(one.text.endswith(".") == one.text.startswith("a photo of ") for one in captions)


def test_a_record_without_traits_is_named_instead() -> None:
    assert set(count_texts(BARE, TRAITS)) == set(write_names(RANKS, BARE.vernacular).values())
    unspoken = replace(BARE, traits={"sex": ("Unknown",), "lifeStage": ("not recorded", " ")})
    assert set(count_texts(unspoken, TRAITS)) == set(write_names(RANKS, BARE.vernacular).values())
    assert list_facts(unspoken, ("sex", "lifeStage")) == list_facts(BARE, ())


def test_higher_taxa_come_alone_or_with_their_lineage() -> None:
    counts = count_texts(MAGPIE, HIGHER, 3000)
    assert set(counts) == {
        *("Pica", "Corvidae", "Passeriformes"),
        *(" ".join(RANKS[: rank + 1]) for rank in (2, 3, 4, 5)),
    }
    assert counts["Pica"] / 3000 == pytest.approx(0.4, abs=0.03)
    assert counts["Corvidae"] / 3000 == pytest.approx(0.2, abs=0.03)
    assert counts["Passeriformes"] / 3000 == pytest.approx(0.1, abs=0.03)


def test_a_higher_taxon_is_one_that_is_named() -> None:
    partly = replace(MAGPIE, ranks=("Animalia", None, None, None, "Corvidae", None, None), vernacular=None)
    assert set(count_texts(partly, HIGHER)) == {"Corvidae", "Animalia Corvidae"}
    assert set(count_texts(replace(partly, ranks=("Animalia", *[None] * 6)), HIGHER)) == {"Animalia"}
    assert set(count_texts(replace(NOTHING, vernacular="magpie"), HIGHER)) == {"magpie"}


def test_trait_captions_put_adjectives_before_the_noun_and_phrases_after_it() -> None:
    captions = {caption.text: caption for caption in write_many(MAGPIE, TRAITS, 3000)}
    assert {"a juvenile male bird with a crest", "a young bird", "a male Pica", "a bird with a long tail"} <= set(
        captions
    )
    assert captions["a juvenile male bird with a crest"].claims == (
        ("lifeStage", "juvenile"),
        ("sex", "male"),
        ("shape", "with a crest"),
        ("organism", "bird"),
    )
    assert captions["a male Pica"].claims == (("sex", "male"), ("genus", LINEAGE.removesuffix("|Pica hudsonia")))
    assert captions["a young black-billed magpie"].claims == (
        ("lifeStage", "young"),
        ("vernacularName", "black-billed magpie"),
    )


def test_trait_captions_keep_the_proportions_that_worked() -> None:
    config = replace(TRAITS, bare_noun_share=0)
    said = Counter(column for caption in write_many(MAGPIE, config, 6000) for column, _ in caption.claims)
    share = {column: number / 6000 for column, number in said.items()}
    assert share["organism"] == pytest.approx(0.76, abs=0.02)
    assert share["genus"] == pytest.approx(0.12, abs=0.02)
    assert share["vernacularName"] == pytest.approx(0.12, abs=0.02)
    silent = 0.5 * 0.5 * 0.65
    assert share["sex"] == pytest.approx(0.5 + silent / 3, abs=0.02)
    assert share["shape"] == pytest.approx(0.35 + silent / 3, abs=0.02)


def test_something_is_said_where_there_is_something_to_say() -> None:
    adult = replace(MAGPIE, traits={"lifeStage": ("adult",), "organism": ("bird",)})
    config = replace(TRAITS, bare_noun_share=0)
    assert set(count_texts(adult, config)) == {"an adult bird", "an adult Pica", "an adult black-billed magpie"}
    classed = replace(MAGPIE, traits={"organism": ("bird",)})
    assert set(count_texts(classed, config)) == {"a bird", "Pica", "a black-billed magpie"}


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_the_noun_stands_alone_as_often_as_asked(share: float) -> None:
    captions = write_many(MAGPIE, replace(TRAITS, bare_noun_share=share), 6000)
    silent = 0.5 * 0.5 * 0.65
    bare = np.mean([len(caption.claims) == 1 for caption in captions])
    assert bare == pytest.approx(share * silent, abs=0.015)
    assert ("a bird" in {caption.text for caption in captions}) == (share > 0)
    nounless = replace(MAGPIE, traits={"sex": ("male",)})
    assert set(count_texts(nounless, replace(TRAITS, bare_noun_share=share))) == {
        *("a male Pica", "a male black-billed magpie"),
    }


def test_several_values_are_alternatives() -> None:
    larva = replace(MAGPIE, traits={"organism": ("caterpillar", "larva")})
    counts = count_texts(larva, TRAITS, 2000)
    assert counts["a caterpillar"] / 2000 == pytest.approx(0.38, abs=0.04)
    assert not any("caterpillar" in text and "larva" in text for text in counts)


@pytest.mark.parametrize(
    ("example", "texts"),
    [
        (replace(MAGPIE, traits={"sex": ("female",)}), {"a female Pica", "a female black-billed magpie"}),
        (replace(MAGPIE, traits={"sex": ("female",)}, vernacular=None), {"a female Pica"}),
        (replace(NOTHING, traits={"sex": ("female",)}, vernacular="magpie"), {"a female magpie"}),
        (replace(NOTHING, traits={"sex": ("female",)}), {"a female organism"}),
        (replace(NOTHING, traits={"shape": ("with horns",)}), {"an organism with horns"}),
        (
            replace(MAGPIE, ranks=(*RANKS[:5], None, None), vernacular=None, traits={"sex": ("male",)}),
            {"a male Corvidae"},
        ),
    ],
)
def test_the_noun_is_the_best_that_the_record_has(example: Example, texts: set[str]) -> None:
    assert set(count_texts(example, TRAITS)) == texts


def test_names_of_capitals_get_no_article_and_adjectives_no_capitals() -> None:
    loud = replace(MAGPIE, vernacular="Black-billed Magpie", traits={"sex": ("MALE",), "organism": ("Owl", "ibis")})
    texts = set(count_texts(loud, TRAITS))
    assert {"a male Black-billed Magpie", "a male Owl", "a male ibis"} <= texts
    assert "Owl" in set(count_texts(replace(loud, traits={"organism": ("Owl",)}), TRAITS))
    assert "an ibis" in set(count_texts(replace(loud, traits={"organism": ("ibis",)}), TRAITS))


def test_a_record_that_says_nothing_is_no_example() -> None:
    with pytest.raises(ValueError, match="neither a name nor a trait"):
        write_many(NOTHING, CaptionConfig(), 1)
    assert count_texts(replace(NOTHING, traits={"sex": ("male",)}), NAMES) == {"a male organism": 400}


@pytest.mark.parametrize(
    "example",
    [
        MAGPIE,
        BARE,
        replace(MAGPIE, vernacular=None),
        replace(MAGPIE, ranks=(None, None, "Aves", None, None, "Pica", None)),
        replace(MAGPIE, ranks=(None,) * 7),
    ],
)
def test_a_caption_claims_only_facts_of_its_own_picture(example: Example) -> None:
    config = CaptionConfig(trait_share=0.5, higher_share=0.3)
    facts = set(list_facts(example, config.columns))
    for caption in write_many(example, config, 500):
        assert caption.claims
        assert set(caption.claims) <= facts


def fits(caption: Caption, example: Example) -> bool:
    return set(caption.claims) <= set(list_facts(example, CaptionConfig().columns))


def test_a_caption_fits_every_picture_that_it_describes() -> None:
    adult = replace(MAGPIE, traits={"lifeStage": ("adult",), "sex": ("male",), "organism": ("bird",)})
    sibling = replace(MAGPIE, ranks=(*RANKS[:6], "Pica pica"), vernacular="Eurasian magpie")
    fish = replace(NOTHING, ranks=("Animalia", "Chordata", *[None] * 5), traits={"lifeStage": ("young", "juvenile")})
    captions = {one.text: one for one in write_many(MAGPIE, CaptionConfig(template_share=0, trait_share=0.6), 4000)}
    expected = {
        "Pica hudsonia": [True, True, False, False],
        "black-billed magpie": [True, True, False, False],
        "Pica": [True, True, True, False],
        "a male bird": [True, True, True, False],
        "a juvenile bird": [True, False, True, False],
        "a young male Pica": [True, False, True, False],
    }
    for text, holds in expected.items():
        assert [fits(captions[text], one) for one in (MAGPIE, adult, sibling, fish)] == holds, text


def test_a_common_name_fits_all_species_that_bear_it_however_it_is_written() -> None:
    robin = replace(BARE, vernacular="Robin")
    other = replace(BARE, vernacular="robin", ranks=(*RANKS[:5], "Erithacus", "Erithacus rubecula"))
    (caption,) = write_many(robin, replace(NAMES, types=(TextType.COMMON,)), 1)
    assert fits(caption, other)
    assert not fits(caption, BARE)


def test_homonyms_are_two_taxa() -> None:
    plant = ("Plantae", None, None, None, None, "Pieris", "Pieris japonica")
    butterfly = ("Animalia", None, None, None, None, "Pieris", "Pieris rapae")
    assert list_taxa(plant)[5] == ("genus", "Plantae|Pieris")
    assert list_taxa(butterfly)[5] == ("genus", "Animalia|Pieris")


def test_the_lineage_is_coded_per_rank_with_0_where_unnamed() -> None:
    whole = hash_lineage(BARE)
    assert len(set(whole)) == 7
    assert whole == hash_claims(claim for claim in list_taxa(RANKS) if claim)
    gap = hash_lineage(replace(BARE, ranks=(*RANKS[:4], None, *RANKS[5:])))
    assert gap[:4] == whole[:4]
    assert gap[4] == 0
    assert gap[6] > 0
    assert hash_lineage(NOTHING) == [0] * 7


def test_codes_are_the_same_in_every_process() -> None:
    claims = [("species", LINEAGE), ("sex", "male")]
    program = f"from training.captions import hash_claims; print(hash_claims({claims!r}))"
    env = {**os.environ, "PYTHONHASHSEED": "7"}
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=env)
    assert told.stdout.strip() == str(hash_claims(claims))
    assert all(0 < code < 2**63 for code in hash_claims((str(i), "") for i in range(1000)))
    assert hash_claims([("sex", "male")]) == [5813478796392707938]
