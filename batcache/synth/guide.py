"""What a field guide says of calls, in a table of the user's own, to voices that the simulator speaks with.

A row is one kind of search call; a species has a row or several, which it takes in turns. Cells are a mean, ``45``, or
what is usual, ``43-47``. ``peak_khz`` is where a call is loudest; of what is left empty, but for what a shape needs,
bats of that pitch have what is common. No guide says how a sweep bends, how loud a bat is, how fast it flies: these are
the middle of what the virtual species draw from.
"""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from batcache.errors import ManifestError, did_you_mean, quote
from batcache.manifest.table import place_of, read_table
from batcache.storage.spreadsheet import as_written
from batcache.synth.species import CallType, Partials, Species, Spread, slowness, spread_of

COLUMNS = "species", "shape", "start_khz", "peak_khz", "end_khz", "duration_ms", "interval_ms"
_NUMBERS = COLUMNS[2:]
_BOUNDS = dict.fromkeys(_NUMBERS[:3], (5.0, 250.0)) | {"duration_ms": (0.2, 200.0), "interval_ms": (5.0, 5000.0)}
_RANGE = re.compile(r"(\d+(?:\.\d+)?)(?:\s*[-–—]\s*(\d+(?:\.\d+)?))?", re.ASCII)
_HIGHEST_CALL_SHARE = 0.9  # of the interval, that a call lasts at most


@dataclass(frozen=True)
class Shape:
    """How calls of a kind run, beyond what guides say. Shares are of the mean, what ends in ``_share`` of the peak."""

    needs: tuple[str, ...]
    start_share: float  # where a guide does not say it
    end_share: float
    knee_sd: float
    start_sd: float
    duration_sd: float
    tail_share: float
    bend: float
    hook: float
    spread_octaves: float
    attack: float
    release: float
    duration_ms: float  # at 40 kHz
    interval_ms: float  # at 40 kHz
    level_db: float
    buzz: float
    partials: Partials


_WEAK: Partials = ((1.0, 0.0), (2.0, -24.0), (3.0, -37.0))
# fmt: off
SHAPES = {
    "FM-QCF": Shape(("peak_khz",), 1.6, 0.97, 0.02, 0.09, 0.13, 0.06, 4.8, 10.5, 0.5, 1.0, 0.6, 6.3, 100, 118, 0.12,
        _WEAK),
    "FM": Shape(("start_khz", "end_khz"), 0, 0, 0.045, 0.075, 0.14, 0.28, 2.1, 5.0, 0.9, 1.1, 0.8, 4.0, 88, 107, 0.05,
        _WEAK),
    "multiharmonic": Shape(("start_khz", "end_khz"), 0, 0, 0.04, 0.06, 0.15, 0.2, 1.8, 4.5, 0.6, 0.9, 0.8, 2.7, 75, 98,
        0.02, ((1.0, 0.0), (2.0, -8.0), (3.0, -18.0))),
    "QCF": Shape(("peak_khz",), 1.08, 0.98, 0.018, 0.03, 0.13, 0.03, 4.5, 10.0, 0.4, 0.9, 0.7, 8.5, 115, 119, 0.1,
        _WEAK),
    "CF": Shape(("peak_khz", "duration_ms"), 0.92, 0.86, 0.006, 0.015, 0.12, 0.0, 45.0, 32.0, 0.1, 0.6, 0.65, 30, 85,
        110, 0.03, ((1.0, 0.0), (0.5, -28.0), (1.5, -40.0))),
}
# fmt: on
"""FM-QCF: a sweep that ends flat, as pipistrelles'. FM: a steep sweep, as of Myotis. Multiharmonic: one whose harmonics
are nearly as loud, as of long-eared bats. QCF: nearly flat. CF: a pure tone that falls at its end, as of horseshoe
bats, whose start and end are those of the short sweeps beside it."""


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
    columns, delimiter, rows = read_table(csv)
    for name in columns:
        if name not in COLUMNS:
            finding = f"column {quote(name)} is not known"
            raise ManifestError(place_of(csv, 1), finding, did_you_mean(name, COLUMNS, _say_columns()))
    if missing := [name for name in COLUMNS[:2] if name not in columns]:
        raise ManifestError(place_of(csv, 1), f"no column {missing[0]}", _say_columns())
    calls = []
    for line, cells in rows:
        texts = [as_written(cells[columns[n]]) if columns.get(n, len(cells)) < len(cells) else "" for n in COLUMNS]
        if delimiter != ",":
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
    shape = next((name for name in SHAPES if name.lower() == given.lower()), None)
    if shape is None:
        raise ValueError(f"shape {quote(given)}", f"It is one of {', '.join(SHAPES)}")
    call = GuideCall(species, shape, *map(_read_range, _NUMBERS, cells[2:]))
    if missing := [name for name in SHAPES[shape].needs if getattr(call, name) is None]:
        raise ValueError(f"no {missing[0]}, which a call of shape {shape} needs", "Fill the cell")
    _check_order(call)
    return call


