"""Run folders: ``runs/<UTC time>-<pooling>/`` with all that a run was given and all that it made.

config.yaml     the settings in full
run.json        format, start, cache, CSVs, species, versions; ``finished`` once training ended by itself;
                ``patience_from``, the epoch from which patience counts where a run that had stopped was told to go on;
                ``simulated``, the clips that were simulated beside those of split.csv; ``guide``, the rows of the guide
                that the simulator was given
split.csv       the clips as used: content hash, group, split
earlier.csv     contents and groups that earlier models have heard, where the run starts from a file of the user's
checkpoints/    best_model.pt, epoch_010.pt, ..., last.pt
logs/           metrics.jsonl, <split>_predictions.npz and .csv; training.lock, held while the run is trained, with
                training.json, which says by whom, and metrics.lock, while metrics.json is written; wandb/ and
                wandb_step, where wandb is enabled
metrics.json    what evaluation found, by split
report.html     the same as a page; <split>_report.html of other splits than test
test_page.png   the clips that tell most, drawn by ``batcache run``
folds/          the runs of a cross-validation, one a fold
trunk.pt        of a run that taught a trunk
"""

import json
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from batcache.config.load import load_config
from batcache.config.renamed import rename_keys
from batcache.config.settings import BEST_MODEL, Config, to_plain
from batcache.config.yaml import read_sections
from batcache.errors import BatcacheError, ConfigError, RunError, StoreError, brief, list_some, shorten
from batcache.storage.disk import PARTIAL, temporary_name, write_file
from batcache.storage.exclusive import lock_file
from batcache.storage.listing import is_there, list_folder
from batcache.storage.place import suggest_path
from batcache.storage.regular import read_regular
from batcache.storage.sealed import DAMAGED, check_text, digest_of, open_json, seal_json, seal_text
from batcache.store.format.lock import hold, was_abandoned

FORMAT_VERSION = 1
BEST = BEST_MODEL
LAST = Path("checkpoints") / "last.pt"
SOURCES: Mapping[str, type] = {"csvs": list, "split_of": dict, "data_dir": str}
"""What names the clips of a run or of an outcome, as ``require_kinds`` takes it."""
_RECORD: Mapping[str, type] = {
    **{"started": str, "inputs": str, "cache": str, "species": list},
    **{"finished": bool, "patience_from": int, "sha256": dict, "simulated": list, "guide": list},
}
TRAINING = "training.json"
_BEING_MADE_S = 3600
"""A run's folder is made in seconds: what is younger than this may be another process's, at work."""


def start_run(runs: Path, config: Config, about: Mapping[str, Any], files: Mapping[str, bytes] | None = None) -> Path:
    """Create a run folder named by the present time and the pooling, and by a number where that name is taken.

    Of ``files``, which are written into it and stay as they are, the record holds the digests.

    Several may start at once: a folder is made under a name of its own and then renamed, which only one can do.

    Raises:
        RunError: it cannot be created.
    """
    started = datetime.now(UTC)
    name = f"{started:%Y%m%dT%H%M%SZ}-{config.model.pooling_type}"
    _remove_abandoned(runs)
    partial = temporary_name(runs / name)  # a run appears with its record, or not at all
    digests = {name: digest_of(content).decode() for name, content in (files or {}).items()}
    record = {"format_version": FORMAT_VERSION, "started": started.isoformat(), **about, "finished": False}
    record |= {"sha256": digests}
    try:
        for folder in (partial / "checkpoints", partial / "logs"):
            folder.mkdir(parents=True)
        write_run_config(partial, config)
        for file, content in (files or {}).items():
            write_file(partial / file, content)
        write_run(partial, record)
        for run in (runs / n for n in (name, *(f"{name}-{i}" for i in range(2, 1000)))):
            if not is_there(run) and _renamed(partial, run):
                return run
    except BaseException as error:
        shutil.rmtree(partial, ignore_errors=True)
        if isinstance(error, OSError):
            raise RunError.of_disk(runs, "cannot hold a run", error, "Pass another --run-dir") from None
        raise
    raise RunError(runs, f"holds 999 runs named {name}", "Pass another --run-dir")


def _remove_abandoned(runs: Path) -> None:
    """Remove the folders in which processes that were killed were making a run, an hour ago or more, and the runs of
    such as were killed before the first epoch was over: nothing goes on from there."""
    for run in list_folder(runs):
        with suppress(OSError):  # it stays
            if was_abandoned(run / "logs", TRAINING) and not is_there(run / LAST) and not is_there(run / BEST):
                shutil.rmtree(run)
    for folder in list_folder(runs, f"*.{'[0-9a-f]' * 32}{PARTIAL}"):
        with suppress(FileNotFoundError):  # removed by another
            if time.time() - folder.stat().st_mtime > _BEING_MADE_S:
                shutil.rmtree(folder, ignore_errors=True)


def _renamed(folder: Path, name: Path) -> bool:
    """Give a folder its name; False where another folder took it first."""
    try:
        folder.rename(name)  # onto a folder that holds something it fails on every system
    except OSError:
        if is_there(name):
            return False
        raise
    return True


def write_run(run: Path, about: Mapping[str, Any]) -> None:
    """Write ``run.json``, or leave what was there."""
    write_file(run / "run.json", seal_json(json.dumps(about, indent=1).encode()))


