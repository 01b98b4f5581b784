"""What people's tables hold: names that look alike, R's NA, other programs' tables, numbers that cannot be meant."""

import csv
import io
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcache.errors import ManifestError
from batcache.manifest.cells import UNKNOWN
from batcache.manifest.contents import check_contents
from batcache.manifest.manifest import read_manifest
from batcache.manifest.table import read_table
from batcache.storage.names import find_alike
from tests.manifest.csvs import read, refusal, write

_CELLS = st.text(st.sampled_from("a,;\"'\r\n 01\u00e9"), max_size=6)
NFC = "Wei\u00dfrandflederm\u00e4use"
NFD = unicodedata.normalize("NFD", NFC)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Myotis myotis", "myotis myotis"),
        ("Myotis myotis", "MYOTIS MYOTIS"),
        (NFC, NFD),
        (NFC, NFC.upper()),
        ("Myotis", "\uff2d\uff59\uff4f\uff54\uff49\uff53"),
    ],
)
def test_two_columns_that_look_alike_are_refused_naming_both(tmp_path, one, other):
    message = refusal(tmp_path, f"filename,{one},{other}", "a.wav,1,0")
    assert "line 1: " in message and repr(one) in message and repr(other) in message and "differ in" in message


@pytest.mark.parametrize("name", ["Myo\u200btis", "\u202esitoyM", "Myotis\x1b[2J", "\x07Bat", "My\u00adotis"])
def test_a_column_whose_name_holds_what_does_not_show_is_refused(tmp_path, name):
    message = refusal(tmp_path, f"filename,{name}", "a.wav,1")
    assert "does not show" in message and message.isprintable()


def test_columns_of_two_csvs_that_look_alike_are_told_so(tmp_path):
    first = write(tmp_path, "train.csv", f"filename,{NFC}", "a.wav,1")
    second = write(tmp_path, "val.csv", f"filename,{NFD}", "b.wav,1")
    with pytest.raises(ManifestError, match=r"val\.csv: .* in other case or Unicode form"):
        read_manifest([first, second])


@pytest.mark.parametrize("other", ["meadow-0412", "MEADOW-0412", "Meadow-\uff10412", "Meadow\u200b-0412"])
def test_groups_that_look_alike_are_one_night(tmp_path, other):
    message = refusal(tmp_path, "filename,split,group,a", "a.wav,train,Meadow-0412,1", f"b.wav,test,{other},1")
    assert "line 3: one group in two splits" in message


def test_na_is_not_annotated_and_nothing_else(tmp_path):
    header = "filename,split,group,time_expansion,start_s,duration_s,a,b"
    clip, empty = read(tmp_path, header, "a.wav,NA,NA,NA,NA,NA,NA,1", "b.wav,,,,,,,1").clips
    assert clip.labels == empty.labels == (UNKNOWN, 1)
    for name in ("split", "group", "time_expansion", "start_s", "duration_s"):
        assert getattr(clip, name) is None
    for cell in ("nan", "na", "N/A", "None", "null", "-"):
        assert f"label {cell!r}" in refusal(tmp_path, "filename,a,b", f"a.wav,{cell},1")


@pytest.mark.parametrize(
    ("column", "cell"),
    [
        *(("time_expansion", cell) for cell in ("1e305", "1e-305", "1001", "1e4")),
        *(("start_s", cell) for cell in ("1e306", "1e10", "-1", "-inf", "nan")),
        *(("duration_s", cell) for cell in ("1e306", "1e-300", "-5", "inf", "12.04.2024", "2024-04-12")),
    ],
)
def test_a_number_that_cannot_be_meant_is_refused_with_its_line(tmp_path, column, cell):
    message = refusal(tmp_path, f"filename,{column},a", f"a.wav,{cell},1")
    assert f"line 2: {column} {cell!r}, expected" in message


OTHERS = {
    "an id.csv of Kaleidoscope": "INDIR,FOLDER,IN FILE,CHANNEL,OFFSET,DURATION,AUTO ID*,MANUAL ID",
    "a selection table of Raven": "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tSpecies",
    "a label track of Audacity": "0.100000\t0.140000\tBat",
    "detections of BatDetect2": "id,det_prob,start_time,end_time,high_freq,low_freq,class,class_prob",
    "a table of BirdNET": "Start (s),End (s),Scientific name,Common name,Confidence",
    "a table of SonoBat": "Path,Filename,HiF,LoF,SppAccp,Prob",
    "a table of the BTO Acoustic Pipeline": "RECORDING FOLDER,ORIGINAL FILE NAME,LATITUDE,SPECIES,PROBABILITY",
    "a table of Tadarida": "nom du fichier;temps_debut;temps_fin;tadarida_taxon;tadarida_probabilite",
    "labels of opensoundscape": "file,start_time,end_time,Bat,Noise",
    "predictions of batcache": "path,site,night,time,duration_s,verdict,species,Myotis myotis",
    "a table whose first column has no name": ",filename,split,Bat",
    "a table with each whole line in quotes": '"filename;split;Bat"',
}


@pytest.mark.parametrize("program", OTHERS)
def test_a_table_of_another_program_is_named_with_what_to_do(tmp_path, program):
    header = OTHERS[program]
    message = refusal(tmp_path, header, header.replace("0.1", "0.2"))
    assert f"this is {program}, expected a CSV of clips. " in message


