"""How long the command line takes to answer."""

import subprocess
import sys
from collections.abc import Iterator

from batcache.bench.rows import Mark, Row
from batcache.bench.timing import take_turns

MARK = Mark("ours", "<", 0.4)
_HELP = "from batcache.cli.main import main; main()"
_WITHOUT_TORCH = """
import sys
from batcache.cli.main import main
try:
    main()
finally:
    sys.stderr.write(str("torch" in sys.modules))
"""


def measure_start(rounds: int) -> Iterator[Row]:
    """Yield the seconds of ``batcache --help`` in a fresh process, beside those of Python alone."""
    loaded = _run(_WITHOUT_TORCH, "--help").stderr == "True"
    taken = take_turns({"help": lambda: _run(_HELP, "--help"), "python": lambda: _run("pass")}, rounds)
    note = "imports torch" if loaded else "torch is not imported"
    yield Row("start", "batcache --help", taken["help"], "s", "Python alone", taken["python"], "less", MARK, note)


def _run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
