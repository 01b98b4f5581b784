"""Names of species as a person types them."""

from collections.abc import Iterable

from batcache.errors import ReviewError, shorten
from batcache.manifest.table import is_reserved
from batcache.species.listed import names_of

_LONGEST = 80
_AS_NEW = "Press Enter again to take it as a new one"


def read_names(typed: str, known: Iterable[str], *, is_sure: bool = False) -> tuple[str, ...]:
    """The species in a text, separated by ``;``, as they are known here, else by their Latin names.

    A group, and a name that means nothing, are taken where it is_sure that they are meant.

    Raises:
        ReviewError: no name, one that cannot be the name of a column, that is no bat's or several bats', or, where it
            is not sure, one that is not known.
    """
    listed = tuple(known)
    parts = filter(None, (" ".join(part.split()) for part in typed.split(";")))
    names = tuple(dict.fromkeys(_read_name(part, listed, is_sure=is_sure) for part in parts))
    if not names:
        raise ReviewError("species", "no name", "Type one")
    return names


def _read_name(part: str, listed: tuple[str, ...], *, is_sure: bool) -> str:
    by_lower = {name.lower(): name for name in listed}
    if part.lower() in by_lower:
        return by_lower[part.lower()]
    if len(part) > _LONGEST or not part.isprintable() or is_reserved(part.lower()):
        raise ReviewError("species", f"{shorten(ascii(part))} cannot be a species' name", "Type another")
    names = names_of(listed)
    found = names.find(part)
    if len(found) > 1:
        either = ", ".join(entry.name for entry in found)
        raise ReviewError("species", f"{part} is either of {either}", "Type the one that is meant")
    entry = found[0] if found else None
    if entry is not None and entry.kind in ("noise", "no id"):
        raise ReviewError("species", f"{part} is no species", "Answer no bat, or unsure")
    if not is_sure and (entry is None or entry.kind != "species"):
        near = names.nearest(part) if entry is None else None
        finding = f"{part} is not a species that is known" if entry is None else f"{part} is a group of species"
        raise ReviewError("species", finding, f"Did you mean {near}? {_AS_NEW}" if near else _AS_NEW)
    return part if entry is None else entry.name
