"""Copies of the recordings whose GUANO names the species; the recordings themselves are never opened for writing.

A copy is the recording byte for byte but for its ``guan`` chunk (and the size in its head): samples, WAMD, LIST, bext
and all else stay. Of a GUANO that is there, only the lines ``Species Auto ID``, ``Species Manual ID`` where a person
looked, and two of batcache's own are written, the others stand as they are. Species are codes of six letters, the one
with the highest score first, as some readers take only that. A file beside the copies keeps them from being judged or
listed as recordings when the folder around them is.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from batcache.errors import SurveyError
from batcache.manifest.find_recordings import COPIES
from batcache.storage.disk import replacing, require_room, write_file
from batcache.storage.listing import is_file, is_folder, is_there, list_folder
from batcache.survey.formats.codes import say_manual, say_nothing, to_codes
from batcache.survey.formats.wav_copy import read_layout, write_copy
from batcache.survey.formats.written import Written
from batcache.survey.judged import Judged, Recording

VERSION = "GUANO|Version"
AUTO_ID, MANUAL_ID = "Species Auto ID", "Species Manual ID"
SCORES, MODEL = "batcache|Scores", "batcache|Model"
_NOTE = b"""Copies of recordings, with the species that batcache has found in their GUANO.
While this file lies here, batcache takes them for recordings only where this folder itself is named.
"""


def write_guano(judged: Judged, folder: Path) -> Written:
    """Write a copy of each recording; those that are no WAV are left out, and named.

    Raises:
        SurveyError: the recordings are not where they were judged, or a copy would take a recording's place.
        StoreError: the disk has no room for the copies.
        OSError: the disk refuses.
    """
    sources = _find_sources(judged, folder)
    require_room(folder, sum(path.stat().st_size for path in sources.values()), "Free some space, or pass another -o")
    if not is_folder(folder) or not list_folder(folder, "*"):  # else recordings of one's own may lie there too
        write_file(folder / COPIES, _NOTE)
    codes, left_out = to_codes(judged.thresholds), {}
    for recording in judged.recordings:
        try:
            copy_with_guano(sources[recording.path], folder / recording.path, _lines_of(judged, recording, codes))
        except ValueError as error:
            left_out[recording.path] = str(error)
    return Written(folder, len(sources) - len(left_out), left_out)


def copy_with_guano(source: Path, target: Path, lines: Mapping[str, str]) -> None:
    """Copy a recording with these lines in its GUANO; its time of modification is kept.

    Raises:
        ValueError: it is no WAV, or none that can be written again.
        OSError: the disk refuses.
    """
    with source.open("rb") as original:
        layout = read_layout(original)
        there = b""
        if layout.guano is not None:
            original.seek(layout.guano.start)
            there = original.read(layout.guano.there)
        with replacing(target) as copy:
            write_copy(original, copy, layout, edit_guano(there, lines))
    status = source.stat()
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


def edit_guano(there: bytes, lines: Mapping[str, str]) -> bytes:
    """A GUANO with these lines in the place of those of the same keys, or behind the others.

    >>> edit_guano(b"GUANO|Version: 1.0\\nNote: caf\\xe9\\nSpecies Auto ID: MYLU", {"Species Auto ID": "PIPPIP"})
    b'GUANO|Version: 1.0\\nNote: caf\\xe9\\nSpecies Auto ID: PIPPIP\\n'
    """
    kept = there.rstrip(b"\0 \t\r\n").split(b"\n") if there.strip(b"\0 \t\r\n") else []
    left = {key.encode(): value.encode() for key, value in lines.items()}
    edited: list[bytes] = []
    for line in kept:
        key = line.partition(b":")[0].strip()
        if key in left:
            edited.append(key + b": " + left.pop(key))
        elif key.decode(errors="replace") not in lines:
            edited.append(line)
    if not any(line.startswith(VERSION.encode()) for line in edited):
        edited.insert(0, VERSION.encode() + b": 1.0")
    edited += [key + b": " + value for key, value in left.items()]
    return b"\n".join(edited) + b"\n"


def _find_sources(judged: Judged, folder: Path) -> dict[str, Path]:
    root = Path(judged.root)
    sources = {recording.path: root / recording.path for recording in judged.recordings}
    remedy = "Pass --recordings, the folder where they are now"
    for name, source in sources.items():
        if not is_file(source):
            raise SurveyError(source, "no such recording, of which a copy with GUANO was asked for", remedy)
        if is_there(folder / name) and (folder / name).samefile(source):
            raise SurveyError(source, "would be replaced by its own copy", "Pass another -o")
    return sources


def _lines_of(judged: Judged, recording: Recording, codes: dict[str, str]) -> dict[str, str]:
    found = [codes[name] for name in recording.species]
    lines = {AUTO_ID: _list(found or [say_nothing(recording)])}
    if recording.manual is not None:
        lines[MANUAL_ID] = _list(say_manual(recording.manual, codes))
    scores = [f"{judged.score(recording, name):.4f}" for name in recording.species]
    return lines | {SCORES: ",".join(scores), MODEL: judged.model}


def _list(names: Iterable[str]) -> str:
    """Names separated by commas.

    Raises:
        ValueError: one holds a comma or a line break.
    """
    names = list(names)
    if bad := [name for name in names if "," in name or "\n" in name]:
        raise ValueError(f"the species {bad[0]!r} cannot stand in a list that commas cut")
    return ",".join(names)
