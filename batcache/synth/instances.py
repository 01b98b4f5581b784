"""Simulated clips cut into instances that each have labels of their own: what no survey has, and a simulator knows.

A trunk learns faster from "this half second holds this species" than from "these five seconds do".
"""

import csv
from collections.abc import Sequence
from pathlib import Path

from batcache.manifest.manifest import Manifest
from batcache.storage.disk import write_file
from batcache.storage.spreadsheet import as_written, to_csv
from batcache.synth.render import DURATION_S

CLEAR_SNR_DB = 6.0
"""A call as clear as this makes its instance's label 1; a fainter one makes it unknown."""
EDGE_HZ = 2_000.0
"""What peaks this near to the highest band, or above it, cannot be seen: its label is unknown."""
INSTANCES = "instances.csv"


def write_instances(manifest: Manifest, out: Path, instance_s: float, fmax: float) -> Path:
    """Write ``instances.csv``: a row for each instance of each recording, labelled from the calls in ``events.csv``.

    A call belongs to the instance that holds its middle. What peaks near or above ``fmax`` (Hz) cannot be seen: its
    label is unknown, as is that of a call at the noise. Clips of split test train too: a trunk is judged by what heads
    on it learn elsewhere.
    """
    count = round(DURATION_S / instance_s)
    column = {name: i for i, name in enumerate(manifest.species)}
    labels = {clip.filename: [["0"] * len(column) for _ in range(count)] for clip in manifest.clips}
    with (out / "events.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if (name := as_written(row["filename"])) in labels:
                _mark(labels[name], row, column[as_written(row["species"])], instance_s, fmax)
    rows = [["filename", "start_s", "duration_s", "split", "group", *manifest.species]]
    for clip in manifest.clips:
        for i, cells in enumerate(labels[clip.filename]):
            span = [f"{i * instance_s:g}", f"{instance_s:g}"]
            split = "train" if clip.split == "test" else clip.split or ""
            rows.append([clip.filename, *span, split, clip.group or "", *cells])
    place = out / INSTANCES
    write_file(place, to_csv(rows))
    return place


def _mark(instances: Sequence[list[str]], event: dict[str, str], species: int, instance_s: float, fmax: float) -> None:
    middle = (float(event["start_s"]) + float(event["end_s"])) / 2
    cells = instances[min(max(int(middle / instance_s), 0), len(instances) - 1)]
    if float(event["snr_db"]) >= CLEAR_SNR_DB and 1e3 * float(event["peak_khz"]) < fmax - EDGE_HZ:
        cells[species] = "1"
    elif cells[species] == "0":
        cells[species] = ""
