"""The laws of ``batcache.features.audio``: what counts as a recording, what is refused and why, what hashes equal."""

import os
import shutil
import struct
import time
import tracemalloc
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from batcache.errors import AudioError
from batcache.features.audio import AudioHeader, content_hash, read_blocks, read_header
from tests.conftest import noise

WriteWav = Callable[..., Path]
STEPS = [("PCM_16", 2**-15), ("PCM_24", 2**-23), ("PCM_32", 2**-24), ("FLOAT", 2**-24), ("DOUBLE", 2**-24)]
RAMP = np.arange(-500, 500, dtype="<i2")
PIPISTRELLE = "audio/Pipistrellus_pipistrellus_3_o.wav"


def chunk(name: bytes, content: bytes) -> bytes:
    """A RIFF chunk: one of odd length is followed by a padding byte that its length does not count."""
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def riff(*chunks: bytes) -> bytes:
    body = b"WAVE" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def pcm(rate: int = 384_000, channels: int = 1, bits: int = 16, tag: int = 1) -> bytes:
    frame = channels * bits // 8
    return chunk(b"fmt ", struct.pack("<HHIIHH", tag, channels, rate, rate * frame, frame, bits))


DATA = chunk(b"data", RAMP.tobytes())
WAV = riff(pcm(), DATA)
GUANO = chunk(b"guan", b"GUANO|Version: 1.0\nLoc Position: 51.1 -2.7\n")


def save(folder: Path, content: bytes, name: str = "a.wav") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def hash_of(path: Path) -> str:
    return content_hash(path, read_header(path))


def samples_of(path: Path, block: int = 100_000) -> np.ndarray:
    return np.concatenate(list(read_blocks(path, read_header(path), block)))


def refusal(path: Path) -> str:
    """Why the file is refused, by its header or, where that can be trusted, by its samples."""
    with pytest.raises(AudioError) as caught:
        samples_of(path)
    assert caught.value.place == str(path)
    return caught.value.finding


# --- what counts as a recording ---


@pytest.mark.parametrize("name", ["a.wav", "A.WAV"])
@pytest.mark.parametrize("container", ["WAV", "WAVEX", "RF64"])
@pytest.mark.parametrize("subtype, step", STEPS)
def test_wavs_of_every_coding_give_their_samples(write_wav: WriteWav, name, container, subtype, step) -> None:
    wave = noise(0.01, 384_000, 0.2)
    path = write_wav(name, wave, subtype=subtype, format=container)
    header = read_header(path)
    assert (header.rate, header.channels, header.samples, header.subtype) == (384_000, 1, 3840, subtype)
    samples = samples_of(path)
    assert samples.dtype == (np.int16 if subtype == "PCM_16" else np.float32)
    scale = 2**15 if subtype == "PCM_16" else 1
    # One step of the coding (soundfile rounds or truncates), or of float32's 24 bits where the coding is finer.
    np.testing.assert_allclose(samples / scale, wave, atol=step, rtol=0)


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24"])
def test_flac_gives_the_samples_of_its_wav(write_wav: WriteWav, subtype) -> None:
    wave = np.round(noise(0.3, 250_000, 0.2) * 2**15).astype(np.int32) << 16  # in both codings without rounding
    wav, flac = (write_wav(name, wave, 250_000, subtype) for name in ("a.wav", "a.flac"))
    header = read_header(flac)
    assert (header.rate, header.samples, header.subtype) == (250_000, 75_000, subtype)
    np.testing.assert_array_equal(samples_of(flac), samples_of(wav))


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24"])
def test_of_two_channels_the_first_is_used(write_wav: WriteWav, subtype) -> None:
    left, right = noise(0.1, 384_000, seed=1), noise(0.1, 384_000, seed=2)
    both = write_wav("both.wav", np.stack([left, right], 1), subtype=subtype)
    assert read_header(both).channels == 2
    np.testing.assert_array_equal(samples_of(both), samples_of(write_wav("left.wav", left, subtype=subtype)))


@settings(deadline=None)  # beside other work a disk takes its time
@given(cut=st.integers(1, 1200))
def test_blocks_of_any_length_join_to_the_whole(cut, tmp_path_factory) -> None:
    path = save(tmp_path_factory.getbasetemp(), WAV, "blocks.wav")
    blocks = list(read_blocks(path, read_header(path), cut))
    assert {len(block) for block in blocks[:-1]} <= {cut}
    np.testing.assert_array_equal(np.concatenate(blocks), RAMP)


