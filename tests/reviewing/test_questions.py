"""What is asked, in which order, and what of it makes the random sample."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from batcache.errors import BatcacheError
from batcache.inference.verdicts import LEARNT, VALIDATED
from batcache.reviewing.asking import Asking
from batcache.reviewing.journal import Journal
from batcache.reviewing.of_predictions import read_folder
from batcache.reviewing.other_table import read_other
from batcache.reviewing.questions import MOST_DOUBTFUL, TRIES, Questions
from batcache.reviewing.said import PARTS
from tests.reviewing.made import SPECIES, write_csv, write_folder

LOW = 0.01


def scores(count: int, **of: float) -> list[list[float]]:
    """All low but those that are named: ``r3c1=0.9``."""
    values = np.full((count, len(SPECIES)), LOW)
    for place, value in of.items():
        row, column = map(int, place[1:].split("c"))
        values[row, column] = value
    return values.tolist()


Open = Callable[..., Asking]


@pytest.fixture
def open_folder() -> Iterator[Open]:
    """Begin to ask about a folder of predictions."""
    with ExitStack() as stack:

        def call(folder: Path, error: float = 0.1, against: Path | None = None) -> Asking:
            judged = read_folder(folder)
            other = None if against is None else read_other(against, judged.paths, judged.species)
            return Asking(Questions(judged, 0, other), stack.enter_context(Journal(judged, None, str.upper)), error)

        yield call


def answer(asking: Asking, part: str, reply: str = "right") -> tuple[str, tuple[str, ...]] | None:
    """Answer the next question of a part; returns the path and what was asked."""
    assert part in PARTS
    question = asking.ask(part)["question"]  # type: ignore[arg-type]
    if question is None:
        return None
    asking.reply({"clip": question["clip"], "key": question["key"], "answer": reply, "whole": question["whole"]})
    return question["path"], tuple(question["asked"])


def test_presence_asks_for_the_best_recording_of_each_species_and_night(open_folder: Open, tmp_path: Path) -> None:
    nights = ["2024-04-12"] * 3 + ["2024-04-13"] * 3
    names = [f"{i}.wav" for i in range(6)]
    made = scores(6, r0c0=0.6, r1c0=0.9, r2c0=0.8, r4c0=0.7, r1c2=0.55)
    asking = open_folder(write_folder(tmp_path / "p", made, names, nights))
    asked = [answer(asking, "presence") for _ in range(4)]
    assert asked == [("1.wav", (SPECIES[0],)), ("1.wav", (SPECIES[2],)), ("4.wav", (SPECIES[0],)), None]
    assert asking.standing()["presence"] == "3 of 3 species and nights shown, 0 refuted"


def test_where_the_best_is_wrong_the_next_best_is_asked_up_to_some_tries(open_folder: Open, tmp_path: Path) -> None:
    made = [[0.9 - 0.01 * i, LOW, LOW] for i in range(TRIES + 2)]
    asking = open_folder(write_folder(tmp_path / "p", made, [f"{i}.wav" for i in range(len(made))]))
    asked = [answer(asking, "presence", "wrong") for _ in range(TRIES + 1)]
    assert [one and one[0] for one in asked] == [f"{i}.wav" for i in range(TRIES)] + [None]
    assert asking.standing()["presence"] == "0 of 1 species and nights shown, 1 refuted"


def test_doubt_asks_for_scores_near_the_threshold_the_nearest_first(open_folder: Open, tmp_path: Path) -> None:
    made = scores(4, r0c1=0.45, r1c2=0.51, r2c0=0.9, r3c0=0.4)
    asking = open_folder(write_folder(tmp_path / "p", made, list("abcd")))
    assert [answer(asking, "doubt") for _ in range(2)] == [("b", (SPECIES[2],)), ("a", (SPECIES[1],))]
    many = open_folder(write_folder(tmp_path / "q", scores(MOST_DOUBTFUL + 20)))
    assert many.standing()["doubt"] == f"{MOST_DOUBTFUL} left to ask"


def test_the_random_sample_is_drawn_whatever_the_scores_and_by_the_seed_alone(tmp_path: Path) -> None:
    count = 400
    first = write_folder(tmp_path / "p", scores(count, **{f"r{i}c0": 0.9 for i in range(200)}))
    drawn, other = (Questions(read_folder(first), seed).drawn for seed in (0, 1))
    assert sorted(drawn) == list(range(count)) and drawn != other
    high = sum(clip < 200 for clip in drawn[:100])
    assert 30 < high < 70, "half of all: five standard deviations are 22"
    again = Questions(read_folder(write_folder(tmp_path / "q", scores(count))), 0).drawn
    assert again == drawn


def test_recordings_judged_later_do_not_change_the_order_of_the_others(tmp_path: Path) -> None:
    before = read_folder(write_folder(tmp_path / "p", scores(50)))
    after = read_folder(write_folder(tmp_path / "q", scores(90)))
    names = [before.paths[clip] for clip in Questions(before, 0).drawn]
    assert [after.paths[clip] for clip in Questions(after, 0).drawn if clip < 50] == names


def test_copies_are_not_asked_about_and_what_the_model_has_heard_before_is_not_drawn(tmp_path: Path) -> None:
    notes = ["", "the same audio as a.wav", LEARNT, VALIDATED]
    made = scores(4, r1c0=0.9, r2c0=0.8)
    questions = Questions(read_folder(write_folder(tmp_path / "p", made, list("abcd"), notes=notes)), 0)
    assert [cell.clips for cell in questions.cells] == [(2,)] and questions.drawn == (0,)


def test_the_sample_says_how_many_are_wrong_and_ends_where_the_wanted_bound_is_reached(
    open_folder: Open, tmp_path: Path
) -> None:
    asking = open_folder(write_folder(tmp_path / "p", scores(100)))
    for _ in range(20):
        answer(asking, "random")
    expected = "20 of 100 checked at random, none wrong: with 95 % confidence at most 12 are"
    assert asking.standing()["random"] == expected
    while answer(asking, "random"):
        pass
    assert asking.sample.checked == 33 and asking.sample.has_ended
    said = "33 of 100 checked at random, none wrong: enough, with 95 % confidence no more than 10 % are"
    assert asking.standing()["random"] == said


def test_what_is_unsure_or_skipped_at_random_counts_as_wrong_and_skipped_ones_come_again(
    open_folder: Open, tmp_path: Path
) -> None:
    asking = open_folder(write_folder(tmp_path / "p", scores(3), list("abc")))
    replies = ("skip", "unsure", "right")
    first, *_ = [answer(asking, "random", reply) for reply in replies]
    assert (asking.sample.checked, asking.sample.wrong) == (3, 2)
    assert first and asking.questions.judged.paths[asking.questions.drawn[0]] == first[0]


def test_disagreements_with_another_table_come_first_the_surest_of_the_model_first(
    open_folder: Open, tmp_path: Path
) -> None:
    names = ["m/a.wav", "m/b.wav", "m/c.wav", "m/d.wav"]
    folder = write_folder(tmp_path / "p", scores(4, r0c0=0.95, r1c1=0.7, r2c2=0.9), names)
    rows = [
        ["x", "m", "a.wav", "NYCNOC"],
        ["x", "m", "b.wav", "NyNo"],
        ["x", "m", "c.wav", "Pipistrellus Pipistrellus"],
    ]
    write_csv(tmp_path / "id.csv", ["INDIR", "FOLDER", "IN FILE", "AUTO ID*"], [*rows, ["x", "m", "d.wav", "NoID"]])
    asking = open_folder(folder, against=tmp_path / "id.csv")
    assert asking.questions.parts[0] == "against"
    question = asking.ask()["question"]
    assert question["other"] == [SPECIES[1]] and question["claim"] == (SPECIES[0],)
    asked = [answer(asking, "against") for _ in range(3)]
    assert asked == [("m/a.wav", (SPECIES[1],)), ("m/a.wav", (SPECIES[0],)), None]


@pytest.mark.parametrize(
    ("written", "disputed"),
    [
        ("PIPPIP", {2}),
        ("PiPi", {2}),
        ("Noctule", {1}),
        ("Großer Abendsegler", {1}),
        ("Pipistrellus pygmaeus", {"Pipistrellus pygmaeus"}),
        ("MYMY", set()),  # of the two that are called so, the model knows one
        ("MYOSP", set()),
        ("Plecotus", set()),  # of which the model knows none
        ("Nyctalus", {1}),
        ("Nyctaloid, PIPPIP", {1, 2}),
        ("NoID", set()),
        ("Noise", set()),
        ("", set()),
    ],
)
def test_another_program_names_species_as_the_table_of_names_does(
    written: str, disputed: set[int | str], tmp_path: Path
) -> None:
    """Where the model says Myotis myotis: of what both agree on, and of Myotis myotis itself, nothing is asked here."""
    folder = write_folder(tmp_path / "p", scores(1, r0c0=0.9, r0c1=0.3, r0c2=0.2), ["a.wav"])
    write_csv(tmp_path / "id.csv", ["path", "species"], [["a.wav", written]])
    judged = read_folder(folder)
    other = read_other(tmp_path / "id.csv", judged.paths, judged.species)
    asked = {name for _, name in Questions(judged, 0, other).disputed}
    assert asked - {SPECIES[0]} == {name if isinstance(name, str) else SPECIES[name] for name in disputed}
    agrees = written in ("MYMY", "MYOSP")
    assert (SPECIES[0] in asked) == (not agrees)


def test_names_that_mean_nothing_are_told_with_the_nearest_and_their_line(tmp_path: Path) -> None:
    rows = [["a.wav", "PIPPIP"], ["b.wav", "Pipistrelus pipistrelus"], ["gone.wav", "xyzzy"]]
    write_csv(tmp_path / "id.csv", ["path", "species"], rows)
    with pytest.raises(BatcacheError) as raised:
        read_other(tmp_path / "id.csv", ["a.wav", "b.wav"], SPECIES)
    said = "1 name not known: 'Pipistrelus pipistrelus' (line 3: did you mean Pipistrellus pipistrellus?)"
    assert said in str(raised.value) and "--species" not in str(raised.value)


@pytest.mark.parametrize(
    ("header", "row", "said"),
    [
        (["name", "species"], ["a", "x"], "no column names a recording"),
        (["path", "name"], ["a", "x"], r"no column names species \(AUTO ID or species\)"),
        (["path", "species"], ["other.wav", "x"], r"names none of the recordings that were judged \(other.wav\)"),
        (["path", "species"], ["a"], "line 2: 1 cells, the header has 2"),
    ],
)
def test_another_table_that_does_not_fit_is_one_line(
    tmp_path: Path, header: list[str], row: list[str], said: str
) -> None:
    write_csv(tmp_path / "id.csv", header, [row])
    with pytest.raises(BatcacheError, match=said) as raised:
        read_other(tmp_path / "id.csv", ["a"], SPECIES)
    assert "\n" not in str(raised.value)


def test_rows_deleted_from_the_table_are_not_asked_about(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "p", scores(5, r1c0=0.9, r3c1=0.8), list("abcde"))
    lines = (folder / "predictions.csv").read_text().splitlines()
    (folder / "predictions.csv").write_text("\n".join([lines[0], *lines[3:]]) + "\n")
    judged = read_folder(folder)
    assert judged.paths == ("c", "d", "e")
    assert judged.claim(1) == (SPECIES[1],) and judged.seconds(2) == 1.0
    assert judged.predictions.evidence[2:4, 1].tolist() == pytest.approx([0.4, 0.8], abs=1e-3)  # half precision
