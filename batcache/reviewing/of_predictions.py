"""A folder that ``batcache predict`` has written, as what a person is to look at.

``predictions.csv`` says which recordings are asked about: rows may be deleted from it, sites and nights corrected.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batcache.errors import ReviewError
from batcache.inference.predictions import Predictions, read_predictions
from batcache.inference.recordings.journal import NAME, read_header
from batcache.inference.verdicts import GROUP, HEARD, REJECTED, SAME_AUDIO, UNKNOWN_BAT
from batcache.manifest.table import place_of, read_table
from batcache.reviewing.judged import Judged
from batcache.storage.listing import is_there
from batcache.storage.spreadsheet import as_written
from batcache.survey.site_nights import read_thresholds

_NEEDED = ("path", "site", "night", "time", "verdict", "species_group", "notes")
_AGAIN = "Run the same `batcache predict` again"


def read_folder(folder: Path) -> Judged:
    """Read what was judged into a folder.

    Raises:
        ReviewError: no finished predictions, or a row of a recording without scores.
        PredictError, ManifestError, RunError: a table, or ``instances.npz``, that is damaged.
    """
    if not all(is_there(folder / name) for name in (NAME, "instances.npz", "predictions.csv", "thresholds.csv")):
        finding = "holds no finished predictions, and is no run"
        raise ReviewError(folder, finding, "Pass the --out folder of `batcache predict`, or a run's folder")
    header = read_header(folder)
    with ThreadPoolExecutor(1) as pool:  # to unpack one file takes as long as to read the other
        unpacked = pool.submit(read_predictions, folder / "instances.npz")
        table = list(_read_rows(folder / "predictions.csv"))
        predictions = unpacked.result()
    thresholds = read_thresholds(folder / "thresholds.csv", predictions.species.tolist())
    place = {str(name): i for i, name in enumerate(predictions.filenames)}
    kept: list[int] = []
    rows: list[tuple[str, ...]] = []
    for line, row in table:
        path, verdict = row[0] if row[0] in place else as_written(row[0]), row[4]
        if verdict == REJECTED:
            continue
        if path not in place:
            finding = f"no scores of {path!r} in instances.npz"
            raise ReviewError(place_of(folder / "predictions.csv", line), finding, _AGAIN)
        kept.append(place[path])
        rows.append(row)
    if not kept:
        raise ReviewError(folder / "predictions.csv", "no recording in it that was judged", "Judge some first")
    _, sites, nights, times, verdicts, groups, notes = (tuple(column) for column in zip(*rows, strict=True))
    sites, nights = (tuple(map(as_written, column)) for column in (sites, nights))
    is_vague = np.array([verdict in (GROUP, UNKNOWN_BAT) for verdict in verdicts])
    is_asked = np.array([SAME_AUDIO not in note for note in notes])
    return Judged(
        title=str(folder),
        origin={"model": header.model, "root": header.root},
        folder=folder,
        predictions=_take(predictions, kept),
        thresholds=thresholds,
        sites=sites,
        nights=nights,
        groups=tuple(f"{site} {night}".strip() if night else "" for site, night in zip(sites, nights, strict=True)),
        times=times,
        says=tuple(
            f"{group}, not said which" if verdict == GROUP else verdict
            for verdict, group in zip(verdicts, map(as_written, groups), strict=True)
        ),
        is_vague=is_vague,
        notes=notes,
        is_asked=is_asked,
        is_drawn=is_asked & np.array([not any(heard in note for heard in HEARD) for note in notes]),
        has_spans=False,
    )


def _read_rows(table: Path) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Lines with the needed cells, in the order of ``_NEEDED``."""
    columns, _, rows = read_table(table)
    if missing := [name for name in _NEEDED if name not in columns]:
        raise ReviewError(place_of(table, 1), f"no column {missing[0]!r}", _AGAIN)
    take = itemgetter(*(columns[name] for name in _NEEDED))
    for line, cells in rows:
        if len(cells) != len(columns):
            finding = f"{len(cells)} cells, the header has {len(columns)}"
            raise ReviewError(place_of(table, line), finding, _AGAIN)
        yield line, take(cells)


def _take(predictions: Predictions, kept: list[int]) -> Predictions:
    """The predictions of these clips, in this order."""
    if kept == list(range(len(predictions.filenames))):
        return predictions
    rows: NDArray[np.int64] = np.array(kept)
    counts = np.diff(predictions.offsets)[rows]
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    instances = np.repeat(predictions.offsets[rows], counts) + within
    of_clips: dict[str, Any] = {
        name: values[rows]
        for name in ("filenames", "start_s", "duration_s", "scores", "labels", "groups", "bats")
        if len(values := getattr(predictions, name))
    }
    of_instances = {
        name: getattr(predictions, name)[instances] for name in ("evidence", "evidence_start_s", "evidence_end_s")
    }
    return replace(predictions, offsets=np.concatenate([[0], np.cumsum(counts)]), **of_clips, **of_instances)
