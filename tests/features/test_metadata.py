"""The laws of ``batcache.features.metadata``: GUANO and WAMD are read, what is broken is named, nothing raises."""

import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from batcache.features.audio import read_header
from batcache.features.metadata import Metadata, read_metadata
from tests.features.test_audio import DATA, chunk, pcm, riff, save

GUANO = """GUANO|Version: 1.0
Timestamp: 2024-04-16 02:24:48+1:00
Loc Position: 51.38466 -2.75470
Make: Wildlife Acoustics, Inc.
Model: Song Meter Mini Bat
Species Auto ID: PIPPIP, NYCNOC
Species Manual ID: Pipistrellus pipistrellus
Samplerate: 384000
TE: 10
Length: 3.008
Note: in the rain, \\nat the mill: café
"""
SAID = Metadata(
    recorded_at="2024-04-16T02:24:48+01:00",
    latitude=51.38466,
    longitude=-2.7547,
    recorder="Wildlife Acoustics, Inc. Song Meter Mini Bat",
    species_auto="PIPPIP, NYCNOC",
    species_manual="Pipistrellus pipistrellus",
    guano_expansion=10.0,
    guano_rate=384_000.0,
    guano_length_s=3.008,
)


def wamd(*parts: tuple[int, bytes]) -> bytes:
    return b"".join(struct.pack("<HI", number, len(content)) + content for number, content in parts)


WAMD = wamd(
    (0x00, b"\1\0"),
    (0x01, b"SM4BAT-FS"),
    (0x05, b"2015-07-18 03:16:33.453"),
    (0x06, b"WGS84,42.5,N,71.25,W,80"),
    (0x0B, b"MYOLUC"),
    (0x0C, b"Myotis lucifugus"),
    (0x0D, bytes(20_000)),  # a spoken note
    (0x0F, b"\x0a\0"),
    (0xFFFF, b"\0"),
)
WAMD_SAID = Metadata(
    recorded_at="2015-07-18T03:16:33.453000",
    latitude=42.5,
    longitude=-71.25,
    recorder="SM4BAT-FS",
    species_auto="MYOLUC",
    species_manual="Myotis lucifugus",
    wamd_expansion=10.0,
)


def said_by(folder: Path, *chunks: bytes) -> Metadata:
    path = save(folder, riff(pcm(), *chunks))
    return read_metadata(path, read_header(path))


def guano(text: str | bytes) -> bytes:
    return chunk(b"guan", text.encode() if isinstance(text, str) else text)


# --- what is said ---


def test_a_file_without_metadata_says_nothing(tmp_path) -> None:
    assert said_by(tmp_path, DATA) == Metadata()
    assert said_by(tmp_path, chunk(b"LIST", b"INFOabcd"), DATA, chunk(b"id3 ", b"x")) == Metadata()


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("text", [GUANO, GUANO.replace("\n", "\r\n"), GUANO + "\0", GUANO.replace(": ", ":")])
def test_guano_is_read_before_and_behind_the_samples(tmp_path, before, text) -> None:
    chunks = (guano(text), DATA) if before else (DATA, guano(text))
    assert said_by(tmp_path, *chunks) == SAID


def test_guano_that_is_not_utf_8_is_read_as_latin_1(tmp_path) -> None:
    assert said_by(tmp_path, DATA, guano(GUANO.encode("latin-1"))) == SAID


def test_wamd_is_read(tmp_path) -> None:
    assert said_by(tmp_path, DATA, chunk(b"wamd", WAMD)) == WAMD_SAID


@pytest.mark.parametrize(
    "position, place",
    [
        (b"WGS84,42.5,S,71.25,E", (-42.5, 71.25)),
        (b"WGS84, 42.5, N, 71.25, W", (42.5, -71.25)),
        (b"WGS84,42.5,-71.25,80\0", (42.5, -71.25)),  # as the EchoMeter Touch writes
        (b"", (None, None)),
    ],
)
def test_each_form_of_a_wamd_position_is_read(tmp_path, position, place) -> None:
    found = said_by(tmp_path, DATA, chunk(b"wamd", wamd((0x06, position))))
    assert (found.latitude, found.longitude, found.unread) == (*place, "")


