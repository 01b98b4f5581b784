"""What is known of each real recording."""

import csv
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def recordings(real: Path) -> list[dict[str, str]]:
    """The rows of ``recordings.csv``."""
    with (real / "recordings.csv").open(newline="") as file:
        return list(csv.DictReader(file))
