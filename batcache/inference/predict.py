"""New recordings judged by a model: from files or a cache to a table and the evidence of every instance.

What is left in the folder: ``predictions.csv``, see ``verdicts``; ``thresholds.csv``, see ``calibration.table``;
``instances.npz``, see ``predictions``; and ``scored.jsonl``, see ``journal``, by which the next call goes on.
"""

import os
import time
from collections import Counter
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from batcache.cluster import Cluster
from batcache.device import limit_threads
from batcache.errors import PredictError, remedy_for
from batcache.inference.calibration.calibrate import Calibration
from batcache.inference.calibration.of_groups import calibrate_groups, offered_thresholds
from batcache.inference.calibration.of_model import calibrate_model
from batcache.inference.calibration.platt import Floats
from batcache.inference.calibration.probabilities import find_probabilities, list_probabilities
from batcache.inference.calibration.table import columns_of_thresholds
from batcache.inference.calibration.thresholds import PRECISION
from batcache.inference.groups import group_scores, groups_of
from batcache.inference.model_file import ModelFile, require_its_features
from batcache.inference.predictions import Predictions, collect, leave_empty, write_arrays
from batcache.inference.recordings.candidates import Candidates, Recordings
from batcache.inference.recordings.journal import Header, Journal, Scored
from batcache.inference.recordings.judge import Rejected, judge
from batcache.inference.recordings.spread import judge_on_workers
from batcache.inference.verdicts import LEARNT, VALIDATED, Thresholds, columns_of, list_verdicts, write_verdicts
from batcache.manifest.cells import UNKNOWN
from batcache.manifest.find_recordings import Found
from batcache.manifest.manifest import Clip
from batcache.progress import OnProgress, Progress, ignore_progress, raising_what_listeners_raise
from batcache.storage.exclusive import lock_file
from batcache.store.build.hands import Workers
from batcache.store.format.commit import CachedRecording

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class PredictStarted:
    """What a call is going to do: ``kept`` recordings were judged by earlier ones, and are not judged again."""

    model: ModelFile
    recordings: int
    kept: int


@dataclass(frozen=True)
class PredictReport:
    """What a model says of recordings.

    Attributes:
        folder: where the files lie.
        model: that judged.
        threshold: at and above which a score counts, if one was given for all species.
        calibration: the threshold of each species, and what it rests on.
        group_calibration: the same of groups of species.
        probabilities: by which each species is there; NaN for those that are not calibrated. Shape: ``[R, C]``
        prevalence: of each calibrated species, in which share of the clips it was calibrated on it is, and in which
            share of these recordings, as far as they tell without labels; empty where this was not asked for.
        predictions: scores, and the evidence of each instance, of all that were judged.
        columns: the table, a row for each recording, also for those that were rejected.
        rejected: recordings that could not be judged, and why.
        judged: how many were judged now, the others by earlier calls.
        audio_s: true seconds of what was judged now.
        seconds: that it took.
    """

    folder: Path
    model: ModelFile
    threshold: float | None
    calibration: Calibration
    group_calibration: Calibration
    probabilities: Floats
    prevalence: Mapping[str, tuple[float, float]]
    predictions: Predictions
    columns: Mapping[str, list[str] | list[float]]
    rejected: Mapping[str, str]
    judged: int
    audio_s: float
    seconds: float

    @property
    def table_file(self) -> Path:
        """The CSV with a row for each recording."""
        return self.folder / "predictions.csv"

    @property
    def thresholds_file(self) -> Path:
        """The CSV with a row for each species: its threshold, and what that rests on."""
        return self.folder / "thresholds.csv"

    @property
    def instances_file(self) -> Path:
        """The npz with the evidence of each instance."""
        return self.folder / "instances.npz"

    @property
    def found(self) -> dict[str, int]:
        """How many recordings hold each species, by their scores."""
        held = (self.predictions.scores >= self.calibration.values.astype(np.float32)).sum(0)
        return {str(name): int(count) for name, count in zip(self.predictions.species, held, strict=True)}

    @property
    def verdicts(self) -> dict[str, int]:
        """How many recordings got each verdict."""
        return dict(Counter(map(str, self.columns["verdict"])))

    @property
    def learnt(self) -> int:
        """How many of the recordings the model has learnt from, as far as its checkpoint tells."""
        return sum(LEARNT in str(notes) for notes in self.columns["notes"])

    @property
    def validated(self) -> int:
        """How many of the recordings the model was validated on, as far as its checkpoint tells."""
        return sum(VALIDATED in str(notes) for notes in self.columns["notes"])

    @property
    def found_groups(self) -> dict[str, int]:
        """How many recordings hold a species of each group without it being said which."""
        named = Counter(name for cell in self.columns["species_group"] for name in str(cell).split("; ") if name)
        return {name: named[name] for name in self.group_calibration.species}

    def table(self) -> dict[str, NDArray[Any]]:
        """Columns by name, a row for each recording, as a DataFrame wants them."""
        return {name: np.array(values) for name, values in self.columns.items()}

    def to_pandas(self) -> Any:
        """``table`` as a ``pandas.DataFrame``.

        Raises:
            PredictError: pandas is not installed.
        """
        try:
            pandas = import_module("pandas")
        except ImportError:
            raise PredictError("to_pandas", "pandas is not installed", "Install it, or take table()") from None
        return pandas.DataFrame(self.table())


