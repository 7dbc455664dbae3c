"""What a species looks like: its visible traits, from what it inherits and from its hidden ecology."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from training.synthetic.drawing.colours import Tint
from training.synthetic.ecology import BodyPlan

if TYPE_CHECKING:
    import numpy as np

    from training.synthetic.phylogeny import Species

ECOLOGY_WEIGHT, LATENT_WEIGHT = 0.9, 0.25
"""A trait under ecology is this mixture: its rank correlation with the axis is about 0.9."""


class Pattern(StrEnum):
    """What lies on the ground colour, by the word that the texts use."""

    BARRED = "barred"
    STRIPED = "striped"
    SPOTTED = "spotted"
    PLAIN = "plain"


@dataclass(frozen=True, kw_only=True)
class Coat:
    """Three colours and a pattern of `n_marks` marks that cover the share `mark_width` of the ground."""

    ground: Tint
    second: Tint
    accent: Tint
    pattern: Pattern
    n_marks: int
    mark_width: float


@dataclass(frozen=True, kw_only=True)
class BirdTraits:
    """Lengths in units of about a body height; angles and shares without unit.

    Under ecology: beak_depth, beak_length, head_size (first axis), wing_length, leg_length, body_depth
    (second).
    """

    coat: Coat
    beak_depth: float
    beak_length: float
    beak_curve: float
    head_size: float
    wing_length: float
    leg_length: float
    tail_length: float
    body_length: float
    body_depth: float
    crest: float
    has_cap: bool
    has_eye_ring: bool


@dataclass(frozen=True, kw_only=True)
class FishTraits:
    """Lengths in units of half a body length.

    `back_height` is the share of the body's depth that lies above its axis.

    Under ecology: mouth_size, head_length, eye_size (first axis), tail_fork, fin_length, fin_height, back_height
    (second).
    """

    coat: Coat
    mouth_size: float
    head_length: float
    tail_fork: float
    countershading: float
    body_depth: float
    back_height: float
    fin_height: float
    fin_length: float
    tail_length: float
    eye_size: float
    anal_fin: float
    has_tail_spot: bool


@dataclass(frozen=True, kw_only=True)
class ButterflyTraits:
    """Lengths in units of about a wing; `n_spots` eyespots stand on each hind wing.

    Under ecology: wing_aspect, forewing_size, body_width (first axis), border_width, hindwing_size (second).
    """

    coat: Coat
    wing_aspect: float
    forewing_size: float
    darkness: float
    eyespot_size: float
    tail_length: float
    scallop: float
    border_width: float
    n_spots: int
    body_width: float
    hindwing_size: float
    has_dark_apex: bool


@dataclass(frozen=True, kw_only=True)
class LeafTraits:
    """Lengths in units of half a blade length.

    Under ecology: blade_width, petiole_length (first axis), tooth_depth, tip_shape, base_shape (second).
    """

    coat: Coat
    blade_width: float
    waxiness: float
    tooth_depth: float
    n_teeth: int
    n_lobes: int
    lobe_depth: float
    tip_shape: float
    base_shape: float
    n_veins: int
    vein_angle: float
    petiole_length: float
    has_pale_margin: bool


Traits = BirdTraits | FishTraits | ButterflyTraits | LeafTraits


def describe_traits(species: Species) -> Traits:
    """The visible traits of a typical adult of this species."""
    return _DESCRIBE[species.plan](species)


def vary_traits(traits: Traits, rng: np.random.Generator) -> Traits:
    """The same traits with individual variation: every length is scaled by 1 ± 0.04, every colour moved a little."""
    changes: dict[str, Any] = {
        field.name: value * (1 + 0.04 * rng.normal())
        for field in dataclasses.fields(traits)
        if isinstance(value := getattr(traits, field.name), float)
    }
    coat = traits.coat
    changes["coat"] = dataclasses.replace(
        coat,
        **{
            name: getattr(coat, name).moved(hue=4 * rng.normal(), lightness=0.012 * rng.normal())
            for name in ("ground", "second", "accent")
        },
    )
    return dataclasses.replace(traits, **changes)


def _between(value: float, low: float, high: float) -> float:
    """The value squeezed by a logistic curve into (low, high); 0 gives the middle."""
    return low + (high - low) / (1 + math.exp(-1.5 * value))


def _under(axis: float, latent: float) -> float:
    return ECOLOGY_WEIGHT * axis + LATENT_WEIGHT * latent


def _hue(first: float, second: float) -> float:
    return math.degrees(math.atan2(first, second)) % 360


def _animal_coat(species: Species, *, glow: float = 0.0) -> Coat:
    z, family = species.latents, species.family_latents
    patterns = list(Pattern)
    return Coat(
        ground=Tint(
            lightness=_between(z[3], 0.45, 0.80) + glow, chroma=_between(z[2], 0.03, 0.115) + glow, hue=_hue(z[0], z[1])
        ),
        second=Tint(
            lightness=_between(z[7], 0.36, 0.78) + glow, chroma=_between(z[6], 0.03, 0.115) + glow, hue=_hue(z[4], z[5])
        ),
        accent=Tint(lightness=_between(z[11], 0.35, 0.88), chroma=_between(z[10], 0.04, 0.14), hue=_hue(z[8], z[9])),
        pattern=patterns[max(range(4), key=lambda i: family[12 + i])],
        n_marks=round(_between(z[16], 2, 7)),
        mark_width=_between(z[17], 0.3, 0.65),
    )


def _describe_bird(species: Species) -> BirdTraits:
    z, ecology = species.latents, species.ecology
    return BirdTraits(
        coat=_animal_coat(species),
        beak_depth=_between(_under(ecology.first, z[18]), 0.12, 0.86),
        head_size=_between(_under(ecology.first, z[19]), 0.82, 1.50),
        wing_length=_between(_under(ecology.second, z[20]), 0.50, 1.35),
        leg_length=_between(-_under(ecology.second, z[21]), 0.06, 0.95),
        beak_length=_between(-_under(ecology.first, z[22]), 0.34, 0.88),
        beak_curve=_between(z[23], -0.04, 0.16),
        tail_length=_between(z[24], 0.28, 0.80),
        body_length=_between(z[25], 0.90, 1.22),
        body_depth=_between(-_under(ecology.second, z[29]), 0.78, 1.30),
        crest=_between(z[26], -0.35, 0.75),
        has_cap=z[27] > 0,
        has_eye_ring=z[28] > 0.4,
    )


def _describe_fish(species: Species) -> FishTraits:
    z, ecology = species.latents, species.ecology
    return FishTraits(
        coat=_animal_coat(species),
        mouth_size=_between(_under(ecology.first, z[18]), 0.08, 0.78),
        head_length=_between(_under(ecology.first, z[19]), 0.22, 0.42),
        tail_fork=_between(_under(ecology.second, z[20]), -0.35, 0.85),
        countershading=_between(z[21], 0.0, 0.9),
        body_depth=_between(z[22], 0.52, 1.10),
        back_height=_between(-_under(ecology.second, z[29]), 0.32, 0.72),
        fin_height=_between(_under(ecology.second, z[23]), 0.10, 0.62),
        fin_length=_between(-_under(ecology.second, z[24]), 0.26, 0.88),
        tail_length=_between(z[25], 0.32, 0.56),
        eye_size=_between(-_under(ecology.first, z[26]), 0.055, 0.16),
        anal_fin=_between(z[27], 0.06, 0.36),
        has_tail_spot=z[28] > 0.4,
    )


def _describe_butterfly(species: Species) -> ButterflyTraits:
    z, ecology = species.latents, species.ecology
    return ButterflyTraits(
        coat=_animal_coat(species, glow=0.025),
        wing_aspect=_between(_under(ecology.first, z[18]), 0.62, 2.1),
        forewing_size=_between(_under(ecology.first, z[19]), 0.88, 1.20),
        darkness=_between(z[20], 0.0, 0.40),
        border_width=_between(_under(ecology.second, z[21]), 0.03, 0.30),
        eyespot_size=_between(z[22], 0.06, 0.13),
        tail_length=_between(z[23], -0.25, 0.55),
        scallop=_between(z[24], 0.0, 0.11),
        n_spots=int(_between(z[25], 1, 4.99)),
        body_width=_between(_under(ecology.first, z[26]), 0.045, 0.14),
        hindwing_size=_between(_under(ecology.second, z[27]), 0.64, 1.28),
        has_dark_apex=z[28] > 0.3,
    )


def _describe_leaf(species: Species) -> LeafTraits:
    z, family, ecology = species.latents, species.family_latents, species.ecology
    coat = Coat(
        ground=Tint(
            lightness=_between(z[3], 0.44, 0.70), chroma=_between(z[2], 0.06, 0.125), hue=_between(z[0], 112, 160)
        ),
        second=Tint(
            lightness=_between(z[7], 0.52, 0.66), chroma=_between(z[6], 0.10, 0.14), hue=_between(z[4], 28, 92)
        ),
        accent=Tint(
            lightness=_between(z[11], 0.70, 0.92), chroma=_between(z[10], 0.03, 0.09), hue=_between(z[8], 60, 150)
        ),
        pattern=Pattern.STRIPED if family[13] > 0.3 else Pattern.SPOTTED if family[14] > 0.8 else Pattern.PLAIN,
        n_marks=round(_between(z[16], 2, 7)),
        mark_width=_between(z[17], 0.3, 0.65),
    )
    return LeafTraits(
        coat=coat,
        blade_width=_between(-_under(ecology.first, z[18]), 0.18, 0.95),
        waxiness=_between(z[19], 0.0, 0.85),
        tooth_depth=_between(_under(ecology.second, z[20]), 0.0, 0.42),
        n_teeth=round(_between(z[21], 4, 7)),
        n_lobes=_count_lobes(family[22]),
        lobe_depth=_between(z[23], 0.25, 0.50),
        tip_shape=_between(-_under(ecology.second, z[24]), 0.42, 2.3),
        base_shape=_between(_under(ecology.second, z[25]), 0.26, 0.95),
        n_veins=round(_between(z[26], 4, 9)),
        vein_angle=_between(z[27], 0.18, 0.62),
        petiole_length=_between(-_under(ecology.first, z[28]), 0.08, 0.66),
        has_pale_margin=z[29] > 0.5,
    )


def _count_lobes(latent: float) -> int:
    """Lobes on each side of a blade: none for two fifths of the families, else 2 to 4."""
    return 0 if latent < -0.25 else 2 + int(_between(latent - 0.8, 0, 2.99))


_DESCRIBE: dict[BodyPlan, Callable[[Species], Traits]] = {
    BodyPlan.BIRD: _describe_bird,
    BodyPlan.FISH: _describe_fish,
    BodyPlan.BUTTERFLY: _describe_butterfly,
    BodyPlan.LEAF: _describe_leaf,
}
