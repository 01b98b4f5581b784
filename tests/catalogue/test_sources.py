"""Tables and documents of other programs, as they write them and as people and spreadsheets leave them."""

import json
from pathlib import Path

import pytest

from batcache.catalogue.labels.label import Label
from batcache.catalogue.labels.sources import read_label_files
from batcache.errors import ManifestError

ID_CSV = (
    "INDIR,OUTDIR,FOLDER,IN FILE,CHANNEL,OFFSET,DURATION,OUT FILE FS,OUT FILE ZC,DATE,TIME,HOUR,DATE-12,TIME-12,"
    "HOUR-12,AUTO ID,PULSES,MATCHING,MATCH RATIO,MARGIN,ALTERNATE 1,ALTERNATE 2,N,Fc,Sc,Dur,Fmax,Fmin,Fmean,TBC,Fk,Tk,"
    "S1,Tc,Qual,FILES,MANUAL ID,ORGID,USERID,REVIEW ORGID,REVIEW USERID,INPATHMD5,OUTPATHMD5FS,OUTPATHMD5ZC"
)


def kaleidoscope(folder: Path, *rows: dict[str, str], header: list[str] | None = None, name: str = "id.csv") -> Path:
    columns = header or ID_CSV.split(",")
    lines = [",".join(columns)] + [",".join(row.get(c.rstrip("*"), "") for c in columns) for row in rows]
    (folder / name).write_text("\r\n".join(lines), encoding="utf-8-sig")
    return folder / name


def read(path: Path, *, auto: bool = False) -> tuple[str, list[Label]]:
    (found,), passed_over = read_label_files(path, auto=auto)
    assert not passed_over
    return found.kind, list(found.labels)


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


ROW = {
    "INDIR": "D:\\card",
    "FOLDER": "mill\\0412",
    "IN FILE": "A.wav",
    "AUTO ID": "PIPPIP",
    "MANUAL ID": "PIPPYG,NYCNOC",
}
QUOTED = {column: f'"{cell}"' for column, cell in ROW.items()}


def test_kaleidoscope_tells_manual_ids_by_file(tmp_path: Path) -> None:
    kind, (label,) = read(kaleidoscope(tmp_path, QUOTED))
    assert kind == "Kaleidoscope" and label.names == ("PIPPYG", "NYCNOC") and not label.by_program
    assert label.file == "D:\\card/mill\\0412/A.wav" and label.place.endswith("id.csv line 2")


@pytest.mark.parametrize(
    "header",
    [
        ["MANUAL ID*", "AUTO ID*", "IN FILE*", "FOLDER", "INDIR"],
        ["INDIR", "INDIR", "FOLDER", "IN FILE", "TOP1MATCH*", "MANUAL ID", "NOTES", "|GUANO|Make"],
        ["indir", "folder", "in file", "auto id", "manual id"],
    ],
)
def test_kaleidoscope_is_read_by_name_with_and_without_marks(header: list[str], tmp_path: Path) -> None:
    row = ROW | {"TOP1MATCH": "PIPPIP", "indir": "D:\\card", "folder": "mill\\0412", "in file": "A.wav"}
    row |= {"auto id": "PIPPIP", "manual id": "PIPPYG,NYCNOC"}
    quoted = {name: f'"{cell}"' for name, cell in row.items()}
    _, (label,) = read(kaleidoscope(tmp_path, quoted, header=header, name="meta.csv"))
    assert (label.file, label.names) == ("D:\\card/mill\\0412/A.wav", ("PIPPYG", "NYCNOC"))


def test_a_program_is_heard_only_where_it_is_asked_and_no_person_spoke(tmp_path: Path) -> None:
    table = kaleidoscope(tmp_path, QUOTED, ROW | {"MANUAL ID": ""})
    assert [label.names for label in read(table)[1]] == [("PIPPYG", "NYCNOC"), ()]
    heard = read(table, auto=True)[1]
    assert [(label.names, label.by_program) for label in heard] == [(("PIPPYG", "NYCNOC"), False), (("PIPPIP",), True)]


