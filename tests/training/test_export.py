"""The exported folder: what it holds, who loads it, and its model card."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tests.training.tiny_towers import (
    KINDS,
    TEXTS,
    build_small,
    draw_batch,
    draw_pixels,
    open_folder,
    open_kind,
    write_bert,
)
from training.export import export_encoder
from training.model_card import ModelCard, Pictures, count_pictures, make_card, write_card
from training.settings import (
    CaptionConfig,
    DataConfig,
    LossConfig,
    LossKind,
    ModelConfig,
    ReplayConfig,
    SplitBy,
    TrainingConfig,
    override_config,
    read_config,
)
from training.splits import Split
from training.towers import Towers

PICTURES = Pictures(
    n_training=900,
    n_validation=100,
    n_measured=100,
    n_species=216,
    n_unlearned=0,
    n_with_traits=900,
    traits=("sex",),
    unnamed="",
    licences={},
)
CARD = ModelCard(name="Tiny", config=TrainingConfig(), pictures=PICTURES, n_samples=128_000, figures={})


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Towers, Path]:
    folder = tmp_path_factory.mktemp("run") / "encoder"
    towers = build_small()
    towers.encode_texts(TEXTS)
    towers.model.visual.bn1.running_mean += 0.1
    export_encoder(towers, folder, CARD)
    return towers, folder


def test_stock_open_clip_loads_the_folder_and_gives_equal_vectors(exported: tuple[Towers, Path]) -> None:
    import open_clip
    import torch
    from PIL import Image

    from indexer.preprocessing import resize_pixels

    towers, folder = exported
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    texts = ["a photo of a Juvenile bird.", "Animalia Chordata &amp; Aves  " * 12]
    assert tokenizer(texts).tolist() == towers.tokenise(texts).tolist()
    picture = draw_pixels(1, 50)[0, :40]
    with torch.inference_mode():
        images = model.eval().encode_image(preprocess(Image.fromarray(picture))[None], normalize=True).numpy()
        words = model.encode_text(tokenizer(texts), normalize=True).numpy()
    again = open_folder(folder)
    square = resize_pixels(picture, towers.preprocessing).transpose(1, 2, 0)[None]
    np.testing.assert_allclose(images, again.encode_pixels(square), atol=1e-3)
    np.testing.assert_allclose(words, again.encode_texts(texts), atol=1e-6)
    # float16 rounds the weights.
    np.testing.assert_allclose(again.encode_pixels(square), towers.encode_pixels(square), atol=3e-3)
    np.testing.assert_allclose(words, towers.encode_texts(texts), atol=3e-3)


def test_morphospace_loads_the_folder_and_gives_equal_vectors(exported: tuple[Towers, Path]) -> None:
    from indexer.encoders import load_encoder

    towers, folder = exported
    encoder = load_encoder(f"local-dir:{folder}", device="cpu")
    pixels = draw_pixels(4, towers.image_side)
    again = open_folder(folder)
    ours = encoder.encode_pixels(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))
    np.testing.assert_allclose(ours, again.encode_pixels(pixels), atol=1e-6)
    np.testing.assert_allclose(encoder.encode_texts(TEXTS), again.encode_texts(TEXTS), atol=1e-6)
    assert encoder.spec.preprocessing == towers.preprocessing


def test_the_folder_holds_the_settings_of_the_run(exported: tuple[Towers, Path]) -> None:
    _, folder = exported
    assert read_config(folder / "training.toml") == CARD.config
    assert {path.name for path in folder.iterdir()} == {
        *("README.md", "training.toml", "open_clip_config.json", "open_clip_model.safetensors"),
        *("tokenizer.json", "tokenizer_config.json"),
    }
    assert all(path.stat().st_mode & 0o777 == 0o644 for path in folder.iterdir())
    assert folder.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_towers_comes_back_from_its_export(kind: str, tmp_path: Path) -> None:
    import open_clip

    towers = open_kind(kind, tmp_path / "start")
    export_encoder(towers, tmp_path / "encoder", CARD)
    again = open_folder(tmp_path / "encoder")
    pixels = draw_pixels(2, towers.image_side)
    np.testing.assert_allclose(again.encode_pixels(pixels), towers.encode_pixels(pixels), atol=5e-3)
    np.testing.assert_allclose(again.encode_texts(TEXTS), towers.encode_texts(TEXTS), atol=5e-3)
    assert again.preprocessing == towers.preprocessing
    assert again.model_cfg == towers.model_cfg
    open_clip.create_model_and_transforms(f"local-dir:{tmp_path / 'encoder'}")


def test_a_text_tower_from_transformers_comes_back_without_the_hub(tmp_path: Path) -> None:
    (tmp_path / "start").mkdir()
    towers = open_folder(write_bert(tmp_path / "start"))
    export_encoder(towers, tmp_path / "encoder", CARD)
    again = open_folder(tmp_path / "encoder")
    np.testing.assert_allclose(again.encode_texts(TEXTS), towers.encode_texts(TEXTS), atol=5e-3)
    assert again.model_cfg == towers.model_cfg
    assert set(again.text_files) == {"tokenizer.json", "tokenizer_config.json", "config.json"}


def test_the_export_holds_merged_updates_and_no_replay(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    from training.learner import make_learner

    towers = open_kind("vit", tmp_path / "start")
    names = set(towers.model.state_dict())
    config = TrainingConfig(model=ModelConfig(lora_rank=2), replay=ReplayConfig(source="general.csv"))
    learner = make_learner(towers, config)
    optimiser = torch.optim.SGD([weight for weight in learner.parameters() if weight.requires_grad], lr=5.0)
    batch = draw_batch(towers)
    for _ in range(3):
        optimiser.zero_grad()
        features = learner(*batch, *batch)
        (features.images[:, 0] + features.replay_images[:, 1] + features.texts[:, 2]).sum().backward()
        optimiser.step()
    export_encoder(towers, tmp_path / "encoder", dataclasses.replace(CARD, config=config))
    assert set(load_file(tmp_path / "encoder" / "open_clip_model.safetensors")) == names
    pixels = draw_pixels(2, towers.image_side)
    vectors = open_folder(tmp_path / "encoder").encode_pixels(pixels)
    np.testing.assert_allclose(vectors, towers.encode_pixels(pixels), atol=5e-3)
    assert abs(vectors - open_folder(tmp_path / "start").encode_pixels(pixels)).max() > 0.05


def test_the_bias_of_a_sigmoid_loss_is_exported(tmp_path: Path) -> None:
    import open_clip

    from training.learner import make_learner

    towers = build_small()
    make_learner(towers, TrainingConfig(loss=LossConfig(kind=LossKind.SIGLIP)))
    export_encoder(towers, tmp_path / "encoder", CARD)
    model = open_clip.create_model(f"local-dir:{tmp_path / 'encoder'}")
    assert model.logit_bias.item() == -10
    assert open_folder(tmp_path / "encoder").model.logit_bias.item() == -10
    assert "init_logit_bias" not in towers.model_cfg


def test_a_weight_beyond_float16_stays_in_float32(tmp_path: Path) -> None:
    import torch

    towers = build_small()
    with torch.no_grad():
        towers.model.ln_final.bias += 1e6
    export_encoder(towers, tmp_path / "encoder", CARD)
    assert open_folder(tmp_path / "encoder").model.ln_final.bias.min() == 1e6


def test_an_export_that_fails_leaves_the_former_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from training import export

    towers, folder = build_small(), tmp_path / "encoder"
    export_encoder(towers, folder, CARD)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    (tmp_path / ".encoder.killed.part").mkdir()

    def fail(*_args: Any) -> str:
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(export, "write_card", fail)
        with pytest.raises(OSError, match="no space"):
            export_encoder(towers, folder, CARD)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    export_encoder(build_small(1), folder, CARD)
    assert (folder / "open_clip_model.safetensors").read_bytes() != before["open_clip_model.safetensors"]
    assert [path.name for path in tmp_path.iterdir()] == ["encoder"]


def split_off(training: list[int], validation: list[int], by: SplitBy = SplitBy.OCCURRENCE) -> Split:
    return Split(
        training=np.array(training), validation=np.array(validation, dtype=int), by=by, share=0.2, seed=0, n_groups=5
    )


RECORDS = pa.table(
    {
        "occurrence_id": ["a", "b", None, "", "c"],
        "species": ["Pica pica", "Pica pica", None, "Corvus corax", "Sitta carolinensis"],
        "license": ["CC-BY", "CC0", "CC-BY", None, "CC0"],
        "sex": ["male", "unknown", None, "female", "male"],
    }
)


def test_a_card_counts_what_was_learned_from() -> None:
    split = split_off([0, 1, 2, 3], [4])
    card = make_card("Crows", TrainingConfig(), records=RECORDS, split=split, n_samples=40, figures={"loss": 0.5})
    assert card.pictures == Pictures(
        n_training=4,
        n_validation=1,
        n_measured=1,
        n_species=2,
        n_unlearned=1,
        n_with_traits=2,
        traits=("sex",),
        unnamed="; 2 pictures name no occurrence and count as their own",
        licences={"CC-BY": 2, "CC0": 1, "": 1},
    )
    bare = count_pictures(RECORDS.select(["occurrence_id", "species"]), split, TrainingConfig())
    assert (bare.licences, bare.n_with_traits, bare.traits) == ({}, 0, ())
    silent = dataclasses.replace(TrainingConfig().captions, adjectives=(), nouns=(), phrases=())
    assert count_pictures(RECORDS, split, TrainingConfig(captions=silent)).n_with_traits == 0


@pytest.mark.parametrize(
    ("changes", "facts", "said", "unsaid"),
    [
        ({}, {"unnamed": "; 2 have none"}, "the two share no occurrence; 2 have none.", "`small` had learned"),
        ({}, {"n_validation": 0}, "were learned from, none kept back to measure on.", "the two share"),
        ({}, {"n_validation": 50_000, "n_measured": 20_000}, "On 20,000 of the 50,000 pictures kept back", "On the"),
        ({}, {"n_unlearned": 3}, "it learned, and of 3 species of which all pictures were kept back", "say nothing"),
        ({"data.split_by": "species"}, {"n_unlearned": 3}, "the two share no species.", "The figures are"),
        ({}, {"n_with_traits": 0}, "- No text of this training spoke of traits", "`small` had learned"),
        ({"captions.trait_share": 0.0}, {}, "- No text of this training spoke of traits", "`small` had learned"),
        ({"model.start": "runs/first"}, {}, "- What `runs/first` had learned before, and from", "it knows nothing"),
        ({"model.start": "runs/first"}, {}, "this training taught it nothing of real organisms", "spoke of traits"),
    ],
)
def test_the_card_says_no_more_than_is_known(
    exported: tuple[Towers, Path], changes: dict[str, Any], facts: dict[str, Any], said: str, unsaid: str
) -> None:
    towers, folder = exported
    card = dataclasses.replace(
        CARD,
        config=override_config(TrainingConfig(), changes),
        pictures=dataclasses.replace(PICTURES, **facts),
        figures={"auc/sex": 0.9},
    )
    text = write_card(card, towers, folder)
    assert said in text
    assert unsaid not in text


def test_the_card_says_what_the_run_was(exported: tuple[Towers, Path]) -> None:
    text = (exported[1] / "README.md").read_text()
    n_weights = sum(weight.numel() for weight in exported[0].model.parameters())
    assert text.startswith("# Tiny\n")
    for said in (
        f"16 dimensions, {n_weights:,} weights",
        "Source: `synthetic`.",
        "900 pictures of 216 species were learned from, 100 kept back to measure on; the two share no occurrence.",
        "The records have no column of licences.",
        "128,000 pictures were shown in batches of 128, 142.2 times each on average",
        "| `captions.draw` | `sample` | `step` |",
        "| `replay.source` | `none` | `26 M pairs of LAION-2B` |",
        "As in BioCLIP 2: `captions.types`, `loss.kind`",
        "Texts told traits too, from the columns `sex`; 900 pictures have any.",
        "None were measured in this run: none was asked for, or too few species have several pictures among the 100",
        "- The pictures are drawings of invented species: it knows nothing of real organisms.",
        "- Images are squashed to 32 x 32 pixels.",
        "- Texts are cut after 12 codes, ends included.",
        "| `open_clip_model.safetensors` |",
    ):
        assert said in text
    assert "replay.weight" not in text


def test_the_card_of_real_data_names_licences_figures_and_limits(tmp_path: Path) -> None:
    config = TrainingConfig(
        data=DataConfig(source="birds.corpus"),
        captions=CaptionConfig(trait_share=0),
        replay=ReplayConfig(source="general.csv", batch_size=64),
    )
    licences = {"CC-BY | 4.0": 500, "": 100, **{f"licence {i}": 20 for i in range(15)}}
    pictures = dataclasses.replace(PICTURES, licences=licences)
    card = dataclasses.replace(CARD, config=config, pictures=pictures, figures={"sex: AUC": 0.87654})
    export_encoder(build_small(), tmp_path / "encoder", card)
    text = (tmp_path / "encoder" / "README.md").read_text()
    for said in (
        "| CC-BY \\| 4.0 | 500 |\n| none named | 100 |\n| licence 0 | 20 |",
        "| 5 others | 100 |",
        "General pairs for replay: `general.csv`.",
        "| `replay.batch_size` | `64` | `10240` |",
        "| sex: AUC | 0.8765 |",
        "- In this training it saw no species but the 216 of its data.",
        "- No text of this training spoke of traits",
        "- The figures are of new pictures of species it learned",
    ):
        assert said in text
    assert "licence 10 " not in text
    assert "Texts told traits" not in text
    description = json.loads((tmp_path / "encoder" / "open_clip_config.json").read_text())
    assert description["preprocess_cfg"]["resize_mode"] == "squash"
