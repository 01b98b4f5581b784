"""Site, night and time, as file names and metadata tell them."""

from datetime import timedelta

import pytest

from batcache.manifest.night import read_occasion


@pytest.mark.parametrize(
    ("path", "site", "time"),
    [
        ("MEADOW_20240412_221003.wav", "MEADOW", "2024-04-12 22:10:03"),
        ("a/b/MILL-2_20240412_221003_000.WAV", "MILL-2", "2024-04-12 22:10:03"),
        ("20240412_221003.WAV", None, "2024-04-12 22:10:03"),
        ("20240412_221003T.WAV", None, "2024-04-12 22:10:03"),
        ("S4U001-2024-04-12_22-10-03.flac", "S4U001", "2024-04-12 22:10:03"),
        ("barbar-20220528-215208.wav", "barbar", "2022-05-28 21:52:08"),
        ("site 12345678_20240412_221003.wav", "site 12345678", "2024-04-12 22:10:03"),
        ("myonat-20220708_22135.wav", None, None),
        ("MEADOW_20241312_221003.wav", None, None),
        ("MEADOW_120240412_221003.wav", None, None),
        ("20240412_221003/noise.wav", None, None),
    ],
)
def test_a_file_name_tells_site_and_time(path: str, site: str | None, time: str | None) -> None:
    occasion = read_occasion(path)
    assert (occasion.site, occasion.time and str(occasion.time)) == (site, time)


@pytest.mark.parametrize(
    ("time", "night"),
    [
        ("2024-04-12T22:10:03", "2024-04-12"),
        ("2024-04-12T23:59:59", "2024-04-12"),
        ("2024-04-13T00:00:00", "2024-04-12"),
        ("2024-04-13T11:59:59", "2024-04-12"),
        ("2024-04-13T12:00:00", "2024-04-13"),
        ("2024-01-01T03:00:00", "2023-12-31"),
        ("2024-04-13T03:10:03+02:00", "2024-04-12"),
    ],
)
def test_a_night_has_the_date_of_its_evening(time: str, night: str) -> None:
    assert str(read_occasion("a.wav", time).night) == night


@pytest.mark.parametrize(
    ("place", "time", "longitude", "night"),
    [
        ("Sydney, 20:00 there", "2024-01-10T09:00:00+00:00", 151.2, "2024-01-10"),
        ("Sydney, 04:30 there", "2024-01-10T17:30:00Z", 151.2, "2024-01-10"),
        ("Tucson, 21:00 there", "2024-07-02T04:00:00Z", -110.9, "2024-07-01"),
        ("Tucson, 04:00 there", "2024-07-02T11:00:00Z", -110.9, "2024-07-01"),
        ("Tucson, 05:45 there", "2024-07-02T12:45:00Z", -110.9, "2024-07-01"),
        ("Norwich", "2024-07-02T03:00:00Z", 1.3, "2024-07-01"),
    ],
)
def test_the_night_of_a_clock_in_utc_is_that_of_the_sun(place: str, time: str, longitude: float, night: str) -> None:
    occasion = read_occasion("a.wav", time, longitude)
    assert str(occasion.night) == night, place
    assert occasion.time and occasion.time.utcoffset() == timedelta(), "the clock's time stays"


def test_the_night_of_a_clock_with_an_offset_is_its_own() -> None:
    assert str(read_occasion("a.wav", "2024-01-10T20:00:00+11:00", 151.2).night) == "2024-01-10"
    assert str(read_occasion("a.wav", "2024-01-10T20:00:00", 151.2).night) == "2024-01-10"
    assert read_occasion("a.wav", "9999-12-31T23:00:00Z", 180.0).night is not None


def test_metadata_know_better_than_the_name() -> None:
    occasion = read_occasion("MILL_20240412_221003.wav", "2024-04-12T22:10:04+02:00")
    assert (occasion.site, str(occasion.time)) == ("MILL", "2024-04-12 22:10:04+02:00")


def test_what_nothing_tells_stays_unknown() -> None:
    occasion = read_occasion("a.wav")
    assert occasion.site is occasion.time is occasion.night is None


def test_a_clock_that_was_never_set_gives_no_night() -> None:
    assert read_occasion("a.wav", "0001-01-01T00:00:00").night is None
