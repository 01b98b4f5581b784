"""How long the command line takes to answer."""

from collections.abc import Iterator

from batcache.bench.rows import Mark, Row
from batcache.bench.timing import take_turns
from batcache.children import run_python

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
    loaded = run_python(_WITHOUT_TORCH, "--help").stderr == "True"
    taken = take_turns({"help": lambda: run_python(_HELP, "--help"), "python": lambda: run_python("pass")}, rounds)
    note = "imports torch" if loaded else "torch is not imported"
    yield Row("start", "batcache --help", taken["help"], "s", "Python alone", taken["python"], "less", MARK, note)
