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

from importlib.metadata import PackageNotFoundError as _PackageNotFoundError
from importlib.metadata import version as _version

from batcache.errors import BatcacheError
from batcache.face.caches import build, open_store, simulate
from batcache.face.manifests import audit, make_manifest
from batcache.face.models import calibrate, draw, evaluate, export_model, predict, sweep, train
from batcache.face.surveys import presence
from batcache.progress import OnProgress, Progress

__all__ = [
    "BatcacheError",
    "OnProgress",
    "Progress",
    "audit",
    "build",
    "calibrate",
    "draw",
    "evaluate",
    "export_model",
    "make_manifest",
    "open_store",
    "predict",
    "presence",
    "simulate",
    "sweep",
    "train",
]
try:
    __version__ = _version("batcache")
except _PackageNotFoundError:  # a source tree that is not installed
    __version__ = "unknown"
