"""What a model and those that it goes on from have heard: clips on which none of them must be judged.

A run's own clips are in its ``split.csv``; those of the models before it are copied into its ``earlier.csv``, so that a
run tells them after the runs that it goes on from are gone. There a row holds a content or a group, and how it was
heard: ``learnt`` from, or ``validated`` on. A row of kind ``unknown`` says that there may be more.
"""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from batcache.config.features import FeatureConfig
from batcache.config.settings import ModelConfig
from batcache.errors import RunError, brief, count
from batcache.model.start import Start, start_model
from batcache.model.transfer import Transfer
from batcache.storage.listing import is_folder, is_there
from batcache.storage.names import fold
from batcache.storage.spreadsheet import as_written, to_csv
from batcache.training.clips.bags import Bag
from batcache.training.clips.splits import SplitRow, read_splits
from batcache.training.runs import read_as_begun, read_run_config

OTHER_NIGHTS = "or give their groups other names, if these are other nights"
"""The remedy where a group's name stands for one night here and for another one in an earlier survey."""

EARLIER = "earlier.csv"
_COLUMNS = ["content", "group", "kind"]
_KINDS = ("learnt", "validated", "unknown")


@dataclass(frozen=True)
class Clips:
    """Contents and groups of clips."""

    contents: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()

    @classmethod
    def of_split(cls, rows: Iterable[SplitRow], split: str) -> "Clips":
        """The clips of one split."""
        taken = [row for row in rows if row.split == split]
        return cls(frozenset(row.content for row in taken), frozenset(row.group for row in taken) - {""})

    def __or__(self, other: "Clips") -> "Clips":
        return Clips(self.contents | other.contents, self.groups | other.groups)

    def among(self, bags: Iterable[Bag]) -> list[Bag]:
        """The bags whose content is among these, or whose group's name looks like that of one of these."""
        groups = {fold(group) for group in self.groups}
        return [
            bag
            for bag in bags
            if not self.contents.isdisjoint((bag.row.content, bag.row.recording))
            or (bag.clip.group and fold(bag.clip.group) in groups)
        ]


@dataclass(frozen=True)
class Heard:
    """What models have heard.

    Attributes:
        learnt: clips that one of them has learnt from.
        validated: clips on which one of them has chosen its epoch.
        is_all: whether these are all; False where one of them does not tell what it has started from.
    """

    learnt: Clips = Clips()
    validated: Clips = Clips()
    is_all: bool = True

    def __or__(self, other: "Heard") -> "Heard":
        is_all = self.is_all and other.is_all
        return Heard(self.learnt | other.learnt, self.validated | other.validated, is_all)

    def among(self, bags: Iterable[Bag]) -> list[Bag]:
        """The bags that were learnt from, or others of the same groups."""
        return self.learnt.among(bags)


def read_heard(run: Path) -> Heard:
    """All that a run's model has heard, and the models that it goes on from.

    Raises:
        RunError, ConfigError: the run's ``split.csv``, ``earlier.csv`` or ``config.yaml`` cannot be read.
    """
    rows = read_splits(run / "split.csv").values()
    chose_no_epoch = read_run_config(run).model.trains_heads_alone
    validated = Clips() if chose_no_epoch else Clips.of_split(rows, "val")
    return Heard(Clips.of_split(rows, "train"), validated) | read_earlier(run)


def find_heard(init: str | Path, transfer: Transfer) -> Heard:
    """What a model has heard before its training, where an earlier one is its start.

    Args:
        init: a run, or a checkpoint in it.
        transfer: what is taken of it.
    """
    run = Path(init) if is_folder(Path(init)) else Path(init).resolve().parent.parent
    if not is_there(run / "split.csv"):
        return Heard(is_all=False)
    return read_heard(run) if transfer.has_learnt else read_earlier(run)


def start_unheard(config: ModelConfig, features: FeatureConfig, species: Sequence[str], bags: Sequence[Bag]) -> Start:
    """What a training starts from, where that has not learnt from the clips that will judge its model.

    Raises:
        RunError: it has, or from others of their groups. ConfigError: see ``start_model``.
    """
    start = start_model(config, features, species)
    if start.transfer is not None and (known := find_heard(config.init, start.transfer).among(bags)):
        finding = (
            f"has learnt from {len(known):,} of {count(len(bags), 'clip')} to judge, or from others of their groups"
        )
        raise RunError(config.init, finding, f"Start from another model, judge clips of other groups, {OTHER_NIGHTS}")
    return start


def describe_earlier(heard: Heard) -> bytes:
    """What the models that a run goes on from have heard, as ``earlier.csv`` holds it."""
    rows = [_COLUMNS]
    for kind, clips in (("learnt", heard.learnt), ("validated", heard.validated)):
        rows += [[content, "", kind] for content in sorted(clips.contents)]
        rows += [["", group, kind] for group in sorted(clips.groups)]
    if not heard.is_all:
        rows.append(["", "", "unknown"])
    return to_csv(rows)


def read_earlier(run: Path) -> Heard:
    """What ``describe_earlier`` gave. Without it, a run that started from a file of the user's may have heard anything.

    Raises:
        RunError: the file is damaged. ConfigError: there is none, nor a ``config.yaml`` that can be read.
    """
    path = run / EARLIER
    try:
        header, *rows = csv.reader(io.StringIO(read_as_begun(run, EARLIER), newline=""))
        if header != _COLUMNS:
            raise ValueError(f"columns {', '.join(header)}")
        by_kind: dict[str, list[tuple[str, str]]] = {kind: [] for kind in _KINDS}
        for content, group, kind in rows:
            by_kind[kind].append((content, as_written(group)))
    except FileNotFoundError:
        return Heard(is_all=not isinstance(read_run_config(run).model.init, Path))
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise RunError(path, f"cannot be read ({brief(error)})", "Restore it from a copy, or train again") from None
    learnt, validated = (
        Clips(frozenset(content for content, _ in pairs) - {""}, frozenset(group for _, group in pairs) - {""})
        for pairs in (by_kind["learnt"], by_kind["validated"])
    )
    return Heard(learnt, validated, is_all=not by_kind["unknown"])


def list_heard_notes(init: str | Path, heard: Heard, bags: Iterable[Bag]) -> list[str]:
    """Say which of these bags, of splits val and test, an earlier model has learnt from."""
    judged = list(bags)
    by_split = {split: [bag for bag in judged if bag.clip.split == split] for split in ("val", "test")}
    means = {"val": "scores on them are too good", "test": "eval refuses them"}
    notes = [
        f"{init} has learnt from {len(known):,} of {count(len(by_split[split]), 'clip')} of split {split}, or from "
        f"others of the same groups: {means[split]}"
        for split in by_split
        if (known := heard.among(by_split[split]))
    ]
    return notes if heard.is_all else [*notes, describe_unknown(init)]


def describe_unknown(model: str | Path) -> str:
    """Say that nobody knows all that a model has heard."""
    return f"not every clip that {model} has learnt from is known: scores on such clips are too good"
