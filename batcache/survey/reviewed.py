"""What a person found in the recordings of a folder of predictions: the newest table that a review left there.

Where somebody has changed ``reviewed.csv``, the review goes on in ``reviewed-2.csv``, with all that was said before.
"""

from pathlib import Path

from batcache.inference.calibration.reviewed import read_reviewed
from batcache.manifest.cells import UNKNOWN
from batcache.storage.listing import list_folder


def number_of(path: Path) -> int:
    """Which review a file is of: 1 for ``reviewed``, 2 for ``reviewed-2``, 0 for a name that is none.

    >>> [number_of(Path(name)) for name in ("reviewed.csv", "reviewed-12.jsonl", "reviewed-old.csv")]
    [1, 12, 0]
    """
    rest = path.stem.removeprefix("reviewed")
    return 1 if not rest else int(rest[1:]) if rest[0] == "-" and rest[1:].isdecimal() else 0


def find_reviewed(folder: Path) -> Path | None:
    """The newest table of a folder; None where nobody has reviewed it. Raises OSError: the disk does not tell."""
    found = [path for path in list_folder(folder, "reviewed*.csv") if number_of(path)]
    return max(found, key=number_of, default=None)


def read_labels_of(table: Path) -> dict[str, dict[str, int]]:
    """Which species are in each recording (1) and which are not (0), as far as it is known, by path.

    Raises:
        ManifestError: no such table, or a damaged one.
    """
    read = read_reviewed(table)
    return {
        path: {name: int(label) for name, label in zip(read.species, row, strict=True) if label != UNKNOWN}
        for path, row in zip(read.paths, read.labels, strict=True)
    }
