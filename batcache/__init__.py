"""batcache: bat call classifiers from weak labels, with features that are computed once.

    import batcache

    batcache.build("train.csv")
    run = batcache.train().run
    report = batcache.evaluate(run)
    report.predictions.table()      # columns by name, as a DataFrame wants them

Each call runs to its end and returns its report; ``on_progress`` hears how far it has come. What is wrong is raised as
a ``BatcacheError`` that names the place, what was found there, and what to do about it. Settings are those of the
YAML: ``config`` takes such a file, or its sections as a mapping: ``{"training": {"epochs": 3}}``.
"""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING
from typing import Any as _Any

if TYPE_CHECKING:
    from batcache.errors import BatcacheError
    from batcache.face.caches import build, open_store, simulate
    from batcache.face.manifests import audit, make_manifest
    from batcache.face.models import draw, evaluate, sweep, train
    from batcache.face.prediction import calibrate, export_model, predict
    from batcache.face.surveys import convert, presence, review, survey_nights
    from batcache.progress import OnProgress, Progress

_PLACES = {
    "batcache.errors": ("BatcacheError",),
    "batcache.face.caches": ("build", "open_store", "simulate"),
    "batcache.face.manifests": ("audit", "make_manifest"),
    "batcache.face.models": ("draw", "evaluate", "sweep", "train"),
    "batcache.face.prediction": ("calibrate", "export_model", "predict"),
    "batcache.face.surveys": ("convert", "presence", "review", "survey_nights"),
    "batcache.progress": ("OnProgress", "Progress"),
}
__all__ = [
    "BatcacheError",
    "OnProgress",
    "Progress",
    "audit",
    "build",
    "calibrate",
    "convert",
    "draw",
    "evaluate",
    "export_model",
    "make_manifest",
    "open_store",
    "predict",
    "presence",
    "review",
    "simulate",
    "survey_nights",
    "sweep",
    "train",
]


def __getattr__(name: str) -> _Any:
    """What is asked for is imported then, so that the command line begins before anything is."""
    if name == "__version__":
        return _version()
    for module, names in _PLACES.items():
        if name in names:
            return getattr(_import_module(module), name)
    raise AttributeError(f"module 'batcache' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("batcache")
    except PackageNotFoundError:  # a source tree that is not installed
        return "unknown"