@raising_what_listeners_raise
def predict(
    recordings: Recordings,
    model: ModelFile,
    folder: Path,
    device: "torch.device | str",
    *,
    threshold: float | None = None,
    precision: float = PRECISION,
    fit_prevalence: bool = False,
    workers: int | None = None,
    cluster: Cluster | None = None,
    on_progress: OnProgress = ignore_progress,
) -> PredictReport:
    """Judge recordings. Stopped at any moment, the same call goes on; what was judged is not judged again.

    Args:
        recordings: files that were found, or a cache of their features.
        model: that judges.
        folder: for what comes of it; made where it is missing.
        device: ``auto``, ``cpu`` or ``cuda``.
        threshold: of the scores, at and above which any species counts; by default each has its own, from the clips
            that the model carries or was calibrated on, and 0.5 where there are none.
        precision: that is wanted of each species' own threshold.
        fit_prevalence: correct probabilities for how common each species is in these recordings, as they tell.
        workers: threads that decode and, on the CPU, compute; by default one a core.
        cluster: whose workers look at files and judge them, in the place of threads of this process, which reads a
            cache itself.
        on_progress: hears of ``predict``, in recordings; its first result is a ``PredictStarted``.

    Raises:
        ConfigError: a precision that is not between 0 and 1; a device that is not there, or that the model cannot use.
        ClusterError: workers that cannot do it.
        RunError: a model whose features cannot be computed any more, or whose scores are not finite; a calibration
            beside it that is damaged or of another model.
        StoreError: a cache of other features, or damage in it.
        PredictError: a folder that holds the scores of another model, or cannot be written.
    """
    began = time.perf_counter()
    root, total = str(recordings.root), len(recordings.names) + len(recordings.rejected)
    calibration, groups = calibrate_model(model, precision, threshold), groups_of(model.checkpoint)
    group_calibration = calibrate_groups(model, groups, calibration, precision)
    if isinstance(recordings, Found):
        model.require_present_front_end()
    else:
        require_its_features(model.checkpoint, recordings.store)
    with _held(folder), Journal(folder, Header(model.digest, root)) as journal:
        on_progress(Progress("predict", 0, total, PredictStarted(model, total, len(journal.scored))))
        candidates = Candidates(recordings, journal, lambda settled: on_progress(Progress("predict", settled, total)))
        if cluster and isinstance(recordings, Found):
            placed = candidates.files_to_judge(recordings, model, Workers(cluster))
            judged = _keep(candidates, judge_on_workers(cluster, placed, recordings.root, model, str(device)))
        else:
            judged = _judge_here(candidates, model, str(device), workers or os.cpu_count() or 1)
        rows, rejected = candidates.outcome()
        predictions = _arrange(rows, journal, model, root)
        probabilities, prevalence = find_probabilities(predictions.scores, calibration, fit_prevalence)
        of_groups, _ = find_probabilities(group_scores(predictions.scores, groups), group_calibration, fit_prevalence)
        thresholds = Thresholds(calibration.values, groups, offered_thresholds(group_calibration, threshold))
        heard, checkpoint = {name: journal.scored[row.key] for name, row in rows.items()}, model.checkpoint
        pulses = {name: (one.pulses, one.calls) for name, one in heard.items()}
        known = checkpoint.features, pulses, checkpoint.trained_on
        verdicts = list_verdicts(rows, rejected, predictions, thresholds, *known)
        paths = [one.path for one in verdicts]
        likely = list_probabilities(paths, predictions, probabilities, calibration)
        likely |= list_probabilities(paths, predictions, of_groups, group_calibration)
        report = PredictReport(
            folder=folder,
            model=model,
            threshold=threshold,
            calibration=calibration,
            group_calibration=group_calibration,
            probabilities=probabilities,
            prevalence=prevalence,
            predictions=predictions,
            columns=columns_of(verdicts, model.checkpoint.species, threshold, model.name, likely),
            rejected=rejected,
            judged=len(judged),
            audio_s=sum(judged),
            seconds=time.perf_counter() - began,
        )
        write_arrays(report.instances_file, predictions)
        offered = [calibration] if threshold is not None else [calibration, group_calibration]
        write_verdicts(report.thresholds_file, columns_of_thresholds(*offered))
        write_verdicts(report.table_file, report.columns)  # the last: where it is, all is
    return report


