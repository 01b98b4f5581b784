"""Cards and labels to manifests that ``build`` reads."""

import json
import struct
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import batcache
from batcache.errors import ManifestError, PredictError
from batcache.manifest.manifest import read_manifest

GUANO = "GUANO|Version: 1.0\nTimestamp: {time}\nLoc Position: 52.5 13.4\nMake: Elekon\nModel: Batlogger\n{more}"


def guan(time: str = "2024-04-12T22:10:03Z", more: str = "") -> bytes:
    return GUANO.format(time=time, more=more).encode()


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_a_card_becomes_a_manifest_that_is_read_as_meant(card, make, rows, tmp_path: Path) -> None:
    card("mill/MILL_20240412_221003.wav", "mill/MILL_20240413_031003.wav", "mead/MEAD_20240412_221003.wav")
    labels = write(tmp_path / "own.csv", "file;species\nmill/MILL_20240412_221003.wav;Pippip, Nycnoc\n"
                   "MILL_20240413_031003.wav;Zwergfledermaus\n")  # fmt: skip
    report = make(labels)
    table = rows()
    assert [(row["group"], row["Nyctalus noctula"], row["Pipistrellus pipistrellus"]) for row in table.values()] == [
        ("MEAD 2024-04-12", "", ""), ("MILL 2024-04-12", "1", "1"), ("MILL 2024-04-12", "0", "1"),
    ]  # fmt: skip
    first = table["mill/MILL_20240412_221003.wav"]
    assert first["recorded_at"] == "2024-04-12T22:10:03" and first["sample_rate"] == "256000"
    assert (first["time_expansion"], first["meta_expansion_source"]) == ("1", "full-spectrum rate")
    assert (report.recordings, report.named, report.nights, report.sites, report.groups) == (3, 2, 1, 2, 2)
    assert report.filled == 1 and report.local_times == 3 and not report.needs_data_dir
    manifest = read_manifest([tmp_path / "data.csv"])
    assert {clip.filename for clip in manifest.clips} == {f"card/{name}" for name in table}


def test_metadata_tell_time_place_recorder_and_manual_ids(card, make, rows) -> None:
    card("a.wav", guan=guan(more="Species Manual ID: NYCNOC,PIPPYG\nNABat|Site Name: Mühle\n"))
    report = make(timezone="Europe/Berlin")
    row = rows()["a.wav"]
    assert (row["recorded_at"], row["group"]) == ("2024-04-13T00:10:03+02:00", "Mühle 2024-04-12")
    assert (row["latitude"], row["longitude"], row["recorder"]) == ("52.5", "13.4", "Elekon Batlogger")
    assert row["Nyctalus noctula"] == row["Pipistrellus pygmaeus"] == "1" and report.site_source == "metadata"


@pytest.mark.parametrize("key", ["NABat|Site Name", "WA|Song Meter|Prefix"])
def test_guano_tells_the_site(key: str, card, make, rows) -> None:
    card("x/OTHER_20240412_221003.wav", guan=guan(more=f"{key}: mill\n"))
    assert make(species=("Pippip",)).site_source == "metadata" and rows().popitem()[1]["site"] == "mill"


def test_wamd_tells_site_and_manual_ids(card, make, rows) -> None:
    fields = {0x04: b"MILL", 0x05: b"2024-04-12 22:10:03+02:00", 0x0C: b"Pippip, NoID"}
    wamd = b"".join(struct.pack("<HI", number, len(text)) + text for number, text in fields.items())
    card("a.wav", wamd=wamd)
    card("b.wav")
    report = make(species=("Nycnoc",), site="metadata")
    row = rows()["a.wav"]
    assert (row["group"], row["recorded_at"]) == ("MILL 2024-04-12", "2024-04-12T22:10:03+02:00")
    assert (row["Pipistrellus pipistrellus"], row["Nyctalus noctula"], report.no_id) == ("1", "", 1)
    assert report.without_site == report.without_time == ("card/b.wav",)


def test_python_makes_one_too(card, tmp_path: Path) -> None:
    folder, told = card("Nyctalus noctula/a.wav"), []
    out = tmp_path / "data.csv"
    report = batcache.make_manifest(folder, out, labels="folders", others="unknown", on_progress=told.append)
    assert [(row.species, row.present) for row in report.species] == [("Nyctalus noctula", 1)]
    assert [(progress.stage, progress.done) for progress in told] == [("look", 1)]


