"""How good an encoder is on new pictures of the synthetic tree, in figures with intervals.

Two sets of pictures that no training sees: of the 216 species that training does see, and of the 72 that it does not.
Statistics on vectors and columns come from above, as callables; what is asked with words or by picture is here.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64, UInt8

from indexer.files import write_atomically
from training.captions import write_names, write_prompt
from training.judge.bootstrap import Resampling, estimate_mean, widen_certainty
from training.judge.metrics import average_precision, expect_average_precision, measure_top_k
from training.progress import Progress, keep_quiet
from training.settings import TextType
from training.synthetic.controls import describe_individuals
from training.synthetic.dataset import hash_sources
from training.synthetic.ecology import BodyPlan
from training.synthetic.individuals import draw_individual
from training.synthetic.phylogeny import Species, grow_tree
from training.synthetic.pictures import PictureSet, Sitter, Stream, draw_set, list_sitters
from training.synthetic.states import State
from training.synthetic.traits import describe_traits
from training.synthetic.words import list_shapes

if TYPE_CHECKING:
    from training.judge.bootstrap import Estimate

Vectors = Float32[np.ndarray, "n d"]
Statistics = Callable[[Vectors, "Facts"], Iterable["Score"]]
"""Figures of the pictures' vectors, seen species first, and of what is known of each picture."""

N_PER_SEEN, N_PER_UNSEEN = 6, 16
K = 20
MIN_ANSWERS = 40
"""Pictures that a text must fit to be asked: fewer would make its first 20 hits a matter of what was drawn."""
TOP_RANKED = 400
"""Hits that a resampled first 20 may reach down to."""


class Judged(Protocol):
    """An encoder of pictures of its own input size, and of texts; rows are unit vectors."""

    def encode_pixels(self, pixels: UInt8[np.ndarray, "n s s 3"]) -> Vectors:
        """Vectors of the pictures."""

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Vectors of the texts."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """One figure with its 95 % interval and what chance gives.

    Attributes:
        name: As `species_top1`.
        value: A share in [0, 1] or a rank correlation, unless the name says otherwise.
        low: Lower end; nan where there is none.
        high: Upper end.
        chance: Of a random ranking, or of a direction at random; nan where that means nothing.
        n: Species or genera over which the interval generalises.
        p: By permutation; nan where none was made.
        null_low: 2.5 % point of the permutations; nan where none was made.
        null_high: 97.5 % point.
    """

    name: str
    value: float
    low: float
    high: float
    chance: float
    n: int
    p: float = float("nan")
    null_low: float = float("nan")
    null_high: float = float("nan")


@dataclass(frozen=True, kw_only=True)
class Query:
    """A text that asks for organisms of one body plan in a state or shape, with those that it should find."""

    kind: str
    text: str
    plan: BodyPlan
    fits: Callable[[Species, State], bool]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """The pictures of an evaluation: of species that training has seen, and of species it has not."""

    species: tuple[Species, ...]
    seen: PictureSet
    unseen: PictureSet

    @functools.cached_property
    def pixels(self) -> UInt8[np.ndarray, "n s s 3"]:
        """All pictures, those of seen species first."""
        return np.concatenate([self.seen.pixels, self.unseen.pixels])

    @property
    def numbers(self) -> Int64[np.ndarray, " n"]:
        """The species of each picture."""
        return np.concatenate([self.seen.numbers, self.unseen.numbers])

    @property
    def states(self) -> tuple[State, ...]:
        """The state of each picture."""
        return (*self.seen.states, *self.unseen.states)

    @property
    def is_seen(self) -> Bool[np.ndarray, " n"]:
        """Whether training sees the species."""
        return np.arange(len(self.numbers)) < len(self.seen.numbers)


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of each picture: codes, and words that are None where nothing can be seen."""

    species: Int64[np.ndarray, " n"]
    genera: Int64[np.ndarray, " n"]
    plans: tuple[str, ...]
    life_stages: tuple[str, ...]
    sexes: tuple[str | None, ...]
    ecology: Float64[np.ndarray, "n 2"]


