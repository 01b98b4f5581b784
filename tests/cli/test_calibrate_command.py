"""A model is calibrated on reviewed recordings by the command line, and says what its thresholds rest on."""

import csv
from pathlib import Path

import soundfile

from tests.cli.conftest import run_of
from tests.command import batcache


def test_reviewed_rows_calibrate_a_model_and_predict_and_info_say_so(done: Path) -> None:
    model = str(run_of(done) / "checkpoints" / "best_model.pt")
    (done / "new").mkdir()
    for i in range(12):  # other recordings than those learnt from, though they sound alike
        samples, rate = soundfile.read(done / "wav" / f"{i:02d}.wav")
        soundfile.write(done / "new" / f"{i:02d}.wav", samples * 0.9, rate)
    first = batcache("predict", "new", "--model", model, "--device", "cpu", cwd=done)
    assert first.returncode == 0, first.stderr
    assert (
        "each species at its own threshold" in first.stdout
        and "thresholds rest on its validation clips" in first.stdout
    )
    assert "slightly too good" in first.stderr
    rows = [["path", "Forty-five", "Sixty"], *([f"{i:02d}.wav", i % 2, ""] for i in range(12))]
    with (done / "reviewed.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    made = batcache("calibrate", model, "reviewed.csv", cwd=done)
    assert made.returncode == 0, made.stderr
    assert "recalibrated on 12 reviewed rows (reviewed.csv): Forty-five" in made.stderr
    assert (done / model).with_name("best_model.pt.calibration.json").exists()
    again = batcache("predict", "new", "--model", model, "--device", "cpu", "--fit-prevalence", cwd=done)
    assert "rows that were reviewed" in again.stdout and "recalibrated on 12 reviewed rows" in again.stderr
    assert "share of clips that hold a species" in again.stdout
    with (done / "predictions" / "thresholds.csv").open(encoding="utf-8", newline="") as file:
        sources = {row["species"]: row["source"] for row in csv.DictReader(file)}
    assert sources == {"Forty-five": "reviewed", "Sixty": "validation"}
    told = batcache("info", model, cwd=done)
    assert told.returncode == 0 and "thresholds of scores" in told.stdout and "6/12" in told.stdout


def test_what_cannot_be_calibrated_is_one_line(done: Path) -> None:
    model = str(run_of(done))
    (done / "reviewed.csv").write_text("path,Sixty\n00.wav,1\n")
    for arguments, code, said in (
        (("calibrate", model, "reviewed.csv"), 1, "predictions: holds no finished predictions"),
        (("calibrate", model, "gone.csv", "--predictions", "wav"), 1, "holds no finished predictions"),
        (("calibrate", "gone.pt", "reviewed.csv"), 1, "gone.pt: no such model"),
        (("predict", "wav", "--model", model, "--threshold", "0.5", "--precision", "0.8"), 2, "--threshold is given"),
        (("predict", "wav", "--model", model, "--precision", "1.5"), 2, "--precision"),
    ):
        refused = batcache(*arguments, cwd=done)
        assert refused.returncode == code, refused.stderr
        assert said in " ".join(refused.stderr.split())
        assert "Traceback" not in refused.stderr
