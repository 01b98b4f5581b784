"""The laws of files that are neither WAV nor FLAC: they are named for what they are."""

import gzip
import zipfile
from io import BytesIO

import numpy as np
import pytest
import soundfile

from batcache.errors import AudioError
from batcache.features.audio import read_header
from tests.features.test_audio import WAV, save


def encoded(kind: str, subtype: str | None = None, rate: int = 48_000) -> bytes:
    content = BytesIO()
    soundfile.write(content, np.zeros(5000), rate, format=kind, subtype=subtype)
    return content.getvalue()


def zipped() -> bytes:
    content = BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("a.wav", WAV)
    return content.getvalue()


@pytest.mark.parametrize(
    "content, name",
    [
        (lambda: encoded("AIFF"), "AIFF"),
        (lambda: encoded("W64"), "W64"),
        (lambda: encoded("MP3"), "MP3"),
        (lambda: b"ID3\4\0\0\0\0\0\x0a" + bytes(10) + encoded("MP3"), "MP3"),
        (lambda: encoded("OGG"), "Ogg"),
        (lambda: encoded("CAF"), "CAF"),
        (lambda: encoded("AU"), "AU"),
        (zipped, "zip"),
        (lambda: gzip.compress(WAV), "gzip"),
        (lambda: b"RIFX" + WAV[4:], "RIFX"),
        (lambda: b"\0\0\0\x20ftypM4A \0\0\0\0" + bytes(20), "M4A"),
        (lambda: b"RIFF\x24\0\0\0AVI LIST", "AVI"),
        (lambda: b"RIFF\x24\0\0\0WAV\0fmt " + WAV[16:], r"begins as a WAV, but with b'WAV\x00' where WAVE is expected"),
        ("\ufeffPFLEDERMAUS;ja\n".encode, "it is text: 'PFLEDERMAUS;ja'"),
        (lambda: "Fledermäuse\n".encode("utf-16"), "it is text: 'Fledermäuse'"),
        (lambda: bytes(4096), "0 throughout"),
        (lambda: b"\x93\x07\xe1\xff" * 100, "not audio"),
        (lambda: b"\0\5\x16\7" + bytes(100), "AppleDouble"),
    ],
)
def test_other_formats_are_called_by_their_names(tmp_path, content, name) -> None:
    with pytest.raises(AudioError) as caught:
        read_header(save(tmp_path, content()))
    assert name in caught.value.finding and caught.value.remedy
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [lambda: encoded("MP3"), lambda: encoded("OGG")])
def test_of_a_lossy_format_it_is_said_so(tmp_path, content) -> None:
    with pytest.raises(AudioError, match="lossy"):
        read_header(save(tmp_path, content()))
