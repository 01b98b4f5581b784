"""A user's day on real recordings, each step by its command: from folders and labels to the survey table, and back.

A labelled season lies by site, its labels in folders, in Kaleidoscope's id.csv and in a table of several names a cell.
A new one lies by site too; its recorders' clocks are local, and cross midnight, New Year and the change to summer time.
"""

import csv
import hashlib
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from shutil import copy
from typing import Any

import pytest
import soundfile

from tests import chromium
from tests.chromium import element, wait_for
from tests.command import batcache

pytestmark = pytest.mark.slow
browser = chromium.browser
SITES = ("MEADOW", "MILL", "QUARRY", "WOOD")
NEW = {
    "20241231_235800": "2024-12-31", "20250101_001000": "2024-12-31", "20250330_013000": "2025-03-29",
    "20250330_033000": "2025-03-29", "20250621_235959": "2025-06-21", "20250622_000001": "2025-06-21",
    "20250703_220000": "2025-07-03", "20250704_040000": "2025-07-03", "20250704_220000": "2025-07-04",
}  # fmt: skip
"""The local time in each new recording's name, and the night that it is of."""
FORMATS = "kaleidoscope,raven,audacity,aoef,nabat,guano,csv"


@dataclass
class Day:
    """The folder that it happens in, which species are in each recording by its name, and what commands have said."""

    home: Path
    truth: dict[str, set[str]] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)

    def run(self, *arguments: str) -> str:
        done = batcache(*arguments, cwd=self.home)
        assert done.returncode == 0, f"batcache {' '.join(arguments)}: {done.stderr}"
        self.said.append(done.stdout + done.stderr)
        return self.said[-1]

    def rows(self, table: str, delimiter: str = ",") -> list[dict[str, str]]:
        with (self.home / table).open(encoding="utf-8-sig", newline="") as file:
            return list(csv.DictReader(file, delimiter=delimiter))

    @property
    def runs(self) -> list[Path]:
        return sorted((self.home / "runs").iterdir())

    @property
    def found(self) -> dict[str, set[str]]:
        """The species that the model named, by a recording's name."""
        rows = self.rows("predictions/predictions.csv")
        return {Path(row["path"]).name: set(filter(None, row["species"].split("; "))) for row in rows}


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def lay_out(real: Path, home: Path) -> dict[str, set[str]]:
    """Copy the recordings as a user has them, every fifth group into the new season."""
    with (real / "manifest.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    groups: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        groups.setdefault(row["group"], []).append(row)
    truth, new = {}, iter(NEW)
    kaleidoscope, cells = ["INDIR,FOLDER,IN FILE*,MANUAL ID*"], ["Datei;Arten"]
    for number, members in enumerate(groups.values()):
        site, night = SITES[number % 4], datetime(2024, 5, 1, 22) + timedelta(days=number // 4)
        is_new = number % 5 == 4 and len(members) == 1 and not members[0]["filename"].startswith("audio/barbar")
        for i, row in enumerate(members):
            species = [name for name, cell in row.items() if cell == "1" and " " in name]
            at = next(new) if is_new else f"{night + timedelta(minutes=7 * i, seconds=number):%Y%m%d_%H%M%S}"
            name, folder = f"{site}_{at}.wav", home / ("2025" if is_new else "2024") / site
            if not is_new and len(species) == 1 and len(truth) % 3 == 0:
                folder = folder / species[0]
            elif not is_new and len(truth) % 3 == 1:
                codes = ",".join(s[:3] + s.split()[1][:3] for s in species).upper() or "Noise"
                kaleidoscope.append(f'D:\\card,{site},{name},"{codes}"')
            elif not is_new:
                cells.append(f'{name};"{"; ".join(species) or "noise"}"')
            folder.mkdir(parents=True, exist_ok=True)
            copy(real / row["filename"], folder / name)
            truth[name] = set(species)
    (home / "id.csv").write_text("\n".join(kaleidoscope), encoding="utf-8")
    (home / "cells.csv").write_text("\n".join(cells), encoding="utf-8")
    assert next(new, None) is None
    return truth


@pytest.fixture(scope="module")
def day(real: Path, tmp_path_factory: pytest.TempPathFactory) -> Day:
    """From the card to predictions in every format."""
    day = Day(tmp_path_factory.mktemp("day"))
    day.truth = lay_out(real, day.home)
    labels = [flag for source in ("folders", "id.csv", "cells.csv") for flag in ("--labels", source)]
    day.run("manifest", "2024", "-o", "data.csv", "--timezone", "Europe/Berlin", *labels)
    day.run("split", "data.csv", "-o", "train.csv")
    day.run("build", "--csv", "train.csv")
    day.run("train")
    day.run("eval", "--split", "test")
    before = digests(day.home / "2025")
    kept = ("--cache", "features.zarr")
    day.run("predict", "2025", "--model", str(day.runs[0]), "--to", FORMATS, "--excel", *kept)
    assert digests(day.home / "2025") == before
    return day


def test_the_manifest_has_every_label_and_every_recording_is_judged(day: Day) -> None:
    labelled = {Path(row["filename"]).name: row for row in day.rows("data.csv")}
    species = [name for name in next(iter(labelled.values())) if re.fullmatch(r"[A-Z][a-z]+ [a-z]+", name)]
    for name, row in labelled.items():
        assert {one for one in species if row[one] == "1"} == day.truth[name], name
        assert {row[one] for one in species} <= {"0", "1"}, name
    assert labelled.keys() | day.found.keys() == day.truth.keys() and len(day.found) == len(NEW)
    assert {row["split"] for row in day.rows("train.csv")} == {"train", "val", "test"}


def test_a_night_is_that_of_its_evening_by_the_local_clock(day: Day) -> None:
    nights = {
        re.sub(r"^.*?_|\.wav$", "", Path(row["path"]).name): row["night"]
        for row in day.rows("predictions/predictions.csv")
    }
    assert nights == NEW


@pytest.mark.filterwarnings("ignore")  # of pandas and pandera, which crowsetta brings
def test_every_format_says_what_was_found_by_its_own_reader(day: Day) -> None:
    crowsetta, io = pytest.importorskip("crowsetta"), pytest.importorskip("soundevent.io")
    from guano import GuanoFile

    out, found = day.home / "predictions", day.found
    assert any(found.values()) and not all(found.values()), "both are told"
    table = day.rows("predictions/kaleidoscope/id.csv")
    assert {row["IN FILE"] for row in table} == found.keys() and len(table[0]) == 44
    codes = {name: {one[:3].upper() + one.split()[1][:3].upper() for one in names} for name, names in found.items()}
    alternates = ("AUTO ID", "ALTERNATE 1", "ALTERNATE 2")
    for row in table:
        told = {row[column] for column in alternates} - {"", "NoID", "Noise"}
        assert told == codes[row["IN FILE"]], row["IN FILE"]
        assert row["DATE-12"] == NEW[row["IN FILE"].split("_", 1)[1][:-4]]
    judged = day.rows("predictions/predictions.csv")
    groups = {Path(row["path"]).name: set(filter(None, row["species_group"].split("; "))) for row in judged}
    for name in found:
        (path,) = (day.home / "2025").rglob(name)
        under = path.relative_to(day.home / "2025")
        raven = out / "raven" / f"{under}.selections.txt"
        if not raven.exists():
            (raven,) = (out / "raven" / under.parent).glob(f"{under.name}*")
        if found[name]:
            read = crowsetta.formats.bbox.Raven.from_file(raven).df
            assert set(read["annotation"]) == found[name] | groups[name]
        labels = (out / "audacity" / f"{under}.txt").read_text().splitlines()
        assert all(any(one in line for line in labels) for one in found[name] | groups[name])
        copied = out / "guano" / under
        chunk = copied.read_bytes().rpartition(b"guan")[2]  # guano opens no WAVE_FORMAT_EXTENSIBLE
        ids = GuanoFile.from_string(chunk[4 : 4 + int.from_bytes(chunk[:4], "little")])["Species Auto ID"]
        ids = set(ids.split(",") if isinstance(ids, str) else ids) - {"NoID", "Noise"}  # guano leaves lists whole
        assert ids == codes[name]
        assert (soundfile.read(copied, dtype="int32")[0] == soundfile.read(path, dtype="int32")[0]).all()
    clips = io.load(
        out / "aoef" / "predictions.json", audio_dir=day.home / "2025", type="prediction_set"
    ).clip_predictions
    assert {clip.clip.recording.path.name: {tag.tag.value for tag in clip.tags} for clip in clips} == found
    assert len(day.rows("predictions/nabat/nabat.csv")) == len(found)
    for table, delimiter in (("csv/recordings.csv", ","), ("excel/recordings.csv", ";")):
        rows = day.rows(f"predictions/{table}", delimiter)
        assert {Path(row["path"]).name: set(filter(None, row["species"].split("; "))) for row in rows} == found


def test_the_survey_counts_each_recording_once_and_nights_without_bats_are_zeros(day: Day) -> None:
    day.run("survey", "predictions", "--timezone", "Europe/Berlin", "--place", "52.5,13.4")
    rows = day.rows("predictions/survey.csv")
    effort = {(row["site"], row["night"]): int(row["of_recordings"]) for row in rows}
    assert sum(effort.values()) == len(NEW) and {night for _, night in effort} == set(NEW.values())
    counted = Counter(dict.fromkeys({row["species"] for row in rows}, 0))
    for row in rows:
        counted[row["species"]] += int(row["recordings"])
    told = Counter(name for names in day.found.values() for name in names)
    assert {name: counted[name] for name in told} == dict(told)
    hours = day.rows("predictions/survey_hours.csv")
    one = hours[0]["species"]
    assert sum(int(row["of_recordings"]) for row in hours if row["species"] == one) == len(NEW)


@pytest.fixture
def page(day: Day, browser: Any) -> Iterator[Any]:
    command = [
        sys.executable,
        "-c",
        "from batcache.cli.main import main; main()",
        "review",
        "predictions",
        "--no-browser",
    ]
    with subprocess.Popen(command, cwd=day.home, stdout=subprocess.PIPE, text=True, env={**os.environ}) as process:
        assert process.stdout
        address = next(found[1] for line in process.stdout if (found := re.match(r"open (http://\S+)", line)))
        browser.get(address)
        wait_for(lambda: element(browser, "#asking").is_displayed(), "the first question")
        yield browser
        element(browser, "#end").click()
        process.communicate(timeout=60)
        assert process.returncode == 0


def answer_by(page: Any, truth: dict[str, set[str]]) -> None:
    """Answer as somebody who knows: right, no bat, or another species, whose name the model may not know."""
    there = truth[Path(element(page, "#path").text).name]
    asked = re.match(r"Is (.+?) in it\?|The model says: (.+)\. Is that right", element(page, "#question").text)
    assert asked
    is_right = asked[1] in there if asked[1] else set(asked[2].split(", ")) == there
    page.execute_script("document.querySelector('#shown').textContent = ''")
    if is_right or not there:
        element(page, "body").send_keys("r" if is_right else "n")
    else:
        element(page, "body").send_keys("o")
        element(page, "#typed").send_keys("; ".join(sorted(there)) + "\n")
        wait_for(lambda: element(page, "#shown").text, "an answer")
        if element(page, "#shown").text != "kept":  # the model does not know it: Enter once more
            page.execute_script("document.querySelector('#shown').textContent = ''")
            element(page, "#typed").send_keys("\n")
    wait_for(lambda: element(page, "#shown").text == "kept", element(page, "#shown").text)


@chromium.needs_chromium
def test_what_is_reviewed_by_hand_is_told_and_teaches_without_a_recording(day: Day, page: Any) -> None:
    while element(page, "#asking").is_displayed():  # presence, doubt and the random sample, one after the other
        answer_by(page, day.truth)
    reviewed = day.rows("predictions/reviewed.csv")
    found = {Path(row["filename"]).name: {name for name, cell in row.items() if cell == "1"} for row in reviewed}
    assert found == {name: day.truth[name] for name in found} and len(found) == len(NEW)
    day.run("convert", "predictions", "--to", "kaleidoscope,csv")
    told = {row["IN FILE"]: row["MANUAL ID"] for row in day.rows("predictions/kaleidoscope/id.csv")}
    assert {name: len(set(cell.split(", "))) for name, cell in told.items()} == {n: len(day.truth[n]) for n in told}
    by_hand = {
        Path(row["path"]).name: set(row["manual_species"].split("; "))
        for row in day.rows("predictions/csv/recordings.csv")
    }
    assert by_hand == found
    day.run("survey", "predictions", "--timezone", "Europe/Berlin", "--place", "52.5,13.4")
    counted = Counter({row["species"]: 0 for row in day.rows("predictions/survey.csv")})
    for row in day.rows("predictions/survey.csv"):
        counted[row["species"]] += int(row["recordings"])
    assert +counted == Counter(name for names in found.values() for name in names)

    for season in ("2024", "2025"):
        (day.home / season).rename(day.home / f"away-{season}")
    shards = digests(day.home / "features.zarr")
    day.run("train", "--csv", "train.csv", "--csv", "predictions/reviewed.csv")
    assert digests(day.home / "features.zarr") == shards
    learnt = {Path(row["filename"]).name: row["split"] for row in day.rows(f"runs/{day.runs[-1].name}/split.csv")}
    before = {Path(row["filename"]).name: row["split"] for row in day.rows("train.csv")}
    assert learnt == before | dict.fromkeys(found, "train")
    assert "split test, " in day.run("eval", "--split", "test")
