"""Another program's table of which species are in which recordings, for a second opinion.

A CSV with a column that names recordings (``path``, ``filename`` or ``IN FILE``, then with ``FOLDER``) and one that
names species (``AUTO ID``, ``species`` or ``MANUAL ID``); a ``*`` behind a header counts nothing. A cell may name
several. They are called as the model calls them, or by any name in the table of names: Latin, in words, codes of six or
four letters. A group leaves open which of its members is there; ``NoID`` and ``Noise`` name nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from batcache.errors import ReviewError, count, list_some
from batcache.manifest.table import place_of, read_table
from batcache.species.cell import split_names
from batcache.species.listed import names_of
from batcache.species.resolve import Resolved
from batcache.storage.spreadsheet import as_written

_FILES = ("path", "filename", "in file")
_SPECIES = ("auto id", "species", "manual id")
_REMEDY = "Correct them, or write them as the model does: `batcache info` lists its species"


@dataclass(frozen=True)
class OtherTable:
    """What the other program says of each recording, by its place in the predictions.

    Attributes:
        species_of: the species that are there.
        groups_of: the members of each group, one of which is there.
        notes: rows that are of no recording here, and what of the names is to be known.
    """

    species_of: Mapping[int, frozenset[str]]
    groups_of: Mapping[int, tuple[frozenset[str], ...]]
    notes: tuple[str, ...]


def read_other(path: Path, recordings: Sequence[str], species: Sequence[str]) -> OtherTable:
    """Read another program's table on these recordings.

    Raises:
        ManifestError: it cannot be read, or holds names that mean nothing or several species. ReviewError: it lacks a
            column, or names none of the recordings.
    """
    columns, _, rows = read_table(path)
    at = {name.replace("*", "").strip().lower(): position for name, position in columns.items()}
    file, named = (next((at[name] for name in names if name in at), None) for names in (_FILES, _SPECIES))
    if file is None or named is None:
        wanted = "a recording (path, filename or IN FILE)" if file is None else "species (AUTO ID or species)"
        raise ReviewError(place_of(path, 1), f"no column names {wanted}", "Rename one")
    folder = at.get("folder") if file == at.get("in file") else None
    place = _find_places(recordings)
    said: dict[int, tuple[str, ...]] = {}
    first: dict[str, str] = {}
    unmatched: list[str] = []
    for line, cells in rows:
        if len(cells) != len(columns):
            raise ReviewError(place_of(path, line), f"{len(cells)} cells, the header has {len(columns)}", "Correct it")
        name = as_written(cells[file].strip()).replace("\\", "/")
        within = cells[folder].strip().replace("\\", "/").strip("/") if folder is not None else ""
        at_place = place.get(f"{within}/{name}" if within else name, place.get(PurePosixPath(name).name))
        if at_place is None:
            unmatched.append(name)
            continue
        given = split_names(as_written(cells[named]))
        said[at_place] = said.get(at_place, ()) + given
        first = dict.fromkeys(given, f"line {line}") | first
    if not said:
        finding = f"names none of the recordings that were judged ({list_some(unmatched)})"
        raise ReviewError(path, finding, "Pass a table of the same recordings")
    resolved = names_of(tuple(species)).resolve(first, species, path, _REMEDY)
    entries = {clip: [resolved.entries[name] for name in names] for clip, names in said.items()}
    there = {clip: frozenset(one.name for one in of if one.kind == "species") for clip, of in entries.items()}
    groups = {clip: tuple(one.members for one in of if one.kind == "group") for clip, of in entries.items()}
    unknown = frozenset().union(*there.values()).difference(species)
    return OtherTable(there, groups, tuple(_list_notes(path, unmatched, unknown, resolved)))


def _find_places(recordings: Sequence[str]) -> dict[str, int]:
    """Where each recording stands, by its path, and by the end of it where that is unique."""
    ends: dict[str, list[int]] = {}
    for i, path in enumerate(recordings):
        parts = path.split("/")
        for first in range(1, len(parts)):
            ends.setdefault("/".join(parts[first:]), []).append(i)
    unique = {end: where[0] for end, where in ends.items() if len(where) == 1}
    return unique | {path: i for i, path in enumerate(recordings)}


def _list_notes(path: Path, unmatched: Sequence[str], unknown: Iterable[str], resolved: Resolved) -> Iterable[str]:
    if unmatched:
        yield f"{count(len(unmatched), 'row')} of {path} not among the recordings judged: {list_some(unmatched)}"
    if names := sorted(unknown):
        yield f"{path} names what the model does not know: {list_some(names)}"
    if decided := [f"{name} is {species}" for name, species in resolved.decided.items()]:
        yield f"names in {path} that several species have, by those that the model knows: {list_some(decided)}"
