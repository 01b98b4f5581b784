"""Real recordings in folders by site, labelled in four ways: manifest, split and a build's plan, as a user would."""

import csv
import shutil
from pathlib import Path

import pytest

from tests.command import batcache

pytestmark = pytest.mark.slow


def species_of(row: dict[str, str]) -> list[str]:
    return [name for name, cell in row.items() if cell == "1" and " " in name]


@pytest.fixture(scope="module")
def card(real: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``2024/`` of recordings and three tables of labels beside it."""
    home = tmp_path_factory.mktemp("card")
    with (real / "manifest.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    kaleidoscope, cells, long = ["INDIR,FOLDER,IN FILE*,MANUAL ID*"], ["Datei;Arten"], ["file\tspecies"]
    for number, row in enumerate(rows):
        name, species = Path(row["filename"]).name, species_of(row)
        codes = [f"{s.split()[0][:3]}{s.split()[1][:3]}" for s in species] or ["Noise"]
        folder = f"site {row['group'][:12]}"
        if len(species) == 1 and number % 4 == 0:
            folder = f"{folder}/{species[0]}"
        elif number % 4 == 1:
            kaleidoscope.append(f'D:\\\\card,{folder},{name},"{",".join(codes).upper()}"')
        elif number % 4 == 2:
            cells.append(f'{name.upper()};"{"; ".join(species or ["noise"])}"')
        else:
            long += (f"{folder}/{name}\t{code}" for code in codes)
        (home / "2024" / folder).mkdir(parents=True, exist_ok=True)
        shutil.copy(real / row["filename"], home / "2024" / folder / name)
    for table, lines in (("id.csv", kaleidoscope), ("cells.csv", cells), ("long.txt", long)):
        (home / table).write_text("\n".join(lines), encoding="utf-8")
    shutil.copy(real / "manifest.csv", home / "truth.csv")
    return home


def test_labels_of_four_kinds_come_out_as_they_were_and_a_build_takes_them(card: Path) -> None:
    labels = [flag for source in ("folders", "id.csv", "cells.csv", "long.txt") for flag in ("--labels", source)]
    made = batcache("manifest", "2024", "-o", "data.csv", "--timezone", "Europe/Berlin", *labels, cwd=card)
    assert made.returncode == 0, made.stderr
    with (card / "truth.csv").open(encoding="utf-8", newline="") as file:
        truth = {Path(row["filename"]).name: row for row in csv.DictReader(file)}
    with (card / "data.csv").open(encoding="utf-8", newline="") as file:
        rows = {Path(row["filename"]).name: row for row in csv.DictReader(file)}
    assert rows.keys() == truth.keys()
    species = [name for name in truth["Ppip_TE384.wav"] if " " in name]
    for name, row in rows.items():
        assert [row[one] for one in species] == [truth[name][one] for one in species], name
        if row["time_expansion"]:
            assert float(row["time_expansion"]) == float(truth[name]["time_expansion"] or 1), name
    assert rows["Car340319-2015-Pass1-G2-16701_0_20150718_031633_453.wav"]["meta_night"] == "2015-07-17"
    split = batcache("split", "data.csv", "-o", "train.csv", cwd=card)
    assert split.returncode == 0, split.stderr
    planned = batcache("build", "--csv", "train.csv", "--dry-run", cwd=card)
    assert planned.returncode == 0 and planned.stdout.count("\nbuild ") == len(rows), planned.stdout[-2000:]
