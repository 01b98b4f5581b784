"""What a field guide says of calls, in a table of the user's own, to voices that the simulator speaks with.

A row is one kind of search call; a species has a row or several, which it takes in turns. A cell is a mean, ``45``, or
what is usual, ``43 to 47``. ``peak_khz`` is where a call is loudest. Each shape needs some cells; the others may be
empty and are then as usual among bats of that pitch. No guide says how a sweep bends, how loud a bat is, how fast it
flies: these are the middle of what the virtual species draw from.
"""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from batcache.errors import ManifestError, did_you_mean, quote
from batcache.manifest.table import place_of, read_table
from batcache.storage.spreadsheet import as_written
from batcache.synth.shapes import SHAPES
from batcache.synth.species import CallType, Species, Spread, slowness, spread_of

COLUMNS = "species", "shape", "start_khz", "peak_khz", "end_khz", "duration_ms", "interval_ms"
_IGNORED = ("", "notes", "source")
_NUMBERS = COLUMNS[2:]
_BOUNDS = dict.fromkeys(_NUMBERS[:3], (5.0, 250.0)) | {"duration_ms": (0.2, 60.0), "interval_ms": (5.0, 5000.0)}
_LONGEST_MS = 80.0
"""So long is a call at most: its echoes still fit into what the simulator computes at once."""
_RANGE = re.compile(r"(\d+(?:\.\d+)?)(?:\s*(?:[-\u2212\u2013\u2014]|to)\s*(\d+(?:\.\d+)?))?(?:\s*(khz|ms))?", re.ASCII)
_HIGHEST_CALL_SHARE = 0.9  # of the interval, that a call lasts at most
_FLAT_SHARE = 0.7  # of the peak: no call that ends flat ends below
_SAID = "FM-QCF (a sweep that ends flat), FM (a steep sweep), multiharmonic, QCF (nearly flat), CF (a constant tone)"
_SHARP_MS = 30.0
"""CF calls as long bend as sharply as ``SHAPES`` says; the sweeps of shorter ones take more of them."""


@dataclass(frozen=True)
class GuideCall:
    """A row of a guide. Of numbers, where they are given, the least and the most that is usual, in kHz and ms."""

    species: str
    shape: str
    start_khz: tuple[float, float] | None = None
    peak_khz: tuple[float, float] | None = None
    end_khz: tuple[float, float] | None = None
    duration_ms: tuple[float, float] | None = None
    interval_ms: tuple[float, float] | None = None

    @property
    def cells(self) -> tuple[str, ...]:
        """The row as ``read_call`` reads it."""
        ranges = (getattr(self, name) for name in _NUMBERS)
        texts = ("" if given is None else "-".join(f"{value:.12g}" for value in given) for given in ranges)
        return self.species, self.shape, *texts

    def mean(self, column: str) -> float | None:
        """The middle of what is given in a column."""
        given: tuple[float, float] | None = getattr(self, column)
        return None if given is None else sum(given) / 2


def read_guide(csv: Path) -> tuple[GuideCall, ...]:
    """Read a table of calls, one row a kind of call.

    Raises:
        ManifestError: it cannot be read, lacks ``species`` or ``shape``, has a column that is not known, no row, or a
            cell that cannot be meant.
    """
    given, _, rows = read_table(csv)
    columns = {"_".join(name.lower().split()): position for name, position in given.items()}
    if len(columns) < len(given):
        raise ManifestError(place_of(csv, 1), "two columns of one name", "Rename or delete one")
    for name in columns:
        if name not in (*COLUMNS, *_IGNORED):
            finding = f"column {quote(name)} is not known"
            raise ManifestError(place_of(csv, 1), finding, did_you_mean(name, COLUMNS, _say_columns()))
    if missing := [name for name in COLUMNS[:2] if name not in columns]:
        raise ManifestError(place_of(csv, 1), f"no column {missing[0]}", _say_columns())
    calls = []
    for line, cells in rows:
        if len(cells) > len(columns) and any(map(str.strip, cells[len(columns) :])):
            finding = f"{len(cells)} cells, expected {len(columns)}"
            raise ManifestError(place_of(csv, line), finding, "Check its delimiters and decimal commas")
        texts = [as_written(cells[columns[n]]) if columns.get(n, len(cells)) < len(cells) else "" for n in COLUMNS]
        texts[2:] = [text.replace(",", ".") for text in texts[2:]]
        try:
            calls.append(read_call(texts))
        except ValueError as error:
            raise ManifestError(place_of(csv, line), *error.args) from None
    if not calls:
        raise ManifestError(csv, "no row", "Write one for each kind of call")
    return tuple(calls)


