"""``reviewed.csv``: a row for each clip of which something was said, made of all answers.

filename        the recording, relative to the folder that was judged, POSIX; ``calibrate`` and ``train`` read it
split           ``train``, so that ``train --csv`` learns from it
group           the site-night, where it is known
content         the hash of its sound, by which ``train`` finds it in a cache whatever it is called there
start_s, duration_s  of clips that may be parts of recordings, in true seconds
meta_part       of the review that it was last asked in; ``random`` rows were chosen whatever their scores
meta_answer     the last answer
meta_reviewed_at  when that was, UTC
<a species>     1 present, 0 absent, empty not known: the model's species, and behind them others that were named
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from batcache.reviewing.judged import Key
from batcache.reviewing.said import Said
from batcache.storage.spreadsheet import to_csv

_META = ("meta_part", "meta_answer", "meta_reviewed_at")


@dataclass(frozen=True)
class Row:
    """What the table says of a clip."""

    key: Key
    group: str
    content: str
    said: Said
    part: str
    answer: str
    at: str


@dataclass
class Table:
    """The text of the table, of which a row can be replaced at little cost.

    Attributes:
        species: the model's.
        has_spans: whether there are the columns ``start_s`` and ``duration_s``.
    """

    species: tuple[str, ...]
    has_spans: bool
    _rows: dict[Key, Row] = field(default_factory=dict)
    _lines: dict[Key, str] = field(default_factory=dict)
    _named: Counter[str] = field(default_factory=Counter)

    @property
    def others(self) -> tuple[str, ...]:
        """Species that the model does not know and that were named, in alphabetical order."""
        return tuple(sorted(+self._named))

    @property
    def rows(self) -> tuple[Row, ...]:
        """All of them, those that were changed last at the end."""
        return tuple(self._rows.values())

    def put(self, key: Key, row: Row | None) -> None:
        """Replace the row of a clip, or take it away; what says nothing of any species is no row."""
        before, there = self._rows.pop(key, None), self.others
        self._lines.pop(key, None)
        if before is not None:
            self._named.subtract(self._unknown(before))
        if row is not None and row.said.labels:
            self._rows[key] = row
            self._named.update(self._unknown(row))
        if self.others != there:
            self._lines = {key: self._line(row) for key, row in self._rows.items()}
        elif key in self._rows:
            self._lines[key] = self._line(self._rows[key])

    def _unknown(self, row: Row) -> set[str]:
        return set(row.said.labels).difference(self.species)

    def text(self) -> bytes:
        """The table as CSV: UTF-8, commas, points; no cell of it is a formula to a spreadsheet."""
        spans = ("start_s", "duration_s") if self.has_spans else ()
        header = ("filename", "split", "group", "content", *spans, *_META, *self.species, *self.others)
        return (_line(header) + "".join(self._lines.values())).encode()

    def _line(self, row: Row) -> str:
        path, start_s, duration_s = row.key
        spans = (f"{start_s:.6f}", "" if duration_s is None else f"{duration_s:.6f}") if self.has_spans else ()
        labels = [row.said.labels.get(name) for name in (*self.species, *self.others)]
        about = row.group, row.content, *spans, row.part, row.answer, row.at
        return _line((path, "train", *about, *("" if label is None else str(label) for label in labels)))


def _line(cells: Sequence[str]) -> str:
    return to_csv([cells], line_end="\r\n").decode()
