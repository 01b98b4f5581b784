"""A project of made-up recordings, as it is and with a finished run in it."""

import csv
import shutil
from pathlib import Path

import pytest
import soundfile

from tests.command import batcache
from tests.conftest import noise, tone

RATE = 256_000
CONFIG = """
data: {sample_rate: 256000}
model: {conv_layers: [{filters: 4, stride: [4, 2]}, {filters: 8}], rnn_hidden_size: 8, dropout: 0.1}
training: {epochs: 2, batch_size: 4}
"""


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


@pytest.fixture(scope="module")
def finished(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project that is built, trained and judged. Not to be changed."""
    folder = Path(shutil.copytree(project, tmp_path_factory.mktemp("finished") / "project"))
    outcome = batcache("run", "small.yaml", "--csv", "train.csv", "--device", "cpu", cwd=folder)
    assert outcome.returncode == 0, outcome.stderr
    return folder


@pytest.fixture
def done(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished project to spoil."""
    return Path(shutil.copytree(finished, tmp_path / "done"))


def run_of(folder: Path) -> Path:
    (run,) = (folder / "runs").iterdir()
    return run


@pytest.fixture
def fresh(project: Path, tmp_path: Path) -> Path:
    """A copy of the project to spoil."""
    return Path(shutil.copytree(project, tmp_path / "project"))
