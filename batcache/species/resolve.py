"""Names as people and programs write them, to entries of the table of names.

Letters' case, accents, the Unicode form, apostrophes, hyphens and, behind two words, a final "bat" count nothing. What
several species are called (``MYMY`` is *Myotis myotis* and *Myotis mystacinus* by NABat's rule, and a code of four
letters may follow NABat's rule or the European one) is decided by the species at hand, and reported.
"""

import difflib
import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

from batcache.errors import ManifestError, count, quote
from batcache.species.table import Entry, read_entries

_NOTHING = re.compile(r"[\s\-_–—]+")
_LEFT_OUT = re.compile(r"['’`´.*]")
_COUPLET = re.compile(r"(?:[a-z]{4}){2,4}")
_NEAREST = 0.6
_SLIP = 0.88
_LONG = 8
_REMEDY = "Correct them, say which species there are with --species, or list more names with --names"


@dataclass(frozen=True)
class Resolved:
    """What names mean.

    Attributes:
        entries: by name as written.
        decided: names that several entries have, with that which the species at hand decided for.
    """

    entries: Mapping[str, Entry]
    decided: Mapping[str, str]


class Names:
    """Finds entries by any of their names."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        latest = {(entry.kind, entry.name): entry for entry in entries}  # a table of the user's own comes last
        self._of_key: dict[str, list[Entry]] = {}
        for entry in latest.values():
            for key in {key_of(word) for word in (entry.name, *entry.words)}:
                self._of_key.setdefault(key, []).append(entry)
        taken = set(self._of_key)
        for entry in latest.values():
            for key in {key_of(code) for code in entry.former_codes} - taken:
                self._of_key.setdefault(key, []).append(entry)

    def find(self, text: str) -> tuple[Entry, ...]:
        """The entries that have this name; none, one or several. ``Myotis mystacinus/brandtii`` and couplets of codes
        as ``LABOLASE`` are groups of their own."""
        found = self._of_key.get(key_of(text))
        if found:
            return tuple(entry for entry in found if entry.own) or tuple(found)
        parts = self._alternatives(text)
        if len(parts) < 2:
            return ()
        options = [[entry for entry in self._of_key.get(key_of(part), ()) if entry.kind == "species"] for part in parts]
        if not all(options):
            return ()
        members = frozenset(entry.name for option in options for entry in option)
        return (Entry("group", text.strip(), members=members),) if len(members) > 1 else (options[0][0],)

    def latin(self, text: str) -> str | None:
        """The Latin name of the one species that is called so; None where it is none, or one of several."""
        found = self.find(text)
        return found[0].name if len(found) == 1 and found[0].kind == "species" else None

    def nearest(self, text: str) -> str | None:
        """The known name that is most like one that is not known."""
        near = difflib.get_close_matches(key_of(text), self._of_key, n=1, cutoff=_NEAREST)
        found = self._of_key[near[0]] if near else []
        return next((entry.name for entry in sorted(found, key=lambda entry: not entry.own)), None)

    def is_nearly_known(self, text: str) -> bool:
        """Whether a long name is like a known one in all but a letter or two, as a slip of the pen is."""
        key = key_of(text)
        return len(key) >= _LONG and bool(difflib.get_close_matches(key, self._of_key, n=1, cutoff=_SLIP))

    def resolve(
        self, places: Mapping[str, str], at_hand: Collection[str] = (), place: object = "labels", remedy: str = _REMEDY
    ) -> Resolved:
        """What names mean; ``places`` says where each stands first. ``at_hand`` are names of species.

        Beside ``at_hand``, the species that other names tell without doubt decide what is ambiguous.

        Raises:
            ManifestError: names that are not known, or still ambiguous; all of them, with the nearest of each.
        """
        found = {text: self.find(text) for text in places}
        known = {*at_hand} | {e[0].name for e in found.values() if len(e) == 1 and e[0].kind == "species"}
        entries: dict[str, Entry] = {}
        decided: dict[str, str] = {}
        wrong: list[str] = []
        for text, candidates in found.items():
            here = [entry for entry in candidates if entry.name in known or entry.members & known]
            if len(candidates) == 1 or len(here) == 1:
                entries[text] = here[0] if here else candidates[0]
                if len(candidates) > 1:
                    decided[text] = entries[text].name
            else:
                wrong.append(f"{quote(text)} ({places[text]}: {self._why(text, candidates)})")
        if wrong:
            raise ManifestError(place, f"{count(len(wrong), 'name')} not known: {', '.join(wrong)}", remedy)
        return Resolved(entries, decided)

    def _why(self, text: str, candidates: tuple[Entry, ...]) -> str:
        if candidates:
            return f"either of {', '.join(entry.name for entry in candidates)}"
        near = self.nearest(text)
        return f"did you mean {near}?" if near else "nothing is like it"

    def _alternatives(self, text: str) -> list[str]:
        """``Myotis mystacinus/brandtii`` and ``LABOLASE`` as the names they stand for."""
        parts = [part.strip() for part in text.split("/") if part.strip()]
        if len(parts) > 1:
            genus = parts[0].split()[0]
            return [part if not i or part[:1].isupper() else f"{genus} {part}" for i, part in enumerate(parts)]
        key = key_of(text)
        if _COUPLET.fullmatch(key):
            return [key[start:stop] for start, stop in pairwise(range(0, len(key) + 1, 4))]
        return []


@cache
def shipped_names() -> Names:
    """The names that ship."""
    return Names(read_entries())


def key_of(text: str) -> str:
    """What is left of a name where all that counts nothing is taken away."""
    folded = unicodedata.normalize("NFKD", text.strip().lower()).casefold()
    plain = "".join(c for c in folded if not unicodedata.combining(c))
    plain = _NOTHING.sub(" ", _LEFT_OUT.sub("", plain)).strip()
    stem = plain.removesuffix(" bats").removesuffix(" bat")
    return stem if " " in stem else plain  # a site called Pond is no pond bat
