"""``thresholds.csv`` beside predictions: a row for each species, and for each group of species.

species             as in ``predictions.csv``, or the name of a group
threshold           of the scores, at and above which it counts
basis               ``promised precision``, ``best F1`` (of groups ``a probability of 0.5``), ``no threshold can be
                    promised`` (0.5 is taken), or ``given``
clips               held-out clips that the threshold rests on
positives           of these, how many hold the species
groups              of how many site-nights, or recordings where no group is given, these clips are
promised precision  with 95 % confidence, on nights like those; empty where none is promised
source              ``folds``, ``validation`` or ``reviewed``: where the held-out scores come from
format_version      of these columns
"""

from batcache.inference.calibration.calibrate import Calibration

FORMAT_VERSION = 1


def columns_of_thresholds(*calibrations: Calibration) -> dict[str, list[str] | list[float]]:
    """The table by column; NaN where there is no number."""
    rows = [at for calibration in calibrations for at in calibration.thresholds]
    return {
        "species": [name for calibration in calibrations for name in calibration.species],
        "threshold": [f"{at.value:.6f}".rstrip("0").rstrip(".") for at in rows],
        "basis": [at.basis for at in rows],
        "clips": [float(at.clips) for at in rows],
        "positives": [float(at.positives) for at in rows],
        "groups": [float(at.groups) for at in rows],
        "promised precision": [float("nan") if at.promised is None else at.promised for at in rows],
        "source": [source for calibration in calibrations for source in calibration.sources],
        "format_version": [float(FORMAT_VERSION)] * len(rows),
    }
