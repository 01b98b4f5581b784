"""What a person found in recordings that a model had judged, kept beside the model as a profile.

``<model's file>.calibration.json``: format and version, the ``model``'s digest, its ``species``, the file ``reviewed``,
and row by row the ``logits`` of scores (null where a species has none), the ``labels`` (1, 0, or -1 where nobody
looked) and the number of the row's site-night or recording in ``groups``. Thresholds and calibration come from there.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from batcache.errors import RunError, brief, shorten
from batcache.inference.calibration.calibrate import REVIEWED
from batcache.model.provenance import HeldOut
from batcache.storage.disk import write_file
from batcache.storage.regular import read_regular
from batcache.storage.sealed import open_json, seal_json

FORMAT = "batcache-calibration"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Profile:
    """Rows that a person reviewed: of which model, of which species, and the name of the file that they came from."""

    model: str
    species: tuple[str, ...]
    reviewed: str
    held_out: HeldOut


def profile_path(model: Path) -> Path:
    """Where the profile of a model lies."""
    return model.with_name(f"{model.name}.calibration.json")


def write_profile(path: Path, profile: Profile) -> None:
    """Write a profile, or leave what was there."""
    held_out = profile.held_out
    logits = held_out.logits.astype(np.float64).round(6)
    document = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "model": profile.model,
        "species": list(profile.species),
        "reviewed": profile.reviewed,
        "logits": [[None if np.isnan(value) else value for value in row] for row in logits.tolist()],
        "labels": held_out.labels.tolist(),
        "groups": held_out.groups.tolist(),
    }
    write_file(path, seal_json(json.dumps(document, ensure_ascii=False).encode("utf-8", "backslashreplace")))


def read_profile(path: Path, model: str, species: Sequence[str]) -> Profile:
    """Read the profile of the model with this digest and these species.

    Raises:
        RunError: damaged, of another model, or of a newer batcache.
    """
    remedy = "Run `batcache calibrate` again, or delete it"
    try:
        document = open_json(read_regular(path))
        kind, version = document["format"], document["format_version"]
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise RunError(path, f"not readable as a calibration ({brief(error)})", remedy) from None
    if kind != FORMAT or version != FORMAT_VERSION:
        there = f"{shorten(str(kind))}, version {shorten(str(version))}"
        finding = f"{there}, this batcache reads {FORMAT}, version {FORMAT_VERSION}"
        raise RunError(path, finding, "Upgrade batcache, or delete it")
    if document.get("model") != model:
        raise RunError(path, "is the calibration of another model", remedy)
    try:
        profile = _read(document)
        if profile.species != tuple(species) or profile.held_out.logits.shape[1] != len(species):
            raise ValueError("other species than the model's")
    except (ValueError, TypeError, KeyError, RuntimeError, OverflowError) as error:
        raise RunError(path, f"a calibration that does not fit ({brief(error)})", remedy) from None
    return profile


def _read(document: dict[str, Any]) -> Profile:
    rows = [[float("nan") if value is None else float(value) for value in row] for row in document["logits"]]
    labels, groups = (np.array(document[name], np.int64) for name in ("labels", "groups"))
    if not ((labels >= -1) & (labels <= 1)).all():
        raise ValueError("labels other than 1, 0 and -1")
    held_out = HeldOut(REVIEWED, np.array(rows, np.float32), labels.astype(np.int8), groups)
    return Profile(str(document["model"]), tuple(map(str, document["species"])), str(document["reviewed"]), held_out)
