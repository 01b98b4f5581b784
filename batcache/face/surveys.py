"""From predictions to what a survey reports. Each call imports what it needs."""

from pathlib import Path
from typing import TYPE_CHECKING

from batcache.progress import OnProgress, ignore_progress

if TYPE_CHECKING:
    from batcache.survey.presence_table import PresenceReport


def presence(
    folder: str | Path,
    model: str | Path,
    *,
    site: str | None = None,
    draws: int = 200,
    seed: int = 0,
    on_progress: OnProgress = ignore_progress,
) -> "PresenceReport":
    """Test which species were at which site in which night, from what ``predict`` wrote into ``folder``.

    Args:
        folder: with ``predictions.csv``, whose sites and nights may have been corrected, and ``instances.npz``.
        model: that judged; it needs held-out clips, of ``train --folds 5`` or of validation rows.
        site: of recordings whose row names none.
        draws: of the confusion, to see what its few clips leave open.
        seed: decides these.
        on_progress: hears of each site-night.

    Returns:
        ``table()``, a row for each site, night and species: the ratio of likelihoods, and the p-value that belongs to
        it. It stands in ``presence.csv`` too. No authority has approved it: look at the recordings.

    Raises:
        PredictError, ManifestError: nothing was judged into the folder, by another model, or its tables are damaged.
        RunError: no model, a damaged one, or one without held-out clips.
    """
    from batcache.inference.model_file import open_model
    from batcache.survey.presence_table import presence as test_nights

    return test_nights(
        Path(folder), open_model(Path(model)), site=site, draws=draws, seed=seed, on_progress=on_progress
    )
