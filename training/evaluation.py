"""How good an encoder is on pictures it has not seen, beside an untrained one and beside bare pixels."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8

from training.ecology import BodyPlan
from training.phylogeny import Species, grow_tree
from training.pictures import PictureSet, Stream, draw_set, list_sitters
from training.probes import probe_ecology
from training.progress import Progress, keep_quiet
from training.texts import TextType, write_names, write_prompt
from training.towers import build_towers, load_towers

if TYPE_CHECKING:
    from training.settings import TrainingConfig
    from training.states import State

Vectors = Float32[np.ndarray, "n d"]
N_PER_SEEN, N_PER_UNSEEN = 6, 16
K = 20


@dataclass(frozen=True, kw_only=True)
class StateQuery:
    """A text that asks for a state, with the pictures it should find."""

    text: str
    plan: BodyPlan
    fits: Callable[[State], bool]


STATE_QUERIES = (
    StateQuery(text="a juvenile bird", plan=BodyPlan.BIRD, fits=lambda state: state.is_young),
    StateQuery(text="a male bird", plan=BodyPlan.BIRD, fits=lambda state: state.is_male),
    StateQuery(text="a female bird", plan=BodyPlan.BIRD, fits=lambda state: state.sex == "female"),
    StateQuery(text="a breeding bird", plan=BodyPlan.BIRD, fits=lambda state: state.season == "breeding"),
    StateQuery(text="a juvenile fish", plan=BodyPlan.FISH, fits=lambda state: state.is_young),
    StateQuery(text="a male fish", plan=BodyPlan.FISH, fits=lambda state: state.is_male),
    StateQuery(text="a breeding fish", plan=BodyPlan.FISH, fits=lambda state: state.season == "breeding"),
    StateQuery(text="a caterpillar", plan=BodyPlan.BUTTERFLY, fits=lambda state: state.is_young),
    StateQuery(text="a juvenile butterfly", plan=BodyPlan.BUTTERFLY, fits=lambda state: state.is_young),
    StateQuery(text="a male butterfly", plan=BodyPlan.BUTTERFLY, fits=lambda state: state.is_male),
    StateQuery(text="a wet season butterfly", plan=BodyPlan.BUTTERFLY, fits=lambda state: state.season == "wet season"),
    StateQuery(text="a juvenile leaf", plan=BodyPlan.LEAF, fits=lambda state: state.is_young),
    StateQuery(text="an autumn leaf", plan=BodyPlan.LEAF, fits=lambda state: state.season == "autumn"),
)


@dataclass(frozen=True, kw_only=True)
class Trial:
    """The pictures of an evaluation: of species that training has seen, and of species it has not."""

    species: tuple[Species, ...]
    seen: PictureSet
    unseen: PictureSet


def draw_trial(config: TrainingConfig, *, progress: Progress | None = None) -> Trial:
    """New pictures: 6 of each of the 216 seen species, 16 of each of the 72 unseen ones."""
    species = grow_tree(config.tree_seed)
    report = progress or keep_quiet
    sets = []
    for held_out, n, stage in (
        (False, N_PER_SEEN, "drawing seen species"),
        (True, N_PER_UNSEEN, "drawing unseen species"),
    ):
        chosen = [one for one in species if one.held_out is held_out]
        seed = 2 * config.seed + int(held_out)
        sitters = list_sitters(chosen, n * len(chosen), seed=seed, stream=Stream.EVALUATION)
        sets.append(
            draw_set(sitters, side=config.image_side, n_processes=config.n_threads, progress=report, stage=stage)
        )
    return Trial(species=species, seen=sets[0], unseen=sets[1])


def evaluate_encoder(
    folder: Path, config: TrainingConfig, *, progress: Progress | None = None
) -> dict[str, dict[str, float]]:
    """Figures of the encoder in `folder`, of the same towers untrained, and of pixel PCA, beside the chance levels.

    All are shares in [0, 1] but the ecology's, which are rank correlations. They are also written to `metrics.json` in
    the folder.
    """
    import torch

    trial = draw_trial(config, progress=progress)
    towers = load_towers(folder)
    torch.manual_seed(config.seed)
    untrained = build_towers(config, towers.tokenizer)
    metrics = {
        "chance": chance_levels(trial),
        "pixel_pca": judge_pixels(trial, n_components=config.dimension),
        "untrained": judge_towers(trial, untrained.encode_pixels, untrained.encode_texts),
        "trained": judge_towers(trial, towers.encode_pixels, towers.encode_texts),
    }
    rounded = {who: {name: round(value, 4) for name, value in figures.items()} for who, figures in metrics.items()}
    (folder / "metrics.json").write_text(json.dumps(rounded, indent=2) + "\n", encoding="utf-8")
    return rounded


def judge_towers(
    trial: Trial,
    encode_pixels: Callable[[UInt8[np.ndarray, "n s s 3"]], Vectors],
    encode_texts: Callable[[Sequence[str]], Vectors],
) -> dict[str, float]:
    """Every figure of an encoder."""
    seen, unseen = encode_pixels(trial.seen.pixels), encode_pixels(trial.unseen.pixels)
    figures = judge_species_names(trial, seen, encode_texts)
    figures |= judge_genus_names(trial, seen, unseen, encode_texts)
    figures |= judge_state_words(trial, np.concatenate([seen, unseen]), encode_texts)
    figures |= judge_pictures(trial, seen, unseen)
    return figures | judge_ecology(trial, np.concatenate([seen, unseen]))


def judge_pixels(trial: Trial, *, n_components: int) -> dict[str, float]:
    """The figures that need no text, of the principal components of bare pixels."""
    seen, unseen = project_pixels(trial, n_components=n_components)
    return judge_pictures(trial, seen, unseen) | judge_ecology(trial, np.concatenate([seen, unseen]))


def judge_species_names(
    trial: Trial, vectors: Vectors, encode_texts: Callable[[Sequence[str]], Vectors]
) -> dict[str, float]:
    """Zero-shot naming among the 216 seen species by each form of name in BioCLIP's template."""
    species = [one for one in trial.species if not one.held_out]
    answers = np.array([[one.number for one in species].index(number) for number in trial.seen.numbers])
    figures = {}
    for form in TextType:
        texts = encode_texts([write_prompt(write_names(one.ranks, one.vernacular)[form]) for one in species])
        order = np.argsort(-(vectors @ texts.T), axis=1)[:, :5]
        figures[f"species_top1_{form}"] = float((order[:, 0] == answers).mean())
        if form is TextType.TAXON_COMMON:
            figures["species_top5_taxon_common"] = float((order == answers[:, None]).any(axis=1).mean())
    return figures