@pytest.mark.parametrize(
    ("dates", "times"),
    [
        (["2024-04-12", "2024-04-13"], ["2024-04-12T22:10:03", "2024-04-13T22:10:03"]),
        (["20240412"], ["2024-04-12T22:10:03"]),
        (["12/04/2024", "13/04/2024"], ["2024-04-12T22:10:03", "2024-04-13T22:10:03"]),
        (["04/12/2024", "4/13/2024"], ["2024-04-12T22:10:03", "2024-04-13T22:10:03"]),
        (["12.04.2024", "30.04.2024"], ["2024-04-12T22:10:03", "2024-04-30T22:10:03"]),
        (["04/12/2024"], [None]),
        (["04/04/2024"], ["2024-04-04T22:10:03"]),
        (["2024-13-01", "yesterday", ""], [None, None, None]),
    ],
)
def test_dates_of_several_forms_are_read_and_doubtful_ones_are_not(
    dates: list[str], times: list[str | None], tmp_path: Path
) -> None:
    table = kaleidoscope(tmp_path, *(ROW | {"DATE": date, "TIME": "22:10:03"} for date in dates))
    assert [label.recorded_at for label in read(table)[1]] == times


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_table_of_ones_own_is_read_whatever_saved_it(delimiter: str, encoding: str, tmp_path: Path) -> None:
    lines = [["Dateiname", "Arten", "Ort"], ["a.wav", '"Großes Mausohr; Nycnoc"', "Mühle"], ["b.wav", "-", ""]]
    text = "\r\n".join(delimiter.join(cells) for cells in lines)
    kind, labels = read(write(tmp_path / "own.csv", text, encoding))
    assert kind == "table"
    assert [(label.file, label.names) for label in labels] == [("a.wav", ("Großes Mausohr", "Nycnoc")), ("b.wav", ())]


def test_names_that_the_tables_own_delimiter_cuts_are_not_lost(tmp_path: Path) -> None:
    """Unquoted, the second name would stand in a column that the header does not have."""
    cut = write(tmp_path / "cut.csv", "Datei;Arten\na.wav;Pippip; Nycnoc\n")
    with pytest.raises(ManifestError, match=r"cut\.csv line 2: 3 cells, the header has 2\. Put .* into quotes"):
        read(cut)
    _, (label,) = read(write(tmp_path / "ends.csv", "Datei;Arten\na.wav;Pippip;;\n"))
    assert label.names == ("Pippip",), "empty cells at the end say nothing"


def test_times_of_a_table_of_ones_own_are_true_seconds(tmp_path: Path) -> None:
    _, labels = read(write(tmp_path / "own.csv", "filename,species,start_s,dur_s\na.wav,Pippip,0.5,0.25\n"))
    assert (labels[0].start_s, labels[0].end_s, labels[0].divided_by) == (0.5, 0.75, 0)
    with pytest.raises(ManifestError, match=r"own\.csv line 2: start_s is 'x'"):
        read(write(tmp_path / "own.csv", "filename,species,start_s,dur_s\na.wav,Pippip,x,0.25\n"))


RAVEN = "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)"


def test_a_raven_table_is_of_the_recording_that_its_name_tells(tmp_path: Path) -> None:
    rows = "1\tWaveform 1\t1\t0.5\t0.6\t4e4\t5e4\tPippip\n1\tSpectrogram 1\t1\t0.5\t0.6\t4e4\t5e4\tPippip\n"
    for name in ("a.Table.1.selections.txt", "a.selections.txt", "a.txt"):
        kind, (label,) = read(write(tmp_path / name, f"{RAVEN}\tAnnotation\n{rows}"))
        assert (kind, label.file, label.names) == ("Raven", "a", ("Pippip",))
        assert (label.start_s, label.end_s, label.divided_by) == (0.5, 0.6, 1)


def test_a_raven_table_of_several_files_has_times_only_by_their_offset(tmp_path: Path) -> None:
    header = f"{RAVEN}\tFile Offset (s)\tBegin Path\tSpecies"
    rows = (
        "1\tS\t1\t0.5\t0.75\t1\t2\t0.5\tC:\\card\\a.wav\tPippip\n"
        "2\tS\t1\t7.5\t7.75\t1\t2\t2.5\tC:\\card\\b.wav\tNycnoc\n"
    )
    _, labels = read(write(tmp_path / "all.txt", f"{header}\n{rows}"))
    assert [(label.file, label.start_s, label.end_s) for label in labels] == [
        ("C:\\card\\a.wav", 0.5, 0.75), ("C:\\card\\b.wav", 2.5, 2.75),
    ]  # fmt: skip
    _, labels = read(write(tmp_path / "all.txt", f"{header.replace('File Offset', 'Other')}\n{rows}"))
    assert [label.start_s for label in labels] == [None, None]


