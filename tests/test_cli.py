"""The command line on a project of made-up recordings: what a user types, sees, and is told."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.conftest import noise, tone

RATE = 256_000
CONFIG = """
data: {sample_rate: 256000}
model: {conv_layers: [{filters: 4, stride: [4, 2]}, {filters: 8}], rnn_hidden_size: 8, dropout: 0.1}
training: {epochs: 2, batch_size: 4}
"""


def batcache(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the installed command as a user would, its output no terminal."""
    command = [sys.executable, "-c", "from batcache.cli import main; main()", *arguments]
    environment = os.environ | {"PYTHONUTF8": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300, env=environment, check=False)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings of two "species", 45 and 60 kHz, and a train.csv with splits."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "wav").mkdir()
    rows = []
    for i in range(12):
        at_45, at_60 = i % 2, (i // 2) % 2
        samples = noise(0.6, RATE, seed=i) + at_45 * tone(45e3, 0.6, RATE) + at_60 * tone(60e3, 0.6, RATE)
        soundfile.write(folder / "wav" / f"{i:02d}.wav", samples, RATE)
        split = ("train", "train", "val", "test")[i // 4 if i < 8 else 2 + (i >= 10)]
        rows.append([f"wav/{i:02d}.wav", split, f"night {i // 2}", at_45, at_60])
    with (folder / "train.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["filename", "split", "group", "Forty-five", "Sixty"], *rows])
    (folder / "small.yaml").write_text(CONFIG)
    return folder


@pytest.fixture
def fresh(project: Path, tmp_path: Path) -> Path:
    """A copy of the project to spoil."""
    return Path(shutil.copytree(project, tmp_path / "project"))


def test_the_three_commands_work_in_a_row(fresh: Path) -> None:
    built = batcache("build", "--csv", "train.csv", cwd=fresh)
    assert built.returncode == 0, built.stderr
    assert "12 to compute" in built.stdout
    shutil.rmtree(fresh / "wav")  # training never opens a WAV
    trained = batcache("train", "--pooling", "max", "--config", "small.yaml", cwd=fresh)
    assert trained.returncode == 0, trained.stderr
    judged = batcache("eval", "--split", "test", cwd=fresh)
    assert judged.returncode == 0, judged.stderr
    (run,) = (fresh / "runs").iterdir()
    assert f"judging runs/{run.name}/checkpoints/best_model.pt" in judged.stdout
    assert "Forty-five" in judged.stdout and "macro average" in judged.stdout
    assert json.loads((run / "metrics.json").read_text())["test"]["clips"] == 2
    assert "\x1b" not in built.stdout + trained.stdout + judged.stdout, "no colours where there is no terminal"
    with np.load(run / "logs" / "test_predictions.npz") as predictions:
        assert predictions["scores"].shape == (2, 2)


def test_a_pipeline_runs_once_and_then_has_nothing_to_do(fresh: Path) -> None:
    first = batcache("run", "small.yaml", "--csv", "train.csv", cwd=fresh)
    assert first.returncode == 0, first.stderr
    again = batcache("run", "small.yaml", "--csv", "train.csv", cwd=fresh)
    assert again.returncode == 0, again.stderr
    assert (
        "12 up to date" in again.stdout and "train: up to date" in again.stdout and "eval: up to date" in again.stdout
    )
    other = batcache("run", "small.yaml", "--csv", "train.csv", "--pooling", "max", cwd=fresh)
    assert "train: up to date" not in other.stdout and other.returncode == 0, other.stderr
    assert len(list((fresh / "runs").iterdir())) == 2


def test_a_stopped_pipeline_is_resumed(fresh: Path) -> None:
    batcache("run", "small.yaml", "--csv", "train.csv", cwd=fresh)
    (run,) = (fresh / "runs").iterdir()
    about = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(about | {"finished": False}))
    again = batcache("run", "small.yaml", "--csv", "train.csv", cwd=fresh)
    assert again.returncode == 0, again.stderr
    assert list((fresh / "runs").iterdir()) == [run]
    assert json.loads((run / "run.json").read_text())["finished"]


def test_a_reject_does_not_stop_the_build_but_ends_it_with_1(fresh: Path) -> None:
    (fresh / "wav" / "03.wav").write_bytes(b"")
    built = batcache("build", "--csv", "train.csv", cwd=fresh)
    assert built.returncode == 1
    assert "wav/03.wav" in built.stdout and "empty file" in built.stdout
    assert (fresh / "rejected.csv").read_text().splitlines()[1].startswith("wav/03.wav,empty file")
    trained = batcache("train", "--config", "small.yaml", cwd=fresh)
    assert trained.returncode == 0 and "left out, rejected by build: wav/03.wav" in trained.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["build"], "--csv: no CSV is given"),
        (["build", "--csv", "none.csv"], "none.csv"),
        (["build", "--csv", "train.csv", "--config", "none.yaml"], "none.yaml"),
        (["train"], "features.zarr: no cache here"),
        (["eval"], "runs: no run with a best model here"),
        (["eval", "--checkpoint", "train.csv"], "not a run's record"),
        (["info", "wav"], "wav: no cache here"),
        (["train", "--resume", "runs/none"], "run.json"),
    ],
)
def test_an_error_is_one_line_and_exit_code_1(project: Path, arguments: list[str], said: str) -> None:
    outcome = batcache(*arguments, cwd=project)
    assert outcome.returncode == 1
    assert outcome.stderr.startswith("error: ") and said in outcome.stderr, outcome.stderr
    assert len(outcome.stderr.splitlines()) == 1 and "Traceback" not in outcome.stderr


