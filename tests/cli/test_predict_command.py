"""New recordings are judged by the command line."""

import csv
import json
import shutil
from pathlib import Path

import soundfile
import torch

from batcache.model.pretrained import SIMULATED
from tests.cli.conftest import run_of
from tests.command import batcache


def test_new_recordings_are_judged_and_the_same_command_judges_only_what_is_new(done: Path) -> None:
    (done / "wav" / "broken.wav").write_bytes(b"RIFF, but no more")
    model = Path(shutil.copy(run_of(done) / "checkpoints/best_model.pt", done / "model.pt"))
    shutil.rmtree(done / "runs")
    shutil.rmtree(done / "features.zarr")
    command = ("predict", "wav", "--model", model.name, "--device", "cpu")
    first, again = batcache(*command, cwd=done), batcache(*command, "--threshold", "0", cwd=done)
    assert first.returncode == again.returncode == 0, first.stderr + again.stderr
    assert "judging 13 recordings by model.pt (2 species)" in first.stdout
    assert "judged now: 12" in first.stdout and "times real time" in first.stdout
    assert "1 recording rejected; each call tries them again: broken.wav (not audio" in first.stderr
    assert "going on: 12 recordings judged by earlier calls, not judged again" in again.stdout
    assert "judged now" not in again.stdout
    lines = {line.split("  ")[0]: line.split()[-1] for line in again.stdout.splitlines()}
    assert (lines["Sixty"], lines["Forty-five"], lines["rejected"]) == ("12", "12", "1")
    assert "no species above threshold" not in lines
    with (done / "predictions" / "predictions.csv").open(encoding="utf-8", newline="") as file:
        verdicts = [row["verdict"] for row in csv.DictReader(file)]
    assert sorted(verdicts) == ["rejected", *["species"] * 12]


def test_features_are_kept_and_then_judged_without_the_recordings(done: Path) -> None:
    model = ("--model", str(run_of(done)), "--device", "cpu")
    kept = batcache("predict", "wav", *model, "--cache", "kept.zarr", cwd=done)
    assert kept.returncode == 0, kept.stderr
    assert "recordings: 12 to compute" in kept.stdout
    assert json.loads((done / "kept.zarr/last_build.json").read_text())["csvs"] == []
    shutil.rmtree(done / "wav")
    cached = batcache("predict", "kept.zarr", *model, "--out", "cached", cwd=done)
    assert cached.returncode == 0, cached.stderr
    tables = [(done / folder / "predictions.csv").read_bytes() for folder in ("predictions", "cached")]
    assert tables[0] == tables[1]


def test_features_kept_in_a_training_cache_leave_it_one_to_train_from(done: Path) -> None:
    (done / "new").mkdir()
    samples, rate = soundfile.read(done / "wav/03.wav")
    soundfile.write(done / "new/03.wav", -samples, rate)
    before = (done / "features.zarr/last_build.json").read_bytes()
    command = ("predict", "new", "--model", str(run_of(done)), "--device", "cpu", "--cache", "features.zarr")
    kept = batcache(*command, cwd=done)
    assert kept.returncode == 0 and "recordings: 1 to compute" in kept.stdout, kept.stderr
    assert (done / "features.zarr/last_build.json").read_bytes() == before
    trained = batcache("train", "--config", "small.yaml", "--epochs", "1", "--device", "cpu", cwd=done)
    assert trained.returncode == 0, trained.stderr
    (done / "new/wav").mkdir()
    (done / "new/03.wav").rename(done / "new/wav/02.wav")  # another recording by the name of one in the cache
    clash = batcache(*command, "--out", "elsewhere", cwd=done)
    assert clash.returncode == 1 and clash.stderr.rstrip().endswith("Pass another --cache."), clash.stderr


def test_what_cannot_be_judged_is_one_line(done: Path) -> None:
    (done / "empty").mkdir()
    (done / "torn.pt").write_bytes((run_of(done) / "checkpoints/best_model.pt").read_bytes()[:1000])
    run = str(run_of(done))
    document = torch.load(run_of(done) / "checkpoints/best_model.pt", weights_only=True)
    torch.save({**document, "format_version": 2}, done / "newer.pt")
    shutil.copy(SIMULATED, done / "trunk.pt")
    for arguments, said in (
        (("empty", "--model", run), "empty: no recording in it, at any depth"),
        (("gone", "--model", run), "gone: no such file or folder"),
        (("wav", "--model", "torn.pt"), "torn.pt: not readable as a checkpoint"),
        (("wav", "--model", "none"), "none: no such model"),
        (
            ("wav", "--model", "trunk.pt"),
            "trunk.pt: a trunk, which knows no species yet, not a model. Train heads on it",
        ),
        (("wav", "--model", "newer.pt"), "newer.pt: format version 2, this batcache reads 1. Upgrade batcache"),
        (("wav", "--model", run, "--cache", "features.zarr/zarr.json"), "features.zarr/zarr.json: "),
    ):
        refused = batcache("predict", *arguments, cwd=done)
        assert refused.returncode == 1 and said in refused.stderr, refused.stderr
        assert len(refused.stderr.splitlines()) == 1
    assert not (done / "predictions").exists()


def test_a_model_is_exported_told_of_and_judged_by(done: Path) -> None:
    exported = batcache("export-model", str(run_of(done)), "model.onnx", "--rate", "256000", cwd=done)
    assert exported.returncode == 0, exported.stderr
    assert "model.onnx" in exported.stdout and "its graph for recordings of 256,000 Hz" in exported.stdout
    told = batcache("info", "model.onnx", cwd=done)
    assert "2, 2 of them taught" in told.stdout and "ONNX file" in told.stdout, told.stdout + told.stderr
    tables = []
    for model in ("model.onnx", str(run_of(done))):
        judged = batcache("predict", "wav", "--model", model, "--device", "cpu", "--out", model[-4:], cwd=done)
        assert judged.returncode == 0 and "judged now: 12" in judged.stdout, judged.stderr
        with (done / model[-4:] / "predictions.csv").open(encoding="utf-8", newline="") as file:
            tables.append([(row["path"], row["verdict"], row["species"]) for row in csv.DictReader(file)])
    assert tables[0] == tables[1]
    again = batcache("export-model", str(run_of(done)), "model.onnx", cwd=done)
    assert again.returncode == 1 and "model.onnx: is there already. Pass another name, or --force" in again.stderr
