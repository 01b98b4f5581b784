"""What is judged beside clips: recordings, site-nights, half seconds, and whether any species is there at all.

A whole is as sure of a species as its surest part. It holds the species if any part does, lacks it only if every part
is known to lack it, and else nobody knows. A part without a score of a species, as its model was not taught it, counts
as unknown.

An instance (half a second) holds the species whose known calls it overlaps; calls of which nothing is known are no
ground to say that a species is absent, so that in a clip that holds a species the other instances lack it only where
calls of that species are known in the clip. In a clip that lacks a species, all lack it. Where only some of a clip's
calls are marked, instances with the others count as lacking the species, and the figures are too low.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from batcache.evaluation.calls import Call
from batcache.evaluation.draws.units import Resampling, number
from batcache.evaluation.localise import instances_holding
from batcache.inference.predictions import Predictions
from batcache.manifest.night import read_occasion

RECORDING, SITE_NIGHT, INSTANCE = "recording", "site-night", "instance"
ANY_SPECIES = "any species"


@dataclass(frozen=True)
class Items:
    """What is judged: N clips, recordings, site-nights or instances.

    Attributes:
        scores: NaN where a species has none. Shape: ``[N, C]``
        labels: 1 present, 0 absent, -1 unknown, also where a species has no score that has some elsewhere. Shape:
            ``[N, C]``
        drawn: which of the bootstrap's units each belongs to.
    """

    scores: NDArray[np.float32]
    labels: NDArray[np.int8]
    drawn: Resampling

    def any_species(self) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
        """The highest score of each, and whether any species is there, taught or not. Shape: ``[N]`` each"""
        taught = ~np.isnan(self.scores).all(0)
        scores, labels = self.scores[:, taught], self.labels
        highest = np.where(np.isnan(scores), -np.inf, scores).max(1, initial=-np.inf)
        if not taught.any():
            return np.full(len(scores), np.nan, np.float32), np.full(len(scores), -1, np.int8)
        return _of_wholes(highest, labels.min(1), labels.max(1))


def clips_of(predictions: Predictions, drawn: Resampling) -> Items:
    """The clips themselves."""
    missing = np.isnan(predictions.scores)
    labels = np.where(missing & ~missing.all(0), np.int8(-1), predictions.labels)
    return Items(predictions.scores, labels, drawn)


def wholes_of(clips: Items, whole_of: Sequence[str], unit: str | None = None) -> Items:
    """What clips are parts of, by name; "" is no whole, and such clips are left out. Length: ``[R]``

    With ``unit``, each is drawn by itself, under this word; else with the unit of its first clip.
    """
    kept = np.flatnonzero(np.array(whole_of, str) != "")
    names, place = number([whole_of[i] for i in kept.tolist()])
    order = kept[np.argsort(place, kind="stable")]
    starts = np.searchsorted(np.sort(place), np.arange(len(names)))
    if unit is None:
        drawn = Resampling(clips.drawn.unit, clips.drawn.units, clips.drawn.unit_of[order[starts]])
    else:
        drawn = Resampling(unit, len(names), np.arange(len(names)))
    scores = np.where(np.isnan(clips.scores), -np.inf, clips.scores)[order]
    labels = clips.labels[order]
    if not names:
        return Items(scores, labels, drawn)
    lowest, highest = np.minimum.reduceat(labels, starts), np.maximum.reduceat(labels, starts)
    return Items(*_of_wholes(np.maximum.reduceat(scores, starts), lowest, highest), drawn)


def _of_wholes(
    highest: NDArray[np.float32], lowest_label: NDArray[np.int8], highest_label: NDArray[np.int8]
) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
    """Scores and labels of wholes, from the highest score of the parts, -inf where none has one, and their labels."""
    labels = np.where(highest_label == 1, highest_label, lowest_label).astype(np.int8)
    return np.where(highest > -np.inf, highest, np.nan).astype(np.float32), labels


def name_site_nights(predictions: Predictions) -> list[str]:
    """The site-night of each clip: its group, else what its recording's name tells of both; "" where neither does."""
    grouped = predictions.groups if len(predictions.groups) else np.full(len(predictions.filenames), "")
    return [
        f"group {group}" if group else _read_site_night(str(name))
        for group, name in zip(grouped.tolist(), predictions.filenames, strict=True)
    ]


def _read_site_night(path: str) -> str:
    occasion = read_occasion(path)
    return f"{occasion.site} {occasion.night}" if occasion.site and occasion.night else ""


def instances_of(predictions: Predictions, calls: Mapping[str, Sequence[Call]], clips: Items) -> Items | None:
    """The instances of all clips, and their evidence; None where none is known to hold a call of a species."""
    if not calls:
        return None
    counts = np.diff(predictions.offsets)
    clip_of = np.repeat(np.arange(len(counts)), counts)
    labels = clips.labels[clip_of]
    labels[labels == 1] = -1  # where in the clip is not known, unless its calls tell
    for r, c, held in _find_calls(predictions, calls):
        part = slice(int(predictions.offsets[r]), int(predictions.offsets[r + 1]))
        labels[part, c] = held.astype(np.int8)
    if not (labels == 1).any():
        return None
    drawn = clips.drawn
    return Items(predictions.evidence, labels, Resampling(drawn.unit, drawn.units, drawn.unit_of[clip_of]))


def _find_calls(
    predictions: Predictions, calls: Mapping[str, Sequence[Call]]
) -> Iterator[tuple[int, int, NDArray[np.bool_]]]:
    """Clip, species that is present in it, and which of the clip's instances hold a known call of it."""
    names = [str(name) for name in predictions.species]
    for r, filename in enumerate(predictions.filenames.tolist()):
        if filename not in calls:
            continue
        part = slice(int(predictions.offsets[r]), int(predictions.offsets[r + 1]))
        starts, ends = predictions.evidence_start_s[part], predictions.evidence_end_s[part]
        for c, name in enumerate(names):
            held = np.zeros(len(starts), bool)
            for call in calls[filename]:
                if call.species == name:
                    held[instances_holding(call, starts, ends)] = True
            if predictions.labels[r, c] == 1 and held.any() and not np.isnan(predictions.scores[r, c]):
                yield r, c, held
