"""What is known of each real recording, and the front end that computes it."""

import csv
from pathlib import Path

import pytest

from batcache.features.frontend import FrontEnd
from tests.features.whole import DEFAULT


@pytest.fixture(scope="session")
def recordings(real: Path) -> list[dict[str, str]]:
    """The rows of ``recordings.csv``."""
    with (real / "recordings.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def front_ends() -> dict[tuple[str, str], FrontEnd]:
    return {}


@pytest.fixture
def front_end(request: pytest.FixtureRequest, front_ends: dict[tuple[str, str], FrontEnd]) -> FrontEnd:
    """The front end on a device by an engine: by default FFT on the CPU."""
    where = getattr(request, "param", ("cpu", "fft"))
    if where not in front_ends:
        front_ends[where] = FrontEnd(DEFAULT, *where)
    return front_ends[where]
