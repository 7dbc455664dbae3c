"""The synthetic tree of life: lineages that evolve by Brownian motion down seven ranks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from training.synthetic.ecology import BodyPlan, Ecology
from training.synthetic.names import NameMaker

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float64

HIGHER_RANKS = {
    BodyPlan.BIRD: ("Animalia", "Chordata", "Aves"),
    BodyPlan.FISH: ("Animalia", "Chordata", "Actinopterygii"),
    BodyPlan.BUTTERFLY: ("Animalia", "Arthropoda", "Insecta"),
    BodyPlan.LEAF: ("Plantae", "Tracheophyta", "Magnoliopsida"),
}
ORDER_ENDINGS = {
    BodyPlan.BIRD: "iformes",
    BodyPlan.FISH: "iformes",
    BodyPlan.BUTTERFLY: "optera",
    BodyPlan.LEAF: "ales",
}
GENUS_ENDINGS = ("us", "a", "is", "ops", "ia")
N_ORDERS, N_FAMILIES, N_GENERA, N_SPECIES = 2, 3, 3, 4
N_SEEN = len(BodyPlan) * N_ORDERS * N_FAMILIES * N_GENERA * (N_SPECIES - 1)
"""Species that training draws: one of each genus is held out."""
N_LATENTS = 30
N_COLOUR_LATENTS = 12
"""The first latents are colours: they hardly move below the genus, so that congeners differ in shape."""

ORDER_STEP, FAMILY_STEP, GENUS_STEP, SPECIES_STEP = 0.8, 0.9, 0.7, 0.35
COLOUR_GENUS_STEP, COLOUR_SPECIES_STEP = 1.0, 0.12
FAMILY_NICHE, GENUS_NICHE, SPECIES_NICHE = 0.3, 0.3, 0.85
"""Standard deviations of the ecology's steps."""
NICHE_DISTANCE = 0.9
"""Least distance between the niches of two species of a genus: congeners that live alike would exclude each other."""


@dataclass(frozen=True, kw_only=True)
class Species:
    """One species of the tree: its seven ranks, its common name, and what it inherits.

    Attributes:
        number: Place in the tree's list of species, from 0.
        ranks: kingdom, phylum, class, order, family, genus, species (the full binomial).
        vernacular: English-like common name.
        latents: Heritable values, about standard normal; what each means is said in `training.synthetic.traits`.
        family_latents: The same of the family's ancestor, for characters that a whole family shares.
        ecology: Hidden axes; they shape the body and stand in no text.
        held_out: True for the one species of each genus that training never sees.
    """

    number: int
    plan: BodyPlan
    ranks: tuple[str, str, str, str, str, str, str]
    vernacular: str
    latents: tuple[float, ...]
    family_latents: tuple[float, ...]
    ecology: Ecology
    held_out: bool

    @property
    def genus(self) -> str:
        """The genus name alone."""
        return self.ranks[5]

    @property
    def binomial(self) -> str:
        """Genus and epithet."""
        return self.ranks[6]


@dataclass(frozen=True, kw_only=True)
class _Lineage:
    names: tuple[str, ...]
    latents: Float64[np.ndarray, " l"]
    family_latents: Float64[np.ndarray, " l"]
    ecology: Float64[np.ndarray, " 2"]
    stem: str = ""
    group: str = ""


def grow_tree(seed: int) -> tuple[Species, ...]:
    """All 288 species of the tree that this seed grows, 72 per body plan, one of each genus held out.

    Latents take a Gaussian step on every branch (Brownian motion; branch lengths are Gamma(4, 1/4)). The ecology
    follows the phylogeny only weakly (family and genus explain about a fifth of its variance), and the species of a
    genus keep their distance (character displacement): what tells congeners apart is how they live.
    """
    import numpy as np

    rng = np.random.default_rng(seed)
    maker = NameMaker(rng)
    species: list[Species] = []
    for plan in BodyPlan:
        tips = [tip for order in _grow_orders(plan, rng, maker) for tip in _grow_species(order, plan, rng, maker)]
        ecology = np.array([tip.ecology for tip in tips])
        scaled = (ecology - ecology.mean(axis=0)) / ecology.std(axis=0)
        species += [
            _name_species(tip, plan, axes, len(species) + i)
            for i, (tip, axes) in enumerate(zip(tips, scaled, strict=True))
        ]
    return tuple(species)


