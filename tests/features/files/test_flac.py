"""The laws of FLAC headers: tags in front are skipped, and what frames say is held against STREAMINFO."""

import time
from contextlib import suppress

import numpy as np
import pytest
import soundfile

from batcache.errors import AudioError
from batcache.features.audio import content_hash, read_blocks, read_header
from batcache.features.files.flac import read_frame
from tests.conftest import noise
from tests.features.test_audio import save

RATES = [8_000, 44_100, 96_000, 192_000, 250_000, 256_000, 300_000, 384_000, 500_000]


@pytest.fixture
def flac(write_wav) -> bytes:
    return write_wav("whole.flac", noise(0.2, 384_000, 0.1)).read_bytes()


def saying(flac: bytes, rate: int | None = None, samples: int | None = None) -> bytes:
    """The file with another rate or length in its STREAMINFO, which begins at byte 8."""
    facts = int.from_bytes(flac[18:26], "big")
    if rate is not None:
        facts = facts & (1 << 44) - 1 | rate << 44
    if samples is not None:
        facts = facts >> 36 << 36 | samples
    return flac[:18] + facts.to_bytes(8, "big") + flac[26:]


def id3(size: int) -> bytes:
    return b"ID3\4\0\0" + bytes([size >> 21 & 127, size >> 14 & 127, size >> 7 & 127, size & 127]) + bytes(size)


@pytest.mark.parametrize("front", [id3(256), id3(100_000), id3(0), id3(300) + id3(7)])
def test_a_flac_behind_id3_tags_is_the_same_recording(tmp_path, flac, front) -> None:
    plain, tagged = save(tmp_path, flac, "a.flac"), save(tmp_path, front + flac, "b.flac")
    headers = [read_header(path) for path in (plain, tagged)]
    assert content_hash(plain, headers[0]) == content_hash(tagged, headers[1])
    first, second = (
        np.concatenate(list(read_blocks(p, h, 999))) for p, h in zip((plain, tagged), headers, strict=True)
    )
    np.testing.assert_array_equal(first, second)


def test_a_length_that_would_cut_frames_off_is_refused(tmp_path, flac) -> None:
    assert read_header(save(tmp_path, flac)).samples == 76_800
    for samples in (1, 38_400, 76_799):
        with pytest.raises(AudioError, match="its frames hold 76,800"):
            read_header(save(tmp_path, saying(flac, samples=samples)))


def test_another_rate_than_that_of_the_frames_is_refused(tmp_path, flac) -> None:
    for rate in (38_400, 192_000, 768_000):
        with pytest.raises(AudioError, match=r"its frames 384,000 Hz"):
            read_header(save(tmp_path, saying(flac, rate=rate)))
    with pytest.raises(AudioError, match="0 Hz"):
        read_header(save(tmp_path, saying(flac, rate=0)))


def test_marks_of_frames_and_tags_without_end_are_not_followed_for_long(tmp_path, flac) -> None:
    start = read_header(save(tmp_path, flac)).audio_start
    for content in (flac[: start + 16] + flac[start : start + 2] * 1_000_000, id3(0) * 1_000_000):
        began = time.process_time()
        with suppress(AudioError):
            read_header(save(tmp_path, content))
        assert time.process_time() - began < 1


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("count", [100, 4096, 4097, 70_000])
def test_frames_of_a_sound_flac_contradict_nothing(tmp_path, rate, count) -> None:
    path = tmp_path / "a.flac"
    for subtype in ("PCM_S8", "PCM_16", "PCM_24"):
        soundfile.write(path, noise(count / rate, rate, 0.1), rate, subtype)
        header = read_header(path)
        assert (header.rate, header.samples) == (rate, count)
        frame = read_frame(path.read_bytes()[header.audio_start :][:16], header.format)
        assert frame is not None and frame.first == 0 and frame.rate in (rate, None)
