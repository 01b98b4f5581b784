"""Codes of species that follow from the Latin name. Exceptions stand in ``names.csv``."""


def six_letter_code(latin: str) -> str:
    """Three letters of the genus and three of the species, as Kaleidoscope writes.

    >>> six_letter_code("Pipistrellus pygmaeus")
    'PIPPYG'
    """
    genus, species = latin.split()[:2]
    return (genus[:3] + species[:3]).upper()


def nabat_code(latin: str) -> str:
    """Two letters of each, as the North American Bat Monitoring Program writes; one species has another.

    >>> nabat_code("Eptesicus fuscus"), nabat_code("Myotis auriculus")
    ('EPFU', 'MYAR')
    """
    genus, species = latin.split()[:2]
    return _NABAT_EXCEPTIONS.get(latin, (genus[:2] + species[:2]).upper())


def european_code(latin: str) -> str:
    """One letter of the genus and three of the species.

    >>> european_code("Myotis daubentonii")
    'Mdau'
    """
    genus, species = latin.split()[:2]
    return genus[:1].upper() + species[:3].lower()


_NABAT_EXCEPTIONS = {"Myotis auriculus": "MYAR"}  # MYAU is Myotis austroriparius