def read_run(run: Path) -> dict[str, Any]:
    """Return what ``run.json`` holds.

    Raises:
        RunError: missing, damaged, or of another format version.
    """
    place = run / "run.json"
    if not is_there(run):
        raise RunError(run, "no such run", suggest_path(run, "Pass a folder that `batcache train` made"))
    try:
        about = {"patience_from": 0, "sha256": {}, "simulated": [], "guide": [], **open_json(read_regular(place))}
        version = about["format_version"]
        if version == FORMAT_VERSION:
            require_kinds(about, {**_RECORD, **SOURCES})
            datetime.fromisoformat(about["started"])
            if not about["species"] or not 0 <= about["patience_from"] < 1 << 31:
                raise ValueError("no species, or a patience_from that cannot be")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        finding = f"not a run's record ({brief(error)})"
        raise RunError(place, finding, "Pass a folder that `batcache train` made") from None
    if version != FORMAT_VERSION:
        raise RunError(
            place, f"format version {shorten(str(version))}, this batcache reads {FORMAT_VERSION}", "Upgrade batcache"
        )
    return about


def _is_a_name(text: str) -> bool:
    """Whether a path or species may be called so: names that are not UTF-8 have surrogates of their own."""
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


def require_kinds(document: Any, kinds: Mapping[str, type]) -> None:
    """See that a mapping read from JSON holds these keys with values of these kinds; lists and mappings hold texts.

    Raises:
        KeyError, TypeError: it does not.
    """
    for name, kind in kinds.items():
        value = document[name]
        within = value if kind is list else value.values() if kind is dict and isinstance(value, dict) else ()
        is_number = kind is int and isinstance(value, bool)
        if is_number or not isinstance(value, kind) or not all(isinstance(text, str) for text in within):
            raise TypeError(f"{name} is not what was written")
        texts = [value] if isinstance(value, str) else [*value, *within] if isinstance(value, dict) else within
        if any("\0" in text or not _is_a_name(text) for text in texts):
            raise ValueError(f"{name} holds what no name can")


def read_as_begun(run: Path, name: str) -> str:
    """The text of a file that a run was begun with, which is as it was written, as far as the run's record tells.

    Raises:
        OSError: it is not there, or the disk refuses.
        ValueError: it does not match its digest, or is no text.
        RunError: the record is damaged.
    """
    content = read_regular(run / name)
    wanted = read_run(run)["sha256"].get(name) if is_there(run / "run.json") else None
    if wanted is not None and digest_of(content).decode() != wanted:
        raise ValueError(DAMAGED)
    return content.decode()


@contextmanager
def held_alone(run: Path) -> Iterator[None]:
    """Keep other processes from training this run meanwhile: on this machine by a lock of the system, elsewhere, and
    where there are none, by a file that says who trains it, as a builder holds a store.

    Raises:
        RunError: one is training it.
    """
    with ExitStack() as stack:
        try:
            (run / "logs").mkdir(exist_ok=True)
            stack.enter_context(lock_file(run / "logs" / "training.lock", wait=False))
            stack.enter_context(hold(run / "logs", TRAINING, "trained"))
        except BlockingIOError:
            raise RunError(run, "is being trained by another process", "Wait for it, or stop it") from None
        except OSError as error:
            raise RunError.of_disk(run, "cannot be trained", error) from None
        except StoreError as error:
            raise RunError(run, error.finding, error.remedy) from None
        yield


@contextmanager
def removed_before_an_epoch(run: Path) -> Iterator[None]:
    """Remove a new run where its training ends, by an error or Ctrl-C, before its first epoch is over: nothing goes on
    from there."""
    try:
        yield
    except BaseException:
        with suppress(OSError, BatcacheError):  # what went wrong first is what matters
            if not is_there(run / LAST):
                shutil.rmtree(run)
        raise


def write_run_config(run: Path, config: Config) -> None:
    """Write ``config.yaml``, or leave what was there."""
    settings = yaml.safe_dump(to_plain(config), sort_keys=False, allow_unicode=True)
    write_file(run / "config.yaml", seal_text(settings.encode()))


def read_run_config(run: Path) -> Config:
    """Return the settings of a run, of an earlier version's too.

    What was renamed since is taken under its new name; what there is no more decides nothing here and is left out.

    Raises:
        ConfigError: the file cannot be read, or a value is of the wrong type or range.
    """
    path = run / "config.yaml"
    try:
        check_text(read_regular(path))
    except OSError:
        pass  # said where it is read
    except ValueError as error:
        remedy = "Restore it from a copy; or, if you changed it on purpose, delete its first line"
        raise ConfigError(path, str(error), remedy) from None
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
    for run in list_folder(runs):
        if not run.name.endswith(PARTIAL) and is_there(run / "run.json"):  # the others are still being made
            with suppress(RunError):
                found[run] = read_run(run)
    return found


def list_unreadable(runs: Path) -> dict[Path, str]:
    """The folders below ``runs`` that have a model and no readable record, and what is wrong with it: one of them may
    be the run that is looked for."""
    found = {}
    for run in list_folder(runs):
        if not run.name.endswith(PARTIAL) and (is_there(run / BEST) or is_there(run / LAST)):
            try:
                read_run(run)
            except RunError as error:
                found[run] = error.finding
    return found


def newest_run(runs: Path) -> Path:
    """The run that started last among those with a best model. What is no run of ours is passed over.

    Raises:
        RunError: there is none; names folders that have a model and no readable record.
    """
    there = list_runs(runs)
    with_model = [run for run in there if is_there(run / BEST)]
    if not with_model:
        if is_there(runs / BEST):
            remedy = f"Pass --run-dir {runs.absolute().parent} for its newest, or --checkpoint {runs / BEST}"
            raise RunError(runs, "a run, expected the folder that runs lie in", remedy)
        unreadable = [run.name for run in list_unreadable(runs)]
        without = f", but without a readable run.json: {list_some(unreadable)}" if unreadable else ""
        raise RunError(runs, f"no run with a best model here{without}", "Run `batcache train` first, or pass --run-dir")
    return max(with_model, key=lambda run: (there[run]["started"], run.name))
