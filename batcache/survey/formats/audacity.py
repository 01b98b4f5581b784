"""Audacity's label files, one a recording, in the extended form that has frequencies.

A label is two lines: start and end in seconds with the text, then a backslash with the lowest and the highest frequency
in Hz, -1 where none is claimed. Both are those of the file's header, as Audacity reads it. The text is the species and
the recording's score. What a person found is a label of its own, over the whole recording. A recording without a label
has an empty file.
"""

from pathlib import Path

from batcache.storage.disk import write_file
from batcache.survey.formats.spans import Span, find_spans
from batcache.survey.formats.written import Written, check_cell
from batcache.survey.judged import Judged, Recording

UNDEFINED = -1.0


def write_audacity(judged: Judged, folder: Path) -> Written:
    """Write ``<recording>.txt`` for each.

    Raises:
        SurveyError: a species' name with a tab or a line break.
        OSError: the disk refuses.
    """
    for recording in judged.recordings:
        path = folder / f"{recording.path}.txt"
        spans = [span for span in find_spans(judged, recording) if not span.is_manual]
        if recording.manual is not None:
            found = "; ".join(recording.manual) or "no bat"
            spans.append(Span(f"Manual ID: {found}", 0.0, recording.duration_s))
        labels = [_label(path, span, recording) for span in spans]
        write_file(path, "".join(labels).encode())
    return Written(folder, len(judged.recordings))


def _label(path: Path, span: Span, recording: Recording) -> str:
    slowed = recording.time_expansion
    text = check_cell(path, span.label if span.score is None else f"{span.label} {span.score:.2f}")
    low, high = (UNDEFINED if hz is None else hz / slowed for hz in (span.low_hz, span.high_hz))
    return f"{span.start_s * slowed:.6f}\t{span.end_s * slowed:.6f}\t{text}\n\\\t{low:.6f}\t{high:.6f}\n"
