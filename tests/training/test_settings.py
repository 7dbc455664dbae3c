"""The settings of a training run."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path

import pytest

from indexer.errors import InputError
from training.settings import (
    LossKind,
    TrainingConfig,
    describe_settings,
    override_config,
    parse_config,
    read_config,
    read_meanings,
    to_table,
)

TABLES = [type(getattr(TrainingConfig(), field.name)) for field in dataclasses.fields(TrainingConfig)[1:]]


def test_settings_come_from_toml_over_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "train.toml"
    path.write_text("seed = 3\n[engine]\nn_samples = 5000\n[loss]\nkind = 'siglip'\n")
    config = read_config(path)
    assert (config.seed, config.engine.n_samples, config.loss.kind) == (3, 5000, LossKind.SIGLIP)
    assert config.optimiser == TrainingConfig().optimiser
    assert config.n_steps == 39


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("n_images = 5", "n_images = 5: unexpected keyword"),
        ("[engine]\nn_sample = 5", "engine.n_sample = 5: unexpected keyword"),
        ("[engine]\nn_samples = 'many'", "engine.n_samples = 'many': input should be a valid integer"),
        ("[engine]\nbatch_size = 1", "engine.batch_size = 1: input should be greater than or equal to 2"),
        ("[small]\nimage_side = 50", "small.image_side = 50: input should be a multiple of 32"),
        (
            "[data]\nsampling = 'even'",
            "data.sampling = 'even': input should be 'natural', 'capped'",
        ),
        ("[loss]\nrank_weights = [1.0]", "loss.rank_weights.*at least 7 items"),
        ("[captions]\ntrait_share = 0.95", "trait_share .* higher_share .* together at most 1"),
        ("[loss]\nrank_weights = [0, 0, 0, 0, 0, 0, 0]", "rank_weights are all 0"),
        ("[captions]\ntypes = []", "captions.types"),
        ("[data]\nmeasure = 'sex'", r'data.measure = .sex.: input should be a list, as \["sex"\]'),
        ("[loss]\nkind = 'multi_positive'", 'loss.kind = "multi_positive" .* only with data.unique_species = false'),
        ("[model]\nunfreeze_image = 2", "unfreeze_image .* only where .*freeze_image"),
        ("[replay]\nsource = ''\nweight = -1", "replay.weight = -1: input should be greater"),
        ("n_images", "this is not TOML"),
    ],
)
def test_a_wrong_setting_is_refused_with_what_is_allowed(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "train.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=f"(?s)train.toml: .*{message}"):
        read_config(path)


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(InputError, match=r"(?s)seed = -1.*engine.batch_size = 0.*morphospace train --settings"):
        parse_config({"seed": -1, "engine": {"batch_size": 0}}, where="x.toml")


def test_a_missing_settings_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such file"):
        read_config(tmp_path / "none.toml")


def test_a_setting_is_replaced_by_its_place() -> None:
    config = override_config(TrainingConfig(), {"engine.n_samples": 1000, "seed": 7})
    assert (config.engine.n_samples, config.seed) == (1000, 7)
    with pytest.raises(InputError, match=r"'engine.samples' is not a setting.*Did you mean 'engine.n_samples'"):
        override_config(TrainingConfig(), {"engine.samples": 1})


def test_every_setting_is_explained_and_the_listing_reads_back_as_the_defaults() -> None:
    for table in TABLES:
        assert list(read_meanings(table)) == [field.name for field in dataclasses.fields(table)], table
        assert all(len(meaning) > 15 for meaning in read_meanings(table).values())
    listing = describe_settings()
    assert parse_config(tomllib.loads(listing), where="listing") == TrainingConfig()
    assert "# Pictures of one step over all processes; 2 or more" in listing


def test_settings_survive_their_table() -> None:
    config = override_config(TrainingConfig(), {"loss.kind": "hierarchical", "captions.adjectives": ["sex"]})
    assert parse_config(to_table(config), where="again") == config
