"""A command that is killed, by whatever, leaves no process behind."""

import ast
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

import batcache

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows knows none of these signals")

PACKAGE = Path(batcache.__file__).parent
SIGNALS = [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGKILL]
IN_TIME_S = 60
COMMAND_LINE = "from batcache.cli.main import main; main()"
APART = """
import time
from batcache.bench.subprocess_cost import run_apart
if __name__ == "__main__":
    run_apart(time.sleep, 600)
"""
SLEEPING = """
from batcache.children import run_python
run_python("import time; time.sleep(600)")
"""
POOL = """
import time
from batcache.bench import peers
peers.librosa_features = lambda *_: None
if __name__ == "__main__":
    with peers.librosa_processes(2, None, None):
        time.sleep(600)
"""


def end(command: list[str], number: int, folder: Path, processes: int = 1) -> None:
    """Start a command, kill it once it has started so many processes that work, and wait until all of them are gone."""
    with subprocess.Popen(
        command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        parent, until = psutil.Process(process.pid), time.monotonic() + 60
        while len(children := parent.children(recursive=True)) < processes:
            assert process.poll() is None and time.monotonic() < until, process.communicate()[1]
            time.sleep(0.02)
        time.sleep(1)  # in the midst of their work
        children = parent.children(recursive=True)
        process.send_signal(number)
        _, living = psutil.wait_procs(children, IN_TIME_S)
        try:
            assert not living, f"left behind: {[child.cmdline() for child in living]}"
            process.wait(IN_TIME_S)
        finally:
            for child in (*living, parent):
                with suppress(psutil.NoSuchProcess):
                    child.kill()


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("code", [APART, SLEEPING, POOL], ids=["apart", "python", "pool"])
def test_work_in_other_processes_ends_with_the_process_that_asked_for_it(tmp_path, code, number):
    script = tmp_path / "script.py"
    script.write_text(code)
    end([sys.executable, str(script)], number, tmp_path)


@pytest.mark.parametrize("number", SIGNALS)
def test_synth_leaves_no_process_behind(tmp_path, number):
    """One for each core, and the one by which multiprocessing keeps count of what it shares."""
    cores = min(os.cpu_count() or 1, 4)
    arguments = ["synth", "--out", "simulated", "--clips", "2000"]
    end([sys.executable, "-c", COMMAND_LINE, *arguments], number, tmp_path, processes=cores + 1)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_bench_leaves_no_process_behind(tmp_path, number):
    arguments = ["bench", "--clips", "8", "--long-minutes", "0", "--planned", "0"]
    end([sys.executable, "-c", COMMAND_LINE, *arguments], number, tmp_path)


def test_only_these_modules_start_processes_and_each_child_ends_with_its_parent() -> None:
    """Whoever adds one adds it here, and to the laws above."""
    starting = {"multiprocessing", "subprocess", "concurrent.futures.process"}
    by_children = {"bench/predicting.py", "bench/peers.py", "synth/create.py"}
    """Ask children.py for their processes, and name errors and barriers alone."""
    found = set()
    for module in PACKAGE.rglob("*.py"):
        tree = ast.parse(module.read_text(encoding="utf-8"))
        names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        names |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
        if names & starting:
            found.add(module.relative_to(PACKAGE).as_posix())
    assert found == {
        "children.py", "synth/create.py", "bench/peers.py", "bench/predicting.py", "bench/subprocess_cost.py",
    }  # fmt: skip
    for name in found - by_children - {"children.py"}:
        assert "end_with_parent" in (PACKAGE / name).read_text(encoding="utf-8")
