"""A demo collection: new pictures of the synthetic species, with records as a museum would keep them."""

from __future__ import annotations

import csv
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from training.progress import Progress, keep_quiet
from training.synthetic.ecology import BodyPlan, name_diet, name_habitat
from training.synthetic.individuals import Individual, draw_individual
from training.synthetic.phylogeny import Species, grow_tree
from training.synthetic.pictures import Stream, map_chunks
from training.synthetic.scene import draw_picture

SIDE = 256
"""Pixels of the side of a demo picture."""
QUALITY = 88
CHUNK = 40
TREE_SEED = 0
"""The tree of the bundled encoder."""
PICTURES_PER_OCCURRENCE = (1, 1, 1, 1, 1, 1, 1, 2, 2, 3)
"""Drawn from evenly: seven occurrences in ten own one picture."""

TRAIT_COLUMNS: Mapping[BodyPlan, Mapping[str, str]] = {
    BodyPlan.BIRD: {"beakDepth": "beak_depth", "wingLength": "wing_length", "tailLength": "tail_length"},
    BodyPlan.FISH: {"mouthSize": "mouth_size", "tailFork": "tail_fork", "bodyDepth": "body_depth"},
    BodyPlan.BUTTERFLY: {"wingAspect": "wing_aspect", "wingDarkness": "darkness", "eyespotSize": "eyespot_size"},
    BodyPlan.LEAF: {"bladeWidth": "blade_width", "toothDepth": "tooth_depth", "veinAngle": "vein_angle"},
}
"""Record columns and the traits they give, in the units of `training.synthetic.traits`; empty for other body plans."""

COLUMNS = (
    *("file", "occurrenceID", "scientificName", "vernacularName"),
    *("kingdom", "phylum", "class", "order", "family", "genus", "species"),
    *("lifeStage", "sex", "season", "reproductiveCondition", "habitat", "diet"),
    *(column for traits in TRAIT_COLUMNS.values() for column in traits),
    *("seenInTraining", "eventDate", "decimalLatitude", "decimalLongitude", "basisOfRecord", "license", "rightsHolder"),
)
LAND = (
    (-4.0, -62.0),
    (2.0, 22.0),
    (21.0, 78.0),
    (-27.0, 134.0),
    (48.0, 12.0),
    (41.0, -98.0),
    (36.0, 106.0),
    (-18.0, 30.0),
)
SEA = (
    (18.0, -66.0),
    (-12.0, 62.0),
    (38.0, -38.0),
    (8.0, 134.0),
    (-18.0, 152.0),
    (54.0, 2.0),
    (30.0, -132.0),
    (-30.0, -18.0),
)
"""Centres of ranges, in degrees of latitude and longitude."""
FIRST_DAY = {"breeding": 110, "wet season": 150, "autumn": 260, "summer": 160}
"""First day of the year of the seasons that are bound to one; each lasts 70 days."""


@dataclass(frozen=True, kw_only=True)
class _Occurrence:
    species: Species
    seed: int
    index: int
    n_pictures: int


def draw_demo(folder: Path, *, n_images: int = 2000, seed: int = 2026, progress: Progress | None = None) -> Path:
    """Draws a collection into the folder and gives the path of its table, `records.csv`.

    Every species of the tree may occur, also those that training never saw (`seenInTraining`). Pictures are JPEG files
    of 256 x 256 pixels in GENUS/EPITHET folders; some occurrences own two or three. No picture is one of the
    training's. The same seed gives the same records and, with the same Pillow, the same pictures. habitat and diet are
    the hidden ecology.

    Args:
        folder: Made where it is missing; files of an earlier demo are written over.
        n_images: Pictures in all, 1 or more.
        seed: Another seed gives other individuals of the same species.
        progress: Told how many pictures are drawn.
    """
    occurrences = _list_occurrences(n_images, seed)
    chunks = [occurrences[i : i + CHUNK] for i in range(0, len(occurrences), CHUNK)]
    report = progress or keep_quiet
    rows: list[dict[str, str]] = []
    for drawn in map_chunks(functools.partial(_draw_chunk, folder=folder), chunks, n_processes=2):
        rows += drawn
        report("drawing the demo", len(rows), n_images)
    path = folder / "records.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="")
        writer.writeheader()
        writer.writerows(rows)
    return path


