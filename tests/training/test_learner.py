"""What learns: the towers, the temperature, the sigmoid loss's bias and the replay's projector."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest

from indexer.errors import InputError
from tests.training.tiny_towers import KINDS, TEXTS, build_small, draw_batch, open_kind
from training.settings import DataConfig, LossConfig, LossKind, ModelConfig, ReplayConfig, TrainingConfig

REPLAY = TrainingConfig(replay=ReplayConfig(source="general.csv"))
PROJECTORS = {
    "vit": {"proj"},
    "resnet": {"attnpool/c_proj/weight", "attnpool/c_proj/bias"},
    "timm": {"head/proj/weight"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_learner_gives_the_vectors_of_its_towers(kind: str, tmp_path: Path) -> None:
    from training.learner import make_learner

    towers = open_kind(kind, tmp_path)
    learner = make_learner(towers, TrainingConfig()).eval()
    pixels, codes = draw_batch(towers)
    features = learner(pixels, codes)
    images = towers.encode_pixels(pixels.permute(0, 2, 3, 1).numpy())
    np.testing.assert_allclose(features.images.detach(), images, atol=2e-6)
    np.testing.assert_allclose(features.texts.detach(), towers.encode_texts(TEXTS[:3]), atol=2e-6)
    assert features.scale.item() == pytest.approx(1 / 0.07, rel=1e-5)
    assert features.bias.item() == 0
    assert features.replay_images is None


@pytest.mark.parametrize("kind", PROJECTORS)
def test_replay_learns_through_a_projector_of_its_own(kind: str, tmp_path: Path) -> None:
    import torch

    from training.learner import make_learner

    towers = open_kind(kind, tmp_path)
    learner = make_learner(towers, REPLAY)
    assert set(learner.replay_projector) == PROJECTORS[kind]
    pixels, codes = draw_batch(towers)
    features = learner(pixels, codes, pixels, codes)
    torch.testing.assert_close(features.replay_images, features.images, rtol=0, atol=1e-6)
    features.replay_images[:, 0].sum().backward()
    weights = dict(learner.model.visual.named_parameters())
    biology = {name.replace("/", ".") for name in learner.replay_projector}
    learned = {name for name, weight in weights.items() if weight.grad is not None}
    assert learned == set(weights) - biology
    optimiser = torch.optim.SGD(learner.parameters(), lr=1.0)
    before = {name: weights[name].detach().clone() for name in biology}
    optimiser.step()
    for name, weight in learner.replay_projector.items():
        torch.testing.assert_close(weights[name.replace("/", ".")], before[name.replace("/", ".")], rtol=0, atol=0)
        assert (weight != before[name.replace("/", ".")]).any()


def test_replay_through_the_projector_of_biology_moves_it(tmp_path: Path) -> None:
    from training.learner import make_learner

    towers = open_kind("vit", tmp_path)
    config = TrainingConfig(replay=dataclasses.replace(REPLAY.replay, own_projector=False))
    learner = make_learner(towers, config)
    pixels, codes = draw_batch(towers)
    learner(pixels, codes, pixels, codes).replay_images[:, 0].sum().backward()
    assert len(learner.replay_projector) == 0
    assert towers.model.visual.proj.grad is not None


def test_replay_leaves_the_running_statistics_to_biology() -> None:
    from training.learner import make_learner

    statistics = []
    for with_replay in (False, True):
        towers = build_small()
        learner = make_learner(towers, REPLAY).train()
        pixels, codes = draw_batch(towers)
        others = draw_batch(towers, 2, seed=9) if with_replay else ()
        features = learner(pixels, codes, *others)
        assert with_replay == (features.replay_images is not None)
        statistics.append({name: value.clone() for name, value in towers.model.visual.named_buffers()})
    assert all((statistics[0][name] == statistics[1][name]).all() for name in statistics[0])
    assert statistics[1]["bn1.num_batches_tracked"] == 1


def test_a_tower_that_ends_without_a_projection_shares_no_second_one(tmp_path: Path) -> None:
    from training.learner import make_learner

    with pytest.raises(InputError, match=r"ends without a projection.* Set replay.own_projector = false"):
        make_learner(open_kind("siglip", tmp_path), REPLAY)


def test_the_sigmoid_loss_starts_its_temperature_and_bias_where_there_is_no_bias() -> None:
    from training.learner import make_learner

    towers = build_small()
    learner = make_learner(towers, TrainingConfig(loss=LossConfig(kind=LossKind.SIGLIP)))
    features = learner(*draw_batch(towers))
    assert (features.scale.item(), features.bias.item()) == pytest.approx((10, -10))
    (features.scale + features.bias).backward()
    assert towers.model.logit_bias.grad.item() == 1


@pytest.mark.parametrize("kind", LossKind)
def test_a_bias_that_is_there_learns_with_the_sigmoid_loss_alone(kind: LossKind, tmp_path: Path) -> None:
    from training.learner import make_learner

    towers = open_kind("siglip", tmp_path)
    config = TrainingConfig(loss=LossConfig(kind=kind), data=DataConfig(unique_species=False))
    learner = make_learner(towers, config)
    is_used = kind is LossKind.SIGLIP
    assert towers.model.logit_bias.requires_grad == is_used
    features = learner(*draw_batch(towers))
    assert features.bias.item() == (-10 if is_used else 0)
    assert features.scale.item() == pytest.approx(1 / 0.07, rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_every_weight_that_learns_gets_a_gradient(kind: str, tmp_path: Path) -> None:
    from training.learner import make_learner

    towers = open_kind(kind, tmp_path)
    learner = make_learner(towers, TrainingConfig())
    features = learner(*draw_batch(towers))
    (features.scale * (features.images[:, 0].sum() + features.texts[:, 0].sum())).backward()
    assert [name for name, w in learner.named_parameters() if w.requires_grad and w.grad is None] == []


def test_the_temperature_stays_within_its_bounds() -> None:
    import torch

    from training.learner import make_learner

    learner = make_learner(build_small(), TrainingConfig())
    for value, kept in ((7.0, math.log(100)), (-1.0, 0.0), (2.0, 2.0)):
        torch.nn.init.constant_(learner.model.logit_scale, value)
        learner.clamp()
        assert learner.model.logit_scale.item() == pytest.approx(kept)


def test_what_is_frozen_keeps_to_its_statistics_in_training() -> None:
    from training.learner import make_learner

    towers = build_small()
    learner = make_learner(towers, TrainingConfig(model=ModelConfig(freeze_image=True))).train()
    before = towers.model.visual.bn1.running_mean.clone()
    learner(*draw_batch(towers))
    assert (towers.model.visual.bn1.running_mean == before).all()
    assert not towers.model.visual.training
    assert towers.model.transformer.training
    partly = make_learner(build_small(), TrainingConfig(model=ModelConfig(freeze_image=True, unfreeze_image=3)))
    visual = partly.train().model.visual
    assert (visual.training, visual.bn1.training, visual.layer4[0].bn1.training) == (True, False, True)