def draw_trial(
    *, tree_seed: int, side: int, folder: Path | None = None, n_processes: int = 1, progress: Progress | None = None
) -> Trial:
    """New pictures: 6 of each of the 216 seen species, 16 of each of the 72 unseen ones; the same for every encoder.

    Args:
        tree_seed: Which tree.
        side: Pixels of a side.
        folder: Where they are kept for the next time, under a name made of all that they depend on; None draws anew.
        n_processes: To draw with.
        progress: Told how many are drawn.
    """
    species = grow_tree(tree_seed)
    parts = []
    for held_out in (False, True):
        sitters = _list_sitters(species, held_out=held_out)
        draw = functools.partial(
            draw_set,
            sitters,
            side=side,
            n_processes=n_processes,
            progress=progress or keep_quiet,
            stage=f"drawing {'unseen' if held_out else 'seen'} species",
        )
        kept = folder and folder / f"trial-{tree_seed}-{side}-{int(held_out)}-{len(sitters)}-{hash_sources()[:16]}"
        parts.append(_keep_pictures(kept, draw) if kept else draw())
    return Trial(species=species, seen=parts[0], unseen=parts[1])


def _list_sitters(species: Sequence[Species], *, held_out: bool) -> list[Sitter]:
    chosen = [one for one in species if one.held_out is held_out]
    n = (N_PER_UNSEEN if held_out else N_PER_SEEN) * len(chosen)
    return list_sitters(chosen, n, seed=int(held_out), stream=Stream.EVALUATION)


def _keep_pictures(stem: Path, draw: Callable[[], PictureSet]) -> PictureSet:
    pixels, facts = stem.with_suffix(".npy"), stem.with_suffix(".json")
    if not pixels.exists():
        pictures = draw()
        said = {
            "numbers": pictures.numbers.tolist(),
            "states": [dataclasses.asdict(state) for state in pictures.states],
        }
        # The pixels last: they say that all is there.
        write_atomically(facts, lambda part: part.write_text(json.dumps(said), encoding="utf-8"))
        write_atomically(pixels, lambda part: _save_array(part, pictures.pixels))
        return pictures
    said = json.loads(facts.read_text(encoding="utf-8"))
    return PictureSet(
        pixels=np.load(pixels),
        numbers=np.array(said["numbers"], dtype=np.int64),
        states=tuple(State(**state) for state in said["states"]),
    )


def _save_array(path: Path, array: UInt8[np.ndarray, "n s s 3"]) -> None:
    with path.open("wb") as file:
        np.save(file, array)


def list_facts(trial: Trial) -> Facts:
    """The facts of all pictures, those of seen species first."""
    species = [trial.species[number] for number in trial.numbers]
    genera = {genus: i for i, genus in enumerate(sorted({one.genus for one in trial.species}))}
    return Facts(
        species=trial.numbers,
        genera=np.array([genera[one.genus] for one in species], dtype=np.int64),
        plans=tuple(str(one.plan) for one in species),
        life_stages=tuple("juvenile" if state.is_young else "adult" for state in trial.states),
        sexes=tuple(state.sex for state in trial.states),
        ecology=np.array([(one.ecology.first, one.ecology.second) for one in species]),
    )


def judge_encoder(trial: Trial, encoder: Judged, statistics: Statistics | None = None) -> tuple[Score, ...]:
    """Every figure of an encoder."""
    vectors = encoder.encode_pixels(trial.pixels)
    seen, unseen = vectors[trial.is_seen], vectors[~trial.is_seen]
    return (
        *judge_species_names(trial, seen, encoder),
        *judge_genus_names(trial, seen, unseen, encoder),
        *judge_words(trial, vectors, encoder),
        *judge_vectors(trial, vectors, statistics),
    )


