"""The laws of ``batcache.manifest``: what a CSV says, whatever its delimiter, alphabet or number of files."""

import csv as csv_module
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from batcache.errors import ManifestError
from batcache.manifest.cells import UNKNOWN
from batcache.manifest.manifest import Clip, read_manifest
from batcache.storage.names import fold
from batcache.storage.spreadsheet import as_text
from tests.manifest.csvs import read, refusal, write

BATS = Path(__file__).parents[2] / "../shared/data/bats"


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
    assert manifest.clips == (structs.replace(expected, duration_s=5.0),)
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


def test_clips_with_equal_labels_share_them_in_memory(tmp_path):
    first, second = read(tmp_path, "filename,a,b", "a.wav,1,0", "b.wav,1,0").clips
    assert first.labels is second.labels


NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cf", "Zs", "Zl", "Zp"]), min_size=1, max_size=8)
SPECIES = st.lists(NAMES.map("sp {}".format), min_size=1, max_size=5, unique_by=fold)
FILENAMES = NAMES.map(lambda name: f"night 1/{name.translate(dict.fromkeys(map(ord, '/' + chr(92))))}.wav")
NUMBERS = st.none() | st.floats(0.001, 1e6)
FACTORS = st.none() | st.floats(0.001, 1000)


@st.composite
def tables(draw):
    """Species and unique clips, as ``Clip`` without place."""
    species = draw(SPECIES)
    fields = {
        "labels": st.tuples(*[st.sampled_from([0, 1, UNKNOWN])] * len(species)),
        "group": st.none() | NAMES.filter(lambda name: name != "NA"),
        "time_expansion": FACTORS,
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
    writer.writerow(["filename", *map(as_text, columns)])
    writer.writerows([row["filename"].replace("/", slash), *(as_text(row[c]) for c in columns)] for row in rows)
    csv = tmp_path_factory.getbasetemp() / "round-trip.csv"
    csv.write_bytes(text.getvalue().encode("utf-8-sig" if bom else "utf-8"))

    manifest = read_manifest([csv])

    assert sorted(manifest.species) == sorted(species)
    back = [manifest.species.index(name) for name in species]
    for line, (found, meant) in enumerate(zip(manifest.clips, clips, strict=True), 2):
        labels = tuple(found.labels[i] for i in back)
        assert structs.replace(found, labels=labels) == structs.replace(meant, csv=csv, line=line)


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
