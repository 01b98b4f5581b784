"""How sure the figures of a report are, and the same judged at other levels, as rows that a page can show."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from batcache.evaluation.report.collect import FEW
from batcache.evaluation.tables import CLIP, FIGURES

Span = tuple[float, float]


@dataclass(frozen=True)
class Sure:
    """A species, or an average, and between which values 95 % of the draws of each figure lie.

    ``holding`` counts the groups, or recordings, that hold the species; None of an average.
    """

    name: str
    holding: int | None
    spans: tuple[Span | None, ...]


@dataclass(frozen=True)
class LevelRow:
    """What one level came to: figures with their intervals, None where there are none.

    ``any_present`` of ``any_known`` hold any of the species.
    """

    name: str
    judged: int
    figures: tuple[tuple[float | None, Span | None], ...]
    any_present: int
    any_known: int


def find_flagged(outcome: Mapping[str, Any]) -> set[str]:
    """Species in some clip whose figures mean little: too few clips hold them, or too few groups hold or lack them."""
    of_few_units = {name for name, one in _per_species(outcome).items() if one["few"]}
    rows = outcome["per_species"]
    return {
        row["species"] for row in rows if row["support"] and (row["support"] < FEW or row["species"] in of_few_units)
    }


def find_sure(outcome: Mapping[str, Any]) -> list[Sure]:
    """Every species that has intervals, and then the averages; nothing where nothing was drawn."""
    sure = outcome.get("intervals") or {}
    if not sure.get("macro") or sure["refusal"]:  # older files have intervals of two averages alone
        return []
    rows = [
        Sure(name, one["holding"], tuple(_span(one[figure]) for figure in FIGURES))
        for name, one in _per_species(outcome).items()
        if not one["few"]
    ]
    for name in ("macro", "micro", "weighted"):
        of_order = ("macro_average_precision", "macro_roc_auc") if name == "macro" else ()
        spans = [*sure[name].values(), *(sure[key] for key in of_order)]
        rows.append(Sure(f"{name} average", None, (*map(_span, spans), *[None] * (len(FIGURES) - len(spans)))))
    return rows


def find_levels(outcome: Mapping[str, Any]) -> list[LevelRow]:
    """Clips and every other level that was judged; nothing in older files."""
    if not outcome.get("any_species"):
        return []
    return [_level(name, level) for name, level in ((CLIP, outcome), *outcome["levels"].items())]


def _level(name: str, level: Mapping[str, Any]) -> LevelRow:
    sure, of_any = level["intervals"] or {}, level["any_species"]
    sure_of_any = sure.get("any_species") or {}
    figures = (
        (level["macro_average_precision"], sure.get("macro_average_precision")),
        (level["macro"]["f1"], sure.get("macro", {}).get("f1")),
        (of_any["average_precision"], sure_of_any.get("average_precision")),
        (of_any["f1"], sure_of_any.get("f1")),
    )
    spans = tuple((value, _span(interval)) for value, interval in figures)
    return LevelRow(name, level["clips"], spans, of_any["support"], of_any["known"])


def _per_species(outcome: Mapping[str, Any]) -> Mapping[str, Any]:
    return (outcome.get("intervals") or {}).get("per_species") or {}


def _span(interval: Any) -> Span | None:
    return None if interval is None else (interval[0], interval[1])
