"""Files beside the store, broken by their structure: values of other types, absurd numbers, keys that lack or are new.

Each is written again as somebody would who knows of digests, or as an earlier version wrote it, without one: so what is
met is what is behind the digest.
"""

import io
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from batcache.config.load import load_config
from batcache.evaluation.compare import compare
from batcache.evaluation.judged import read_judged
from batcache.evaluation.report.write import report
from batcache.inference.bag_scores import BagScores
from batcache.inference.calibration.of_model import calibrate_model
from batcache.inference.calibration.profile import Profile, profile_path, read_profile, write_profile
from batcache.inference.model_file import open_model
from batcache.inference.recordings.journal import NAME, Header, Journal, Scored, read_header
from batcache.model.pretrained import SIMULATED, load_pretrained
from batcache.model.provenance import HeldOut
from batcache.model.start import find_trunk
from batcache.model.summary import summarise_model
from batcache.storage.sealed import open_json, seal_json, seal_zip
from batcache.store.format.commit import CachedRecording
from batcache.training.clips.splits import read_splits
from batcache.training.lineage import read_earlier, read_heard
from batcache.training.loop import resume
from batcache.training.run_inputs import find_cache, find_manifest, summarise_run
from batcache.training.runs import BEST, LAST, read_run_config
from tests.small_world import CPU, SmallWorld

ODD: list[Any] = [
    *(None, True, 0, -1, 1, 7, 2**31, 2**62, -(2**63), 2**64, 10**30),
    *(0.5, -0.0, 1e-300, 1e305, float("nan"), float("inf"), "-inf"),
    *("", "a", "0", "\0", "\ud800", "é", "../../x", "x" * 3000, "2024-13-41", "max"),
    *([], {}, [[]], [None], {"": None}, [1, 2, 3], {"a": 1}, [[1], [2, 3]], [0] * 999, {"test": {}}),
    *(b"x", torch.zeros(0), torch.tensor(float("nan"))),
]
"""Some are not JSON: those are kept for torch's files."""


def mutate_value(rng: np.random.Generator, value: Any, plain: bool, depth: int = 0) -> Any:
    """Change one place somewhere in nested mappings and lists."""
    deeper = rng.random() > 0.25 + 0.1 * depth
    changed: Any = pick(rng, [one for one in ODD if not plain or not isinstance(one, bytes | torch.Tensor)])
    if isinstance(value, dict) and value and deeper:
        key = pick(rng, list(value))
        inner = mutate_value(rng, value[key], plain, depth + 1)
        without = {name: one for name, one in value.items() if name != key}
        changed = pick(rng, [*[value | {key: inner}] * 6, without, value | {str(changed)[:9]: changed}])
    elif isinstance(value, list | tuple) and len(value) and deeper:
        at = int(rng.integers(len(value)))
        inner = mutate_value(rng, value[at], plain, depth + 1)
        before, behind = value[:at], value[at + 1 :]
        changed = pick(rng, [*[[*before, inner, *behind]] * 4, [*before, *behind], [*value, value[at]]])
    elif isinstance(value, torch.Tensor) and rng.random() < 0.7:
        other_kinds = value.double(), value.to(torch.int64), torch.full_like(value, 0) - 1
        changed = pick(rng, [*other_kinds, value.flatten()[:-1], value.unsqueeze(0)])
    elif isinstance(value, int | float) and not isinstance(value, bool) and rng.random() < 0.4 and np.isfinite(value):
        changed = type(value)(value * int(rng.choice([-1, 1000, 2])))
    return changed


def pick(rng: np.random.Generator, choices: Sequence[Any]) -> Any:
    return choices[int(rng.integers(len(choices)))]


def mutate_array(rng: np.random.Generator, array: np.ndarray) -> np.ndarray:
    changed, kind = array.copy(), array.dtype.kind
    if changed.size:
        changed.flat[int(rng.integers(changed.size))] = "" if kind == "U" else 99 if kind in "iu" else np.inf
    large = array.astype(np.float64) * 1e300 if kind in "fi" else array[:0]
    others = array[:-1], array.astype(str), array.reshape(1, *array.shape), large, np.zeros(array.shape, np.complex64)
    return np.asarray(pick(rng, [changed, np.array(7), *others]))


def break_json(rng: np.random.Generator, content: bytes) -> bytes:
    document = mutate_value(rng, open_json(content), plain=True)
    text = json.dumps(document, ensure_ascii=bool(rng.integers(2))).encode("utf-8", "surrogatepass")
    sealed = rng.random() < 0.5 and isinstance(document, dict) and document
    return seal_json(text) if sealed else text


def break_lines(rng: np.random.Generator, content: bytes) -> bytes:
    lines = content.splitlines()
    at = int(rng.integers(len(lines)))
    lines[at] = break_json(rng, lines[at])
    return b"\n".join(lines) + b"\n" * int(rng.integers(2))


