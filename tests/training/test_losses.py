"""Each loss against a plain float64 loop over pairs, its gradients, and what it is for."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from jaxtyping import Float64, Int64

from training.examples import Pairs
from training.losses import find_fits, make_loss
from training.settings import LossConfig, LossKind

N_ROWS, DIMENSION = 8, 5
SCALE, BIAS = 7.0, -2.0
KINDS = list(LossKind)
RANK_WEIGHTS = (0.0, 0.0, 1.0, 0.0, 0.5, 0.0, 2.0)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A batch in numpy: three species in two genera and one picture without names; some texts fit other pictures."""

    images: Float64[np.ndarray, "n d"]
    texts: Float64[np.ndarray, "n d"]
    lineage: Int64[np.ndarray, "n 7"]
    facts: Int64[np.ndarray, "n f"]
    claims: Int64[np.ndarray, "n q"]

    def gather(self, start: int = 0, stop: int = N_ROWS) -> Pairs:
        """The rows of one process before all rows; the leaves of the graph are `images` and `all_texts` and so on."""
        every = {name: torch.from_numpy(getattr(self, name)) for name in ("lineage", "facts", "claims")}
        images, texts = (torch.from_numpy(values.copy()).requires_grad_() for values in (self.images, self.texts))
        own = slice(start, stop)
        return Pairs(
            images=images if stop - start == N_ROWS else images[own],
            texts=texts if stop - start == N_ROWS else texts[own],
            all_images=images,
            all_texts=texts,
            first=start,
            scale=torch.tensor(SCALE, dtype=torch.float64, requires_grad=True),
            bias=torch.tensor(BIAS, dtype=torch.float64, requires_grad=True),
            **{name: values[own] for name, values in every.items()},
            **{f"all_{name}": values for name, values in every.items()},
        )


def unit_rows(rng: np.random.Generator) -> Float64[np.ndarray, "n d"]:
    rows = rng.standard_normal((N_ROWS, DIMENSION))
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


@pytest.fixture(scope="module")
def case() -> Case:
    rng = np.random.default_rng(0)
    species = [11, 11, 12, 13, 13, 13, 12, 0]
    genus = [21, 21, 21, 22, 22, 22, 21, 0]
    lineage = np.array(
        [[1, 2, 3, 4, 5, g, s] if s else [1, 2, 3, 0, 0, 0, 0] for g, s in zip(genus, species, strict=True)]
    )
    male, young = 31, 32
    traits = [[male, 0], [0, 0], [male, young], [young, 0], [0, 0], [male, 0], [young, 0], [0, 0]]
    claims = [[11, 0], [21, 0], [3, male], [13, 0], [22, 0], [male, 0], [young, 21], [0, 0]]
    return Case(
        images=unit_rows(rng),
        texts=unit_rows(rng),
        lineage=lineage,
        facts=np.hstack([lineage, np.array(traits)]),
        claims=np.array(claims),
    )


def plain_fit(case: Case, picture: int, text: int) -> bool:
    said = [claim for claim in case.claims[text].tolist() if claim]
    return bool(said) and set(said) <= set(case.facts[picture].tolist())


def plain_picks(case: Case, is_positive: Callable[[int, int], bool], *, leaves_out: bool) -> float:
    """Both directions of: for each row, the mean over its positives of minus the log of their softmax."""
    total = 0.0
    for of_texts in (False, True):
        for i in range(N_ROWS):
            logits, positives = {}, []
            for j in range(N_ROWS):
                picture, text = (j, i) if of_texts else (i, j)
                if is_positive(i, j):
                    positives.append(j)
                elif leaves_out and plain_fit(case, picture, text):
                    continue
                logits[j] = SCALE * math.fsum(case.images[picture] * case.texts[text])
            norm = math.log(math.fsum(math.exp(value) for value in logits.values()))
            total += math.fsum(norm - logits[j] for j in positives) / len(positives)
    return total / (2 * N_ROWS)


def plain_sigmoid(case: Case, *, leaves_out: bool) -> float:
    total = 0.0
    for i in range(N_ROWS):
        for j in range(N_ROWS):
            if i != j and leaves_out and plain_fit(case, i, j):
                continue
            logit = SCALE * math.fsum(case.images[i] * case.texts[j]) + BIAS
            total += math.log1p(math.exp(-logit if i == j else logit))
    return total / N_ROWS


def plain_loss(case: Case, config: LossConfig) -> float:
    def share_rank(rank: int) -> Callable[[int, int], bool]:
        taxa = case.lineage[:, rank].tolist()
        return lambda i, j: i == j or taxa[i] == taxa[j] > 0

    leaves_out = config.leave_out_fits
    if config.kind is LossKind.SIGLIP:
        return plain_sigmoid(case, leaves_out=leaves_out)
    if config.kind is LossKind.INFONCE:
        return plain_picks(case, lambda i, j: i == j, leaves_out=leaves_out)
    weights = config.rank_weights if config.kind is LossKind.HIERARCHICAL else (0, 0, 0, 0, 0, 0, 1)
    losses = [plain_picks(case, share_rank(rank), leaves_out=leaves_out) for rank in range(7)]
    return math.fsum(w * loss for w, loss in zip(weights, losses, strict=True)) / sum(weights)