def test_folders_are_labels_and_then_no_sites(card, make, rows) -> None:
    card("mill/Myotis myotis/a_20240412_221003.wav", "mill/Plecotus sp/b.wav", "mill/Noise/c.wav", "mill/other/d.wav")
    report = make("folders", site="folder")
    assert [(row["Myotis myotis"], row["Plecotus sp."], row["site"]) for row in rows().values()] == [
        ("1", "0", "mill"), ("0", "0", "mill"), ("0", "1", "mill"), ("", "", "mill"),
    ]  # fmt: skip
    assert report.noise == 1


@pytest.mark.parametrize(
    ("names", "source", "sites"),
    [
        (["mill/A_20240412_221003.wav", "mead/A_20240412_221003.wav"], "folder", {"mill", "mead"}),
        (["1/A_20240412_221003.wav", "1/B_20240412_221003.wav"], "name", {"A", "B"}),
        (["1/A_20240412_221003.wav"], "name", {"A"}),
        (["mill/20240412/a.wav", "mead/Data/A_20240412_221003.wav"], "folder", {"mill", "mead"}),
        (["mill/Car370293-2016-Pass1-Z3-US-16611-0_20160629_213356_166.wav"], "name", {"Car370293-Z3"}),
    ],
)
def test_sites_are_told_by_what_tells_the_most_of_them_apart(card, make, rows, names, source, sites) -> None:
    card(*names)
    assert make(species=("Pippip",)).site_source == source
    assert {row["site"] for row in rows().values()} == sites


def test_both_microphones_of_an_sm3_are_one_site(card, make, rows) -> None:
    text = guan().replace(b"Make: Elekon\nModel: Batlogger", b"Make: Wildlife Acoustics\nModel: SM3BAT")
    card("MILL_0_20240412_221003.wav", "MILL_1_20240412_221003.wav", guan=text)
    make(species=("Pippip",), site="name")
    assert {row["site"] for row in rows().values()} == {"MILL"}


def test_a_folder_with_a_slip_in_its_name_is_no_site_but_an_error(card, make) -> None:
    card("Pipistrelus pipistrellus/a.wav", "Nyctalus noctula/b.wav")
    with pytest.raises(ManifestError, match="did you mean Pipistrellus pipistrellus"):
        make("folders")


def test_without_labels_it_says_what_may_be_one(card, make) -> None:
    card("Myotis myotis/a.wav")
    with pytest.raises(ManifestError, match=r"no label names a species.*pass --labels folders"):
        make()
    card("b.wav")
    assert make(species=("Pippip",)).species[0].unknown == 2


def test_nothing_is_overwritten_without_being_asked(card, make, tmp_path: Path) -> None:
    card("a.wav")
    labels = write(tmp_path / "own.csv", "filename,species,start_s,end_s\na.wav,Pippip,0.001,0.002\n")
    for there in ("data.csv", "events.csv"):
        write(tmp_path / there, "mine")
        with pytest.raises(ManifestError, match=f"{there}: is there already"):
            make(labels)
        assert (tmp_path / there).read_text() == "mine"
        (tmp_path / there).unlink()
        assert not (tmp_path / "data.csv").exists()
    write(tmp_path / "data.csv", "mine")
    make(labels, force=True)
    assert (tmp_path / "data.csv").read_text().startswith("filename")


def test_rows_of_no_recording_are_an_error_unless_they_may_be_missing(card, make, tmp_path: Path) -> None:
    card("mill/a.wav", "mead/a.wav", "b.wav")
    labels = write(tmp_path / "own.csv", "file,species\na.wav,Pippip\nb.wav,Nycnoc\nc.wav,Nycnoc\n")
    with pytest.raises(ManifestError, match=r"2 names of no recording here.*a\.wav \(may be.*c\.wav \(no such"):
        make(labels)
    report = make(labels, allow_missing=True)
    assert len(report.unmatched) == 2 and report.named == 1


@pytest.mark.parametrize("row", ["a.wav,Pipistrelus", "b.wav,Pippip"])
def test_what_is_wrong_with_labels_is_told_before_recordings_are_read(row: str, card, tmp_path: Path) -> None:
    labels, told = write(tmp_path / "own.csv", f"file,species\n{row}\n"), []
    with pytest.raises(ManifestError):
        batcache.make_manifest(card("a.wav"), tmp_path / "data.csv", labels=labels, on_progress=told.append)
    assert not told


