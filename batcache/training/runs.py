"""Run folders: ``runs/<UTC time>-<pooling>/`` with all that a run was given and all that it made.

config.yaml     the settings in full
run.json        format, start, cache, CSVs, species, versions; ``finished`` once training ended by itself
split.csv       the clips as used: content hash, group, split
checkpoints/    best_model.pt, epoch_010.pt, ..., last.pt
logs/           metrics.jsonl, <split>_predictions.npz and .csv; metrics.lock, held while metrics.json is written
metrics.json    what evaluation found, by split
test_page.png   the clips that tell most, drawn by ``batcache run``
"""

import json
import shutil
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import yaml

from batcache.config.renamed import rename_keys
from batcache.config.settings import Config, load_config, to_plain
from batcache.config.yaml import read_sections
from batcache.errors import ConfigError, RunError, brief, list_some
from batcache.storage.disk import PARTIAL, write_file

FORMAT_VERSION = 1
BEST = Path("checkpoints") / "best_model.pt"
LAST = Path("checkpoints") / "last.pt"


def start_run(runs: Path, config: Config, about: Mapping[str, Any]) -> Path:
    """Create a run folder named by the present time and the pooling, and by a number where that name is taken.

    Several may start at once: a folder is made under a name of its own and then renamed, which only one can do.

    Raises:
        RunError: it cannot be created.
    """
    started = datetime.now(UTC)
    name = f"{started:%Y%m%dT%H%M%SZ}-{config.model.pooling_type}"
    partial = runs / f"{name}.{uuid4().hex}{PARTIAL}"  # a run appears with its record, or not at all
    record = {"format_version": FORMAT_VERSION, "started": started.isoformat(), **about, "finished": False}
    try:
        for folder in (partial / "checkpoints", partial / "logs"):
            folder.mkdir(parents=True)
        write_run_config(partial, config)
        write_run(partial, record)
        for run in (runs / n for n in (name, *(f"{name}-{i}" for i in range(2, 1000)))):
            if not run.exists() and _renamed(partial, run):
                return run
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise RunError(runs, f"cannot hold a run ({error.strerror})", "Pass another --run-dir") from None
    raise RunError(runs, f"holds 999 runs named {name}", "Pass another --run-dir")


def _renamed(folder: Path, name: Path) -> bool:
    """Give a folder its name; False where another folder took it first."""
    try:
        folder.rename(name)  # onto a folder that holds something it fails on every system
    except OSError:
        if name.exists():
            return False
        raise
    return True


def write_run(run: Path, about: Mapping[str, Any]) -> None:
    """Write ``run.json``, or leave what was there."""
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
        if version == FORMAT_VERSION:
            for name in ("started", "inputs"):
                about[name].encode()  # what runs are told apart by
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        finding = f"not a run's record ({brief(error)})"
        raise RunError(place, finding, "Pass a folder that `batcache train` made") from None
    if version != FORMAT_VERSION:
        raise RunError(place, f"format version {version}, this batcache reads {FORMAT_VERSION}", "Upgrade batcache")
    return dict(about)


def write_run_config(run: Path, config: Config) -> None:
    """Write ``config.yaml``, or leave what was there."""
    settings = yaml.safe_dump(to_plain(config), sort_keys=False, allow_unicode=True)
    write_file(run / "config.yaml", settings.encode())


def read_run_config(run: Path) -> Config:
    """Return the settings of a run, of an earlier version's too.

    What was renamed since is taken under its new name; what there is no more decides nothing here and is left out.

    Raises:
        ConfigError: the file cannot be read, or a value is of the wrong type or range.
    """
    path = run / "config.yaml"
    sections = {section: rename_keys(section, keys) for section, keys in read_sections(path).items()}
    known = to_plain(Config())
    kept = {
        section: {key: value for key, value in sections.get(section, {}).items() if key in keys}
        for section, keys in known.items()
    }
    try:
        return load_config(base=kept)
    except ConfigError as error:
        place = error.place.replace("configuration", str(path), 1)
        raise ConfigError(place, error.finding, error.remedy) from None


def list_runs(runs: Path) -> dict[Path, dict[str, Any]]:
    """The folders below ``runs`` that are runs, and their records. What is none, or is damaged, is left out."""
    found = {}
    for place in sorted(runs.glob("*/run.json")):
        with suppress(RunError):
            found[place.parent] = read_run(place.parent)
    return found


def newest_run(runs: Path) -> Path:
    """The run that started last among those with a best model. What is no run of ours is passed over.

    Raises:
        RunError: there is none; names folders that have a best model and no readable record.
    """
    there = list_runs(runs)
    with_model = [run for run in there if (run / BEST).exists()]
    if not with_model:
        unreadable = [path.parent.parent.name for path in sorted(runs.glob(f"*/{BEST.as_posix()}"))]
        without = f", but without a readable run.json: {list_some(unreadable)}" if unreadable else ""
        raise RunError(runs, f"no run with a best model here{without}", "Run `batcache train` first, or pass --run-dir")
    return max(with_model, key=lambda run: (there[run]["started"], run.name))
