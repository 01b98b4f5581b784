"""The front end as nodes: samples to magnitudes by a constant matrix, magnitudes to features.

The numbers are those of ``features.mel``, ``features.pcen`` and ``features.logmel``, from which the constants come.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from batcache.config.features import FeatureConfig
from batcache.features.logmel import LogMel
from batcache.features.mel import Mel
from batcache.features.pcen import Pcen
from batcache.features.pcen_levels import SCALE
from batcache.inference.onnx.nodes import FLOAT, Nodes, make_graph, typed, whole

_ROW = 32
"""Frames that are smoothed by one product."""


class FrontEndNodes:
    """What the front end does for recordings of one true rate.

    Attributes:
        bins: the lowest and, exclusive, the highest bin of a spectrum that a mel band hears.
    """

    def __init__(self, config: FeatureConfig, true_rate: int) -> None:
        mel = Mel(config, true_rate)
        self.windows = mel.windows
        groups = [mel.get_buffer(f"bank_{group}").numpy() for group in range(len(mel.bins))]
        bank = np.zeros((max(bins.stop for bins in mel.bins), config.n_mels), np.float32)
        first = 0
        for bins, weights in zip(mel.bins, groups, strict=True):
            bank[bins, first : first + weights.shape[1]] = weights
            first += weights.shape[1]
        heard = np.flatnonzero(bank.any(1))
        self.bins = int(heard[0]), int(heard[-1]) + 1
        self.bank = bank[slice(*self.bins)]
        self.pcen = Pcen(config) if config.compression == "pcen" else None
        self.gamma = None if self.pcen else LogMel(config).gamma

    def magnitudes(self, nodes: Nodes, samples: str) -> list[str]:
        """Magnitudes of the spectra of Hann windows, of the bins that are heard.

        Shape: ``[B, (frames - 1) * hop + size]`` in 16-bit steps -> ``[B, frames, bins]``.
        """
        if self.bins[0] > 1:  # under a Hann window an offset is heard in bins 0 and 1 alone: here it would cost digits
            window = nodes.slice(samples, whole(0), whole(self.windows.size), 1)
            samples = nodes.add("Sub", samples, nodes.add("ReduceMean", window, whole(1)))
        spectra = nodes.add(
            "Conv", nodes.add("Unsqueeze", samples, whole(1)), self._fourier_matrix(), strides=[self.windows.hop]
        )
        parts = nodes.add_many("Split", 2, nodes.add("Transpose", spectra, perm=[0, 2, 1]), axis=2, num_outputs=2)
        squares = [nodes.add("Mul", part, part) for part in parts]
        return [nodes.add("Sqrt", nodes.add("Add", *squares))]

    def _fourier_matrix(self) -> NDArray[np.float32]:
        """Cosines, then sines, under a Hann window. Shape: ``[2 * bins, 1, size]``."""
        size = self.windows.size
        turns = np.outer(np.arange(*self.bins), np.arange(size)) % size / size  # whole turns would cost digits
        window = torch.hann_window(size, dtype=torch.float64).numpy()
        waves = np.concatenate([np.cos(2 * np.pi * turns), np.sin(2 * np.pi * turns)])
        return (waves * window)[:, None].astype(np.float32)  # type: ignore[no-any-return]

    def start(self, nodes: Nodes, magnitudes: str) -> list[str]:
        """The level from which the smoother starts. Shape: ``[B, frames, bins]`` -> ``[B, bands]``."""
        frames = whole(self.pcen.start_frames if self.pcen else 1)
        mean = nodes.add("ReduceMean", nodes.slice(magnitudes, whole(0), frames, 1), whole(1), keepdims=0)
        return [nodes.add("Mul", nodes.add("MatMul", mean, self.bank), SCALE)]

    def compress(self, nodes: Nodes, magnitudes: str, level: str) -> list[str]:
        """Features, and the smoother's level behind the last frame.

        Shape: ``[B, frames, bins]``, ``[B, bands]`` -> ``[B, frames, bands]``, ``[B, bands]``.
        """
        mel = nodes.add("MatMul", magnitudes, self.bank)
        if self.pcen is None:
            assert self.gamma is not None
            larger = nodes.add("Add", nodes.add("Mul", mel, self.gamma), 1.0)
            return [nodes.add("Mul", nodes.add("Log", larger), 1 / float(np.log(10))), level]
        energy = nodes.add("Mul", mel, SCALE)
        levels = self._smooth(nodes, energy, level)
        raised = nodes.add("Add", levels, self.pcen.eps)
        softened = nodes.add("Exp", nodes.add("Mul", nodes.add("Log", raised), -self.pcen.gain))
        biased = nodes.add("Add", nodes.add("Mul", energy, softened), self.pcen.bias)
        features = nodes.add("Sub", nodes.add("Pow", biased, self.pcen.power), self.pcen.bias**self.pcen.power)
        return [features, nodes.add("Gather", levels, np.array(-1), axis=1)]

    def _smooth(self, nodes: Nodes, energy: str, level: str) -> str:
        """The smoother's levels. Shape: ``[B, frames, bands]``, ``[B, bands]`` -> ``[B, frames, bands]``."""
        assert self.pcen is not None
        decay = (1 - self.pcen.s) ** np.arange(1, _ROW + 1)[:, None]
        lag = np.arange(_ROW)[:, None] - np.arange(_ROW)
        kernel = np.where(lag >= 0, self.pcen.s * (1 - self.pcen.s) ** np.maximum(lag, 0), 0)

        def smooth_row(within: Nodes, before: str, row: str) -> list[str]:
            carried = within.add("Mul", within.add("Unsqueeze", before, whole(1)), decay.astype(np.float32))
            levels = within.add("Add", within.add("MatMul", kernel.astype(np.float32), row), carried)
            return [within.add("Gather", levels, np.array(-1), axis=1), levels]

        frames, bands = nodes.add("Shape", energy, start=1, end=2), self.bank.shape[1]
        states = [typed(f"row/{name}", FLOAT, [None, bands]) for name in ("level", "level_next")]
        rows = [typed(f"row/{name}", FLOAT, [None, _ROW, bands]) for name in ("energy", "levels")]
        body = make_graph("row", [states[0], rows[0]], [states[1], rows[1]], smooth_row)
        missing = nodes.add("Mod", nodes.add("Neg", frames), whole(_ROW))
        padded = nodes.add("Pad", energy, nodes.add("Concat", whole(0, 0, 0, 0), missing, whole(0), axis=0))
        cut = nodes.add("Reshape", padded, whole(0, -1, _ROW, bands))
        along = {"num_scan_inputs": 1, "scan_input_axes": [1], "scan_output_axes": [1]}
        levels = nodes.add_many("Scan", 2, level, cut, body=body, **along)[1]
        return nodes.slice(nodes.add("Reshape", levels, whole(0, -1, bands)), whole(0), frames, 1)
