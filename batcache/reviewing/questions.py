"""What is asked first: where the most is learnt, and apart from that a random sample.

``against``   species of which another program's table says something else than the model, the surest model first
``presence``  the best recording of each species and night, and the next best where that was wrong, up to ``TRIES``
``doubt``     recordings with a score near its threshold, the nearest first, ``MOST_DOUBTFUL`` of them
``random``    recordings in an order drawn by the seed, whatever their scores: only these may tell how many are wrong

The order of the random part is that of a hash of seed and path, so that recordings judged later do not change the
order of the others. The sample is what was checked from its beginning on without a gap.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from batcache.reviewing.judged import Judged
from batcache.reviewing.other_table import OtherTable
from batcache.reviewing.said import Part, Question, Said, is_wrong

TRIES = 5
MOST_DOUBTFUL = 100
Known = Callable[[int], Said]


@dataclass(frozen=True)
class Cell:
    """A species in a night, and the clips that may show it, the highest score first."""

    species: int
    clips: tuple[int, ...]


@dataclass(frozen=True)
class Sample:
    """What the random part has shown: of ``recordings`` so many were ``checked`` at random, and ``wrong``.

    ``has_ended``: nothing more need be asked.
    """

    recordings: int
    checked: int
    wrong: int
    has_ended: bool


@dataclass(frozen=True)
class Questions:
    """All that may be asked of predictions."""

    judged: Judged
    seed: int
    other: OtherTable | None = None

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """Each species in each night, by site, night and species."""
        judged, nights = self.judged, {night: i for i, night in enumerate(sorted(set(self.judged.groups)))}
        night_of = np.array([nights[group] for group in judged.groups])
        found: list[tuple[int, Cell]] = []
        for c in range(len(judged.species)):
            clips = np.flatnonzero(judged.is_claimed[:, c] & judged.is_asked)
            clips = clips[np.lexsort((-judged.predictions.scores[clips, c], night_of[clips]))]
            edges = [*np.flatnonzero(np.diff(night_of[clips], prepend=-1)).tolist(), len(clips)]
            for begin, end in pairwise(edges):
                best = tuple(clips[begin : min(end, begin + TRIES)].tolist())
                found.append((int(night_of[clips[begin]]), Cell(c, best)))
        return tuple(cell for _, cell in sorted(found, key=lambda pair: (pair[0], pair[1].species)))

    @cached_property
    def doubtful(self) -> tuple[tuple[int, int], ...]:
        """Clips and the species of each whose score is nearest to its threshold, the nearest first."""
        far = np.abs(self.judged.predictions.scores - self.judged.thresholds)
        far = np.where(np.isnan(far) | ~self.judged.is_asked[:, None], np.inf, far)
        species = far.argmin(1)
        least = far[np.arange(len(far)), species]
        first = np.argsort(least, kind="stable")[:MOST_DOUBTFUL]
        return tuple((int(i), int(species[i])) for i in first if np.isfinite(least[i]))

    @cached_property
    def drawn(self) -> tuple[int, ...]:
        """Clips in random order."""
        keys = self.judged.keys

        def draw(clip: int) -> bytes:
            path, start_s, _ = keys[clip]
            return hashlib.blake2b(f"{self.seed} {start_s} {path}".encode(), digest_size=16).digest()

        return tuple(sorted(np.flatnonzero(self.judged.is_drawn).tolist(), key=draw))

    @cached_property
    def disputed(self) -> tuple[tuple[int, str], ...]:
        """Clips and the species of which the other program says something else; where the model is surest, first."""
        judged, other = self.judged, self.other or OtherTable({}, {}, ())
        place = {name: c for c, name in enumerate(judged.species)}
        found: list[tuple[float, int, str]] = []
        for clip in other.species_of:
            for name in self._dispute(clip, other) if judged.is_asked[clip] else ():
                c = place.get(name, -1)
                far = 0.0 if c < 0 else abs(float(judged.predictions.scores[clip, c]) - float(judged.thresholds[c]))
                found.append((-np.nan_to_num(far), clip, name))
        return tuple(one[1:] for one in sorted(found))

    def _dispute(self, clip: int, other: OtherTable) -> set[str]:
        """The species of which one says something else; of a group none of whose members is named, the likeliest."""
        there, claim, groups = {*other.species_of[clip]}, {*self.judged.claim(clip)}, other.groups_of[clip]
        scores = np.nan_to_num(self.judged.predictions.scores[clip], nan=-1.0)
        score = dict(zip(self.judged.species, scores.tolist(), strict=True))
        missing = [group & score.keys() for group in groups if not group & (there | claim)]
        likeliest = {max(sorted(members), key=lambda name: score[name]) for members in missing if members}
        return (there ^ claim).difference(*groups) | likeliest

    @property
    def parts(self) -> tuple[Part, ...]:
        """Those that there are, in the order in which they are asked."""
        return ("against", "presence", "doubt", "random") if self.other else ("presence", "doubt", "random")

    def of_part(self, part: Part, known: Known) -> Iterator[Question]:
        """The questions of a part that are not answered, in order; those that were skipped come last."""
        skipped = []
        for question in _ASKED[part](self, known):
            answer = known(question.clip).answers.get(question.key)
            if answer == "skip":
                skipped.append(question)
            elif answer is None:
                yield question
        yield from skipped

    def sample(self, known: Known, limits: Sequence[int] = ()) -> Sample:
        """How far the random sample has come; at ``limits``, see ``stopping``, it ends."""
        checked = wrong = 0
        for clip in self.drawn:
            said = known(clip)
            if not (said.whole or "random" in said.answers):
                break
            checked += 1
            wrong += is_wrong(said, self.judged.claim(clip), bool(self.judged.is_vague[clip]))
            if checked < len(limits) and wrong <= limits[checked]:
                return Sample(len(self.drawn), checked, wrong, True)
        return Sample(len(self.drawn), checked, wrong, checked == len(self.drawn))

    def nights_shown(self, known: Known) -> tuple[int, int, int]:
        """Of species in nights: how many are shown to be there, how many are refuted, how many there are."""
        shown = refuted = 0
        for cell in self.cells:
            labels = [known(clip).labels.get(self.judged.species[cell.species]) for clip in cell.clips]
            shown += 1 in labels
            refuted += all(label == 0 for label in labels)
        return shown, refuted, len(self.cells)


def _ask_against(questions: Questions, known: Known) -> Iterator[Question]:
    for clip, name in questions.disputed:
        if name not in known(clip).labels:
            yield Question("against", clip, (name,))


def _ask_presence(questions: Questions, known: Known) -> Iterator[Question]:
    """Of each species and night the best clip that does not speak against it, until one shows it."""
    for cell in questions.cells:
        name = questions.judged.species[cell.species]
        for clip in cell.clips:
            label = known(clip).labels.get(name)
            if label == 1:
                break
            question = Question("presence", clip, (name,))
            if label is None and known(clip).answers.get(question.key) != "unsure":
                yield question
                break


def _ask_doubt(questions: Questions, known: Known) -> Iterator[Question]:
    for clip, species in questions.doubtful:
        name = questions.judged.species[species]
        if name not in known(clip).labels:
            yield Question("doubt", clip, (name,))


def _ask_random(questions: Questions, known: Known) -> Iterator[Question]:
    for clip in questions.drawn:
        if not known(clip).whole:
            yield Question("random", clip, questions.judged.claim(clip), whole=True)


_ASKED: Mapping[Part, Callable[[Questions, Known], Iterator[Question]]] = {
    "against": _ask_against,
    "presence": _ask_presence,
    "doubt": _ask_doubt,
    "random": _ask_random,
}
