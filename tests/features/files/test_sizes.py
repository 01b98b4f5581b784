"""The laws of where samples end: whatever sizes a header has wrong, none is cut off in silence."""

import struct
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batcache.errors import AudioError
from batcache.features.audio import AudioHeader, read_blocks, read_header
from batcache.features.files.wav import HeaderError, Sizes, decide_end
from batcache.features.metadata import read_metadata
from tests.features.test_audio import chunk, pcm, save

SAMPLES = np.random.default_rng(0).integers(-9999, 9999, 3000).astype("<i2")
THERE = SAMPLES.nbytes
GUANO = chunk(b"guan", b"GUANO|Version: 1.0\nTE: 10\nMake: X\n")
WRONG = {
    "0": 0,
    "all bits": 0xFFFFFFFF,
    "sox's": 0x7FFFF000,
    "2 GiB": 0x80000000,
    "2 GiB, the header counted": 0x80000000 - 36,
    "the file's": THERE + 44,
    "the RIFF chunk's": THERE + 36,
    "its own name counted": THERE + 8,
    "the header taken off": THERE - 44,
    "twice the header taken off": THERE - 36,
}


def wav(data_size: int, riff_size: int | None = None, behind: bytes = b"", samples: bytes = SAMPLES.tobytes()) -> bytes:
    """A WAV that says these sizes; the RIFF chunk's is right where none is given."""
    body = b"WAVE" + pcm() + b"data" + struct.pack("<I", data_size) + samples + behind
    return b"RIFF" + struct.pack("<I", len(body) if riff_size is None else riff_size) + body


def long_wav(magic: bytes, sizes: tuple[int, int, int], behind: bytes = b"", data_size: int = 0xFFFFFFFF) -> bytes:
    """An RF64 or BW64 whose ``ds64`` says these sizes: of RIFF chunk, data chunk, and the number of samples."""
    ds64 = chunk(b"ds64", struct.pack("<QQQI", *sizes, 0))
    data = b"data" + struct.pack("<I", data_size) + SAMPLES.tobytes()
    return magic + b"\xff\xff\xff\xffWAVE" + ds64 + pcm() + data + behind


def read(folder: Path, content: bytes) -> AudioHeader:
    """The header, whose samples are all there."""
    path = save(folder, content)
    header = read_header(path)
    np.testing.assert_array_equal(np.concatenate(list(read_blocks(path, header, 700))), SAMPLES)
    return header


def finding_of(folder: Path, content: bytes) -> str:
    with pytest.raises(AudioError) as caught:
        read_header(save(folder, content))
    return caught.value.finding


@pytest.mark.parametrize("behind", [b"", GUANO])
@pytest.mark.parametrize("riff_size", [0, 0xFFFFFFFF, None, 1000, THERE + 80])
@pytest.mark.parametrize("data_size", WRONG.values(), ids=WRONG)
def test_a_size_off_by_a_header_or_unknown_takes_all_samples_and_is_told(
    tmp_path, data_size, riff_size, behind
) -> None:
    header = read(tmp_path, wav(data_size, riff_size, behind))
    assert f"data chunk says {data_size:,} bytes, {THERE:,} are there" in header.warning
    assert read_metadata(tmp_path / "a.wav", header).guano_expansion == (10 if behind else None)