def _read_range(column: str, cell: str) -> tuple[float, float] | None:
    if not (text := cell.strip()) or text == "NA":
        return None
    found = _RANGE.fullmatch(text)
    low, high = (float(found[1]), float(found[2] or found[1])) if found else (math.nan, math.nan)
    least, most = _BOUNDS[column]
    if not (found and least <= low <= high <= most):
        expected = f"expected a number or a range such as 43-47, of {least:g} to {most:g}"
        raise ValueError(f"{column} {quote(cell)}, {expected}", "Correct the cell")
    return low, high


def _check_order(call: GuideCall) -> None:
    """What no call of a shape can be."""
    start, peak, end = (call.mean(name) for name in _NUMBERS[:3])
    if call.shape not in ("QCF", "CF"):  # which may rise
        falling = [value for value in (start, peak, end) if value is not None]
        if falling != sorted(falling, reverse=True) or (start is not None and start == end):
            finding = f"calls of shape {call.shape} fall from start_khz by peak_khz to end_khz"
            raise ValueError(finding, "Correct the cells")
    _, kind, interval = _timing(call)
    if kind > _HIGHEST_CALL_SHARE * interval:
        raise ValueError(f"calls of {kind:g} ms every {interval:g} ms leave no pause", "Correct the cells")


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
    timed = next((call for call in calls if call.interval_ms), calls[0])
    shape, (slow, _, interval) = SHAPES[calls[0].shape], _timing(timed)
    usual = _spread(timed.interval_ms, interval, 0.13)
    height = min(max(4.0 * slow**2, 1.5), 15.0)
    return Species(
        name,
        tuple(map(_kind, calls)),
        replace(usual, low=0.5 * interval, high=2.3 * interval),  # bats leave out wing beats
        level_db=shape.level_db,
        speed_m_s=min(max(5.5 * slow, 2.5), 11.0),
        wingbeat_hz=min(max(10.5 / slow**0.6, 5.5), 14.0),
        height_m=(0.4 * height, 2.2 * height),
        alternates=0.7 if len(calls) > 1 else 0.0,
        buzz=shape.buzz,
        partials=shape.partials,
        over_water=0.2,
    )


def _kind(call: GuideCall) -> CallType:
    """A kind of call. Of sweeps the flattest part lies between where they are loudest and where they end."""
    shape, (_, duration, _) = SHAPES[call.shape], _timing(call)
    start, peak, end = (call.mean(name) for name in _NUMBERS[:3])
    if call.shape in ("FM", "multiharmonic"):
        assert start is not None and end is not None, "read_call has seen to it"
        knee = math.sqrt((peak or end * math.sqrt(start / end)) * end)
        peak = peak or end * math.sqrt(start / end)
    else:
        assert peak is not None, "read_call has seen to it"
        knee, start, end = peak, start or shape.start_share * peak, end or shape.end_share * peak
    given = call.peak_khz and (call.peak_khz[0] * knee / peak, call.peak_khz[1] * knee / peak)
    return CallType(
        _spread(call.start_khz, start, shape.start_sd),
        _spread(given, knee, shape.knee_sd),
        end_khz=end - knee,
        tail_khz=shape.tail_share * knee,
        bend=shape.bend,
        hook=shape.hook,
        duration_ms=_spread(call.duration_ms, duration, shape.duration_sd),
        peak_khz=peak - knee,
        spread_octaves=shape.spread_octaves,
        attack=shape.attack,
        release=shape.release,
    )


def _spread(given: tuple[float, float] | None, mean: float, share: float) -> Spread:
    """What is usual is two standard deviations to either side; of a mean alone, they are this share of it."""
    if given is None or given[0] == given[1]:
        return spread_of(mean, share)
    sd = (given[1] - given[0]) / 4
    return Spread(mean, sd, max(given[0] - sd, 0.2 * mean), given[1] + sd)