def judge_genus_names(
    trial: Trial, seen: Vectors, unseen: Vectors, encode_texts: Callable[[Sequence[str]], Vectors]
) -> dict[str, float]:
    """Zero-shot naming among the 72 genera by the bare genus name, and the precision of its first 20 hits."""
    genera = sorted({one.genus for one in trial.species})
    texts = encode_texts(genera)
    figures = {}
    answers = []
    for name, vectors, pictures in (("seen", seen, trial.seen), ("unseen", unseen, trial.unseen)):
        answers.append(np.array([genera.index(trial.species[number].genus) for number in pictures.numbers]))
        figures[f"genus_top1_{name}_species"] = float(((vectors @ texts.T).argmax(axis=1) == answers[-1]).mean())
    hits = np.argsort(-(texts @ np.concatenate([seen, unseen]).T), axis=1)[:, :K]
    figures["genus_name_p20"] = float((np.concatenate(answers)[hits] == np.arange(len(genera))[:, None]).mean())
    return figures


def judge_state_words(
    trial: Trial, vectors: Vectors, encode_texts: Callable[[Sequence[str]], Vectors]
) -> dict[str, float]:
    """Precision of the first 20 hits among all pictures for each of the state queries."""
    texts = encode_texts([query.text for query in STATE_QUERIES])
    hits = np.argsort(-(texts @ vectors.T), axis=1)[:, :K]
    return {
        f"p20 {query.text}": float(find_answers(trial, query)[row].mean())
        for query, row in zip(STATE_QUERIES, hits, strict=True)
    }