def test_a_raven_table_without_rows_names_nothing(tmp_path: Path) -> None:
    _, (label,) = read(write(tmp_path / "a.Table.1.selections.txt", f"{RAVEN}\tAnnotation\n"))
    assert (label.file, label.names) == ("a", ())


def detected(**more: object) -> dict[str, object]:
    call = {"start_time": 0.05, "end_time": 0.06, "low_freq": 4e4, "high_freq": 5e4, "class": "Myotis daubentonii"}
    return {"id": "a.wav", "annotated": False, "duration": 0.5, "time_exp": 10, "annotation": [call]} | more


def test_batdetect2_tells_calls_and_what_it_divided_their_times_by(tmp_path: Path) -> None:
    path = tmp_path / "a.wav.json"
    path.write_text(json.dumps(detected()))
    kind, (label,) = read(path)
    assert (kind, label.file, label.names) == ("BatDetect2", "a.wav", ("Myotis daubentonii",))
    assert (label.start_s, label.end_s, label.divided_by, label.by_program) == (0.05, 0.06, 10, True)
    path.write_text(json.dumps([detected(annotated=True), detected(annotated=True, id="b.wav", annotation=[])]))
    _, labels = read(path)
    assert [(x.file, x.names, x.by_program) for x in labels] == [
        ("a.wav", ("Myotis daubentonii",), False), ("b.wav", ("Noise",), False),
    ]  # fmt: skip
    path.write_text(json.dumps(detected(annotation=[])))
    assert read(path)[1][0].names == ()  # what a program found no call in is not annotated


def test_a_csv_of_batdetect2_is_of_the_recording_that_its_name_tells_and_has_no_sure_times(tmp_path: Path) -> None:
    header = ",det_prob,start_time,end_time,high_freq,low_freq,class,class_prob"
    table = write(tmp_path / "a.wav.csv", f"{header}\n0,0.9,0.05,0.06,5e4,4e4,Myotis daubentonii,0.8\n")
    kind, (label,) = read(table)
    assert (kind, label.file, label.names, label.start_s) == ("BatDetect2", "a.wav", ("Myotis daubentonii",), None)


def test_a_folder_beside_the_name_is_the_recordings(tmp_path: Path) -> None:
    _, (label,) = read(write(tmp_path / "own.csv", "Filename,Folder,Species\na.wav,mill\\0412,Pippip\n"))
    assert label.file == "mill\\0412/a.wav"


def test_batdetect2_that_is_damaged_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(detected(annotation=[{"class": "x"}])))
    with pytest.raises(ManifestError, match=r"a\.json: not as BatDetect2 writes it"):
        read(tmp_path / "a.json")


def test_vigie_chiro_tells_validator_before_observer_before_program(tmp_path: Path) -> None:
    header = (
        "nom du fichier;temps_debut;temps_fin;frequence_mediane;tadarida_taxon;tadarida_probabilite;"
        "tadarida_taxon_autre;observateur_taxon;observateur_probabilite;validateur_taxon;validateur_probabilite"
    )
    rows = ["Car1-a;0,1;0,4;45;Pippip;0,9;;;;;", "Car1-a;0,1;0,4;45;Pippip;0,9;;Pipkuh;SUR;;",
            "Car1-a;0.1;0.4;45;Pippip;0.9;;Pipkuh;SUR;Pipnat;SUR"]  # fmt: skip
    table = write(tmp_path / "obs.csv", "\n".join([header, *rows]))
    kind, labels = read(table, auto=True)
    assert kind == "Vigie-Chiro" and [label.names[0] for label in labels] == ["Pippip", "Pipkuh", "Pipnat"]
    assert [label.by_program for label in labels] == [True, False, False]
    assert (labels[0].start_s, labels[0].end_s, labels[0].divided_by) == (0.1, 0.4, 0)
    assert read(table)[1][0].names == ()


