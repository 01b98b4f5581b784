"""A CSV in which a person wrote which species are in recordings: a corrected table of predictions.

The first column is ``path`` or ``filename``, as ``predictions.csv`` names recordings. A column that is named as a
species of the model holds 1 (present), 0 (absent) or nothing (not looked at); ``group`` is a site-night, where one is
to be named that predictions do not tell. All other columns are passed over.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from batcache.errors import ManifestError, list_some, quote
from batcache.inference.verdicts import OTHER_COLUMNS
from batcache.manifest.cells import UNKNOWN, cells_at, read_filename, read_labels
from batcache.manifest.table import is_reserved, place_of, read_table
from batcache.storage.spreadsheet import as_written

_PASSED_OVER = {*OTHER_COLUMNS, "group", "start_s", "split", "content"}


@dataclass(frozen=True)
class Reviewed:
    """Recordings and what a person found in them; ``labels`` is 1, 0 or -1, under ``species``. Shape: ``[R, C]``"""

    species: tuple[str, ...]
    paths: tuple[str, ...]
    labels: NDArray[np.int8]
    groups: tuple[str, ...]
    notes: tuple[str, ...]


def read_reviewed(path: Path, species: Sequence[str] | None = None) -> Reviewed:
    """Read the rows of a reviewed table that say something of a model's species; None is all that the table names.

    Raises:
        ManifestError: not such a CSV, no column of the model's species, a recording twice, or a cell that is no label.
    """
    written, delimiter, rows = read_table(path)
    columns = {as_written(name): position for name, position in written.items()}
    if species is None:
        species = tuple(name for name in columns if not is_reserved(name) and name != "path")
    named = {name: columns[name] for name in species if name in columns}
    if not named:
        finding = f"no column is named as a species of the model: {list_some(species)}"
        raise ManifestError(place_of(path, 1), finding, "Pass the model whose predictions were reviewed")
    first, cells_of_species = next(iter(columns)), cells_at(list(named.values()))
    if first not in ("path", "filename"):
        raise ManifestError(place_of(path, 1), f"the first column is {quote(first)}, expected 'path'", "Put path first")
    paths: dict[str, tuple[int, ...]] = {}
    groups = []
    for line, cells in rows:
        try:
            if len(cells) != len(columns):
                raise ValueError(f"{len(cells)} cells, the header has {len(columns)}", "Correct the row")
            name = read_filename(as_written(cells[0]), True)
        except ValueError as error:
            raise ManifestError(place_of(path, line), *error.args) from None
        try:
            labels = read_labels(cells_of_species(cells), list(named), delimiter != ",")
        except ValueError as error:
            remedy = "Put 1 or 0 in the place of each score that was reviewed, and empty the others"
            raise ManifestError(place_of(path, line), error.args[0], remedy) from None
        if name in paths:
            raise ManifestError(place_of(path, line), f"{name} stands here twice", "Delete one row")
        if any(label != UNKNOWN for label in labels):
            paths[name] = labels
            groups.append(cells[columns["group"]].strip() if "group" in columns else "")
    known = np.full((len(paths), len(species)), UNKNOWN, np.int8)
    known[:, [species.index(name) for name in named]] = np.array(list(paths.values()), np.int8).reshape(-1, len(named))
    return Reviewed(tuple(species), tuple(paths), known, tuple(groups), tuple(_list_notes(columns, species)))


def _list_notes(columns: Iterable[str], species: Sequence[str]) -> Iterator[str]:
    others = [
        name
        for name in list(columns)[1:]
        if name not in species
        and name not in _PASSED_OVER
        and not name.startswith(("probability ", "score of ", "meta_"))
    ]
    if others:
        yield f"columns that the model does not know are passed over: {', '.join(others)}"
