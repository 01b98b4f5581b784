"""Another program's table of which species are in which recordings, for a second opinion.

A CSV with a column that names recordings (``path``, ``filename`` or ``IN FILE``, then with ``FOLDER``) and one that
names species (``AUTO ID``, ``species`` or ``MANUAL ID``); a ``*`` behind a header counts nothing. A cell may name
several species, separated by ``;``. Species are named as the model names them, or by the first letters of both names:
``PIPPIP`` or ``PIPI``. ``NoID`` and ``Noise`` are no species.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from batcache.errors import ReviewError, count, list_some
from batcache.manifest.table import place_of, read_table
from batcache.storage.spreadsheet import as_written

_FILES = ("path", "filename", "in file")
_SPECIES = ("auto id", "species", "manual id")
_NO_SPECIES = {"", "noid", "no id", "noise", "none"}


@dataclass(frozen=True)
class OtherTable:
    """What the other program says: species of each recording, by its place in the predictions.

    ``notes`` say which rows and names were not understood.
    """

    species_of: Mapping[int, frozenset[str]]
    notes: tuple[str, ...]


def read_other(path: Path, recordings: Sequence[str], species: Sequence[str]) -> OtherTable:
    """Read another program's table on these recordings.

    Raises:
        ManifestError: it cannot be read. ReviewError: it lacks a column, or names none of the recordings.
    """
    columns, _, rows = read_table(path)
    at = {name.replace("*", "").strip().lower(): position for name, position in columns.items()}
    file, named = (next((at[name] for name in names if name in at), None) for names in (_FILES, _SPECIES))
    if file is None or named is None:
        wanted = "a recording (path, filename or IN FILE)" if file is None else "species (AUTO ID or species)"
        raise ReviewError(place_of(path, 1), f"no column names {wanted}", "Rename one")
    folder = at.get("folder") if file == at.get("in file") else None
    place, known = _find_places(recordings), _find_names(species)
    found: dict[int, frozenset[str]] = {}
    unmatched: list[str] = []
    unknown: dict[str, None] = {}
    for line, cells in rows:
        if len(cells) != len(columns):
            raise ReviewError(place_of(path, line), f"{len(cells)} cells, the header has {len(columns)}", "Correct it")
        name = as_written(cells[file].strip()).replace("\\", "/")
        within = cells[folder].strip().replace("\\", "/").strip("/") if folder is not None else ""
        at_place = place.get(f"{within}/{name}" if within else name, place.get(PurePosixPath(name).name))
        if at_place is None:
            unmatched.append(name)
            continue
        given = {one.strip() for one in as_written(cells[named]).split(";")}
        there = {known.get(one.lower(), one) for one in given if one.lower() not in _NO_SPECIES}
        unknown |= dict.fromkeys(there.difference(species))
        found[at_place] = found.get(at_place, frozenset()) | there
    if not found:
        finding = f"names none of the recordings that were judged ({list_some(unmatched)})"
        raise ReviewError(path, finding, "Pass a table of the same recordings")
    return OtherTable(found, tuple(_list_notes(path, unmatched, unknown)))


def _find_places(recordings: Sequence[str]) -> dict[str, int]:
    """Where each recording stands, by its path, and by the end of it where that is unique."""
    ends: dict[str, list[int]] = {}
    for i, path in enumerate(recordings):
        parts = path.split("/")
        for first in range(1, len(parts)):
            ends.setdefault("/".join(parts[first:]), []).append(i)
    unique = {end: where[0] for end, where in ends.items() if len(where) == 1}
    return unique | {path: i for i, path in enumerate(recordings)}


def _find_names(species: Sequence[str]) -> dict[str, str]:
    """The model's name by each way to write it, in lower case; codes that two species share are left out."""
    codes: dict[str, set[str]] = {}
    for name in species:
        genus, _, rest = name.partition(" ")
        for length in (2, 3):
            codes.setdefault((genus[:length] + rest[:length]).lower(), set()).add(name)
    return {code: next(iter(of)) for code, of in codes.items() if len(of) == 1} | {n.lower(): n for n in species}


def _list_notes(path: Path, unmatched: Sequence[str], unknown: Iterable[str]) -> Iterable[str]:
    if unmatched:
        yield f"{count(len(unmatched), 'row')} of {path} not among the recordings judged: {list_some(unmatched)}"
    if names := sorted(unknown):
        yield f"{path} names what the model does not know: {list_some(names)}"
