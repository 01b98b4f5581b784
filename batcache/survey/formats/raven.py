"""Raven's selection tables: one a recording, and one for all that are opened together.

Tab-separated, the species in ``Annotation``, which Raven Lite shows. Times and frequencies are those of the file's
header, as Raven reads it: of a recording that was expanded ten times, ten times as long and a tenth as high. A
recording without a selection has a table of a header alone.

``all.txt`` is for recordings that Raven has opened in one sequence, in the order of ``sequence.txt``: its times run on
through all of them, those without a selection too. A recording that batcache could not read is not in it, and is not to
be opened with the others.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from batcache.storage.disk import write_file
from batcache.survey.formats.spans import Span, find_spans
from batcache.survey.formats.written import Written, check_cell
from batcache.survey.judged import Judged, Recording

_BEGIN = (
    "Selection", "View", "Channel", "Begin Time (s)", "End Time (s)", "Low Freq (Hz)", "High Freq (Hz)",
)  # fmt: skip
_END = ("Annotation", "Score", "Evidence", "Manual ID")
COLUMNS = (*_BEGIN, *_END)
COLUMNS_OF_ALL = (*_BEGIN, "Begin File", "Begin Path", "File Offset (s)", *_END)
ENDING = ".selections.txt"


def write_raven(judged: Judged, folder: Path) -> Written:
    """Write ``<recording>.selections.txt`` for each, ``all.txt`` and ``sequence.txt``.

    Raises:
        SurveyError: a path or a species' name with a tab or a line break.
        OSError: the disk refuses.
    """
    all_rows: list[list[str]] = []
    before_s, paths = 0.0, []
    for recording in judged.recordings:
        spans = find_spans(judged, recording)
        rows = [[*_begin(span, recording, 0.0), *_end(span, recording)] for span in spans]
        _write(folder / f"{recording.path}{ENDING}", COLUMNS, rows)
        name, path = PurePosixPath(recording.path).name, str(Path(judged.root) / recording.path)
        for span in spans:
            offset = f"{span.start_s * recording.time_expansion:.6f}"
            all_rows.append(
                [*_begin(span, recording, before_s), name, path, offset, *_end(span, recording)]
            )  # fmt: skip
        before_s += recording.duration_s * recording.time_expansion
        paths.append(check_cell(folder, path))
    _write(folder / "all.txt", COLUMNS_OF_ALL, all_rows)
    write_file(folder / "sequence.txt", "".join(f"{path}\n" for path in paths).encode())
    return Written(folder, len(judged.recordings) + 2)


def _begin(span: Span, recording: Recording, before_s: float) -> Iterator[str]:
    """View to High Freq, by the header's clock; the whole band where no frequency is claimed."""
    slowed = recording.time_expansion
    low_hz = 0.0 if span.low_hz is None else span.low_hz
    high_hz = recording.rate / 2 if span.high_hz is None else span.high_hz
    yield from ("Spectrogram 1", "1")
    yield from (f"{before_s + at * slowed:.6f}" for at in (span.start_s, span.end_s))
    yield from (f"{hz / slowed:.1f}" for hz in (low_hz, high_hz))


def _end(span: Span, recording: Recording) -> Iterator[str]:
    yield span.label
    yield from ("" if value is None else f"{value:.4f}" for value in (span.score, span.evidence))
    yield "" if recording.manual is None else "; ".join(recording.manual) or "no bat"


def _write(path: Path, columns: Iterable[str], rows: Iterable[list[str]]) -> None:
    lines = [list(columns), *([str(number), *row] for number, row in enumerate(rows, 1))]
    write_file(path, "".join("\t".join(check_cell(path, cell) for cell in line) + "\n" for line in lines).encode())
