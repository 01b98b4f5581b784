"""Settings load as they are written, over defaults, and are written as they were loaded."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from batcache.config.features import FeatureConfig
from batcache.config.load import load_config
from batcache.config.settings import Config, ConvLayer, TrainingConfig, to_plain
from batcache.config.yaml import read_sections

USERS = """
data:
  sample_rate: 384000
  n_mels: 128
  fmin: 10000
  fmax: 100000
  n_fft: 1024
  hop_length: 256
  bag_size: 10
  num_classes: 12
  data_dir: data/wav
  train_csv: data/train.csv
  val_csv: data/val.csv
  test_csv: data/test.csv
model:
  pooling_type: attention
  conv_layers:
    - filters: 64
      kernel_size: 3
      stride: 1
      padding: 1
    - {filters: 128, kernel_size: [3, 5], stride: [1, 2], padding: [1, 2]}
    - {filters: 256, kernel_size: 3, stride: 1, padding: 1}
  rnn_hidden_size: 128
  dropout: 0.5
training:
  batch_size: 8
  epochs: 100
  learning_rate: 0.001
  weight_decay: 0.0001
  class_weights: null
augmentation:
  time_masking: true
  time_mask_param: 20
  freq_masking: true
  freq_mask_param: 10
  noise_injection: true
  noise_std: 0.01
wandb:
  enabled: false
  project: bat-mil
  entity: my-lab
  tags: [baseline, attention]
