"""Species as codes of six letters, as Kaleidoscope and most tables in Europe write them: PIPPIP, MYODAU.

Genus and species give three letters each. What is no name of two words stands as it is.
"""

import re
from collections import Counter
from collections.abc import Iterable

from batcache.inference.verdicts import NO_BAT
from batcache.survey.judged import Recording

NO_ID, NOISE = "NoID", "Noise"
_BINOMIAL = re.compile(r"([A-Z][a-zë]+) ([a-z-]+)")


def six_letters(species: Iterable[str]) -> dict[str, str]:
    """The code of each species; of two with the same code, both keep their names.

    >>> six_letters(["Pipistrellus pipistrellus", "Sixty"])
    {'Pipistrellus pipistrellus': 'PIPPIP', 'Sixty': 'Sixty'}
    """
    names = list(dict.fromkeys(species))
    matches = {name: _BINOMIAL.fullmatch(name) for name in names}
    codes = {name: name if m is None else (m[1][:3] + m[2][:3]).upper() for name, m in matches.items()}
    often = Counter(codes.values())
    return {name: name if often[code] > 1 else code for name, code in codes.items()}


def say_nothing(recording: Recording) -> str:
    """What a recording without a species is called: noise where there is no bat, else not identified.

    A model that does not say whether there is a bat leaves it not identified, and so is a group of species.
    """
    return NOISE if recording.verdict == NO_BAT else NO_ID


def say_manual(manual: tuple[str, ...], codes: dict[str, str]) -> list[str]:
    """What a person found, as codes; noise where that was no bat."""
    return [six_letters([name])[name] if name not in codes else codes[name] for name in manual] or [NOISE]
