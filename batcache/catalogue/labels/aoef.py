"""AOEF, the format of soundevent and Whombat: annotations and predictions of recordings, clips and sound events.

Times are true seconds by the ``time_expansion`` that a recording has there.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from batcache.catalogue.labels.label import Label
from batcache.errors import ManifestError, brief

_KEYS = frozenset({"species", "scientific name", "scientificname", "dwc:scientificname", "soundevent:species", "taxon",
                   "class", "label", "code", "common name", "vernacularname"})  # fmt: skip
_LEAST = 0.5
"""Of a prediction's score."""


def fits(content: Any) -> bool:
    """Whether it is an AOEF document."""
    return isinstance(content, dict) and isinstance(content.get("data"), dict) and "collection_type" in content["data"]


def read(path: Path, content: Any) -> Iterator[Label]:
    """A label for each sound event, and for the tags of each clip. Of predictions, those of at least 0.5.

    Raises:
        ManifestError: soundevent is not installed, or does not take the file.
    """
    try:
        from soundevent import io
    except ImportError:
        remedy = "Run `pip install 'batcache[formats]'`"
        raise ManifestError(path, "an AOEF file, which the package soundevent reads", remedy) from None
    try:
        collection = io.load(path)
    except Exception as error:  # foreign code meets arbitrary content: it has raised KeyError, ValueError, TypeError
        finding = f"not an AOEF file that soundevent reads ({brief(error)})"
        raise ManifestError(path, finding, "Export it again") from None
    annotated = getattr(collection, "clip_annotations", None)
    predicted = getattr(collection, "clip_predictions", None)
    if annotated is None and predicted is None:
        kind = content["data"]["collection_type"]
        raise ManifestError(path, f"a {kind}, which says nothing of species", "Export annotations or predictions")
    for clip in annotated or ():
        yield from _read_clip(clip, str(path), by_program=False)
    for clip in predicted or ():
        yield from _read_clip(clip, str(path), by_program=True)


def _read_clip(clip: Any, place: str, *, by_program: bool) -> Iterator[Label]:
    recording = clip.clip.recording
    file, divided_by = Path(recording.path).as_posix(), float(recording.time_expansion or 1)
    said = False
    for one in clip.sound_events:
        names = _names(one.tags)
        start, end = _span(one.sound_event.geometry)
        said |= bool(names)
        yield Label(file, names, place, start, end, divided_by, by_program=by_program)
    names = _names(clip.tags)
    if names or not said:
        yield Label(file, names, place, by_program=by_program)


def _names(tags: Iterable[Any]) -> tuple[str, ...]:
    found = []
    for tag in tags:
        if getattr(tag, "score", 1.0) < _LEAST:
            continue
        plain = getattr(tag, "tag", tag)
        if {str(plain.term.name).lower(), str(plain.term.label).lower()} & _KEYS:
            found.append(str(plain.value))
    return tuple(dict.fromkeys(found))


def _span(geometry: Any) -> tuple[float | None, float | None]:
    """Where a geometry begins and ends."""
    if geometry is None:
        return None, None
    coordinates = geometry.coordinates
    if geometry.type == "TimeStamp":
        times = [coordinates]
    elif geometry.type == "TimeInterval":
        times = list(coordinates)
    elif geometry.type == "BoundingBox":
        times = [coordinates[0], coordinates[2]]
    else:
        times = list(_times(coordinates))
    return float(min(times)), float(max(times))


def _times(points: Any) -> Iterator[float]:
    """The times of points, which are pairs of time and frequency, in lists of any depth."""
    if isinstance(points[0], int | float):
        yield points[0]
    else:
        for inner in points:
            yield from _times(inner)
