"""Outcomes filed at once, by threads and by processes: none is lost."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from batcache.errors import RunError
from batcache.evaluation.outcomes import file_outcome, read_outcomes

MADE_FROM = {"csvs": ["a.csv"], "split_of": {}, "data_dir": "."}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "logs").mkdir()
    return tmp_path


def test_outcomes_filed_at_once_by_threads_are_all_there(run: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: file_outcome(run, f"split {i}", MADE_FROM | {"clips": i}), range(40)))
    assert read_outcomes(run) == {f"split {i}": MADE_FROM | {"clips": i} for i in range(40)}


def test_outcomes_filed_at_once_by_processes_are_all_there(run: Path) -> None:
    code = (
        "import sys, pathlib\nfrom batcache.evaluation.outcomes import file_outcome\n"
        "for i in range(20): file_outcome(pathlib.Path(sys.argv[1]), f'{sys.argv[2]} {i}', "
        f"{MADE_FROM!r})"
    )
    command = [sys.executable, "-c", code, str(run)]
    processes = [subprocess.Popen([*command, name]) for name in ("one", "other")]
    assert [process.wait(60) for process in processes] == [0, 0]
    assert len(read_outcomes(run)) == 40


@pytest.mark.parametrize(
    "outcome",
    [1, None, "text", [], {}, MADE_FROM | {"csvs": 1}, MADE_FROM | {"split_of": []}, {"csvs": [], "data_dir": ""}],
)
def test_what_is_no_outcome_is_said(run: Path, outcome: object) -> None:
    (run / "metrics.json").write_text(json.dumps({"val": MADE_FROM, "test": outcome}))
    with pytest.raises(RunError, match=r"metrics\.json: cannot be read .* Delete it"):
        read_outcomes(run)


def test_what_is_damaged_is_not_replaced(run: Path) -> None:
    (run / "metrics.json").write_text("{")
    with pytest.raises(RunError, match=r"metrics\.json: cannot be read"):
        file_outcome(run, "test", {})
    assert (run / "metrics.json").read_text() == "{"
