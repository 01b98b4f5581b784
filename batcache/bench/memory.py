"""How much memory a build takes, each measured in a process of its own, and what a recording takes on disk."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from batcache.bench.apart import run_apart
from batcache.bench.recordings import Sample, write_long
from batcache.bench.rows import Mark, Row
from batcache.config import DataConfig

PEAK_MARK = Mark("ours", "<", 1.5)
FLAT_MARK = Mark("ours", "<", 1.25)
_FEW = 10


def measure_memory(sample: Sample, config: DataConfig, device: str, folder: Path, long_minutes: float) -> Iterator[Row]:
    """Yield rows of the peak resident memory of builds over that of a process that has imported torch."""
    torch_alone = run_apart(import_torch).peak_bytes
    section, unit = "peak memory of a build, over torch's own", "GB"
    if torch_alone is None:
        yield Row(section, "not measured", note="this system does not tell a process its peak memory")
        return
    folder.mkdir(parents=True, exist_ok=True)
    note = f"a process that has imported torch takes {torch_alone / 1e9:.2f} GB"
    peaks = {}
    for count in sorted({min(_FEW, len(sample)), len(sample)}):
        peaks[count] = (
            run_apart(build_once, sample.first(count), folder / "features.zarr", config, device).peak_bytes or 0
        )
        over = (peaks[count] - torch_alone) / 1e9
        yield Row(section, f"{count} recordings", over, unit, better="less", mark=PEAK_MARK, note=note)
    if len(peaks) > 1:
        few, all_of_them = peaks
        what = f"{all_of_them} recordings to {few}"
        yield Row(section, what, peaks[all_of_them] / peaks[few], "times", better="less", mark=FLAT_MARK)
    if long_minutes:
        long = write_long(folder / "long", long_minutes, config)
        peak = run_apart(build_once, long, folder / "features.zarr", config, device).peak_bytes or 0
        what = f"one recording of {long_minutes:g} minutes"
        over = (peak - torch_alone) / 1e9
        yield Row(section, what, over, unit, better="less", mark=PEAK_MARK, note=note)
    shutil.rmtree(folder)


def measure_disk(sample: Sample, store: Path) -> Iterator[Row]:
    """Yield what a recording takes in a store beside its WAV."""
    stored = sum(path.stat().st_size for path in store.rglob("*") if path.is_file())
    count = len(sample) * 1e6
    yield Row(
        "on disk", "a recording in the store", stored / count, "MB", "its WAV", sample.wav_bytes / count, better="less"
    )


def import_torch() -> None:
    import torch  # noqa: F401


def build_once(sample: Sample, store: Path, config: DataConfig, device: str) -> None:
    """Build a store that is not there yet, then remove it."""
    from batcache.memory import keep_freed_memory
    from batcache.store.build import build

    keep_freed_memory()  # as the command line does
    for _ in build(sample.manifest, store, config, device):
        pass
    shutil.rmtree(store)
