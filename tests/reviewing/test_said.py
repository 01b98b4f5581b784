"""What an answer says of species, and when the model was wrong."""

from typing import Any

import pytest

from batcache.errors import ReviewError
from batcache.reviewing.names import read_names
from batcache.reviewing.said import Question, Reply, Said, add_reply, is_wrong

SPECIES = ("A", "B", "C")
OF_A = Question("presence", 0, ("A",))
OF_ALL = Question("random", 0, ("A",), whole=True)


@pytest.mark.parametrize(
    ("question", "reply", "labels"),
    [
        (OF_A, Reply("right"), {"A": 1}),
        (OF_A, Reply("wrong"), {"A": 0}),
        (OF_A, Reply("other", named=["B", "X"]), {"A": 0, "B": 1, "X": 1}),
        (OF_A, Reply("right", {"B": 1}), {"A": 1, "B": 1}),
        (OF_A, Reply("wrong", {"A": 1}), {"A": 1}),
        (OF_A, Reply("none", {"B": 1}), {"A": 0, "B": 0, "C": 0}),
        (OF_A, Reply("unsure", {"B": 1}), {"B": 1}),
        (OF_A, Reply("unsure"), {}),
        (OF_A, Reply("skip", {"B": 1}), {}),
        (OF_ALL, Reply("right", whole=True), {"A": 1, "B": 0, "C": 0}),
        (OF_ALL, Reply("other", named=["B"], whole=True), {"A": 0, "B": 1, "C": 0}),
        (OF_ALL, Reply("wrong", whole=True), {"A": 0}),
    ],
)
def test_an_answer_says_no_more_than_was_looked_at(question: Question, reply: Reply, labels: dict[str, int]) -> None:
    assert add_reply(Said(), question, reply, SPECIES, False).labels == labels


def test_answers_on_one_clip_add_up_and_the_later_one_wins() -> None:
    said = add_reply(Said(), OF_A, Reply("right"), SPECIES, False)
    said = add_reply(said, Question("doubt", 0, ("B",)), Reply("wrong"), SPECIES, False)
    assert said.labels == {"A": 1, "B": 0} and not said.whole
    assert add_reply(said, OF_A, Reply("none"), SPECIES, False).labels == {"A": 0, "B": 0, "C": 0}


def test_right_says_nothing_of_members_where_the_model_names_a_group_or_an_unknown_bat() -> None:
    question = Question("random", 0, (), whole=True)
    said = add_reply(Said(), question, Reply("right", whole=True), SPECIES, True)
    assert said.labels == {} and said.whole
    assert not is_wrong(said, (), True)


@pytest.mark.parametrize(
    ("claim", "reply", "wrong"),
    [
        (["A"], Reply("right", whole=True), False),
        (["A"], Reply("right", {"B": 1}, whole=True), True),
        (["A"], Reply("wrong"), True),
        (["A"], Reply("other", named=["B"]), True),
        (["A"], Reply("none"), True),
        (["A"], Reply("unsure"), True),
        (["A"], Reply("skip"), True),
        ([], Reply("none"), False),
        ([], Reply("right", whole=True), False),
        ([], Reply("other", named=["A"]), True),
    ],
)
def test_the_model_is_wrong_where_it_names_too_much_or_too_little_or_nobody_can_tell(
    claim: list[str], reply: Reply, wrong: bool
) -> None:
    said = add_reply(Said(), Question("random", 0, tuple(claim), whole=True), reply, SPECIES, False)
    assert is_wrong(said, claim, False) == wrong


def test_a_clip_that_was_judged_whole_elsewhere_counts_by_what_was_said_of_it() -> None:
    question: dict[str, Any] = {"part": "doubt", "clip": 0, "asked": ("B",)}
    said = add_reply(Said(), Question(**question), Reply("none"), SPECIES, False)
    assert is_wrong(said, ["A"], False) and not is_wrong(said, [], False) and is_wrong(said, [], True)


@pytest.mark.parametrize("typed", ["", " ; ", "split", "meta_x", "a\x00b", "x" * 81, "\ud800"])
def test_what_can_be_no_column_is_no_species(typed: str) -> None:
    with pytest.raises(ReviewError) as raised:
        read_names(typed, ["Myotis myotis"], is_sure=True)
    assert "\n" not in str(raised.value)


def test_a_name_that_is_not_known_is_asked_for_twice_and_the_near_one_offered() -> None:
    known = ["Myotis myotis", "Nyctalus noctula"]
    assert read_names("myotis  MYOTIS; nyctalus noctula", known) == tuple(known)
    with pytest.raises(ReviewError, match=r"Did you mean Myotis myotis\?"):
        read_names("Myotis miotis", known)
    assert read_names("Myotis miotis", known, is_sure=True) == ("Myotis miotis",)


def test_a_name_of_any_kind_is_taken_as_the_model_has_it_else_as_latin() -> None:
    known = ["Common pipistrelle", "Myotis myotis"]
    assert read_names("pippip; MYMY; Nycnoc", known) == ("Common pipistrelle", "Myotis myotis", "Nyctalus noctula")
    for typed, said in (
        ("Noise", "Noise is no species"),
        ("MYMY", "MYMY is either of Myotis myotis, Myotis mystacinus"),
    ):
        with pytest.raises(ReviewError, match=said):
            read_names(typed, ["A"], is_sure=True)
    with pytest.raises(ReviewError, match=r"MYOSP is a group of species\. Press Enter again"):
        read_names("MYOSP", known)
    assert read_names("MYOSP", known, is_sure=True) == ("Myotis sp.",)
