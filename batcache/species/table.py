"""The table of names: ``names.csv`` of this room, and tables of the user's own with the same columns."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Literal, get_args

from batcache.errors import ManifestError, brief, did_you_mean, quote
from batcache.species.codes import european_code, nabat_code, six_letter_code

Kind = Literal["species", "group", "no id", "noise"]
_COLUMNS = ("kind", "name", "synonyms", "english", "german", "french", "codes", "not_codes", "members")
_NEEDED = ("kind", "name")
_EVERY = "*"


@dataclass(frozen=True)
class Entry:
    """Something that a recording may be labelled with.

    Attributes:
        kind: a species; a group, whose members cannot be told apart; ``no id``, a bat or nothing that could be named;
            ``noise``, no bat at all.
        name: of a species the Latin one.
        words: everything that it is called, codes included, as written.
        former_codes: those of earlier Latin names, which count where no other entry is called so.
        members: of a group, the Latin names of its species.
        own: whether it stands in a table of the user's, whose names win.
    """

    kind: Kind
    name: str
    words: tuple[str, ...] = ()
    former_codes: tuple[str, ...] = ()
    members: frozenset[str] = frozenset()
    own: bool = False


def read_entries(more: Sequence[Path] = ()) -> list[Entry]:
    """Read the table that ships, then the tables ``more``, and add a group for every genus.

    Raises:
        ManifestError: one of ``more`` cannot be read, lacks a column or has a kind that is unknown.
    """
    shipped = files("batcache.species") / "names.csv"
    rows = list(_rows("names.csv", shipped.read_text(encoding="utf-8").splitlines()))
    shipped_rows = len(rows)
    for path in more:
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ManifestError(path, f"cannot be read ({brief(error)})", "Pass a readable CSV in UTF-8") from None
        rows += _rows(str(path), lines)
    species = [row["name"] for row in rows if row["kind"] == "species"]
    entries = [replace(_entry(row, species), own=number >= shipped_rows) for number, row in enumerate(rows)]
    return entries + list(_genera(species))


def _rows(place: str, lines: Iterable[str]) -> Iterator[dict[str, str]]:
    table = csv.DictReader(line for line in lines if not line.startswith("#"))
    there = table.fieldnames or ()
    for name in there:
        if name not in _COLUMNS:
            raise ManifestError(place, f"column {quote(name)} is not known", did_you_mean(name, _COLUMNS))
    if missing := [name for name in _NEEDED if name not in there]:
        raise ManifestError(place, f"no column {missing[0]}", f"Its columns are {', '.join(_COLUMNS)}")
    for cells in table:
        row = {name: (cells.get(name) or "").strip() for name in _COLUMNS}
        if row["kind"] not in get_args(Kind):
            raise ManifestError(place, f"kind {quote(row['kind'])}", f"It is one of {', '.join(get_args(Kind))}")
        if not row["name"] or (row["kind"] == "species" and len(row["name"].split()) < 2):
            raise ManifestError(place, f"name {quote(row['name'])}", "Of a species, write genus and species")
        yield row


def _entry(row: dict[str, str], species: Sequence[str]) -> Entry:
    words = [word for column in _COLUMNS[1:7] for word in _split(row[column])]
    former: list[str] = []
    if row["kind"] == "species":
        wrong = {code.upper() for code in _split(row["not_codes"])}
        words += (code for code in _codes(row["name"]) if code.upper() not in wrong)
        former += (code for synonym in _split(row["synonyms"]) for code in _codes(synonym))
    members = {name for member in _split(row["members"]) for name in species if _is_member(name, member)}
    return Entry(row["kind"], row["name"], tuple(words), tuple(former), frozenset(members))  # type: ignore[arg-type]


def _codes(latin: str) -> Iterator[str]:
    genus, epithet = latin.split()[:2]
    yield from (six_letter_code(latin), nabat_code(latin), european_code(latin), f"{genus[0]} {epithet}")
    if epithet.endswith("ii"):  # daubentoni: the older spelling
        yield from (f"{genus} {epithet[:-1]}", f"{genus[0]} {epithet[:-1]}")


def _genera(species: Sequence[str]) -> Iterator[Entry]:
    for genus in sorted({name.split()[0] for name in species}):
        short = genus[:3]
        words = [f"{genus}{ending}" for ending in ("", " sp", " spp", " spec", " species", "_sp")]
        words += [f"{short}{ending}" for ending in ("", "sp", "spe", "spp", "spec")]
        members = frozenset(name for name in species if name.split()[0] == genus)
        yield Entry("group", f"{genus} sp.", tuple(words), (), members)


def _is_member(name: str, member: str) -> bool:
    return member in (_EVERY, name, name.split(maxsplit=1)[0])


def _split(cell: str) -> list[str]:
    return [part.strip() for part in cell.split(";") if part.strip()]
