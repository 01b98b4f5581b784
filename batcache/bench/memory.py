"""How much memory a build takes, each measured in a process of its own, and what a recording takes on disk."""

import multiprocessing
import shutil
import sys
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path

from batcache.bench.recordings import Sample, write_long
from batcache.bench.rows import Mark, Row
from batcache.config import DataConfig
from batcache.errors import BatcacheError

PEAK_MARK = Mark("ours", "<", 1.5)
FLAT_MARK = Mark("ours", "<", 1.25)
_FEW = 10


def measure_memory(sample: Sample, config: DataConfig, device: str, folder: Path, long_minutes: float) -> Iterator[Row]:
    """Yield rows of the peak resident memory of builds over that of a process that has imported torch."""
    torch_alone = peak_bytes(import_torch)
    section, unit = "peak memory of a build, over torch's own", "GB"
    if torch_alone is None:
        yield Row(section, "not measured", note="this system does not tell a process its peak memory")
        return
    folder.mkdir(parents=True, exist_ok=True)
    note = f"a process that has imported torch takes {torch_alone / 1e9:.2f} GB"
    peaks = {}
    for count in sorted({min(_FEW, len(sample)), len(sample)}):
        peaks[count] = peak_bytes(build_once, sample.first(count), folder / "features.zarr", config, device) or 0
        over = (peaks[count] - torch_alone) / 1e9
        yield Row(section, f"{count} recordings", over, unit, better="less", mark=PEAK_MARK, note=note)
    if len(peaks) > 1:
        few, all_of_them = peaks
        what = f"{all_of_them} recordings to {few}"
        yield Row(section, what, peaks[all_of_them] / peaks[few], "times", better="less", mark=FLAT_MARK)
    if long_minutes:
        long = write_long(folder / "long", long_minutes, config)
        peak = peak_bytes(build_once, long, folder / "features.zarr", config, device) or 0
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


def peak_bytes(work: Callable[..., None], *arguments: object) -> int | None:
    """The peak resident memory of a fresh process that does this work; None where the system does not tell.

    Raises:
        BatcacheError: the process died.
    """
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe(duplex=False)
    process = spawn.Process(target=_report_peak, args=(there, work, arguments))
    process.start()
    there.close()
    try:
        peak: int | None = here.recv()
    except EOFError:
        raise BatcacheError(
            "benchmark", f"a process died in {work.__name__}", "Free some memory, or measure less"
        ) from None
    finally:
        process.join()
    return peak


def _report_peak(there: Connection, work: Callable[..., None], arguments: tuple[object, ...]) -> None:
    work(*arguments)
    there.send(_own_peak())


def _own_peak() -> int | None:
    """Linux counts its parent's memory in ``ru_maxrss``, as it was when the process was made; ``VmHWM`` is its own."""
    if sys.platform == "linux":
        status = Path("/proc/self/status").read_text()
        lines = [line.split() for line in status.splitlines() if line.startswith("VmHWM:")]
        return int(lines[0][1]) * 1024 if lines else None
    if sys.platform == "win32":
        return None
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS
