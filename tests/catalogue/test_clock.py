"""Clocks in a time zone, and the nights that follow."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcache.catalogue.clock import open_zone, place_in_zone
from batcache.errors import ManifestError
from batcache.manifest.night import Occasion

BERLIN = open_zone("Europe/Berlin")


@pytest.mark.parametrize(
    ("clock", "local", "night"),
    [
        ("2024-07-01T21:59:59+00:00", "2024-07-01T23:59:59+02:00", "2024-07-01"),
        ("2024-07-01T22:00:00+00:00", "2024-07-02T00:00:00+02:00", "2024-07-01"),
        ("2024-07-02T09:59:59+00:00", "2024-07-02T11:59:59+02:00", "2024-07-01"),
        ("2024-07-02T10:00:00+00:00", "2024-07-02T12:00:00+02:00", "2024-07-02"),
        ("2024-12-31T22:59:59+00:00", "2024-12-31T23:59:59+01:00", "2024-12-31"),
        ("2024-12-31T23:00:00+00:00", "2025-01-01T00:00:00+01:00", "2024-12-31"),
        ("2025-01-01T10:59:59+00:00", "2025-01-01T11:59:59+01:00", "2024-12-31"),
        ("2024-12-31T23:30:00", "2024-12-31T23:30:00+01:00", "2024-12-31"),
        ("2025-01-01T00:30:00", "2025-01-01T00:30:00+01:00", "2024-12-31"),
        ("2024-03-31T00:59:59+00:00", "2024-03-31T01:59:59+01:00", "2024-03-30"),
        ("2024-03-31T01:00:00+00:00", "2024-03-31T03:00:00+02:00", "2024-03-30"),
        ("2024-10-27T00:30:00+00:00", "2024-10-27T02:30:00+02:00", "2024-10-26"),
        ("2024-10-27T01:30:00+00:00", "2024-10-27T02:30:00+01:00", "2024-10-26"),
        ("2024-10-27T11:59:59", "2024-10-27T11:59:59+01:00", "2024-10-26"),
        ("2024-03-31T12:00:00", "2024-03-31T12:00:00+02:00", "2024-03-31"),
        ("2024-07-01T23:00:00-07:00", "2024-07-01T23:00:00-07:00", "2024-07-01"),
    ],
)
def test_a_clock_shows_the_zones_time_and_the_night_is_twelve_hours_before(clock: str, local: str, night: str) -> None:
    moment = place_in_zone(datetime.fromisoformat(clock), BERLIN)
    assert moment.time.isoformat() == local and not moment.doubt
    assert str(Occasion(time=moment.time).night) == night


def test_hours_that_came_twice_or_never_are_doubtful() -> None:
    twice = place_in_zone(datetime(2024, 10, 27, 2, 30), BERLIN)
    assert "twice" in twice.doubt and twice.time.isoformat() == "2024-10-27T02:30:00+02:00"
    never = place_in_zone(datetime(2024, 3, 31, 2, 30), BERLIN)
    assert "left out" in never.doubt
    assert all(str(Occasion(time=m.time).night) in ("2024-10-26", "2024-03-30") for m in (twice, never))


def test_without_a_zone_times_stay() -> None:
    for time in (datetime(2024, 7, 1, 23), datetime(2024, 7, 1, 23, tzinfo=UTC)):
        assert place_in_zone(time, None).time == time


@given(st.datetimes(datetime(1990, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC)))
def test_a_time_in_utc_is_the_same_moment_in_every_zone(time: datetime) -> None:
    moved = place_in_zone(time, BERLIN).time
    assert moved == time and moved.isoformat() == time.astimezone(BERLIN).isoformat()


def test_a_zone_that_does_not_exist_is_refused_with_the_nearest() -> None:
    with pytest.raises(ManifestError, match="Did you mean Europe/Berlin"):
        open_zone("Europe/Berln")
    for name in ("", "../etc/passwd", "CET+1"):
        with pytest.raises(ManifestError):
            open_zone(name)
