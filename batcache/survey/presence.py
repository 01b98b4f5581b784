"""Whether a species was at a site in a night, by its files and by how often others are taken for it.

The test is that of programs in use in North America (Britzke et al. 2002), on the confusion of this very model. They
report the ratio of likelihoods as "P-value"; here the ratio and the p-value that belongs to it stand apart. batcache is
no approved program, neither on the list of the US Fish and Wildlife Service nor on any other, and the test replaces no
look at the recordings: such programs are often wrong where a species has few files among many of others.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from batcache.survey.confusion import Confusion
from batcache.survey.mixture import likelihood_ratios, p_value

FEW_FILES, SWAMPED, FEW_CLIPS = "few files", "swamped", "few held-out clips"
FEWEST_CLIPS = 10
"""With fewer held-out clips of a species little is known of what it is taken for."""
FEWEST_FILES = 15
"""With fewer files of a species in a night, a presence by such a test is doubtful (SEAFWA 11, 2024)."""
SMALLEST_SHARE = 0.25
"""Of the identified files: below it such programs perform poorly (Hopp et al. 2025)."""
RATIO_IN_USE = 0.05
"""The ratio of likelihoods below which programs in use call a species present."""


@dataclass(frozen=True)
class Presence:
    """What the files of a night say of one species.

    Attributes:
        species: its place in the confusion.
        identified: files whose one label it is.
        share: of all files, as estimated.
        likelihood_ratio: of the most likely shares without it to the most likely with it, 0 to 1. Programs in use call
            this the P-value.
        p_value: how often a species that is absent has so low a ratio, with many files; with few it is too low.
        share_of_draws: of the confusions that the held-out clips leave possible, in how many the ratio is below 0.05.
        flags: ``few files``, ``swamped``, ``few held-out clips``.
    """

    species: int
    identified: int
    share: float
    likelihood_ratio: float
    p_value: float
    share_of_draws: float
    flags: tuple[str, ...]


def judge_night(labels: NDArray[np.int64], confusion: Confusion, draws: NDArray[np.float64]) -> list[Presence]:
    """Test each species that has a file, or an estimated share of a file or more.

    Args:
        labels: of the files of one night, from ``identify``, numbers of the confusion's species. Shape: ``[N]``, one at
            least
        confusion: of S species.
        draws: of the confusion. Shape: ``[B, S + 1, S + 1]``
    """
    species = len(confusion.species)
    counts = np.bincount(labels % (species + 1), minlength=species + 1).astype(np.int64)  # -1 is the last
    matrices = np.concatenate([confusion.matrix()[None], draws])
    shares, _ = likelihood_ratios(counts, matrices[:1], np.zeros(0, np.int64))
    (tested,) = np.nonzero((counts[:-1] > 0) | (shares[0, :-1] * len(labels) >= 1))
    if not tested.size:
        return []
    _, ratios = likelihood_ratios(counts, matrices, tested)
    below = (ratios[1:] < RATIO_IN_USE).mean(0) if len(draws) else np.full(len(tested), np.nan)
    return [
        Presence(
            species=int(i),
            identified=int(counts[i]),
            share=float(shares[0, i]),
            likelihood_ratio=float(ratio),
            p_value=p_value(float(ratio)),
            share_of_draws=float(drawn),
            flags=tuple(_flag(int(counts[i]), int(counts[:-1].sum()), float(confusion.counts[i].sum()))),
        )
        for i, ratio, drawn in zip(tested, ratios[0], below, strict=True)
    ]


def _flag(identified: int, of: int, clips: float) -> list[str]:
    flags = [FEW_FILES] if identified < FEWEST_FILES else []
    if identified < SMALLEST_SHARE * of or not of:
        flags.append(SWAMPED)
    return [*flags, FEW_CLIPS] if clips < FEWEST_CLIPS else flags
