"""The digest that tells whether a run is up to date: what moves it, and what never does."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from batcache.config.load import load_config
from batcache.config.settings import AugmentationConfig, Config, ConvLayer, ModelConfig, TrainingConfig
from batcache.manifest.manifest import read_manifest
from batcache.store.open import open_store
from batcache.training import inputs
from batcache.training.clips.bags import join
from batcache.training.inputs import TRAINING_VERSION, choose_split, describe_inputs
from tests.small_world import drawing, tweak

FROZEN = Path(__file__).parents[1] / "frozen" / "front_end_2"
CONFIG = load_config(flags={"model": {"init": "none"}})


def digest_of(config: Config) -> str:
    """Of a training on the clips of the frozen store."""
    manifest = read_manifest([FROZEN / "clips.csv"])
    store = open_store(FROZEN / "store")
    split = choose_split(join(manifest, store), manifest, drawing(0.15))
    return describe_inputs(config, store, split, manifest.species)


def test_the_digest_of_the_default_settings_stands() -> None:
    """A run that is up to date is worth hours. This changes only with TRAINING_VERSION, on purpose."""
    digests = {2: "a50bf79027b6f2d5a8de95447898df2db509213ba02ef8cb965189b07b4cde24"}
    assert digest_of(CONFIG) == digests[TRAINING_VERSION]


def test_a_new_version_of_heads_leaves_what_starts_from_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    heads = load_config()
    before = digest_of(CONFIG), digest_of(heads), digest_of(tweak(heads, model={"train": "all"}))
    monkeypatch.setattr(inputs, "HEADS_VERSION", inputs.HEADS_VERSION + 1)
    after = digest_of(CONFIG), digest_of(heads), digest_of(tweak(heads, model={"train": "all"}))
    assert [one == other for one, other in zip(before, after, strict=True)] == [True, False, False]


def test_every_setting_of_today_enters_the_digest_or_is_harmless() -> None:
    """A setting that is added belongs to neither: its name among the first keys would move every digest."""
    kinds = {"model": ModelConfig, "conv_layers": ConvLayer, "training": TrainingConfig}
    kinds |= {"augmentation": AugmentationConfig}
    assert {name: len(keys) for name, keys in inputs._FIRST_KEYS.items()} == {
        "model": 5,
        "conv_layers": 4,
        "training": 11,
        "augmentation": 6,
    }
    for name, kind in kinds.items():
        assert not inputs._FIRST_KEYS[name] - {f.name for f in dataclasses.fields(kind)}
    elsewhere = {"run_dir": Path("elsewhere"), "workers": 7, "keep_on_gpu": "off"}
    assert digest_of(tweak(CONFIG, training=elsewhere)) == digest_of(CONFIG)


@pytest.mark.parametrize(
    ("section", "name", "other"),
    [
        ("model", "dropout", {"model": {"dropout": 0.25}}),
        ("conv_layers", "padding", {"model": {"conv_layers": (ConvLayer(64, padding=2), ConvLayer(128))}}),
        ("training", "grad_clip", {"training": {"grad_clip": 2.0}}),
        ("augmentation", "noise_std", {"augmentation": {"noise_std": 0.1}}),
    ],
)
def test_a_setting_that_is_added_moves_the_digest_only_where_it_is_not_what_was_before(
    monkeypatch: pytest.MonkeyPatch, section: str, name: str, other: Mapping[str, dict[str, Any]]
) -> None:
    """As if it had been added since: what is hashed where it has its default does not hold it."""
    monkeypatch.setattr(inputs, "digest", str)
    monkeypatch.setitem(inputs._FIRST_KEYS, section, inputs._FIRST_KEYS[section] - {name})
    assert name not in digest_of(CONFIG)
    assert name in digest_of(tweak(CONFIG, **other))
