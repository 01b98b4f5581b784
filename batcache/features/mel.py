"""Samples to mel frames: one definition, at any rate, by two engines.

Hann windows that last as long as ``n_fft`` samples at the target rate; beyond its ends a recording goes on with its own
level (``features.ends``). Magnitude (power 1); triangles on the Slaney mel scale, each of area 1. Frame *i* is centred
``i`` hops after the first sample; a recording has as many frames as whole hops. Windows of equal duration have the same
bins at any rate, so that recordings are not resampled where a window is a whole number of their samples
(``FeatureConfig.stft_window``). Samples count in 16-bit steps, as most recordings store them (full scale is 2^15); of
mel frames full scale is 1, as librosa's.

Two engines do it: the FFT, and nnAudio as convolutions, which is what CUDA devices take by default (``data.engine``).
Recordings of equal length go through together, ``B`` of them.
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn
from torchaudio.functional import melscale_fbanks

from batcache.config.features import FeatureConfig, StftWindow
from batcache.config.settings import Engine
from batcache.errors import ConfigError
from batcache.features.ends import continued
from batcache.features.kernels import hann_magnitudes

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


class FftMagnitude(nn.Module):
    """Magnitudes of the spectra of Hann windows, the lowest ``bins`` of them, by FFT.

    On a CPU the window is applied to the spectra, in the pass that takes magnitudes.
    """

    window: Tensor

    def __init__(self, windows: StftWindow, bins: int) -> None:
        super().__init__()
        self.windows, self.bins = windows, bins
        self.register_buffer("window", torch.hann_window(windows.size), persistent=False)

    def forward(self, samples: Tensor) -> Tensor:
        """Shape: ``[B, (frames - 1) * hop + size]`` -> ``[B, frames, bins]``."""
        framed = samples.unfold(-1, self.windows.size, self.windows.hop)
        if framed.device.type != "cpu":
            magnitudes: Tensor = torch.fft.rfft(framed * self.window)[..., : self.bins].abs()
            return magnitudes
        spectra = torch.fft.rfft(framed).numpy()
        size = np.empty((*spectra.shape[:-1], self.bins), np.float32)
        hann_magnitudes(spectra.reshape(-1, spectra.shape[-1]), size.reshape(-1, self.bins))
        return torch.from_numpy(size)


class NnAudioMagnitude(nn.Module):
    """The same by nnAudio's convolutions."""

    def __init__(self, windows: StftWindow, bins: int) -> None:
        from nnAudio.features import STFT  # it brings scipy, 70 MB that the FFT never needs

        super().__init__()
        self.stft = STFT(
            n_fft=windows.size,
            freq_bins=bins,
            hop_length=windows.hop,
            sr=windows.rate,
            center=False,  # the stream has placed what lies beyond the ends
            output_format="Magnitude",
            verbose=False,
        )

    def forward(self, samples: Tensor) -> Tensor:
        """Shape: ``[B, (frames - 1) * hop + size]`` -> ``[B, frames, bins]``.

        TF32 would keep 10 of float32's 23 bits: off here, whatever the caller has set.
        """
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            return self.stft(samples).transpose(-1, -2)  # type: ignore[no-any-return]


ENGINES: dict[str, type[FftMagnitude | NnAudioMagnitude]] = {"fft": FftMagnitude, "nnaudio": NnAudioMagnitude}


def choose_engine(asked: Engine, device: torch.device) -> str:
    """The key of ``ENGINES`` that is asked for; ``auto`` is nnAudio on CUDA devices and the FFT on CPUs."""
    return asked if asked != "auto" else "nnaudio" if device.type == "cuda" else "fft"


