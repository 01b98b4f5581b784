"""What is known of each file before anything is computed, read from it or recalled from the index."""

import os
from collections.abc import Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from dataclasses import replace as replace_fields
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from batcache.config.features import FeatureConfig
from batcache.errors import AudioError
from batcache.features.audio import NO_SUCH_FILE, AudioHeader, content_hashes, read_blocks, read_header
from batcache.features.expansion import HIGHEST_RATE, doubt_length, find_expansion
from batcache.features.metadata import Metadata, read_metadata
from batcache.storage.ahead import map_ahead
from batcache.storage.names import find_alike
from batcache.store.build.rejects import Rejects
from batcache.store.format.commit import CachedRecording
from batcache.store.format.index import Index

_FILES_AT_ONCE = 32
"""A thread is handed so many at most: to hand one over takes longer than to see that it is unchanged."""


@dataclass(frozen=True, slots=True)
class ScannedFile:
    """What is known of a file that was opened, before anything is computed."""

    path: str
    size: int
    mtime_ns: int
    content: str
    header_rate: int
    channels: int
    time_expansion: float
    expansion_source: str
    header: AudioHeader
    expansion_warning: str = ""
    metadata: Metadata = field(default_factory=Metadata)
    header_warning: str = ""
    file_content: str = ""

    @property
    def recording(self) -> str:
        """A hash that all channels of a recording share."""
        return self.file_content or self.content

    @property
    def channel(self) -> int:
        """The channel that is taken, counted from 1."""
        return self.header.channel

    @property
    def true_rate(self) -> int:
        """Sampling rate in life, Hz: the header's times the time expansion."""
        return round(self.header_rate * self.time_expansion)

    @property
    def key(self) -> tuple[str, int]:
        """What decides the frames, given the settings: the samples, by a hash that knows the channel, and the rate."""
        return self.content, self.true_rate


Known = ScannedFile | CachedRecording
"""What is known of a file: where stat alone proves it unchanged, the row that it has in the index."""


@dataclass(frozen=True)
class Before:
    """What is known of files from earlier builds.

    Attributes:
        rows: of the index, by path.
        failed: rows of sounds that failed when they were computed, by content and rate.
        rejects: what was seen of files that were rejected, and why.
    """

    rows: Mapping[str, tuple[CachedRecording, ...]] = field(default_factory=dict)
    failed: Mapping[tuple[str, int], CachedRecording] = field(default_factory=dict)
    rejects: Rejects = field(default_factory=dict)


def before_of(index: Index, rejects: Rejects) -> Before:
    """What an index and a list of rejects tell."""
    failed = {key: row for key, row in index.by_key.items() if row.failure}
    return Before(index.by_path, failed, rejects)


@dataclass(frozen=True)
class Look:
    """Files to be looked at.

    Attributes:
        files: path, time expansion (None where the manifest gives none) and channel of each.
        data_dir: where paths start from.
        config: whose bounds true rates must keep.
        before: from earlier builds.
        rehash: open also files whose size and modification time are those of the index.
    """

    files: tuple[tuple[str, float | None, int], ...]
    data_dir: Path
    config: FeatureConfig
    before: Before = field(default_factory=Before)
    rehash: bool = False

    def parts(self, size: int) -> Iterator["Look"]:
        """The same, so many files at a time."""
        for start in range(0, len(self.files), size):
            files = self.files[start : start + size]
            yield replace_fields(self, files=files)

    def alone(self) -> "Look":
        """The same with no more of ``before`` than concerns these files: small enough to be sent."""
        paths, before = [path for path, *_ in self.files], self.before
        rows = {path: before.rows[path] for path in paths if path in before.rows}
        rejects = {path: before.rejects[path] for path in paths if path in before.rejects}
        return replace_fields(self, before=Before(rows, before.failed, rejects))


def look_at(look: Look) -> list[Known | AudioError]:
    """What is known of each file, in order, or why it is rejected.

    A file whose size and modification time are those of the index is not opened, unless that is asked for; nor is one
    that is as it was when an earlier build rejected it.
    """

    def one(path: str, expansion: float | None, channel: int) -> Known | AudioError:
        try:
            return _scan_file(path, expansion, channel, look)
        except AudioError as error:
            return error

    return [one(*file) for file in look.files]


