"""A review from its first question to its end: the server runs until the page, or Ctrl-C, ends it."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batcache.errors import ConfigError, ReviewError
from batcache.progress import OnProgress, Progress, ignore_progress
from batcache.reviewing.asking import Asking
from batcache.reviewing.bound import most_wrong
from batcache.reviewing.desk import Desk
from batcache.reviewing.journal import Journal
from batcache.reviewing.judged import Judged
from batcache.reviewing.other_table import OtherTable
from batcache.reviewing.questions import Questions, Sample
from batcache.reviewing.recordings import Recordings
from batcache.reviewing.server import Server
from batcache.storage.exclusive import lock_file

ERROR = 0.1
"""The share of wrong recordings at most that is wanted, unless told otherwise."""


@dataclass(frozen=True)
class ReviewStarted:
    """Where the page is, and how many answers earlier reviews have left."""

    address: str
    kept: int


@dataclass(frozen=True)
class ReviewReport:
    """What was said of predictions so far.

    Attributes:
        table_file: ``reviewed.csv``, which ``calibrate`` and ``train`` read; it is there once something was said.
        journal_file: the answers in their order.
        answers: how many, those of earlier reviews too.
        new_answers: how many are of this one.
        species: all that the table speaks of.
        paths: of its rows. Length: R
        labels: 1, 0 or -1, not known. Shape: ``[R, C]``
        sample: how far the random sample has come.
        standing: what is shown by now, a sentence for each part.
        notes: what to know of it.
    """

    table_file: Path
    journal_file: Path
    answers: int
    new_answers: int
    species: tuple[str, ...]
    paths: tuple[str, ...]
    labels: NDArray[np.int8]
    sample: Sample
    standing: dict[str, str]
    notes: tuple[str, ...]

    @property
    def most_wrong(self) -> int:
        """How many of the sample's recordings in all are wrong at most, with 95 % confidence."""
        return most_wrong(self.sample.recordings, self.sample.checked, self.sample.wrong)

    def table(self) -> dict[str, NDArray[Any]]:
        """Columns by name, a row for each clip of which something is known, as a DataFrame wants them."""
        named = {name: self.labels[:, c] for c, name in enumerate(self.species)}
        return {"filename": np.array(self.paths, str), **named}


def review(
    judged: Judged,
    recordings: Recordings,
    *,
    other: OtherTable | None = None,
    error: float = ERROR,
    seed: int | None = None,
    port: int = 0,
    on_progress: OnProgress = ignore_progress,
) -> ReviewReport:
    """Serve the page until it is ended, there or by Ctrl-C; each answer is kept as it is given.

    Args:
        judged: the predictions.
        recordings: what they are of.
        other: another program's table: where it says something else is asked first.
        error: the share of wrong recordings that is wanted at most: the random sample ends where it is shown.
        seed: of the random sample; None: that of the answers that are there, else 0.
        port: to listen on; 0 takes any that is free.
        on_progress: hears a ``ReviewStarted`` at the beginning.

    Raises:
        ConfigError: an error that is not between 0 and 1.
        ReviewError: answers that are damaged, or begun with another seed; another process reviews these predictions;
            the port is taken, or the disk refuses.
    """
    if not 0 < error < 1:
        raise ConfigError("--error", f"{error:g}, expected a share between 0 and 1", "Pass one, such as 0.1")
    with _held(judged.folder), Journal(judged, seed, recordings.content_of) as journal:
        asking = Asking(Questions(judged, journal.seed, other), journal, error)
        asking.standing()  # what takes a second is ready when the page asks

        def end() -> None:
            Thread(target=server.shutdown, daemon=True).start()

        desk = Desk(asking, recordings, end)
        with Server(desk.gets, desk.posts, port) as server:
            with suppress(KeyboardInterrupt):
                on_progress(Progress("review", journal.answers, None, ReviewStarted(server.address, journal.kept)))
                recordings.prepare()
                server.serve_forever(poll_interval=0.1)
            server.finish()
            recordings.close()
            return _report(asking, other)


def _report(asking: Asking, other: OtherTable | None) -> ReviewReport:
    journal = asking.journal
    rows, species = journal.table.rows, asking.species
    labels = [[row.said.labels.get(name, -1) for name in species] for row in rows]
    return ReviewReport(
        table_file=journal.table_file,
        journal_file=journal.path,
        answers=journal.answers,
        new_answers=journal.answers - journal.kept,
        species=species,
        paths=tuple(row.key[0] for row in rows),
        labels=np.array(labels, np.int8).reshape(len(rows), len(species)),
        sample=asking.sample,
        standing=asking.standing(),
        notes=(*journal.notes, *(other.notes if other else ())),
    )


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Keep other processes from reviewing these predictions; what the disk refuses is an error of its place."""
    try:
        with lock_file(folder / ".review.lock", wait=False):
            yield
    except BlockingIOError:
        raise ReviewError(folder, "another process reviews it", "End that review first") from None
    except OSError as error:
        place, finding = error.filename or folder, error.strerror or str(error)
        raise ReviewError(place, finding, "See to the disk: what was answered stays") from error
