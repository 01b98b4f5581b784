"""What is printed is what was meant: names as they are, paths whole, a bar only on a terminal, no line glued to it."""

import os
import re
import struct
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from batcache.cli.progress import show_progress
from batcache.cli.terminal import Table, progress_bars, say, show_table, warn
from batcache.errors import count
from batcache.progress import Progress

STRANGE = "[red]a[/red] [/] :bat: \\[x].wav"
BAR = """
import time
from batcache.cli.terminal import progress_bars, say, warn
with progress_bars() as bars:
    for done in range(1, 21):
        bars.show("computing", done, 20)
        time.sleep(0.05)
        if done == 10:
            say("half of it")
            warn("half is left")
say("done")
"""


def test_names_with_brackets_and_colons_are_printed_as_they_are(capfd: pytest.CaptureFixture[str]) -> None:
    show_table(Table(STRANGE, [(STRANGE, "1"), ("b", "2")], (STRANGE, "count")))
    say(STRANGE)
    warn(STRANGE)
    out, err = capfd.readouterr()
    assert out.count(STRANGE) == 4
    assert err == f"note: {STRANGE}\n"


@pytest.mark.parametrize("header", [(), ("file", "reason")])
def test_long_paths_are_not_cut_where_there_is_no_terminal(
    capfd: pytest.CaptureFixture[str], header: tuple[str, ...]
) -> None:
    path = "/".join(f"folder {i:02d}" for i in range(60)) + ".wav"
    show_table(Table(path, [(path, "reason"), ("short", path)], header))
    say(path)
    warn(path)
    out, err = capfd.readouterr()
    assert out.count(path) == 4 and err.count(path) == 1
    assert len(out.splitlines()) == 4 + bool(header)


def test_columns_of_numbers_are_right_aligned_under_a_header(capfd: pytest.CaptureFixture[str]) -> None:
    show_table(Table("title", [("a", "1"), ("bb", "1,000")], ("name", "count")))
    lines = [line.rstrip() for line in capfd.readouterr().out.splitlines()]
    assert lines[0] == "title"
    assert len({len(line) for line in lines[1:]}) == 1 and lines[2].endswith("    1")


def test_a_very_long_cell_lengthens_its_own_line_alone(capfd: pytest.CaptureFixture[str]) -> None:
    long = "folder/" * 53
    show_table(Table("title", [(long, "1", "found"), ("b.wav", "20", long)], ("file", "calls", "reason")))
    header, first, second = capfd.readouterr().out.splitlines()[1:]
    assert header == "file   calls  reason" and first == f"{long}      1   found"
    assert second == f"b.wav     20  {long}"


@pytest.mark.parametrize(
    ("number", "said"), [(0, "0 recordings"), (1, "1 recording"), (2, "2 recordings"), (1000, "1,000 recordings")]
)
def test_one_thing_is_singular_and_thousands_are_parted(number: int, said: str) -> None:
    assert count(number, "recording") == said


def test_no_bar_where_there_is_no_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    with progress_bars() as bars:
        bars.show("computing", 1, 2)
        say("between")
        warn("noted")
    assert capfd.readouterr() == ("between\n", "note: noted\n")


def run_on_terminal(stdout_too: bool, *command: str, cwd: Path, columns: int = 100) -> tuple[str, str]:
    """Run a command whose stderr (and stdout) is a terminal. Returns its stdout, and the terminal's."""
    fcntl, pty, termios = (pytest.importorskip(name) for name in ("fcntl", "pty", "termios"))
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "NO_COLOR")}
    environment |= {"PYTHONUTF8": "1", "OMP_NUM_THREADS": "1", "TERM": "xterm"}
    process = subprocess.Popen(
        command,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=theirs if stdout_too else subprocess.PIPE,
        stderr=theirs,
        env=environment,
    )
    os.close(theirs)
    plain: list[bytes] = []
    reader = threading.Thread(target=lambda: plain.append(process.stdout.read() if process.stdout else b""))
    reader.start()
    shown = b""
    while True:
        try:
            part = os.read(ours, 65_536)
        except OSError:  # Linux ends a terminal so
            break
        if not part:
            break
        shown += part
    os.close(ours)
    reader.join()
    if process.stdout:
        process.stdout.close()
    assert process.wait(timeout=60) == 0, shown.decode()
    return plain[0].decode(), shown.decode()


