"""What a recording contradicts, or lacks, is told by every build and kept in the index."""

from collections.abc import Callable
from pathlib import Path
from unicodedata import normalize

import numpy as np
import pytest

from batcache.cli.tables import describe
from batcache.config.settings import DataConfig
from batcache.manifest.manifest import read_manifest
from batcache.store.build.build import build
from batcache.store.build.report import BuildReport
from batcache.store.open import open_store
from tests.conftest import noise
from tests.features.files.test_sizes import wav
from tests.features.test_audio import chunk, pcm, riff

CONFIG = DataConfig(n_mels=16, sample_rate=384_000)
WriteWav = Callable[..., Path]
SOUND = np.random.default_rng(0).integers(-900, 900, 40_000).astype("<i2").tobytes()


def build_all(folder: Path, *names: str) -> BuildReport:
    (folder / "clips.csv").write_text("\n".join(["filename,Bat", *(f"{name},1" for name in names)]) + "\n")
    return build(read_manifest([folder / "clips.csv"]), folder / "f.zarr", CONFIG, "cpu", workers=1)


def said_of(report: BuildReport) -> str:
    return " ".join(map(str, describe(report)))


def test_a_header_that_is_not_believed_is_told_of_that_file_and_not_of_its_copy(tmp_path) -> None:
    (tmp_path / "odd.wav").write_bytes(wav(0, 0, samples=SOUND))
    (tmp_path / "clean.wav").write_bytes(wav(len(SOUND), samples=SOUND))
    guano = chunk(b"guan", b"GUANO|Version: 1.0\nSamplerate: 384000\nLength: 9.5\n")
    (tmp_path / "cut.wav").write_bytes(riff(pcm(), chunk(b"data", SOUND[::-1]), guano))
    for _ in range(2):
        report = build_all(tmp_path, "odd.wav", "clean.wav", "cut.wav")
        assert report.headers == {
            "odd.wav": "its data chunk says 0 bytes, 80,000 are there and taken",
            "cut.wav": "guano Length is 9.5 s, the samples last 0.104 s",
        }
        assert "headers contradict themselves or the file in 2 recordings: odd.wav (" in said_of(report)
    assert {row.content for row in open_store(tmp_path / "f.zarr").index.recordings if row.path != "cut.wav"} == {
        open_store(tmp_path / "f.zarr").find("clean.wav").content
    }


@pytest.mark.parametrize("value", [0.0, 0.25])
@pytest.mark.parametrize(
    "name, subtype", [("a.wav", "PCM_16"), ("a.wav", "PCM_24"), ("a.wav", "FLOAT"), ("a.flac", "PCM_16")]
)
def test_a_recording_of_one_value_is_built_counted_and_named(
    write_wav: WriteWav, tmp_path, name, subtype, value
) -> None:
    write_wav(name, np.full(40_000, value), subtype=subtype)
    nearly = np.full(40_000, value)
    nearly[-1] += 0.01
    write_wav("nearly.wav", nearly, subtype=subtype)
    for _ in range(2):
        report = build_all(tmp_path, name, "nearly.wav")
        assert report.recordings == 2 and report.constant == (name,)
        assert f"holds nothing but one value, 1 recording: {name}" in said_of(report)


def test_a_name_in_another_unicode_form_or_letter_case_is_named(write_wav: WriteWav, tmp_path) -> None:
    there = normalize("NFD", "Mühle/bäche 1.WAV")
    (tmp_path / there).parent.mkdir()
    write_wav("x.wav", noise(0.1, 384_000)).rename(tmp_path / there)
    asked = {normalize("NFC", there): True, there.lower(): True}
    asked |= {"Mühle/other.wav": False, "mill/bäche 1.WAV": False, "Mühle": False}
    if (tmp_path / there.lower()).exists():
        pytest.skip("this disk finds a file in any letter case")
    rejected = build_all(tmp_path, *asked).rejected
    for name, is_told in asked.items():
        assert (f"There is {there}, in other letter case or Unicode form" in rejected[name]) == is_told, rejected[name]
