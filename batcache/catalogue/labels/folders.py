"""Labels that are the names of the folders in which recordings lie."""

from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

from batcache.catalogue.labels.label import Label
from batcache.species.resolve import Names


def read_folders(recordings: Iterable[str], names: Names) -> Iterator[Label]:
    """A label for each recording in a folder that is called as a species, group, noise or NoID is.

    The folder nearest to the recording counts. A folder that is called nearly so is a label too, so that it is refused
    later with the name that may be meant.
    """
    known: dict[str, bool] = {}
    for recording in recordings:
        for folder in reversed(PurePosixPath(recording).parent.parts):
            if folder not in known:
                known[folder] = bool(names.find(folder)) or names.is_nearly_known(folder)
            if known[folder]:
                yield Label(recording, (folder,), f"folder {folder}")
                break
