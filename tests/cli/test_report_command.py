"""A run's report is written by the command line, with the audio of the recordings that are still there."""

import csv
import io
import json
from pathlib import Path

import pytest

from tests.cli.conftest import run_of
from tests.command import batcache

pytestmark = pytest.mark.slow


def test_eval_writes_the_report_with_audio_and_report_writes_it_again(done: Path) -> None:
    run = run_of(done)
    (run / "report.html").unlink()  # of `batcache run`
    judged = batcache("eval", "--device", "cpu", cwd=done)
    assert judged.returncode == 0, judged.stderr
    assert f"report      runs/{run.name}/report.html" in judged.stdout
    first = (run / "report.html").read_text(encoding="utf-8")
    assert first.count("<audio") == first.count('src="data:audio/wav;base64,') > 0
    (run / "report.html").unlink()
    again = batcache("report", f"runs/{run.name}", cwd=done)
    assert again.returncode == 0, again.stderr
    assert again.stdout.strip() == f"written: runs/{run.name}/report.html"
    assert (run / "report.html").read_text(encoding="utf-8").count("<audio") == first.count("<audio")


def test_a_report_of_what_was_not_judged_is_refused_and_names_what_was(done: Path) -> None:
    refused = batcache("report", f"runs/{run_of(done).name}", "--split", "tst", cwd=done)
    assert refused.returncode == 1
    assert "tst has not been judged (there is: test). Did you mean test?" in refused.stderr


def test_eval_writes_its_numbers_alone_to_stdout_in_the_form_that_was_asked_for(done: Path) -> None:
    written = {
        form: batcache("eval", "--format", form, "--threshold", "0.3", "--device", "cpu", cwd=done)
        for form in ("json", "csv", "md")
    }
    assert [one.returncode for one in written.values()] == [0, 0, 0], [one.stderr for one in written.values()]
    filed = json.loads((run_of(done) / "metrics.json").read_text())["test"]
    assert json.loads(written["json"].stdout) == filed and filed["threshold"] == 0.3
    assert not written["csv"].stdout.endswith("\n\n") and written["csv"].stdout.startswith("level,kind,name,")
    rows = list(csv.DictReader(io.StringIO(written["csv"].stdout)))
    assert [row["name"] for row in rows if row["level"] == "clip"][:2] == ["Forty-five", "Sixty"]
    assert float(rows[0]["precision"]) == filed["per_species"][0]["precision"]
    assert written["md"].stdout.startswith("**clip**: ") and "| Sixty † |" in written["md"].stdout
    assert "report      " in batcache("eval", "--device", "cpu", cwd=done).stdout
    assert batcache("eval", "--format", "json", "--threshold", "2", cwd=done).returncode == 2
