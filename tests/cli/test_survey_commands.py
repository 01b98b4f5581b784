"""What predict found is written for other programs, at once or later, and counted as a survey."""

import importlib.util
import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import run_of
from tests.command import batcache

HAS_ASTRAL = importlib.util.find_spec("astral") is not None


@pytest.fixture
def night(done: Path) -> Path:
    """The finished project with a night of its recordings, named as recorders name them, and one that is broken."""
    (done / "night").mkdir()
    for i, wav in enumerate(sorted((done / "wav").glob("*.wav"))[:6]):
        shutil.copy(wav, done / "night" / f"MILL_20241231_2{i % 4}{i:02d}00.wav")
    (done / "night" / "MILL_20250101_010000.wav").write_bytes(b"RIFF, but no more")
    return done


def test_predict_and_convert_write_the_same_files(night: Path) -> None:
    model = ("--model", str(run_of(night)), "--device", "cpu")
    once = batcache("predict", "night", *model, "--to", "kaleidoscope,raven,audacity", "--excel", cwd=night)
    assert once.returncode == 0, once.stderr
    assert (
        "kaleidoscope predictions/kaleidoscope/id.csv" in once.stdout
        and "raven predictions/raven (8 files)" in once.stdout
    )
    assert "in no format but csv and excel: MILL_20250101_010000.wav" in once.stderr
    later = batcache("convert", "--to", "kaleidoscope, raven,audacity", "--excel", "-o", "later", cwd=night)
    assert later.returncode == 0, later.stderr
    for path in sorted((night / "later").rglob("*")):
        if path.is_file():
            assert path.read_bytes() == (night / "predictions" / path.relative_to(night / "later")).read_bytes()
    assert len(list((night / "later").rglob("*.txt"))) == 8 + 6


def test_copies_with_guano_are_judged_as_the_recordings_were(night: Path) -> None:
    model = ("--model", str(run_of(night)), "--device", "cpu")
    assert batcache("predict", "night", *model, "--to", "guano", cwd=night).returncode == 0
    again = batcache("predict", "predictions/guano", *model, "-o", "again", cwd=night)
    assert again.returncode == 0, again.stderr
    kept = [line.split(",") for line in (night / "predictions/predictions.csv").read_text().splitlines()[:-1]]
    anew = [line.split(",") for line in (night / "again/predictions.csv").read_text().splitlines()]
    assert [row[0] for row in anew] == [row[0] for row in kept] and anew == kept


@pytest.mark.skipif(not HAS_ASTRAL, reason="astral is not installed")
def test_a_survey_is_counted_with_its_effort(night: Path) -> None:
    model = ("--model", str(run_of(night)), "--device", "cpu")
    assert batcache("predict", "night", *model, cwd=night).returncode == 0
    done = batcache("survey", "-o", "s/survey.csv", "--timezone", "Europe/Berlin", "--place", "52.5,13.4", cwd=night)
    assert done.returncode == 0, done.stderr
    assert "6 recordings of 1 site-night" in done.stdout
    assert "counted neither as bats nor as silence: MILL_20250101_010000.wav" in done.stderr
    assert sorted(path.name for path in (night / "s").iterdir()) == [
        "survey.csv", "survey.png", "survey_hours.csv", "survey_nights.csv",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("convert", "--to", "ravne"), 1, "error: --to: no format 'ravne'. Did you mean raven?"),
        (("predict", "wav", "--model", "runs", "--to", "sonobat"), 1, "error: --to: no format 'sonobat'."),
        (("convert", "nowhere", "--to", "raven"), 1, "error: nowhere: no predictions in it"),
        (("convert",), 2, "name a format"),
        (("survey", "nowhere", "--place", "north"), 1, "error: --place: 'north', expected a latitude and a longitude"),
        (("survey", "nowhere", "--timezone", "Berlin"), 1, "error: --timezone: no time zone 'Berlin'"),
    ],
)
def test_what_cannot_be_written_is_one_line(arguments: tuple[str, ...], code: int, said: str, project: Path) -> None:
    outcome = batcache(*arguments, cwd=project)
    assert outcome.returncode == code and said in outcome.stderr, outcome.stderr
    assert code == 2 or len(outcome.stderr.splitlines()) == 1


@pytest.mark.parametrize("command", ["convert", "survey"])
def test_help_ends_with_an_example(command: str, project: Path) -> None:
    shown = batcache(command, "--help", cwd=project).stdout
    assert f"Example: batcache {command} predictions" in " ".join(shown.split())
