"""What combinations of settings came to: as rows of a table, and averaged over seeds, the best first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from batcache.evaluation.sweeps.grid import SEED
from batcache.storage.disk import write_file
from batcache.storage.spreadsheet import to_csv
from batcache.training.ranking import mean_defined


@dataclass(frozen=True)
class Outcome:
    """What a combination came to in all folds as one.

    Attributes:
        values: by dotted key.
        macro_average_precision: None where no species has both labels.
        macro_roc_auc: as before.
        species: how many the average precision covers.
        labels: how many known labels of clips it covers, of these species. Clips of a fold whose model was not taught a
            species have no score of it, and their labels do not count.
        on_a_call: how often the most evidence lies on a call, see ``localise``; None where no calls are known.
        by_chance: how often an instance drawn at random would.
        train_clips: on how many a fold's model learnt, their mean.
        seconds: of training, all folds together, without what is computed once for all combinations.
        file: where all metrics lie.
    """

    values: Mapping[str, Any]
    macro_average_precision: float | None
    macro_roc_auc: float | None
    species: int
    labels: int
    on_a_call: float | None
    by_chance: float | None
    train_clips: float
    seconds: float
    file: Path


@dataclass(frozen=True)
class Standing:
    """The outcomes of one combination with all its seeds, their mean, lowest and highest macro average precision.

    ``values`` are without the seed. ``on_a_call``, ``by_chance`` and ``seconds`` are means.
    """

    values: Mapping[str, Any]
    outcomes: tuple[Outcome, ...]
    mean: float | None
    lowest: float | None
    highest: float | None
    on_a_call: float | None
    by_chance: float | None
    seconds: float


def rank(outcomes: Sequence[Outcome]) -> tuple[Standing, ...]:
    """Average over seeds; the combination of the highest mean comes first, those without any last."""
    groups: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault(repr(_without_seed(outcome)), []).append(outcome)
    standings = [_average(group) for group in groups.values()]
    return tuple(sorted(standings, key=lambda standing: (standing.mean is None, -(standing.mean or 0))))


def _without_seed(outcome: Outcome) -> dict[str, Any]:
    return {key: value for key, value in outcome.values.items() if key != SEED}


def _average(group: Sequence[Outcome]) -> Standing:
    scores = [outcome.macro_average_precision for outcome in group]
    known = [score for score in scores if score is not None]
    return Standing(
        values=_without_seed(group[0]),
        outcomes=tuple(group),
        mean=mean_defined(scores),
        lowest=min(known, default=None),
        highest=max(known, default=None),
        on_a_call=mean_defined([outcome.on_a_call for outcome in group]),
        by_chance=mean_defined([outcome.by_chance for outcome in group]),
        seconds=sum(outcome.seconds for outcome in group) / len(group),
    )


def show_value(value: Any) -> str:
    """A value as YAML writes it in a line.

    >>> [show_value(value) for value in ("max", 3, None, [16, 32], 0.003)]
    ['max', '3', 'null', '[16, 32]', '0.003']
    """
    if isinstance(value, str | Path):
        return str(value)
    shown: str = yaml.safe_dump(value, default_flow_style=True, width=1000).removesuffix("...\n").strip()
    return shown


def write_outcomes(path: Path, outcomes: Sequence[Outcome]) -> None:
    """Write a row a combination, as CSV for spreadsheets: a text that one would take for a formula gets a ``'``."""
    counts = "species", "labels", "train_clips", "seconds"
    rows: list[list[object]] = [[*outcomes[0].values, "macro_ap", "macro_roc_auc", "on_a_call", "by_chance", *counts]]
    for outcome in outcomes:
        metrics = (outcome.macro_average_precision, outcome.macro_roc_auc, outcome.on_a_call, outcome.by_chance)
        rows.append(
            [
                *map(show_value, outcome.values.values()),
                *("" if value is None else f"{value:.4f}" for value in metrics),
                outcome.species,
                outcome.labels,
                f"{outcome.train_clips:g}",
                f"{outcome.seconds:.1f}",
            ]
        )
    write_file(path, to_csv(rows))
