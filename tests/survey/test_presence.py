"""Nights of files, with what they say of each species."""

import numpy as np
import pytest
from numpy.typing import NDArray

from batcache.survey.confusion import Confusion
from batcache.survey.presence import FEW_CLIPS, FEW_FILES, SWAMPED, Presence, judge_night

SPECIES = ("A", "B", "C")
NO_DRAWS = np.zeros((0, 4, 4))
RATES = np.array(
    [[0.80, 0.03, 0.07, 0.10], [0.10, 0.60, 0.10, 0.20], [0.05, 0.02, 0.83, 0.10], [0.02, 0.01, 0.02, 0.95]]
)
"""Rows A, B, C and none of them; columns A, B, C and no identification."""


def confusion_of(clips: float, others: float | None = None) -> Confusion:
    counts = RATES * clips
    counts[3] = RATES[3] * (clips if others is None else others)
    return Confusion(SPECIES, np.arange(3), counts)


def night(*files: int) -> NDArray[np.int64]:
    """Labels of a night with so many files of A, B, C and of no identification."""
    return np.repeat([0, 1, 2, -1], files)


def judge(confusion: Confusion, *files: int, draws: int = 0) -> dict[str, Presence]:
    drawn = confusion.draw(draws, np.random.default_rng(0)) if draws else NO_DRAWS
    return {SPECIES[one.species]: one for one in judge_night(night(*files), confusion, drawn)}


def test_a_night_of_noise_leaves_no_species_present() -> None:
    """Also where no clip of noise was held out: what is not identified proves no species."""
    for confusion in (confusion_of(50), confusion_of(50, others=0)):
        assert judge(confusion, 0, 0, 0, 10_000) == {}
        found = judge(confusion, 60, 0, 0, 10_000)
        assert [name for name, one in found.items() if one.p_value < 0.05] == (
            ["A"] if not confusion.knows_others else []
        )


def test_false_alarms_of_noise_are_no_presence_where_they_were_met_among_held_out_clips() -> None:
    found = judge(confusion_of(200), 20, 10, 20, 950)
    assert all(one.p_value > 0.05 for one in found.values()), found
    assert judge(confusion_of(200), 80, 10, 20, 950)["A"].p_value < 1e-6


def test_files_of_a_confusable_species_are_no_presence_and_more_of_them_are() -> None:
    few, many = judge(confusion_of(100), 300, 14, 26, 40)["B"], judge(confusion_of(100), 300, 40, 26, 40)["B"]
    assert few.p_value > 0.05 and many.p_value < 0.001
    assert (few.identified, many.identified) == (14, 40)
    assert few.likelihood_ratio > many.likelihood_ratio


def test_shares_count_files_that_were_taken_for_others() -> None:
    random = np.random.default_rng(0)
    labels = np.concatenate([random.choice(4, 6_000, p=RATES[0]), random.choice(4, 4_000, p=RATES[1])])
    found = {
        SPECIES[one.species]: one.share
        for one in judge_night(np.where(labels == 3, -1, labels), confusion_of(10_000), NO_DRAWS)
    }
    assert found["A"] == pytest.approx(0.6, abs=0.02) and found["B"] == pytest.approx(0.4, abs=0.02)


def test_flags_begin_where_they_are_said_to() -> None:
    def flags(*files: int) -> tuple[str, ...]:
        return judge(confusion_of(100), *files)["B"].flags

    assert flags(0, 14, 0, 0) == (FEW_FILES,)
    assert flags(0, 15, 0, 0) == flags(45, 15, 0, 900) == ()
    assert flags(46, 15, 0, 0) == (SWAMPED,)
    assert flags(43, 14, 0, 900) == (FEW_FILES, SWAMPED)
    assert judge(confusion_of(10), 0, 15, 0, 0)["B"].flags == ()
    assert judge(confusion_of(9), 0, 15, 0, 0)["B"].flags == (FEW_CLIPS,)


def test_a_species_has_a_row_by_a_file_or_by_the_share_of_one() -> None:
    assert set(judge(confusion_of(100), 100, 1, 0, 0)) == {"A", "B"}
    confusion = Confusion(
        SPECIES, np.arange(3), 1000 * np.array([[9, 0, 1, 0], [4, 0, 6, 0], [0, 0, 9, 1], [0, 0, 0, 9]])
    )
    hidden = judge(confusion, 70, 0, 60, 1)["B"]  # which is never identified as itself
    assert hidden.identified == 0 and hidden.share * 131 > 1
    assert "B" not in judge(confusion, 70, 0, 8, 1)


def test_what_few_held_out_clips_leave_open_the_draws_show() -> None:
    sure, unsure = (judge(confusion_of(clips), 300, 40, 26, 40, draws=300)["B"] for clips in (3_000, 4))
    assert sure.share_of_draws > 0.99
    assert unsure.share_of_draws < 0.9
    absent, maybe = (judge(confusion_of(clips), 300, 14, 26, 40, draws=300)["B"] for clips in (3_000, 4))
    assert absent.share_of_draws < 0.1
    assert absent.share_of_draws < maybe.share_of_draws < sure.share_of_draws


def test_draws_are_those_of_the_seed() -> None:
    confusion = confusion_of(10)
    first, again = (judge(confusion, 30, 6, 5, 9, draws=50) for _ in range(2))
    assert first == again
