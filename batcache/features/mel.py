"""Samples at the target rate to mel frames: one definition, two engines.

Hann window of ``n_fft`` samples, zeros beyond the ends, magnitude (power 1), triangles on the Slaney mel scale, each
of area 1. Frame *i* is centred on sample ``i * hop_length``; a recording has ``floor(samples / hop_length)`` frames.

``FftMel`` is the faster, on CPUs and on CUDA devices; ``NnAudioMel`` does the same as convolutions. Recordings of equal
length go through together, ``B`` of them.
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache

import numpy as np
import torch
from nnAudio.features import MelSpectrogram
from torch import Tensor, nn
from torchaudio.functional import melscale_fbanks

from batcache.config import FeatureConfig
from batcache.errors import ConfigError
from batcache.features.resample import zero_padded

_BAND_GROUPS = 4


def band_edges_hz(config: FeatureConfig) -> Tensor:
    """Lower edge, centre and upper edge of each mel band. Shape: ``[n_mels, 3]``, Hz.

    The Slaney scale is linear to 1 kHz (15 mel) and above it has 27 mel for each factor of 6.4.
    """
    per_factor = torch.log(torch.tensor(6.4, dtype=torch.float64)) / 27

    def to_mel(hz: float) -> Tensor:
        f = torch.tensor(hz, dtype=torch.float64)
        return torch.where(f < 1000, f * 3 / 200, 15 + torch.log(f.clamp(min=1) / 1000) / per_factor)

    mel = torch.linspace(float(to_mel(config.fmin)), float(to_mel(config.fmax)), config.n_mels + 2, dtype=torch.float64)
    hz = torch.where(mel < 15, mel * 200 / 3, 1000 * torch.exp((mel - 15) * per_factor))
    return hz.unfold(0, 3, 1)


@lru_cache
def dead_bands(config: FeatureConfig, true_rate: int) -> int:
    """Number of bands, counted from the top, that a recording of this rate cannot fill.

    A band is dead where its upper edge lies above 0.95 of the recording's Nyquist frequency: recorders' anti-aliasing
    filters leave nothing trustworthy above.
    """
    return int((band_edges_hz(config)[:, 2] > 0.95 * true_rate / 2).sum())


class FftMel(nn.Module):
    """Mel frames by FFT, using only the bins that the bands use.

    A triangle is narrow: the bank is cut into groups of neighbouring bands, each multiplied with its own bins only.
    """

    window: Tensor

    def __init__(self, config: FeatureConfig) -> None:
        super().__init__()
        self.n_fft, self.hop = config.n_fft, config.hop_length
        bank = melscale_fbanks(
            config.n_fft // 2 + 1,
            config.fmin,
            config.fmax,
            config.n_mels,
            config.target_sample_rate,
            norm="slaney",
            mel_scale="slaney",
        )
        self.register_buffer("window", torch.hann_window(config.n_fft), persistent=False)
        self.bins: list[slice] = []
        for group, bands in enumerate(bank.chunk(_BAND_GROUPS, dim=1)):
            used = bands.any(1).nonzero().flatten()
            self.bins.append(slice(int(used[0]), int(used[-1]) + 1))
            self.register_buffer(f"bank_{group}", bands[self.bins[-1]].contiguous(), persistent=False)

    def forward(self, samples: Tensor) -> Tensor:
        """Shape: ``[B, (frames - 1) * hop + n_fft]`` -> ``[B, frames, n_mels]``."""
        spectrum = torch.fft.rfft(samples.unfold(-1, self.n_fft, self.hop) * self.window)
        first, last = self.bins[0].start, self.bins[-1].stop
        size = magnitude(spectrum[..., first:last])
        parts = [
            size[..., bins.start - first : bins.stop - first] @ self.get_buffer(f"bank_{group}")
            for group, bins in enumerate(self.bins)
        ]
        return torch.cat(parts, -1)


def magnitude(spectrum: Tensor) -> Tensor:
    """``spectrum.abs()``; on a CPU by numpy, six times faster than torch 2.14's."""
    return torch.from_numpy(np.abs(spectrum.numpy())) if spectrum.device.type == "cpu" else spectrum.abs()


class NnAudioMel(nn.Module):
    """Mel frames by nnAudio's convolutions."""

    def __init__(self, config: FeatureConfig) -> None:
        super().__init__()
        self.mel = MelSpectrogram(
            sr=config.target_sample_rate,
            n_fft=config.n_fft,
            hop_length=config.hop_length,
            n_mels=config.n_mels,
            fmin=config.fmin,
            fmax=config.fmax,
            center=False,  # the stream has placed the zeros
            power=1.0,
            verbose=False,
        )

    def forward(self, samples: Tensor) -> Tensor:
        """Shape: ``[B, (frames - 1) * hop + n_fft]`` -> ``[B, frames, n_mels]``.

        TF32 would keep 10 of float32's 23 bits: off here, whatever the caller has set.
        """
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            return self.mel(samples).transpose(-1, -2)  # type: ignore[no-any-return]


ENGINES: dict[str, type[FftMel | NnAudioMel]] = {"fft": FftMel, "nnaudio": NnAudioMel}


def check_bands(config: FeatureConfig) -> None:
    """Raise where some mel band is too narrow to hold an FFT bin: it would be 0 for every recording.

    Raises:
        ConfigError: names how many bands, and the settings that would mend it.
    """
    spacing = config.target_sample_rate / config.n_fft
    edges = (band_edges_hz(config) / spacing).round(decimals=6)  # an edge that falls on a bin does not hold it
    inside = torch.ceil(edges[:, 2]) - torch.floor(edges[:, 0]) - 1  # bins strictly between
    empty = int((inside < 1).sum())
    if empty:
        raise ConfigError(
            "data.n_mels",
            f"{empty} of {config.n_mels} mel bands from {config.fmin:g} to {config.fmax:g} Hz hold no FFT bin "
            f"(bins are {spacing:g} Hz apart)",
            "Lower n_mels or raise n_fft",
        )


def stream_spans(blocks: Iterable[Tensor], n_fft: int, hop: int) -> Iterator[Tensor]:
    """Re-cut samples ``[B, n]`` into spans that hold whole windows: ``[B, (frames - 1) * hop + n_fft]`` each.

    Half a window of zeros stands before the first sample, and as many behind the last as the last frame needs.
    """
    held, total, made = None, 0, 0
    for block in blocks:
        total += block.shape[-1]
        held = torch.cat([block.new_zeros(len(block), n_fft // 2) if held is None else held, block], -1)
        frames = min((held.shape[-1] - n_fft) // hop + 1, total // hop - made)
        if frames > 0:
            yield held[:, : (frames - 1) * hop + n_fft]
            held, made = held[:, frames * hop :], made + frames
    frames = total // hop - made
    if held is not None and frames > 0:
        yield zero_padded(held, (frames - 1) * hop + n_fft)
