"""The laws of ``batcache.manifest``."""

import csv as csv_module
import dataclasses
import io
from pathlib import Path
from posixpath import normpath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batcache.errors import ManifestError
from batcache.manifest.cells import UNKNOWN
from batcache.manifest.manifest import Clip, Manifest, check_contents, read_manifest

BATS = Path(__file__).parents[2] / "../shared/data/bats"


def write(folder: Path, name: str = "clips.csv", *lines: str) -> Path:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes("\n".join(lines).encode())
    return path


def read(folder: Path, *lines: str) -> Manifest:
    return read_manifest([write(folder, "clips.csv", *lines)])


def refusal(folder: Path, *lines: str) -> str:
    with pytest.raises(ManifestError) as caught:
        read(folder, *lines)
    return str(caught.value)


def test_columns_that_are_not_reserved_are_species_and_empty_cells_are_unknown(tmp_path):
    header = (
        "filename,split,Myotis myotis,group,time_expansion,start_s,duration_s,sample_rate,duration,recorded_at,"
        "latitude,longitude,site,recorder,notes,meta_moon,Nyctalus noctula"
    )
    manifest = read(tmp_path, header, "a.wav, Train ,1,night 1,10,0.5,5,384000,9,dusk,1,2,s,r,n,full,")
    assert manifest.species == ("Myotis myotis", "Nyctalus noctula")
    expected = Clip(
        "a.wav", tmp_path / "clips.csv", 2, (1, UNKNOWN), "train", "night 1", time_expansion=10.0, start_s=0.5
    )
    assert manifest.clips == (dataclasses.replace(expected, duration_s=5.0),)
    assert manifest.data_dir == tmp_path


def test_what_is_not_given_is_none(tmp_path):
    bare, empty = (
        read(tmp_path, "filename,a", "a.wav,0").clips[0],
        read(tmp_path, "filename,split,group,time_expansion,start_s,duration_s,a", "a.wav,,,,,,0").clips[0],
    )
    assert bare == empty
    assert (bare.split, bare.group, bare.time_expansion, bare.start_s, bare.duration_s) == (None,) * 5


@pytest.mark.parametrize("text, label", [("0", 0), ("1", 1), ("0.0", 0), ("1.0", 1), (" 1 ", 1), (" ", UNKNOWN)])
def test_labels_are_read_as_spreadsheets_write_them(tmp_path, text, label):
    assert read(tmp_path, "filename,a,b", f"a.wav,{text},1").clips[0].labels == (label, 1)


def test_a_clip_knows_its_place_and_falls_back_to_its_recording_as_group(tmp_path):
    grouped, alone = read(tmp_path, "filename,group,a", "a.wav,night,1", "b.wav,,1").clips
    assert grouped.place == f"{tmp_path / 'clips.csv'} line 2"
    assert (grouped.group_or_recording, alone.group_or_recording) == ("night", "b.wav")


def test_lines_are_counted_as_an_editor_shows_them(tmp_path):
    clips = read(tmp_path, "filename,notes,a", "a.wav,x,1", "", ",,", 'b.wav,"two', 'lines",1', "c.wav,,1").clips
    assert [clip.line for clip in clips] == [2, 5, 7]


def test_clips_without_a_split_are_not_counted_in_splits(tmp_path):
    manifest = read(tmp_path, "filename,split,a", "a.wav,train,1", "b.wav,TRAIN,1", "c.wav,val,1", "d.wav,,1")
    assert manifest.splits == {"train": 2, "val": 1}


def test_recordings_are_each_filename_once_in_order_of_appearance(tmp_path):
    manifest = read(tmp_path, "filename,start_s,a", "b.wav,0,1", "a.wav,0,1", "b.wav,5,0")
    assert list(manifest.recordings().items()) == [("b.wav", manifest.clips[0]), ("a.wav", manifest.clips[1])]


