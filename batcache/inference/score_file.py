"""What a model says of many bags, taken as it comes: scores stay in memory, evidence goes into a file."""

import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from batcache.errors import RunError
from batcache.inference.bag_scores import BagScores


class ScoreFile:
    """Scores of R bags for C species, to which each bag's are added in order; to be used as a context.

    The evidence of a million recordings of five seconds, for twenty species, is 800 MB; their scores are 80. The file
    has no name, on Windows one that the system deletes: whatever ends the process, nothing of it is left.

    Args:
        bags: how many there will be.
        untaught: of which species nothing is to be kept but NaN. Shape: ``[C]``
        folder: on whose disk the evidence is written, 4 bytes for each instance and species.

    Attributes:
        logits: NaN until they are added, and for untaught species. Shape: ``[R, C]``
        bats: logits that there is a bat; NaN where the model does not say. Shape: ``[R]``
        counts: how many instances each bag has. Shape: ``[R]``
    """

    def __init__(self, bags: int, untaught: Sequence[bool], folder: Path) -> None:
        self._untaught, self._folder, self._added = np.array(untaught, bool), folder, 0
        self.logits = np.full((bags, len(untaught)), np.nan, np.float32)
        self.bats = np.full(bags, np.nan, np.float32)
        self.counts = np.zeros(bags, np.int64)
        try:
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (``__exit__`` closes it)
        except OSError as error:
            raise self._refused(error) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        with suppress(OSError):  # of what the disk has refused already, closing would tell once more
            self._file.close()

    def add(self, said: BagScores) -> None:
        """Keep what is said of the next bag.

        Raises:
            RunError: the disk refuses or is full.
        """
        place, evidence = self._added, np.array(said.evidence, np.float32, order="C")
        evidence[:, self._untaught] = np.nan
        self.logits[place] = np.where(self._untaught, np.float32(np.nan), said.logits)
        self.bats[place] = np.nan if said.bat is None else said.bat
        self.counts[place] = len(evidence)
        try:
            self._file.write(evidence.data)
        except OSError as error:
            raise self._refused(error) from None
        self._added += 1

    def evidence(self) -> NDArray[np.float32]:
        """The evidence of all bags that were added, mapped from the file, which stays readable when the context ends.

        Shape: ``[I, C]``. Raises as ``add``.
        """
        shape = int(self.counts.sum()), len(self._untaught)
        try:
            self._file.flush()
        except OSError as error:
            raise self._refused(error) from None
        if not shape[0]:
            return np.zeros(shape, np.float32)
        return np.memmap(self._file, np.float32, "r", shape=shape)

    def _refused(self, error: OSError) -> RunError:
        return RunError.of_disk(self._folder, "cannot hold the evidence", error, "Free some space and run it again")
