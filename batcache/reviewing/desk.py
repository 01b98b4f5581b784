"""What the page may ask for: questions, answers, pictures, sound, measures."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import lru_cache
from typing import Any

from batcache.errors import ReviewError
from batcache.evaluation.report.slow import slow_down
from batcache.reviewing.asking import Asking
from batcache.reviewing.picture import draw_png, find_axis, find_shades
from batcache.reviewing.recordings import LONGEST_S, Recordings, Span
from batcache.reviewing.said import PARTS, Part
from batcache.reviewing.server import Content, as_json
from batcache.reviewing.strongest import find_strongest

SLOWER = (5, 10, 20)
_SPANS_HELD = 6


class Desk:
    """Answers the page's requests about some predictions.

    Args:
        asking: questions and answers.
        recordings: what clips look and sound like.
        end: ends the review.
    """

    def __init__(self, asking: Asking, recordings: Recordings, end: Callable[[], None]) -> None:
        self._asking, self._recordings, self._end = asking, recordings, end
        self.gets = {
            "state": self._state, "next": self._next, "span": self._span, "picture": self._picture, "sound": self._sound
        }  # fmt: skip
        self.posts = {"answer": self._answer, "undo": self._undo, "names": self._names, "end": self._finish}
        self._read = lru_cache(_SPANS_HELD)(self._read_span)

    def _state(self, query: Mapping[str, str]) -> Content:
        asking = self._asking
        parts, slower = asking.questions.parts, SLOWER
        about = {"title": asking.judged.title, "species": asking.species, "parts": parts, "slower": slower}
        return as_json({**about, **asking.ask()})

    def _next(self, query: Mapping[str, str]) -> Content:
        return as_json(self._asking.ask(_read_part(query.get("part"))))

    def _answer(self, said: Mapping[str, Any]) -> Content:
        self._asking.reply(said)
        return as_json({**self._asking.ask(_read_part(said.get("part"))), "species": self._asking.species})

    def _undo(self, said: Mapping[str, Any]) -> Content:
        undone = self._asking.undo()
        return as_json({**undone, "species": self._asking.species})

    def _names(self, said: Mapping[str, Any]) -> Content:
        return as_json({"names": self._asking.check_names(str(said.get("typed", "")), said.get("sure") is True)})

    def _finish(self, said: Mapping[str, Any]) -> Content:
        self._end()
        return as_json({"table": str(self._asking.journal.table_file), "answers": self._asking.journal.answers})

    def _read_span(self, clip: int, begin_s: float) -> Span:
        """The span of a clip that begins there, no longer than what is looked at at a time."""
        judged = self._asking.judged
        start = float(judged.predictions.start_s[clip])
        left = start + judged.seconds(clip) - begin_s
        return self._recordings.read_span(judged.paths[clip], begin_s, min(left, LONGEST_S))

    def _find_span(self, query: Mapping[str, str]) -> tuple[int, Span]:
        """A clip, and the span of it that holds a moment: a clip is cut into spans from its beginning on."""
        judged, clip, at = self._asking.judged, int(query["clip"]), float(query["at"])
        if not 0 <= clip < len(judged.paths):
            raise ReviewError(f"clip {clip}", "no such clip", "Load the page again")
        start, seconds = float(judged.predictions.start_s[clip]), judged.seconds(clip)
        cut = int(min(max(at - start, 0.0), max(seconds - 1e-6, 0.0)) / LONGEST_S)
        return clip, self._read(clip, start + cut * LONGEST_S)

    def _span(self, query: Mapping[str, str]) -> Content:
        _, span = self._find_span(query)
        axis = find_axis(span.features)
        pulses = [asdict(pulse) for pulse in find_strongest(span)]
        about = {"start_s": span.start_s, "seconds": span.seconds, "pulses": pulses, "axis": asdict(axis)}
        return as_json({**about, "frame_ms": 1000 / span.features.frames_per_second})

    def _picture(self, query: Mapping[str, str]) -> Content:
        _, span = self._find_span(query)
        shades = find_shades(span)
        return "image/png", draw_png(span.cut(float(query["from"]), float(query["to"])), *shades)

    def _sound(self, query: Mapping[str, str]) -> Content:
        clip, begin, end = int(query["clip"]), float(query["from"]), float(query["to"])
        slower = int(query.get("slower", SLOWER[1]))
        if slower not in SLOWER or not 0 <= clip < len(self._asking.judged.paths):
            raise ReviewError("sound", "not offered", "Load the page again")
        path, row = self._recordings.find_file(self._asking.judged.paths[clip])
        from_hz = self._find_span({"clip": str(clip), "at": str(begin)})[1].features.fmin
        seconds = min(max(end - begin, 0.001), LONGEST_S)
        return "audio/wav", slow_down(path, row, max(0.0, begin), seconds, from_hz, slower)


def _read_part(named: object) -> Part | None:
    """The part of this name; None for whatever comes first."""
    return named if named in PARTS else None