def test_a_triggered_audiomoth_and_what_cannot_be_read_are_rejected_by_name(card, make, rows) -> None:
    folder = card("20240412_221003T.WAV", "20240412_221003.WAV")
    (folder / "broken.wav").write_bytes(b"RIFF")
    report = make(species=("Pippip",))
    assert "AudioMoth" in report.rejected["card/20240412_221003T.WAV"] and "card/broken.wav" in report.rejected
    assert list(rows()) == ["20240412_221003.WAV"]


def test_recordings_of_nothing_but_one_value_are_named_wherever_a_second_would_stand(card, make, rows) -> None:
    folder = card("a.wav", "late.wav", "off.wav", "quiet.wav", seconds=0.1)
    for name, value in (("off.wav", 7), ("quiet.wav", 0), ("late.wav", 0)):
        samples = np.full(25_600, value, "<i2")
        samples[-1] += name == "late.wav"
        (folder / name).write_bytes((folder / name).read_bytes()[:44] + samples.tobytes())
    report = make(species=("Pippip",))
    assert report.constant == ("card/off.wav", "card/quiet.wav")
    noted = {name for name, row in rows().items() if "holds nothing but one value" in row["notes"]}
    assert noted == {"off.wav", "quiet.wav"}


def test_a_factor_that_is_not_known_is_not_written(card, make, rows) -> None:
    card("te.wav", rate=25_600, seconds=0.1, guan=b"GUANO|Version: 1.0\nTE: 10\n")
    card("doubtful.wav", rate=25_600, seconds=0.1)
    report = make(species=("Pippip",))
    te, doubtful = rows()["te.wav"], rows()["doubtful.wav"]
    assert (te["time_expansion"], te["sample_rate"], te["duration"]) == ("10", "256000", "0.0100")
    assert te["meta_expansion_source"] == "guano TE"
    assert doubtful["time_expansion"] == doubtful["sample_rate"] == "" and "time expansion" in doubtful["notes"]
    assert list(report.doubtful) == ["card/doubtful.wav"]


@pytest.mark.parametrize(("told", "start"), [(1, "0.0100"), (10, "0.0100")])
def test_calls_are_written_in_true_seconds_whatever_their_program_thought(card, make, tmp_path, told, start) -> None:
    card("te.wav", rate=25_600, seconds=1, guan=b"GUANO|Version: 1.0\nTE: 10\n")
    call = {"start_time": 0.1 / told, "end_time": 0.2 / told, "class": "Myotis myotis"}
    late = {"start_time": 5.0, "end_time": 6.0, "class": "Myotis myotis"}
    found = {"id": "te.wav", "annotated": True, "time_exp": told, "annotation": [call, late]}
    write(tmp_path / "te.wav.json", json.dumps(found))
    report = make(tmp_path / "te.wav.json")
    assert (
        tmp_path / "events.csv"
    ).read_text() == f"filename,species,start_s,end_s\ncard/te.wav,Myotis myotis,{start},0.0200\n"
    assert report.calls == 1 and "does not lie within" in report.events_left_out["card/te.wav"]


def test_a_raven_table_plays_expanded_recordings_slowly(card, make, tmp_path: Path) -> None:
    card("te.wav", rate=25_600, seconds=1, guan=b"GUANO|Version: 1.0\nTE: 10\n")
    table = write(tmp_path / "te.Table.1.selections.txt", "Begin Time (s)\tEnd Time (s)\tAnnotation\n0.1\t0.2\tMmyo\n")
    make(table)
    assert "Myotis myotis,0.0100,0.0200" in (tmp_path / "events.csv").read_text()


def test_calls_of_a_group_without_a_column_are_told(card, make, tmp_path: Path) -> None:
    card("a.wav", "b.wav")
    rows = "a.wav,Myotis sp.,0.001,0.002\nb.wav,Mmyo,0.001,0.002\n"
    report = make(write(tmp_path / "own.csv", f"filename,species,start_s,end_s\n{rows}"))
    assert report.calls == 1 and report.events_left_out == {"card/a.wav": "Myotis sp. has no column"}


def test_a_table_tells_the_time_of_recordings_that_do_not(card, make, rows, tmp_path: Path) -> None:
    card("12345678.wav", "MILL_20240412_221003.wav")
    table = write(tmp_path / "id.csv", "IN FILE,DATE,TIME,MANUAL ID\n12345678.wav,2024-05-01,01:00:00,Pippip\n"
                  "MILL_20240412_221003.wav,2024-05-01,01:00:00,Pippip\n")  # fmt: skip
    make(table)
    assert rows()["12345678.wav"]["meta_night"] == "2024-04-30"
    assert rows()["MILL_20240412_221003.wav"]["meta_night"] == "2024-04-12"


