"""The channel that is taken: it is told, part of what a recording is known by, and never another in silence."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest

from batcache.cli.tables import describe
from batcache.config.settings import DataConfig
from batcache.errors import ManifestError
from batcache.features.audio import content_hash, read_header
from batcache.features.levels import Levels
from batcache.manifest.manifest import read_manifest
from batcache.store.build.build import build
from batcache.store.build.report import BuildReport
from batcache.store.format.commit import commit_path
from batcache.store.hdf5.export import export
from batcache.store.open import open_store
from batcache.store.upkeep.verify import verify
from batcache.training.clips.bags import join
from batcache.training.clips.splits import share_groups
from batcache.training.lineage import Clips, Heard
from tests.conftest import noise, tone

CONFIG = DataConfig(n_mels=16, sample_rate=256_000)
WriteWav = Callable[..., Path]
CALLS = np.where(np.arange(51_200) % 20_000 < 2000, tone(45_000, 0.2, 256_000), 0)
BAT = np.round((noise(0.2, 256_000, 0.002, seed=1) + CALLS) * 2**15) / 2**15  # the same in all codings
HISS = np.round(noise(0.2, 256_000, 0.002, seed=2) * 2**15) / 2**15


def build_clips(folder: Path, *rows: str, header: str = "filename,Bat,channel") -> BuildReport:
    (folder / "clips.csv").write_text("\n".join((header, *rows)) + "\n")
    return build(read_manifest([folder / "clips.csv"]), folder / "f.zarr", CONFIG, "cpu", workers=1)


def notes(report: BuildReport, words: str) -> str:
    return " ".join(text for block in describe(report) if words in (text := str(block)))


def frames_of(folder: Path, name: str) -> np.ndarray:
    store = open_store(folder / "f.zarr")
    row = store.find(name)
    return store.read_frames(row, 0, row.frames)


@pytest.mark.parametrize("name, subtype", [("wav", "PCM_16"), ("wav", "PCM_24"), ("wav", "FLOAT"), ("flac", "PCM_16")])
def test_a_channel_has_the_frames_of_a_file_that_holds_it_alone(write_wav: WriteWav, tmp_path, name, subtype) -> None:
    both = np.stack([HISS, BAT], 1)
    for file, wave in ((f"first.{name}", both), (f"second.{name}", both), ("hiss.wav", HISS), ("bat.wav", BAT)):
        write_wav(file, wave, 256_000, subtype)
    report = build_clips(tmp_path, f"first.{name},1,", f"second.{name},1,2", "hiss.wav,0,1", "bat.wav,1,")
    assert report.computed == 4 and not report.rejected and list(report.channels) == [f"first.{name}"]
    np.testing.assert_array_equal(frames_of(tmp_path, f"first.{name}"), frames_of(tmp_path, "hiss.wav"))
    np.testing.assert_array_equal(frames_of(tmp_path, f"second.{name}"), frames_of(tmp_path, "bat.wav"))
    assert not np.array_equal(frames_of(tmp_path, "hiss.wav"), frames_of(tmp_path, "bat.wav"))
    checked = verify(tmp_path / "f.zarr", sample=4, data_dir=tmp_path)
    assert len(checked.exact) == 4 and not checked.damages


def test_another_channel_of_the_same_file_is_computed_and_the_reason_said(write_wav: WriteWav, tmp_path) -> None:
    write_wav("a.wav", np.stack([HISS, BAT], 1), 256_000)
    assert build_clips(tmp_path, "a.wav,1", header="filename,Bat").computed == 1
    assert build_clips(tmp_path, "a.wav,1,1").kept == 1
    first = frames_of(tmp_path, "a.wav")
    assert build_clips(tmp_path, "a.wav,1,2").computed == 1
    assert build_clips(tmp_path, "a.wav,1,2").kept == 1
    assert not np.array_equal(first, frames_of(tmp_path, "a.wav"))
    assert build_clips(tmp_path, "a.wav,1,").computed == 1
    np.testing.assert_array_equal(first, frames_of(tmp_path, "a.wav"))


def test_a_row_of_before_channels_were_asked_is_of_the_first_and_stays_current(write_wav: WriteWav, tmp_path) -> None:
    path = write_wav("a.wav", np.stack([HISS, BAT], 1), 256_000)
    build_clips(tmp_path, "a.wav,1,")
    row = open_store(tmp_path / "f.zarr").find("a.wav")
    old = {key: value for key, value in msgspec.structs.asdict(row).items() if key != "channel"}
    assert type(row)(**old).channel == 1 and row.content == content_hash(path, read_header(path))
    assert content_hash(path, read_header(path, 2)) != row.content


def test_two_channels_of_one_recording_under_two_names_stay_in_one_split(write_wav: WriteWav, tmp_path) -> None:
    shutil.copy(write_wav("a.wav", np.stack([HISS, BAT], 1), 256_000), tmp_path / "b.wav")
    header = "filename,Bat,channel,split"
    with pytest.raises(
        ManifestError, match=r"another channel is taken, in two splits: 'b\.wav' is in 'test', but 'a\.w"
    ):
        build_clips(tmp_path, "a.wav,0,1,train", "b.wav,1,2,test", header=header)
    build_clips(tmp_path, "a.wav,0,1,train", header=header)
    record = commit_path(tmp_path / "f.zarr", 0)
    assert b"file_content" not in record.read_bytes(), "as records always were"
    build_clips(tmp_path, "a.wav,0,1,train", "b.wav,1,2,train", header=header)
    store = open_store(tmp_path / "f.zarr")
    (tmp_path / "other.csv").write_text(f"{header}\na.wav,0,1,train\nb.wav,1,2,test\n")
    with pytest.raises(ManifestError, match="another channel is taken, in two splits"):
        join(read_manifest([tmp_path / "other.csv"]), store)
    bags = join(read_manifest([tmp_path / "clips.csv"]), store).bags
    assert Heard(Clips(frozenset([bags[0].row.content]))).among(bags[1:]), "nor is the second judged as unseen"
    with pytest.raises(ManifestError, match="only one group"):
        share_groups(bags, 0.5, 0)


def test_the_channel_and_why_it_is_doubted_come_back_from_hdf5(write_wav: WriteWav, tmp_path) -> None:
    write_wav("a.wav", np.stack([HISS, BAT, HISS], 1), 256_000)
    build_clips(tmp_path, "a.wav,1,3")
    export(tmp_path / "f.zarr", tmp_path / "f.h5")
    (stored,) = open_store(tmp_path / "f.zarr").index.recordings
    (exported,) = open_store(tmp_path / "f.h5").index.recordings
    assert stored == exported
    assert stored.channel == 3 and stored.channel_warning.startswith("channel 3 is taken, channel 2 is ")


@pytest.mark.parametrize(
    "channels, said",
    [
        ((np.zeros(51_200), BAT), "channel 1 is taken and silent, channel 2 is not"),
        ((np.full(51_200, 0.3), HISS), "channel 1 is taken and silent, channel 2 is not"),
        ((HISS, BAT), "dB louder"),
        ((HISS, HISS + 0.3), ""),  # an offset is no sound
        ((BAT, HISS), ""),
        ((BAT, BAT / 2), ""),
        ((np.zeros(51_200), np.zeros(51_200)), ""),
    ],
)
def test_a_channel_beside_which_another_is_far_louder_is_told_by_every_build(
    write_wav: WriteWav, tmp_path, channels, said
) -> None:
    write_wav("a.wav", np.stack(channels, 1), 256_000)
    for _ in range(2):
        report = build_clips(tmp_path, "a.wav,1,")
        assert said in report.channels.get("a.wav", "") and bool(report.channels) == bool(said)
        assert (said in notes(report, "another channel")) == bool(said) or not said


@pytest.mark.parametrize("cut", [1, 7, 999, 51_200])
def test_what_is_heard_of_channels_does_not_depend_on_blocks(cut) -> None:
    both, heard = np.stack([np.zeros(51_200), BAT], 1), Levels()
    both[20_000, 0] = 0.01
    for start in range(0, len(both), cut) if cut > 1 else range(19_990, 20_010):
        heard.add(both[start : start + cut], 0)
    assert heard.warning.startswith("channel 1 is taken, channel 2 is ") and not heard.is_constant


@pytest.mark.parametrize("rows", [["a.wav,1,0"], ["a.wav,1,1.5"], ["a.wav,1,left"], ["a.wav,1,-1"], ["a.wav,1,1e9"]])
def test_a_channel_that_is_no_number_of_one_is_refused(tmp_path, rows: Sequence[str]) -> None:
    with pytest.raises(ManifestError, match="line 2: channel"):
        build_clips(tmp_path, *rows)


def test_two_channels_of_one_recording_are_refused_and_a_missing_one_is_a_reject(write_wav: WriteWav, tmp_path) -> None:
    write_wav("a.wav", HISS, 256_000)
    with pytest.raises(ManifestError, match=r"line 3: channel 2 of 'a\.wav', but 1 at "):
        build_clips(tmp_path, "a.wav,1,,0", "a.wav,1,2,0.1", header="filename,Bat,channel,start_s")
    assert "no channel 2: it has 1" in build_clips(tmp_path, "a.wav,1,2").rejected["a.wav"]
