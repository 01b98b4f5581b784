"""Labels of folders, tags and files, brought together by recording."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from batcache.catalogue.fill import Said
from batcache.catalogue.labels.folders import read_folders
from batcache.catalogue.labels.label import Label
from batcache.catalogue.labels.sources import HAVE_BOTH, LabelFile, read_label_files
from batcache.catalogue.look import Looked
from batcache.catalogue.match import Recordings
from batcache.errors import ManifestError, count, list_some
from batcache.species.cell import split_names
from batcache.species.resolve import Names, Resolved
from batcache.species.table import Entry

FOLDERS, TAGS = "folders", "tags"
"""What may be given in the place of a file: the names of folders, the manual ids in the recordings' metadata."""


@dataclass(frozen=True)
class SourceUse:
    """What came of one source of labels: how many rows it has, how many of them name something, and how many of those
    are a program's word."""

    source: str
    kind: str
    rows: int
    naming: int
    by_program: int


@dataclass(frozen=True)
class Event:
    """A species somewhere in a recording, in true seconds."""

    recording: str
    species: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Sources:
    """Labels of files and folders, each about a recording.

    Attributes:
        labels: with the recording's path as their file.
        uses: where they are from.
        unmatched: names that are of no recording here, and why.
        passed_over: tables in folders of labels that are none.
    """

    labels: tuple[Label, ...]
    uses: tuple[SourceUse, ...]
    unmatched: dict[str, str]
    passed_over: tuple[Path, ...]


@dataclass(frozen=True)
class Gathered:
    """What the labels say.

    Attributes:
        said: by recording; those that nothing is said of are left out.
        labels: those of recordings that can be used.
        resolved: what names mean.
        times: the recordings' times, where a table has them.
        uses: the sources.
    """

    said: dict[str, Said]
    labels: tuple[Label, ...]
    resolved: Resolved
    times: dict[str, str]
    uses: tuple[SourceUse, ...]


def read_sources(
    sources: Sequence[str], recordings: Sequence[str], names: Names, *, auto: bool, allow_missing: bool
) -> Sources:
    """Read labels of files and folders, and find the recordings that they are about. No recording is opened.

    Raises:
        ManifestError: a source that cannot be read, or, unless ``allow_missing``, labels of no recording here.
    """
    files: list[LabelFile] = []
    passed_over: list[Path] = []
    for source in sources:
        if source == FOLDERS:
            files.append(LabelFile(Path(source), "names of folders", tuple(read_folders(recordings, names))))
        elif source != TAGS:
            more, others = read_label_files(Path(source), auto=auto)
            files += more
            passed_over += others
    _refuse_unnamed(files, auto=auto)
    unmatched: dict[str, str] = {}
    labels: list[Label] = []
    here = Recordings(recordings)
    for read in files:
        file, found, missing = _match(read, here)
        unmatched |= {f"{file.path}: {name or 'a row without a file'}": why for name, why in missing.items()}
        labels += (replace(label, file=found[label.file]) for label in file.labels if label.file in found)
    if unmatched and not allow_missing:
        shown = list_some((f"{name} ({why})" for name, why in unmatched.items()), most=5)
        remedy = "Add the folders that hold them, or pass --allow-missing to leave such rows out"
        raise ManifestError("labels", f"{count(len(unmatched), 'name')} of no recording here: {shown}", remedy)
    return Sources(tuple(labels), tuple(map(_use, files)), unmatched, tuple(passed_over))


def resolve_names(labels: Iterable[Label], names: Names, at_hand: Sequence[str]) -> Resolved:
    """What the names in labels mean. Raises as ``Names.resolve``."""
    places: dict[str, str] = {}
    for label in labels:
        for name in label.names:
            places.setdefault(name, label.place)
    return names.resolve(places, at_hand)


def gather(
    sources: Sources, tags: LabelFile | None, looked: Mapping[str, Looked], names: Names, at_hand: Sequence[str]
) -> Gathered:
    """Bring together what all labels say of the recordings that can be used.

    Raises:
        ManifestError: names that are not known.
    """
    labels = (*sources.labels, *(tags.labels if tags else ()))
    resolved = resolve_names(labels, names, at_hand)
    here = tuple(label for label in labels if label.file in looked)
    said: dict[str, Said] = {}
    for label in here:
        for name in label.names:
            said.setdefault(label.file, Said()).add(resolved.entries[name])
    times = {label.file: label.recorded_at for label in reversed(here) if label.recorded_at}
    return Gathered(said, here, resolved, times, (*sources.uses, *([_use(tags)] if tags else [])))


def find_events(
    gathered: Gathered, looked: Mapping[str, Looked], columns: Sequence[str]
) -> tuple[list[Event], dict[str, str]]:
    """Where in the recordings species are, in true seconds; and, by recording, why some of that was left out."""
    events: list[Event] = []
    left_out: dict[str, str] = {}
    for label in gathered.labels:
        if label.start_s is None or label.end_s is None:
            continue
        one = looked[label.file]
        if one.expansion is None:
            left_out[label.file] = "its time expansion is not known"
            continue
        scale = label.divided_by / one.expansion if label.divided_by else 1.0
        start, end = label.start_s * scale, label.end_s * scale
        length = one.header_s / one.expansion
        if not 0 <= start <= end or start > length:
            left_out[label.file] = f"{start:g} to {end:g} s does not lie within its {length:g} s"
            continue
        entries: list[Entry] = [gathered.resolved.entries[name] for name in label.names]
        events += (Event(label.file, e.name, start, end) for e in entries if e.name in columns)
        for entry in entries:
            if entry.kind == "group" and entry.name not in columns:
                left_out.setdefault(label.file, f"{entry.name} has no column")
    return sorted(set(events), key=lambda e: (e.recording, e.start_s, e.end_s, e.species)), left_out


def _match(file: LabelFile, recordings: Recordings) -> tuple[LabelFile, dict[str, str], dict[str, str]]:
    """The recordings that labels are about, and why others are about none; see ``Recordings.match``.

    Labels of a recording that is not here are those of the pieces that a program cut out of it.
    """
    found, missing = recordings.match([label.file for label in file.labels])
    if not any(label.else_file and label.file in missing for label in file.labels):
        return file, found, missing
    labels = tuple(
        replace(label, file=label.else_file) if label.else_file and label.file in missing else label
        for label in file.labels
    )
    more, missing = recordings.match([label.file for label in labels if label.file not in found])
    return replace(file, labels=labels), {**found, **more}, missing


def read_tags(looked: Mapping[str, Looked], *, auto: bool) -> LabelFile:
    """The manual ids in recordings' metadata; with ``auto``, where there is none, those of a program."""
    labels = []
    for name, one in looked.items():
        by_program = not one.metadata.species_manual and auto
        said = one.metadata.species_auto if by_program else one.metadata.species_manual
        if names := split_names(said or ""):
            labels.append(Label(name, names, name, by_program=by_program))
    return LabelFile(Path(TAGS), "GUANO and WAMD", tuple(labels))


def _refuse_unnamed(files: Sequence[LabelFile], *, auto: bool) -> None:
    """Refuse tables in which no person has named anything, unless a program's word counts."""
    for file in files:
        if not auto and file.kind in HAVE_BOTH and not any(label.names for label in file.labels):
            finding = f"a table of {file.kind} without a manual id: no person has named anything in it"
            raise ManifestError(file.path, finding, "Fill them in, or pass --auto to take what the program named")


def _use(file: LabelFile) -> SourceUse:
    naming = [label for label in file.labels if label.names]
    return SourceUse(
        str(file.path), file.kind, len(file.labels), len(naming), sum(label.by_program for label in naming)
    )