@pytest.mark.parametrize(
    "written, meant",
    [
        (r"night\a.wav", "night/a.wav"),
        ("./a.wav", "a.wav"),
        ("x//y/../a.wav", "x/a.wav"),
        ("Ä/A.WAV", "Ä/A.WAV"),
        ("a\u0308.wav", "a\u0308.wav"),
        ("..a/b.wav", "..a/b.wav"),
    ],
)
def test_filenames_become_posix_paths_and_keep_their_letters(tmp_path, written, meant):
    assert read(tmp_path, "filename,a", f"{written},1").clips[0].filename == meant


@pytest.mark.parametrize(
    "filename", ["/a.wav", r"\\host\a.wav", r"C:\a.wav", "c:a.wav", "../a.wav", "x/../../a.wav", "..", "x/.."]
)
def test_a_path_outside_the_data_dir_is_refused(tmp_path, filename):
    message = refusal(tmp_path, "filename,a", f"{filename},1")
    assert message.startswith(f"{tmp_path / 'clips.csv'} line 2: ")
    assert "data dir" in message and repr(filename) in message


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_a_decimal_comma_is_read_where_the_comma_is_not_the_delimiter(tmp_path, delimiter):
    lines = ["filename|time_expansion|start_s|a|b", "a.wav|10,5|0,25|1,0|0"]
    clip = read(tmp_path, *(line.replace("|", delimiter) for line in lines)).clips[0]
    assert (clip.time_expansion, clip.start_s, clip.labels) == (10.5, 0.25, (1, 0))
    assert "'10,5'" in refusal(tmp_path, "filename,time_expansion,a", 'a.wav,"10,5",1')


def test_the_delimiter_is_the_one_behind_filename(tmp_path):
    assert read(tmp_path, "filename;a,b,c;d", "a.wav;1;0").species == ("a,b,c", "d")


def test_files_named_after_a_split_give_it_to_their_rows(tmp_path):
    names = {"train.csv": "train", "val.csv": "val", "test.csv": "test", "clips.csv": None}
    csvs = [write(tmp_path, name, "filename,a", f"{name}.wav,1") for name in names]
    assert [clip.split for clip in read_manifest(csvs).clips] == list(names.values())


def test_a_split_column_wins_over_split_of_which_wins_over_the_file_name(tmp_path):
    bare = write(tmp_path, "train.csv", "filename,a", "a.wav,1")
    told = write(tmp_path, "val.csv", "filename,split,a", "b.wav,test,1", "c.wav,,1")
    manifest = read_manifest([bare, told], split_of={bare: "val", told: "train"})
    assert [clip.split for clip in manifest.clips] == ["val", "test", None]


def test_columns_of_several_csvs_are_aligned_by_name(tmp_path):
    first = write(tmp_path, "train.csv", "filename,a,b", "a.wav,1,0")
    second = write(tmp_path, "val.csv", "filename;b;notes;a", "b.wav;1;x;0")
    manifest = read_manifest([first, second])
    assert manifest.species == ("a", "b")
    assert [clip.labels for clip in manifest.clips] == [(1, 0), (0, 1)]


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


def test_clips_with_equal_labels_share_them_in_memory(tmp_path):
    first, second = read(tmp_path, "filename,a,b", "a.wav,1,0", "b.wav,1,0").clips
    assert first.labels is second.labels


NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Zs", "Zl", "Zp"]), min_size=1, max_size=8)
SPECIES = st.lists(NAMES.map("sp {}".format), min_size=1, max_size=5, unique=True)
FILENAMES = NAMES.map(lambda name: f"night 1/{name.translate(dict.fromkeys(map(ord, '/' + chr(92))))}.wav")
NUMBERS = st.none() | st.floats(0.001, 1e6)


