"""Run folders: ``runs/<UTC time>-<pooling>/`` with all that a run was given and all that it made.

config.yaml     the settings in full
run.json        format, start, cache, CSVs, species, versions; ``finished`` once training ended by itself
split.csv       the clips as used: content hash, group, split
checkpoints/    best_model.pt, epoch_010.pt, ..., last.pt
logs/           metrics.jsonl, <split>_predictions.npz and .csv
metrics.json    what evaluation found, by split
test_page.png   the clips that tell most, drawn by ``batcache run``
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from batcache.config.settings import Config, load_config, to_plain
from batcache.errors import RunError, brief
from batcache.storage.disk import PARTIAL, write_file

FORMAT_VERSION = 1
BEST = Path("checkpoints") / "best_model.pt"
LAST = Path("checkpoints") / "last.pt"


def start_run(runs: Path, config: Config, about: Mapping[str, Any]) -> Path:
    """Create a run folder named by the present time and the pooling.

    Raises:
        RunError: it cannot be created.
    """
    started = datetime.now(UTC)
    name = f"{started:%Y%m%dT%H%M%SZ}-{config.model.pooling_type}"
    try:
        runs.mkdir(parents=True, exist_ok=True)
        taken = {path.name for path in runs.iterdir()}
        run = runs / next(n for n in (name, *(f"{name}-{i}" for i in range(2, 1000))) if n not in taken)
        partial = run.with_name(run.name + PARTIAL)  # a run appears with its record, or not at all
        for folder in (partial, partial / "checkpoints", partial / "logs"):
            folder.mkdir()
        settings = yaml.safe_dump(to_plain(config), sort_keys=False, allow_unicode=True)
        write_file(partial / "config.yaml", settings.encode())
        write_run(
            partial, {"format_version": FORMAT_VERSION, "started": started.isoformat(), **about, "finished": False}
        )
        partial.replace(run)
    except OSError as error:
        raise RunError(runs, f"cannot hold a run ({error.strerror})", "Pass another --run-dir") from None
    return run


def write_run(run: Path, about: Mapping[str, Any]) -> None:
    write_file(run / "run.json", json.dumps(about, indent=1).encode())


def read_run(run: Path) -> dict[str, Any]:
    """Return what ``run.json`` holds.

    Raises:
        RunError: missing, damaged, or of another format version.
    """
    place = run / "run.json"
    try:
        about = json.loads(place.read_bytes())
        version = about["format_version"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        finding = f"not a run's record ({brief(error)})"
        raise RunError(place, finding, "Pass a folder that `batcache train` made") from None
    if version != FORMAT_VERSION:
        raise RunError(place, f"format version {version}, this batcache reads {FORMAT_VERSION}", "Upgrade batcache")
    return dict(about)


def read_run_config(run: Path) -> Config:
    return load_config(run / "config.yaml")


def newest_run(runs: Path) -> Path:
    """The run that started last among those with a best model.

    Raises:
        RunError: there is none.
    """
    with_model = [path.parent.parent for path in runs.glob(f"*/{BEST.as_posix()}")]
    if not with_model:
        raise RunError(runs, "no run with a best model here", "Run `batcache train` first, or pass --run-dir")
    return max(with_model, key=lambda run: (read_run(run)["started"], run.name))
