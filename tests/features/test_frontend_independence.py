"""Features depend on the sound alone: not on blocks, threads, formats, or recordings before."""

import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest
import soundfile
import torch

from batcache.features.audio import read_header
from batcache.features.frontend import FrontEnd
from batcache.features.mel import ENGINES
from tests.conftest import noise
from tests.features.whole import (
    DEFAULT,
    FLOAT16,
    SHORT,
    Features,
    WriteWav,
    burst_in_noise,
    features,
    golden_recording,
    on_every_engine,
)


def assert_within_a_step(made: Features, expected: Features) -> None:
    """Equal but for float32 rounding, which may tip a value over to the next float16."""
    np.testing.assert_allclose(made.astype(float), expected.astype(float), rtol=2 * FLOAT16, atol=1e-5)


@on_every_engine
@pytest.mark.parametrize("rate", [384_000, 214_285])
@pytest.mark.parametrize("block_frames", [1, 64, 300, 4096])
def test_the_length_of_blocks_does_not_matter(write_wav: WriteWav, front_end, rate, block_frames) -> None:
    path = write_wav("a.wav", burst_in_noise(45_000, 0.3, rate), rate)
    expected = features(front_end, path, rate)
    usual = front_end.block_frames
    front_end.block_frames = block_frames
    try:
        made = features(front_end, path, rate)
    finally:
        front_end.block_frames = usual
    assert_within_a_step(made, expected)


@pytest.fixture
def restored_threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("restored_threads")
@pytest.mark.parametrize("front_end", [("cpu", engine) for engine in ENGINES], ids="-".join, indirect=True)
@pytest.mark.parametrize("name", [SHORT[1], SHORT[3]])
def test_the_number_of_threads_does_not_matter(real, recordings, front_end, name) -> None:
    (rate,) = [int(row["true_sample_rate"]) for row in recordings if row["filename"] == f"audio/{name}"]
    made = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        made.append(features(front_end, real / "audio" / name, rate))
    np.testing.assert_array_equal(made[1], made[0])
    np.testing.assert_array_equal(made[2], made[0])


def test_recordings_processed_before_do_not_matter(real, write_wav: WriteWav) -> None:
    path = real / "audio" / SHORT[1]
    fresh, used = FrontEnd(DEFAULT), FrontEnd(DEFAULT)
    features(used, write_wav("loud.wav", noise(0.7, 384_000, 0.3)))
    features(used, write_wav("odd.wav", noise(0.2, 214_285, 0.3), 214_285), 214_285)
    unfinished = used.stream(path, read_header(path), 384_000)
    next(unfinished)  # another one is under way
    np.testing.assert_array_equal(features(used, path), features(fresh, path))


def test_float_samples_give_what_the_same_16_bit_samples_give(write_wav: WriteWav, front_end) -> None:
    samples = golden_recording()
    expected = features(front_end, write_wav("a.wav", samples))
    for subtype in ("FLOAT", "DOUBLE", "PCM_24", "PCM_32"):
        wave = samples / 32768 if subtype in ("FLOAT", "DOUBLE") else samples.astype(np.int32) << 16
        # All of them hold a 16-bit sample exactly, and so does float32: equal to the bit.
        np.testing.assert_array_equal(features(front_end, write_wav("b.wav", wave, subtype=subtype)), expected)


def test_a_flac_gives_the_features_of_its_wav(write_wav: WriteWav, front_end) -> None:
    wav, flac = (write_wav(name, golden_recording()) for name in ("a.wav", "a.flac"))
    np.testing.assert_array_equal(features(front_end, flac), features(front_end, wav))


def test_time_expansion_is_only_another_rate(write_wav: WriteWav, front_end) -> None:
    direct, expanded = (write_wav(f"{rate}.wav", golden_recording(), rate) for rate in (384_000, 38_400))
    np.testing.assert_array_equal(features(front_end, expanded), features(front_end, direct))


PEAK_MEMORY = """
import resource, sys
from pathlib import Path
import torch
from batcache.config.features import FeatureConfig
from batcache.features.audio import read_header
from batcache.features.frontend import FrontEnd

torch.set_num_threads(1)
path = Path(sys.argv[1])
frames = sum(len(block) for block in FrontEnd(FeatureConfig()).stream(path, read_header(path), int(sys.argv[2])))
print(frames, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
@pytest.mark.parametrize("rate", [384_000, 383_999])
def test_memory_does_not_grow_with_the_recording(tmp_path, rate) -> None:
    peaks = []
    for seconds in (30, 180):
        path = tmp_path / f"{seconds}.wav"
        with soundfile.SoundFile(path, "w", rate, 1, "PCM_16") as file:
            for second in range(seconds):
                file.write(noise(1, rate, seed=second % 5))
        run = [sys.executable, "-c", PEAK_MEMORY, str(path), str(rate)]
        frames, peak_kb = map(int, subprocess.run(run, check=True, capture_output=True, text=True).stdout.split())
        assert frames == 1000 * seconds
        peaks.append(peak_kb)
    # Its samples alone are 230 MB as float32, its features 46; 20 are what the allocator's moods may take.
    assert peaks[1] - peaks[0] < 20_000


def test_blocks_are_small(write_wav: WriteWav, front_end) -> None:
    path = write_wav("a.wav", noise(5, 384_000))
    lengths = [len(block) for block in front_end.stream(path, read_header(path), 384_000)]
    assert max(lengths) <= 1024
    assert sum(lengths) == 5000
