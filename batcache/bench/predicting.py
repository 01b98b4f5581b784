"""Recordings to scores: how fast, beside BatDetect2, and in how much memory; each in a process of its own."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from batcache.bench.recordings import Sample, write_long
from batcache.bench.rows import Mark, Row
from batcache.bench.subprocess_cost import run_apart
from batcache.bench.timing import take_turns
from batcache.children import run_python
from batcache.config.settings import Config
from batcache.errors import ConfigError

SPEED_MARK = Mark("ours", ">=", 20)
PEER_MARK = Mark("ratio", ">=", 1)
PEAK_MARK = Mark("ours", "<", 1)
_SPECIES = tuple(f"Species {number}" for number in range(1, 21))
_SECTION = "predict"
_PEER = "BatDetect2"
_VERSION = "import json, importlib.metadata as m; print(json.dumps(m.version('batdetect2')))"
_DETECT = "from batdetect2.cli import cli; cli()"
_MISSING = "not measured: --batdetect2 names the Python of an environment that has it"


@dataclass(frozen=True)
class Peer:
    """BatDetect2 in an environment of its own, since it asks for other versions than this one has."""

    python: Path
    version: str


def find_peer(python: Path | None) -> Peer | None:
    """BatDetect2 of an environment, given by its Python; None where none is given.

    Raises:
        ConfigError: it is not there.
    """
    if python is None:
        return None
    try:
        said = run_python(_VERSION, python=python)
        return Peer(python, str(json.loads(said.stdout)))
    except (OSError, subprocess.CalledProcessError, ValueError):
        finding = f"{python} cannot import batdetect2"
        raise ConfigError("--batdetect2", finding, "Install it there, or leave the option out") from None


def measure_predict(
    sample: Sample, config: Config, folder: Path, rounds: int, long_minutes: float, peer: Peer | None
) -> Iterator[Row]:
    """Yield how many times real time ``predict`` is on a CPU, and its peak memory on a long recording.

    The model is one on the trunk that ships, for twenty species. Its heads have learnt nothing, which changes no speed.
    Processes are timed from the start of Python to their end. Time-expanded recordings are left out: BatDetect2 takes
    one factor for all.
    """
    sample = sample.without_expanded()
    if not len(sample):
        yield Row(_SECTION, "not measured", note="all recordings are time-expanded")
        return
    folder.mkdir(parents=True, exist_ok=True)
    model, heard = folder / "model.pt", _gather(sample, folder / "recordings")
    write_model(model, config)
    tasks = {"ours": lambda: _predict_afresh(heard, model, folder / "out")}
    if peer is not None:
        tasks[_PEER] = lambda: _detect_afresh(peer, heard, folder / "detected")
    taken = {name: sample.seconds / seconds for name, seconds in take_turns(tasks, rounds).items()}
    what = f"{len(sample)} recordings to scores, on the CPU"
    note = "a model on the trunk that ships" + ("" if peer else f"; {_PEER} {_MISSING}")
    yield Row(_SECTION, what, taken["ours"], "times real time", mark=SPEED_MARK, note=note)
    if peer is not None:
        named = f"{_PEER} {peer.version}"
        yield Row(_SECTION, what, taken["ours"], "times real time", named, taken[_PEER], mark=PEER_MARK)
    if long_minutes:
        long = write_long(folder / "long", long_minutes, config.data)
        peak = run_apart(predict_once, long.manifest.data_dir, model, folder / "out").peak_bytes
        what = f"peak memory, one recording of {long_minutes:g} minutes"
        if peak is None:
            yield Row(_SECTION, what, note="this system does not tell a process its peak memory")
        else:
            yield Row(_SECTION, what, peak / 1e9, "GB", better="less", mark=PEAK_MARK, note="with torch's own")
    shutil.rmtree(folder)


def write_model(path: Path, config: Config) -> None:
    """Write a model as ``train`` does by default, bat heads and a kernel among it, that has learnt nothing."""
    from batcache.model.checkpoint import Checkpoint, save_checkpoint
    from batcache.model.kernel import KernelHead
    from batcache.model.pretrained import PretrainedMILModel
    from batcache.model.start import start_model
    from batcache.training.kernel import MOST_CENTRES

    torch.manual_seed(0)
    features = config.data.features
    start = start_model(config.model, features, _SPECIES, hears_bats=True)
    if isinstance(start.model, PretrainedMILModel):
        start.model.heads.kernel = KernelHead(MOST_CENTRES, start.model.trunk.feature_dim, len(_SPECIES))
    save_checkpoint(
        path,
        Checkpoint(
            config.model,
            _SPECIES,
            features,
            features.fingerprint,
            config.data.frames_per_instance,
            epoch=0,
            metric="train_loss",
            score=0.0,
            weights=start.model.state_dict(),
            trunk=start.trunk,
        ),
    )


def predict_once(recordings: Path, model: Path, out: Path) -> None:
    """Judge recordings on the CPU, as the command line does, then remove what came of it."""
    from batcache.inference.model_file import open_model
    from batcache.inference.predict import predict
    from batcache.manifest.find_recordings import find_recordings
    from batcache.storage.memory import keep_freed_memory

    keep_freed_memory()
    predict(find_recordings([recordings]), open_model(model), out, torch.device("cpu"))
    shutil.rmtree(out)


def _gather(sample: Sample, folder: Path) -> Path:
    """Put the sample's recordings into a folder of their own: both programs take a folder."""
    folder.mkdir()
    for number, (path, _) in enumerate(sample.sources()):
        place = folder / f"{number:04}{path.suffix.lower()}"
        try:
            place.symlink_to(path.absolute())
        except OSError:  # Windows, unless allowed
            shutil.copyfile(path, place)
    return folder


def _predict_afresh(recordings: Path, model: Path, out: Path) -> None:
    code = "from batcache.cli.main import main; main()"
    arguments = ["predict", str(recordings), "--model", str(model), "--out", str(out), "--device", "cpu"]
    run_python(code, *arguments)
    shutil.rmtree(out)


def _detect_afresh(peer: Peer, recordings: Path, out: Path) -> None:
    run_python(_DETECT, "detect", recordings, out, "0.5", python=peer.python)
    shutil.rmtree(out, ignore_errors=True)
