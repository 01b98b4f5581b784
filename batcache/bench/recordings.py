"""The recordings that are measured on: some of the user's own, or simulated ones."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soundfile
from msgspec import structs

from batcache.config.settings import DataConfig
from batcache.errors import ManifestError
from batcache.manifest.manifest import Manifest, read_manifest
from batcache.store.build.scan import Look, ScannedFile, scan
from batcache.synth.create import create, write_plan
from batcache.synth.render import RATE_HZ

_NOISE_DEVIATION = 0.01  # of full scale
_SHORT_S = 0.02
_SEED = 0


@dataclass(frozen=True)
class Sample:
    """Recordings that the front end takes, each content once, and the clips in them, all of split ``train``."""

    manifest: Manifest
    files: tuple[ScannedFile, ...]

    def __len__(self) -> int:
        return len(self.files)

    def sources(self) -> list[tuple[Path, int]]:
        """Path and true rate (Hz) of each recording."""
        return [(self.manifest.data_dir / file.path, file.true_rate) for file in self.files]

    @property
    def seconds(self) -> float:
        """True duration of all of them."""
        return sum(file.header.samples / file.true_rate for file in self.files)

    @property
    def wav_bytes(self) -> int:
        """Size of all recordings on the disk."""
        return sum(file.size for file in self.files)

    def first(self, count: int) -> "Sample":
        """The first recordings, or all where there are no more."""
        return _keep(self.manifest, self.files[:count])

    def without_expanded(self) -> "Sample":
        """The recordings whose headers say their true rates."""
        return _keep(self.manifest, tuple(file for file in self.files if file.time_expansion == 1))


def choose(manifest: Manifest, count: int, config: DataConfig) -> Sample:
    """Choose up to ``count`` recordings of a manifest, evenly spaced; what a build would reject is left out.

    Raises:
        ManifestError: none is left.
    """
    recordings = manifest.recordings()
    names = list(recordings)
    spaced = [names[i * len(names) // count] for i in range(count)] if len(names) > count else names
    files = tuple((name, recordings[name].time_expansion, 1) for name in spaced)
    found = scan(Look(files, manifest.data_dir, config.features), os.cpu_count() or 1)
    distinct: dict[tuple[str, int], ScannedFile] = {}
    rejected = ""
    for file in found:
        if isinstance(file, ScannedFile):
            distinct.setdefault(file.key, file)
        else:
            rejected = str(file)
    if not distinct:
        raise ManifestError(manifest.csvs[0], f"no recording can be used ({rejected})", "Pass --data-dir")
    return _keep(manifest, tuple(distinct.values()))


def _keep(manifest: Manifest, files: tuple[ScannedFile, ...]) -> Sample:
    names = {file.path for file in files}
    clips = (structs.replace(clip, split="train", group=None) for clip in manifest.clips if clip.filename in names)
    return Sample(replace(manifest, clips=tuple(clips)), files)


def simulate(folder: Path, count: int) -> Manifest:
    """Render ``count`` clips of simulated bats (at least five) into a folder."""
    manifest = read_manifest([write_plan(folder, count, (), _SEED, force=True)])
    create(manifest, folder, force=True)
    return manifest


def write_long(folder: Path, minutes: float, config: DataConfig) -> Sample:
    """Write one long recording of white noise, a second at a time, and choose it."""
    folder.mkdir(parents=True, exist_ok=True)
    with soundfile.SoundFile(folder / "long.wav", "w", int(RATE_HZ), 1, "PCM_16") as file:
        for block in _noise(minutes):
            file.write(block)
    (folder / "long.csv").write_text("filename,Noise\nlong.wav,1\n")
    return choose(read_manifest([folder / "long.csv"]), 1, config)


def write_short(folder: Path, count: int) -> Manifest:
    """Write recordings of 20 ms of white noise, each another, and list them."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(_SEED)
    names = [f"{i:06}.wav" for i in range(count)]
    for name in names:
        samples = _NOISE_DEVIATION * random.standard_normal(round(_SHORT_S * RATE_HZ), np.float32)
        soundfile.write(folder / name, samples, int(RATE_HZ), "PCM_16")
    (folder / "short.csv").write_text("filename,Noise\n" + "".join(f"{name},1\n" for name in names))
    return read_manifest([folder / "short.csv"])


def _noise(minutes: float) -> Iterator[np.ndarray]:
    random = np.random.default_rng(_SEED)
    for _ in range(max(1, round(60 * minutes))):
        yield (_NOISE_DEVIATION * random.standard_normal(int(RATE_HZ), np.float32)).astype(np.float32)