def judge_vectors(trial: Trial, vectors: Vectors, statistics: Statistics | None = None) -> tuple[Score, ...]:
    """The figures that need no text, of one vector per picture, seen species first."""
    found = judge_pictures(trial, vectors[trial.is_seen], vectors[~trial.is_seen])
    return (*found, *(statistics(vectors, list_facts(trial)) if statistics else ()))


def judge_species_names(trial: Trial, vectors: Vectors, encoder: Judged) -> list[Score]:
    """Zero-shot naming among the 216 seen species, by three forms of name in BioCLIP's template."""
    species = [one for one in trial.species if not one.held_out]
    place = {one.number: i for i, one in enumerate(species)}
    answers = np.array([place[number] for number in trial.seen.numbers])
    resampling = Resampling(trial.seen.numbers)
    scores = []
    for form in (TextType.TAXON_COMMON, TextType.SCIENTIFIC, TextType.COMMON):
        texts = [write_prompt(write_names(one.ranks, one.vernacular)[form]) for one in species]
        likeness = vectors @ encoder.encode_texts(texts).T
        for k in (1, 5) if form is TextType.TAXON_COMMON else (1,):
            name = f"species_top{k}" + ("" if form is TextType.TAXON_COMMON else f"_{form}")
            hits = measure_top_k(likeness, answers, k)
            scores.append(_score(name, estimate_mean(hits, resampling), k / len(species), resampling.n_groups))
    return scores


def judge_genus_names(trial: Trial, seen: Vectors, unseen: Vectors, encoder: Judged) -> list[Score]:
    """Zero-shot naming among the 72 genera by the bare genus name."""
    genera = sorted({one.genus for one in trial.species})
    texts = encoder.encode_texts(genera)
    scores = []
    for name, vectors, pictures in (("unseen", unseen, trial.unseen), ("seen", seen, trial.seen)):
        answers = np.array([genera.index(trial.species[number].genus) for number in pictures.numbers])
        resampling = Resampling(pictures.numbers)
        estimate = estimate_mean(measure_top_k(vectors @ texts.T, answers, 1), resampling)
        scores.append(_score(f"genus_top1_{name}", estimate, 1 / len(genera), resampling.n_groups))
    return scores


def judge_pictures(trial: Trial, seen: Vectors, unseen: Vectors) -> list[Score]:
    """Search by picture: mean average precision for the same species, and how often the nearest one is of it."""
    scores = []
    for name, vectors, numbers in (("unseen", unseen, trial.unseen.numbers), ("seen", seen, trial.seen.numbers)):
        likeness = vectors @ vectors.T
        np.fill_diagonal(likeness, -np.inf)
        same = numbers[:, None] == numbers[None, :]
        np.fill_diagonal(same, False)
        resampling = Resampling(numbers)
        n_others = len(numbers) - 1
        by_chance = expect_average_precision(same.sum(axis=1), np.full(len(numbers), n_others))
        nearest = same[np.arange(len(numbers)), likeness.argmax(axis=1)].astype(np.float64)
        for figure, values, chance in (
            (f"image_map_{name}", average_precision(likeness, same), float(np.nanmean(by_chance))),
            (f"nearest_{name}", nearest, float(same.sum() / (len(numbers) * n_others))),
        ):
            scores.append(_score(figure, estimate_mean(values, resampling), chance, resampling.n_groups))
    return scores


def judge_words(trial: Trial, vectors: Vectors, encoder: Judged) -> list[Score]:
    """Precision of the first 20 hits among all pictures: the mean of each kind of query, then each query.

    The interval resamples species, all queries together: the pictures of a species are no independent evidence.
    """
    queries = list_queries(trial)
    likeness = encoder.encode_texts([query.text for query in queries]) @ vectors.T
    answers = np.stack([find_answers(trial, query) for query in queries])
    resampling = Resampling(trial.numbers)
    groups = {kind: [i for i, query in enumerate(queries) if query.kind == kind] for kind in ("stage", "sex", "shape")}
    asked = {f"p20_{kind}": rows for kind, rows in groups.items() if rows}
    asked |= {f"p20 {query.text}": [i] for i, query in enumerate(queries)}
    scores = []
    for name, rows in asked.items():
        statistic = functools.partial(_first_hits, likeness[rows], answers[rows], resampling.groups)
        firsts = np.argsort(-likeness[rows], axis=1, kind="stable")[:, :K]
        n_groups = len(np.unique(trial.numbers[firsts]))
        estimate = widen_certainty(resampling.estimate(statistic), n_trials=n_groups)
        scores.append(_score(name, estimate, float(answers[rows].mean()), resampling.n_groups))
    return scores


