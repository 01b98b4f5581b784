"""What workers do with memory that they have freed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FAULTS = """import resource, sys
from pathlib import Path
from batcache.store.build.hands import prepare_worker
if sys.argv[1] == "prepared":
    prepare_worker(Path("."))
import numpy as np
np.ones(2_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    np.ones(2_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
"""Ten arrays of 16 MB, one after the other, and how many pages the system had to give for them."""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_a_worker_that_dask_told_to_give_memory_back_takes_blocks_from_what_it_has_freed() -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "MALLOC_TRIM_THRESHOLD_": "65536"}  # as Dask's nannies set it

    def faults(how: str) -> int:
        command = [sys.executable, "-c", FAULTS, how]
        done = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
        return int(done.stdout)

    if faults("as it is") < 1000:
        pytest.skip("freed memory is kept here as it is")
    assert faults("prepared") < 1000