def _say_columns() -> str:
    return f"Its columns are {', '.join(COLUMNS)}"


def read_call(cells: Sequence[str]) -> GuideCall:
    """A row, its cells in the order of ``COLUMNS``.

    Raises:
        ValueError: with a finding and a remedy.

    >>> read_call(["Pipistrellus kuhlii", "FM-QCF", "", "38-40", "", "6.5", ""]).peak_khz
    (38.0, 40.0)
    """
    species, given = " ".join(cells[0].split()), cells[1].strip()
    if not species:
        raise ValueError("no species", "Name it as your CSV does")
    folded = re.sub(r"[\s/_+-]+", "-", given.lower())
    shape = next((name for name in SHAPES if name.lower() == folded), None)
    if shape is None:
        raise ValueError(f"shape {quote(given)}", f"It is one of {_SAID}")
    call = GuideCall(species, shape, *map(_read_range, _NUMBERS, cells[2:]))
    if missing := [name for name in SHAPES[shape].needs if getattr(call, name) is None]:
        raise ValueError(f"no {missing[0]}, which a call of shape {shape} needs", "Fill the cell")
    _check_order(call)
    return call


def recall_guide(lines: Iterable[str]) -> tuple[GuideCall, ...]:
    """The rows of a guide, of their cells joined by commas.

    Raises:
        ValueError: a line is none of a guide.
    """
    return tuple(read_call(line.rsplit(",", len(COLUMNS) - 1)) for line in lines)


def _read_range(column: str, cell: str) -> tuple[float, float] | None:
    if not (text := cell.strip()) or text == "NA":
        return None
    found = _RANGE.fullmatch(text.lower())
    low, high = sorted((float(found[1]), float(found[2] or found[1]))) if found else (math.nan, math.nan)
    least, most = _BOUNDS[column]
    if not (found and least <= low <= high <= most and (not found[3] or column.endswith(found[3]))):
        expected = f"expected a number from {least:g} to {most:g}, or two of them as in 43 to 47"
        raise ValueError(f"{column} {quote(cell)}, {expected}", "Correct the cell; spreadsheets make dates of 6-11")
    return low, high


def _check_order(call: GuideCall) -> None:
    """What no call of a shape can be."""
    if call.shape not in ("QCF", "CF"):  # which may rise
        given = [bounds for bounds in (call.start_khz, call.peak_khz, call.end_khz) if bounds is not None]
        falls = all(one[0] >= other[0] and one[1] >= other[1] for one, other in pairwise(given))
        if not falls or (call.start_khz and call.start_khz == call.end_khz):
            said = ", ".join(f"{sum(bounds) / 2:g}" for bounds in given)
            finding = f"calls of shape {call.shape} fall from start_khz by peak_khz to end_khz, here {said}"
            raise ValueError(finding, "Correct the cells")
    peak, end = call.mean("peak_khz"), call.mean("end_khz")
    if call.shape == "FM-QCF" and peak and end and end < _FLAT_SHARE * peak:
        finding = f"ends at {end:g} kHz, far below its peak of {peak:g}, where calls of shape FM-QCF are flat"
        raise ValueError(finding, "Correct the cells, or make it FM")
    _, duration, interval = _timing(call)
    if duration > _HIGHEST_CALL_SHARE * interval:
        lasts = f"{duration:.3g} ms{'' if call.duration_ms else ' (as is common at that pitch)'}"
        raise ValueError(f"calls of {lasts} every {interval:.3g} ms leave no pause", "Correct or fill the cells")