def test_the_bar_shows_rate_and_time_left_and_no_line_is_glued_to_it(tmp_path: Path) -> None:
    _, shown = run_on_terminal(True, sys.executable, "-c", BAR, cwd=tmp_path)
    assert "computing" in shown and "/20" in shown
    rates = [part.split("/s")[0].split()[-1] for part in shown.split("\r") if "/s" in part]
    assert rates and 2 < float(rates[-1].split("m")[-1]) <= 20.5, "a step takes at least 0.05 s"
    assert "0:00:0" in shown
    for line in ("half of it", "note: half is left", "done"):
        before = shown[: shown.index(line)]
        assert before.endswith(("\x1b[2K", "\r\n", "\r", "\x1b[0m\r\n")), repr(before[-80:])
    assert shown.rstrip().endswith("done")


def test_a_file_gets_its_lines_while_the_terminal_shows_the_bar(tmp_path: Path) -> None:
    plain, shown = run_on_terminal(False, sys.executable, "-c", BAR, cwd=tmp_path)
    assert plain == "half of it\ndone\n"
    assert "half of it" not in shown and "note: half is left" in shown and "/20" in shown


def test_no_bar_stands_at_its_end_while_work_goes_on() -> None:
    """A stage that has come through still writes, commits and flushes."""
    with show_progress() as listen:
        for stage in ("build", "epoch 1"):
            for done in (1, 2):
                listen(Progress(stage, done, 2))
                (task,) = listen._bars._progress.tasks  # type: ignore[attr-defined]
                assert (task.completed, task.total) == (done, 2 if done == 1 else None)


def test_a_stage_has_a_bar_and_one_shown_alone_takes_the_place_of_all(tmp_path: Path) -> None:
    code = """
from batcache.cli.terminal import progress_bars
with progress_bars() as bars:
    for done in (1, 2):
        bars.show("reading", done, 2)
        bars.show("computing", done, 2)
    titles = [task.description for task in bars._progress.tasks]
    bars.show_alone("validating", 1, 2)
    bars.show_alone("validating", 2, 2)
    titles.append("then")
    titles += [task.description for task in bars._progress.tasks]
print(*titles)
"""
    plain, _ = run_on_terminal(False, sys.executable, "-c", code, cwd=tmp_path)
    assert plain.split() == ["reading", "computing", "then", "validating"]


SCORES = """
from types import SimpleNamespace
import numpy as np
from batcache.evaluation.metrics import compute_metrics
from batcache.cli.model_tables import of_evaluation
from batcache.cli.terminal import show
species = ("Rhinolophus ferrumequinum", "Pipistrellus pipistrellus", "Myotis myotis")
rng = np.random.default_rng(0)
metrics = compute_metrics(rng.random((123, 3)), rng.integers(0, 2, (123, 3)).astype(np.int8), species)
files = dict(predictions_file="p.npz", metrics_file="metrics.json", page="report.html")
measures = SimpleNamespace(calibration_error=None)
calibration = SimpleNamespace(scores=measures, probabilities=None)
report = SimpleNamespace(metrics=metrics, calibration=calibration, groups=(), notes=(), split="test", **files)
show(of_evaluation(report))
"""


@pytest.mark.parametrize(("columns", "left_out"), [(80, []), (60, ["ROC-AUC", "precision"])])
def test_a_species_scores_stand_in_one_line_whose_last_columns_go_first(
    tmp_path: Path, columns: int, left_out: list[str]
) -> None:
    _, shown = run_on_terminal(True, sys.executable, "-c", SCORES, cwd=tmp_path, columns=columns)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown)
    lines = plain.splitlines()
    (header,) = (line for line in lines if line.split()[:2] == ["species", "clips"])
    for name in ("Rhinolophus ferrumequinum", "Pipistrellus pipistrellus", "macro average"):
        (line,) = (line for line in lines if name.split()[0] in line)
        assert line.strip().startswith(name) and len(re.findall(r"0\.\d{3}", line)) == len(header.split()) - 2
    assert max(map(len, lines)) <= columns
    assert all(word not in header and re.search(f"too narrow for .*{word}", plain) for word in left_out)
    assert left_out or header.split()[2:] == ["precision", "recall", "F1", "AP", "ROC-AUC"]
