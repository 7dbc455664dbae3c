"""Freezing, low-rank updates, recomputed activations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from indexer.errors import InputError
from tests.indexer.tiny_encoders import TINY_VIT
from tests.training.tiny_towers import KINDS, build_small, draw_batch, open_folder, open_kind, write_bert
from training.adaptation import adapt_model, count_parameters, find_projector, list_text_weights, merge_adapters
from training.settings import ModelConfig, TrainingConfig
from training.towers import Towers

LAST_GROUPS = {
    ("vit", 0): set(),
    ("vit", 1): {"proj"},
    ("vit", 2): {"proj", "ln_post", "transformer.resblocks.1"},
    ("vit", 3): {"proj", "ln_post", "transformer.resblocks.1", "transformer.resblocks.0"},
    ("resnet", 1): {"attnpool.c_proj"},
    ("resnet", 3): {"attnpool", "layer4", "layer3"},
    ("timm", 1): {"head.proj"},
    ("timm", 2): {"head.proj", "trunk.head"},
}


def free_names(module: object) -> set[str]:
    return {name for name, weight in module.named_parameters() if weight.requires_grad}  # type: ignore[attr-defined]


@pytest.mark.parametrize(("kind", "n_groups"), LAST_GROUPS)
def test_a_frozen_image_tower_learns_in_its_last_groups(kind: str, n_groups: int, tmp_path: Path) -> None:
    model = open_kind(kind, tmp_path).model
    adapt_model(model, ModelConfig(freeze_image=True, unfreeze_image=n_groups))
    asked = LAST_GROUPS[kind, n_groups]
    names = [name for name, _ in model.visual.named_parameters()]
    assert free_names(model.visual) == {
        name for name in names if any(f"{name}.".startswith(f"{group}.") for group in asked)
    }
    assert len(free_names(model)) - len(free_names(model.visual)) == len(list_text_weights(model)) + 1


@pytest.mark.parametrize(("kind", "n_groups"), {"vit": 4, "resnet": 6, "timm": 12, "siglip": 8}.items())
def test_all_groups_together_are_the_whole_tower(kind: str, n_groups: int, tmp_path: Path) -> None:
    model = open_kind(kind, tmp_path).model
    adapt_model(model, ModelConfig(freeze_image=True, unfreeze_image=n_groups))
    assert all(weight.requires_grad for weight in model.visual.parameters())
    with pytest.raises(InputError, match=rf"unfreeze_image = {n_groups + 1}: the tower has {n_groups} groups"):
        adapt_model(model, ModelConfig(freeze_image=True, unfreeze_image=n_groups + 1))


@pytest.mark.parametrize("kind", ["vit", "siglip"])
def test_a_frozen_text_tower_learns_in_its_last_layers(kind: str, tmp_path: Path) -> None:
    model = open_kind(kind, tmp_path).model
    adapt_model(model, ModelConfig(freeze_text=True, unfreeze_text=2))
    free = {name for name, weight in list_text_weights(model).items() if weight.requires_grad}
    assert {name.split(".")[0] for name in free} == {"text_projection", "ln_final", "transformer"}
    assert model.logit_scale.requires_grad
    assert all(weight.requires_grad for weight in model.visual.parameters())
    with pytest.raises(InputError, match="unfreeze_text = 9: the tower has 3 groups"):
        adapt_model(open_kind(kind, tmp_path).model, ModelConfig(freeze_text=True, unfreeze_text=9))


def test_a_text_tower_from_transformers_learns_in_its_last_layers(tmp_path: Path) -> None:
    write_bert(tmp_path)
    for n_layers, learning in (
        (1, {"proj"}),
        (2, {"proj", "transformer.encoder.layer.1"}),
        (4, {"proj", "transformer"}),
    ):
        model = open_folder(tmp_path).model
        adapt_model(model, ModelConfig(freeze_text=True, unfreeze_text=n_layers, checkpoint_activations=True))
        names = dict(model.text.named_parameters())
        assert {name for name, weight in names.items() if weight.requires_grad} == {
            name for name in names if any(name.startswith(f"{part}.") for part in learning)
        }


def test_the_weights_are_counted() -> None:
    model = build_small().model
    n_all = sum(weight.numel() for weight in model.parameters())
    assert count_parameters(model) == (n_all, n_all)
    adapt_model(model, ModelConfig(freeze_image=True, unfreeze_image=1, freeze_text=True))
    # The projection's matrix of 256 x 16 with its bias, and the temperature.
    assert count_parameters(model) == (n_all, 256 * 16 + 16 + 1)


@pytest.fixture(params=KINDS)
def adapted(request: pytest.FixtureRequest, tmp_path: Path) -> Towers:
    """Towers whose image tower has had low-rank updates that changed it."""
    import torch

    towers = open_kind(request.param, tmp_path)
    adapt_model(towers.model, ModelConfig(lora_rank=2))
    torch.manual_seed(0)
    for name, weight in towers.model.named_parameters():
        if ".lora_B." in name:
            torch.nn.init.normal_(weight, std=0.2)
    return towers


def test_low_rank_updates_learn_instead_of_the_image_tower(adapted: Towers) -> None:
    visual = adapted.model.visual
    projector = {id(weight) for weight in find_projector(visual).values()}
    for name, weight in visual.named_parameters():
        assert weight.requires_grad == (".lora_" in name or id(weight) in projector), name
    from training.learner import Learner

    learner = Learner(adapted, has_bias=False, own_projector=False).train()
    features = learner(*draw_batch(adapted))
    features.images[:, 0].sum().backward()
    assert [name for name, w in visual.named_parameters() if w.requires_grad and w.grad is None] == []


def test_merged_updates_give_the_same_vectors(adapted: Towers, tmp_path: Path) -> None:
    import torch

    inputs = torch.randn(3, 3, adapted.image_side, adapted.image_side, generator=torch.Generator().manual_seed(1))
    adapted.model.eval()
    merged = merge_adapters(adapted.model)
    with torch.no_grad():
        ours, theirs = adapted.model.encode_image(inputs, normalize=True), merged.encode_image(inputs, normalize=True)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    started = open_folder(Path(adapted.start.removeprefix("local-dir:"))).model
    assert [name for name, _ in merged.named_parameters()] == [name for name, _ in started.named_parameters()]
    with torch.no_grad():
        assert (started.eval().encode_image(inputs, normalize=True) - ours).abs().max() > 1e-3
    assert any(".lora_A." in name for name, _ in adapted.model.named_parameters())


def test_many_passes_leave_the_frozen_weights_as_they_were(tmp_path: Path) -> None:
    towers = open_kind("vit", tmp_path)
    adapt_model(towers.model, ModelConfig(lora_rank=2))
    frozen = {name: w.detach().clone() for name, w in towers.model.visual.named_parameters() if not w.requires_grad}
    pixels, _ = draw_batch(towers)
    for _ in range(20):
        towers.encode_pixels(pixels.permute(0, 2, 3, 1).numpy())
    assert all(
        (weight == frozen[name]).all() for name, weight in towers.model.visual.named_parameters() if name in frozen
    )
    assert len(frozen) == 2 * 12 + 7


def test_a_frozen_tower_with_low_rank_updates_leaves_the_last_groups_whole(tmp_path: Path) -> None:
    model = open_kind("vit", tmp_path).model
    adapt_model(model, ModelConfig(freeze_image=True, unfreeze_image=2, lora_rank=2))
    free = free_names(model.visual)
    assert {"proj", "ln_post.weight", "transformer.resblocks.1.mlp.c_fc.weight"} <= free
    assert {name.split(".")[2] for name in free if ".lora_" in name} == {"0"}


@pytest.mark.parametrize("kind", ["vit", "timm", "siglip"])
def test_recomputed_activations_give_the_same_gradients(kind: str, tmp_path: Path) -> None:
    import torch

    gradients = []
    for recompute in (False, True):
        towers = open_kind(kind, tmp_path)
        adapt_model(towers.model, ModelConfig(checkpoint_activations=recompute))
        pixels, codes = draw_batch(towers)
        images = towers.model.encode_image(pixels / 255, normalize=True)
        (images @ towers.model.encode_text(codes, normalize=True).T).square().sum().backward()
        gradients.append([weight.grad for name, weight in towers.model.named_parameters() if "logit" not in name])
    for plain, again in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, again)


def test_a_tower_that_cannot_recompute_its_activations_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the image tower of 'small' cannot recompute its activations"):
        adapt_model(build_small().model, ModelConfig(checkpoint_activations=True))
    towers = open_kind("timm", tmp_path)

    def refuse(_enable: bool) -> None:
        raise AssertionError("not supported")

    towers.model.visual.trunk.set_grad_checkpointing = refuse
    with pytest.raises(InputError, match="checkpoint_activations"):
        adapt_model(towers.model, ModelConfig(start=towers.start, checkpoint_activations=True))


def test_low_rank_updates_with_replay_and_recomputed_activations_learn(tmp_path: Path) -> None:
    import torch

    from training.learner import make_learner
    from training.settings import ReplayConfig

    gradients = []
    for recompute in (False, True):
        towers = open_kind("vit", tmp_path)
        torch.manual_seed(0)
        config = ModelConfig(lora_rank=2, checkpoint_activations=recompute)
        learner = make_learner(towers, TrainingConfig(model=config, replay=ReplayConfig(source="general.csv")))
        batch = draw_batch(towers)
        features = learner(*batch, *batch)
        (features.images[:, 0].sum() + 2 * features.replay_images[:, 1].sum()).backward()
        gradients.append({name: w.grad for name, w in learner.named_parameters() if w.grad is not None})
    assert {"model.visual.proj", "replay_projector.proj"} <= set(gradients[0])
    assert sum(".lora_" in name for name in gradients[0]) == TINY_VIT["vision_cfg"]["layers"] * 3 * 2
    for name, gradient in gradients[0].items():
        np.testing.assert_allclose(gradient, gradients[1][name], atol=1e-6, err_msg=name)