def _timing(call: GuideCall) -> tuple[float, float, float]:
    """How slow a voice of this pitch is, its duration and its interval in ms, by the guide or as is common."""
    shape = SHAPES[call.shape]
    peak = call.mean("peak_khz") or math.sqrt((call.mean("start_khz") or 0) * (call.mean("end_khz") or 0))
    slow = min(max(slowness(peak), 0.45), 2.4)
    duration = call.mean("duration_ms") or shape.duration_ms * slow
    return slow, duration, call.mean("interval_ms") or max(shape.interval_ms * slow, 3 * duration)


def find_voices(guide: Iterable[GuideCall]) -> dict[str, Species]:
    """A voice for each species of a guide, by its name there."""
    rows: dict[str, list[GuideCall]] = {}
    for call in guide:
        rows.setdefault(call.species, []).append(call)
    return {name: _voice(name, calls) for name, calls in rows.items()}


def _voice(name: str, calls: Sequence[GuideCall]) -> Species:
    """A species: harmonics, loudness and flight are as of its first row, the interval is the mean of all rows'."""
    shape, (slow, _, _) = SHAPES[calls[0].shape], _timing(calls[0])
    timed = [call for call in calls if call.interval_ms] or calls
    interval = sum(_timing(call)[2] for call in timed) / len(timed)
    given = [call.interval_ms for call in timed if call.interval_ms]
    usual = (min(low for low, _ in given), max(high for _, high in given)) if given else (interval, interval)
    height = min(max(4.0 * slow**2, 1.5), 15.0)
    return Species(
        name,
        tuple(_kind(call, shape.level_db) for call in calls),
        replace(
            _spread(usual, interval, 0.13),
            low=min(0.5 * interval, usual[0]),
            high=max(2.3 * interval, usual[1]),  # bats leave out wing beats
        ),
        level_db=shape.level_db,
        speed_m_s=min(max(5.5 * slow, 2.5), 11.0),
        wingbeat_hz=min(max(10.5 / slow**0.6, 5.5), 14.0),
        height_m=(0.4 * height, 2.2 * height),
        alternates=0.7 if len(calls) > 1 else 0.0,
        buzz=shape.buzz,
        partials=shape.partials,
        over_water=0.2,
    )


def _kind(call: GuideCall, level_db: float) -> CallType:
    """A kind of call. Of sweeps the flattest part lies between where they are loudest and where they end."""
    shape, (_, duration, _) = SHAPES[call.shape], _timing(call)
    start, peak, end = (call.mean(name) for name in _NUMBERS[:3])
    if call.shape in ("FM", "multiharmonic"):
        assert start is not None and end is not None, "read_call has seen to it"
        peak = peak or end * math.sqrt(start / end)
        knee = math.sqrt(peak * end)
    else:
        assert peak is not None, "read_call has seen to it"
        knee, start, end = peak, start or shape.start * peak, end or shape.end * peak
    by = knee / (peak if call.peak_khz else end)
    usual = call.peak_khz or call.end_khz or (0.0, 0.0)
    of_knee = _spread((usual[0] * by, usual[1] * by), knee, shape.knee_sd)
    of_duration = _spread(call.duration_ms, duration, shape.duration_sd)
    sharpness = min(max(duration / _SHARP_MS, 0.3), 1.0) if call.shape == "CF" else 1.0
    return CallType(
        _spread(call.start_khz, start, shape.start_sd),
        replace(of_knee, low=max(of_knee.low, 1.5 * (knee - end))),  # no call ends below 0
        end_khz=end - knee,
        tail_khz=max(min(shape.tail * knee, 2 * (knee - end), start - knee), 0.0),
        bend=shape.bend * sharpness,
        hook=shape.hook * sharpness,
        duration_ms=replace(of_duration, high=min(of_duration.high, _LONGEST_MS)),
        peak_khz=peak - knee,
        spread_octaves=shape.spread_octaves,
        attack=shape.attack,
        release=shape.release,
        level_db=shape.level_db - level_db,
    )


def _spread(given: tuple[float, float] | None, mean: float, share: float) -> Spread:
    """What is usual is two standard deviations to either side; of a mean alone, they are this share of it."""
    if given is None or given[0] == given[1]:
        return spread_of(mean, share)
    sd = (given[1] - given[0]) / 4
    return Spread(mean, sd, max(given[0] - sd, 0.2 * mean), given[1] + sd)
