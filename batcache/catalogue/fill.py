"""What is said of a recording, as cells of a manifest: present, absent, or not annotated.

- A species that is named is present. The others are absent, or with ``others="unknown"`` not annotated.
- A group leaves its members open: one of them is there, nobody knows which. A group none of whose members has a column
  gets a column of its own. A class of frequencies (LowF, 40k) is no group, but as NoID.
- Noise says that no bat is there: every species is absent. Beside a species it says nothing.
- NoID says that something was there which could not be named: what is not named is not annotated.
- Of a recording that nothing is said of, nothing is annotated.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from batcache.manifest.cells import UNKNOWN
from batcache.species.table import Entry

Others = Literal["absent", "unknown"]


@dataclass
class Said:
    """What all labels of one recording say together."""

    species: set[str] = field(default_factory=set)
    groups: dict[str, frozenset[str]] = field(default_factory=dict)
    noise: bool = False
    no_id: bool = False

    def add(self, entry: Entry) -> None:
        """Take another label in."""
        if entry.kind == "species":
            self.species.add(entry.name)
        elif entry.kind == "group":
            self.groups[entry.name] = entry.members
        elif entry.kind == "noise":
            self.noise = True
        else:
            self.no_id = True

    @property
    def anything(self) -> bool:
        """Whether anything is said at all."""
        return bool(self.species or self.groups or self.noise or self.no_id)


@dataclass(frozen=True)
class Columns:
    """The columns of labels, in their order, and the members of those that are groups."""

    names: tuple[str, ...]
    members: Mapping[str, frozenset[str]]


def choose_columns(said: Iterable[Said], asked: Sequence[str], asked_groups: Mapping[str, frozenset[str]]) -> Columns:
    """The species with a column: those asked for, in their order, then those named; then groups that stand alone."""
    heard = list(said)
    species = dict.fromkeys([*asked, *sorted({name for one in heard for name in one.species} - {*asked})])
    groups = {
        group: members for one in heard for group, members in one.groups.items() if not members & species.keys()
    } | dict(asked_groups)
    return Columns((*species, *sorted(groups.keys() - species.keys())), groups)


def fill(said: Said, columns: Columns, others: Others) -> tuple[int, ...]:
    """The labels of one recording: 1, 0 or ``UNKNOWN``, a column each."""
    named = bool(said.species or said.groups)
    all_told = not said.no_id and (others == "absent" if named else said.noise)
    return tuple(_fill_one(said, name, columns.members.get(name), 0 if all_told else UNKNOWN) for name in columns.names)


def _fill_one(said: Said, name: str, members: frozenset[str] | None, rest: int) -> int:
    if name in said.species or (members and members & said.species):
        return 1
    called = {name} if members is None else members
    if members and any(group <= members for group in said.groups.values()):
        return 1
    return UNKNOWN if any(group & called for group in said.groups.values()) else rest