def test_metadata_chunks_of_odd_length_are_stepped_over(tmp_path) -> None:
    odd = chunk(b"LIST", b"INFOabc")
    path = save(tmp_path, riff(chunk(b"junk", b"x"), pcm(), odd, GUANO[:-1] + b"\0", DATA, odd, chunk(b"wamd", b"y")))
    np.testing.assert_array_equal(samples_of(path), RAMP)


def test_a_recording_beyond_4_gib_has_the_length_that_its_ds64_chunk_says(tmp_path) -> None:
    length = 5 * 2**30
    sizes = chunk(b"ds64", struct.pack("<QQQI", length + 100, length, length // 2, 0))
    start = b"RF64\xff\xff\xff\xffWAVE" + sizes + pcm() + b"data\xff\xff\xff\xff"
    path = save(tmp_path, start)
    with path.open("r+b") as file:
        file.truncate(len(start) + length)  # sparse: takes no room
    header = read_header(path)
    assert (header.samples, header.audio_bytes) == (length // 2, length)
    with path.open("r+b") as file:
        file.truncate(len(start) + length - 2)
    assert "truncated" in refusal(path)


def test_every_real_recording_has_the_rate_and_length_known_of_it(real, recordings) -> None:
    assert len(recordings) == 81
    for row in recordings:
        header = read_header(real / row["filename"])
        assert header.rate == int(row["header_sample_rate"])
        assert header.channels == int(row["channels"])
        seconds = header.samples / int(row["true_sample_rate"])
        assert seconds == pytest.approx(float(row["duration_s"]), abs=5e-5)  # the CSV has four decimals


# --- what is refused, and that the reason is named ---


def test_a_missing_file_is_refused_by_name(tmp_path) -> None:
    assert refusal(tmp_path / "gone.wav") == "no such file"


def test_a_folder_is_refused(tmp_path) -> None:
    (tmp_path / "a.wav").mkdir()
    assert "directory" in refusal(tmp_path / "a.wav")


@pytest.mark.parametrize(
    "content, reason",
    [
        (b"", "empty file"),
        (b"R", "not audio"),
        (b"<html>404</html>", "not audio"),
        (b"filename,split\na.wav,train\n", "not audio"),
        (b"OggS" + bytes(100), "Ogg"),
        (b"fLaC", "within its metadata"),
        (riff(), "no data chunk"),
        (riff(pcm()), "no data chunk"),
        (riff(pcm(), chunk(b"data", b"")), "data chunk is empty"),
        (riff(pcm(), chunk(b"data", b"\1")), "holds no samples"),  # half a sample
        (riff(DATA, pcm()), "no format chunk"),
        (riff(pcm(rate=0), DATA), "0 Hz"),
        (riff(pcm(channels=0), DATA), "0 channels"),
        (riff(pcm(tag=6, bits=8), DATA), "coded as ALAW"),
    ],
)
def test_what_is_no_recording_is_refused_by_its_reason(tmp_path, content, reason) -> None:
    assert reason in refusal(save(tmp_path, content))


@pytest.mark.parametrize("name", ["K1234567.00#", "K1234567.31#", "a.zc", "A.ZC"])
def test_zero_crossing_files_are_refused_as_such(tmp_path, name) -> None:
    anabat = bytes([0, 1, 0, 0x81]) + b"TAPE".ljust(300)
    assert "zero-crossing" in refusal(save(tmp_path, anabat, name))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30])
@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
def test_samples_that_are_no_numbers_or_absurd_are_refused(write_wav: WriteWav, bad, subtype) -> None:
    wave = noise(0.02, 384_000)
    wave[5000] = bad
    path = write_wav("a.wav", wave, subtype=subtype)
    with pytest.raises(AudioError, match="NaN, infinite or absurdly large samples after sample 4096"):
        list(read_blocks(path, read_header(path), 4096))


def test_a_wav_cut_anywhere_is_refused(real, tmp_path) -> None:
    whole = (real / PIPISTRELLE).read_bytes()
    start = read_header(real / PIPISTRELLE).audio_start
    cuts = [*range(start + 2), start + 999, len(whole) // 2, start + read_header(real / PIPISTRELLE).audio_bytes - 1]
    for cut in cuts:
        reason = refusal(save(tmp_path, whole[:cut]))
        expected = ("empty", "not audio")[min(cut, 1)] if cut < 12 else "truncated"
        assert expected in reason, f"cut at byte {cut}: {reason}"


def test_a_flac_cut_anywhere_is_refused(write_wav: WriteWav, tmp_path) -> None:
    flac = write_wav("whole.flac", noise(0.2, 384_000, 0.1))
    whole, start = flac.read_bytes(), read_header(flac).audio_start
    for cut in [*range(start + 1), start + 4, start + 3000, len(whole) // 2, len(whole) - 1]:
        reason = refusal(save(tmp_path, whole[:cut], "cut.flac"))
        if cut > start:  # the header is whole: only decoding tells
            assert "cannot be decoded" in reason or "truncated" in reason, f"cut at byte {cut}: {reason}"


def test_a_flac_of_unknown_length_is_refused(write_wav: WriteWav) -> None:
    path = write_wav("a.flac", noise(0.02, 384_000))
    content = bytearray(path.read_bytes())
    content[8 + 13] &= 0xF0  # STREAMINFO begins at byte 8; its number of samples is the 36 bits before the MD5
    content[8 + 14 : 8 + 18] = bytes(4)
    path.write_bytes(content)
    assert "how many samples" in refusal(path)


def test_a_header_that_claims_4_gb_allocates_nothing(tmp_path) -> None:
    path = save(tmp_path, riff(pcm(), b"data\xfe\xff\xff\xff" + RAMP.tobytes()))
    tracemalloc.start()
    try:
        reason = refusal(path)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()
    assert "truncated: 2000 of 4294967294 bytes" in reason


def test_a_pipe_is_refused_and_not_waited_for(tmp_path) -> None:
    os.mkfifo(tmp_path / "a.wav")
    assert "a pipe or a device" in refusal(tmp_path / "a.wav")
    (tmp_path / "b.wav").symlink_to("/dev/zero")
    assert "a pipe or a device" in refusal(tmp_path / "b.wav")


@pytest.mark.parametrize("start, step", [(b"RIFF....WAVE", chunk(b"junk", b"")), (b"fLaC", b"\1\0\0\0")])
def test_empty_chunks_without_end_are_not_walked_through(tmp_path, start, step) -> None:
    path = save(tmp_path, start + 1_000_000 * step)
    began = time.process_time()
    assert refusal(path)
    assert time.process_time() - began < 1  # all of them would take several


def test_a_flac_that_claims_more_samples_than_its_bytes_can_hold_is_refused(write_wav: WriteWav, tmp_path) -> None:
    """The build plans instances by this number: a megabyte could have it write a terabyte of NaN."""
    content = bytearray(write_wav("a.flac", noise(0.02, 384_000)).read_bytes())
    content[8 + 13] |= 0x0F
    content[8 + 14 : 8 + 18] = b"\xff" * 4
    assert "cannot hold 68,719,476,735 samples" in refusal(save(tmp_path, bytes(content), "b.flac"))


def test_silence_as_short_as_a_flac_can_say_it_is_not_refused(write_wav: WriteWav) -> None:
    assert not samples_of(write_wav("a.flac", np.zeros(3_000_000))).any()


def test_a_file_that_shrinks_after_its_header_was_read_is_refused(tmp_path) -> None:
    path = save(tmp_path, WAV)
    header = read_header(path)
    path.write_bytes(WAV[:-1000])
    with pytest.raises(AudioError, match="ended 1000 bytes before"):
        content_hash(path, header)
    with pytest.raises(AudioError, match="truncated: 500 of 1000 samples"):
        list(read_blocks(path, header, 300))


def is_handled(path: Path) -> None:
    """Whatever the bytes, the answer is a header or an ``AudioError``, and so for all that follows from the header."""
    try:
        header = read_header(path)
        assert isinstance(header, AudioHeader)
        assert content_hash(path, header)
        assert sum(map(len, read_blocks(path, header, 4096))) == header.samples
    except AudioError:
        pass


@settings(max_examples=150, deadline=1000)  # each in far less than a second: no walk or allocation by claimed sizes
@given(
    start=st.sampled_from([b"RIFF....WAVE", b"RF64....WAVE", b"fLaC", WAV[:36], WAV[:40]]), rest=st.binary(max_size=400)
)
def test_random_bytes_never_raise_anything_else(start, rest, tmp_path_factory) -> None:
    is_handled(save(tmp_path_factory.getbasetemp(), start + rest, "random.wav"))


@settings(max_examples=150, deadline=1000)
@given(place=st.integers(0, 60), value=st.binary(min_size=1, max_size=4))
def test_a_damaged_header_never_raises_anything_else(place, value, tmp_path_factory) -> None:
    damaged = WAV[:place] + value + WAV[place + len(value) :]
    is_handled(save(tmp_path_factory.getbasetemp(), damaged, "damaged.wav"))


def test_a_header_followed_by_zeros_is_refused_without_walking_them(tmp_path) -> None:
    path = save(tmp_path, riff(pcm()))
    with path.open("r+b") as file:
        file.truncate(2**36)  # a recorder died before it filled what it had reserved; stepping 8 bytes would take days
    assert "no data chunk" in refusal(path)


# --- the content hash ---


def test_the_hash_does_not_see_metadata_chunks(tmp_path) -> None:
    tagged = {
        "guano after": riff(pcm(), DATA, GUANO),
        "list before": riff(pcm(), chunk(b"LIST", b"INFOISFT\4\0\0\0abc\0"), DATA),
        "junk first": riff(chunk(b"JUNK", bytes(33)), pcm(), DATA, chunk(b"wamd", b"odd")),
    }
    plain = hash_of(save(tmp_path, WAV))
    assert {how: hash_of(save(tmp_path, content)) for how, content in tagged.items()} == dict.fromkeys(tagged, plain)


def test_tagging_a_real_recording_keeps_its_hash(real, tmp_path) -> None:
    path = tmp_path / "tagged.wav"
    shutil.copy(real / PIPISTRELLE, path)
    with path.open("ab") as file:
        file.write(GUANO)
    assert hash_of(path) == hash_of(real / PIPISTRELLE)


def test_the_hash_sees_one_bit_of_one_sample(tmp_path) -> None:
    changed = bytearray(WAV)
    changed[-1] ^= 1
    assert hash_of(save(tmp_path, WAV)) != hash_of(save(tmp_path, bytes(changed)))


def test_the_hash_sees_the_format(tmp_path) -> None:
    formats = [pcm(), pcm(rate=500_000), pcm(channels=2), pcm(bits=8), pcm(tag=3, bits=32)]
    hashes = {hash_of(save(tmp_path, riff(form, DATA))) for form in formats}
    assert len(hashes) == len(formats)


def test_the_hash_sees_the_end_of_a_long_recording(tmp_path) -> None:
    long = bytes(3 * 2**20)  # several blocks of the hash
    ends = [long[:-1] + b"\1", long, long[:-2]]
    hashes = [hash_of(save(tmp_path, riff(pcm(), chunk(b"data", end)))) for end in ends]
    assert len(set(hashes)) == 3


def test_retagging_a_flac_keeps_its_hash(write_wav: WriteWav, tmp_path) -> None:
    flac = write_wav("a.flac", noise(0.1, 384_000, 0.1))
    whole = flac.read_bytes()
    rewritten, place, last = b"fLaC", 4, False
    while not last:
        last, kind, length = (
            whole[place] >= 128,
            whole[place] & 127,
            int.from_bytes(whole[place + 1 : place + 4], "big"),
        )
        body = whole[place + 4 : place + 4 + length]
        if kind == 4:  # VORBIS_COMMENT: vendor, then a list of KEY=value
            entries = [b"SPECIES=Myotis myotis", b"SITE=cave"]
            fields = b"".join(struct.pack("<I", len(entry)) + entry for entry in entries)
            body = struct.pack("<I", 3) + b"new" + struct.pack("<I", len(entries)) + fields
        if kind != 1:  # PADDING goes
            rewritten += bytes([kind]) + len(body).to_bytes(3, "big") + body
        place += 4 + length
    rewritten += bytes([128 | 1]) + (7).to_bytes(3, "big") + bytes(7)  # new padding, which is now the last block
    retagged = save(tmp_path, rewritten + whole[place:], "b.flac")
    assert read_header(retagged).audio_start != read_header(flac).audio_start
    assert hash_of(retagged) == hash_of(flac)
    np.testing.assert_array_equal(samples_of(retagged), samples_of(flac))


def test_no_two_real_recordings_hash_equal(real, recordings) -> None:
    hashes = sorted(hash_of(real / row["filename"]) for row in recordings)
    assert all(a != b for a, b in pairwise(hashes))


def test_soundfile_and_the_header_agree_on_where_the_samples_lie(real, recordings) -> None:
    """The bytes that are hashed are the bytes that are decoded: 16-bit files are read straight from them."""
    for row in recordings[::8]:
        path = real / row["filename"]
        header = read_header(path)
        if header.subtype == "PCM_16":
            content = path.read_bytes()[header.audio_start :][: header.audio_bytes]
            expected, _ = soundfile.read(path, dtype="int16", always_2d=True)
            np.testing.assert_array_equal(np.frombuffer(content, "<i2").reshape(-1, header.channels), expected)
