"""A cached recording computed once more from its file, where the file is still what it was."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from batcache.errors import AudioError
from batcache.features.audio import content_hash, read_header
from batcache.features.frontend import FrontEnd
from batcache.store.build import cut
from batcache.store.compute import stream
from batcache.store.layout import CachedRecording, Layout
from batcache.store.plan import Facts, Placed


def find_file(rows: Iterable[CachedRecording], data_dir: Path) -> Placed | str:
    """The first of these rows, all of one content, whose file holds that content; else why the last one does not."""
    reason = ""
    for row in rows:
        place = data_dir / row.path
        try:
            header = read_header(place)
            if content_hash(place, header) == row.content:
                facts = Facts(
                    path=row.path,
                    size=row.size,
                    mtime_ns=row.mtime_ns,
                    content=row.content,
                    header_rate=header.rate,
                    channels=header.channels,
                    time_expansion=row.time_expansion,
                    ground=row.ground,
                    header=header,
                )
                return Placed(facts, row.first_instance, row.instances, row.frames)
            reason = "its audio changed"
        except AudioError as error:
            reason = error.reason
    return reason


def compute_again(placed: Placed, data_dir: Path, front_end: FrontEnd, layout: Layout) -> Iterator[NDArray[np.float16]]:
    """Yield a recording's instances as a build would store them."""
    return cut([stream(placed, data_dir, front_end)], (placed,), [], layout)


@contextmanager
def one_thread() -> Iterator[None]:
    """As in a build: one recording, one thread, so that sums come in the same order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
