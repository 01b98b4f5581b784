"""What a model and those that it goes on from have learnt from: clips on which none of them must be judged.

A run's own clips are in its ``split.csv``; those of the models before it are copied into its ``earlier.csv``, so that a
run tells them after the runs that it goes on from are gone.
"""

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from batcache.errors import RunError, brief, count
from batcache.model.transfer import Transfer
from batcache.storage.disk import write_file
from batcache.training.bags import Bag
from batcache.training.splits import SplitRow, read_splits

_EARLIER = "earlier.csv"
_COLUMNS = ["content", "group"]


@dataclass(frozen=True)
class Heard:
    """Contents and groups of clips that models have learnt from."""

    contents: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()

    @classmethod
    def of_split(cls, rows: Iterable[SplitRow], split: str) -> "Heard":
        """The clips of one split."""
        taken = [row for row in rows if row.split == split]
        return cls(frozenset(row.content for row in taken), frozenset(row.group for row in taken) - {""})

    def __or__(self, other: "Heard") -> "Heard":
        return Heard(self.contents | other.contents, self.groups | other.groups)

    def among(self, bags: Iterable[Bag]) -> list[Bag]:
        """The bags whose content or group is among these."""
        return [bag for bag in bags if bag.row.content in self.contents or bag.clip.group in self.groups]


def read_heard(run: Path) -> Heard:
    """All that a run's model has learnt from, and the models that it goes on from.

    Raises:
        RunError: the run's ``split.csv`` or ``earlier.csv`` cannot be read.
    """
    return Heard.of_split(read_splits(run / "split.csv").values(), "train") | read_earlier(run)


def find_heard(init: str | Path, transfer: Transfer) -> Heard | None:
    """What a model has learnt from before its training, where an earlier one is its start; None where nobody knows.

    Args:
        init: a run, or a checkpoint in it.
        transfer: what is taken of it.
    """
    run = Path(init) if Path(init).is_dir() else Path(init).resolve().parent.parent
    if not (run / "split.csv").exists():
        return None
    return read_heard(run) if transfer.has_learnt else read_earlier(run)


def write_earlier(run: Path, heard: Heard) -> None:
    """Write what the models that a run goes on from have learnt from. A row holds a content or a group."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    writer.writerows([content, ""] for content in sorted(heard.contents))
    writer.writerows(["", group] for group in sorted(heard.groups))
    write_file(run / _EARLIER, text.getvalue().encode())


def read_earlier(run: Path) -> Heard:
    """What ``write_earlier`` wrote; nothing where a run started from no earlier model.

    Raises:
        RunError: the file is damaged.
    """
    path = run / _EARLIER
    try:
        with path.open(encoding="utf-8", newline="") as file:
            header, *rows = csv.reader(file)
        if header != _COLUMNS:
            raise ValueError(f"columns {', '.join(header)}")
        pairs = [(content, group) for content, group in rows]
    except FileNotFoundError:
        return Heard()
    except (OSError, ValueError, csv.Error) as error:
        raise RunError(path, f"cannot be read ({brief(error)})", "Restore it from a copy, or train again") from None
    return Heard(frozenset(c for c, _ in pairs) - {""}, frozenset(g for _, g in pairs) - {""})


def list_heard_notes(init: str | Path, heard: Heard | None, bags: Iterable[Bag]) -> list[str]:
    """Say which of these bags, of splits val and test, an earlier model has learnt from."""
    if heard is None:
        return [f"what {init} has learnt from is not known, as it lies in no run: scores on clips of it are too good"]
    judged = list(bags)
    by_split = {split: [bag for bag in judged if bag.clip.split == split] for split in ("val", "test")}
    means = {"val": "scores on them are too good", "test": "eval refuses them"}
    return [
        f"{init} has learnt from {len(known):,} of {count(len(by_split[split]), 'clip')} of split {split}, or from "
        f"others of the same groups: {means[split]}"
        for split in by_split
        if (known := heard.among(by_split[split]))
    ]
