"""Names of species as a person types them."""

from collections.abc import Iterable

from batcache.errors import ReviewError, did_you_mean, shorten
from batcache.manifest.table import is_reserved

_LONGEST = 80


def read_names(typed: str, known: Iterable[str], *, is_sure: bool = False) -> tuple[str, ...]:
    """The species in a text, separated by ``;``; letters' case counts nothing where a name is known.

    A name that is not known is taken where it is_sure that it is meant.

    Raises:
        ReviewError: no name, one that cannot be the name of a column, or one that is not known.
    """
    by_lower = {name.lower(): name for name in known}
    names = []
    for part in filter(None, (" ".join(part.split()) for part in typed.split(";"))):
        name = by_lower.get(part.lower(), part)
        if name not in by_lower.values():
            if len(name) > _LONGEST or not name.isprintable() or is_reserved(name.lower()):
                raise ReviewError("species", f"{shorten(ascii(name))} cannot be a species' name", "Type another")
            if not is_sure:
                finding = f"{name} is not a species that is known"
                raise ReviewError("species", finding, did_you_mean(name, by_lower.values(), _AS_NEW))
        names.append(name)
    if not names:
        raise ReviewError("species", "no name", "Type one")
    return tuple(dict.fromkeys(names))


_AS_NEW = "Press Enter again to take it as a new one"