def scan(look: Look, workers: int) -> Generator[Known | AudioError, None, None]:
    """``look_at`` by so many threads, file by file."""
    size = min(_FILES_AT_ONCE, max(1, len(look.files) // (8 * workers)))
    pool = ThreadPoolExecutor(workers)
    try:
        for found in map_ahead(pool, look_at, look.parts(size), 4 * workers):
            yield from found
    finally:
        pool.shutdown(cancel_futures=True)


def _scan_file(
    path: str,
    expansion: float | None,
    channel: int,
    look: Look,
) -> Known:
    data_dir, before = look.data_dir, look.before
    try:
        stat = os.stat(os.path.join(data_dir, path))  # noqa: PTH116, PTH118 (to make a Path takes longer than to look)
    except OSError:
        stat = None
    if stat and not look.rehash:
        for row in before.rows.get(path, ()):
            unchanged = row.size == stat.st_size and row.mtime_ns == stat.st_mtime_ns and not row.failure
            if unchanged and _stands(row, expansion, channel):
                return _recall(row, expansion)
    place = data_dir / path
    if stat is None and (meant := find_alike(data_dir, path)):
        raise AudioError(place, NO_SUCH_FILE, f"There is {meant}, in other letter case or Unicode form: write it so")
    seen = (stat.st_size, stat.st_mtime_ns, expansion, channel) if stat else None
    try:
        if seen and not look.rehash and (known := before.rejects.get(path)) and known[0] == seen:
            raise AudioError(place, known[1])
        return _read_file(path, place, stat, expansion, channel, look)
    except AudioError as error:
        error.seen = seen
        raise


def _read_file(
    path: str,
    place: Path,
    stat: os.stat_result | None,
    expansion: float | None,
    channel: int,
    look: Look,
) -> ScannedFile:
    header = read_header(place, channel)
    assert stat is not None, "read_header raises where there is no file"
    metadata = read_metadata(place, header)
    found = find_expansion(place, header, metadata, expansion)
    short = "" if "Length" in found.warning else doubt_length(header, metadata, found.factor)
    content, first = content_hashes(place, header)
    file = ScannedFile(
        path,
        stat.st_size,
        stat.st_mtime_ns,
        content,
        header.rate,
        header.channels,
        found.factor,
        found.source,
        header,
        found.warning,
        metadata,
        "; ".join(filter(None, (header.warning, short))),
        "" if content == first else first,
    )
    _check_rate(place, file, look.config)
    failed = look.before.failed.get(file.key)
    if failed is not None:
        try:
            for _ in read_blocks(place, header, 1 << 20):
                pass
        except AudioError:  # said in the same words as before, whatever the size of a block
            raise AudioError(place, failed.failure) from None
    return file


def _stands(row: CachedRecording, expansion: float | None, channel: int) -> bool:
    """Whether what the index holds of an unchanged file answers what the manifest says of it, or leaves to be found."""
    if row.channel != channel:
        return False
    if expansion is None:
        return row.expansion_source != "manifest" and (
            row.expansion_source != "assumed" or bool(row.expansion_warning)
        )  # nothing is assumed undoubted
    return row.true_rate == round(row.header_rate * expansion)


def _recall(row: CachedRecording, expansion: float | None) -> CachedRecording:
    """The row of a file that is as it was, with the manifest's word where it has one."""
    if expansion is None or (row.time_expansion, row.expansion_source) == (expansion, "manifest"):
        return row
    return replace(row, time_expansion=expansion, expansion_source="manifest", expansion_warning="")


def _check_rate(place: Path, file: ScannedFile, config: FeatureConfig) -> None:
    rate = file.true_rate
    said = f"{rate:,} Hz ({file.header_rate:,} in the header x {file.time_expansion:g})"
    if rate < 2 * config.fmin:
        raise AudioError(
            place,
            f"true rate {said} is below 2 x fmin = {2 * config.fmin:,.0f} Hz",
            "If it is time-expanded, say so: as TE in its GUANO metadata, or in a time_expansion column",
        )
    if rate > HIGHEST_RATE:
        raise AudioError(place, f"true rate {said} is above {HIGHEST_RATE:,} Hz", "Correct its time_expansion")
    if file.header.samples * config.target_sample_rate < config.n_fft * rate:
        window_ms = config.n_fft / config.target_sample_rate * 1e3
        finding = f"{file.header.samples} samples are shorter than one FFT window ({window_ms:g} ms)"
        raise AudioError(place, finding, "Leave it out")


def describe(fact: Known, row: CachedRecording) -> CachedRecording:
    """The row of a file whose content is that of ``row``."""
    return replace(row, **columns_of(fact))


_OF_FILE = (
    "path",
    "size",
    "mtime_ns",
    "header_rate",
    "channels",
    "channel",
    "file_content",
    "header_warning",
    "time_expansion",
    "expansion_source",
    "expansion_warning",
)
_SAID = (
    *("recorded_at", "latitude", "longitude", "recorder", "species_auto", "species_manual", "unread"),
    *("gain_setting", "battery_v", "temperature_c"),
)


def columns_of(fact: Known) -> dict[str, Any]:
    """What a row says of the file, as opposed to its samples."""
    said = fact.metadata if isinstance(fact, ScannedFile) else fact
    return {name: getattr(fact, name) for name in _OF_FILE} | {name: getattr(said, name) for name in _SAID}
