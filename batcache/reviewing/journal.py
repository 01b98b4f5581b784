"""What was said, in the order in which it was said: ``reviewed.jsonl``, and the table that is made of it.

The first line says which predictions these are answers on. Each answer is a line more, with its digest, which is on the
disk before the next question is shown; taking one back is a line too. A process that is killed may leave half a line at
the end, which is dropped; a line before the last whole one that is not whole is damage. After each line the table,
``reviewed.csv``, is replaced by a whole one. Each line holds the digest of the table that belongs to it: where another
is found, somebody has changed it, and it is left as it is: the review goes on under the next free name.
"""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from batcache.errors import ReviewError, brief
from batcache.reviewing.judged import Judged, Key
from batcache.reviewing.said import ANSWERS, PARTS, Answer, Part, Said
from batcache.reviewing.table import Row, Table
from batcache.storage.disk import write_file
from batcache.storage.listing import is_there, list_folder
from batcache.storage.sealed import DAMAGED, open_json, seal_json
from batcache.survey.reviewed import number_of

FORMAT = "batcache-reviewed"
FORMAT_VERSION = 1
_NOTHING = Said()


class Journal:
    """The answers on some predictions, begun where there are none.

    Args:
        judged: the predictions.
        seed: of the random sample; None goes on with that of the answers that are there, else with 0.
        content_of: the content hash of a recording, "" where it is not known.

    Raises:
        ReviewError: answers that were begun with another seed, or a file that is damaged.
        OSError: the disk refuses.
    """

    def __init__(self, judged: Judged, seed: int | None, content_of: Callable[[str], str]) -> None:
        self._judged, self._content_of, self.notes = judged, content_of, list[str]()
        self.table = Table(judged.species, judged.has_spans)
        self._events: list[Row] = []
        self._said: dict[Key, list[Row]] = {}
        self._known: dict[int, Said] = {}
        self._digests: list[str] = []
        place = self._find_own(judged)
        if place is None:
            self.path, self.seed = _next_free(judged.folder), seed or 0
            write_file(self.path, self._header())
        else:
            self.path = place
            self.seed = self._read(place)
            if seed not in (None, self.seed):
                finding = f"was begun with seed {self.seed}, not {seed}"
                raise ReviewError(place, finding, f"Pass --seed {self.seed}, or move it away to begin anew")
        self.kept = len(self._events)
        """How many answers were there before."""
        self._file = self.path.open("ab", buffering=0)
        if place is not None:
            self._mend_table()

    @property
    def table_file(self) -> Path:
        """The CSV that is made of the answers."""
        return self.path.with_suffix(".csv")

    @property
    def answers(self) -> int:
        """How many answers there are, those that were taken back left out."""
        return len(self._events)

    @property
    def last(self) -> Row | None:
        """The last answer."""
        return self._events[-1] if self._events else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def known(self, clip: int) -> Said:
        """What was said of a clip so far."""
        return self._known.get(clip, _NOTHING)

    def add(self, clip: int, part: Part, said: Said, answer: Answer) -> None:
        """Keep an answer.

        Raises:
            OSError: the disk refuses or is full; the answer then does not count.
        """
        at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        path, start_s, duration_s = key = self._judged.keys[clip]
        row = Row(key, self._judged.groups[clip], self._content_of(path), said, part, answer, at)
        about = {"path": path, "start_s": start_s, "duration_s": duration_s, "content": row.content}
        spoken = {"part": part, "answer": answer, "at": at, "group": row.group, **asdict(said)}
        self._do(row)
        try:
            self._append({**about, **spoken})
        except OSError:
            self._undo()
            raise
        self._write_table()

    def undo(self) -> int | None:
        """Take the last answer back; returns its clip, None where there is none. Raises as ``add``."""
        if not self._events:
            return None
        row = self._undo()
        try:
            self._append({"undo": True})
        except OSError:
            self._do(row)
            raise
        self._write_table()
        return self._judged.places.get(row.key)

    def _do(self, row: Row) -> None:
        self._events.append(row)
        self._said.setdefault(row.key, []).append(row)
        self._put(row.key)

    def _undo(self) -> Row:
        row = self._events.pop()
        self._said[row.key].pop()
        self._put(row.key)
        return row

    def _put(self, key: Key) -> None:
        """Bring the table, and what is known by clip, to the last answer on a clip."""
        last = self._said[key][-1] if self._said[key] else None
        self.table.put(key, last)
        if key in self._judged.places:
            self._known[self._judged.places[key]] = last.said if last else _NOTHING

    def _append(self, event: Mapping[str, Any]) -> None:
        digest = self._digest()
        line = seal_json(json.dumps({**event, "table": digest}).encode()) + b"\n"
        end = os.fstat(self._file.fileno()).st_size
        try:
            left = memoryview(line)
            while left:  # a disk that is nearly full takes a part
                left = left[self._file.write(left) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            self._file.truncate(end)
            error.filename = error.filename or str(self.path)
            raise
        self._digests.append(digest)

    def _digest(self) -> str:
        return hashlib.sha256(self.table.text()).hexdigest()

    def _write_table(self) -> None:
        """Replace the table; where nothing is known of any clip it is a header alone, which says so."""
        write_file(self.table_file, self.table.text())

    def _mend_table(self) -> None:
        """Bring the table to what was said, or leave it and go on under another name where it was changed."""
        there = self.table_file.read_bytes() if is_there(self.table_file) else b""
        digest = hashlib.sha256(there).hexdigest()
        if there and digest not in self._digests[-2:]:
            old, (content, self.path) = self.table_file, (self.path.read_bytes(), _next_free(self._judged.folder))
            self._file.close()
            write_file(self.path, content)
            self._file = self.path.open("ab", buffering=0)
            self.notes.append(
                f"{old} was changed by somebody and stays as it is: the answers go on in {self.table_file}"
            )
            self._write_table()
        elif self._digests and digest != self._digests[-1]:
            self._write_table()

    def _header(self) -> bytes:
        document = {"format": FORMAT, "format_version": FORMAT_VERSION, **self._judged.origin, "seed": self.seed}
        return seal_json(json.dumps(document).encode()) + b"\n"

    def _find_own(self, judged: Judged) -> Path | None:
        """The newest journal in the folder that is of these predictions."""
        found = None
        for path in _list_journals(judged.folder):
            header = _read_header(path)
            if header.get("model") != judged.origin["model"]:
                continue
            if header.get("root") == judged.origin["root"] or self._fits(path):
                found = path
        return found

    def _fits(self, path: Path) -> bool:
        """Whether all that a journal speaks of is among the predictions, as where the recordings were moved."""
        try:
            self._read(path)
            return all(row.key in self._judged.places for row in self._events)
        finally:
            self._events, self._said, self._known, self._digests, self.notes = [], {}, {}, [], []
            self.table = Table(self._judged.species, self._judged.has_spans)

    def _read(self, path: Path) -> int:
        """Take over all whole lines, drop what follows them, and return the seed.

        Raises:
            ReviewError: a line before them is damaged.
        """
        seed, torn = int(_read_header(path)["seed"]), 0
        with path.open("rb") as file:
            whole = at = len(file.readline())
            for number, line in enumerate(file, 2):
                at += len(line)
                try:
                    if not line.endswith(b"\n"):
                        raise ValueError("half a line")
                    self._replay(open_json(line.removesuffix(b"\n")))
                except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
                    torn = torn or number
                    continue
                if torn:
                    remedy = "Restore it from a copy, or delete that line: its question is asked again"
                    raise ReviewError(path, f"{DAMAGED} (line {torn})", remedy)
                whole = at
        if torn:
            with path.open("r+b") as cut:
                cut.seek(whole)
                if b"\n" in cut.read():  # not what a kill leaves
                    self.notes.append(f"{path}: its end is damaged and was dropped, what it said is asked again")
                cut.truncate(whole)
        return seed

    def _replay(self, event: Mapping[str, Any]) -> None:
        digest = str(event["table"])
        if event.get("undo"):
            self._undo()
            self._digests.append(digest)
            return
        key = event["path"], float(event["start_s"]), event["duration_s"]
        if event["answer"] not in ANSWERS or event["part"] not in PARTS:
            raise ValueError(event["answer"])
        said = Said(dict(event["labels"]), event["whole"] is True, dict(event["answers"]))
        content = str(event.get("content") or self._content_of(key[0]))  # in journals of before there is none
        self._do(Row(key, event["group"], content, said, event["part"], event["answer"], event["at"]))
        self._digests.append(digest)


def _list_journals(folder: Path) -> list[Path]:
    """The journals of a folder: ``reviewed.jsonl``, ``reviewed-2.jsonl``, ..."""
    numbered = [(number_of(path), path) for path in list_folder(folder, "reviewed*.jsonl")]
    return [path for number, path in sorted(pair for pair in numbered if pair[0])]


def _next_free(folder: Path) -> Path:
    """The first of these names of which neither a journal nor a table is there."""
    number = 1
    while True:
        path = folder / ("reviewed.jsonl" if number == 1 else f"reviewed-{number}.jsonl")
        if not is_there(path) and not is_there(path.with_suffix(".csv")):
            return path
        number += 1


def _read_header(path: Path) -> dict[str, Any]:
    remedy = "Move it away to begin anew"
    try:
        with path.open("rb") as file:
            document = open_json(file.readline().removesuffix(b"\n"))
        kind, version, _ = document["format"], document["format_version"], int(document["seed"])
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise ReviewError(path, f"not readable as answers of a review ({brief(error)})", remedy) from None
    if kind != FORMAT or version != FORMAT_VERSION:
        finding = f"{kind}, version {version}, this batcache reads {FORMAT}, version {FORMAT_VERSION}"
        raise ReviewError(path, finding, "Upgrade batcache, or move it away")
    return document