def test_guano_counts_and_wamd_fills_what_it_leaves_out(tmp_path) -> None:
    text = "GUANO|Version: 1.0\nMake: Titley\nModel: Titley Swift\nLoc Position: 1.5 2.5\n"
    found = said_by(tmp_path, chunk(b"wamd", WAMD), DATA, guano(text))
    assert found.recorder == "Titley Swift"
    assert (found.latitude, found.longitude) == (1.5, 2.5)
    assert (found.recorded_at, found.wamd_expansion) == (WAMD_SAID.recorded_at, 10.0)


def test_a_flac_with_the_chunks_of_its_wav_says_the_same(tmp_path) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, np.zeros(5000, np.int16), 384_000)
    flac = path.read_bytes()
    foreign = b"".join(
        bytes([2]) + len(block).to_bytes(3, "big") + block
        for block in (b"riff" + part for part in (b"RIFF....WAVE", guano(GUANO), chunk(b"wamd", WAMD)))
    )
    path.write_bytes(flac[:42] + foreign + flac[42:])  # behind STREAMINFO
    found = read_metadata(path, read_header(path))
    assert found == Metadata(**{f: getattr(SAID, f) or getattr(WAMD_SAID, f) for f in SAID.__slots__})


def test_real_files_say_what_is_known_of_them(real, recordings) -> None:
    found = {
        row["filename"]: read_metadata(real / row["filename"], read_header(real / row["filename"]))
        for row in recordings
    }
    assert not [name for name, said in found.items() if said.unread]
    tadarida = [said for name, said in found.items() if name.startswith("audio/Car")]
    assert {said.wamd_expansion for said in tadarida} == {10.0} and len(tadarida) == 25
    assert (
        found["audio/Car340319-2015-Pass1-G2-16701_0_20150718_031633_453.wav"].recorded_at
        == "2015-07-18T03:16:33.453000"
    )
    song_meter = found["audio/SMU01770-2_20240416_022448.wav"]
    assert song_meter == Metadata(
        recorded_at="2024-04-16T02:24:48+01:00",
        latitude=51.38466,
        longitude=-2.7547,
        recorder="Wildlife Acoustics, Inc. Song Meter Mini Bat",
        site="SMU01770-2",
        guano_rate=384_000.0,
        guano_length_s=3.008,
    )
    assert sum(said.recorder == "Gimell Ultrasonic Microphone" for said in found.values()) == 3


# --- what is broken ---


def test_a_broken_line_takes_no_other_with_it_and_is_named(tmp_path) -> None:
    found = said_by(tmp_path, DATA, guano(GUANO.replace("Make", "no colon here\nMake")))
    assert found == Metadata(**{f: getattr(SAID, f) for f in SAID.__slots__ if f != "unread"}, unread="GUANO line 4")


@pytest.mark.parametrize(
    "line, name",
    [
        ("TE: ten", "guano_expansion"),
        ("TE: 0", "guano_expansion"),
        ("TE: -10", "guano_expansion"),
        ("TE: nan", "guano_expansion"),
        (f"TE: {'9' * 5000}", "guano_expansion"),
        ("Samplerate: inf", "guano_rate"),
        ("Length: -1", "guano_length_s"),
        ("Loc Position: 91 0", "latitude"),
        ("Loc Position: nan nan", "latitude"),
        ("Loc Position: 51.5", "latitude"),
        ("Loc Position: somewhere", "latitude"),
        ("Timestamp: yesterday", "recorded_at"),
        ("Timestamp: 2024-13-41 02:24:48", "recorded_at"),
        ("Timestamp: 2024-04-16 02:24:48+x", "recorded_at"),
    ],
)
def test_a_value_that_makes_no_sense_is_left_out_and_named(tmp_path, line, name) -> None:
    found = said_by(tmp_path, DATA, guano(f"GUANO|Version: 1.0\n{line}\nModel: D500X\n"))
    assert getattr(found, name) is None and found.recorder == "D500X"
    assert found.unread in (f"GUANO {line.split(':')[0]}", "GUANO line 2")


def test_a_factor_written_as_a_decimal_is_read(tmp_path) -> None:
    assert said_by(tmp_path, DATA, guano("TE: 10.0\nSamplerate: 312500.0")).guano_expansion == 10.0


