"""How fast shuffled bags come back, from the store and from what others would read or compute instead."""

import gc
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from batcache.bench.peers import why_missing
from batcache.bench.readers import PEERS, Copies, Read, forget, open_batcache, write_copies
from batcache.bench.recordings import Sample
from batcache.bench.rows import Mark, Row
from batcache.bench.timing import take_turns, time_once
from batcache.store.reader import Store
from batcache.training.clips.bags import join, read_bag

MARKS = {
    "zarr-python, crc32c": Mark("ratio", ">=", 5.0),
    "memory map, nothing verified": Mark("ratio", ">=", 0.4),
}
OURS, BAGS = "read_instances", "read_bag"
_SEED = 0

Spans = list[tuple[int, int]]
"""First instance and number of instances of each bag, shuffled."""


def measure_reading(sample: Sample, store_path: Path, folder: Path, rounds: int, seconds: float) -> Iterator[Row]:
    """Yield rows of bags read from a warm page cache, then of bags read from the disk."""
    copies = write_copies(store_path, folder)
    spans = shuffle_bags(sample, store_path)
    megabytes = sum(count for _, count in spans) * copies.shape[1] * copies.shape[2] * 2 / 1e6
    yield from _measure_warm(sample, copies, spans, megabytes, rounds, seconds)
    yield from _measure_cold(copies, spans, megabytes, rounds)


def shuffle_bags(sample: Sample, store_path: Path) -> Spans:
    """All instances of each recording are a bag."""
    store = Store(store_path)
    rows = [store.find(file.path) for file in sample.files]
    spans = [(row.first_instance, row.instances) for row in rows if row is not None]
    return [spans[i] for i in np.random.default_rng(_SEED).permutation(len(spans))]


def _measure_warm(
    sample: Sample, copies: Copies, spans: Spans, megabytes: float, rounds: int, seconds: float
) -> Iterator[Row]:
    missing = {name: why_missing(package) for name, (package, _) in PEERS.items()}
    reads = {OURS: open_batcache(copies)}
    reads |= {name: opened(copies) for name, (_, opened) in PEERS.items() if not missing[name]}
    tasks: dict[str, Callable[[], object]] = {name: partial(read_all, read, spans) for name, read in reads.items()}
    store = Store(copies.store)
    bags = join(sample.manifest, store).bags
    per = store.layout.frames_per_instance
    tasks[BAGS] = lambda: [read_bag(store, bag, per) for bag in bags]
    for task in tasks.values():
        task()
    taken = take_turns(tasks, rounds, seconds)
    section, what = "shuffled bags, files in memory", "store, every crc32c verified"
    for name in PEERS:
        note = missing[name] or f"{megabytes / taken[OURS]:,.0f} MB/s"
        if name in taken:
            note += f" against {megabytes / taken[name]:,.0f}"
        theirs = len(spans) / taken[name] if name in taken else None
        yield Row(section, what, len(spans) / taken[OURS], "bags/s", name, theirs, mark=MARKS.get(name), note=note)
    yield Row(section, "as training bags (read_bag)", len(bags) / taken[BAGS], "bags/s")


def _measure_cold(copies: Copies, spans: Spans, megabytes: float, rounds: int) -> Iterator[Row]:
    section, what = "shuffled bags, from the disk", "store, every crc32c verified"
    opened = {OURS: open_batcache, **{n: o for n, (package, o) in PEERS.items() if not why_missing(package)}}
    gc.collect()  # what is mapped stays in memory
    turns, warm = [], ""
    for _ in range(rounds):
        turn: dict[str, float] = {}
        for name, open_reader in opened.items():
            if kept := forget(copies.files()):
                warm = kept
                break
            turn[name] = time_once(partial(_open_and_read, open_reader, copies, spans))
        else:
            turns.append(turn)
    if not turns:
        yield Row(section, what, note=f"not measured: {warm}")
        return
    speed = {name: len(spans) / float(np.median([turn[name] for turn in turns])) for name in opened}
    left_out = f"; {rounds - len(turns)} of {rounds} rounds left out: {warm}" if warm else ""
    for name in list(opened)[1:]:
        note = f"{megabytes * speed[OURS] / len(spans):,.0f} MB/s against {megabytes * speed[name] / len(spans):,.0f}"
        yield Row(section, what, speed[OURS], "bags/s", name, speed[name], note=note + left_out)


def _open_and_read(open_reader: Callable[[Copies], Read], copies: Copies, spans: Spans) -> int:
    return read_all(open_reader(copies), spans)


def read_all(read: Read, spans: Spans) -> int:
    """Read every bag once. Returns the number of instances."""
    return sum(len(read(first, count)) for first, count in spans)