def test_sonobat_and_bto_are_known_by_their_columns(tmp_path: Path) -> None:
    sonobat = (
        "Filename\tHiF\tLoF\tSpecies Manual ID\tSppAccp\tProb\na.wav\t1\t2\t\tEpfu\t0.9\nb.wav\t1\t2\tLaci\tEpfu\t1\n"
    )
    kind, labels = read(write(tmp_path / "s.txt", sonobat), auto=True)
    assert kind == "SonoBat" and [label.names for label in labels] == [("Epfu",), ("Laci",)]
    bto = (
        "recording.file.name,original.file.name,species,scientific.name,probability,classifier.name\n"
        "a-1.wav,a.wav,Nyctalus noctula,Nyctalus noctula,0.93,UK\na-1.wav,a.wav,x,Myotis myotis,0.2,UK\n"
        "b-1.wav,b.wav,No ID,,0.9,UK\n"
    )
    kind, labels = read(write(tmp_path / "b.csv", bto))
    assert kind == "BTO Acoustic Pipeline"
    assert [(x.file, x.names, x.by_program) for x in labels] == [
        ("a.wav", ("Nyctalus noctula",), True), ("a.wav", (), True), ("b.wav", ("No ID",), True),
    ]  # fmt: skip


@pytest.mark.parametrize("predicted", [False, True])
def test_aoef_is_read_through_soundevent(predicted: bool, tmp_path: Path) -> None:
    data = pytest.importorskip("soundevent.data")
    from soundevent import io

    recording = data.Recording(path=tmp_path / "a.wav", duration=0.5, channels=1, samplerate=384_000, time_expansion=10)
    clip = data.Clip(recording=recording, start_time=0, end_time=0.5)
    call = data.SoundEvent(recording=recording, geometry=data.BoundingBox(coordinates=[0.1, 4e4, 0.2, 5e4]))
    term = data.Term(name="soundevent:species", label="species", definition="Species", uri="")
    tag, other = data.Tag(term=term, value="Myotis myotis"), data.Tag(term=term, value="Nyctalus noctula")
    if predicted:
        event = data.SoundEventPrediction(sound_event=call, score=0.9, tags=[data.PredictedTag(tag=tag, score=0.9)])
        weak = [data.PredictedTag(tag=other, score=0.2), data.PredictedTag(tag=other, score=0.7)]
        one = data.ClipPrediction(clip=clip, sound_events=[event], tags=weak)
        whole = data.PredictionSet(name="p", clip_predictions=[one])
    else:
        event = data.SoundEventAnnotation(sound_event=call, tags=[tag])
        one = data.ClipAnnotation(clip=clip, sound_events=[event], tags=[other])
        whole = data.AnnotationSet(name="a", clip_annotations=[one])
    io.save(whole, tmp_path / "a.json")
    kind, labels = read(tmp_path / "a.json")
    assert kind == "AOEF" and {label.by_program for label in labels} == {predicted}
    assert [(x.names, x.start_s, x.end_s, x.divided_by) for x in labels] == [
        (("Myotis myotis",), 0.1, 0.2, 10), (("Nyctalus noctula",), None, None, 1),
    ]  # fmt: skip
    assert all(label.file.endswith("a.wav") for label in labels)


@pytest.mark.parametrize(
    ("name", "content", "finding"),
    [
        ("a.csv", b"x,y\n1,2\n", "no table of labels: its columns are x, y"),
        ("a.csv", b"", "no header"),
        ("a.xlsx", b"PK\x03\x04\0\0", "a workbook. Save it as CSV"),
        ("a.txt", b"\x93NUMPY\0\0", "not text"),
        ("a.json", b"{}", "a JSON document of no known kind"),
        ("a.json", b"[1", "not JSON"),
        ("a.json", b"[" * 100_000, "not JSON"),
        ("a.json", b'{"data": {"collection_type": "prediction_set"}, "version": "9"}', "not an AOEF file"),
    ],
)
def test_what_is_no_table_of_labels_is_refused(name: str, content: bytes, finding: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ManifestError) as raised:
        read(tmp_path / name)
    assert finding in str(raised.value)
    with pytest.raises(ManifestError, match="cannot be read"):
        read(tmp_path / "absent.csv")


def test_a_folder_of_labels_is_read_and_other_tables_in_it_are_told(tmp_path: Path) -> None:
    folder = tmp_path / "labels"
    (folder / "in").mkdir(parents=True)
    (folder / "in" / "a.wav.json").write_text(json.dumps(detected()))
    write(folder / "b.csv", "filename,species\nb.wav,Pippip\n")
    write(folder / "A_Summary.txt", "DATE,TIME,LAT,LON\n")
    found, passed_over = read_label_files(folder)
    assert [file.kind for file in found] == ["table", "BatDetect2"] and [p.name for p in passed_over] == [
        "A_Summary.txt"
    ]
    with pytest.raises(ManifestError, match="no file of labels in it"):
        (folder / "b.csv").unlink(), (folder / "in" / "a.wav.json").unlink()
        read_label_files(folder)
