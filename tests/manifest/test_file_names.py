"""Names that recorders and the programs after them write, every row of their table as an example."""

import pytest

from batcache.manifest.file_names import PATTERNS, is_triggered_audiomoth, read_name
from batcache.manifest.night import read_occasion

EXAMPLES = [
    ("AudioMoth", "20240412/20240412_221003.WAV", None, "2024-04-12 22:10:03"),
    ("AudioMoth, with its number", "24F319055FDF2F5B_20240412_221003.WAV", "24F319055FDF2F5B", "2024-04-12 22:10:03"),
    ("AudioMoth, triggered", "20240412_221003T.WAV", None, "2024-04-12 22:10:03"),
    ("AudioMoth of 2018", "5AE1A5F0.WAV", None, "2018-04-26 10:12:00+00:00"),
    ("Wildlife Acoustics SM4", "Data/MEADOW_20240412_221003.wav", "MEADOW", "2024-04-12 22:10:03"),
    ("Wildlife Acoustics, GPS time", "MEADOW_20240412$221003.wav", "MEADOW", "2024-04-12 22:10:03"),
    ("Wildlife Acoustics SM3, stereo", "MILL_0+1_20160629_213356.wav", "MILL", "2016-06-29 21:33:56"),
    ("Wildlife Acoustics SM3, one channel", "MILL_0_20160629_213356.wav", "MILL_0", "2016-06-29 21:33:56"),
    ("Wildlife Acoustics SMART", "mill_20160629_213356_123456.wav", "mill", "2016-06-29 21:33:56"),
    ("Titley", "2024-04-12 22-10-03.wav", None, "2024-04-12 22:10:03"),
    ("Titley, underscore", "2024-04-12_22-10-03.wav", None, "2024-04-12 22:10:03"),
    ("Titley, with its number", "491520 2024-04-12 22-10-03.wav", "491520", "2024-04-12 22:10:03"),
    ("Pettersson D500X by tools", "ABC2010-08-26_10_39_50_M00667DEF.wav", "ABC", "2010-08-26 10:39:50"),
    ("Peersonic", "Wav0123_2008_07_04__22_58_14.wav", None, "2008-07-04 22:58:14"),
    ("Batlogger WE X, evening", "2024-04-12/0001_2e1709263_Test0001.wav", "Test0001", "2024-04-12 17:09:26"),
    ("Batlogger WE X, morning", "20241231/0001_2m0109263_Test0001.wav", "Test0001", "2025-01-01 01:09:26"),
    ("SonoBat", "creek-24Mar11-16,27,56-Myoluc.wav", "creek", "2011-03-24 16:27:56"),
    ("SonoBat, year first", "creek-20110324_162756-Myoluc.wav", "creek", "2011-03-24 16:27:56"),
    ("AR125 by SonoBat", "creek_D20110324T162756m123-Myoluc.wav", "creek", "2011-03-24 16:27:56"),
    (
        "Vigie-Chiro",
        "Car340319-2015-Pass1-G2-16701_0_20150718_031633_453.wav",
        "Car340319-G2",
        "2015-07-18 03:16:33",
    ),
    (
        "Vigie-Chiro, longer prefix",
        "Car370293-2016-Pass1-Z3-US-16611-0_20160629_213356_166.wav",
        "Car370293-Z3",
        "2016-06-29 21:33:56",
    ),
]
NOTHING = [
    "M00001.wav",  # Pettersson D500X, raw
    "12345678.wav",  # Batlogger M2: device and running number
    "58123456.wav",  # digits alone are a Batlogger's, not an AudioMoth's
    "0001_2e1709263_Test0001.wav",  # Batlogger WE X without its night's folder
    "FEDCBA98.WAV",  # a time of 2105
    "Barbastella_barbastellus_1_s.wav",
    "myonat-20220708_22135.wav",
    "MEADOW_20240230_221003.wav",
    "MEADOW_20240412_246003.wav",
    "creek-31Feb11-16,27,56.wav",
    "Wav0123_2008_13_04__22_58_14.wav",
    "20240412/noise.wav",
]


@pytest.mark.parametrize(("kind", "path", "site", "time"), EXAMPLES, ids=[row[0] for row in EXAMPLES])
def test_a_name_tells_site_and_time(kind: str, path: str, site: str | None, time: str) -> None:
    told = read_name(path)
    assert told is not None and (told[0], str(told[1])) == (site, time)


def test_every_pattern_has_an_example() -> None:
    names = [path.rpartition("/")[2].rpartition(".")[0] for _, path, _, _ in EXAMPLES]
    for pattern in PATTERNS:
        assert any(pattern.regex.search(name) for name in names), pattern.of


@pytest.mark.parametrize("path", NOTHING)
def test_a_name_without_a_date_that_exists_tells_nothing(path: str) -> None:
    assert read_name(path) is None


def test_a_date_that_does_not_exist_does_not_hide_one_that_does() -> None:
    told = read_name("20241399_000000_20240412_221003.wav")
    assert told is not None and str(told[1]) == "2024-04-12 22:10:03"


def test_the_night_of_a_name_in_utc_goes_by_the_sun() -> None:
    assert str(read_occasion("5AE1A5F0.WAV", None, 151.2).night) == "2018-04-26"


@pytest.mark.parametrize(
    ("name", "triggered"),
    [
        ("20240412_221003T.WAV", True),
        ("24F319055FDF2F5B_20240412_221003T.wav", True),
        ("20240412_221003.WAV", False),
        ("MEADOW_20240412_221003T.wav", False),
    ],
)
def test_a_triggered_audiomoth_is_known_by_its_name(name: str, triggered: bool) -> None:
    assert is_triggered_audiomoth(f"card/{name}") == triggered
