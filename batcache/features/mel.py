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

import numpy as np
import torch
from torch import Tensor, nn
from torchaudio.functional import melscale_fbanks

from batcache.config.features import FeatureConfig, StftWindow
from batcache.config.settings import Engine
from batcache.features.energy import BandEnergy
from batcache.features.kernels import hann_magnitudes

_BAND_GROUPS = 4


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
            energy.add(size[:, energy.next_frames :: energy.step].square().sum(1).cpu().numpy(), size.shape[1])
        return torch.cat(
            [size[..., bins] @ self.get_buffer(f"bank_{group}") for group, bins in enumerate(self.bins)], -1
        )
