"""What the drawn organisms are called beside their names: Darwin Core columns for state, kind and shape.

No word touches the hidden ecology: shape words name only traits that the ecology does not move.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from training.examples import SEPARATOR
from training.synthetic.traits import BirdTraits, ButterflyTraits, FishTraits, LeafTraits, Pattern, describe_traits

if TYPE_CHECKING:
    from training.synthetic.phylogeny import Species
    from training.synthetic.states import State
    from training.synthetic.traits import Traits

COLUMNS = ("lifeStage", "season", "sex", "organism", "shape")
YOUNG = SEPARATOR.join(("juvenile", "young"))
LARVA = SEPARATOR.join(("caterpillar", "caterpillar", "larva", "butterfly larva", "butterfly"))


def describe_individual(species: Species, state: State) -> dict[str, str | None]:
    """A cell for each of `COLUMNS`; None where nothing can be seen. Of a larva only stage and kind are said."""
    is_larva = state.life_stage == "larva"
    shapes = () if is_larva else list_shapes(describe_traits(species))
    return {
        "lifeStage": YOUNG if state.is_young else "adult",
        "season": state.season,
        "sex": state.sex,
        "organism": LARVA if is_larva else str(species.plan),
        "shape": SEPARATOR.join(shapes) or None,
    }


def list_shapes(traits: Traits) -> tuple[str, ...]:
    """Phrases for what is conspicuous in the pattern or shape of a species; none where nothing is."""
    pattern = () if traits.coat.pattern is Pattern.PLAIN else (f"with {traits.coat.pattern} markings",)
    return (*pattern, *_list_outlines(traits))


def _list_outlines(traits: Traits) -> tuple[str, ...]:
    match traits:
        case BirdTraits():
            found = {
                "with a crest": traits.crest > 0.15,
                "with a long tail": traits.tail_length > 0.62,
                "with a short tail": traits.tail_length < 0.42,
            }
        case FishTraits():
            found = {
                "with a deep body": traits.body_depth > 0.92,
                "with a slender body": traits.body_depth < 0.68,
                "with a tail spot": traits.has_tail_spot,
            }
        case ButterflyTraits():
            found = {"with tailed wings": traits.tail_length > 0.2, "with many eyespots": traits.n_spots >= 3}
        case LeafTraits():
            found = {"with lobes": traits.n_lobes > 0, "with a pale margin": traits.has_pale_margin}
    return tuple(phrase for phrase, holds in found.items() if holds)
