"""What was judged on what, and what made it: the facts that stand at the head and the end of a report."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import batcache
from batcache.config.settings import Config
from batcache.errors import RunError, count
from batcache.evaluation.outcomes import FOLDS
from batcache.evaluation.report.collect import describe_judged
from batcache.inference.predictions import Predictions
from batcache.model.checkpoint import Checkpoint, load_checkpoint
from batcache.store.reader import Store
from batcache.training.clips.splits import read_splits
from batcache.training.runs import BEST, read_run, read_run_config


def describe_judging(name: str, outcome: Mapping[str, Any], predictions: Predictions) -> dict[str, str]:
    """What was judged: by which model, and on which clips."""
    if name == FOLDS:
        by = f"{outcome['folds']} models, each on the clips of a fold that it has not heard: the recipe is judged"
    else:
        by = f"{outcome['checkpoint']}, epoch {outcome['epoch']}"
    species = [row["species"] for row in outcome["per_species"]]
    present = sum(row["support"] > 0 for row in outcome["per_species"])
    heard = f"{len(species):,}, of which {present:,} are present in some clip"
    return {"judged by": by, "split": name, **describe_judged(predictions), "species": heard}


def describe_run(run: Path, outcome: Mapping[str, Any], store: Store, written: datetime) -> dict[str, str]:
    """How the run came about: trunk, heads, features, clips, dates, versions.

    Raises:
        RunError: the run's record is gone or damaged.
    """
    about, config = read_run(run), read_run_config(run)
    clips = [row.split for row in read_splits(run / "split.csv").values()]
    splits = {split: clips.count(split) for split in dict.fromkeys(clips) if split}
    return {
        "run": run.name,
        "trained": _moment(datetime.fromisoformat(about["started"])),
        "clips of the run": ", ".join(f"{clips:,} {split}" for split, clips in splits.items()),
        **_describe_checkpoint(run / BEST.parent / Path(outcome["checkpoint"]).name, config),
        "features": store.features.in_words,
        "fingerprint": f"{store.fingerprint}, front end {store.front_end_version}",
        "instance": f"{config.data.frames_per_instance / store.features.frames_per_second:g} s",
        "CSVs": ", ".join(outcome["csvs"]),
        "cache": str(outcome["cache"]),
        "trained with": ", ".join(f"{name} {version}" for name, version in about.get("versions", {}).items()),
        "report": f"{_moment(written)}, batcache {batcache.__version__}",
    }


def _describe_checkpoint(path: Path, config: Config) -> dict[str, str]:
    """What the checkpoint tells; that it is not there, where it is gone or damaged."""
    try:
        checkpoint = load_checkpoint(path)
    except RunError:
        return {"model": f"{path.name}, which cannot be read any more"}
    untaught = [name for name, taught in zip(checkpoint.species, checkpoint.is_taught, strict=True) if not taught]
    return {
        "model": _describe_model(checkpoint, config),
        "best epoch": f"{checkpoint.epoch}, {checkpoint.metric} {checkpoint.score:.4f}",
        "species": ", ".join(checkpoint.species),
        **({"without scores": f"{', '.join(untaught)}: their training clips held one label alone"} if untaught else {}),
    }


def _describe_model(checkpoint: Checkpoint, config: Config) -> str:
    pooling = f"{checkpoint.model.pooling_type} pooling"
    if checkpoint.trunk is None:
        return f"trained from chance, {pooling}"
    init = "the trunk that ships" if config.model.init in ("auto", "simulated") else f"a trunk from {config.model.init}"
    heads = f"{count(checkpoint.model.heads, 'head')} on it, {pooling}"
    adapted = "adapted" if checkpoint.model.adapt else "left as it is"
    return f"{init}, {adapted if checkpoint.model.trains_heads_alone else 'trained too'}; {heads}"


def _moment(when: datetime) -> str:
    return f"{when:%Y-%m-%d %H:%M} UTC"