@pytest.mark.parametrize("column", ["species", "Species", "label", "taxon"])
def test_a_table_with_a_row_for_each_species_is_told_from_one_with_a_column_for_each(tmp_path, column):
    assert "Make a column of each species" in refusal(tmp_path, f"filename,{column}", "a.wav,Myotis")
    assert read(tmp_path, f"filename,{column}", "a.wav,1").species == (column,)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("filename,Bat\na.wav,1\n".encode("utf-16"), "UTF-16"),
        (b"PK\x03\x04\x14\0", "workbook"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "workbook"),
        (b"SQLite format 3\0", "database"),
        (b"{}", "JSON"),
        ("filename,M\u00fccke\na.wav,1\n".encode("cp1252"), "not UTF-8"),
    ],
)
def test_what_is_no_text_of_a_csv_is_named_for_what_it_is(tmp_path, content, said):
    csv = tmp_path / "labels.csv"
    csv.write_bytes(content)
    with pytest.raises(ManifestError, match=said):
        read_manifest([csv])


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_lines_may_end_as_on_any_system(tmp_path, ending):
    csv = tmp_path / "labels.csv"
    csv.write_bytes(ending.join(["filename,a", "a.wav,1", ""]).encode())
    assert read_manifest([csv]).clips[0].labels == (1,)


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no /dev/zero here")
def test_a_file_without_end_is_refused():
    with pytest.raises(ManifestError, match="no regular file, but a device"):
        read_manifest([Path("/dev/zero")])


def test_a_line_without_end_is_refused(tmp_path):
    csv = tmp_path / "labels.csv"
    with csv.open("wb") as file:
        file.write(b"filename,a\n")
        file.truncate(1 << 30)
    with pytest.raises(ManifestError, match="NUL"):
        read_manifest([csv])
    csv.write_bytes(b"filename," + b"a" * (1 << 24))
    with pytest.raises(ManifestError, match="a line of more than"):
        read_manifest([csv])


CONTRADICTION = ["filename,split,a,b", "one.wav,train,1,0", "copy.wav,train,0,0"]


def test_one_sound_under_two_names_with_opposite_labels_is_refused_naming_both_rows(tmp_path):
    manifest = read(tmp_path, *CONTRADICTION)
    check_contents(manifest, {"one.wav": "x", "copy.wav": "y"})
    with pytest.raises(ManifestError) as caught:
        check_contents(manifest, {"one.wav": "x", "copy.wav": "x"})
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'clips.csv'} line 3: 'copy.wav' is the same sound as 'one.wav'")
    assert "line 2" in message and "'a' is 0 here and 1 there" in message


@pytest.mark.parametrize("labels", ["1,0", "1,", ",0", ","])
def test_copies_that_agree_as_far_as_they_are_annotated_are_taken(tmp_path, labels):
    manifest = read(tmp_path, *CONTRADICTION[:2], f"copy.wav,train,{labels}")
    check_contents(manifest, {"one.wav": "x", "copy.wav": "x"})


def test_other_spans_of_one_sound_may_have_other_labels(tmp_path):
    header = "filename,start_s,duration_s,a"
    manifest = read(tmp_path, header, "one.wav,0,1,1", "copy.wav,1,1,0")
    check_contents(manifest, {"one.wav": "x", "copy.wav": "x"})
    manifest = read(tmp_path, header, "one.wav,0,1,1", "copy.wav,,1,0")
    with pytest.raises(ManifestError, match="same sound"):
        check_contents(manifest, {"one.wav": "x", "copy.wav": "x"})


def test_the_one_file_whose_name_looks_alike_is_found(tmp_path):
    there = tmp_path / NFD / "UPPER.WAV"
    there.parent.mkdir()
    there.touch()
    assert find_alike(tmp_path, f"{NFC}/upper.wav") == f"{NFD}/UPPER.WAV"
    assert find_alike(tmp_path, f"{NFD}/UPPER.WAV") is None
    assert find_alike(tmp_path, f"{NFC}/lower.wav") is None
    assert find_alike(tmp_path, "nowhere/upper.wav") is None
    (there.parent / "Upper.wav").touch()
    assert find_alike(tmp_path, f"{NFC}/upper.wav") is None, "nobody knows which"


@given(lines=st.lists(_CELLS, max_size=12), line_end=st.sampled_from(["\n", "\r\n", "\r"]))
def test_rows_are_cut_as_python_cuts_them_whether_or_not_a_line_has_quotes(lines, line_end, tmp_path_factory):
    text = line_end.join(["filename,A", *lines])
    place = tmp_path_factory.getbasetemp() / "cut.csv"
    place.write_bytes(text.encode())
    rows, meant, begin = csv.reader(io.StringIO(text, newline=""), strict=True), [], 1
    try:
        for cells in rows:
            meant += [(begin, cells)] if any(map(str.strip, cells)) else []
            begin = rows.line_num + 1
    except csv.Error:
        with pytest.raises(ManifestError, match=f"line {begin}: not a row of a CSV"):
            list(read_table(place)[2])
    else:
        assert list(read_table(place)[2]) == meant[1:]