@st.composite
def tables(draw):
    """Species and unique clips, as ``Clip`` without place."""
    species = draw(SPECIES)
    fields = {
        "labels": st.tuples(*[st.sampled_from([0, 1, UNKNOWN])] * len(species)),
        "group": st.none() | NAMES,
        "time_expansion": NUMBERS,
        "start_s": NUMBERS,
        "duration_s": NUMBERS,
    }
    filenames = draw(st.lists(FILENAMES, min_size=1, max_size=4, unique=True))
    return species, [Clip(name, Path(), 0, split="train", **draw(st.fixed_dictionaries(fields))) for name in filenames]


def to_cells(clip: Clip, species: list[str], decimal: str) -> dict[str, str]:
    numbers = {name: getattr(clip, name) for name in ("time_expansion", "start_s", "duration_s")}
    return {
        "filename": clip.filename,
        "split": clip.split or "",
        "group": clip.group or "",
        **{name: "" if value is None else str(value).replace(".", decimal) for name, value in numbers.items()},
        **{s: "" if label == UNKNOWN else str(label) for s, label in zip(species, clip.labels, strict=True)},
    }


@settings(max_examples=100, deadline=None)
@given(
    table=tables(),
    delimiter=st.sampled_from(",;\t"),
    bom=st.booleans(),
    quoting=st.sampled_from([csv_module.QUOTE_ALL, csv_module.QUOTE_MINIMAL]),
    ending=st.sampled_from(["\n", "\r\n"]),
    slash=st.sampled_from("/\\"),
    order=st.randoms(use_true_random=False),
)
def test_a_written_manifest_reads_as_the_same_clips(
    tmp_path_factory, table, delimiter, bom, quoting, ending, slash, order
):
    species, clips = table
    rows = [to_cells(clip, species, "." if delimiter == "," else ",") for clip in clips]
    columns = list(rows[0])[1:]
    order.shuffle(columns)
    text = io.StringIO(newline="")
    writer = csv_module.writer(text, delimiter=delimiter, quoting=quoting, lineterminator=ending)
    writer.writerow(["filename", *columns])
    writer.writerows([row["filename"].replace("/", slash), *(row[c] for c in columns)] for row in rows)
    csv = tmp_path_factory.getbasetemp() / "round-trip.csv"
    csv.write_bytes(text.getvalue().encode("utf-8-sig" if bom else "utf-8"))

    manifest = read_manifest([csv])

    assert sorted(manifest.species) == sorted(species)
    back = [manifest.species.index(name) for name in species]
    for line, (found, meant) in enumerate(zip(manifest.clips, clips, strict=True), 2):
        labels = tuple(found.labels[i] for i in back)
        assert dataclasses.replace(found, labels=labels) == dataclasses.replace(meant, csv=csv, line=line)


SCRAPS = st.sampled_from(
    b'filename,|a|,|;|\t|"|\n|\r|\0|a.wav|0|1|1.0|\xff|\xef\xbb\xbf|split|train|start_s|-|..|/|time_expansion'.split(
        b"|"
    )
)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200) | st.lists(SCRAPS, max_size=40).map(lambda scraps: b"filename,a\n" + b"".join(scraps)))
def test_any_bytes_give_a_manifest_or_a_manifest_error(tmp_path_factory, content):
    csv = tmp_path_factory.getbasetemp() / "bytes.csv"
    csv.write_bytes(content)
    try:
        manifest = read_manifest([csv])
    except ManifestError as error:
        assert str(error).startswith(str(csv)) and "\n" not in str(error)
    else:
        assert manifest.clips and manifest.species


@pytest.mark.skipif(not BATS.exists(), reason="no ../shared/data/bats beside the repository")
def test_the_real_manifest_reads():
    manifest = read_manifest([BATS.resolve() / "manifest.csv"], num_classes=20)
    assert (len(manifest.clips), len(manifest.species)) == (77, 20)
    assert set(manifest.splits) == {"train", "val", "test"}
    assert all((manifest.data_dir / name).is_file() for name in manifest.recordings())