def find_answers(trial: Trial, query: StateQuery) -> Bool[np.ndarray, " n"]:
    """Which pictures, the seen species first, a state query should find."""
    numbers = np.concatenate([trial.seen.numbers, trial.unseen.numbers])
    states = (*trial.seen.states, *trial.unseen.states)
    return np.array(
        [trial.species[n].plan is query.plan and query.fits(state) for n, state in zip(numbers, states, strict=True)]
    )


def judge_pictures(trial: Trial, seen: Vectors, unseen: Vectors) -> dict[str, float]:
    """Search by picture: mean average precision for the same species, and how often the nearest one is of it."""
    figures = {}
    for name, vectors, numbers in (("seen", seen, trial.seen.numbers), ("unseen", unseen, trial.unseen.numbers)):
        scores = vectors @ vectors.T
        np.fill_diagonal(scores, -np.inf)
        same = numbers[:, None] == numbers[None, :]
        np.fill_diagonal(same, False)
        figures[f"picture_map_{name}_species"] = float(average_precision(scores, same).mean())
        figures[f"nearest_same_{name}_species"] = float((numbers[scores.argmax(axis=1)] == numbers).mean())
    return figures


def judge_ecology(trial: Trial, vectors: Vectors) -> dict[str, float]:
    """The hidden ecology read from single pictures, with the bounds of its null; see `training.probes`."""
    numbers = np.concatenate([trial.seen.numbers, trial.unseen.numbers])
    probe = probe_ecology(vectors, numbers, trial.species)
    figures = {f"ecology_rho_{plan}": rho for plan, rho in probe.by_plan.items()}
    return {
        "ecology_rho": probe.rho,
        "ecology_null_low": probe.null_low,
        "ecology_null_high": probe.null_high,
        **figures,
    }


def average_precision(
    scores: Float32[np.ndarray, "q n"], relevant: Bool[np.ndarray, "q n"]
) -> Float64[np.ndarray, " q"]:
    """Average precision of each row's ranking by falling score; nan where nothing is relevant."""
    order = np.argsort(-scores, axis=1, kind="stable")
    hits = np.take_along_axis(relevant, order, axis=1)
    precision = np.cumsum(hits, axis=1) / np.arange(1, hits.shape[1] + 1)
    found = hits.sum(axis=1)
    precisions: Float64[np.ndarray, " q"] = np.full(len(hits), np.nan)
    np.divide((precision * hits).sum(axis=1), found, out=precisions, where=found > 0)
    return precisions


def project_pixels(trial: Trial, *, n_components: int) -> tuple[Vectors, Vectors]:
    """Unit vectors from the pixels at a third of the side, on their principal components: what needs no learning."""
    from sklearn.decomposition import PCA

    small = [_shrink(pictures.pixels) for pictures in (trial.seen, trial.unseen)]
    pca = PCA(n_components, random_state=0).fit(np.concatenate(small))
    seen, unseen = (pca.transform(pixels).astype(np.float32) for pixels in small)
    return seen / np.linalg.norm(seen, axis=1, keepdims=True), unseen / np.linalg.norm(unseen, axis=1, keepdims=True)


def chance_levels(trial: Trial) -> dict[str, float]:
    """What a random ranking gets."""
    n_species, n_genera = (
        len({one.number for one in trial.species if not one.held_out}),
        len({one.genus for one in trial.species}),
    )
    figures = {"species_top1": 1 / n_species, "species_top5": 5 / n_species, "genus_top1": 1 / n_genera}
    figures |= {"picture_map_unseen_species": (N_PER_UNSEEN - 1) / (len(trial.unseen.numbers) - 1)}
    return figures | {f"p20 {query.text}": float(find_answers(trial, query).mean()) for query in STATE_QUERIES}


def _shrink(pixels: UInt8[np.ndarray, "n s s 3"]) -> Float32[np.ndarray, "n p"]:
    n, side = pixels.shape[:2]
    small = side // 3
    blocks = pixels[:, : 3 * small, : 3 * small].reshape(n, small, 3, small, 3, 3).astype(np.float32)
    shrunk: Float32[np.ndarray, "n p"] = blocks.mean(axis=(2, 4)).reshape(n, -1)
    return shrunk
