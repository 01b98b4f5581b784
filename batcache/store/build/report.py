"""What a build says of itself, and what it leaves beside the cache: the list of rejects and the log."""

import json
import socket
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from batcache.config.settings import DataConfig
from batcache.storage.disk import append_file, remove_partials, write_file
from batcache.storage.place import Place
from batcache.storage.spreadsheet import to_csv
from batcache.store.build.plan import Plan
from batcache.store.format.index import Index


@dataclass(frozen=True)
class BuildReport:
    """What a build did and what the manifest's recordings look like in the store.

    ``off_rate`` counts recordings whose true rate is not the expected one, ``outside_below`` and ``outside_above``
    name those with most of their energy below ``fmin`` or above ``fmax``, ``multichannel`` those of which only one of
    several channels was used. ``doubtful`` says of those whose time expansion may be another which was taken and why
    it is doubted; ``unread`` what of a file's metadata could not be read; ``overscale`` how many times full scale the
    float samples of some reach; ``headers`` what was not believed of a file's header; ``channels`` why another channel
    may be the one to take. ``constant`` names recordings that hold nothing but one value.
    """

    cache: Place
    config: DataConfig
    computed: int
    kept: int
    duplicates: int
    rejected: Mapping[str, str]
    recordings: int
    instances: int
    seconds: float
    audio_s: float
    off_rate: int
    doubtful: Mapping[str, str]
    unread: Mapping[str, str]
    overscale: Mapping[str, float]
    low_nyquist: int
    outside_below: tuple[str, ...]
    outside_above: tuple[str, ...]
    multichannel: tuple[str, ...]
    headers: Mapping[str, str]
    channels: Mapping[str, str]
    constant: tuple[str, ...]

    @property
    def rejected_list(self) -> Place:
        """The CSV that lists the rejected, where there are any."""
        return self.cache.with_name(f"{self.cache.name}.rejected.csv")


def make_report(
    cache: Place, index: Index, todo: Plan, paths: Iterable[str], config: DataConfig, seconds: float
) -> BuildReport:
    """Put together what a build did from its plan and the index that it left."""
    rejected = todo.rejected
    rows = [row for path in paths if path not in rejected for row in index.by_path.get(path, ())]
    failed = {row.path: row.failure for row in rows if row.failure}
    good = [row for row in rows if not row.failure]
    reasons = {**rejected, **failed}
    computed = [placed for task in todo.tasks for placed in task.recordings]
    return BuildReport(
        cache=cache,
        config=config,
        computed=sum(1 for placed in computed if placed.file.path not in failed),
        kept=todo.count("keep"),
        duplicates=todo.count("duplicate"),
        rejected={path: reasons[path] for path in paths if path in reasons},
        recordings=len(good),
        instances=sum({row.first_instance: row.instances for row in good}.values()),
        seconds=seconds,
        audio_s=sum(row.duration_s for row in good),
        doubtful={
            row.path: f"taken as {row.time_expansion:g}: {row.expansion_warning}"
            for row in good
            if row.expansion_warning
        },
        unread={row.path: row.unread for row in good if row.unread},
        overscale={row.path: row.overscale for row in good if row.overscale},
        off_rate=sum(row.true_rate != config.sample_rate for row in good),
        low_nyquist=sum(row.dead_bands > 0 for row in good),
        outside_below=tuple(row.path for row in good if row.energy_below > 0.5),
        outside_above=tuple(row.path for row in good if row.energy_above > 0.5),
        multichannel=tuple(row.path for row in good if row.channels > 1),
        headers={row.path: row.header_warning for row in good if row.header_warning},
        channels={row.path: row.channel_warning for row in good if row.channel_warning},
        constant=tuple(row.path for row in good if row.constant),
    )


def write_rejected(report: BuildReport) -> None:
    """List rejects beside the cache; no rejects, no file."""
    place = report.rejected_list
    remove_partials(place)  # of builds that were killed: whoever holds the store is the only one who writes it
    if not report.rejected:
        place.unlink(missing_ok=True)
        return
    write_file(place, to_csv([("filename", "reason"), *report.rejected.items()]))


def write_log(report: BuildReport, began: float) -> None:
    """Append to the build log beside the cache what must not be in it: clock, host, duration."""
    entry: dict[str, Any] = {
        "began": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(began)),
        "host": socket.gethostname(),
        "seconds": round(report.seconds, 2),
        "computed": report.computed,
        "kept": report.kept,
        "rejected": len(report.rejected),
    }
    place, line = report.cache.with_name(f"{report.cache.name}.log"), json.dumps(entry) + "\n"
    append_file(place, line.encode())
