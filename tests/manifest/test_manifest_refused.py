"""A CSV that cannot be trusted is refused with the place, and no file outside the data dir is named."""

from posixpath import normpath

import pytest

from batcache.errors import ManifestError
from batcache.manifest.contents import check_contents
from batcache.manifest.manifest import read_manifest
from tests.manifest.csvs import read, refusal, write


@pytest.mark.parametrize(
    "filename", ["/a.wav", r"\\host\a.wav", r"C:\a.wav", "c:a.wav", "../a.wav", "x/../../a.wav", "..", "x/.."]
)
def test_a_path_outside_the_data_dir_is_refused(tmp_path, filename):
    message = refusal(tmp_path, "filename,a", f"{filename},1")
    assert message.startswith(f"{tmp_path / 'clips.csv'} line 2: ")
    assert "data dir" in message and repr(filename) in message


def test_csvs_with_different_species_are_refused_naming_both_sides(tmp_path):
    first = write(tmp_path, "train.csv", "filename,a,Myotis myotis", "a.wav,1,0")
    second = write(tmp_path, "val.csv", "filename,a,Plecotus auritus", "b.wav,1,0")
    with pytest.raises(ManifestError) as caught:
        read_manifest([first, second])
    assert f"only {second} has 'Plecotus auritus'; only {first} has 'Myotis myotis'" in str(caught.value)


def test_a_group_in_two_splits_is_refused_naming_both_places(tmp_path):
    header = "filename,split,group,a"
    message = refusal(tmp_path, header, "a.wav,train,n1,1", "b.wav,train,n2,1", "c.wav,val,n1,1")
    csv = tmp_path / "clips.csv"
    assert message == (
        f"{csv} line 4: one group in two splits: 'n1' is in 'val', but 'n1' is in 'train' at {csv} line 2. "
        "Keep a group in one split."
    )
    assert len(read(tmp_path, header, "a.wav,train,n1,1", "b.wav,train,n1,1", "c.wav,,n1,1").clips) == 3


def test_a_group_is_kept_in_one_split_across_csvs_too(tmp_path):
    csvs = [write(tmp_path, f"{split}.csv", "filename,group,a", f"{split}.wav,n1,1") for split in ("train", "val")]
    with pytest.raises(ManifestError, match=r"val.csv line 2: .* 'train' at .*train.csv line 2"):
        read_manifest(csvs)


def test_a_recording_in_two_splits_through_different_spans_is_refused(tmp_path):
    header = "filename,split,start_s,duration_s,a"
    message = refusal(tmp_path, header, "a.wav,,0,5,1", "a.wav,train,5,5,1", "./a.wav,val,10,5,1")
    assert "line 4: one recording in two splits: 'a.wav' is in 'val'" in message
    assert "'train'" in message and "line 3" in message


def test_one_content_in_two_splits_is_refused_naming_both_files(tmp_path):
    manifest = read(tmp_path, "filename,split,a", "a.wav,train,1", "b.wav,val,1", "c.wav,train,1", "d.wav,val,1")
    check_contents(manifest, {"a.wav": "x", "c.wav": "x", "b.wav": "y"})
    with pytest.raises(ManifestError, match=r"line 5: one content .* 'd.wav' is in 'val', but 'c.wav' is in 'train'"):
        check_contents(manifest, {"c.wav": "x", "d.wav": "x"})


@pytest.mark.parametrize("other", ["1", ""])
def test_a_recording_with_two_time_expansions_is_refused(tmp_path, other):
    header = "filename,start_s,time_expansion,a"
    message = refusal(tmp_path, header, "a.wav,0,10,1", f"a.wav,5,{other},1")
    assert "line 3: time_expansion" in message and "10.0 at" in message and "line 2" in message
    assert len(read(tmp_path, header, "a.wav,0,10,1", "a.wav,5,10.0,1", f"b.wav,0,{other},1").clips) == 3


@pytest.mark.parametrize("twin", ["a.wav,0,5,0", "./a.wav,,5,1", r"x\..\a.wav,0.0,5.0,1"])
def test_a_clip_given_twice_is_refused_naming_both_places(tmp_path, twin):
    header = "filename,start_s,duration_s,a"
    message = refusal(tmp_path, header, "a.wav,0,5,1", "a.wav,5,5,1", "a.wav,0,,1", twin)
    csv = tmp_path / "clips.csv"
    assert message.startswith(f"{csv} line 5: 'a.wav' with the same span stands at {csv} line 2 already")


def test_a_clip_given_in_two_csvs_is_refused(tmp_path):
    csvs = [write(tmp_path, f"{name}.csv", "filename,a", "a.wav,1") for name in "ab"]
    with pytest.raises(ManifestError, match=r"b.csv line 2: .* stands at .*a.csv line 2 already"):
        read_manifest(csvs)


OUTSIDE = [
    *("/etc/passwd", r"\\server\share\a.wav", "C:/a.wav", "c:a.wav"),
    *("../a.wav", "a/../../b.wav", r"..\a.wav", ".."),
]


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_filename_that_leads_out_of_the_data_dir_needs_leave(tmp_path, name):
    assert "--allow-outside" in refusal(tmp_path, "filename,a", f"{name},1")
    csv = write(tmp_path, "clips.csv", "filename,a", f"{name},1")
    (clip,) = read_manifest([csv], allow_outside=True).clips
    assert clip.filename == normpath(name.replace("\\", "/"))


