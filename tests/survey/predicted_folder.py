"""A folder as ``predict`` leaves it, without a model: of recordings whose scores and evidence are given."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from batcache.config.features import FeatureConfig
from batcache.features.call_measures import CallMeasures
from batcache.inference.groups import SpeciesGroup
from batcache.inference.predictions import Predictions, write_arrays
from batcache.inference.verdicts import Thresholds, columns_of, list_verdicts, write_verdicts
from batcache.storage.spreadsheet import to_csv
from batcache.store.format.commit import CachedRecording

SPECIES = ("Pipistrellus pipistrellus", "Myotis daubentonii", "Myotis nattereri")
CALLS = CallMeasures(46.0, 44.5, 60.25, 5.0, 90.0, 4)
MODEL = "best_model.pt 12345678"


@dataclass(frozen=True)
class Said:
    """What a model says of a recording: scores by species, evidence of each instance, whether there is a bat."""

    scores: Sequence[float] = (0.1, 0.1, 0.1)
    evidence: Sequence[Sequence[float]] = ((0.0, 0.0, 0.0),) * 4
    bat: float = 0.1
    duration_s: float = 2.0
    expansion: float = 1.0
    recorded_at: str | None = None
    place: tuple[float, float] | None = None
    calls: CallMeasures | None = CALLS
    recorder: str | None = None
    extra: Mapping[str, object] = field(default_factory=dict)


def write_predicted(
    folder: Path, root: Path, said: Mapping[str, Said], rejected: Mapping[str, str] | None = None
) -> Path:
    """Write the folder; thresholds are 0.5, of the group ``Myotis sp.`` 0.4."""
    rows = {name: _row_of(name, one) for name, one in said.items()}
    counts = [len(one.evidence) for one in said.values()]
    starts = [0.5 * np.arange(count) for count in counts]
    ends = [np.minimum(s + 0.5, one.duration_s) for s, one in zip(starts, said.values(), strict=True)]
    predictions = Predictions(
        filenames=np.array(list(said), str),
        start_s=np.zeros(len(said)),
        duration_s=np.full(len(said), np.nan),
        species=np.array(SPECIES),
        scores=np.array([one.scores for one in said.values()], np.float32).reshape(-1, 3),
        labels=np.full((len(said), 3), -1, np.int8),
        evidence=np.concatenate([np.array(one.evidence, np.float16).reshape(-1, 3) for one in said.values()]),
        evidence_start_s=np.concatenate([[], *starts]),
        evidence_end_s=np.concatenate([[], *ends]),
        offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        groups=np.full(len(said), ""),
        bats=np.array([one.bat for one in said.values()], np.float32),
    )
    thresholds = Thresholds(np.full(3, 0.5), [SpeciesGroup("Myotis sp.", (1, 2))], [0.4])
    pulses = {name: (20, one.calls) for name, one in said.items()}
    verdicts = list_verdicts(rows, rejected or {}, predictions, thresholds, FeatureConfig(), pulses)
    folder.mkdir(parents=True, exist_ok=True)
    write_verdicts(folder / "predictions.csv", columns_of(verdicts, SPECIES, None, MODEL))
    names = [*SPECIES, "Myotis sp."]
    write_verdicts(folder / "thresholds.csv", {"species": names, "threshold": [0.5, 0.5, 0.5, 0.4]})
    write_arrays(folder / "instances.npz", predictions)
    header = {"format": "batcache-scored", "format_version": 1, "model": "12345678", "root": str(root)}
    (folder / "scored.jsonl").write_text(json.dumps(header) + "\n")
    return folder


def _row_of(name: str, said: Said) -> CachedRecording:
    latitude, longitude = said.place or (None, None)
    rate = 384_000
    values = {
        "path": name, "size": 1, "mtime_ns": 1, "content": name, "header_rate": round(rate / said.expansion),
        "channels": 1, "time_expansion": said.expansion, "expansion_source": "manifest", "true_rate": rate,
        "nyquist_hz": rate / 2, "duration_s": said.duration_s, "first_instance": 0, "instances": len(said.evidence),
        "frames": round(1000 * said.duration_s), "dead_bands": 0, "energy_below": 0.1, "energy_above": 0.1,
        "recorded_at": said.recorded_at, "latitude": latitude, "longitude": longitude, "recorder": said.recorder,
    }  # fmt: skip
    return CachedRecording(**values | dict(said.extra))


def write_reviewed(folder: Path, said: Mapping[str, Mapping[str, int]]) -> None:
    """Write the table of a review; what is not said of a species is not known."""
    names = list(dict.fromkeys([*SPECIES, *(name for labels in said.values() for name in labels)]))
    rows = [[path, "train", "", *(str(labels.get(name, "")) for name in names)] for path, labels in said.items()]
    table = [["filename", "split", "content", *names], *rows]
    (folder / "reviewed.csv").write_bytes(to_csv(table))
