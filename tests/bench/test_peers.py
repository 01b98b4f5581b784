"""The laws that make the comparison fair: a peer computes the same numbers as we do, from the same settings."""

import sys

import numpy as np
import pytest
import torch

from batcache.bench.building import EngineRun, measure_build_on, measure_builds, measure_engines
from batcache.bench.peers import TorchaudioMel, librosa_features, librosa_processes, why_missing
from batcache.bench.recordings import Sample
from batcache.bench.stages import COPY, DECODE, HASH, STAGES, WRITE, ClockedFrontEnd, measure_stages
from batcache.config.settings import Config
from batcache.features.bands import band_edges_hz
from batcache.features.ends import stream_spans
from batcache.features.frontend import FrontEnd
from batcache.features.mel import ENGINES
from tests.conftest import REAL, noise

NOT_INSTALLED = "not installed: pip install 'batcache[bench]'"


def test_librosa_computes_the_same_features_where_nothing_is_resampled(sample, config, frames) -> None:
    (path, rate), ours = sample.sources()[0], frames[0]
    assert rate == config.data.target_sample_rate
    theirs = librosa_features((path, rate), config.data.features)
    assert theirs.dtype == np.float16 and theirs.shape == ours.shape
    # Two roundings to float16 (2^-11 each) of float32 sums in another order.
    np.testing.assert_allclose(theirs.astype(float), ours.astype(float), rtol=2.0**-10, atol=6e-3)


def test_librosa_with_soxr_computes_the_same_features(sample, config, frames) -> None:
    """soxr's pass band ends elsewhere than the sinc's: both are flat to 0.91 of the lower Nyquist only."""
    lower = [min(rate, config.data.target_sample_rate) / 2 for _, rate in sample.sources()]
    for source, ours, nyquist in zip(sample.sources(), frames, lower, strict=True):
        theirs = librosa_features(source, config.data.features).astype(float)
        assert theirs.shape == ours.shape
        difference = np.abs(theirs - ours)[5:-5]  # beyond the ends of a recording the filters assume different things
        if nyquist * 0.91 > config.data.fmax:
            assert difference.max() < 0.03, "features reach 3 and more"
        assert np.median(difference) < 1e-3


@pytest.mark.skipif(not REAL.is_dir(), reason="the real recordings are not beside this repo (../shared/data/bats)")
def test_librosa_computes_the_same_features_of_a_real_recording(config) -> None:
    from batcache.features.audio import read_header

    path = REAL / "audio" / "20180627_215323-RHIFER-LR_0_0.5.wav"
    header = read_header(path)
    ours = np.concatenate(list(FrontEnd(config.data.features).stream(path, header, header.rate)))
    theirs = librosa_features((path, header.rate), config.data.features)
    difference = np.abs(theirs.astype(float) - ours)[5:-5]
    assert np.median(difference) < 1e-3 and difference.max() < 0.03


def test_torchaudio_computes_the_same_mel_frames(sample, config) -> None:
    features = config.data.features
    front_end = ClockedFrontEnd(features)
    torchaudio = TorchaudioMel(features, {rate for _, rate in sample.sources()})
    for source, file in zip(sample.sources(), sample.files, strict=True):
        theirs = torchaudio(source)
        assert theirs.dtype == torch.float16
        mel = front_end.mel_at(source[1])
        spans = stream_spans(read(source[0], file.header), mel.windows.size, mel.windows.hop)
        ours = torch.cat([mel(span)[0] for span in spans])
        # Levels are near 1e-3, where float16 steps are 1e-6. At other rates torchaudio resamples, and we do not:
        # without the ends, and the bands where its filter falls off.
        heard = int((band_edges_hz(features)[:, 2] < 0.9 * min(source[1], features.target_sample_rate) / 2).sum())
        inner = (slice(5, -5), slice(heard))
        atol = 2e-6 if source[1] == features.target_sample_rate else 2e-5
        torch.testing.assert_close(theirs.float()[inner], ours[inner], rtol=2e-3, atol=atol)


def read(path, header):
    from batcache.features.audio import read_blocks

    return (torch.from_numpy(block)[None] for block in read_blocks(path, header, 50_000))


