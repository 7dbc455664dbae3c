"""The hidden ecology of the synthetic species: what shapes them and stands in no training text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum


class BodyPlan(StrEnum):
    """The four kinds of organism, by the English word that the texts use."""

    BIRD = "bird"
    FISH = "fish"
    BUTTERFLY = "butterfly"
    LEAF = "leaf"


@dataclass(frozen=True, kw_only=True)
class Ecology:
    """Two axes per body plan, each about standard normal over the species of that plan.

    First axis: hardness of the food (bird), size of the prey (fish), range of flight (butterfly), drought (leaf).
    Second axis: life in the air (bird), life away from the bottom (fish), life in the shade (butterfly), cold (leaf).
    """

    first: float
    second: float


AXES = {
    BodyPlan.BIRD: ("food hardness", "aerial foraging"),
    BodyPlan.FISH: ("prey size", "pelagic life"),
    BodyPlan.BUTTERFLY: ("flight range", "canopy shade"),
    BodyPlan.LEAF: ("aridity", "coldness"),
}
DIETS = {
    BodyPlan.BIRD: ("insects", "fruit", "seeds"),
    BodyPlan.FISH: ("plankton", "molluscs", "vertebrates"),
    BodyPlan.BUTTERFLY: ("sap", "pollen", "nectar"),
}
HABITATS = {
    BodyPlan.BIRD: ("woodland", "scrub", "grassland"),
    BodyPlan.FISH: ("reef", "estuary", "ocean"),
    BodyPlan.BUTTERFLY: ("meadow", "hedgerow", "rainforest"),
}
PLANT_HABITATS = (("rainforest", "taiga"), ("desert", "steppe"))
TERCILE = 0.43
"""The standard normal deviate that cuts off a third."""


def name_diet(plan: BodyPlan, ecology: Ecology) -> str | None:
    """The diet of a species by thirds of its first axis; None for a leaf."""
    return DIETS[plan][_third(ecology.first)] if plan in DIETS else None


def name_habitat(plan: BodyPlan, ecology: Ecology) -> str:
    """The habitat of a species: by thirds of its second axis, or for a leaf by drought and cold together."""
    if plan is BodyPlan.LEAF:
        return PLANT_HABITATS[int(ecology.first > 0)][int(ecology.second > 0)]
    return HABITATS[plan][_third(ecology.second)]


def list_ecology_words() -> frozenset[str]:
    """Every word, in lower case, that would give the hidden ecology away; no training text may hold one."""
    terms = [term for group in (*AXES.values(), *DIETS.values(), *HABITATS.values(), *PLANT_HABITATS) for term in group]
    return frozenset(re.findall(r"[a-z]+", " ".join((*terms, "habitat", "diet", "ecology")).lower())) - {
        "life",
        "size",
        "range",
    }


def _third(value: float) -> int:
    return int(value > -TERCILE) + int(value > TERCILE)