@pytest.mark.parametrize("data_size", [THERE // 3 & ~1, 2, THERE - 1000])
def test_a_size_too_small_is_refused_or_nothing_is_cut_off(tmp_path, data_size) -> None:
    both = finding_of(tmp_path, wav(data_size, data_size + 36))
    assert f"says {data_size:,} bytes, {THERE:,} are there" in both
    for witness in (
        wav(data_size),
        wav(data_size, data_size + 36, GUANO),
    ):  # the RIFF chunk; a chunk that ends the file
        assert read(tmp_path, witness).warning


def test_the_length_that_guano_says_speaks_for_what_the_file_holds(tmp_path) -> None:
    for length, said in ((3000 / 384_000, True), (0.05, False)):  # rounded; of another file
        text = f"GUANO|Version: 1.0\nSamplerate: 384000\nLength: {length:.3f}\n".encode()
        body = b"WAVE" + pcm() + chunk(b"guan", text) + b"data" + struct.pack("<I", THERE // 3) + SAMPLES.tobytes()
        content = b"RIFF" + struct.pack("<I", len(body) - THERE * 2 // 3) + body
        if said:
            assert read(tmp_path, content).warning
        else:
            assert "no chunk begins" in finding_of(tmp_path, content)


def test_a_file_that_ends_before_its_samples_do_is_truncated_whatever_its_riff_size_leaves_open(tmp_path) -> None:
    for riff_size in (0, THERE + 36, 0xFFFFFFFF):
        content = wav(THERE, riff_size)[:-1000]
        assert finding_of(tmp_path, content) == f"truncated: {THERE - 1000} of {THERE} bytes of audio are there"


@pytest.mark.parametrize("riff_size", [0, 36, 1000, 0xFFFFFFFF, THERE + 36 + len(GUANO) + 500])
def test_a_riff_size_alone_changes_nothing_but_is_told_where_it_says_something(tmp_path, riff_size) -> None:
    header = read(tmp_path, wav(THERE, riff_size, GUANO))
    assert ("RIFF chunk ends" in header.warning) == (riff_size not in (0, 0xFFFFFFFF))
    assert not read(tmp_path, wav(THERE, None, GUANO)).warning


@pytest.mark.parametrize("magic", [b"RF64", b"BW64"])
def test_the_sizes_of_a_long_wav_are_heard_like_those_of_a_short_one(tmp_path, magic) -> None:
    whole = len(long_wav(magic, (0, 0, 0))) - 8
    assert not read(tmp_path, long_wav(magic, (whole, THERE, len(SAMPLES)))).warning
    assert "7 samples" in read(tmp_path, long_wav(magic, (whole, THERE, 7))).warning
    assert "RIFF chunk ends" in read(tmp_path, long_wav(magic, (whole + 99, THERE, 0))).warning
    assert "ds64 chunk says 8 bytes" in read(tmp_path, long_wav(magic, (whole, 8, 0), data_size=THERE)).warning
    for data in (0, THERE // 2, THERE + 80):
        assert "data chunk says" in read(tmp_path, long_wav(magic, (whole, data, 0))).warning
    assert "no chunk begins" in finding_of(tmp_path, long_wav(magic, (whole // 2, THERE // 2, 0)))
    assert "truncated" in finding_of(tmp_path, long_wav(magic, (whole * 9, THERE * 9, 0)))


def test_bytes_behind_the_samples_are_told_or_refused(tmp_path) -> None:
    for behind, said in [(bytes(4096), "which are 0"), (b"xyz", "no chunk"), (b"TAG".ljust(128), "other formats")]:
        header = read(tmp_path, wav(THERE, THERE + 36, behind))
        assert said in header.unread and read_metadata(tmp_path / "a.wav", header).unread == header.unread
    assert "no chunk begins" in finding_of(tmp_path, wav(THERE, THERE + 36, b"\xff" * 5000))
    assert "two recordings" in finding_of(tmp_path, wav(THERE) + wav(THERE))
    assert "second data chunk" in finding_of(tmp_path, wav(THERE, None, chunk(b"data", b"more")))
    assert "second fmt chunk" in finding_of(tmp_path, wav(THERE, None, pcm()))


def test_zeros_between_samples_and_the_chunk_behind_them_are_no_samples_and_hide_no_chunk(tmp_path) -> None:
    header = read(tmp_path, wav(THERE, None, bytes(468) + GUANO))
    assert header.unread == "468 bytes behind its samples, which are 0" and not header.warning
    assert read_metadata(tmp_path / "a.wav", header).guano_expansion == 10


def test_a_size_that_counts_the_chunks_behind_the_samples_does_not_make_samples_of_them(tmp_path) -> None:
    for riff_size in (None, 0, 100):
        header = read(tmp_path, wav(THERE + len(GUANO), riff_size, GUANO))
        assert f"{THERE:,} are there and taken" in header.warning
        assert read_metadata(tmp_path / "a.wav", header).guano_expansion == 10


def test_a_chunk_behind_the_samples_that_was_cut_short_cuts_off_no_samples(tmp_path) -> None:
    for name in (b"LIST", b"abcd"):
        header = read(tmp_path, wav(THERE, THERE + 36 + 508, name + struct.pack("<I", 500) + bytes(range(1, 100))))
        assert "claims 500 bytes, 99 are there" in header.unread


@pytest.mark.parametrize("data_size", [THERE - 1, THERE - 3])
def test_a_size_that_cuts_a_sample_in_two_is_told(tmp_path, data_size) -> None:
    header = read_header(save(tmp_path, wav(data_size, THERE + 36)))
    assert f"says {data_size:,} bytes, no whole number of samples of 2" in header.warning or header.samples == 3000


def test_samples_are_never_silently_fewer_than_the_file_holds() -> None:
    """Of all sizes that a header may say, each is refused, or all is taken, or what is left out is said."""
    for claimed in range(0, 260):
        for riff_end in (None, 244, 44 + claimed, 100):
            try:
                length, warning = decide_end(Sizes(44, claimed, riff_end, 244))
            except HeaderError:
                continue
            assert (length == 200 and warning) or (length == claimed == 200)


@settings(max_examples=300, deadline=1000)
@given(
    data_size=st.sampled_from([*WRONG.values()]) | st.integers(0, 2 * THERE) | st.integers(0, 2**32 - 1),
    riff_size=st.none() | st.integers(0, 2 * THERE) | st.integers(0, 2**32 - 1),
    behind=st.sampled_from([b"", GUANO, b"\0", bytes(100)]),
)
def test_any_sizes_give_all_samples_or_say_why_not(data_size, riff_size, behind, tmp_path_factory) -> None:
    path = save(tmp_path_factory.getbasetemp(), wav(data_size, riff_size, behind), "sizes.wav")
    try:
        header = read_header(path)
    except AudioError:
        return
    taken = np.concatenate(list(read_blocks(path, header, 1000)))
    assert len(taken) >= len(SAMPLES) or header.warning or header.unread
    if data_size == THERE:
        np.testing.assert_array_equal(taken, SAMPLES)


def test_names_of_chunks_without_end_are_not_followed_for_long(tmp_path) -> None:
    for name in (b"junk\0\0\0\0", b"guan\1\0\0\0", b"LISTLIST"):
        path = save(tmp_path, wav(0, 0, name * 130_000 + b"x"))
        began = time.process_time()
        with suppress(AudioError):
            read_header(path)
        assert time.process_time() - began < 1  # each from each place would take minutes


# --- pad bytes ---

PARTS = st.lists(st.tuples(st.sampled_from([b"LIST", b"junk", b"bext", b"id3 "]), st.binary(max_size=9)), max_size=3)


@settings(max_examples=300, deadline=1000)
@given(before=PARTS, behind=PARTS, padded=st.booleans(), odd=st.booleans(), pad=st.sampled_from([b"\0", b"\0", b"x"]))
def test_chunks_of_odd_size_are_followed_with_and_without_their_pad_byte(
    before, behind, padded, odd, pad, tmp_path_factory
) -> None:
    def part(name: bytes, content: bytes) -> bytes:
        return name + struct.pack("<I", len(content)) + content + pad * (len(content) % 2 and padded)

    samples = np.arange(1, 101 + odd, dtype=np.uint8)
    text = b"GUANO|Version: 1.0\nTE: 10\n" + b"\n" * odd
    chunks = [*before, (b"data", samples.tobytes()), *behind, (b"guan", text)]
    content = b"RIFF....WAVE" + pcm(38_400, bits=8) + b"".join(part(*one) for one in chunks)
    path = save(tmp_path_factory.getbasetemp(), content, "pads.wav")
    header = read_header(path)
    assert header.samples == len(samples) and read_metadata(path, header).guano_expansion == 10