def _judge_here(candidates: Candidates, model: ModelFile, device: str, workers: int) -> list[float]:
    """Judge what is left by threads of this process. Returns the true seconds of each recording."""
    ready = model.judge_on(device)
    with (
        limit_threads(1),
        closing(candidates.to_judge(model, ready.front_end, workers)) as framed,
    ):
        return _keep(candidates, judge(ready, framed, workers))


def _keep(candidates: Candidates, judged: Generator[Scored | Rejected, None, None]) -> list[float]:
    """Take what is judged into the journal. Returns the true seconds of each recording."""
    seconds: list[float] = []
    with closing(judged):
        for one in judged:
            if isinstance(one, Scored):
                candidates.journal.add([one])
                seconds.append(one.row.duration_s)
            else:
                candidates.fail(one.name, one.reason)
            candidates.settle()
    return seconds


def _arrange(rows: Mapping[str, CachedRecording], journal: Journal, model: ModelFile, root: str) -> Predictions:
    """What was said of recordings, in their order."""
    checkpoint = model.checkpoint
    unknown = (UNKNOWN,) * len(checkpoint.species)
    predictions = collect(
        [Clip(name, Path(root), 0, unknown) for name in rows],
        [row.duration_s for row in rows.values()],
        [journal.scored[row.key].scores for row in rows.values()],
        checkpoint.species,
        checkpoint.frames_per_instance / checkpoint.features.frames_per_second,
    )
    return leave_empty(predictions, [not taught for taught in checkpoint.is_taught])


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Keep other processes from judging into this folder meanwhile; what the disk refuses is an error of its place."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with lock_file(folder / ".lock", wait=False):
            yield
    except BlockingIOError:
        raise PredictError(folder, "another process judges into it", "Wait for it, or pass another --out") from None
    except OSError as error:
        place, finding = error.filename or folder, error.strerror or str(error)
        remedy = f"{remedy_for(error, 'See to the disk')}. Then run it again: what was judged stays"
        raise PredictError(place, finding, remedy) from error
