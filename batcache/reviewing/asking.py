"""A review as the page sees it: what is asked, what an answer does, what is shown by now."""

from collections.abc import Mapping
from threading import RLock
from typing import Any

import numpy as np

from batcache.errors import ReviewError
from batcache.reviewing.journal import Journal
from batcache.reviewing.judged import Judged
from batcache.reviewing.names import read_names
from batcache.reviewing.questions import Questions, Sample
from batcache.reviewing.said import ANSWERS, Part, Question, Reply, add_reply
from batcache.reviewing.standing import describe_nights, describe_sample
from batcache.reviewing.stopping import most_wrong_to_stop

_MOST_BARS = 200


class Asking:
    """Questions and answers; several threads may ask.

    Args:
        questions: what may be asked.
        journal: that keeps the answers.
        error: the share of wrong recordings that is wanted at most: the random sample ends where it is shown.
    """

    def __init__(self, questions: Questions, journal: Journal, error: float) -> None:
        self.questions, self.journal, self.error = questions, journal, error
        self._given: dict[tuple[int, str], Question] = {}
        self._lock = RLock()

    @property
    def judged(self) -> Judged:
        """The predictions."""
        return self.questions.judged

    @property
    def sample(self) -> Sample:
        """How far the random sample has come."""
        if not self.journal.answers:  # nor need the order be drawn yet
            recordings = int(self.judged.is_drawn.sum())
            return Sample(recordings, 0, 0, not recordings)
        limits = most_wrong_to_stop(len(self.questions.drawn), self.error)
        return self.questions.sample(self.journal.known, limits)

    @property
    def species(self) -> tuple[str, ...]:
        """All that are known: the model's, and those that were named."""
        return (*self.judged.species, *self.journal.table.others)

    def standing(self) -> dict[str, str]:
        """What is shown by now, a sentence for each part."""
        with self._lock:
            known = self.journal.known
            shown = {
                "presence": describe_nights(*self.questions.nights_shown(known)),
                "random": describe_sample(self.sample, self.error),
            }
            for part in ("against", "doubt"):
                if part in self.questions.parts:
                    left = sum(1 for _ in self.questions.of_part(part, known))
                    shown[part] = f"{left:,} left to ask"
            return {part: shown[part] for part in self.questions.parts}

    def ask(self, part: Part | None = None) -> dict[str, Any]:
        """The next question of a part, or of the first part that has one; None for the question where nothing is left.

        ``standing`` comes along.
        """
        with self._lock:
            question = self._next(part)
            return {"question": question and self._describe(question), "standing": self.standing()}

    def reply(self, said: Mapping[str, Any]) -> None:
        """Take an answer as the page sends it.

        Raises:
            ReviewError: an answer on what was not asked, or one that says nothing; a species that is not known.
            OSError: the disk refuses: the answer does not count.
        """
        with self._lock:
            question = self._given.get((_number(said.get("clip")), str(said.get("key"))))
            if question is None or said.get("answer") not in ANSWERS:
                raise ReviewError("answer", "on what was not asked", "Load the page again")
            named = self._names(said) if said["answer"] == "other" else ()
            reply = Reply(said["answer"], self._marks(said.get("marks")), named, said.get("whole") is True)
            clip, before = question.clip, self.journal.known(question.clip)
            is_vague = bool(self.judged.is_vague[clip])
            after = add_reply(before, question, reply, self.judged.species, is_vague)
            self.journal.add(clip, question.part, after, reply.answer)

    def undo(self) -> dict[str, Any]:
        """Take the last answer back, and ask again what it was on. Raises OSError, as ``reply``."""
        with self._lock:
            last = self.journal.last
            self.journal.undo()
            if last is None or last.key not in self.judged.places:
                return self.ask()
            clip = self.judged.places[last.key]
            here = [q for q in self._given.values() if q.clip == clip and q.part == last.part]
            question = here[-1] if here else self._find(clip, last.part)
            return {"question": question and self._describe(question), "standing": self.standing()}

    def check_names(self, typed: str, is_sure: bool) -> tuple[str, ...]:
        """The species in what was typed. Raises as ``read_names``."""
        return read_names(typed, self.species, is_sure=is_sure)

    def _find(self, clip: int, part: str) -> Question | None:
        """The question on a clip, as of one that was answered before this program was started."""
        for one in self.questions.of_part(part, self.journal.known):  # type: ignore[arg-type]
            if one.clip == clip:
                return one
        return self._next(None)

    def _next(self, part: Part | None) -> Question | None:
        for one in self.questions.parts if part is None else (part,):
            if one == "random" and self.sample.has_ended:
                continue
            for question in self.questions.of_part(one, self.journal.known):
                return question
        return None

    def _names(self, said: Mapping[str, Any]) -> tuple[str, ...]:
        named = said.get("named")
        if not isinstance(named, list) or not named:
            raise ReviewError("answer", "other, but no species is named", "Name one")
        return read_names(";".join(map(str, named)), self.species, is_sure=True)

    def _marks(self, marks: object) -> dict[str, int]:
        if not isinstance(marks, dict) or not all(mark in (0, 1) for mark in marks.values()):
            return {}
        return {read_names(str(name), self.species, is_sure=True)[0]: int(mark) for name, mark in marks.items()}

    def _describe(self, question: Question) -> dict[str, Any]:
        """A question as the page shows it."""
        judged, clip = self.judged, question.clip
        self._given[clip, question.key] = question
        said, claim = self.journal.known(clip), judged.claim(clip)
        shown = dict.fromkeys((*question.asked, *claim, *said.labels))
        bars, begins, look_at = self._evidence(question)
        labels = judged.predictions.labels[clip]
        return {
            "part": question.part,
            "clip": clip,
            "key": question.key,
            "path": judged.paths[clip],
            "about": [text for text in (judged.sites[clip], judged.nights[clip], judged.times[clip]) if text],
            "notes": judged.notes[clip],
            "labelled": [name for name, label in zip(judged.species, labels, strict=True) if label == 1],
            "asked": question.asked,
            "claim": claim,
            "other": sorted(self._other(clip)) if question.part == "against" else None,
            "says": "" if claim else judged.says[clip],
            "whole": question.whole,
            "species": [self._about_species(clip, name, said.labels.get(name), name in claim) for name in shown],
            "start_s": float(judged.predictions.start_s[clip]),
            "seconds": judged.seconds(clip),
            "look_at_s": look_at,
            "evidence": bars,
            "evidence_begins_s": begins,
        }

    def _other(self, clip: int) -> frozenset[str]:
        """What the other program says of a clip."""
        return self.questions.other.species_of[clip] if self.questions.other else frozenset()

    def _about_species(self, clip: int, name: str, label: int | None, is_claimed: bool) -> dict[str, Any]:
        about: dict[str, Any] = {"name": name, "label": label, "claimed": is_claimed, "score": None, "threshold": None}
        if name in self.judged.species:
            c = self.judged.species.index(name)
            score = float(self.judged.predictions.scores[clip, c])
            about |= {"score": None if np.isnan(score) else score, "threshold": float(self.judged.thresholds[c])}
        return about

    def _evidence(self, question: Question) -> tuple[list[float], list[float], float]:
        """Evidence for what is asked along the clip, where each value begins, and where to look first."""
        judged, predictions = self.judged, self.judged.predictions
        part = slice(int(predictions.offsets[question.clip]), int(predictions.offsets[question.clip + 1]))
        names = [name for name in question.asked if name in judged.species]
        columns = [judged.species.index(name) for name in names] or list(range(len(judged.species)))
        evidence = np.nan_to_num(predictions.evidence[part][:, columns].astype(np.float32)).max(1)
        begins, ends = predictions.evidence_start_s[part], predictions.evidence_end_s[part]
        best = int(evidence.argmax())
        firsts = np.arange(0, len(evidence), -(-len(evidence) // _MOST_BARS))
        highest = np.maximum.reduceat(evidence, firsts)
        return highest.tolist(), begins[firsts].tolist(), float(begins[best] + ends[best]) / 2


def _number(value: object) -> int:
    return value if isinstance(value, int) else -1
