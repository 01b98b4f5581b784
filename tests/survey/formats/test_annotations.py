"""Selections and labels: read back by other software, in its own clock, and of the right instances."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from batcache.errors import SurveyError
from batcache.survey.formats.audacity import write_audacity
from batcache.survey.formats.raven import COLUMNS, ENDING, write_raven
from batcache.survey.formats.spans import find_spans
from batcache.survey.judged import Judged, read_judged
from tests.survey.formats.conftest import FOUND, GROUP, NOTHING, SAID, TWO, write_recordings
from tests.survey.predicted_folder import SPECIES, Said, write_predicted, write_reviewed


def read_raven(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t"))


@pytest.fixture
def expanded(tmp_path: Path) -> Judged:
    """The same recordings, where the expanded one holds a species in its second half second."""
    said = {
        **SAID,
        GROUP: Said(scores=(0.9, 0, 0), evidence=((0, 0, 0), (0.9, 0, 0), (0, 0, 0), (0, 0, 0)), bat=0.9, expansion=10),
    }
    write_recordings(tmp_path / "recordings")
    return read_judged(write_predicted(tmp_path / "expanded", tmp_path / "recordings", said))


def test_half_seconds_that_reach_the_threshold_are_joined_and_end_with_the_recording(judged: Judged) -> None:
    spans = find_spans(judged, judged.recordings[0])
    assert [(span.start_s, span.end_s) for span in spans] == [(0.0, 1.0), (1.5, 1.75)]
    assert [span.evidence for span in spans] == pytest.approx([0.8, 0.6], abs=1e-3)
    assert [span.score for span in spans] == pytest.approx([0.9, 0.9])
    assert {(span.low_hz, span.high_hz) for span in spans} == {(44_500, 60_250)}


def test_a_species_whose_evidence_reaches_its_threshold_nowhere_is_where_it_has_the_most(judged: Judged) -> None:
    spans = find_spans(judged, judged.recordings[1])
    assert [(span.label, span.start_s) for span in spans] == [
        ("Myotis daubentonii", 1.5),
        ("Pipistrellus pipistrellus", 0.0),
    ]
    assert {span.low_hz for span in spans} == {None}, "the calls may be of either species"


def test_a_group_is_somewhere_in_the_recording(judged: Judged) -> None:
    (span,) = find_spans(judged, judged.recordings[2])
    assert (span.label, span.start_s, span.end_s, span.score) == ("Myotis sp.", 0.0, 2.0, None)


def test_raven_has_a_table_a_recording_with_the_species_in_annotation(judged: Judged, tmp_path: Path) -> None:
    write_raven(judged, tmp_path)
    first, second = read_raven(tmp_path / f"{FOUND}{ENDING}")
    assert list(first) == list(COLUMNS)
    assert (first["Selection"], first["View"], first["Channel"]) == ("1", "Spectrogram 1", "1")
    assert (first["Begin Time (s)"], first["End Time (s)"]) == ("0.000000", "1.000000")
    assert (first["Low Freq (Hz)"], first["High Freq (Hz)"]) == ("44500.0", "60250.0")
    assert (first["Annotation"], first["Score"], second["Selection"]) == ("Pipistrellus pipistrellus", "0.9000", "2")


def test_a_recording_without_a_selection_has_a_table_of_a_header_alone(judged: Judged, tmp_path: Path) -> None:
    write_raven(judged, tmp_path)
    assert (tmp_path / f"{NOTHING}{ENDING}").read_text() == "\t".join(COLUMNS) + "\n"


def test_in_the_table_for_all_times_run_on_through_every_recording(expanded: Judged, tmp_path: Path) -> None:
    """Through those without a selection too, by the header's clock: the expanded one lasts 20 s."""
    quiet_first = replace(expanded, recordings=tuple(sorted(expanded.recordings, key=lambda one: one.path != NOTHING)))
    write_raven(quiet_first, tmp_path)
    before_s = 0.0
    begins = {}
    for one in quiet_first.recordings:
        begins[one.path] = before_s
        before_s += one.duration_s * one.time_expansion
    rows = read_raven(tmp_path / "all.txt")
    assert len(rows) == 5 and begins[FOUND] == 0.5
    for row in rows:
        path = Path(row["Begin Path"]).relative_to(expanded.root).as_posix()
        assert row["Begin File"] == path.rpartition("/")[2]
        at = float(row["Begin Time (s)"])
        assert at == pytest.approx(begins[path] + float(row["File Offset (s)"]))
    listed = (tmp_path / "sequence.txt").read_text().splitlines()
    assert listed == [str(Path(expanded.root) / one.path) for one in quiet_first.recordings]


