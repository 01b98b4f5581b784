"""Where in a recording a species is found: half seconds of evidence, joined where they touch."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from batcache.inference.verdicts import UNKNOWN_BAT
from batcache.survey.formats.codes import NO_ID
from batcache.survey.judged import Judged, Recording


@dataclass(frozen=True)
class Span:
    """A stretch of a recording, in true seconds, and what is said to be in it.

    ``score`` is the recording's, ``evidence`` the highest of the stretch; None where there is none. ``low_hz`` and
    ``high_hz`` are those of the recording's strongest calls, where they are known to be of this species. ``is_manual``
    is what only a person found.
    """

    label: str
    start_s: float
    end_s: float
    score: float | None = None
    evidence: float | None = None
    low_hz: float | None = None
    high_hz: float | None = None
    is_manual: bool = False


def find_spans(judged: Judged, recording: Recording) -> list[Span]:
    """The spans of a recording, species by species, the highest score first.

    A species is where its evidence reaches its threshold, or, where it nowhere does, in the instance with the most. A
    group, an unknown bat, and a species that only a person found are somewhere in the whole recording.
    """
    spans = [span for name in recording.species for span in _spans_of(judged, recording, name)]
    whole = [*recording.groups, *([NO_ID] if recording.verdict == UNKNOWN_BAT else [])]
    manual = [name for name in recording.manual or () if name not in recording.species]
    spans += [Span(name, 0.0, recording.duration_s) for name in whole]
    return spans + [Span(name, 0.0, recording.duration_s, is_manual=True) for name in manual]


def _spans_of(judged: Judged, recording: Recording, species: str) -> Iterator[Span]:
    says, column = judged.predictions, list(judged.thresholds).index(species)
    instances = slice(says.offsets[recording.row], says.offsets[recording.row + 1])
    evidence = np.nan_to_num(says.evidence[instances, column].astype(np.float32))
    reaching = evidence >= judged.thresholds[species]
    if not reaching.any():
        reaching[evidence.argmax()] = True
    low_hz = high_hz = None
    if recording.calls is not None and len(recording.species) == 1:
        low_hz, high_hz = recording.calls.lowest_khz * 1000, recording.calls.highest_khz * 1000
    start_s, end_s = says.evidence_start_s[instances], says.evidence_end_s[instances]
    for first, last in _runs(reaching):
        yield Span(
            label=species,
            start_s=float(start_s[first]),
            end_s=min(float(end_s[last]), recording.duration_s),
            score=judged.score(recording, species),
            evidence=float(evidence[first : last + 1].max()),
            low_hz=low_hz,
            high_hz=high_hz,
        )


def _runs(reaching: NDArray[np.bool_]) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(reaching.astype(np.int8), prepend=0, append=0))
    return [(int(first), int(end) - 1) for first, end in zip(edges[::2], edges[1::2], strict=True)]