"""


NAMES = st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]), min_size=1)  # what a person can type and see


def test_the_users_yaml_loads_as_it_is(load: Any) -> None:
    config = load(USERS)
    assert to_plain(config.wandb) == yaml.safe_load(USERS)["wandb"]
    augmentation = to_plain(config.augmentation)
    assert {key: augmentation[key] for key in augmentation if key != "bandwidth_masking"} == yaml.safe_load(USERS)[
        "augmentation"
    ]
    assert config.model.conv_layers == (
        ConvLayer(64, 3, 1, 1),
        ConvLayer(128, (3, 5), (1, 2), (1, 2)),
        ConvLayer(256, 3, 1, 1),
    )
    assert (config.model.pooling_type, config.model.rnn_hidden_size, config.model.dropout) == ("attention", 128, 0.5)
    training = config.training
    assert (training.batch_size, training.epochs, training.learning_rate) == (8, 100, 1e-3)
    assert (training.weight_decay, training.class_weights) == (1e-4, None)
    data = config.data
    assert (data.sample_rate, data.bag_size, data.num_classes, data.data_dir) == (384_000, 10, 12, Path("data/wav"))
    assert data.features == FeatureConfig()
    assert data.csvs == (Path("data/train.csv"), Path("data/val.csv"), Path("data/test.csv"))


def test_the_values_the_user_named_are_the_defaults_of_a_training_from_chance() -> None:
    named, from_chance = yaml.safe_load(USERS), load_config(flags={"model": {"init": "none"}})
    for section in ("data", "model", "training", "augmentation"):
        defaults = to_plain(getattr(from_chance, section))
        for key in set(named[section]) - {"num_classes", "data_dir", "train_csv", "val_csv", "test_csv", "conv_layers"}:
            assert defaults[key] == named[section][key], f"{section}.{key}"
    assert from_chance.model.conv_layers == (ConvLayer(64), ConvLayer(128), ConvLayer(256))
    assert Config().data == from_chance.data and Config().augmentation == from_chance.augmentation


def test_a_config_that_names_its_layers_trains_from_chance_as_if_it_said_so(load: Any) -> None:
    named = load("model: {conv_layers: [64, 128, 256]}")
    assert not named.model.starts_from_trunk
    assert named.training == load("model: {init: none}").training
    assert load("model: {conv_layers: [64]}\ntraining: {epochs: 7}").training.epochs == 7, "what is named wins"
    assert load("").training.epochs == 60 and load("").model.trains_heads_alone
    assert load("model: {init: none, conv_layers: null}").model == load("model: {init: none}").model
    learning = load("model: {train: all}")
    assert learning.model.starts_from_trunk and not learning.model.trains_heads_alone
    assert learning.training.learning_rate < load("").training.learning_rate


@pytest.mark.parametrize("text", ["1e-3", "0.001", "1.0e-3", ".001", "1E-3"])
def test_a_learning_rate_may_be_written_either_way(load: Any, text: str) -> None:
    assert load(f"training:\n  learning_rate: {text}").training.learning_rate == 0.001


@pytest.mark.parametrize(
    "text",
    [
        "[64, 128]",
        "[[64], [128]]",
        "[{filters: 64}, {filters: 128}]",
        "[[64, 3, 1, 1], [128, 3, 1, 1]]",
        "[64, {filters: 128, kernel_size: 3, stride: 1, padding: 1}]",
        "[[64, [3, 3], [1, 1], [1, 1]], 128]",
    ],
)
def test_conv_layers_may_be_mappings_lists_or_filters_alone(load: Any, text: str) -> None:
    layers = load(f"model: {{conv_layers: {text}}}").model.conv_layers
    assert [(layer.filters, layer.kernel_size in (3, (3, 3))) for layer in layers] == [(64, True), (128, True)]


@pytest.mark.parametrize(
    ("text", "weights"),
    [
        ("balanced", "balanced"),
        ("[1, 2.5]", (1.0, 2.5)),
        ("{Nyctalus noctula: 3}", {"Nyctalus noctula": 3.0}),
        ("null", None),
        ("", None),
    ],
)
def test_class_weights_are_balanced_a_list_a_mapping_or_none(load: Any, text: str, weights: Any) -> None:
    assert load(f"training:\n  class_weights: {text}").training.class_weights == weights


@pytest.mark.parametrize("text", ["", "# nothing\n", "data:\n", "{}", "data: {}\nmodel:\n"])
def test_what_is_left_open_takes_the_default(load: Any, text: str) -> None:
    assert load(text) == Config() == load_config()


def test_a_byte_order_mark_is_no_part_of_the_first_key(load: Any) -> None:
    assert load("\ufefftraining: {epochs: 3}").training.epochs == 3


def test_a_mapping_may_override_what_it_merges(load: Any) -> None:
    layers = "[&first {filters: 4, stride: 2}, {<<: *first, filters: 8}]"
    assert load(f"model: {{conv_layers: {layers}}}").model.conv_layers == (ConvLayer(4, 3, 2), ConvLayer(8, 3, 2))


def test_flags_override_the_yaml_which_overrides_the_base_which_overrides_defaults(load: Any) -> None:
    base = {"training": {"epochs": 11, "batch_size": 11, "seed": 11}}
    flags = {"training": {"epochs": 33, "seed": None}, "model": {"pooling_type": None}}
    training = load("training: {epochs: 22, batch_size: 22}", base=base, flags=flags).training
    assert (training.epochs, training.batch_size, training.seed, training.patience) == (33, 22, 11, 15)


def test_a_written_config_loads_as_it_was(load: Any) -> None:
    config = load(USERS)
    assert load(yaml.safe_dump(to_plain(config))) == config


@settings(deadline=None, max_examples=50)
@given(
    rate=st.floats(1e-12, 10.0),
    decay=st.floats(0, 1),
    weights=st.none()
    | st.just("balanced")
    | st.lists(st.floats(1e-3, 100), min_size=1).map(tuple)
    | st.dictionaries(NAMES, st.floats(1e-3, 100), min_size=1),
    tags=st.lists(NAMES).map(tuple),
    layers=st.lists(st.builds(ConvLayer, st.integers(1, 9), st.integers(1, 9) | st.tuples(*2 * [st.integers(1, 9)]))),
)
def test_any_config_survives_yaml(
    rate: float, decay: float, weights: Any, tags: tuple[str, ...], layers: list[ConvLayer]
) -> None:
    config = load_config(
        base={
            "training": {"learning_rate": rate, "weight_decay": decay, "class_weights": weights},
            "wandb": {"tags": tags},
            "model": {"conv_layers": layers},
        }
    )
    text = yaml.safe_dump(to_plain(config), sort_keys=False, allow_unicode=True)
    assert load_config(base=yaml.safe_load(text)) == config


def test_sections_are_those_of_the_file_without_defaults(tmp_path: Path) -> None:
    path = tmp_path / "experiment.yaml"
    path.write_text("training: {epochs: 3}\nmodel:\n")
    assert read_sections(path) == {"training": {"epochs": 3}, "model": {}}


@pytest.mark.parametrize(("clips", "a_batch"), [(1, 8), (77, 8), (449, 8), (450, 9), (3_200, 64), (10_000, 64)])
def test_a_batch_left_out_grows_with_the_clips(clips: int, a_batch: int) -> None:
    assert TrainingConfig().clips_a_batch(clips) == a_batch
    assert TrainingConfig(batch_size=4).clips_a_batch(clips) == 4
