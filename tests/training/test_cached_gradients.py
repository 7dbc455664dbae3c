"""GradCache: the gradient of a whole batch, made in parts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from training.examples import Batch, Features
from training.settings import LossConfig, LossKind

if TYPE_CHECKING:
    import torch
    from lightning_fabric import Fabric

N = 12


@pytest.fixture(scope="module")
def fabric() -> Fabric:
    from training.processes import choose_machine, start_fabric
    from training.settings import Accelerator, EngineConfig

    return start_fabric(choose_machine(EngineConfig(accelerator=Accelerator.CPU, n_threads=1)))


def make_towers(*, norm: str = "layer", dropout: float = 0.0) -> Any:
    """Two small towers in float64, with temperature and bias, in the form of `training.learner.Learner`."""
    import torch
    from torch import nn

    class Towers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            norms = {"layer": nn.LayerNorm(10), "batch": nn.BatchNorm1d(10)}
            self.image = nn.Sequential(nn.Linear(3 * 4 * 4, 10), norms[norm], nn.Dropout(dropout), nn.Linear(10, 5))
            self.text = nn.Embedding(50, 5)
            self.logit_scale = nn.Parameter(torch.tensor(2.0))
            self.logit_bias = nn.Parameter(torch.tensor(-3.0))
            self.n_seen: list[int] = []

        def forward(self, pixels: Any, codes: Any, replay_pixels: Any = None, replay_codes: Any = None) -> Features:
            self.n_seen.append(len(pixels))
            features = Features(
                images=self._see(pixels),
                texts=self._read(codes),
                scale=self.logit_scale.exp(),
                bias=self.logit_bias * 1,
            )
            if replay_pixels is None:
                return features
            return features._replace(replay_images=self._see(replay_pixels), replay_texts=self._read(replay_codes))

        def _see(self, pixels: Any) -> Any:
            return nn.functional.normalize(self.image(pixels.double().flatten(1) / 255), dim=-1)

        def _read(self, codes: Any) -> Any:
            return nn.functional.normalize(self.text(codes).mean(dim=1), dim=-1)

    torch.manual_seed(0)
    return Towers().double()


def make_batch(*, has_replay: bool) -> Batch:
    import torch

    torch.manual_seed(1)
    pixels = torch.randint(0, 256, (N + 7, 3, 4, 4), dtype=torch.uint8)
    codes = torch.randint(0, 50, (N + 7, 6))
    taxa = torch.arange(N)[:, None] // torch.tensor([12, 12, 6, 6, 4, 3, 2]) + 1
    return Batch(
        pixels=pixels[:N],
        codes=codes[:N],
        lineage=taxa,
        facts=torch.stack((taxa[:, 6], taxa[:, 5] + 100), dim=1),
        claims=taxa[:, 5:6] + 100,
        replay_pixels=pixels[N:] if has_replay else None,
        replay_codes=codes[N:] if has_replay else None,
    )


def find_gradients(fabric: Fabric, towers: Any, kind: LossKind, *, n_parts: int, has_replay: bool) -> Any:
    """The three losses of a batch and the gradient of every weight."""
    import torch

    from training.cached_gradients import backpropagate
    from training.gathering import Judge
    from training.losses import make_loss

    module = fabric.setup_module(towers)
    judge = Judge(make_loss(LossConfig(kind=kind)), make_loss(LossConfig(kind=kind, leave_out_fits=False)), 0.7)
    towers.zero_grad(set_to_none=True)
    torch.manual_seed(2)
    verdict = backpropagate(fabric, module, judge, make_batch(has_replay=has_replay), n_parts=n_parts)
    return verdict, {name: weight.grad.clone() for name, weight in towers.named_parameters()}


def compare(one: torch.Tensor, other: torch.Tensor) -> None:
    import torch

    torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", list(LossKind))
@pytest.mark.parametrize("n_parts", [2, 5, N])
def test_parts_give_the_loss_and_gradient_of_the_whole(fabric: Fabric, kind: LossKind, n_parts: int) -> None:
    whole = find_gradients(fabric, make_towers(), kind, n_parts=1, has_replay=False)
    parts = find_gradients(fabric, make_towers(), kind, n_parts=n_parts, has_replay=False)
    compare(parts[0].loss, whole[0].loss)
    assert parts[0].replay is None
    for name, gradient in whole[1].items():
        compare(parts[1][name], gradient)


def test_both_streams_are_cut_into_parts(fabric: Fabric) -> None:
    whole = find_gradients(fabric, make_towers(), LossKind.SIGLIP, n_parts=1, has_replay=True)
    towers = make_towers()
    parts = find_gradients(fabric, towers, LossKind.SIGLIP, n_parts=3, has_replay=True)
    assert towers.n_seen == [4] * 6
    compare(parts[0].replay, whole[0].replay)
    compare(parts[0].total, whole[0].loss + 0.7 * whole[0].replay)
    for name, gradient in whole[1].items():
        compare(parts[1][name], gradient)


def test_the_true_towers_agree_in_float32(fabric: Fabric, tiny_encoder: str) -> None:
    import torch

    from training.learner import make_learner
    from training.settings import TrainingConfig, override_config
    from training.towers import open_towers

    config = override_config(TrainingConfig(), {"model.start": tiny_encoder})
    batch = make_batch(has_replay=False)
    pixels = torch.randint(0, 256, (N, 3, 32, 32), dtype=torch.uint8)
    batch = batch._replace(pixels=pixels, codes=torch.nn.functional.pad(batch.codes, (0, 10)))
    gradients = []
    for n_parts in (1, 4):
        towers = open_towers(config.model, config.small, texts=None, announce=lambda _line: None)
        learner = make_learner(towers, config)
        gradients.append(find_learner_gradients(fabric, learner, batch, n_parts))
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-4, atol=1e-6, msg=name)


def find_learner_gradients(fabric: Fabric, learner: Any, batch: Batch, n_parts: int) -> dict[str, Any]:
    from training.cached_gradients import backpropagate
    from training.gathering import Judge
    from training.losses import make_loss

    loss = make_loss(LossConfig())
    backpropagate(fabric, fabric.setup_module(learner), Judge(loss, loss, 1.0), batch, n_parts=n_parts)
    return {name: weight.grad for name, weight in learner.named_parameters() if weight.grad is not None}


def test_dropout_draws_the_same_in_both_passes(fabric: Fabric) -> None:
    """With the masks of the first pass the surrogate's gradient is the loss's: checked by finite differences."""
    import torch

    towers = make_towers(dropout=0.5)
    _, gradients = find_gradients(fabric, towers, LossKind.INFONCE, n_parts=3, has_replay=False)
    weight, step = towers.image[0].weight, 1e-5
    losses = []
    for sign in (1, -1):
        with torch.no_grad():
            weight[4, 7] += sign * step
        losses.append(find_gradients(fabric, towers, LossKind.INFONCE, n_parts=3, has_replay=False)[0].loss.item())
        with torch.no_grad():
            weight[4, 7] -= sign * step
    assert gradients["image.0.weight"][4, 7].item() == pytest.approx((losses[0] - losses[1]) / (2 * step), rel=1e-5)


def test_batch_norms_count_each_part_once_in_their_statistics(fabric: Fabric) -> None:
    import torch

    towers = make_towers(norm="batch")
    batch = make_batch(has_replay=False)
    plain = make_towers(norm="batch")
    for part in batch.pixels.tensor_split(3):
        plain(part, batch.codes[:4])
    find_gradients(fabric, towers, LossKind.INFONCE, n_parts=3, has_replay=False)
    torch.testing.assert_close(towers.image[1].running_mean, plain.image[1].running_mean)
    torch.testing.assert_close(towers.image[1].running_var, plain.image[1].running_var)
    assert towers.image[1].momentum == 0.1