def _first_hits(
    likeness: Float32[np.ndarray, "q n"],
    answers: Bool[np.ndarray, "q n"],
    groups: Int64[np.ndarray, " n"],
    weights: Float32[np.ndarray, "b g"],
) -> Float64[np.ndarray, " b"]:
    """The share of right ones among the first 20, each picture counted as often as the weight of its group says."""
    precisions = np.zeros(len(weights))
    for scores, right in zip(likeness, answers, strict=True):
        order = np.argsort(-scores, kind="stable")[:TOP_RANKED]
        counts = weights[:, groups[order]].astype(np.float64)
        before = np.cumsum(counts, axis=1) - counts
        precisions += (np.clip(K - before, 0, counts) * right[order]).sum(axis=1) / K
    shares: Float64[np.ndarray, " b"] = precisions / len(likeness)
    return shares


def list_queries(trial: Trial) -> tuple[Query, ...]:
    """The texts for states, and one for each shape that enough pictures show; butterflies' larvae show no shape."""
    queries = [
        *(_ask_young(f"a juvenile {plan}", plan) for plan in BodyPlan),
        _ask_young("a caterpillar", BodyPlan.BUTTERFLY),
        *(_ask_sex(plan) for plan in (BodyPlan.BIRD, BodyPlan.FISH, BodyPlan.BUTTERFLY)),
    ]
    shapes = {one.number: list_shapes(describe_traits(one)) for one in trial.species}
    for plan in BodyPlan:
        found = {shape for one in trial.species if one.plan is plan for shape in shapes[one.number]}
        queries += [_ask_shape(plan, shape, shapes) for shape in sorted(found)]
    return tuple(query for query in queries if find_answers(trial, query).sum() >= MIN_ANSWERS)


def _ask_young(text: str, plan: BodyPlan) -> Query:
    return Query(kind="stage", text=text, plan=plan, fits=lambda _species, state: state.is_young)


def _ask_sex(plan: BodyPlan) -> Query:
    return Query(kind="sex", text=f"a male {plan}", plan=plan, fits=lambda _species, state: state.is_male)


def _ask_shape(plan: BodyPlan, shape: str, shapes: dict[int, tuple[str, ...]]) -> Query:
    def fits(species: Species, state: State) -> bool:
        return shape in shapes[species.number] and state.life_stage != "larva"

    return Query(kind="shape", text=f"a {plan} {shape}", plan=plan, fits=fits)


def find_answers(trial: Trial, query: Query) -> Bool[np.ndarray, " n"]:
    """Which pictures, the seen species first, a query should find."""
    pairs = zip(trial.numbers, trial.states, strict=True)
    found = [trial.species[n].plan is query.plan and query.fits(trial.species[n], state) for n, state in pairs]
    return np.array(found, dtype=bool)


def describe_truth(trial: Trial) -> Vectors:
    """Unit vectors of the organisms themselves (see `describe_individuals`), those of seen species first."""
    sitters = [one for held_out in (False, True) for one in _list_sitters(trial.species, held_out=held_out)]
    return describe_individuals([draw_individual(one.species, np.random.default_rng(one.key)) for one in sitters])


def _score(name: str, estimate: Estimate, chance: float, n: int) -> Score:
    return Score(name=name, value=estimate.value, low=estimate.low, high=estimate.high, chance=chance, n=n)