def break_yaml(rng: np.random.Generator, content: bytes) -> bytes:
    document = mutate_value(rng, yaml.safe_load(content), plain=True)
    return yaml.safe_dump(document, allow_unicode=False).encode("utf-8", "surrogatepass")


def break_torch(rng: np.random.Generator, content: bytes) -> bytes:
    document = torch.load(io.BytesIO(content), weights_only=True)
    made = io.BytesIO()
    torch.save(mutate_value(rng, document, plain=False), made)
    return seal_zip(made.getvalue()) if rng.random() < 0.5 else made.getvalue()


def break_npz(rng: np.random.Generator, content: bytes) -> bytes:
    arrays = dict(np.load(io.BytesIO(content)))
    name = list(arrays)[int(rng.integers(len(arrays)))]
    if rng.random() < 0.1:
        del arrays[name]
    else:
        arrays[name] = mutate_array(rng, arrays[name])
    made = io.BytesIO()
    np.savez_compressed(made, **arrays)
    return seal_zip(made.getvalue()) if rng.random() < 0.5 else made.getvalue()


def break_csv(rng: np.random.Generator, content: bytes) -> bytes:
    rows = [line.split(b",") for line in content.splitlines()]
    row = rows[int(rng.integers(len(rows)))]
    at = int(rng.integers(len(row)))
    row[at] = rng.choice([b"", b'"', b"\xff", b"\0", b"x,y", b"\n", b"9" * 5000, b"nan"])
    return b"\n".join(b",".join(one) for one in rows) + b"\n"


Case = tuple[Path, Callable[[np.random.Generator, bytes], bytes], Callable[[], object]]


def cases(small: SmallWorld, run: Path, folder: Path) -> dict[str, Case]:
    """Of each kind of file: where it lies, how it is broken, and all that reads it. ``run`` has been judged."""
    profile, scored = folder / "profile", folder / "scored"
    best, last, cache = run / BEST, run / LAST, small.store.path
    model = profile / "model.pt"
    profile.mkdir()
    scored.mkdir()
    shutil.copy(best, model)
    shutil.copy(SIMULATED, folder / "trunk.pt")
    of = open_model(model)
    species, rng = of.checkpoint.species, np.random.default_rng(0)
    said = rng.normal(size=(12, len(species))).astype(np.float32)
    labels, groups = rng.integers(0, 2, said.shape).astype(np.int8), np.arange(12)
    write_profile(profile_path(model), Profile(of.digest, species, "r.csv", HeldOut("reviewed", said, labels, groups)))
    header, rows = Header(of.digest, str(folder)), list(small.store.index.recordings)[:3]
    write_journal(scored, header, rows, len(species))
    manifest = find_manifest(run)

    def read_model(path: Path) -> None:
        summarise_model(path)
        calibrate_model(open_model(path))

    def read_record() -> None:
        summarise_run(run)
        find_cache(run)
        find_manifest(run)

    def read_metrics() -> None:
        read_judged(run, "test")
        report(run, cache)

    def read_journal() -> None:
        read_header(scored)
        with Journal(scored, header) as journal:
            for one in journal.scored.values():
                assert one.scores.logits.size

    def read_splits_of_run() -> None:
        read_splits(run / "split.csv")
        read_heard(run)
        read_earlier(run)

    def read_config() -> None:
        read_run_config(run)
        load_config(run / "config.yaml")

    def read_predictions() -> None:
        compare(run, run)
        report(run, cache)

    def read_trunk() -> None:
        load_pretrained(folder / "trunk.pt")
        find_trunk(folder / "trunk.pt")

    def read_calibration() -> None:
        read_profile(profile_path(model), of.digest, species)
        read_model(model)

    def go_on() -> None:
        resume(run, small.store, manifest, CPU)

    return {
        "run.json": (run / "run.json", break_json, read_record),
        "config.yaml": (run / "config.yaml", break_yaml, read_config),
        "metrics.json": (run / "metrics.json", break_json, read_metrics),
        "metrics.jsonl": (run / "logs" / "metrics.jsonl", break_lines, go_on),
        "split.csv": (run / "split.csv", break_csv, read_splits_of_run),
        "predictions": (run / "logs" / "test_predictions.npz", break_npz, read_predictions),
        "best_model.pt": (best, break_torch, lambda: read_model(best)),
        "last.pt": (last, break_torch, go_on),
        "trunk.pt": (folder / "trunk.pt", break_torch, read_trunk),
        "profile": (profile_path(model), break_json, read_calibration),
        "scored.jsonl": (scored / NAME, break_lines, read_journal),
    }


def write_journal(folder: Path, header: Header, rows: list[CachedRecording], species: int) -> None:
    with Journal(folder, header) as journal:
        for row in rows:
            logits = np.linspace(-1, 1, species).astype(np.float32)
            journal.add([Scored.of(row, BagScores(logits, np.full((row.instances, species), 0.5, np.float32), 0.1), 3)])
