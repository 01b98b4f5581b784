"""What the names of a list, as of a model's species or a table's columns, are called by others."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import lru_cache

from batcache.species.resolve import Names, key_of, shipped_names
from batcache.species.table import Entry, read_entries


@lru_cache(maxsize=8)
def names_of(listed: tuple[str, ...]) -> Names:
    """Names that are found as the list writes them, before others that are called so.

    Whatever is listed counts as a species, also what the table that ships knows as a group or as noise. Members of
    groups are named as listed too.
    """
    own = list(_as_listed(listed))
    shipped = shipped_names()
    latin = {shipped.latin(name): name for name in listed}
    entries = [
        replace(entry, members=entry.members | {name for of, name in latin.items() if of in entry.members})
        for entry in read_entries()
    ]
    return Names([*entries, *own])


def _as_listed(listed: Iterable[str]) -> Iterator[Entry]:
    """An entry for each listed name, with all words of what the table knows by it, but not with other listed names."""
    taken = {key_of(name) for name in listed}
    for name in listed:
        found = shipped_names().find(name)
        words = (found[0].name, *found[0].words) if len(found) == 1 else ()
        yield Entry("species", name, tuple(word for word in words if key_of(word) not in taken), own=True)
