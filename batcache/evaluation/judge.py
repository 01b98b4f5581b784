"""All numbers that predictions come to: of clips, of what clips are parts of, and of their instances."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from batcache.evaluation.bootstrap import bootstrap
from batcache.evaluation.calls import Call
from batcache.evaluation.draws.units import resampling
from batcache.evaluation.levels import (
    ANY_SPECIES,
    INSTANCE,
    RECORDING,
    SITE_NIGHT,
    Items,
    clips_of,
    instances_of,
    name_site_nights,
    wholes_of,
)
from batcache.evaluation.localise import localise
from batcache.evaluation.metrics import Metrics, compute_metrics
from batcache.inference.predictions import Predictions


def judge(
    predictions: Predictions,
    calls: Mapping[str, Sequence[Call]],
    *,
    intervals: bool = True,
    threshold: float = 0.5,
) -> Metrics:
    """All numbers of predictions: of their scores, at every level, how sure they are, and where the evidence lies.

    ``intervals`` says whether to draw how sure they are.

    A score may be NaN in clips whose model was not taught a species that others were: its label there is unknown.
    """
    clips = clips_of(predictions, resampling(predictions))
    species = [str(name) for name in predictions.species]
    metrics = _judge_items(clips, species, threshold, intervals)
    levels = {
        name: _judge_items(items, species, threshold, intervals)
        for name, items in _find_levels(predictions, calls, clips)
    }
    return replace(metrics, evidence=localise(predictions, calls), levels=levels)


def _find_levels(
    predictions: Predictions, calls: Mapping[str, Sequence[Call]], clips: Items
) -> Iterator[tuple[str, Items]]:
    """Levels beside clips, by name: recordings where they are not the clips, site-nights and instances where known."""
    if len(set(predictions.filenames.tolist())) < len(predictions.filenames):
        yield RECORDING, wholes_of(clips, predictions.filenames.tolist())
    nights = wholes_of(clips, name_site_nights(predictions), SITE_NIGHT)
    if len(nights.scores):
        yield SITE_NIGHT, nights
    instances = instances_of(predictions, calls, clips)
    if instances is not None:
        yield INSTANCE, instances


def _judge_items(items: Items, species: Sequence[str], threshold: float, intervals: bool) -> Metrics:
    missing = np.isnan(items.scores)
    scores = np.where(missing & ~missing.all(axis=0), 0, items.scores)
    any_scores, any_labels = items.any_species()
    of_any = compute_metrics(any_scores[:, None], any_labels[:, None], [ANY_SPECIES], threshold)
    metrics = replace(compute_metrics(scores, items.labels, species, threshold), any_species=of_any.per_species[0])
    if not intervals:
        return metrics
    scored = items.scores, np.where(missing, np.int8(-1), items.labels)
    any_scored = any_scores, np.where(np.isnan(any_scores), np.int8(-1), any_labels)
    return replace(metrics, intervals=bootstrap(*scored, species, items.drawn, threshold, any_scored))
