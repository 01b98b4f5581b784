"""Run the command line as a user would, quickly: each command in a fork of a process that has imported everything.

    python -m tests.command      reads a command a line from stdin and answers on stdout, in JSON

To start Python and import torch takes longer than most commands do. Where a process cannot fork, each command gets a
process of its own.
"""

import atexit
import json
import os
import subprocess
import sys
import tempfile
from functools import cache
from importlib import import_module
from pathlib import Path
from subprocess import PIPE, CompletedProcess, Popen

ROOT = Path(__file__).parents[1]
ENVIRONMENT = {"PYTHONUTF8": "1", "OMP_NUM_THREADS": "1"}
IMPORTED = (
    "batcache.cli.app", "batcache.evaluation.pictures.pages", "batcache.features.frontend", "batcache.pipeline",
    "batcache.store.hdf5.restore", "batcache.store.upkeep.repair", "batcache.training.loop", "sklearn.metrics",
    "zarr.codecs",
)  # fmt: skip


def batcache(*arguments: str, cwd: Path) -> CompletedProcess[str]:
    """Run ``batcache`` in a folder, its output no terminal; all that it wrote and its exit code."""
    command = [sys.executable, "-c", "from batcache.cli.main import main; main()", *arguments]
    if not hasattr(os, "fork"):
        environment = os.environ | ENVIRONMENT
        return subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=environment, check=False)
    server = _server()
    assert server.stdin and server.stdout
    server.stdin.write(json.dumps([str(cwd), arguments, {**os.environ, **ENVIRONMENT}]) + "\n")
    server.stdin.flush()
    status, out, err = json.loads(server.stdout.readline())
    return CompletedProcess(command, status, out, err)


@cache
def _server() -> "Popen[str]":
    server = Popen(
        [sys.executable, "-m", "tests.command"], stdin=PIPE, stdout=PIPE, text=True, cwd=ROOT,
        env=os.environ | ENVIRONMENT,
    )  # fmt: skip
    assert server.stdin
    atexit.register(server.wait)
    atexit.register(server.stdin.close)
    return server


def _run_in_child(folder: str, arguments: list[str], environment: dict[str, str], outputs: list[int]) -> None:
    from batcache.cli.main import main

    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    for number, output in zip((1, 2), outputs, strict=True):
        os.dup2(output, number)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
    sys.argv = ["batcache", *arguments]
    status = 0
    try:
        main()
    except SystemExit as leaving:
        status = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _prepare() -> None:
    """Do what every command would have to do: import, compile, read settings. It starts no thread."""
    import numpy as np

    for module in IMPORTED:
        import_module(module)
    from batcache.config.load import load_config
    from batcache.features.kernels import hann_magnitudes, smooth

    hann_magnitudes(np.zeros((1, 3), np.complex64), np.empty((1, 3), np.float32))
    smooth(np.zeros((1, 1), np.float32), 0.5, np.zeros(1, np.float32), np.empty((1, 1), np.float32))
    load_config()


def _serve() -> None:
    _prepare()
    for line in sys.stdin:
        folder, arguments, environment = json.loads(line)
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            child = os.fork()
            if not child:
                _run_in_child(folder, arguments, environment, [out.fileno(), err.fileno()])
            _, status = os.waitpid(child, 0)
            texts = []
            for file in (out, err):
                file.seek(0)
                texts.append(file.read().decode())
        sys.stdout.write(json.dumps([os.waitstatus_to_exitcode(status), *texts]) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _serve()