def _step(rng: np.random.Generator, scale: float, size: int) -> Float64[np.ndarray, " l"]:
    return rng.normal(0, scale * rng.gamma(4, 0.25) ** 0.5, size)


def _grow_orders(plan: BodyPlan, rng: np.random.Generator, maker: NameMaker) -> list[_Lineage]:
    import numpy as np

    root = rng.normal(0, 0.3, N_LATENTS)
    orders = []
    for _ in range(N_ORDERS):
        latents = root + _step(rng, ORDER_STEP, N_LATENTS)
        name = (maker.make_stem() + ORDER_ENDINGS[plan]).capitalize()
        orders.append(
            _Lineage(names=(*HIGHER_RANKS[plan], name), latents=latents, family_latents=latents, ecology=np.zeros(2))
        )
    return orders


def _grow_families(order: _Lineage, plan: BodyPlan, rng: np.random.Generator, maker: NameMaker) -> list[_Lineage]:
    families = []
    for _ in range(N_FAMILIES):
        stem = maker.make_stem()
        latents = order.latents + _step(rng, FAMILY_STEP, N_LATENTS)
        name = (stem + ("aceae" if plan is BodyPlan.LEAF else "idae")).capitalize()
        ecology = rng.normal(0, FAMILY_NICHE, 2)
        group = maker.make_group()
        family = _Lineage(
            names=(*order.names, name), latents=latents, family_latents=latents, ecology=ecology, stem=stem, group=group
        )
        families.append(family)
    return families


def _grow_genera(family: _Lineage, rng: np.random.Generator, maker: NameMaker) -> list[_Lineage]:
    genera = []
    for index in range(N_GENERA):
        stem = family.stem if index == 0 else maker.make_stem()
        name = (stem + maker.choose(GENUS_ENDINGS)).capitalize()
        step = _step(rng, GENUS_STEP, N_LATENTS)
        step[:N_COLOUR_LATENTS] *= COLOUR_GENUS_STEP / GENUS_STEP
        latents = family.latents + step
        ecology = family.ecology + rng.normal(0, GENUS_NICHE, 2)
        genera.append(
            _Lineage(
                names=(*family.names, name),
                latents=latents,
                family_latents=family.latents,
                ecology=ecology,
                group=family.group,
            )
        )
    return genera


def _grow_species(order: _Lineage, plan: BodyPlan, rng: np.random.Generator, maker: NameMaker) -> list[_Lineage]:
    tips = []
    for family in _grow_families(order, plan, rng, maker):
        for genus in _grow_genera(family, rng, maker):
            tips += [_grow_tip(genus, niche, rng, maker) for niche in _share_niches(rng)]
    return tips


def _share_niches(rng: np.random.Generator) -> Float64[np.ndarray, "s 2"]:
    """Steps from the genus to the ecology of each of its species, drawn anew until no two are close."""
    import numpy as np

    while True:
        niches = rng.normal(0, SPECIES_NICHE, (N_SPECIES, 2))
        gaps = np.linalg.norm(niches[:, None] - niches[None, :], axis=2)[np.triu_indices(N_SPECIES, 1)]
        if gaps.min() >= NICHE_DISTANCE:
            return niches


def _grow_tip(
    genus: _Lineage, niche: Float64[np.ndarray, " 2"], rng: np.random.Generator, maker: NameMaker
) -> _Lineage:
    step = _step(rng, SPECIES_STEP, N_LATENTS)
    step[:N_COLOUR_LATENTS] *= COLOUR_SPECIES_STEP / SPECIES_STEP
    return _Lineage(
        names=(*genus.names, f"{genus.names[5]} {maker.make_epithet()}"),
        latents=genus.latents + step,
        family_latents=genus.family_latents,
        ecology=genus.ecology + niche,
        group=f"{maker.make_place()} {genus.group}",
    )


def _name_species(tip: _Lineage, plan: BodyPlan, axes: Float64[np.ndarray, " 2"], number: int) -> Species:
    kingdom, phylum, class_, order, family, genus, species = tip.names
    return Species(
        number=number,
        plan=plan,
        ranks=(kingdom, phylum, class_, order, family, genus, species),
        vernacular=tip.group,
        latents=tuple(float(value) for value in tip.latents),
        family_latents=tuple(float(value) for value in tip.family_latents),
        ecology=Ecology(first=float(axes[0]), second=float(axes[1])),
        held_out=number % N_SPECIES == N_SPECIES - 1,
    )
