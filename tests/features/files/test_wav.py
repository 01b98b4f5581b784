"""The laws of how a WAV's samples are read: as libsndfile reads them, and not where its header contradicts itself."""

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from batcache.errors import AudioError
from batcache.features.audio import read_blocks, read_header
from tests.features.test_audio import DATA, chunk, pcm, riff, save

WriteWav = Callable[..., Path]
GUID = bytes.fromhex("000000001000800000aa00389b71")


def extensible(bits: int = 16, valid: int = 16, tag: int = 1, tail: bytes = GUID, block: int = 0) -> bytes:
    block = block or bits // 8
    start = struct.pack("<HHIIHH", 0xFFFE, 1, 384_000, 384_000 * block, block, bits)
    return chunk(b"fmt ", start + struct.pack("<HHIH", 22, valid, 4, tag) + tail)


def form(rate: int = 256_000, channels: int = 1, bits: int = 16, byte_rate: int | None = None, block: int = 0) -> bytes:
    block = block or channels * bits // 8
    said = rate * block if byte_rate is None else byte_rate
    return chunk(b"fmt ", struct.pack("<HHIIHH", 1, channels, rate, said, block, bits))


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
@pytest.mark.parametrize("container", ["WAV", "WAVEX", "RF64"])
def test_every_coding_is_decoded_as_libsndfile_does_bit_for_bit(tmp_path, container, subtype, channels) -> None:
    wave = np.random.default_rng(0).uniform(-1, 1, (5000, channels))
    wave[0] = 1, *(-1,) * (channels - 1)
    path = tmp_path / "a.wav"
    soundfile.write(path, wave * (30 if subtype in ("FLOAT", "DOUBLE") else 1), 256_000, subtype, format=container)
    dtype = "int16" if subtype == "PCM_16" else "float32"
    theirs = soundfile.read(path, dtype=dtype, always_2d=True)[0]
    for channel in range(channels):
        header = read_header(path, channel + 1)
        ours = np.concatenate(list(read_blocks(path, header, 999)))
        assert ours.dtype == dtype
        np.testing.assert_array_equal(ours, theirs[:, channel])
        part = next(read_blocks(path, header, 100, first=4000))
        np.testing.assert_array_equal(part, theirs[4000:4100, channel])


@pytest.mark.parametrize(
    "header, reason",
    [
        (form(block=4), "a block of 4 bytes"),
        (form(channels=2, block=2), "a block of 2 bytes"),
        (form(bits=32, block=2), "a block of 2 bytes"),
        (form(byte_rate=768_000), "768,000 bytes a second"),  # of 384 kHz: the rate was changed, or is wrong
        (form(rate=25_600, byte_rate=512_000), "512,000 bytes a second"),
        (form(bits=48), "48 bits"),
        (form(bits=0, block=2), "0 bits"),
        (extensible(24, 24, block=4), "a block of 4 bytes"),
        (extensible(16, 24), "24 valid bits in samples of 16"),
        (extensible(tail=bytes(14)), "unknown way"),
        (extensible(tag=6, bits=8, valid=8), "coded as ALAW"),
        (extensible(tag=3), "float of 16 bits"),
        (extensible()[:30], "no data chunk"),
        (chunk(b"fmt ", pcm(tag=0xFFFE)[8:]), "cut short"),
        (pcm(tag=0x55), "coded as MP3"),
        (form() + form(), "two format chunks"),
        (form() + form(rate=384_000), "two format chunks"),
        (form(rate=0), "0 Hz"),
        (form(channels=0, block=2), "0 channels"),
    ],
)
def test_a_format_that_contradicts_itself_is_refused_in_our_words(tmp_path, header, reason) -> None:
    with pytest.raises(AudioError) as caught:
        read_header(save(tmp_path, riff(header, DATA)))
    assert reason in caught.value.finding


def test_12_bits_in_16_and_24_in_32_are_the_upper_bits(tmp_path) -> None:
    upper = np.arange(-2000, 2000, dtype="<i4") << 16
    narrow = save(tmp_path, riff(form(bits=12, block=2), chunk(b"data", (upper >> 12).astype("<i2").tobytes())))
    np.testing.assert_array_equal(next(read_blocks(narrow, read_header(narrow), 9999)), upper >> 12)
    for header in (form(bits=24, block=4), extensible(32, 24)):
        path = save(tmp_path, riff(header, chunk(b"data", upper.tobytes())))
        np.testing.assert_array_equal(next(read_blocks(path, read_header(path), 9999)), upper / np.float32(2**31))
        assert ("4 bytes" in read_header(path).warning) == (header[8:10] == b"\1\0")


def test_a_byte_rate_of_0_says_nothing(tmp_path) -> None:
    assert read_header(save(tmp_path, riff(form(byte_rate=0), DATA))).samples == 1000


def test_a_wav_that_libsndfile_does_not_open_is_read(tmp_path) -> None:
    text = b"Recorded at 22:10:00 with gain 3."
    slack = b"INFO" + b"ICMT" + struct.pack("<I", len(text)) + text + b"\0\0\0"
    path = save(tmp_path, riff(pcm(), chunk(b"LIST", slack), DATA))
    with pytest.raises(soundfile.LibsndfileError):
        soundfile.SoundFile(path)
    assert read_header(path).samples == 1000 and not read_header(path).unread


def test_a_channel_that_is_not_there_is_refused(write_wav: WriteWav) -> None:
    with pytest.raises(AudioError, match="no channel 2: it has 1"):
        read_header(write_wav("a.wav", np.ones(100)), 2)
