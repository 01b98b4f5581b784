"""What a guide says is what is simulated, and what cannot be meant is refused."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from batcache.errors import ManifestError
from batcache.synth.calls import frequency_hz
from batcache.synth.guide import COLUMNS, find_voices, read_call, read_guide
from batcache.synth.render import Event, generator, render
from batcache.synth.repertoire import BY_NAME
from batcache.synth.sequence import draw_individual, utter
from batcache.synth.shapes import SHAPES

HEADER = ",".join(COLUMNS)


def write(folder: Path, *rows: str, header: str = HEADER) -> Path:
    place = folder / "guide.csv"
    place.write_text("\n".join([header, *rows]) + "\n")
    return place


def refusal(place: Path) -> str:
    with pytest.raises(ManifestError) as told:
        read_guide(place)
    return str(told.value)


def hear(*rows: str, clips: int = 6) -> list[Event]:
    """Clear search calls of the one species of these rows."""
    (voice,) = find_voices(read_call(row.split(",")) for row in rows).values()
    heard = [render(f"{number}.wav", [voice], f"night {number}").events for number in range(clips)]
    return [event for events in heard for event in events if event.phase == "search" and event.snr_db > 20]


@pytest.mark.parametrize(
    ("row", "peak_khz", "duration_ms"),
    [
        ("Lasiurus borealis,FM-QCF,70,40,38,9,110", 40, 9),
        ("Tadarida brasiliensis,QCF,,25,,12,", 25, 12),
        ("Hipposideros caffer,CF,,140,,8,40", 140, 8),
        ("Myotis septentrionalis,FM,115,55,38,3,70", 55, 3),
        ("Corynorhinus townsendii,multiharmonic,42,,22,4,90", 30, 4),
    ],
)
def test_calls_are_heard_where_the_guide_says_and_last_as_long(row: str, peak_khz: float, duration_ms: float) -> None:
    events = hear(row)
    assert len(events) > 10
    assert np.median([event.peak_khz for event in events]) == pytest.approx(peak_khz, rel=0.12)
    lasts = np.median([1000 * (event.end_s - event.start_s) for event in events])
    assert lasts == pytest.approx(duration_ms, rel=0.3)


@pytest.mark.parametrize("shape", ["FM", "multiharmonic", "FM-QCF", "QCF"])
def test_a_call_runs_from_its_start_to_its_end(shape: str) -> None:
    (voice,) = find_voices([read_call(["A", shape, "80", "50", "40", "6", "100"])]).values()
    rng = generator("a bat")
    calls = [one.call for one in utter(voice, draw_individual(voice, rng), (0.0, 20.0), None, rng)]
    ends = np.array([frequency_hz(call, np.array([0.0, 0.5, 1.0])) for call in calls]) / 1000
    start, middle, end = np.median(ends, 0)
    assert (start, end) == (pytest.approx(80, rel=0.1), pytest.approx(40, rel=0.1)) and start > middle > end
    intervals = [1000 * (other.time_s - one.time_s) for one, other in pairwise(utter(
        voice, draw_individual(voice, rng), (0.0, 20.0), None, rng))]  # fmt: skip
    assert np.median(intervals) == pytest.approx(100, rel=0.35)


def test_what_ranges_say_is_usual_holds_most_calls_and_a_mean_alone_has_the_spread_of_its_shape() -> None:
    (wide,) = find_voices([read_call(["A", "QCF", "", "30-40", "", "8-16", "100-200"])]).values()
    (kind,) = wide.types
    assert (kind.knee_khz.mean, kind.knee_khz.sd, kind.duration_ms.sd) == (35, 2.5, 2)
    assert kind.knee_khz.low < 30 and kind.knee_khz.high > 40
    assert (wide.interval_ms.mean, wide.interval_ms.sd) == (150, 25)
    (narrow,) = find_voices([read_call(["A", "QCF", "", "35", "", "12", "150"])]).values()
    assert narrow.types[0].knee_khz.sd == pytest.approx(35 * SHAPES["QCF"].knee_sd)


def test_kinds_of_one_species_take_turns() -> None:
    peaks = [event.peak_khz for event in hear("A,QCF,,30,,8,100", "A,QCF,,60,,8,100", clips=12)]
    low, high = sum(khz < 42 for khz in peaks), sum(khz > 42 for khz in peaks)
    assert low > 5 and high > 5


@pytest.mark.parametrize("name", ["Pipistrellus pipistrellus", "Nyctalus noctula", "Rhinolophus hipposideros"])
def test_what_guides_leave_out_is_near_what_is_known_of_european_bats(name: str) -> None:
    known = BY_NAME[name]
    khz, shape = known.types[0].knee_khz.mean, "CF" if name.startswith("Rhino") else "FM-QCF"
    duration = f"{known.types[0].duration_ms.mean:.1f}" if shape == "CF" else ""
    (voice,) = find_voices([read_call([name, shape, "", f"{khz:.1f}", "", duration, ""])]).values()
    (kind,) = voice.types
    assert kind.duration_ms.mean == pytest.approx(known.types[0].duration_ms.mean, rel=0.35)
    assert voice.interval_ms.mean == pytest.approx(known.interval_ms.mean, rel=0.5)
    assert kind.start_khz.mean == pytest.approx(known.types[0].start_khz.mean, rel=0.25)
    assert voice.level_db == pytest.approx(known.level_db, abs=8)


OTHER_ORDER = "species", "shape", "peak_khz", "duration_ms", "start_khz", "end_khz", "interval_ms"
AS_WRITTEN = (
    (",", COLUMNS, ["A b", "FM-QCF", "60-80", "40.5", "38", "9", "110"], ["C", "cf", "", "110", "", "40", ""]),
    (";", OTHER_ORDER, ["A b", "fm-qcf", "40,5", "9", "60 – 80", "38", "110"], ["C", "CF", "110", "40", "", "", "NA"]),
    ("\t", OTHER_ORDER, ["A  b", "FM-QCF", "40.5", "9", "60-80", "38", "110"], ["C", "CF", "110", "40"]),
)


@pytest.mark.parametrize(("delimiter", "header", "first", "last"), AS_WRITTEN, ids=["commas", "semicolons", "tabs"])
def test_a_guide_is_read_as_spreadsheets_write_it(
    tmp_path: Path, delimiter: str, header: tuple[str, ...], first: list[str], last: list[str]
) -> None:
    lines = map(delimiter.join, (header, first, [], last))
    (tmp_path / "guide.csv").write_text("\ufeff" + "\n".join(lines) + "\n", encoding="utf-8")
    one, other = read_guide(tmp_path / "guide.csv")
    assert (one.species, one.shape, one.start_khz, one.peak_khz) == ("A b", "FM-QCF", (60, 80), (40.5, 40.5))
    assert (other.species, other.shape, other.interval_ms) == ("C", "CF", None)
    assert read_call(one.cells) == one and read_call(other.cells) == other


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("A,FM,80,50,,3,", "no end_khz, which a call of shape FM needs"),
        ("A,QCF,,,,3,", "no peak_khz"),
        ("A,FN,80,50,40,3,", "shape 'FN'. It is one of FM-QCF (a sweep that ends flat), FM"),
        (",FM,80,50,40,3,", "no species"),
        ("A,FM,80,40,50,3,", "fall from start_khz by peak_khz to end_khz, here 80, 40, 50"),
        ("A,FM,80,50,x,3,", "end_khz 'x', expected a number from 5 to 250, or two of them as in 43 to 47"),
        ("A,FM,80,45-55 ms,40,3,", "peak_khz '45-55 ms'"),
        ("A,FM,80000,50000,40000,3,", "start_khz '80000'"),
        ("A,CF,,110,,40,40", "calls of 40 ms every 40 ms leave no pause"),
        ("A,FM,nan,50,40,3,", "start_khz 'nan'"),
        ("A,FM,120,20-100,40,3,", "fall from start_khz"),
        ("A,FM-QCF,120,10-100,5,3,", "ends at 5 kHz, far below its peak of 55"),
        ("A,QCF,,10,,,15", "calls of 19.5 ms (as is common at that pitch) every 15 ms"),
        ("A,QCF,,40,,6-Feb,", "spreadsheets make dates of 6-11"),
        ("A,QCF,,40,,70,", "duration_ms '70', expected a number from 0.2 to 60"),
        ("A,QCF,,40,,7,100,5", "8 cells, expected 7"),
    ],
)
def test_what_no_call_can_be_is_refused_with_its_line(tmp_path: Path, row: str, said: str) -> None:
    place = write(tmp_path, "B,QCF,,30,,8,100", row)
    told = refusal(place)
    assert said in told and "guide.csv line 3" in told


def test_notes_are_left_alone_and_ranges_may_be_said_in_words(tmp_path: Path) -> None:
    place = write(tmp_path, 'A,fm / qcf,"47,5 to 43 kHz",a book,', header="Species,shape,Peak kHz,notes,")
    assert read_guide(place)[0].peak_khz == (43, 47.5)


@pytest.mark.parametrize(
    "row",
    [
        "A,FM,60,,55,3,", "A,FM,120,20-100,15,3,", "A,FM-QCF,120,50-100,,3,",
        "A,FM,50,,45,3,", "A,multiharmonic,42,,40,3,",
        "A,FM-QCF,,40,40,6,", "A,QCF,,12,,20,", "A,CF,,140,,6,", "A,CF,,30,,60,",
    ],
)  # fmt: skip
def test_calls_of_any_guide_stay_near_what_it_says(row: str) -> None:
    call = read_call(row.split(","))
    (voice,) = find_voices([call]).values()
    rng = generator("a bat")
    given = [khz for bounds in (call.start_khz, call.peak_khz, call.end_khz) if bounds for khz in bounds]
    for one in utter(voice, draw_individual(voice, rng), (0.0, 20.0), None, rng):
        khz = frequency_hz(one.call, np.linspace(0, 1, 99)) / 1000
        assert khz.min() > 0.4 * min(given) and khz.max() < 2.2 * max(given)
        assert one.call.duration_s < 0.081
        if call.shape in ("FM", "multiharmonic"):
            assert (np.diff(khz) < 0.02 * khz[0]).all(), "it falls"


def test_no_cell_is_passed_over() -> None:
    first, other = "A,FM-QCF,,30,28,8,100", "A,FM,90,60,40,3,80"
    voice = {text: find_voices([read_call(row.split(",")) for row in text.split("|")])["A"] for text in (
        f"{first}|{other}", f"{first}|A,FM,90,60,40,3,300", f"{first}|A,FM,90,60,30-45,3,80",
        f"{first}|A,FM,90,60,40,3,60-100",
    )}  # fmt: skip
    assert len(set(voice.values())) == 4
    both = voice[f"{first}|{other}"]
    assert both.interval_ms.mean == 90
    assert [kind.level_db + both.level_db for kind in both.types] == [118, 107]


def test_other_tables_are_refused(tmp_path: Path) -> None:
    assert "Did you mean peak_khz?" in refusal(write(tmp_path, "A,QCF,30", header="species,shape,peak_hz"))
    assert "two columns of one name" in refusal(write(tmp_path, "A,QCF,3,4", header="species,shape,peak_khz,Peak kHz"))
    assert "no column shape" in refusal(write(tmp_path, "A,30", header="species,peak_khz"))
    assert "no row" in refusal(write(tmp_path))
    assert "cannot be read" in refusal(tmp_path / "none.csv")
