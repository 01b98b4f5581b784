"""What an epoch spends on data: bags from the store, or the same features computed anew from the recordings."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from batcache.bench.peers import librosa_features, why_missing
from batcache.bench.recordings import Sample
from batcache.bench.rows import Mark, Row
from batcache.bench.timing import take_turns, threads
from batcache.config.settings import Config
from batcache.features.frontend import FrontEnd
from batcache.store.reader import Store
from batcache.training.clips.bags import join
from batcache.training.clips.loader import BatchReader, plan_epoch

MARK = Mark("ratio", ">=", 100.0)
_COMPUTED = 8  # recordings of which features are computed


def measure_epoch_data(sample: Sample, store_path: Path, config: Config, rounds: int, seconds: float) -> Iterator[Row]:
    """Yield rows of an epoch's data time, on one thread: every bag from the store, and features computed."""
    store = Store(store_path)
    bags = join(sample.manifest, store).bags
    frames, settings = config.data.frames_per_instance, config.training
    reader = BatchReader(store, bags, frames, settings.max_instances, config.data.bag_size, pin=False)
    counts = [bag.instances(frames) for bag in bags]
    draws = plan_epoch(counts, settings.max_instances, settings.clips_a_batch(len(bags)), settings.seed, 0)

    def cached() -> None:
        for draw in draws:
            reader.read(draw)

    part = sample.first(_COMPUTED)
    front_end = FrontEnd(config.data.features)
    tasks: dict[str, Callable[[], object]] = {"front end": lambda: compute_all(front_end, part)}
    missing = why_missing("librosa")
    if not missing:
        tasks["librosa"] = lambda: [librosa_features(source, config.data.features) for source in part.sources()]
    with threads(1):
        for task in (cached, *tasks.values()):
            task()
        taken = take_turns({"cached": cached} | tasks, rounds, seconds)
    peers = {"front end": "computed anew by batcache's front end", "librosa": "computed anew by librosa + soxr"}
    for name, peer in peers.items():
        an_epoch = taken[name] / len(part) * len(sample) if name in taken else None
        note = missing if name not in taken else f"{len(sample)} recordings, {len(bags)} bags, one thread"
        mark = MARK if name == "librosa" else None
        yield Row("data of an epoch", "from the store", taken["cached"], "s", peer, an_epoch, "less", mark, note)


def compute_all(front_end: FrontEnd, sample: Sample) -> list[np.ndarray]:
    """The features of each recording."""
    return [
        np.concatenate(list(front_end.stream(sample.manifest.data_dir / file.path, file.header, file.true_rate)))
        for file in sample.files
    ]
