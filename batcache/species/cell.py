"""Several names in one cell of a table, or in one line that a person has typed."""


def split_names(cell: str, separators: str = ";|,+&") -> tuple[str, ...]:
    """The names in one cell; words that say that there are none leave it empty.

    >>> split_names("Pippip; Nycnoc"), split_names("-"), split_names("Myotis mystacinus/brandtii")
    (('Pippip', 'Nycnoc'), (), ('Myotis mystacinus/brandtii',))
    """
    for separator in separators[1:]:
        cell = cell.replace(separator, separators[0])
    parts = (" ".join(part.split()) for part in cell.split(separators[0]))
    return tuple(dict.fromkeys(part for part in parts if part.strip("-–.? ").lower() not in _NO_NAME))


_NO_NAME = frozenset({"", "na", "n/a", "nan", "none", "null"})
