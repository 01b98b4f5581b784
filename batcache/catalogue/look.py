"""What is known of each recording before it is listed: header, metadata, side-car, time expansion.

Nothing is decoded but where only the sound can tell a factor of time expansion, and the first samples, as far as all
are equal.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from batcache.catalogue.sidecars import add_missing, read_sidecar
from batcache.errors import AudioError
from batcache.features.audio import is_constant, read_header
from batcache.features.expansion import doubt_length, find_expansion
from batcache.features.metadata import Metadata, read_metadata
from batcache.manifest.file_names import is_triggered_audiomoth
from batcache.progress import OnProgress, Progress
from batcache.storage.ahead import map_ahead

_WORKERS = 4
_TRIGGERED = (
    "a triggered recording of an AudioMoth, whose silent stretches are coded counts. Expand it with the AudioMoth "
    "Configuration App (File > Expand) and list the expanded file"
)


@dataclass(frozen=True)
class Looked:
    """What is known of a recording.

    Attributes:
        name: POSIX path relative to the root.
        header_rate: Hz, as the file says.
        header_s: seconds that the file plays.
        expansion: the factor of time expansion; None where it is not known beyond doubt.
        expansion_source: on what ground, or would-be ground.
        doubt: why the factor may be another.
        metadata: of the file and of what lies beside it.
        warning: what of the header was not believed, or contradicts the metadata.
        is_constant: whether it holds nothing but one value, as where no microphone was.
    """

    name: str
    header_rate: int
    header_s: float
    expansion: float | None
    expansion_source: str
    doubt: str
    metadata: Metadata
    warning: str = ""
    is_constant: bool = False


def look_at(root: Path, names: Sequence[str], on_progress: OnProgress) -> tuple[dict[str, Looked], dict[str, str]]:
    """What is known of each recording, and why others are rejected. ``on_progress`` hears of the stage ``look``."""
    found: dict[str, Looked] = {}
    rejected: dict[str, str] = {}

    def look(name: str) -> Looked | str:
        try:
            return _look(root / name, name)
        except AudioError as error:
            return error.reason

    pool = ThreadPoolExecutor(_WORKERS)
    try:
        everything = map_ahead(pool, look, iter(names), 8 * _WORKERS)
        for done, (name, looked) in enumerate(zip(names, everything, strict=True)):
            if isinstance(looked, str):
                rejected[name] = looked
            else:
                found[name] = looked
            on_progress(Progress("look", done + 1, len(names)))
    finally:
        pool.shutdown(cancel_futures=True)
    return found, rejected


def _look(path: Path, name: str) -> Looked:
    if is_triggered_audiomoth(name):
        raise AudioError(path, _TRIGGERED)
    header = read_header(path)
    metadata = add_missing(read_metadata(path, header), read_sidecar(path))
    expansion = find_expansion(path, header, metadata, None)
    short = "" if "Length" in expansion.warning else doubt_length(header, metadata, expansion.factor)
    known = not expansion.warning and expansion.source != "assumed"
    return Looked(
        name,
        header.rate,
        header.samples / header.rate,
        expansion.factor if known else None,
        expansion.source,
        expansion.warning or ("" if known else "nothing tells"),
        metadata,
        "; ".join(filter(None, (header.warning, short))),
        is_constant(path, header),
    )
