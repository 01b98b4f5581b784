"""Settings that cannot be are refused in one line that names their place, and run nothing."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from batcache.config.load import load_config
from batcache.config.renamed import RENAMED
from batcache.config.settings import Config
from batcache.errors import ConfigError


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
        ("model: {pooling_type: median}", "model.pooling_type"),
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
        ("data: {compression: db}", "data.compression"),
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
        (
            "{compression: log, pcen_gain: 0.8}",
            r"data\.pcen_gain: 0\.8, which does nothing where data\.compression is log",
        ),
        ("{compression: log, pcen_time_constant_s: 1}", r"data\.pcen_time_constant_s: 1, which does nothing"),
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


@pytest.mark.parametrize("content", [b"a: b: c", b"- 1", b"3", b"data: [1]", b"data: 3", b"\xff\xfe\x00", b"data: {"])
def test_what_is_no_yaml_of_sections_is_one_line_of_ours(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "experiment.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as error:
        load_config(path)
    assert error.value.place == str(path)
    assert "\n" not in str(error.value)


def test_brackets_too_deep_to_be_meant_are_refused_where_they_begin_to_be(load: Any) -> None:
    with pytest.raises(ConfigError, match=r"experiment\.yaml line 2: more than 32 brackets in each other"):
        load("data:\n  fmin: " + "[" * 1000)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read \(No such file"):
        load_config(tmp_path / "none.yaml")


def test_yaml_runs_no_code(load: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not YAML"):
        load(f"training: {{epochs: !!python/object/apply:os.mkdir ['{tmp_path / 'made'}']}}")
    assert not (tmp_path / "made").exists()


def test_a_flag_of_the_wrong_range_is_refused_without_a_file() -> None:
    with pytest.raises(ConfigError, match=r"configuration: training\.epochs: 0"):
        load_config(flags={"training": {"epochs": 0}})


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


def test_a_setting_that_was_renamed_says_its_present_name(load: Any) -> None:
    with pytest.raises(ConfigError, match=r"training\.resident: no such setting\. It is keep_on_gpu now\."):
        load("training: {resident: auto}")
    sections = {field.name: field.default_factory for field in dataclasses.fields(Config)}
    for (section, _), name in RENAMED.items():
        assert name in {field.name for field in dataclasses.fields(sections[section])}  # type: ignore[arg-type]
