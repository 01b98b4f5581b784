"""One small store, and what a test does with it: made-up calls in noise, three species, eight nights."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray

from batcache.config.load import load_config
from batcache.config.settings import Config
from batcache.manifest.manifest import Manifest, read_manifest
from batcache.progress import Progress
from batcache.store.build.build import build
from batcache.store.reader import Store
from batcache.training.events import Epoch, RunStarted, TrainReport
from batcache.training.loop import train

RATE = 256_000
SPECIES = ("Low", "High", "Sweep")  # tones of 45 and 50 kHz, and a fall from 80 to 60 kHz
FRAMES_PER_SECOND = 500
SETTINGS: dict[str, dict[str, Any]] = {
    "data": {"n_mels": 64, "hop_length": 512, "sample_rate": RATE, "bag_size": 3},
    "model": {"conv_layers": [4, 8], "rnn_hidden_size": 8, "rnn_layers": 2, "dropout": 0.2},
    "training": {"epochs": 2, "learning_rate": 0.01, "batch_size": 4},
}
CPU = torch.device("cpu")


@dataclass(frozen=True)
class SmallWorld:
    """A store built from ``all.csv``, whose WAVs have been deleted since.

    ``manifest.csv`` lists what is learnt from: 24 clips of 8 nights in three splits, some labels unknown, and
    ``broken.wav``, which the build rejected. ``all.csv`` lists two files more: ``copy.wav``, the audio of
    ``night0/0.wav`` under another name, and ``late.wav``, 1.5 s of noise with a 45-kHz tone from 1.0 to 1.25 s.
    """

    folder: Path
    config: Config
    store: Store
    manifest: Manifest

    def read(self, rows: Sequence[str], header: str = "filename,Low,High,Sweep,split,group") -> Manifest:
        """A manifest of these rows, written beside ``all.csv``; its recordings are those of the world."""
        number = len(list(self.folder.glob("other*.csv")))
        csv = self.folder / f"other{number}.csv"
        csv.write_text("\n".join([header, *rows]) + "\n")
        return read_manifest([csv], self.folder)

    def rows(self) -> list[str]:
        """The rows of ``manifest.csv``, without its header."""
        return (self.folder / "manifest.csv").read_text().splitlines()[1:]


def tweak(config: Config, **sections: dict[str, Any]) -> Config:
    """``config`` with some settings of some sections replaced, unchecked."""
    return replace(config, **{name: replace(getattr(config, name), **keys) for name, keys in sections.items()})


def drawing(share: float) -> Config:
    """Settings of a training from chance that takes this share of clips to validate on where there are none."""
    return load_config(flags={"model": {"init": "none"}, "training": {"validation_share": share}})


def train_fully(
    config: Config, store: Store, manifest: Manifest, runs: Path
) -> tuple[Path, list[RunStarted | Epoch | TrainReport]]:
    """Train a new run in ``runs``; returns it, and what it told: its start, its epochs, its report."""
    told: list[RunStarted | Epoch | TrainReport] = []

    def listen(progress: Progress) -> None:
        if isinstance(progress.result, RunStarted | Epoch):
            told.append(progress.result)

    report = train(tweak(config, training={"run_dir": runs}), store, manifest, CPU, on_progress=listen)
    return report.run, [*told, report]


def write_recordings(folder: Path) -> None:
    """Write the recordings of ``SmallWorld`` and the two CSVs that list them."""
    random = np.random.default_rng(0)
    rows = []
    for night in range(8):
        split = ("train", "train", "train", "train", "val", "val", "test", "test")[night]
        for i in range(3):
            name = f"night{night}/{i}.wav"
            present = [int(i == s or (night % 4 == 1 and i + 1 == s)) for s in range(3)]
            _write(folder / name, _song(present, random.choice([0.5, 0.6, 1.0, 1.3, 1.6]), random))
            labels = [
                "" if (night, i, s) in {(0, 1, 0), (2, 0, 2), (4, 1, 2), (6, 2, 0)} else str(present[s])
                for s in range(3)
            ]
            rows.append(",".join([name, *labels, split, f"night {night}"]))
    (folder / "broken.wav").write_bytes(b"RIFF, but no more")
    rows.append("broken.wav,1,0,0,train,night 0")
    (folder / "copy.wav").write_bytes((folder / "night0/0.wav").read_bytes())
    late = _noise(1.5, random)
    late[RATE : RATE + RATE // 4] += _tone(45_000, 0.25)
    _write(folder / "late.wav", late)
    header = "filename,Low,High,Sweep,split,group"
    (folder / "manifest.csv").write_text("\n".join([header, *rows]) + "\n")
    more = ["copy.wav,1,0,0,train,night 0", "late.wav,1,0,0,,"]
    (folder / "all.csv").write_text("\n".join([header, *rows, *more]) + "\n")


def build_small_world(folder: Path) -> SmallWorld:
    write_recordings(folder)
    config = load_config(base=SETTINGS)
    build(read_manifest([folder / "all.csv"]), folder / "features.zarr", config.data, "cpu", workers=1)
    for wav in folder.rglob("*.wav"):
        wav.unlink()
    return SmallWorld(folder, config, Store(folder / "features.zarr"), read_manifest([folder / "manifest.csv"]))


def _song(present: Sequence[int], seconds: float, random: np.random.Generator) -> NDArray[np.float64]:
    """Noise with a call of 60 ms of each species that is present, somewhere."""
    samples = _noise(seconds, random)
    seconds_of_call = 0.06
    fall = np.linspace(80_000, 60_000, round(seconds_of_call * RATE))
    calls = (
        _tone(45_000, seconds_of_call),
        _tone(50_000, seconds_of_call),
        0.1 * np.sin(2 * np.pi * np.cumsum(fall) / RATE),
    )
    for call, there in zip(calls, present, strict=True):
        start = random.integers(0, len(samples) - len(call))
        samples[start : start + len(call)] += there * call
    return samples


def _tone(hz: float, seconds: float) -> NDArray[np.float64]:
    return 0.1 * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE)) / RATE)


def _noise(seconds: float, random: np.random.Generator) -> NDArray[np.float64]:
    return 0.003 * random.standard_normal(round(seconds * RATE))


def _write(path: Path, samples: NDArray[np.float64]) -> None:
    path.parent.mkdir(exist_ok=True)
    soundfile.write(path, samples, RATE, subtype="PCM_16")
