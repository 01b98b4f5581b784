"""How much memory a build takes, each measured in a process of its own, and what a recording takes on disk."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from batcache.bench.recordings import Sample, write_long, write_short
from batcache.bench.rows import Mark, Row
from batcache.bench.subprocess_cost import run_apart
from batcache.config.settings import DataConfig
from batcache.manifest.manifest import Manifest

PEAK_MARK = Mark("ours", "<", 1.5)
FLAT_MARK = Mark("ours", "<", 1.25)


def measure_memory(
    sample: Sample, config: DataConfig, device: str, folder: Path, few: int, many: int, long_minutes: float
) -> Iterator[Row]:
    """Yield rows of the peak resident memory of builds over that of a process that has imported torch.

    Of the sample; of few and of many short recordings; of a long one.
    """
    torch_alone = run_apart(import_torch).peak_bytes
    section = "peak memory of a build, over torch's own"
    if torch_alone is None:
        yield Row(section, "not measured", note="this system does not tell a process its peak memory")
        return
    peaks: dict[str, int] = {}

    def measure(what: str, manifest: Manifest) -> Row:
        peaks[what] = run_apart(build_once, manifest, folder / "features.zarr", config, device).peak_bytes or 0
        over = (peaks[what] - torch_alone) / 1e9
        note = f"a process that has imported torch takes {torch_alone / 1e9:.2f} GB"
        return Row(section, what, over, "GB", better="less", mark=PEAK_MARK, note=note)

    folder.mkdir(parents=True, exist_ok=True)
    yield measure(f"{len(sample)} recordings", sample.manifest)
    if many:
        short = write_short(folder / "short", many)
        yield measure(f"{few:,} short ones", replace(short, clips=short.clips[:few]))
        yield measure(f"{many:,} short ones", short)
        *_, one, other = peaks.values()
        yield Row(section, f"{many:,} to {few:,}", other / one, "times", better="less", mark=FLAT_MARK)
        shutil.rmtree(folder / "short")
    if long_minutes:
        long = write_long(folder / "long", long_minutes, config)
        yield measure(f"one recording of {long_minutes:g} minutes", long.manifest)
    shutil.rmtree(folder)


def measure_disk(sample: Sample, store: Path) -> Iterator[Row]:
    """Yield what a recording takes in a store beside its WAV."""
    stored = sum(path.stat().st_size for path in store.rglob("*") if path.is_file())
    count = len(sample) * 1e6
    yield Row(
        "on disk", "a recording in the store", stored / count, "MB", "its WAV", sample.wav_bytes / count, better="less"
    )


def import_torch() -> None:
    """Import torch: the memory that every command which computes takes before it does."""
    import torch  # noqa: F401


def build_once(manifest: Manifest, store: Path, config: DataConfig, device: str) -> None:
    """Build a store that is not there yet, then remove it."""
    from batcache.storage.memory import keep_freed_memory
    from batcache.store.build.build import build

    keep_freed_memory()  # as the command line does
    build(manifest, store, config, device)
    shutil.rmtree(store)