def _list_occurrences(n_images: int, seed: int) -> list[_Occurrence]:
    rng = np.random.default_rng([seed, int(Stream.DEMO)])
    species = grow_tree(TREE_SEED)
    order: list[int] = []
    occurrences: list[_Occurrence] = []
    left = n_images
    while left > 0:
        order = order or rng.permutation(len(species)).tolist()
        n = min(left, int(rng.choice(PICTURES_PER_OCCURRENCE)))
        occurrences.append(_Occurrence(species=species[order.pop()], seed=seed, index=len(occurrences), n_pictures=n))
        left -= n
    return occurrences


def _draw_chunk(occurrences: Sequence[_Occurrence], *, folder: Path) -> list[dict[str, str]]:
    return [row for occurrence in occurrences for row in _draw_occurrence(occurrence, folder)]


def _draw_occurrence(occurrence: _Occurrence, folder: Path) -> list[dict[str, str]]:
    rng = np.random.default_rng([occurrence.seed, int(Stream.DEMO), occurrence.index])
    individual = draw_individual(occurrence.species, rng)
    name = f"demo-{occurrence.seed}-{occurrence.index:05d}"
    record = {"occurrenceID": name, **_describe_species(occurrence.species), **_describe_individual(individual)}
    record |= _describe_event(individual, rng)
    genus, epithet = occurrence.species.binomial.split()
    place = folder / genus / epithet
    place.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(1, occurrence.n_pictures + 1):
        path = place / f"{name}-{number}.jpg"
        draw_picture(individual, rng, side=SIDE).save(path, quality=QUALITY)
        rows.append({"file": path.relative_to(folder).as_posix(), **record})
    return rows


def _describe_species(species: Species) -> dict[str, str]:
    ranks = dict(zip(("kingdom", "phylum", "class", "order", "family", "genus", "species"), species.ranks, strict=True))
    return {
        "scientificName": species.binomial,
        "vernacularName": species.vernacular,
        **ranks,
        "habitat": name_habitat(species.plan, species.ecology),
        "diet": name_diet(species.plan, species.ecology) or "",
        "seenInTraining": "no" if species.held_out else "yes",
    }


def _describe_individual(individual: Individual) -> dict[str, str]:
    state, plan = individual.state, individual.species.plan
    breeds = plan in (BodyPlan.BIRD, BodyPlan.FISH)
    return {
        "lifeStage": state.life_stage,
        "sex": state.sex or "",
        "season": state.season or "",
        "reproductiveCondition": (state.season or "") if breeds else "",
        **{column: f"{getattr(individual.traits, trait):.3f}" for column, trait in TRAIT_COLUMNS[plan].items()},
    }


def _describe_event(individual: Individual, rng: np.random.Generator) -> dict[str, str]:
    species = individual.species
    ranges = np.random.default_rng([species.number, TREE_SEED])
    centres = SEA if species.plan is BodyPlan.FISH else LAND
    centre = np.array(centres[int(ranges.integers(len(centres)))]) + ranges.normal(0, 3, 2)
    latitude, longitude = centre + rng.normal(0, 1.5, 2)
    day = FIRST_DAY.get(individual.state.season or "", int(rng.integers(0, 290))) + int(rng.integers(0, 70))
    date = np.datetime64(f"{int(rng.integers(2016, 2026))}-01-01") + np.timedelta64(day, "D")
    return {
        "eventDate": str(date),
        "decimalLatitude": f"{latitude:.4f}",
        "decimalLongitude": f"{longitude:.4f}",
        "basisOfRecord": "HumanObservation",
        "license": "CC0-1.0",
        "rightsHolder": "Morphospace (drawn by a program)",
    }
