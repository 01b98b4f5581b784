"""Species as codes, as other programs take them, and what is written where there is none.

A species is found by any of its names, and gets the code that follows from its Latin one: PIPPIP of six letters, as
Kaleidoscope and most tables in Europe have it, PIPI of four, as NABat has it.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable

from batcache.inference.verdicts import NO_BAT
from batcache.species.codes import six_letter_code
from batcache.species.resolve import shipped_names
from batcache.survey.judged import Recording

NO_ID, NOISE = "NoID", "Noise"
_BINOMIAL = re.compile(r"([A-Z][a-zë]+) ([a-z-]+)")


def to_codes(species: Iterable[str], code: Callable[[str], str] = six_letter_code) -> dict[str, str]:
    """The code of each species, by the name as it is given; of two with the same code, both keep their names.

    What is no species that is known, nor a name of two words, as Latin ones are, stands as it is.

    >>> to_codes(["Pipistrellus pipistrellus", "Noctule", "Sixty"])
    {'Pipistrellus pipistrellus': 'PIPPIP', 'Noctule': 'NYCNOC', 'Sixty': 'Sixty'}
    """
    names = list(dict.fromkeys(species))
    latin = {name: shipped_names().latin(name) or name for name in names}
    codes = {name: code(latin[name]) if _BINOMIAL.fullmatch(latin[name]) else name for name in names}
    often = Counter(codes.values())
    return {name: name if often[code] > 1 else code for name, code in codes.items()}


def say_nothing(recording: Recording) -> str:
    """What a recording without a species is called: noise where there is no bat, else not identified.

    A model that does not say whether there is a bat leaves it not identified, and so is a group of species.
    """
    return NOISE if recording.verdict == NO_BAT else NO_ID


def say_manual(manual: tuple[str, ...], codes: dict[str, str]) -> list[str]:
    """What a person found, as codes; noise where that was no bat."""
    return [codes.get(name) or to_codes([name])[name] for name in manual] or [NOISE]
