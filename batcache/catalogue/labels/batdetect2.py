"""BatDetect2's JSON, one a recording, or a list of them as its annotations are kept; and its CSV, one a recording.

Times are the file's divided by ``time_exp``, the factor that the program was told. The CSV does not say it, so times of
a CSV are left out.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from batcache.catalogue.labels.label import Label
from batcache.catalogue.labels.sheet import Sheet
from batcache.errors import ManifestError
from batcache.species.cell import split_names

_GENERIC = frozenset({"bat", "echolocation", "unknown", "generic"})


def fits(content: Any) -> bool:
    """Whether it is one recording's annotations, or a list of these."""
    one = content[0] if isinstance(content, list) and content else content
    return isinstance(one, dict) and "id" in one and isinstance(one.get("annotation"), list)


def read(path: Path, content: Any) -> Iterator[Label]:
    """A label for each call; one without a name for a recording without calls."""
    for number, recording in enumerate(content if isinstance(content, list) else [content]):
        place = f"{path} recording {number + 1}" if isinstance(content, list) else str(path)
        try:
            yield from _read(recording, place)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            finding = f"not as BatDetect2 writes it ({type(error).__name__}: {error})"
            raise ManifestError(place, finding, "Export it again") from None


def _read(recording: Any, place: str) -> Iterator[Label]:
    file, expansion = str(recording["id"]), float(recording.get("time_exp") or 1)
    by_program = not recording.get("annotated", False)
    for call in recording["annotation"]:
        names = _read_class(str(call["class"]))
        start, end = float(call["start_time"]), float(call["end_time"])
        yield Label(file, names, place, start, end, expansion, by_program=by_program)
    if not recording["annotation"]:
        names = ("Noise",) if recording.get("annotated") else ()
        yield Label(file, names, place, by_program=by_program)


def fits_table(sheet: Sheet) -> bool:
    """Whether it is one recording's detections as CSV."""
    return {"det_prob", "start_time", "end_time", "class"} <= sheet.columns.keys()


def read_table(sheet: Sheet) -> Iterator[Label]:
    """A label for each call, of the recording that the table's name tells: ``a.wav.csv``."""
    for row in sheet.rows():
        yield Label(sheet.path.stem, _read_class(row["class"]), row.place, by_program=True)


def _read_class(text: str) -> tuple[str, ...]:
    return tuple("Bat" if name.lower() in _GENERIC else name for name in split_names(text))
