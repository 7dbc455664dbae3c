"""States inside a species: life stage, sex and season, the same transformation for every species of a body plan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from training.synthetic.ecology import BodyPlan

if TYPE_CHECKING:
    import numpy as np

JUVENILE_SHARE = 0.3
SEASONS = {
    BodyPlan.BIRD: ("non-breeding", "breeding"),
    BodyPlan.FISH: ("non-breeding", "breeding"),
    BodyPlan.BUTTERFLY: ("dry season", "wet season"),
    BodyPlan.LEAF: ("summer", "autumn"),
}


@dataclass(frozen=True, kw_only=True)
class State:
    """The state of one individual.

    Attributes:
        life_stage: Darwin Core `lifeStage`: adult, juvenile, or larva (a caterpillar).
        sex: Darwin Core `sex`: male or female; None where it cannot be seen (leaves, the young).
        season: One of `SEASONS` of the body plan; None where it cannot be seen (juveniles).
    """

    life_stage: str
    sex: str | None
    season: str | None

    @property
    def is_young(self) -> bool:
        """True for a juvenile or a larva."""
        return self.life_stage != "adult"

    @property
    def is_male(self) -> bool:
        """True for a male."""
        return self.sex == "male"

    @property
    def is_showy(self) -> bool:
        """True in the season that changes the looks: breeding, wet season, autumn."""
        return self.season in ("breeding", "wet season", "autumn")


def draw_state(plan: BodyPlan, rng: np.random.Generator) -> State:
    """A random state: 30 % young, sexes and seasons evenly."""
    young, male, showy = rng.random() < JUVENILE_SHARE, rng.random() < 0.5, rng.random() < 0.5
    return make_state(plan, young=young, male=male, showy=showy)


def make_state(plan: BodyPlan, *, young: bool, male: bool, showy: bool) -> State:
    """The state as far as it can be seen on this body plan."""
    stage = "adult" if not young else "larva" if plan is BodyPlan.BUTTERFLY else "juvenile"
    sex = None if young or plan is BodyPlan.LEAF else "male" if male else "female"
    season = None if young else SEASONS[plan][int(showy)]
    return State(life_stage=stage, sex=sex, season=season)
