"""Sunset: that of the evening, wherever on earth and whatever the clocks do."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from batcache.errors import SurveyError
from batcache.survey.sunset import find_sunset, hour_after_sunset, read_place, read_timezone

pytest.importorskip("astral", reason="astral is not installed")
BERLIN, ZONE = (52.5, 13.4), ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("place", "evening", "at"),
    [
        ((51.48, 0.0), date(2024, 6, 21), "2024-06-21T20:21"),  # Greenwich, almanac: 21:21 BST
        ((52.52, 13.41), date(2024, 12, 21), "2024-12-21T14:54"),  # Berlin, almanac: 15:54 CET
        ((-33.87, 151.21), date(2024, 6, 21), "2024-06-21T06:54"),  # Sydney, almanac: 16:54 AEST
        ((40.71, -74.01), date(2024, 6, 21), "2024-06-22T00:31"),  # New York, almanac: 20:31 EDT
    ],
)
def test_it_is_that_of_the_almanac(place: tuple[float, float], evening: date, at: str) -> None:
    found = find_sunset(evening, *place)
    assert found is not None
    assert abs(found - datetime.fromisoformat(at).replace(tzinfo=UTC)) < timedelta(minutes=3)


@pytest.mark.parametrize("longitude", [-179.9, -120.0, -1.0, 0.0, 75.5, 151.0, 179.9])
def test_at_the_equator_the_sun_sets_six_hours_after_every_noon(longitude: float) -> None:
    for day in np.arange(0, 366, 7).tolist():
        evening = date(2024, 1, 1) + timedelta(days=day)
        noon = datetime(evening.year, evening.month, evening.day, 12, tzinfo=UTC) - timedelta(hours=longitude / 15)
        found = find_sunset(evening, 0.0, longitude)
        assert found is not None
        assert abs(found - noon - timedelta(hours=6)) < timedelta(minutes=25)  # the equation of time, and refraction


def test_where_the_sun_stays_up_or_down_there_is_none() -> None:
    assert find_sunset(date(2024, 6, 21), 70.0, 20.0) is None
    assert find_sunset(date(2024, 12, 21), 70.0, 20.0) is None
    assert hour_after_sunset(datetime(2024, 6, 21, 23, tzinfo=UTC), date(2024, 6, 21), 70.0, 20.0) is None
    assert find_sunset(date(2024, 3, 21), 70.0, 20.0) is not None


def test_an_hour_begins_at_sunset_and_the_one_before_is_minus_one() -> None:
    evening = date(2024, 4, 12)
    sunset = find_sunset(evening, *BERLIN)
    assert sunset is not None
    for seconds, hour in ((-1, -1), (0, 0), (3599, 0), (3600, 1), (9 * 3600, 9)):
        assert hour_after_sunset(sunset + timedelta(seconds=seconds), evening, *BERLIN) == hour


@pytest.mark.parametrize(("evening", "change_h"), [(date(2024, 10, 26), 1), (date(2024, 3, 30), -1)])
def test_where_clocks_change_in_the_night_hours_that_passed_are_counted(evening: date, change_h: int) -> None:
    """Of clocks that read 00:30 and 05:30 five hours have passed, but six where the clocks went back, four forth."""
    following = evening + timedelta(days=1)
    early, late = (datetime(following.year, following.month, following.day, h, 30, tzinfo=ZONE) for h in (0, 5))
    passed = [hour_after_sunset(at, evening, *BERLIN) for at in (early, late)]
    assert None not in passed
    assert passed[1] - passed[0] == 5 + change_h


def test_midnight_and_the_new_year_are_no_border() -> None:
    evening = date(2024, 12, 31)
    before = datetime(2024, 12, 31, 23, 59, tzinfo=ZONE)
    hours = [hour_after_sunset(before + timedelta(minutes=m), evening, *BERLIN) for m in (0, 2, 62)]
    assert hours == [7, 7, 8]  # sunset is at 16:02


@pytest.mark.parametrize("text", ["", "52.5", "52,5;13,4", "91,0", "0,181", "north,east", "1,2,3"])
def test_what_is_no_place_is_one_line(text: str) -> None:
    with pytest.raises(SurveyError, match=r"^--place: .*Write them like 52\.5,13\.4\.$"):
        read_place(text)


@pytest.mark.parametrize("name", ["Berlin", "../../etc/passwd", "", "CEST+1"])
def test_what_is_no_time_zone_is_one_line(name: str) -> None:
    with pytest.raises(SurveyError, match=r"^--timezone: no time zone "):
        read_timezone(name)