def test_both_engines_compute_the_same_features(sample, config) -> None:
    features = config.data.features
    (path, rate), file = sample.sources()[1], sample.files[1]
    samples = torch.cat(list(read(path, file.header)), 1)
    ours, theirs = (EngineRun(FrontEnd(features, "cpu", engine), []).compute(rate, samples) for engine in ENGINES)
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)  # float32 sums of 1,536 products in another order


@pytest.mark.slow
def test_processes_compute_every_recording_once(sample, config, frames) -> None:
    with librosa_processes(2, sample.sources()[0], config.data.features) as compute:
        assert compute(sample.sources()) == sum(map(len, frames))


def test_the_stopwatch_changes_no_number_and_counts_all_time(sample, config, frames) -> None:
    front_end = ClockedFrontEnd(config.data.features)
    for (path, rate), file, expected in zip(sample.sources(), sample.files, frames, strict=True):
        np.testing.assert_array_equal(np.concatenate(list(front_end.stream(path, file.header, rate))), expected)
    whole = front_end.watch.spent[STAGES[-1]]
    times = front_end.take_times()
    assert set(times) == set(STAGES) and min(times.values()) >= 0
    assert sum(times.values()) == pytest.approx(whole)
    assert times[COPY] > 0 and times[DECODE] > 0
    assert sum(front_end.take_times().values()) == 0


def test_every_stage_has_a_row(sample, config) -> None:
    rows = list(measure_stages(sample.first(2), config.data.features, 100, "cpu", rounds=1))
    assert [row.what for row in rows][1:] == [*STAGES, WRITE, HASH]
    assert all(row.ours and "times real time" in row.note for row in rows)


@pytest.mark.slow
def test_builds_and_engines_stand_beside_their_peers(sample: Sample, config: Config, tmp_path) -> None:
    librosa, torchaudio = measure_builds(sample.first(2), config.data, tmp_path, rounds=1)
    assert librosa.ours == torchaudio.ours and librosa.theirs and torchaudio.theirs
    assert librosa.mark and librosa.mark.limit == 3 and torchaudio.mark is None
    (engine,) = measure_engines(sample.first(2), config.data.features, "cpu", rounds=1)
    assert engine.ours and engine.theirs and engine.mark and engine.mark.limit == 4


def test_whole_builds_on_a_device_are_shown_by_both_engines(sample: Sample, config: Config, tmp_path) -> None:
    rows = list(measure_build_on("cpu", sample.first(1), config.data, tmp_path, rounds=1))
    assert [row.what for row in rows] == [f"WAV to committed store, by {engine}" for engine in ("nnaudio", "fft")]
    assert all(row.ours and row.theirs for row in rows)


def test_without_librosa_a_row_says_so(sample, config, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "librosa", None)
    assert why_missing("librosa") == NOT_INSTALLED and not why_missing("torch")
    librosa, torchaudio = measure_builds(sample.first(1), config.data, tmp_path, rounds=1)
    assert librosa.theirs is None and librosa.note == NOT_INSTALLED and librosa.is_met is None
    assert librosa.ours and torchaudio.theirs


@pytest.mark.slow
def test_a_rate_that_torchaudio_cannot_resample_is_said(sample, config, tmp_path, write_wav) -> None:
    from batcache.bench.recordings import choose
    from batcache.manifest.manifest import read_manifest

    write_wav("odd.wav", noise(0.3, 214_285), 214_285)
    (tmp_path / "odd.csv").write_text("filename,Bat\nodd.wav,1\n")
    odd = choose(read_manifest([tmp_path / "odd.csv"]), 1, config.data)
    _, torchaudio = measure_builds(odd, config.data, tmp_path / "store", rounds=1)
    assert torchaudio.theirs is None and "214,285 Hz" in torchaudio.note


def test_librosa_without_its_parts_is_missing(monkeypatch) -> None:
    """It loads them on first use: importing its name proves nothing."""
    monkeypatch.setitem(sys.modules, "librosa.feature.spectral", None)
    assert why_missing("librosa") == NOT_INSTALLED
