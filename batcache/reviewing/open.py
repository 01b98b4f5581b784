"""What ``batcache review`` is given, found: predictions and the recordings that they are of."""

from dataclasses import dataclass
from pathlib import Path

from batcache.errors import ReviewError
from batcache.evaluation.judged import read_judged
from batcache.inference.recordings.choose import is_cache
from batcache.inference.recordings.journal import read_header
from batcache.reviewing.judged import Judged
from batcache.reviewing.of_predictions import read_folder
from batcache.reviewing.of_run import read_run_judged
from batcache.reviewing.recordings import CachedRecordings, JudgedFiles, Recordings
from batcache.storage.listing import is_folder, is_there
from batcache.storage.place import parse_place
from batcache.store.open import open_store
from batcache.training.run_inputs import find_cache


@dataclass(frozen=True)
class Opened:
    """Predictions, and what they look and sound like."""

    judged: Judged
    recordings: Recordings


def open_target(target: Path, split: str = "test", data_dir: Path | None = None) -> Opened:
    """Open a folder of predictions, or what a run has judged under the name of ``split``.

    Args:
        target: the folder.
        split: of a run: what was judged.
        data_dir: where the recordings are now, if not where they were.

    Raises:
        ReviewError, PredictError, RunError: nothing is there, or it is damaged.
        StoreError, ManifestError: a cache, or a table, that is gone or damaged.
    """
    if data_dir is not None and not is_folder(data_dir):
        raise ReviewError(data_dir, "not a folder", "Pass --data-dir with the folder of the recordings")
    if not is_folder(target):
        raise ReviewError(target, "no such folder", "Pass the --out folder of `batcache predict`, or a run's folder")
    if is_there(target / "run.json"):
        outcome, _ = read_judged(target, split)
        home = data_dir or (target / outcome["data_dir"]).resolve()
        return Opened(read_run_judged(target, split), CachedRecordings(open_store(find_cache(target)), home))
    judged, root = read_folder(target), parse_place(read_header(target).root)
    if is_cache(root):
        store = open_store(root)
        home = data_dir or store.last_build().data_dir
        return Opened(judged, CachedRecordings(store, home))
    home = data_dir or Path(str(root))
    return Opened(judged, JudgedFiles(home, target))
