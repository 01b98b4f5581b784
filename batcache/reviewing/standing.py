"""What a review has shown so far, in sentences that hold at the moment they are read."""

from batcache.reviewing.bound import CONFIDENCE, most_wrong
from batcache.reviewing.questions import Sample

_CONFIDENT = f"{100 * CONFIDENCE:g} %"


def describe_sample(sample: Sample, error: float) -> str:
    """What the random sample tells of all recordings.

    >>> describe_sample(Sample(100, 20, 0, False), 0.1)
    '20 of 100 checked at random, none wrong: with 95 % confidence at most 12 are'
    >>> describe_sample(Sample(100, 33, 0, True), 0.1)
    '33 of 100 checked at random, none wrong: enough, with 95 % confidence no more than 10 % are'
    >>> describe_sample(Sample(3, 3, 1, True), 0.1)
    'all 3 checked, 1 wrong'
    """
    wrong = f"{sample.wrong:,} wrong" if sample.wrong else "none wrong"
    if not sample.recordings:
        return "no recording to draw at random: the model has learnt from all"
    if not sample.checked:
        return f"none of {sample.recordings:,} checked at random yet"
    if sample.checked == sample.recordings:
        return f"all {sample.recordings:,} checked, {wrong}"
    checked = f"{sample.checked:,} of {sample.recordings:,} checked at random, {wrong}"
    if sample.has_ended:
        return f"{checked}: enough, with {_CONFIDENT} confidence no more than {100 * error:g} % are"
    most = most_wrong(sample.recordings, sample.checked, sample.wrong)
    return f"{checked}: with {_CONFIDENT} confidence at most {most:,} are"


def describe_nights(shown: int, refuted: int, total: int) -> str:
    """How many species in nights are settled.

    >>> describe_nights(3, 1, 12)
    '3 of 12 species and nights shown, 1 refuted'
    """
    return f"{shown:,} of {total:,} species and nights shown, {refuted:,} refuted"