def test_wrong_usage_is_exit_code_2(project: Path) -> None:
    assert batcache("train", "--pooling", "mean", cwd=project).returncode == 2
    assert batcache("train", "--resume", "runs/x", "--seed", "1", cwd=project).returncode == 2
    assert batcache("fly", cwd=project).returncode == 2


def test_settings_that_contradict_the_store_are_an_error(fresh: Path) -> None:
    assert batcache("build", "--csv", "train.csv", cwd=fresh).returncode == 0
    (fresh / "other.yaml").write_text("data: {n_mels: 64}")
    trained = batcache("train", "--config", "other.yaml", cwd=fresh)
    assert trained.returncode == 1 and "n_mels is 128 in features.zarr, 64 in other.yaml" in trained.stderr
    built = batcache("build", "--csv", "train.csv", "--config", "other.yaml", cwd=fresh)
    assert built.returncode == 1 and "n_mels is 128, asked for 64" in built.stderr


def test_training_takes_the_features_from_the_store(fresh: Path) -> None:
    (fresh / "fewer.yaml").write_text("data: {n_mels: 64, sample_rate: 256000}")
    assert batcache("build", "--csv", "train.csv", "--config", "fewer.yaml", cwd=fresh).returncode == 0
    assert batcache("build", "--csv", "train.csv", cwd=fresh).returncode == 0
    trained = batcache("train", "--config", "small.yaml", cwd=fresh)
    assert trained.returncode == 0, trained.stderr


def test_a_missing_split_names_the_csv_lying_beside(fresh: Path) -> None:
    rows = (fresh / "train.csv").read_text().splitlines()
    (fresh / "train.csv").write_text("\n".join(row for row in rows if ",test," not in row))
    (fresh / "test.csv").write_text("\n".join(row for row in rows if ",train," not in row and ",val," not in row))
    batcache("build", "--csv", "train.csv", cwd=fresh)
    batcache("train", "--config", "small.yaml", cwd=fresh)
    judged = batcache("eval", "--split", "test", cwd=fresh)
    assert judged.returncode == 1
    assert "no clip of split test (there are: train (8), val (2))" in judged.stderr and "test.csv" in judged.stderr


@pytest.mark.parametrize("command", ["build", "train", "eval", "run", "info"])
def test_every_help_has_an_example(command: str, tmp_path: Path) -> None:
    shown = batcache(command, "--help", cwd=tmp_path)
    assert shown.returncode == 0 and f"Example: batcache {command}" in " ".join(shown.stdout.split())
