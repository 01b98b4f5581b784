"""What a person has said of a clip, and what follows from one answer more."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

Answer = Literal["right", "wrong", "other", "none", "unsure", "skip"]
ANSWERS: tuple[Answer, ...] = get_args(Answer)
Part = Literal["against", "presence", "doubt", "random"]
PARTS: tuple[Part, ...] = get_args(Part)


@dataclass(frozen=True)
class Question:
    """A clip, and what is asked of it.

    Attributes:
        part: of the review.
        clip: its place.
        asked: species that are there if the answer is *right*.
        whole: whether the question is of all that is in the clip.
    """

    part: Part
    clip: int
    asked: tuple[str, ...]
    whole: bool = False

    @property
    def key(self) -> str:
        """The question among those of one clip."""
        return self.part if self.part == "random" else f"{self.part}:{self.asked[0]}"


@dataclass(frozen=True)
class Said:
    """All that was said of a clip so far.

    Attributes:
        labels: 1 or 0 of each species of which it is known; the others are not known.
        whole: whether all was looked at: of every species of the model it is known, or it was said to be open.
        answers: by question.
    """

    labels: Mapping[str, int] = field(default_factory=dict)
    whole: bool = False
    answers: Mapping[str, Answer] = field(default_factory=dict)


@dataclass(frozen=True)
class Reply:
    """One answer.

    Attributes:
        answer: *right*, *wrong* (what is asked is not there), *other* (but what is ``named`` is), *none* (no species at
            all), *unsure* or *skip*.
        marks: 1 or 0 of species that were marked one by one; they win over what the answer says of them.
        named: species of *other*.
        whole: whether whatever is not named is absent.
    """

    answer: Answer
    marks: Mapping[str, int] = field(default_factory=dict)
    named: Sequence[str] = ()
    whole: bool = False


def add_reply(before: Said, question: Question, reply: Reply, species: Sequence[str], is_vague: bool) -> Said:
    """What is known after an answer.

    ``species`` are the model's. Where the model's claim leaves the species open (``is_vague``), *right* does not say
    that all others are absent.
    """
    answers = {**before.answers, question.key: reply.answer}
    if reply.answer == "skip":
        return Said(before.labels, before.whole, answers)
    if reply.answer == "none":
        return Said({**dict.fromkeys(before.labels, 0), **dict.fromkeys(species, 0)}, True, answers)
    implied: dict[str, int] = {}
    if reply.answer == "right":
        implied = dict.fromkeys(question.asked, 1)
    elif reply.answer in ("wrong", "other"):
        implied = dict.fromkeys(question.asked, 0) | dict.fromkeys(reply.named, 1)
    labels = {**before.labels, **implied, **reply.marks}
    whole = reply.whole and reply.answer in ("right", "other")
    if whole and not (is_vague and reply.answer == "right"):
        labels = {**dict.fromkeys(species, 0), **labels}
    return Said(labels, before.whole or whole, answers)


def is_wrong(said: Said, claim: Sequence[str], is_vague: bool) -> bool:
    """Whether the model was wrong about a clip of the random sample; what nobody could tell counts as wrong.

    ``claim`` are the species that it says are there.
    """
    answer = said.answers.get("random")
    if answer in ("wrong", "other", "unsure", "skip"):
        return True
    if any(said.labels.get(name) == 0 for name in claim):
        return True
    there = [name for name, label in said.labels.items() if label == 1]
    if is_vague:
        return not there and answer != "right"
    return any(name not in claim for name in there)
