"""Judging a run as ``batcache eval`` does."""

import json
from pathlib import Path
from typing import Any

from batcache.evaluation.evaluate import EvalReport, Evaluation, choose_clips, evaluate
from batcache.manifest.manifest import Manifest
from batcache.training.runs import BEST
from tests.small_world import CPU, SmallWorld


def judge(judging: Evaluation) -> EvalReport:
    return evaluate(judging, CPU)


def chosen(
    run: Path, small: SmallWorld, manifest: Manifest | None = None, split: str = "test", *, edited: bool = False
) -> Evaluation:
    """As ``batcache eval`` chooses: the run's clips and splits (its CSV perhaps edited), or another CSV's."""
    as_trained = manifest is None or edited
    return choose_clips(run / BEST, small.store, manifest or small.manifest, split, as_trained=as_trained)


def read_metrics(run: Path) -> dict[str, Any]:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    written = dict(json.loads((run / "metrics.json").read_text(), parse_constant=refuse))
    return {name: outcome for name, outcome in written.items() if name != "digest"}
