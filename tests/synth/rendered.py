"""Rows of a manifest, and what is in the folder they are rendered into."""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

from batcache.manifest.manifest import read_manifest
from batcache.synth.create import SynthReport, create
from batcache.synth.render import RATE_HZ, Clip, render
from batcache.synth.repertoire import find_species

PIP, MYO, PLE = "Pipistrellus pipistrellus", "Myotis myotis", "Plecotus auritus"
HEADER = f"filename,split,group,{PIP},{MYO},{PLE}"
ROWS = (
    "one.wav,train,oak-01,1,0,0",
    "deep/er/two.wav,train,oak-01,0,1,1",
    "silent.wav,val,lake-02,0,0,0",
    "unknown.wav,test,cave-03,,1,",
)
FILES = {row.split(",")[0] for row in ROWS}

Make = Callable[..., SynthReport]


def write_rows(folder: Path, rows: Sequence[str] = ROWS, header: str = HEADER) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rows.csv").write_text("\n".join([header, *rows]) + "\n")
    return folder / "rows.csv"


def render_named(filename: str, names: Sequence[str], group: str, rate_hz: int = RATE_HZ) -> Clip:
    return render(filename, [voice for name in names if (voice := find_species(name))], group, rate_hz)


def rendered_by(manifest: Path, out: Path, *, force: bool = False) -> SynthReport:
    return create(read_manifest([manifest]), out, force=force)


def read_events(out: Path) -> dict[str, list[dict[str, str]]]:
    events: dict[str, list[dict[str, str]]] = {}
    with (out / "events.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            events.setdefault(row["filename"], []).append(row)
    return events


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def times(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
