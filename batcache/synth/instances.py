"""Simulated clips cut into instances that each have labels of their own: what no survey has, and a simulator knows.

A trunk learns faster from "this half second holds this species" than from "these five seconds do". Besides species it
is asked what any bat worker would measure of a call, as ranges: its peak, highest and lowest frequency, its duration.
So it has to tell apart what no two of its species differ in.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from batcache.manifest.manifest import Manifest
from batcache.storage.disk import write_file
from batcache.synth.render import DURATION_S

CLEAR_SNR_DB = 6.0
"""A call as clear as this makes its instance's label 1; a fainter one makes it unknown."""
EDGE_HZ = 2_000.0
"""What peaks this near to the highest band, or above it, cannot be seen: its label is unknown."""
INSTANCES = "instances.csv"


@dataclass(frozen=True)
class Ranges:
    """A measure of a call, cut into ranges of equal ratio; what lies beyond the outermost belongs to them.

    Attributes:
        measure: as its columns name it.
        unit: of the edges.
        edges: one more than there are ranges.
    """

    measure: str
    unit: str
    edges: tuple[float, ...]

    @property
    def names(self) -> list[str]:
        """The columns, lowest first.

        >>> Ranges("peak", "kHz", (10, 20, 40)).names
        ['peak 10 to 20 kHz', 'peak 20 to 40 kHz']
        """
        pairs = zip(self.edges, self.edges[1:], strict=False)
        return [f"{self.measure} {low:.3g} to {high:.3g} {self.unit}" for low, high in pairs]

    def find(self, value: float) -> int:
        """The range of a value.

        >>> [Ranges("peak", "kHz", (10, 20, 40)).find(khz) for khz in (9, 10, 19, 20, 50)]
        [0, 0, 0, 1, 1]
        """
        return int(np.clip(np.searchsorted(self.edges, value, side="right") - 1, 0, len(self.edges) - 2))


_KHZ = tuple(np.geomspace(10, 125, 33).tolist())
RANGES = (
    Ranges("peak", "kHz", _KHZ),
    Ranges("highest", "kHz", _KHZ),
    Ranges("lowest", "kHz", _KHZ),
    Ranges("duration", "ms", tuple(np.geomspace(1, 80, 13).tolist())),
)
_COLUMNS = [name for ranges in RANGES for name in ranges.names]


def write_instances(manifest: Manifest, out: Path, instance_s: float, fmax: float) -> Path:
    """Write ``instances.csv``: a row for each instance of each recording, labelled from the calls in ``events.csv``.

    A call belongs to the instance that holds its middle. What peaks near or above ``fmax`` (Hz) cannot be seen: its
    label is unknown, as is that of a call at the noise. After the species stand the columns of ``RANGES``: 1 where a
    call of the instance falls into the range. Clips of split test train too: a trunk is judged by what heads on it
    learn elsewhere.
    """
    count = round(DURATION_S / instance_s)
    names = (*manifest.species, *_COLUMNS)
    column = {name: i for i, name in enumerate(names)}
    labels = {clip.filename: [["0"] * len(column) for _ in range(count)] for clip in manifest.clips}
    with (out / "events.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["filename"] in labels:
                places = [column[name] for name in (row["species"], *_describe(row))]
                _mark(labels[row["filename"]], row, places, instance_s, fmax)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["filename", "start_s", "duration_s", "split", "group", *names])
    for clip in manifest.clips:
        for i, cells in enumerate(labels[clip.filename]):
            span = [f"{i * instance_s:g}", f"{instance_s:g}"]
            split = "train" if clip.split == "test" else clip.split or ""
            writer.writerow([clip.filename, *span, split, clip.group or "", *cells])
    place = out / INSTANCES
    write_file(place, text.getvalue().encode())
    return place


def _describe(event: Mapping[str, str]) -> list[str]:
    """The columns of the ranges that a call falls into."""
    start, end = float(event["start_s"]), float(event["end_s"])
    values = (float(event["peak_khz"]), float(event["fmax_khz"]), float(event["fmin_khz"]), 1e3 * (end - start))
    return [ranges.names[ranges.find(value)] for ranges, value in zip(RANGES, values, strict=True)]


def _mark(
    instances: Sequence[list[str]], event: Mapping[str, str], places: Sequence[int], instance_s: float, fmax: float
) -> None:
    middle = (float(event["start_s"]) + float(event["end_s"])) / 2
    cells = instances[min(max(int(middle / instance_s), 0), len(instances) - 1)]
    clear = float(event["snr_db"]) >= CLEAR_SNR_DB and 1e3 * float(event["peak_khz"]) < fmax - EDGE_HZ
    for place in places:
        if clear:
            cells[place] = "1"
        elif cells[place] == "0":
            cells[place] = ""
