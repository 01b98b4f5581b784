"""Settings that change a feature change the fingerprint, and no others do."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcache.config import features as features_module
from batcache.config.features import FRONT_END_VERSION, FeatureConfig, digest, digest_with_rows
from batcache.config.settings import DataConfig

OTHER_FEATURES = {
    "target_sample_rate": 300_000,
    "n_fft": 2048,
    "hop_length": 128,
    "n_mels": 64,
    "fmin": 12_000.0,
    "fmax": 90_000.0,
    "compression": "log",
    "pcen_gain": 0.8,
    "pcen_bias": 1.0,
    "pcen_power": 0.25,
    "pcen_time_constant_s": 0.2,
}


@pytest.mark.parametrize("rows", [0, 1, 1023, 1024, 1025, 4000])
def test_a_digest_taken_row_by_row_is_that_of_the_whole(rows: int) -> None:
    made = [('ü,]"', i, None, [0.5 * i]) for i in range(rows)]
    assert digest_with_rows([{"b": 1, "a": 2}], iter(made), [3]) == digest([{"b": 1, "a": 2}, made, 3])
    assert digest_with_rows([], made) == digest([made])


TEXTS = st.text(st.characters(exclude_categories=())) | st.text(st.sampled_from('a"\\/\x00\x1f\x7f\u00e9\ud800\u2028'))
ROWS = st.lists(st.tuples(TEXTS, st.integers(), st.lists(st.integers(-1, 1)).map(tuple)))


@given(ROWS)
def test_rows_of_any_text_and_number_are_hashed_as_json_writes_them(rows):
    assert digest_with_rows(["first"], iter(rows), ["last"]) == digest(["first", rows, "last"])


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
        "local_cache": Path("copies"),
        "local_cache_gb": 5.0,
        "engine": "nnaudio",
        "clips_per_species": 5,
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
