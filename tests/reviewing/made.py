"""A folder of predictions as ``predict`` leaves it, made up: of recordings with calls that can be told apart."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import soundfile

from batcache.features.audio import content_hash, read_header
from batcache.inference.predictions import Predictions, write_arrays
from batcache.inference.recordings.journal import Scored
from batcache.store.format.commit import CachedRecording

SPECIES = ("Myotis myotis", "Nyctalus noctula", "Pipistrellus pipistrellus")
RATE = 256_000


def write_folder(
    folder: Path,
    scores: Sequence[Sequence[float]],
    names: Sequence[str] | None = None,
    nights: Sequence[str] | None = None,
    notes: Sequence[str] | None = None,
    verdicts: Sequence[str] | None = None,
    root: Path | None = None,
    species: Sequence[str] = SPECIES,
) -> Path:
    """Write predictions of so many recordings, two instances each, all thresholds 0.5; ``root`` is where they lie."""
    folder.mkdir(parents=True, exist_ok=True)
    values, count = np.array(scores, np.float32).reshape(-1, len(species)), len(scores)
    files = list(names or (f"MEADOW_20240412_22{i // 60:02d}{i % 60:02d}.wav" for i in range(count)))
    begins = np.tile([0.0, 0.5], count)
    predictions = Predictions(
        filenames=np.array(files),
        start_s=np.zeros(count),
        duration_s=np.full(count, np.nan),
        species=np.array(species),
        scores=values,
        labels=np.full(values.shape, -1, np.int8),
        evidence=np.repeat(values, 2, 0) * np.tile([[0.5], [1.0]], (count, 1)),
        evidence_start_s=begins,
        evidence_end_s=begins + 0.5,
        offsets=2 * np.arange(count + 1),
    )
    write_arrays(folder / "instances.npz", predictions)
    header = {"format": "batcache-scored", "format_version": 1, "model": "feed", "root": str(root or folder / "none")}
    lines = [json.dumps(header).encode()]
    for name in files if root else ():
        row = describe(root / name, name)
        lines.append(msgspec.json.encode(Scored(row, (0.0,) * len(species), b"")))
    (folder / "scored.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    said = verdicts or ["species" if (row >= 0.5).any() else "no bat" for row in values]
    write_csv(folder / "thresholds.csv", ["species", "threshold"], [[name, 0.5] for name in species])
    columns = ["path", "site", "night", "time", "verdict", "species_group", "notes", *species]
    where, doubts = nights or ["2024-04-12"] * count, notes or [""] * count
    rows = [
        [files[i], "MEADOW", where[i], "2024-04-12 22:00:00", said[i], "", doubts[i], *values[i].tolist()]
        for i in range(count)
    ]
    write_csv(folder / "predictions.csv", columns, rows)
    return folder


def write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


def write_calls(path: Path, khz: float = 45.0, seconds: float = 1.0, rate: int = RATE, expansion: int = 1) -> None:
    """Noise with calls of 5 ms at 0.6 s and each 0.1 s after it, as recorded at ``rate`` and slowed by a factor."""
    samples = 0.001 * np.random.default_rng(0).standard_normal(round(seconds * rate))
    length = round(0.005 * rate)
    call = 0.3 * np.hanning(length) * np.sin(2 * np.pi * 1000 * khz * np.arange(length) / rate)
    for at in np.arange(0.6, seconds - 0.01, 0.1):
        samples[round(at * rate) :][:length] += call
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate // expansion, subtype="PCM_16")


def describe(path: Path, name: str, expansion: int = 1) -> CachedRecording:
    """What ``predict`` knows of a recording after it was judged."""
    header, status = read_header(path), path.stat()
    rate = header.rate * expansion
    return CachedRecording(
        path=name,
        size=status.st_size,
        mtime_ns=status.st_mtime_ns,
        content=content_hash(path, header),
        header_rate=header.rate,
        channels=1,
        time_expansion=float(expansion),
        expansion_source="manifest",
        true_rate=rate,
        nyquist_hz=rate / 2,
        duration_s=header.samples / rate,
        first_instance=0,
        instances=2,
        frames=header.samples * 1000 // rate,
        dead_bands=0,
        energy_below=0.0,
        energy_above=0.0,
    )
