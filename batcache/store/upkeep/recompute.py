"""A cached recording computed once more from its file, where the file is still what it was; and both compared."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from batcache.config.features import FeatureConfig
from batcache.errors import AudioError
from batcache.features.audio import content_hash, read_header
from batcache.features.frontend import FrontEnd
from batcache.manifest.cells import leads_out
from batcache.storage.ahead import map_ahead
from batcache.storage.place import Place
from batcache.store.build.compute import stream
from batcache.store.build.plan import Placed
from batcache.store.build.scan import ScannedFile
from batcache.store.build.writers import cut
from batcache.store.format.commit import CachedRecording
from batcache.store.format.layout import Layout
from batcache.store.format.shard import read_chunk

RELATIVE, ABSOLUTE = 2.0**-10, 6e-3
"""How far features computed on another kind of machine may be off: one step of float16, and in quiet bins of loud
recordings what float32 rounding before the mel filters becomes. The front end is held to the same beside a reference
in float64."""


def find_file(rows: Iterable[CachedRecording], data_dir: Path, *, allow_outside: bool) -> Placed | str:
    """The first of these rows, all of one content, whose file holds that content; else why the last one does not.

    A store from elsewhere could name any file of this machine: only with ``allow_outside`` is one outside the data dir
    opened.
    """
    reason = ""
    for row in rows:
        if leads_out(row.path) and not allow_outside:
            reason = "leads out of the data dir"
            continue
        place = data_dir / row.path
        try:
            header, now = read_header(place, row.channel), place.stat()
            if content_hash(place, header) == row.content:
                file = ScannedFile(
                    path=row.path,
                    size=now.st_size,
                    mtime_ns=now.st_mtime_ns,
                    content=row.content,
                    file_content=row.file_content,
                    header_rate=header.rate,
                    channels=header.channels,
                    time_expansion=row.time_expansion,
                    expansion_source=row.expansion_source,
                    header=header,
                )
                return Placed(file, row.first_instance, row.instances, row.frames)
            reason = "its audio changed"
        except AudioError as error:
            reason = error.reason
    return reason


def compute_again(placed: Placed, data_dir: Path, front_end: FrontEnd, layout: Layout) -> Iterator[NDArray[np.float16]]:
    """Yield a recording's instances as a build would store them."""
    return cut([stream(placed, data_dir, front_end)], (placed,), [], layout)


def compare(
    cache: Place,
    groups: Sequence[list[CachedRecording]],
    data_dir: Path,
    features: FeatureConfig,
    workers: int,
    layout: Layout,
    *,
    allow_outside: bool,
) -> Iterator[tuple[list[CachedRecording], tuple[str, str]]]:
    """Yield for each content whether its stored features are ``exact``, ``rounded`` or ``differs`` from those that its
    file gives now (with what is off), or ``not comparable`` (with why)."""
    front_end = FrontEnd(features)

    def judge(rows: list[CachedRecording]) -> tuple[str, str]:
        placed = find_file(rows, data_dir, allow_outside=allow_outside)
        if isinstance(placed, str):
            return "not comparable", placed
        exact, worst, instance = True, 0.0, 0
        for fresh in compute_again(placed, data_dir, front_end, layout):
            stored = read_chunk(cache, rows[0].first_instance + instance, layout)
            if len(stored) < layout.chunk_bytes or instance >= rows[0].instances:
                return "differs", "are of another length than those of its file"
            frames = stored[:-4].view("<f2").reshape(fresh.shape).astype(float)
            off = np.abs(frames - fresh.astype(float))
            exact &= bool((off == 0).all())
            within = off <= ABSOLUTE + RELATIVE * np.abs(fresh.astype(float))  # NaN is not
            if not within.all():
                worst = max(worst, float(np.nan_to_num(off, nan=np.inf).max()))
            instance += 1
        if instance != rows[0].instances:
            return "differs", "are of another length than those of its file"
        if worst:
            return "differs", f"are not those of its file: off by up to {worst:.3g}"
        return ("exact", "") if exact else ("rounded", "")

    pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield from zip(groups, map_ahead(pool, judge, groups, 2 * workers), strict=True)
    finally:
        pool.shutdown(cancel_futures=True)
