"""What an ONNX file says of its model, in its metadata, so that judging by it needs nothing else.

One key, ``batcache``, holds JSON:

format_version   of this document
rate             Hz: the true rate of the recordings that the graph takes
bins             [first, end]: the bins of a spectrum that ``start`` and ``compress`` take
checkpoint       what the checkpoint says of itself, without its weights: species, taught, features and their
                 fingerprint, frames_per_instance, trained_on, held_out, model, trunk, epoch, metric, score
summary          the same in words, as ``batcache info`` shows it
digest           BLAKE3 of the graph and the functions
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from batcache.config.features import FeatureConfig
from batcache.config.settings import ModelConfig
from batcache.model.provenance import HeldOut, TrainedOn

KEY = "batcache"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class OnnxFacts:
    """What a file says of its model; see ``model.checkpoint.Checkpoint`` for what most of it means.

    Attributes:
        rate: of the recordings that the graph takes, Hz.
        bins: the first bin, and the end of those that the file's functions take.
        summary: what ``info`` shows.
    """

    species: tuple[str, ...]
    taught: tuple[str, ...] | None
    features: FeatureConfig
    fingerprint: str
    frames_per_instance: int
    model: ModelConfig
    trained_on: TrainedOn | None
    held_out: HeldOut | None
    rate: int
    bins: tuple[int, int]
    summary: Mapping[str, str]

    @property
    def is_taught(self) -> tuple[bool, ...]:
        """Whether each species was taught, in their order."""
        return tuple(self.taught is None or name in self.taught for name in self.species)

    @property
    def front_end_version(self) -> int | None:
        """Of the front end whose features it was trained on; None where it is not known here."""
        return self.features.find_version(self.fingerprint)

    def pick_bins(self, magnitudes: NDArray[np.float32], size: int) -> NDArray[np.float32]:
        """Magnitudes of windows of ``size`` samples as those of the graph's rate. Shape: ``[frames, bins]``.

        A longer window holds more samples of the same sound. Bins that a slow recorder has not are 0.
        """
        first, end = self.bins
        picked = magnitudes[:, first:end] * np.float32(self.features.stft_window(self.rate).size / size)
        return np.pad(picked, ((0, 0), (0, end - first - picked.shape[1])))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the document.

        Raises:
            ValueError, KeyError, TypeError, BatcacheError: it does not fit.
        """
        document = json.loads(text)
        checkpoint, held = document["checkpoint"], document["checkpoint"].get("held_out")
        return cls(
            species=tuple(checkpoint["species"]),
            taught=None if checkpoint["taught"] is None else tuple(checkpoint["taught"]),
            features=TypeAdapter(FeatureConfig).validate_python(checkpoint["features"]),
            fingerprint=checkpoint["fingerprint"],
            frames_per_instance=int(checkpoint["frames_per_instance"]),
            model=TypeAdapter(ModelConfig).validate_python(checkpoint["model"]),
            trained_on=TypeAdapter(TrainedOn | None).validate_python(checkpoint["trained_on"]),
            held_out=held and _read_held_out(held, len(checkpoint["species"])),
            rate=int(document["rate"]),
            bins=(int(document["bins"][0]), int(document["bins"][1])),
            summary=dict(document["summary"]),
        )


def _read_held_out(plain: Mapping[str, Any], species: int) -> HeldOut:
    arrays = (np.array(plain[name], kind) for name, kind in (("logits", "f4"), ("labels", "i1"), ("groups", "i8")))
    logits, labels, groups = arrays  # null is NaN
    return HeldOut(plain["source"], logits.reshape(-1, species), labels.reshape(-1, species), groups)
