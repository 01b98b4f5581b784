import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from batcache.config import features as features_module
from batcache.config.features import FRONT_END_VERSION, FeatureConfig, StftWindow
from batcache.config.renamed import RENAMED
from batcache.config.settings import Config, ConvLayer, DataConfig, load_config, to_plain
from batcache.config.yaml import read_sections
from batcache.errors import ConfigError

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

OTHER_FEATURES = {
    "target_sample_rate": 300_000,
    "n_fft": 2048,
    "hop_length": 128,
    "n_mels": 64,
    "fmin": 12_000.0,
    "fmax": 90_000.0,
    "pcen_gain": 0.8,
    "pcen_bias": 1.0,
    "pcen_power": 0.25,
    "pcen_time_constant_s": 0.2,
}

NAMES = st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]), min_size=1)  # what a person can type and see


@pytest.fixture
def load(tmp_path: Path) -> Any:
    """Load the text of a YAML file as a config."""

    def load(text: str, **layers: Any) -> Config:
        path = tmp_path / "experiment.yaml"
        path.write_text(text, encoding="utf-8")
        return load_config(path, **layers)

    return load


def test_the_users_yaml_loads_as_it_is(load: Any) -> None:
    config = load(USERS)
    assert to_plain(config.wandb) == yaml.safe_load(USERS)["wandb"]
    assert to_plain(config.augmentation) == yaml.safe_load(USERS)["augmentation"]
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


def test_the_values_the_user_named_are_the_defaults() -> None:
    named = yaml.safe_load(USERS)
    for section in ("data", "model", "training", "augmentation"):
        defaults = to_plain(getattr(Config(), section))
        for key in set(named[section]) - {"num_classes", "data_dir", "train_csv", "val_csv", "test_csv", "conv_layers"}:
            assert defaults[key] == named[section][key], f"{section}.{key}"
    assert Config().model.conv_layers == (ConvLayer(64), ConvLayer(128), ConvLayer(256))


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


@pytest.mark.parametrize(
    ("text", "place", "nearest"),
    [
        ("trainig: {epochs: 3}", "trainig", "training"),
        ("training: {epoch: 3}", "training.epoch", "epochs"),
        ("data: {nmels: 3}", "data.nmels", "n_mels"),
        ("data: {sampling_rate: 3}", "data.sampling_rate", "sample_rate"),
        ("model: {pooling: max}", "model.pooling", "pooling_type"),
        ("model: {conv_layers: [{filter: 4}]}", "model.conv_layers.0.filter", "filters"),
        ("augmentation: {noise: 0.1}", "augmentation.noise", "noise_std"),
        ("wandb: {enable: true}", "wandb.enable", "enabled"),
        ("training: {epochs: x, learning_rat: 1}", "training.learning_rat", "learning_rate"),
    ],
)
def test_an_unknown_key_or_section_names_the_nearest(load: Any, text: str, place: str, nearest: str) -> None:
    with pytest.raises(ConfigError, match=rf"experiment\.yaml: {place}: .*Did you mean {nearest}\?"):
        load(text)