def test_a_clock_that_was_not_set_is_told(card, make) -> None:
    card("19700101_000012.WAV")
    report = make(species=("Pippip",), timezone="Europe/Berlin")
    assert report.doubtful_times == {"card/19700101_000012.WAV": "the clock was not set"}


def test_labels_of_a_recording_that_was_cut_are_those_of_its_pieces(card, make, rows, tmp_path: Path) -> None:
    card("mill/MILL_20240412_220000_000.wav", "mill/MILL_20240412_220000_001.wav", "mill/whole_20240412_230000.wav")
    table = write(
        tmp_path / "id.csv",
        "OUTDIR,FOLDER,IN FILE,OUT FILE FS,MANUAL ID\n"
        "D:\\out,mill,MILL_20240412_220000.wav,MILL_20240412_220000_000.wav,PIPPIP\n"
        "D:\\out,mill,MILL_20240412_220000.wav,MILL_20240412_220000_001.wav,NYCNOC\n"
        "D:\\out,mill,whole_20240412_230000.wav,whole_20240412_230000_000.wav,PIPPIP\n",
    )
    make(table)
    assert [row["Pipistrellus pipistrellus"] for row in rows().values()] == ["1", "0", "1"]


def test_a_name_is_found_in_another_unicode_form_and_case(card, make, tmp_path: Path) -> None:
    card(unicodedata.normalize("NFD", "Mühle/Bär.WAV"))
    labels = write(tmp_path / "own.csv", unicodedata.normalize("NFC", "file,species\nmühle\\bär.wav,Pippip\n"))
    assert make(labels).named == 1


def test_recordings_elsewhere_are_named_from_their_own_folder(card, make, rows, tmp_path: Path) -> None:
    card("mill/a.wav")
    report = make(species=("Pippip",), out="elsewhere/data.csv")
    assert report.needs_data_dir and report.data_dir == tmp_path / "card"
    assert list(rows("elsewhere/data.csv")) == ["mill/a.wav"]


def test_several_labels_of_one_recording_add_up(card, make, rows, tmp_path: Path) -> None:
    card("Nyctalus noctula/a.wav", guan=guan(more="Species Manual ID: Pippyg\n"))
    make("folders", "tags", write(tmp_path / "own.csv", "file,species\na.wav,Ppip\na.wav,noise\n"))
    row = rows()["Nyctalus noctula/a.wav"]
    assert row["Nyctalus noctula"] == row["Pipistrellus pygmaeus"] == row["Pipistrellus pipistrellus"] == "1"


def test_what_is_asked_for_and_not_there_is_refused(card, make, tmp_path: Path) -> None:
    card("a.wav")
    with pytest.raises(ManifestError, match="--site metadata"):
        make(species=("Pippip",), site="metadata")
    with pytest.raises(ManifestError, match=r"--species.*NoID is no species"):
        make(species=("NoID",))
    with pytest.raises(ManifestError, match="no time zone 'Berlin'"):
        make(species=("Pippip",), timezone="Berlin")
    with pytest.raises(ManifestError, match=r"without a manual id.*--auto"):
        make(write(tmp_path / "id.csv", "IN FILE,AUTO ID,MANUAL ID\na.wav,Pippip,\n"))
    (tmp_path / "card" / "a.wav").write_bytes(b"RIFF")
    with pytest.raises(ManifestError, match="no recording of 1 file can be used"):
        make(species=("Pippip",))
    (tmp_path / "card" / "a.wav").unlink()
    with pytest.raises(PredictError, match="no recording in it"):
        make(species=("Pippip",))


NAMES = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=12).filter(
    lambda name: not set(name) & set('/\\:*?"<>|') and not name.startswith(".") and len(name.encode()) < 100
)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(NAMES, min_size=1, max_size=3, unique=True), st.sampled_from(["=1+1", "-a", "@b", " c", "+"]))
def test_every_name_that_a_disk_takes_reads_back(card, make, tmp_path, names: list[str], odd: str) -> None:
    folder = card(*(f"{name}.wav" for name in (*names, odd)))
    try:
        report = make(species=("Pippip",), force=True, out="card/data.csv")  # so that cells begin as the names do
        clips = read_manifest([folder / "data.csv"]).clips
        assert all((folder / clip.filename).is_file() for clip in clips) and len(clips) == report.recordings
        cells = (folder / "data.csv").read_text(encoding="utf-8")
        assert not any(line.startswith(("=", "+", "-", "@")) for line in cells.splitlines())
    finally:
        for file in folder.iterdir():
            file.unlink()