def configure(kind: LossKind, *, leaves_out: bool) -> LossConfig:
    return LossConfig(kind=kind, leave_out_fits=leaves_out, rank_weights=RANK_WEIGHTS)


@pytest.mark.parametrize("leaves_out", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_is_that_of_a_plain_loop(case: Case, kind: LossKind, leaves_out: bool) -> None:
    config = configure(kind, leaves_out=leaves_out)
    assert make_loss(config)(case.gather()).item() == pytest.approx(plain_loss(case, config), rel=1e-12)


@pytest.mark.parametrize("leaves_out", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_the_gradients_are_the_slopes_of_the_plain_loop(case: Case, kind: LossKind, leaves_out: bool) -> None:
    config = configure(kind, leaves_out=leaves_out)
    pairs = case.gather()
    make_loss(config)(pairs).backward()  # type: ignore[no-untyped-call]
    step = 1e-5
    for name in ("images", "texts"):
        gradient = getattr(pairs, name).grad.numpy()
        for row, column in [(0, 0), (3, 2), (7, 4)]:
            slope = 0.0
            for sign in (1, -1):
                moved = getattr(case, name).copy()
                moved[row, column] += sign * step
                slope += sign * plain_loss(replace(case, **{name: moved}), config) / (2 * step)
            assert gradient[row, column] == pytest.approx(slope, abs=1e-8)


@pytest.mark.parametrize("kind", KINDS)
def test_scale_and_bias_learn_only_where_the_loss_has_them(case: Case, kind: LossKind) -> None:
    pairs = case.gather()
    make_loss(LossConfig(kind=kind))(pairs).backward()  # type: ignore[no-untyped-call]
    assert pairs.scale.grad is not None
    assert pairs.scale.grad.abs().item() > 1e-3
    assert (pairs.bias.grad is not None) == (kind is LossKind.SIGLIP)


@pytest.mark.parametrize("leaves_out", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_gathered_parts_average_to_the_whole_with_its_gradients(case: Case, kind: LossKind, leaves_out: bool) -> None:
    judge = make_loss(configure(kind, leaves_out=leaves_out))
    whole = case.gather()
    loss = judge(whole)
    loss.backward()  # type: ignore[no-untyped-call]
    parts = [case.gather(start, start + 2) for start in range(0, N_ROWS, 2)]
    losses = [judge(part) for part in parts]
    torch.stack(losses).mean().backward()  # type: ignore[no-untyped-call]
    assert torch.stack(losses).mean().item() == pytest.approx(loss.item(), rel=1e-12)
    for name in ("all_images", "all_texts"):
        gathered = sum(getattr(part, name).grad for part in parts)
        np.testing.assert_allclose(gathered, getattr(whole, name).grad, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_the_order_of_the_batch_does_not_matter(case: Case, kind: LossKind) -> None:
    order = np.random.default_rng(3).permutation(N_ROWS)
    names = ("images", "texts", "lineage", "facts", "claims")
    shuffled = replace(case, **{name: getattr(case, name)[order] for name in names})
    judge = make_loss(LossConfig(kind=kind))
    assert judge(shuffled.gather()).item() == pytest.approx(judge(case.gather()).item(), rel=1e-12)


def test_infonce_is_log_n_at_chance_and_nothing_when_perfect(case: Case) -> None:
    judge = make_loss(LossConfig(leave_out_fits=False))
    same, own = torch.ones(N_ROWS, DIMENSION), torch.eye(N_ROWS)
    pairs = case.gather()
    assert judge(with_rows(pairs, same)).item() == pytest.approx(math.log(N_ROWS), rel=1e-6)
    assert judge(with_rows(pairs, own, scale=100.0)).item() < 1e-6


def with_rows(pairs: Pairs, rows: torch.Tensor, scale: float = 1.0) -> Pairs:
    return replace(
        pairs, images=rows, texts=rows, all_images=rows, all_texts=rows, scale=torch.tensor(scale), bias=torch.zeros(())
    )


def test_a_text_that_fits_every_picture_is_pushed_from_none(case: Case) -> None:
    everywhere = replace(case, facts=np.ones((N_ROWS, 1), np.int64), claims=np.ones((N_ROWS, 1), np.int64))
    assert make_loss(LossConfig())(everywhere.gather()).item() == 0.0
    assert make_loss(LossConfig(leave_out_fits=False))(everywhere.gather()).item() > 1.0


@pytest.mark.parametrize("kind", KINDS)
def test_a_left_out_pair_does_not_pull_or_push(case: Case, kind: LossKind) -> None:
    """All texts fit picture 0 and no other, so its gradient must not feel where the other texts are."""
    alone = replace(
        case,
        lineage=np.zeros_like(case.lineage),
        facts=np.arange(100, 100 + N_ROWS)[:, None],
        claims=np.full((N_ROWS, 1), 100),
    )
    moved = replace(alone, texts=np.vstack([case.texts[:1], case.texts[:0:-1]]))
    judge = make_loss(LossConfig(kind=kind))
    slopes = []
    for one in (alone, moved):
        pairs = one.gather()
        judge(pairs).backward()  # type: ignore[no-untyped-call]
        assert pairs.images.grad is not None
        slopes.append(pairs.images.grad)
    np.testing.assert_allclose(slopes[0][0], slopes[1][0], atol=1e-14)
    assert not torch.allclose(slopes[0][1], slopes[1][1], atol=1e-4)


def test_fits_are_the_texts_whose_claims_all_hold(case: Case) -> None:
    fits = find_fits(torch.from_numpy(case.facts), torch.from_numpy(case.claims))
    expected = [[plain_fit(case, picture, text) for text in range(N_ROWS)] for picture in range(N_ROWS)]
    assert fits.tolist() == expected
    assert 0 < fits.sum() < N_ROWS**2


def test_a_text_of_which_nothing_is_known_fits_no_picture() -> None:
    facts = torch.tensor([[5, 0], [0, 0]])
    assert not find_fits(facts, torch.zeros(3, 2, dtype=torch.int64)).any()
    assert find_fits(facts, torch.zeros(3, 0, dtype=torch.int64)).shape == (2, 3)
    assert not find_fits(facts, torch.zeros(3, 0, dtype=torch.int64)).any()


def test_pairs_without_names_make_every_loss_of_ranks_plain(case: Case) -> None:
    nameless = replace(case, lineage=np.zeros_like(case.lineage), claims=np.zeros((N_ROWS, 0), np.int64)).gather()
    plain = make_loss(LossConfig(kind=LossKind.INFONCE))(nameless).item()
    for kind in (LossKind.MULTI_POSITIVE, LossKind.HIERARCHICAL):
        assert make_loss(LossConfig(kind=kind))(nameless).item() == pytest.approx(plain, rel=1e-12)


def test_half_precision_features_are_compared_in_single_precision(case: Case) -> None:
    pairs = case.gather()
    half = {name: getattr(pairs, name).detach().bfloat16() for name in ("images", "texts", "all_images", "all_texts")}
    wide = {name: values.float() for name, values in half.items()}
    judge = make_loss(LossConfig())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = judge(replace(pairs, **half))
    assert loss.dtype is torch.float32
    assert loss.item() == judge(replace(pairs, **wide)).item()


def learn_names(kind: LossKind, *, seed: int) -> float:
    """Share of unseen pictures that find the texts of their species, after batches of 6 species with 4 pictures each.

    A text is a vector of its own per training picture, as a caption that tells one individual: that two of them are
    of one species is said by the loss or by nobody.
    """
    n_species, n_views, n_hidden, dimension = 24, 4, 256, 8
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    centres = rng.standard_normal((n_species, 1, 32))
    seen = torch.from_numpy(centres + rng.standard_normal((n_species, n_views, 32))).float()
    unseen = torch.from_numpy(centres + rng.standard_normal((n_species, 20, 32))).float()
    see = torch.nn.Sequential(torch.nn.Linear(32, n_hidden), torch.nn.ReLU(), torch.nn.Linear(n_hidden, dimension))
    texts = torch.randn(n_species, n_views, dimension, requires_grad=True)
    weights = [*see.parameters(), texts]
    judge = make_loss(LossConfig(kind=kind, leave_out_fits=False))
    for _ in range(140):
        species = torch.from_numpy(rng.choice(n_species, 6, replace=False))
        lineage = torch.zeros(6 * n_views, 7, dtype=torch.int64)
        lineage[:, 6] = species.repeat_interleave(n_views) + 1
        loss = judge(pair_up(normalise(see(seen[species])), normalise(texts[species]), lineage))
        with torch.no_grad():
            for weight, slope in zip(weights, torch.autograd.grad(loss, weights), strict=True):
                weight -= 0.02 * slope.sign()
    with torch.no_grad():
        names = normalise(texts).reshape(n_species, n_views, dimension).mean(dim=1)
        named = (normalise(see(unseen)) @ names.T).argmax(dim=1)
    return float((named == torch.arange(n_species).repeat_interleave(20)).float().mean())


def normalise(rows: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(rows.flatten(0, 1), dim=1)


def pair_up(images: torch.Tensor, texts: torch.Tensor, lineage: torch.Tensor) -> Pairs:
    none = torch.zeros(len(images), 0, dtype=torch.int64)
    return Pairs(
        images=images,
        texts=texts,
        all_images=images,
        all_texts=texts,
        first=0,
        scale=torch.tensor(10.0),
        bias=torch.tensor(0.0),
        lineage=lineage,
        all_lineage=lineage,
        facts=none,
        all_facts=none,
        claims=none,
        all_claims=none,
    )


def test_multi_positive_beats_plain_where_species_repeat_in_a_batch() -> None:
    plain, multi = (
        np.mean([learn_names(kind, seed=seed) for seed in range(2)])
        for kind in (LossKind.INFONCE, LossKind.MULTI_POSITIVE)
    )
    assert plain > 0.1
    assert multi > plain + 0.2
