"""Which clips are drawn, and all that is drawn of each: frames, known calls, a run's scores and evidence."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from batcache.errors import RunError, did_you_mean
from batcache.evaluation.calls import Call
from batcache.inference.predictions import Predictions
from batcache.store.reader import Store
from batcache.training.clips.bags import Bag


@dataclass(frozen=True)
class Scores:
    """What a run says of one clip. Shapes: scores ``[C]``, evidence ``[N, C]``, edges_s ``[N + 1]``."""

    species: tuple[str, ...]
    scores: NDArray[np.float32]
    evidence: NDArray[np.float32]
    edges_s: NDArray[np.float64]


@dataclass(frozen=True)
class Panel:
    """One clip to draw. ``frames`` is ``[F, n_mels]``; ``remark`` stands before the name.

    ``present`` are the species that are labelled so, ``unlabelled`` those of which nothing is known; ``is_labelled``:
    whether anything is.
    """

    name: str
    remark: str
    start_s: float
    frames: NDArray[np.float16]
    present: tuple[str, ...]
    calls: tuple[Call, ...]
    scores: Scores | None
    is_labelled: bool = True
    unlabelled: tuple[str, ...] = ()


def choose_telling(predictions: Predictions, count: int = 6) -> list[tuple[int, str]]:
    """Choose clips that show a model at its best, at its worst and in doubt: (index, remark), a third of each.

    Judged by each clip's mean cross-entropy over known labels; a doubtful clip is one whose most doubtful score is
    nearest to one half. Among the good, clips with bats come first, each of other species than those before. Where no
    clip has labels, those with the highest scores are chosen.
    """
    scored = ~np.isnan(predictions.scores)  # the others were not taught
    p = np.clip(np.where(scored, predictions.scores, 0).astype(np.float64), 1e-6, 1 - 1e-6)
    known, positive = (predictions.labels >= 0) & scored, (predictions.labels == 1) & scored
    losses = -np.where(positive, np.log(p), np.log(1 - p))
    loss = (losses * known).sum(1) / np.maximum(known.sum(1), 1)
    doubt = np.where(known, np.abs(p - 0.5), 1).min(1)
    chosen: dict[int, str] = {}
    third = max(1, count // 3)
    seen: set[int] = set()
    labelled = np.flatnonzero(known.any(1))
    if not len(labelled):
        surest = np.argsort(-p.max(1), kind="stable")[:count]
        return [(int(i), "likely") for i in surest]
    best, worst, unsure = (labelled[np.argsort(key[labelled], kind="stable")] for key in (loss, -loss, doubt))
    for i in best:
        species = set(np.flatnonzero(positive[i]).tolist())
        if species and not species & seen and len(chosen) < third:
            chosen[int(i)] = "good"
            seen |= species
    for order, remark, most in (
        (best, "good", third - len(chosen)),
        (worst, "bad", third),
        (unsure, "doubtful", third),
    ):
        fresh = (int(i) for i in order if int(i) not in chosen)
        chosen |= {i: remark for i, _ in zip(fresh, range(most), strict=False)}
    return list(chosen.items())[:count]


def panels_of_run(
    store: Store,
    bags: Sequence[Bag],
    predictions: Predictions,
    calls: Mapping[str, tuple[Call, ...]],
    names: Sequence[str] = (),
    count: int = 6,
) -> list[Panel]:
    """Panels of the named clips that a run judged, in that order, or of the few that tell most.

    Raises:
        RunError: a name that is not among the judged clips, or a clip that is no longer in the CSV.
    """
    judged = [str(name) for name in predictions.filenames]
    _check_names(names, judged, "the judged clips")
    chosen = [(i, "") for name in names for i, other in enumerate(judged) if other == name]
    chosen = chosen or choose_telling(predictions, count)
    by_clip = {(bag.clip.filename, bag.clip.start_s or 0.0, bag.clip.duration_s): bag for bag in bags}
    panels = []
    for i, remark in chosen:
        duration = None if np.isnan(predictions.duration_s[i]) else float(predictions.duration_s[i])
        bag = by_clip.get((judged[i], float(predictions.start_s[i]), duration))
        if bag is None:
            raise RunError(judged[i], "was judged, and is no longer in the CSV", "Run `batcache eval` again")
        labels = dict(zip(map(str, predictions.species), predictions.labels[i].tolist(), strict=True))
        panels.append(_panel(store, bag, labels, calls, _scores_of(predictions, i), remark))
    return panels


def panels_of_store(
    store: Store,
    bags: Sequence[Bag],
    species: Sequence[str],
    calls: Mapping[str, tuple[Call, ...]],
    names: Sequence[str] = (),
    count: int = 6,
) -> list[Panel]:
    """Panels of the named clips, in that order, or of the first few.

    Raises:
        RunError: a name that is not among the clips.
    """
    _check_names(names, [bag.clip.filename for bag in bags], "the clips of the CSVs that were built last")
    chosen = [bag for name in names for bag in bags if bag.clip.filename == name] if names else bags[:count]
    return [_panel(store, bag, dict(zip(species, bag.clip.labels, strict=True)), calls) for bag in chosen]


def _check_names(names: Sequence[str], there: Sequence[str], what: str) -> None:
    for name in names:
        if name not in there:
            raise RunError(
                "--clip", f"{name} is not among {what}", did_you_mean(name, there, "Give its name as it stands there")
            )


def _scores_of(predictions: Predictions, i: int) -> Scores:
    """The part of predictions that belongs to one clip."""
    part = slice(int(predictions.offsets[i]), int(predictions.offsets[i + 1]))
    edges = np.append(predictions.evidence_start_s[part], predictions.evidence_end_s[part][-1:])
    species = tuple(str(name) for name in predictions.species)
    return Scores(species, predictions.scores[i], predictions.evidence[part], edges)


def _panel(
    store: Store,
    bag: Bag,
    labels: Mapping[str, int],
    calls: Mapping[str, tuple[Call, ...]],
    scores: Scores | None = None,
    remark: str = "",
) -> Panel:
    return Panel(
        name=bag.clip.filename,
        remark=remark,
        start_s=bag.start / store.features.frames_per_second,
        frames=store.read_frames(bag.row, bag.start, bag.stop),
        present=tuple(name for name, label in labels.items() if label == 1),
        calls=calls.get(bag.clip.filename, ()),
        scores=scores,
        is_labelled=any(label >= 0 for label in labels.values()),
        unlabelled=tuple(name for name, label in labels.items() if label < 0),
    )
