"""The command that serves a review: how it ends, and what is refused before it begins."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command import batcache
from tests.reviewing.made import SPECIES, write_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "predictions", [[0.9, 0.1, 0.1]] * 4)


@pytest.mark.skipif(os.name == "nt", reason="sends a signal of POSIX")
def test_ctrl_c_ends_it_with_what_is_kept_and_where(folder: Path) -> None:
    hear = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"  # background jobs do not
    code = f"{hear}; from batcache.cli.main import main; main()"
    command = [sys.executable, "-c", code, "review", "--no-browser"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=folder.parent, text=True, **pipes) as process:
        assert process.stdout
        assert re.match(r"open http://127\.0\.0\.1:\d+/[\w-]{32}/$", process.stdout.readline())
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert out.splitlines()[0] == "0 answers, 0 of them now" and "none of 4 checked at random yet" in out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ["nothing"],
            "error: nothing: no such folder. Pass the --out folder of `batcache predict`, or a run's folder.",
        ),
        (
            ["predictions", "--error", "0"],
            "error: --error: 0, expected a share between 0 and 1. Pass one, such as 0.1.",
        ),
        (["predictions", "--data-dir", "gone"], "error: gone: not a folder."),
        (["predictions", "--against", "gone.csv"], "error: gone.csv: cannot be read (No such file or directory)."),
        (["--split", "val"], "--split: only a run has splits"),
    ],
)
def test_what_cannot_be_reviewed_is_one_line(folder: Path, options: list[str], said: str) -> None:
    done = batcache("review", *options, "--no-browser", cwd=folder.parent)
    assert done.returncode in (1, 2) and said in done.stderr and "Traceback" not in done.stderr
    assert not list(folder.glob("reviewed*"))


def test_predictions_of_a_later_version_or_a_damaged_table_are_one_line(folder: Path) -> None:
    table = folder / "predictions.csv"
    table.write_text(table.read_text().replace(f",notes,{SPECIES[0]}", f",remarks,{SPECIES[0]}"))
    done = batcache("review", "--no-browser", cwd=folder.parent)
    assert done.returncode == 1 and "predictions.csv line 1: no column 'notes'. Run the same" in done.stderr
