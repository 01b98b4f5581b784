"""Which recording a row is about."""

import unicodedata

import pytest

from batcache.catalogue.match import Recordings

FILES = ["mill/0412/A_20240412_220000.wav", "mead/0412/A_20240412_220000.wav", "mead/0413/Bär.WAV", "c.flac"]


@pytest.mark.parametrize(
    ("row", "recording"),
    [
        ("mill/0412/A_20240412_220000.wav", 0),
        ("D:\\cards\\mead\\0412\\A_20240412_220000.wav", 1),
        ("/home/x/MILL/0412/a_20240412_220000.WAV", 0),
        ("bär.wav", 2),
        (unicodedata.normalize("NFD", "mead/0413/Bär.WAV"), 2),
        ("elsewhere/Bär.WAV", 2),
        ("c.wav", 3),
        ("c", 3),
    ],
)
def test_a_row_finds_its_recording(row: str, recording: int) -> None:
    found, missing = Recordings(FILES).match([row])
    assert found == {row: FILES[recording]} and not missing


def test_the_path_of_a_recording_is_that_recording_whatever_others_are_called() -> None:
    files = ["a.wav", "x/a.wav", "y/x/a.wav", "x/A.wav"]
    found, missing = Recordings(files).match(files)
    assert found == {file: file for file in files} and not missing


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        (["A_20240412_220000.wav"], "may be mill/0412/A_20240412_220000.wav or mead"),
        (["0412/A_20240412_220000.wav"], "may be"),
        (["d.wav"], "no such recording"),
        ([""], "no such recording"),
        (["here/c.flac", "there/c.flac"], "not in the folder of c.flac"),
    ],
)
def test_a_row_of_none_or_several_recordings_is_not_guessed(rows: list[str], why: str) -> None:
    found, missing = Recordings(FILES).match(rows)
    assert not found and all(why in missing[row] for row in rows)