class BandEnergy:
    """What is heard of some recordings beside their features.

    That is the shares of their energy below ``fmin`` and above ``fmax``, of each window that does not overlap with the
    one before, whatever blocks they come in; and the peak of float samples.
    """

    def __init__(self, config: FeatureConfig, recordings: int = 1) -> None:
        spacing = config.target_sample_rate / config.n_fft
        self.below, self.above = int(config.fmin / spacing), int(config.fmax / spacing) + 1
        self.step = -(-config.n_fft // config.hop_length)
        self.seen = 0
        self.power = torch.zeros(recordings, config.n_fft // 2 + 1, dtype=torch.float64)
        self.peak = torch.zeros(recordings)

    def listen(self, blocks: Iterable[Tensor]) -> Iterator[Tensor]:
        """Pass samples on, ``[recordings, n]`` in 16-bit steps each. Those of 16 bits do not go beyond full scale."""
        for block in blocks:
            if block.is_floating_point() and block.shape[-1]:
                self.peak = torch.maximum(self.peak.to(block.device), block.abs().amax(-1))
            yield block

    def overscale(self, recording: int = 0) -> float:
        """The peak of a recording's samples, in four digits, where it lies beyond full scale (1); else 0."""
        peak = float(self.peak[recording]) * 2.0**-15
        return float(f"{peak:.4g}") if peak > 1 else 0.0

    def add(self, magnitudes: Tensor) -> None:
        """Take the next frames. Shape: ``[recordings, frames, bins]``."""
        chosen = magnitudes[:, -self.seen % self.step :: self.step]
        self.seen += magnitudes.shape[1]
        self.power = self.power.to(magnitudes.device)
        self.power[:, : magnitudes.shape[2]] += chosen.square().sum(1)

    def shares(self, recording: int = 0) -> tuple[float, float]:
        """Shares of a recording's energy that lie below ``fmin`` and above ``fmax``, to four decimals."""
        power = self.power[recording].cpu().clone()
        power[:2] = 0  # the recorder's offset, which a Hann window spreads over two bins
        total = float(power.sum()) or 1.0
        below, above = (float(part.sum()) / total for part in (power[: self.below], power[self.above :]))
        return round(below, 4), round(above, 4)


class Mel(nn.Module):
    """Mel frames of recordings of one true rate, by one engine (a key of ``ENGINES``).

    A triangle is narrow: the bank is cut into groups of neighbouring bands, each multiplied with its own bins only.
    """

    def __init__(self, config: FeatureConfig, true_rate: int, engine: str = "fft") -> None:
        super().__init__()
        self.windows = config.stft_window(true_rate)
        bins = (
            min(config.n_fft, self.windows.size) // 2 + 1
        )  # beyond the target's Nyquist frequency nothing is looked at
        self.magnitude = ENGINES[engine](self.windows, bins)
        bank = melscale_fbanks(
            config.n_fft // 2 + 1,
            config.fmin,
            config.fmax,
            config.n_mels,
            config.target_sample_rate,
            norm="slaney",
            mel_scale="slaney",
        )[:bins]
        bank *= config.n_fft / self.windows.size  # a longer window holds more samples of the same sound
        bank *= 2.0**-15
        self.bins: list[slice] = []
        for group, bands in enumerate(bank.chunk(_BAND_GROUPS, dim=1)):
            used = [0, *bands.any(1).nonzero().flatten().tolist()]
            self.bins.append(slice(used[1] if len(used) > 1 else 0, used[-1] + 1))
            self.register_buffer(f"bank_{group}", bands[self.bins[-1]].contiguous(), persistent=False)

    def forward(self, samples: Tensor, energy: BandEnergy | None = None) -> Tensor:
        """Shape: ``[B, (frames - 1) * hop + size]``, int16 or float32 -> ``[B, frames, n_mels]``.

        ``energy`` hears what passes.
        """
        size = self.magnitude(samples.float())
        if energy is not None:
            energy.add(size)
        return torch.cat(
            [size[..., bins] @ self.get_buffer(f"bank_{group}") for group, bins in enumerate(self.bins)], -1
        )


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


def stream_spans(blocks: Iterable[Tensor], size: int, hop: int) -> Iterator[Tensor]:
    """Re-cut samples ``[B, n]`` into spans that hold whole windows: ``[B, (frames - 1) * hop + size]`` each.

    Half a window of the recording's level stands before its first sample and behind its last.
    """
    held = None
    for block in continued(blocks, size // 2, size - size // 2):
        held = block if held is None else torch.cat([held, block], -1)
        frames = (held.shape[-1] - size) // hop  # one less than there are windows: n samples have n // hop
        if frames > 0:
            yield held[:, : (frames - 1) * hop + size]
            held = held[:, frames * hop :]
