"""The strongest pulses of a part of a clip, for the page: measured as those of the table of predictions."""

from dataclasses import dataclass

from batcache.features.call_measures import CallMeter
from batcache.reviewing.recordings import Span

MOST = 6


@dataclass(frozen=True)
class Pulse:
    """A short sound: its loudest moment in true seconds of the recording, its peak frequency, and how long it lasts."""

    at_s: float
    peak_khz: float
    duration_ms: float


def find_strongest(span: Span) -> tuple[Pulse, ...]:
    """The strongest pulses, in the order of time; none where the features are not PCEN."""
    if span.features.compression != "pcen" or len(span.frames) < 2:
        return ()
    meter = CallMeter(span.features, MOST)
    meter.add(span.frames[None])
    per_second = span.features.frames_per_second
    return tuple(
        Pulse(span.start_s + call.frame / per_second, call.peak_hz / 1000, 1000 * call.frames / per_second)
        for call in sorted(meter.find_calls(), key=lambda call: call.frame)
    )
