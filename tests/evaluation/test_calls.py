"""Calls are read from the simulator's table, an expert's, and one made by hand."""

from dataclasses import replace
from pathlib import Path

import pytest

from batcache.config.settings import DataConfig
from batcache.errors import ManifestError
from batcache.evaluation.calls import Call, read_calls
from batcache.evaluation.pictures.draw import draw_page
from batcache.synth.ledger import EVENT_COLUMNS
from tests.evaluation.pictures import panel


def test_calls_are_read_from_the_simulators_table(tmp_path: Path) -> None:
    place = tmp_path / "events.csv"
    rows = [
        "a/b.wav,Myotis myotis,0.5,0.505,25.1,88.2,35,70,20,search,1",
        "a/b.wav,Myotis myotis,1,1.01,25,80,35,70,21,search,1",
    ]
    place.write_text("\n".join([",".join(EVENT_COLUMNS), *rows]) + "\n")
    assert read_calls(tmp_path) == {
        "a/b.wav": (Call("Myotis myotis", 0.5, 0.505, 25.1, 88.2, 20), Call("Myotis myotis", 1.0, 1.01, 25.0, 80.0, 21))
    }


def test_calls_are_read_from_the_experts_table(real: Path) -> None:
    calls = read_calls(real)
    name = "audio/Car340319-2015-Pass1-G2-16701_0_20150718_031633_453.wav"
    first = calls[name][0]
    assert (first.species, first.start_s, first.low_khz, first.high_khz) == ("Eptesicus serotinus", 0.0, 30.0, 36.75)
    assert first.end_s == pytest.approx(0.00283, abs=1e-9)
    rows = (real / "events.csv").read_text().splitlines()[1:]
    assert sum(map(len, calls.values())) == len(rows)


@pytest.mark.parametrize(
    "header",
    [
        "time,what",
        "filename,time,note",
        "species,start_s,end_s",
        "",
    ],
)
def test_a_table_with_other_columns_holds_no_calls(tmp_path: Path, header: str) -> None:
    (tmp_path / "events.csv").write_text(f"{header}\na.wav,x,y,z,u\n")
    assert read_calls(tmp_path) == {}
    assert read_calls(tmp_path / "none") == {}


@pytest.mark.parametrize(
    ("header", "missing"),
    [
        ("filename,start_s,end_s,fmin_khz,fmax_khz", "species or taxon"),
        ("filename,taxon,begin,dur_s", "start_s"),
        ("filename,species,start_s", "end_s or dur_s"),
    ],
)
def test_a_column_that_is_missing_beside_others_is_named(tmp_path: Path, header: str, missing: str) -> None:
    (tmp_path / "events.csv").write_text(f"{header}\na.wav,x,y,z,u\n")
    with pytest.raises(ManifestError, match=rf"events.csv: not a table of calls \(no column {missing}\)"):
        read_calls(tmp_path)


@pytest.mark.parametrize("species", [" Myotis", "Myotis ", "", " "])
def test_a_species_with_blanks_around_it_is_read_without_them_and_drawn(tmp_path: Path, species: str) -> None:
    (tmp_path / "events.csv").write_text(
        f"filename,species,start_s,end_s,fmin_khz,fmax_khz\na.wav,{species},0,1,20,30\n"
    )
    (call,) = read_calls(tmp_path)["a.wav"]
    assert call.species == (species.strip() or "unknown")
    draw_page(tmp_path / "a.png", [panel(calls=(call,))], DataConfig().features)


def test_a_row_that_ends_before_its_species_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text("filename,start_s,end_s,fmin_khz,fmax_khz,species\na.wav,0,1,20,30\n")
    with pytest.raises(ManifestError, match=r"events\.csv line 2: not a table of calls"):
        read_calls(tmp_path)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("a.wav,Bat,x,1,20,30", "start_s 'x' is no number"),
        ("a.wav,Bat,0", "end_s '' is no number"),
        ("a.wav,Bat,0,1,20,high", "fmax_khz 'high' is no number"),
        ("a.wav,Bat,nan,1,20,30", "start_s 'nan' is no number"),
        (",Bat,0,1,20,30", "no filename"),
    ],
)
def test_a_row_without_its_numbers_is_an_error_that_names_its_line(tmp_path: Path, row: str, said: str) -> None:
    header = "filename,species,start_s,end_s,fmin_khz,fmax_khz"
    (tmp_path / "events.csv").write_text(f"{header}\na.wav,Bat,0,1,20,30\n{row}\n")
    with pytest.raises(ManifestError, match=rf"events\.csv line 3: not a table of calls \(.*{said}"):
        read_calls(tmp_path)


@pytest.mark.parametrize("blank", ["", " "])
def test_what_may_be_left_out_may_be_blank(tmp_path: Path, blank: str) -> None:
    (tmp_path / "events.csv").write_text(
        "filename,species,start_s,end_s,fmin_khz,fmax_khz,snr_db\n"
        f"a.wav,Bat,0,1,20,30,5\na.wav,Bat,2,3,{blank},30,5\na.wav,Bat,4,5,20,{blank},{blank}\n"
    )
    assert read_calls(tmp_path)["a.wav"] == (
        Call("Bat", 0, 1, 20, 30, 5), Call("Bat", 2, 3, None, 30, 5), Call("Bat", 4, 5, 20, None, None)
    )  # fmt: skip


def test_a_table_made_by_hand_needs_no_frequencies_and_its_calls_are_drawn(tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text("filename,taxon,start_s,dur_s,level_db\nnight\\a.wav,Bat,0.5,0.25,60\n")
    (call,) = read_calls(tmp_path)["night/a.wav"]
    assert call == Call("Bat", 0.5, 0.75, None, None, 60)
    for name, moved in (("one.png", call), ("other.png", replace(call, start_s=0.2, end_s=0.3))):
        draw_page(tmp_path / name, [panel(calls=(moved,))], DataConfig().features)
    assert (tmp_path / "one.png").read_bytes() != (tmp_path / "other.png").read_bytes(), "its mark is in the picture"
