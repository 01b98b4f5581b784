"""What came of a call, as tables, notes and lines: which function describes which report."""

from collections.abc import Callable, Iterator
from typing import Any

from batcache.cli import (
    calibration_tables,
    catalogue_tables,
    model_tables,
    prediction_tables,
    review_tables,
    score_tables,
    store_tables,
    survey_tables,
    sweep_tables,
)
from batcache.cli.terminal import Block


def describe(result: object) -> list[Block]:
    """What is shown of a report, or of what a step has brought. A tuple holds rows of a benchmark."""
    if isinstance(result, tuple):
        return list(model_tables.of_measured(result))
    return list(_DESCRIBED[type(result).__name__](result))


_DESCRIBED: dict[str, Callable[[Any], Iterator[Block]]] = {  # by name, so that none is imported
    "AuditReport": catalogue_tables.of_audit,
    "ManifestReport": catalogue_tables.of_manifest,
    "Plan": store_tables.of_plan,
    "BuildReport": store_tables.of_build,
    "VerifyReport": store_tables.of_verification,
    "RepairReport": store_tables.of_repair,
    "PruneReport": store_tables.of_prune,
    "Restored": store_tables.of_restored,
    "Exported": store_tables.of_exported,
    "SynthReport": store_tables.of_synth,
    "PassedOver": model_tables.of_passed_over,
    "RunStarted": model_tables.of_run_started,
    "Epoch": model_tables.of_epoch,
    "TimeLeft": model_tables.of_time_left,
    "TrainReport": model_tables.of_training,
    "Evaluation": model_tables.of_choice,
    "EvalReport": model_tables.of_evaluation,
    "FoldsReport": model_tables.of_folds,
    "SweepStarted": sweep_tables.of_sweep_started,
    "Outcome": sweep_tables.of_outcome,
    "SweepReport": sweep_tables.of_sweep,
    "PredictStarted": prediction_tables.of_predict_started,
    "Calibration": calibration_tables.of_calibration,
    "Recalibrated": calibration_tables.of_recalibrated,
    "PredictReport": prediction_tables.of_predictions,
    "ExportedModel": prediction_tables.of_exported_model,
    "PresenceReport": prediction_tables.of_presence,
    "ReviewStarted": review_tables.of_review_started,
    "ReviewReport": review_tables.of_review,
    "ConvertReport": survey_tables.of_converted,
    "SurveyReport": survey_tables.of_survey,
    "Comparison": score_tables.of_comparison,
    "UpToDate": model_tables.of_up_to_date,
    "PipelineReport": model_tables.of_pipeline,
    "PretrainReport": model_tables.of_pretraining,
}
