"""Whether a checkpoint can be what it says: fields of their types and ranges, and the weights of such a model."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from batcache.errors import list_some, shorten

if TYPE_CHECKING:
    from batcache.model.checkpoint import Checkpoint

METRICS = ("val_macro_ap", "val_loss", "train_loss")
_MOST = {"rnn_layers": 64, "heads": 256, "n_mels": 4096, "n_fft": 1 << 20, "target_sample_rate": 1 << 24}
"""Larger ones are those of no model, and would take forever to look at."""
_MOST_BYTES = 1 << 30  # of an instance, as a cache has them


def require_fit(checkpoint: "Checkpoint") -> None:
    """Check that each field is of its type and range, and that the weights are those of such a model.

    The model is built without its numbers, so that no setting takes memory that the file itself has not.

    Raises:
        ValueError, TypeError, BatcacheError: it does not fit.
    """
    kinds = {"fingerprint": str, "frames_per_instance": int, "epoch": int, "metric": str, "score": int | float}
    for name, kind in kinds.items():
        value = getattr(checkpoint, name)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise TypeError(f"{name} is {shorten(repr(value))}")
    if checkpoint.metric not in METRICS:
        raise ValueError(f"its metric is {shorten(checkpoint.metric)}")
    if not 0 < checkpoint.frames_per_instance * checkpoint.features.n_mels * 2 <= _MOST_BYTES:
        raise ValueError(f"instances of {shorten(str(checkpoint.frames_per_instance))} frames")
    if not 0 <= checkpoint.epoch < 1 << 31:
        raise ValueError(f"epoch {shorten(str(checkpoint.epoch))}")
    _require_species(checkpoint)
    for part in (checkpoint.model, checkpoint.features, *((checkpoint.trunk.features,) if checkpoint.trunk else ())):
        for name, most in _MOST.items():
            if getattr(part, name, 0) > most:
                raise ValueError(f"{name} is {shorten(str(getattr(part, name)))}, expected at most {most:,}")
    if not all(isinstance(value, Tensor) for value in checkpoint.weights.values()):
        raise TypeError("a weight that is no tensor")
    with torch.device("meta"):
        wanted = {name: (value.shape, value.dtype) for name, value in checkpoint.build().state_dict().items()}
    there = {name: (value.shape, value.dtype) for name, value in checkpoint.weights.items()}
    if differ := [name for name in {**wanted, **there} if wanted.get(name) != there.get(name)]:
        raise ValueError(f"weights of another model: {list_some(map(shorten, sorted(differ)))}")


def _require_species(checkpoint: "Checkpoint") -> None:
    names = checkpoint.species
    if not all(isinstance(name, str) and name for name in names) or len(set(names)) != len(names) or not names:
        raise ValueError("species that are no different names")
    if not {*(checkpoint.taught or ())} <= {*names}:
        raise ValueError("taught species that are none of its own")
    clips = checkpoint.trained_on
    if clips is None:
        return
    counts = (clips.clips, clips.groups, *clips.present, *clips.absent)
    if not len(names) == len(clips.present) == len(clips.absent) or any(not 0 <= n < 1 << 48 for n in counts):
        raise ValueError("counts of clips that do not fit its species")
    for contents in (clips.contents, clips.validated):
        if any(not 0 <= number < 1 << 64 for number in contents) or list(contents) != sorted(contents):
            raise ValueError("contents of clips that are none")
