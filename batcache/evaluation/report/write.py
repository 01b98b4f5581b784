"""One HTML file that says what a run was judged on, what it came to, and shows some of it; it needs nothing else."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateError

from batcache.errors import RunError, misfits
from batcache.evaluation.calibration import calibrate_predictions, cross_calibrate_predictions, is_fitted_on
from batcache.evaluation.judged import read_judged, report_path
from batcache.evaluation.outcomes import FOLDS
from batcache.evaluation.report.card import describe_judging, describe_run
from batcache.evaluation.report.collect import FEW, STEPS, count_at_thresholds, find_taken, headlines
from batcache.evaluation.report.curves import LEFT, SIDE, TOP, draw_curves, draw_reliability
from batcache.evaluation.report.gallery import colour_stops, hang
from batcache.evaluation.report.slow import SLOWER
from batcache.evaluation.report.sure import find_flagged, find_levels, find_sure
from batcache.inference.calibration.platt import Floats
from batcache.inference.predictions import Predictions
from batcache.model.checkpoint import load_checkpoint
from batcache.storage.disk import write_file
from batcache.storage.place import Place
from batcache.store.open import open_store
from batcache.store.reader import Store
from batcache.training.clips.bags import Bag, join
from batcache.training.run_inputs import find_manifest
from batcache.training.runs import BEST

_PAGE = Path(__file__).parent / "page"


def report(run: Path, cache: Place, name: str = "test", data_dir: Path | None = None) -> Path:
    """Write the report on what a run judged under this name once more; returns its path.

    ``cache`` is where its features lie now, ``data_dir`` where its filenames start from, if not where they did.

    Raises:
        RunError: nothing was judged under this name, or a clip of it is no longer in the CSV.
        StoreError, ManifestError: the cache or the CSVs are gone or damaged.
    """
    outcome, predictions = read_judged(run, name)
    store, manifest = open_store(cache), find_manifest(run, data_dir, outcome)
    bags = join(manifest, store).bags
    with misfits(RunError, run / "metrics.json", "Run `batcache eval` again"):
        calibrated = _calibrate_again(run, name, outcome, predictions, bags)
        try:
            return write_report(run, name, outcome, predictions, store, bags, manifest.data_dir, calibrated)
        except TemplateError as error:
            raise ValueError(str(error)) from None


def _calibrate_again(
    run: Path, name: str, outcome: Mapping[str, Any], predictions: Predictions, bags: Sequence[Bag]
) -> tuple[Floats, str] | None:
    """Probabilities, and what they are by; None where the checkpoint that was judged is not there any more.

    A resumed training replaces it: it is told by its epoch. Those of folds are by the predictions alone.
    """
    if name == FOLDS:
        return cross_calibrate_predictions(predictions)
    try:
        checkpoint = load_checkpoint(run / BEST.parent / Path(outcome["checkpoint"]).name)
    except RunError:
        return None
    if checkpoint.epoch != outcome.get("epoch") or checkpoint.species != tuple(predictions.species.tolist()):
        return None
    names = set(predictions.filenames.tolist())
    crossed = is_fitted_on(run, checkpoint, [bag for bag in bags if bag.clip.filename in names])
    return calibrate_predictions(predictions, checkpoint, crossed=crossed)


def write_report(
    run: Path,
    name: str,
    outcome: Mapping[str, Any],
    predictions: Predictions,
    store: Store,
    bags: Sequence[Bag],
    data_dir: Path,
    calibrated: tuple[Floats, str] | None = None,
) -> Path:
    """Write the report on an outcome, as ``metrics.json`` holds it, and on the predictions behind it.

    ``bags`` are those of the clips, or more. The audio of the few clips that are shown comes from ``data_dir``.
    ``calibrated`` are probabilities, shape ``[R, C]``, and what they are by; without them they are not drawn.

    Raises:
        RunError: a clip that is no longer in the CSV. StoreError: damage.
    """
    threshold = float(outcome["threshold"])
    counts, card = count_at_thresholds(predictions), describe_run(run, outcome, store, datetime.now(UTC))
    precision_recall, roc = draw_curves(predictions)
    probabilities, how = calibrated or (np.full(predictions.scores.shape, np.nan), "")
    rings = draw_reliability(replace(predictions, scores=probabilities.astype(np.float32)), "probabilities")
    text = _template().render(
        title=f"{run.name}: {name}",
        is_folds=name == FOLDS,
        judged=describe_judging(name, outcome, predictions)
        | {fact: card[fact] for fact in ("model", "trained", "report")},
        card=card,
        notes=outcome.get("notes", []),
        headlines=headlines(outcome),
        intervals=outcome.get("intervals"),
        evidence=outcome.get("evidence"),
        threshold=threshold,
        step=round(threshold * STEPS),
        rows=outcome["per_species"],
        few=FEW,
        flagged=find_flagged(outcome),
        sure=find_sure(outcome),
        levels=find_levels(outcome),
        groups=[group for group in outcome.get("groups", ()) if group["support"]],
        counts=counts,
        counted={
            "steps": STEPS,
            "recordings": len(set(predictions.filenames.tolist())),
            "counts": [asdict(one) for one in counts],
            "chart": {"left": LEFT, "top": TOP, "side": SIDE},
        },
        taken=find_taken(predictions, threshold),
        precision_recall=precision_recall,
        roc=roc,
        reliability=draw_reliability(predictions),
        calibrated=rings,
        how_calibrated=how,
        chart={"left": LEFT, "top": TOP, "side": SIDE},
        exhibits=hang(store, bags, predictions, data_dir, threshold),
        colours=colour_stops(),
        features=store.features,
        slower=SLOWER,
    )
    place = report_path(run, name)
    write_file(place, text.encode("utf-8", "backslashreplace"))  # a name that is no Unicode stays readable
    return place


def _template() -> Any:
    environment = Environment(
        loader=FileSystemLoader(_PAGE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["number"] = lambda value: "–" if value is None else f"{value:.3f}"
    environment.filters["short"] = _abbreviate
    return environment.get_template("page.html.j2")


def _abbreviate(species: str) -> str:
    """The name of a column that has little room.

    >>> _abbreviate("Myotis myotis")
    'M. myotis'
    """
    genus, _, rest = species.partition(" ")
    return f"{genus[0]}. {rest}" if genus and rest else species