def test_an_expanded_file_has_its_headers_times_and_frequencies(expanded: Judged, tmp_path: Path) -> None:
    write_raven(expanded, tmp_path / "raven")
    write_audacity(expanded, tmp_path / "audacity")
    (row,) = read_raven(tmp_path / "raven" / f"{GROUP}{ENDING}")
    assert (row["Begin Time (s)"], row["End Time (s)"]) == ("5.000000", "10.000000")
    assert (row["Low Freq (Hz)"], row["High Freq (Hz)"]) == ("4450.0", "6025.0")
    assert (tmp_path / "audacity" / f"{GROUP}.txt").read_text() == (
        "5.000000\t10.000000\tPipistrellus pipistrellus 0.90\n\\\t4450.000000\t6025.000000\n"
    )


def test_an_unclaimed_frequency_is_the_whole_band_in_raven_and_undefined_in_audacity(
    judged: Judged, tmp_path: Path
) -> None:
    write_raven(judged, tmp_path / "raven")
    write_audacity(judged, tmp_path / "audacity")
    rows = read_raven(tmp_path / "raven" / f"{TWO}{ENDING}")
    assert {(row["Low Freq (Hz)"], row["High Freq (Hz)"]) for row in rows} == {("0.0", "192000.0")}
    assert "\\\t-1.000000\t-1.000000\n" in (tmp_path / "audacity" / f"{TWO}.txt").read_text()
    assert (tmp_path / "audacity" / f"{NOTHING}.txt").read_bytes() == b""


def test_what_only_a_person_found_is_somewhere_in_the_recording(predictions: Path, tmp_path: Path) -> None:
    write_reviewed(predictions, {FOUND: {"Pipistrellus pipistrellus": 1, "Myotis nattereri": 1}})
    judged = read_judged(predictions)
    write_raven(judged, tmp_path)
    rows = read_raven(tmp_path / f"{FOUND}{ENDING}")
    assert [row["Annotation"] for row in rows] == ["Pipistrellus pipistrellus"] * 2 + ["Myotis nattereri"]
    assert {row["Manual ID"] for row in rows} == {"Pipistrellus pipistrellus; Myotis nattereri"}
    assert rows[2]["Score"] == "" and rows[2]["End Time (s)"] == "1.750000"


def test_a_name_that_would_cut_the_table_is_refused(judged: Judged, tmp_path: Path) -> None:
    cut = replace(judged, recordings=(replace(judged.recordings[0], path="a\tb.wav"),))
    with pytest.raises(SurveyError, match="holds a tab or a line break"):
        write_raven(cut, tmp_path)


@pytest.mark.filterwarnings("ignore")  # of pandas and pandera, which it brings
def test_crowsetta_reads_ravens_and_audacitys_tables(judged: Judged, tmp_path: Path) -> None:
    bbox = pytest.importorskip("crowsetta", reason="crowsetta is not installed").formats.bbox
    write_raven(judged, tmp_path / "raven")
    write_audacity(judged, tmp_path / "audacity")
    for table in (f"{FOUND}{ENDING}", "all.txt"):
        read = bbox.Raven.from_file(tmp_path / "raven" / table)
        assert read.df["annotation"].iloc[0] == "Pipistrellus pipistrellus"
        assert read.df["begin_time_s"].dtype == np.float64
    labels = bbox.AudBBox.from_file(tmp_path / "audacity" / f"{FOUND}.txt").df
    assert labels["label"].tolist() == ["Pipistrellus pipistrellus 0.90"] * 2
    assert labels["end_time_s"].tolist() == [1.0, 1.75] and labels["high_freq_hz"].tolist() == [60_250.0] * 2


def test_what_a_person_found_is_a_label_of_audacity_over_the_whole_recording(predictions: Path, tmp_path: Path) -> None:
    found = {"Myotis nattereri": 1, "Nyctalus noctula": 1}
    write_reviewed(predictions, {FOUND: found, NOTHING: dict.fromkeys(SPECIES, 0)})
    write_audacity(read_judged(predictions), tmp_path)
    lines = {name: (tmp_path / f"{name}.txt").read_text().split("\n")[::2] for name in (FOUND, NOTHING, TWO)}
    assert lines[FOUND][-2:] == ["0.000000\t1.750000\tManual ID: Myotis nattereri; Nyctalus noctula", ""]
    assert [line.rpartition("\t")[2] for line in lines[FOUND][:-2]] == ["Pipistrellus pipistrellus 0.90"] * 2
    assert lines[NOTHING] == ["0.000000\t0.500000\tManual ID: no bat", ""]
    assert not any("Manual" in line for line in lines[TWO])