def test_a_setting_that_was_renamed_says_its_present_name(load: Any) -> None:
    with pytest.raises(ConfigError, match=r"training\.resident: no such setting\. It is keep_on_gpu now\."):
        load("training: {resident: auto}")
    sections = {field.name: field.default_factory for field in dataclasses.fields(Config)}
    for (section, _), name in RENAMED.items():
        assert name in {field.name for field in dataclasses.fields(sections[section])}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("training: {epochs: 0}", "training.epochs"),
        ("training: {epochs: 2.5}", "training.epochs"),
        ("training: {epochs: many}", "training.epochs"),
        ("training: {epochs: null}", "training.epochs"),
        ("training: {epochs: yes}", "training.epochs"),
        ("training: {class_weights: [1, yes]}", "training.class_weights.1"),
        ("training: {class_weights: {a: yes}}", "training.class_weights.a"),
        ("training: {keep_on_gpu: on}", "training.keep_on_gpu"),
        ("training: {learning_rate: -0.1}", "training.learning_rate"),
        ("training: {learning_rate: .inf}", "training.learning_rate"),
        ("training: {class_weights: balancd}", "training.class_weights"),
        ("training: {class_weights: [1, 0]}", "training.class_weights.1"),
        ("training: {class_weights: {a: -1}}", "training.class_weights.a"),
        ("training: {scheduler: step}", "training.scheduler"),
        ("training: {validation_share: 1}", "training.validation_share"),
        ("model: {dropout: 1}", "model.dropout"),
        ("model: {pooling_type: mean}", "model.pooling_type"),
        ("model: {conv_layers: 64}", "model.conv_layers"),
        ("model: {conv_layers: [0]}", "model.conv_layers.0.filters"),
        ("model: {conv_layers: [[64, 3, 1, 1, 1]]}", "model.conv_layers.0"),
        ("model: {conv_layers: [{kernel_size: 3}]}", "model.conv_layers.0.filters"),
        ("model: {conv_layers: [{filters: 4, kernel_size: big}]}", "model.conv_layers.0.kernel_size"),
        ("model: {conv_layers: [{filters: 4, padding: [0, -1]}]}", "model.conv_layers.0.padding.1"),
        ("model: {conv_layers: [yes]}", "model.conv_layers.0.filters"),
        ("model: {conv_layers: [[64, yes]]}", "model.conv_layers.0.kernel_size"),
        ("model: {conv_layers: [{filters: yes}]}", "model.conv_layers.0.filters"),
        ("model: {conv_layers: [{filters: 4, padding: [0, no]}]}", "model.conv_layers.0.padding.1"),
        ("data: {n_fft: 1023}", "data.n_fft"),
        ("data: {n_mels: 0}", "data.n_mels"),
        ("data: {sample_rate: 0}", "data.sample_rate"),
        ("data: {bag_size: 0}", "data.bag_size"),
        ("data: {instance_s: 0}", "data.instance_s"),
        ("data: {train_csv: [a.csv]}", "data.train_csv"),
        ("augmentation: {time_masking: maybe}", "augmentation.time_masking"),
        ("augmentation: {noise_std: off}", "augmentation.noise_std"),
        ("augmentation: {noise_std: .nan}", "augmentation.noise_std"),
        ("augmentation: {time_mask_param: -1}", "augmentation.time_mask_param"),
        ("wandb: {tags: bat}", "wandb.tags"),
        ("wandb: {enabled: 3}", "wandb.enabled"),
        ("1: {epochs: 3}", "1"),
    ],
)
def test_a_value_of_the_wrong_type_or_range_names_its_place(load: Any, text: str, place: str) -> None:
    with pytest.raises(ConfigError) as error:
        load(text)
    assert error.value.place.endswith(f"experiment.yaml: {place}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("data", "finding"),
    [
        ("{fmin: 50000, fmax: 40000}", "expected fmin < fmax <= 128000"),
        ("{fmax: 128001}", "expected fmin < fmax <= 128000"),
        ("{hop_length: 2048}", "expected at most n_fft"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(load: Any, data: str, finding: str) -> None:
    with pytest.raises(ConfigError, match=finding):
        load(f"data: {data}")


@pytest.mark.parametrize(
    ("text", "line", "finding"),
    [
        ("data: {fmin: 9000}\nmodel:\ndata: {n_mels: 64}\n", 3, "'data' is given twice, first in line 1"),
        ("training:\n  epochs: 3\n  seed: 1\n  epochs: 30\n", 4, "'epochs' is given twice, first in line 2"),
        ("training: {class_weights: {Myotis: 1, Myotis: 2}}", 1, "'Myotis' is given twice, first in line 1"),
        ("model: {conv_layers: [{filters: 4,\n'filters': 8}]}", 2, "'filters' is given twice, first in line 1"),
    ],
)
def test_a_key_that_is_given_twice_is_refused_at_any_depth(load: Any, text: str, line: int, finding: str) -> None:
    with pytest.raises(ConfigError, match=rf"experiment\.yaml line {line}: {finding}"):
        load(text)


def test_a_mapping_may_override_what_it_merges(load: Any) -> None:
    layers = "[&first {filters: 4, stride: 2}, {<<: *first, filters: 8}]"
    assert load(f"model: {{conv_layers: {layers}}}").model.conv_layers == (ConvLayer(4, 3, 2), ConvLayer(8, 3, 2))


@pytest.mark.parametrize(
    "content", [b"a: b: c", b"- 1", b"3", b"data: [1]", b"data: 3", b"\xff\xfe\x00", b"data: {", b"[" * 1000]
)
def test_what_is_no_yaml_of_sections_is_one_line_of_ours(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "experiment.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as error:
        load_config(path)
    assert error.value.place == str(path)
    assert "\n" not in str(error.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read \(No such file"):
        load_config(tmp_path / "none.yaml")


def test_yaml_runs_no_code(load: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not YAML"):
        load(f"training: {{epochs: !!python/object/apply:os.mkdir ['{tmp_path / 'made'}']}}")
    assert not (tmp_path / "made").exists()


def test_flags_override_the_yaml_which_overrides_the_base_which_overrides_defaults(load: Any) -> None:
    base = {"training": {"epochs": 11, "batch_size": 11, "seed": 11}}
    flags = {"training": {"epochs": 33, "seed": None}, "model": {"pooling_type": None}}
    training = load("training: {epochs: 22, batch_size: 22}", base=base, flags=flags).training
    assert (training.epochs, training.batch_size, training.seed, training.patience) == (33, 22, 11, 15)


def test_a_flag_of_the_wrong_range_is_refused_without_a_file() -> None:
    with pytest.raises(ConfigError, match=r"configuration: training\.epochs: 0"):
        load_config(flags={"training": {"epochs": 0}})


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


def test_the_fingerprint_of_the_defaults_stands() -> None:
    """A cache built with the defaults is worth days. This changes only with FRONT_END_VERSION, on purpose."""
    versions = {
        2: "69cbc95764c4fd69469f272a3f3877ddb4545ea470cfb61683e732ec7f342d21",
        3: "fa7de52321721d43c6f458436bf1926f5ee43e0a2293a5d357620f399b7c11d5",
    }
    assert max(versions) == FRONT_END_VERSION
    assert FeatureConfig().fingerprint == versions[FRONT_END_VERSION]
    assert {version: FeatureConfig().fingerprint_by(version) for version in versions} == versions
    assert [FeatureConfig().find_version(text) for text in (versions[2], versions[3], "0" * 64)] == [2, 3, None]
    assert FeatureConfig().find_version(FeatureConfig().fingerprint_by(1)) is None, "contents were hashed otherwise"
    assert DataConfig().fingerprint == FeatureConfig().fingerprint


def test_every_feature_setting_changes_the_fingerprint() -> None:
    assert set(OTHER_FEATURES) == {field.name for field in dataclasses.fields(FeatureConfig)}
    prints = [
        dataclasses.replace(FeatureConfig(), **{name: value}).fingerprint for name, value in OTHER_FEATURES.items()
    ]
    assert len({FeatureConfig().fingerprint, *prints}) == len(OTHER_FEATURES) + 1


def test_no_other_setting_changes_the_fingerprint() -> None:
    others = {
        "sample_rate": 256_000,
        "instance_s": 0.25,
        "bag_size": 3,
        "num_classes": 2,
        "data_dir": Path("elsewhere"),
        "train_csv": Path("a.csv"),
        "val_csv": Path("b.csv"),
        "test_csv": Path("c.csv"),
        "cache": Path("d.zarr"),
        "endpoint": "http://localhost:9000",
        "region": "eu-central-1",
        "engine": "nnaudio",
    }
    assert set(others) | set(OTHER_FEATURES) == {field.name for field in dataclasses.fields(DataConfig)}
    for name, value in others.items():
        assert dataclasses.replace(DataConfig(), **{name: value}).fingerprint == FeatureConfig().fingerprint, name


def test_the_front_end_version_is_part_of_the_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    before = FeatureConfig().fingerprint
    monkeypatch.setattr("batcache.config.features.FRONT_END_VERSION", 99)
    assert FeatureConfig().fingerprint != before


def test_a_key_that_is_added_moves_the_fingerprint_only_where_it_is_not_what_was_before(monkeypatch) -> None:
    """As if ``pcen_bias`` had been added since: its default reproduces what was before."""
    first = features_module._FIRST_KEYS - {"pcen_bias"}
    before = {name: value for name, value in dataclasses.asdict(FeatureConfig()).items() if name in first}
    monkeypatch.setattr(features_module, "_FIRST_KEYS", first)
    assert FeatureConfig().fingerprint == features_module.digest({**before, "front_end_version": FRONT_END_VERSION})
    changed = [FeatureConfig(pcen_bias=value).fingerprint for value in (0.0, 1.0, 2.0)]
    assert len({*changed}) == 3 and changed[2] == FeatureConfig().fingerprint


def test_every_key_of_today_enters_the_fingerprint() -> None:
    """A key that is added does not belong to them: its name here would move every fingerprint."""
    first = features_module._FIRST_KEYS
    assert len(first) == 10 and not first - {f.name for f in dataclasses.fields(FeatureConfig)}


def test_equal_settings_have_equal_fingerprints_however_they_are_written(load: Any) -> None:
    assert FeatureConfig(fmin=10_000, pcen_bias=2).fingerprint == FeatureConfig().fingerprint
    assert load("data: {fmin: 1e4, n_fft: 1024.0}").data.fingerprint == FeatureConfig().fingerprint


def test_five_seconds_are_ten_instances() -> None:
    data = DataConfig()
    assert data.frames_per_second == 1000
    assert data.frames_per_instance == 500
    assert data.frames(5 * 384_000, 384_000) == 10 * data.frames_per_instance


@given(samples=st.integers(0, 10**9), rate=st.integers(8_000, 2_000_000))
def test_a_recording_has_as_many_frames_as_whole_milliseconds(samples: int, rate: int) -> None:
    """But for the sample by which resampling may round up."""
    exact = samples * 1000 // rate
    assert FeatureConfig().frames(samples, rate) - exact in ((0, 1) if rate % 1000 else (0,))


@given(rate=st.integers(8_000, 2_000_000))
def test_windows_last_equally_long_at_every_rate(rate: int) -> None:
    """4.096 ms would be no whole number of samples at most rates: there, and only there, one resamples."""
    windows = FeatureConfig().stft_window(rate)
    assert (windows.size * 256_000, windows.hop * 256_000) == (1024 * windows.rate, 256 * windows.rate)
    assert windows.rate == (rate if rate % 1000 == 0 else 256_000)


@pytest.mark.parametrize(
    "rate, expected",
    [
        (256_000, StftWindow(256_000, 1024, 256)),
        (384_000, StftWindow(384_000, 1536, 384)),
        (500_000, StftWindow(500_000, 2000, 500)),
        (192_000, StftWindow(192_000, 768, 192)),
        (312_500, StftWindow(256_000, 1024, 256)),
        (44_100, StftWindow(256_000, 1024, 256)),
    ],
)
def test_windows_at_usual_rates(rate: int, expected: StftWindow) -> None:
    assert FeatureConfig().stft_window(rate) == expected


def test_a_window_of_an_odd_number_of_samples_has_no_centre_so_it_is_resampled() -> None:
    config = FeatureConfig(target_sample_rate=200_000, n_fft=300, hop_length=200)
    assert config.stft_window(100_000) == StftWindow(100_000, 150, 100)
    assert config.stft_window(50_000) == StftWindow(200_000, 300, 200)


def test_a_value_of_gigabytes_in_a_kilobyte_is_shown_in_part(tmp_path: Path) -> None:
    """Each list holds the one before ten times: printed in full, the last has ten million numbers."""
    lists = [f"&a{i} [{', '.join([f'*a{i - 1}' if i else '1'] * 10)}]" for i in range(7)]
    path = tmp_path / "bomb.yaml"
    path.write_text(f"training: {{seed: [{', '.join(lists)}]}}")
    with pytest.raises(ConfigError, match=r"training\.seed: \[\[1, 1") as caught:
        load_config(path)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    "text", ["x" * 9000 + ": {a: 1}", "data: {" + "x" * 900 + ": 1}", "data: {fmin: " + "x" * 9000 + "}"]
)
def test_a_long_name_or_value_does_not_fill_the_screen(tmp_path: Path, text: str) -> None:
    path = tmp_path / "long.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert len(str(caught.value)) < 700


@pytest.mark.parametrize(
    "text", ["data: " + "[" * 5000, "data: !!python/object/apply:os.mkdir [went off]", "a" * (2 << 20)]
)
def test_yaml_that_nests_executes_or_weighs_too_much_is_refused(tmp_path: Path, text: str, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "hostile.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError):
        load_config(path)
    assert not (tmp_path / "went off").exists()