def test_a_chunk_cut_short_is_read_as_far_as_it_goes(tmp_path) -> None:
    whole = riff(pcm(), DATA, guano(GUANO))
    path = save(tmp_path, whole[: whole.index(b"Species Auto")])
    found = read_metadata(path, read_header(path))
    assert found.recorder == SAID.recorder and found.species_auto is None
    assert found.unread == f"guan chunk claims {len(GUANO.encode())} bytes, {GUANO.index('Species Auto')} are there"


def test_a_wamd_field_that_claims_too_much_is_named_and_those_before_it_are_read(tmp_path) -> None:
    broken = wamd((0x01, b"SM4")) + struct.pack("<HI", 0x0F, 2**32 - 1) + b"\x0a\0"
    found = said_by(tmp_path, DATA, chunk(b"wamd", broken))
    assert (found.recorder, found.wamd_expansion) == ("SM4", None)
    assert found.unread == "WAMD time expansion, of 4,294,967,295 bytes"


@pytest.mark.parametrize("raw", [b"", b"\x0a", b"\0\0", b"\x0a\0\0"])
def test_a_wamd_factor_of_other_length_or_0_is_named(tmp_path, raw) -> None:
    found = said_by(tmp_path, DATA, chunk(b"wamd", wamd((0x0F, raw))))
    assert (found.wamd_expansion, found.unread) == (None, "WAMD time expansion")


def test_text_for_the_index_is_one_line_of_bounded_length(tmp_path) -> None:
    tags = "\x1b[31mred\x00\t" + "Myotis " * 1000
    found = said_by(tmp_path, DATA, chunk(b"wamd", wamd((0x01, b"\0" * 50), (0x0C, tags[:4000].encode()))))
    assert found.recorder is None
    assert found.species_manual.startswith("[31mred Myotis") and len(found.species_manual) == 200


def test_claims_of_4_gb_allocate_nothing(tmp_path) -> None:
    huge = struct.pack("<I", 0xFFFFFFFE)
    for content in (b"guan" + huge + b"TE: 10\n", b"wamd" + huge + struct.pack("<HI", 1, 0xFFFFFFF0) + b"SM4"):
        path = save(tmp_path, riff(pcm(), DATA) + content)
        header = read_header(path)
        tracemalloc.start()
        try:
            found = read_metadata(path, header)
            assert tracemalloc.get_traced_memory()[1] < 2**18
        finally:
            tracemalloc.stop()
        assert "claims 4,294,967,294 bytes" in found.unread


def test_a_guano_of_a_gigabyte_is_read_in_part_only(tmp_path) -> None:
    length = 2**30
    path = save(tmp_path, riff(pcm(), DATA) + b"guan" + struct.pack("<I", length) + b"TE: 10\n")
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size + length - 7)  # sparse
    header = read_header(path)
    tracemalloc.start()
    try:
        found = read_metadata(path, header)
        assert tracemalloc.get_traced_memory()[1] < 2**23
    finally:
        tracemalloc.stop()
    assert found.guano_expansion == 10 and "too long" in found.unread


def test_ten_thousand_lines_and_chunks_are_read_in_bounded_time(tmp_path) -> None:
    found = said_by(tmp_path, DATA, guano("a: b\n" * 10_000))
    assert "from line 2001 on" in found.unread
    found = said_by(tmp_path, DATA, chunk(b"JUNK", b"") * 100_000, guano(GUANO))
    assert found == Metadata(unread="what follows 10,000 chunks")


@settings(max_examples=200, deadline=1000)
@given(name=st.sampled_from([b"guan", b"wamd"]), content=st.binary(max_size=600))
def test_random_bytes_never_raise(name, content, tmp_path_factory) -> None:
    said_by(tmp_path_factory.getbasetemp(), DATA, chunk(name, content))


@settings(max_examples=200, deadline=1000)
@given(
    place=st.integers(0, 400), value=st.binary(min_size=1, max_size=4), which=st.sampled_from([GUANO.encode(), WAMD])
)
def test_damaged_metadata_never_raise(place, value, which, tmp_path_factory) -> None:
    damaged = which[:place] + value + which[place + len(value) :]
    name = b"wamd" if which is WAMD else b"guan"
    said_by(tmp_path_factory.getbasetemp(), DATA, chunk(name, damaged))