def test_a_filename_that_only_looks_like_it_is_taken(tmp_path):
    names = ["..a/b.wav", "a/../b.wav", "a..b/../c.wav", "~/a.wav", "$HOME/a.wav"]
    found = read(tmp_path, "filename,a", *(f"{name},1" for name in names)).clips
    assert [clip.filename for clip in found] == ["..a/b.wav", "b.wav", "c.wav", "~/a.wav", "$HOME/a.wav"]


def test_a_long_species_name_does_not_fill_the_screen(tmp_path):
    assert len(refusal(tmp_path, f"filename,{'a' * 9000}", "a.wav,2")) < 500


@pytest.mark.parametrize(
    "header, finding",
    [
        ("", "line 1: no header"),
        ("Myotis myotis,filename", "line 1: the first column is 'Myotis myotis', expected 'filename'"),
        ("filename", "line 1: no species column"),
        ("filename,split,meta_x", "line 1: no species column"),
        ("filename,a,a", "line 1: two columns are named 'a'"),
        ("filename,split,a,split", "line 1: two columns are named 'split'"),
        ("filename,a,", "line 1: column 3 has no name"),
        ("filename,Split,a", "line 1: column 'Split', expected 'split' or a species"),
    ],
)
def test_a_header_that_cannot_be_trusted_is_refused(tmp_path, header, finding):
    assert finding in refusal(tmp_path, header, "a.wav,1,0")


@pytest.mark.parametrize(
    "row, finding",
    [
        ("a.wav,,,,yes,1", "label 'yes' for 'Myotis myotis', expected 0, 1 or empty"),
        ("a.wav,,,,2,1", "label '2'"),
        ("a.wav,,,,0.5,1", "label '0.5'"),
        ("a.wav,,,,-1,1", "label '-1'"),
        ("a.wav,,,,1", "5 cells, expected 6"),
        ("a.wav,,,,1,0,", "7 cells, expected 6"),
        (" ,,,,1,0", "no filename"),
        ("a\0.wav,,,,1,0", "a NUL byte"),
        ('"a.wav,,,,1,0', "not a row of a CSV"),
        (f"{'a' * 200_000},,,,1,0", "not a row of a CSV"),
        *((f"a.wav,{x},,,1,0", f"time_expansion '{x}', expected") for x in ("0", "-1", "nan", "1e999", "1_0", "x")),
        *((f"a.wav,,{x},,1,0", f"start_s '{x}', expected") for x in ("-0.1", "inf", "x")),
        *((f"a.wav,,,{x},1,0", f"duration_s '{x}', expected") for x in ("0", "-1", "nan", "x")),
    ],
)
def test_a_row_that_cannot_be_trusted_is_refused_with_its_line(tmp_path, row, finding):
    header = "filename,time_expansion,start_s,duration_s,Myotis myotis,b"
    message = refusal(tmp_path, header, "ok.wav,1,0,1,1,0", "", row, "z.wav,,,,1,1")
    assert message.startswith(f"{tmp_path / 'clips.csv'} line 4: {finding}")
    assert len(message.splitlines()) == 1 and len(message) < 500


def test_a_csv_that_holds_no_rows_or_no_text_is_refused(tmp_path):
    assert "without rows" in refusal(tmp_path, "filename,a", "", ",")
    for content, finding in [
        (b"", "no header"),
        (b'""', "first column is ''"),
        (b"filename,\xe4\na.wav,1\n", "not UTF-8"),
    ]:
        csv = tmp_path / "bytes.csv"
        csv.write_bytes(content)
        with pytest.raises(ManifestError, match=finding):
            read_manifest([csv])


def test_a_csv_that_cannot_be_read_is_refused(tmp_path):
    for csv in (tmp_path / "absent.csv", tmp_path):
        with pytest.raises(ManifestError, match="cannot be read"):
            read_manifest([csv])
    with pytest.raises(ManifestError, match="no CSV"):
        read_manifest([])


def test_num_classes_must_agree_with_the_species_columns(tmp_path):
    csv = write(tmp_path, "clips.csv", "filename,a,b", "a.wav,1,0")
    assert read_manifest([csv], num_classes=2).species == ("a", "b")
    with pytest.raises(ManifestError, match="2 species columns, but num_classes is 20"):
        read_manifest([csv], num_classes=20)


def test_csvs_in_two_folders_need_a_data_dir(tmp_path):
    csvs = [write(tmp_path / name, "clips.csv", "filename,a", f"{name}.wav,1") for name in "xy"]
    with pytest.raises(ManifestError, match="Pass --data-dir"):
        read_manifest(csvs)
    assert read_manifest(csvs, tmp_path).data_dir == tmp_path
    same_folder = [csvs[0], write(tmp_path / "y" / ".." / "x", "more.csv", "filename,a", "z.wav,1")]
    assert read_manifest(same_folder).data_dir == tmp_path / "x"


def test_a_data_dir_that_is_no_folder_is_refused(tmp_path):
    csv = write(tmp_path, "clips.csv", "filename,a", "a.wav,1")
    for data_dir in (tmp_path / "absent", csv):
        with pytest.raises(ManifestError, match="not a folder"):
            read_manifest([csv], data_dir)
