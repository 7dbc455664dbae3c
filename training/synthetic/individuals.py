"""One organism: its species, its state, and its own traits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from training.synthetic.states import State, draw_state
from training.synthetic.traits import Traits, describe_traits, vary_traits

if TYPE_CHECKING:
    import numpy as np

    from training.synthetic.phylogeny import Species


@dataclass(frozen=True, kw_only=True)
class Individual:
    """An organism that may be pictured several times."""

    species: Species
    state: State
    traits: Traits


def draw_individual(species: Species, rng: np.random.Generator) -> Individual:
    """A random individual of the species."""
    state = draw_state(species.plan, rng)
    return Individual(species=species, state=state, traits=vary_traits(describe_traits(species), rng))
